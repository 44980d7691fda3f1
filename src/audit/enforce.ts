/**
 * What is an attempt: a change towards less auditing where the datacenter enforces it. Judges old against new, and repairs nothing. Pure.
 *
 * | write                                                   | attempt                                            |
 * |---------------------------------------------------------|----------------------------------------------------|
 * | anything, in a datacenter that does not enforce          | no                                                 |
 * | anything under deletion, or of a platform's writer       | no: completed, never rejected                      |
 * | Cluster created with `enabled: false`                    | no: the flag is ignored, with a warning            |
 * | Cluster `enabled` true → false, or the block removed     | yes                                                |
 * | Cluster whose opt-out is set by this write               | yes, also at creation                              |
 * | workload that was effective and no longer is             | yes                                                |
 * | workload created ineffective, and beyond repair          | yes                                                |
 * | workload that was not effective before                   | no                                                 |
 */
import type { Config } from '../config.ts';
import type { ClusterView, SeedView } from '../kkp.ts';
import type { PodSpec } from '../kubernetes.ts';
import { explainReason, REASONS, type Reason, reason } from '../reasons.ts';
import { desire } from './desired.ts';
import { judge } from './effective.ts';
import { isExempt, type Resolution, resolveSettings, type Settings } from './settings.ts';

export interface Verdict {
  /** Each is a change towards less auditing; empty where there is none. */
  readonly attempts: readonly Reason[];
  /** What to tell without refusing. */
  readonly notes: readonly Reason[];
}

export const NO_ATTEMPT: Verdict = { attempts: [], notes: [] };

/**
 * Judges a write of a Cluster.
 * @param before undefined at creation
 */
export function judgeCluster(
  before: ClusterView | undefined,
  after: ClusterView,
  seeds: readonly SeedView[],
  config: Config,
  nowMs: number,
): Verdict {
  // The opt-out that this very write brings has not been admitted yet, so it does not count.
  const subject = { ...(before ?? after), annotations: before?.annotations ?? {} };
  const resolution = resolveSettings(subject, seeds, config, nowMs);
  if (!mayBeEnforced(resolution)) return NO_ATTEMPT;
  const attempts: Reason[] = [];
  const isEnabled = (cluster: ClusterView): boolean => cluster.auditLogging?.enabled === true;
  if (before !== undefined && isEnabled(before) && !isEnabled(after)) {
    attempts.push(
      reason(after.auditLogging === undefined ? 'CLUSTER_AUDIT_REMOVED' : 'CLUSTER_AUDIT_DISABLED'),
    );
  }
  if (isExempt(after.annotations, nowMs)) attempts.push(reason('CLUSTER_OPT_OUT'));
  const isIgnored = before === undefined && after.auditLogging?.enabled === false && resolution.resolved;
  return { attempts, notes: isIgnored ? [reason('FLAG_IGNORED', { datacenter: after.datacenter })] : [] };
}

/**
 * Judges a write of a pod template or a pod.
 * @param before undefined at creation; a function, because most writes never need it
 * @param found ways in which the template, as it is written, does not do what settings ask for
 */
export function judgeWorkload(
  before: () => PodSpec | undefined,
  found: readonly Reason[],
  resolution: Resolution,
): Verdict {
  if (found.length === 0 || !mayBeEnforced(resolution)) return NO_ATTEMPT;
  const old = before();
  const wasEffective = old === undefined || findIneffective(old, resolution).length === 0;
  return wasEffective ? { attempts: found, notes: [] } : NO_ATTEMPT;
}

/** Ways in which a pod spec does not do what settings ask for. */
export const findIneffective = (spec: PodSpec, resolution: Resolution): readonly Reason[] =>
  judge(spec, desire(settingsOf(resolution), 'deployment')).reasons;

/** Where it can't be told whether auditing is enforced, an attempt is judged as if it were. */
const mayBeEnforced = (resolution: Resolution): boolean =>
  !resolution.resolved || resolution.settings.enforced;

/** The settings to go by; where the datacenter is not known, the Cluster's own. */
export const settingsOf = (resolution: Resolution): Settings =>
  resolution.resolved ? resolution.settings : resolution.own;

const MAX_LINES = 4;

/**
 * The sentence that a person reads at kubectl: what, where, why, who may, and the codes.
 * @param subject such as `Cluster "x"` or `Deployment cluster-x/apiserver`
 */
export function explainDenial(subject: string, attempts: readonly Reason[], resolution: Resolution): string {
  const settings = settingsOf(resolution);
  const why = resolution.resolved
    ? `datacenter "${settings.datacenter}" (Seed "${settings.seed}") enforces it`
    : explainReason(resolution.reason);
  const shown = attempts.slice(0, MAX_LINES).map((attempt) => `${explainReason(attempt)} [${attempt.code}]`);
  const more = attempts.length > MAX_LINES ? `; and ${attempts.length - MAX_LINES} more` : '';
  const wayOut = attempts[0] === undefined ? '' : ` ${REASONS[attempts[0].code].repair}`;
  return (
    `audit logging of cluster "${settings.cluster}" can't be weakened, because ${why}. ` +
    `${subject}: ${shown.join('; ')}${more}.${wayOut} ` +
    'Only those who may "disable-audit-logging" on clusters.kubermatic.k8c.io can do this, or end the enforcement in the Seed.'
  );
}
