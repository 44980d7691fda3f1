/**
 * The proof that kube-apiserver reaches the hooks and believes them: a dry run that only this software would reject. It goes the whole way, through
 * rules, conditions, Service and CA, and leaves nothing behind.
 */
import { type AdmissionRequest, deny, type Hook } from '../admission.ts';
import { POLICY_CONFIGMAP, POLICY_KEY } from '../audit/names.ts';
import { type KubeClient, KubeError, resourcePath } from '../kube/client.ts';
import { ownText } from '../kubernetes.ts';

/** On a ConfigMap `audit-config` in a cluster's namespace; its value comes back in the rejection. */
export const PROBE_LABEL = 'audit.kubermatic.k8c.io/probe';

const TIMEOUT_MS = 15_000;

const answerTo = (id: string): string => `kkp-audit-webhook answers probe ${id}`;

/** A hook that rejects probes, whoever sends them, and leaves the rest to the one behind it. */
export function withProbe(hook: Hook): Hook {
  return (request, signal) => {
    const id = probeOf(request);
    return id === undefined ? hook(request, signal) : deny(answerTo(id), 403, { reasons: ['PROBE'] });
  };
}

/** Only a dry run of a creation: nothing that would be stored is ever taken for a probe. */
function probeOf({ dryRun, operation, group, kind, object }: AdmissionRequest): string | undefined {
  if (!dryRun || operation !== 'CREATE' || group !== '' || kind !== 'ConfigMap') return undefined;
  return ownText(object?.metadata?.labels, PROBE_LABEL);
}

export type ProbeResult =
  | { readonly answered: true; readonly tookMs: number }
  | { readonly answered: false; readonly problem: string };

/**
 * Sends a probe.
 * @param namespace of a cluster: the hooks look at no other
 * @param id a label's value, fresh for each probe
 */
export async function sendProbe(
  client: Pick<KubeClient, 'request'>,
  namespace: string,
  id: string,
  nowMs: () => number,
): Promise<ProbeResult> {
  const startedMs = nowMs();
  try {
    await client.request('POST', resourcePath('v1', 'configmaps', { namespace }), {
      query: { dryRun: 'All' },
      body: {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: POLICY_CONFIGMAP, namespace, labels: { [PROBE_LABEL]: id } },
        data: { [POLICY_KEY]: 'a probe' },
      },
      timeoutMs: TIMEOUT_MS,
    });
  } catch (error) {
    if (error instanceof KubeError && error.message.includes(answerTo(id)))
      return { answered: true, tookMs: nowMs() - startedMs };
    // kube-apiserver asks the hooks before it finds that the name is taken.
    const isTaken = error instanceof KubeError && error.statusCode === 409;
    if (!isTaken) return { answered: false, problem: error instanceof Error ? error.message : String(error) };
  }
  return {
    answered: false,
    problem: `a dry run in namespace ${namespace} that the hooks must reject went through`,
  };
}
