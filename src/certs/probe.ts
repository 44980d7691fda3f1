/**
 * The hooks' part of the proof that kube-apiserver reaches the hooks and believes them: a dry run that only this software would reject. It goes the whole way, through
 * rules, conditions, Service and CA, and leaves nothing behind. The sender is in send-probe.ts, which the hooks need not load.
 */
import { type AdmissionRequest, deny, type Hook } from '../admission.ts';
import { ownText } from '../kubernetes.ts';

/** On a ConfigMap `audit-config` in a cluster's namespace; its value comes back in the rejection. */
export const PROBE_LABEL = 'audit.kubermatic.k8c.io/probe';

/** What the rejection says. */
export const answerTo = (id: string): string => `kkp-audit-webhook answers probe ${id}`;

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
