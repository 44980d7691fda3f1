/** Sends the dry run that the hooks must reject (probe.ts). */
import { POLICY_CONFIGMAP, POLICY_KEY } from '../audit/names.ts';
import { type KubeClient, KubeError } from '../kube/client.ts';
import { resourcePath } from '../kubernetes.ts';
import { answerTo, PROBE_LABEL } from './probe.ts';

const TIMEOUT_MS = 15_000;

export type ProbeResult =
  | { readonly answered: true; readonly tookMs: number }
  | {
      readonly answered: false;
      readonly problem: string;
      /** kube-apiserver did not come to ask the hooks, so that it says nothing of them. */
      readonly untried?: true;
    };

/** Without rights, or a namespace, kube-apiserver refuses before admission. */
const UNTRIED_STATUS = [401, 403, 404];
/** So begins what kube-apiserver passes on of a hook, whatever its status. */
const FROM_A_HOOK = 'admission webhook "';

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
  signal?: AbortSignal,
): Promise<ProbeResult> {
  const startedMs = nowMs();
  try {
    await client.request('POST', resourcePath('v1', 'configmaps', { namespace }), {
      query: { dryRun: 'All' },
      signal,
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
    if (!isTaken) {
      const problem = error instanceof Error ? error.message : String(error);
      return { answered: false, problem, ...(isUntried(error) && { untried: true }) };
    }
  }
  return {
    answered: false,
    problem: `a dry run in namespace ${namespace} that the hooks must reject went through`,
  };
}

const isUntried = (error: unknown): boolean =>
  error instanceof KubeError &&
  UNTRIED_STATUS.includes(error.statusCode) &&
  !error.message.includes(FROM_A_HOOK);
