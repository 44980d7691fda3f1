/**
 * Clusters: an attempt is refused before KKP's own hook would repair it in silence, and otherwise `spec.auditLogging` becomes what KKP's hook
 * and controller would make of it, so that a KKP that renders audit logging by itself does.
 */
import { type AdmissionRequest, allow, type Decision } from '../admission.ts';
import { judgeCluster, mayBeEnforced, type Verdict } from '../audit/enforce.ts';
import { changesExemption, findExemptionProblem } from '../audit/exemption.ts';
import { injectCluster } from '../audit/inject-cluster.ts';
import { EXEMPT_REASON_ANNOTATION, EXEMPT_UNTIL_ANNOTATION, type Resolution } from '../audit/settings.ts';
import { type Cluster, type ClusterView, ENFORCED_LABEL, KKP_GROUP, viewCluster } from '../kkp.ts';
import { type Reason, reason } from '../reasons.ts';
import {
  type Answer,
  admit,
  answer,
  type Call,
  isDeleted,
  isPlatformWriter,
  isWrite,
  readCluster,
  refuse,
  refuseInvalid,
  resolve,
} from './steps.ts';

const isOfKind = ({ group, kind }: AdmissionRequest): boolean => group === KKP_GROUP && kind === 'Cluster';

export const isCluster = (request: AdmissionRequest): boolean => isOfKind(request) && isWrite(request);

export const isClusterStatus = (request: AdmissionRequest): boolean =>
  isOfKind(request) && request.operation === 'UPDATE' && request.subResource === 'status';

export function mutateCluster(call: Call): Answer {
  const { request } = call;
  if (!isCluster(request)) return allow();
  const cluster = readCluster(request.object);
  if (isDeleted(cluster)) return allow();
  // Beyond an attempt's refusal the hook goes by the Cluster as it arrives: an opt-out that gets so far is admitted.
  const resolution = resolve(call, viewCluster(cluster));
  const injected = injectCluster(cluster, resolution, call.nowMs());
  const isSeenAgain = (): boolean => findAttempts(call, injected.object).attempts.length > 0;
  return judge(call, cluster, isSeenAgain, (notes) => answer(cluster, injected, resolution, notes));
}

export function validateCluster(call: Call): Answer {
  const cluster = readCluster(call.request.object);
  if (isDeleted(cluster)) return allow();
  const resolution = resolve(call, viewCluster(cluster));
  return judge(
    call,
    cluster,
    () => false,
    (notes) => admit(notes, resolution),
  );
}

/** Whoever may write the status could send the hooks looking for the Cluster in another namespace. */
export function validateClusterStatus(call: Call): Answer {
  const cluster = readCluster(call.request.object);
  if (isDeleted(cluster) || isPlatformWriter(call)) return allow();
  const [before, after] = [viewOld(call), viewCluster(cluster)];
  if (before === undefined || before.namespaceGuessed || before.namespace === after.namespace) return allow();
  const resolution = resolve(call, before);
  if (!mayBeEnforced(resolution)) return allow();
  const names = { before: before.namespace, after: after.namespaceGuessed ? '""' : after.namespace };
  const verdict = { attempts: [reason('CLUSTER_NAMESPACE_CHANGED', names)], notes: [] };
  const found = { subject: `Cluster "${after.name}"`, cluster: before, verdict, resolution };
  return refuse(call, found, (notes) => admit(notes, resolution));
}

function judge(
  call: Call,
  cluster: Cluster,
  isSeenAgain: () => boolean,
  pass: (notes: readonly Reason[]) => Decision,
): Answer {
  if (isPlatformWriter(call)) return pass([]);
  const [before, after] = [viewOld(call), viewCluster(cluster)];
  const subject = `Cluster "${after.name}"`;
  const resolution = resolveUnexempted(call, before ?? after);
  const problem = changesExemption(before?.annotations ?? {}, after.annotations)
    ? findExemptionProblem(after.annotations, call.nowMs())
    : undefined;
  if (problem !== undefined) {
    const faults = [reason('EXEMPTION_INVALID', { problem })];
    const why = 'the annotations are not valid';
    return refuseInvalid(call, { subject, cluster: after, faults, why, resolution });
  }
  const verdict = findAttempts(call, cluster);
  const { notes } = verdict;
  if (verdict.attempts.length === 0) return pass(notes);
  const exemption = verdict.attempts.some(({ code }) => EXEMPTIONS.has(code))
    ? [describeExemption(after)]
    : [];
  const found = {
    subject,
    cluster: before ?? after,
    verdict,
    resolution,
    notes: exemption,
    isSeenAgain: isSeenAgain(),
  };
  return refuse(call, found, (more) => pass([...notes, ...more]));
}

function findAttempts(call: Call, cluster: Cluster): Verdict {
  const { state, config } = call;
  const verdict = judgeCluster(viewOld(call), viewCluster(cluster), state.seeds(), config, call.nowMs());
  return { ...verdict, attempts: [...verdict.attempts, ...judgeLabel(call, cluster)] };
}

/** As if nobody were exempt: the exemption is what is judged. */
const resolveUnexempted = (call: Call, cluster: ClusterView): Resolution =>
  resolve(call, { ...cluster, annotations: {} });

const viewOld = ({ request }: Call): ClusterView | undefined =>
  request.operation === 'UPDATE' ? viewCluster(readCluster(request.oldObject())) : undefined;

const EXEMPTIONS: ReadonlySet<string> = new Set(['CLUSTER_OPT_OUT', 'EXEMPTION_PROLONGED']);

function describeExemption({ annotations }: ClusterView): Reason {
  const until = annotations[EXEMPT_UNTIL_ANNOTATION];
  const why = annotations[EXEMPT_REASON_ANNOTATION] ?? '';
  return until === undefined ? reason('EXEMPTION_WITHOUT_END') : reason('EXEMPTION_GRANTED', { until, why });
}

/** Without the label neither the backstop nor a hook that must answer would see the next write. */
function judgeLabel(call: Call, cluster: Cluster): Reason[] {
  if (call.request.operation !== 'UPDATE') return [];
  const old = readCluster(call.request.oldObject());
  const had = old.metadata?.labels?.[ENFORCED_LABEL];
  if (had !== 'true' || cluster.metadata?.labels?.[ENFORCED_LABEL] === had) return [];
  const isEnforced = mayBeEnforced(resolve(call, viewCluster(old)));
  return isEnforced ? [reason('ENFORCED_LABEL_REMOVED', { label: ENFORCED_LABEL })] : [];
}
