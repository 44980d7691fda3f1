/** Namespaces of enforced clusters: their label is what the hooks and the backstop find them by. */
import { type AdmissionRequest, allow, type Decision } from '../admission.ts';
import { mayBeEnforced } from '../audit/enforce.ts';
import { CLUSTER_NAMESPACE_PREFIX, ENFORCED_LABEL } from '../kkp.ts';
import { type Reason, reason } from '../reasons.ts';
import {
  type Answer,
  admit,
  type Call,
  isDeleted,
  isPlatformWriter,
  nameOf,
  refuse,
  withCluster,
} from './steps.ts';

/** Also by its subresources: `status` and `finalize` take labels along. */
export const isClusterNamespace = (request: AdmissionRequest): boolean =>
  request.group === '' &&
  request.kind === 'Namespace' &&
  request.operation === 'UPDATE' &&
  nameOf(request).startsWith(CLUSTER_NAMESPACE_PREFIX);

export function validateNamespace(call: Call): Answer {
  const { object } = call.request;
  if (object === undefined || isDeleted(object) || isPlatformWriter(call)) return allow();
  const had = call.request.oldObject()?.metadata?.labels?.[ENFORCED_LABEL];
  if (had !== 'true' || object.metadata?.labels?.[ENFORCED_LABEL] === had) return allow();
  const name = nameOf(call.request);
  return withCluster({ ...call, request: { ...call.request, namespace: name } }, (cluster, resolution) => {
    const pass = (notes: readonly Reason[]): Decision => admit(notes, resolution);
    // Where nothing is enforced any more, the label goes as it should.
    if (!mayBeEnforced(resolution)) return pass([]);
    const attempts = [reason('ENFORCED_LABEL_REMOVED', { label: ENFORCED_LABEL })];
    const found = { subject: `Namespace ${name}`, cluster, verdict: { attempts, notes: [] }, resolution };
    return refuse(call, found, pass);
  });
}
