/**
 * What is an attempt: a change towards less auditing where the datacenter enforces it. Judges old against new, and repairs nothing. Pure.
 *
 * | write                                                   | attempt                                            |
 * |---------------------------------------------------------|----------------------------------------------------|
 * | anything, in a datacenter that does not enforce          | no, but see the opt-out                            |
 * | anything under deletion, or of a platform's writer       | no: completed, never rejected (pods excepted)      |
 * | Cluster created with `enabled: false`                    | no: the flag is ignored, with a warning            |
 * | Cluster `enabled` true → false, or the block removed     | yes                                                |
 * | Cluster whose opt-out is set by this write               | yes, also at creation, and before anything enforces |
 * | Cluster whose exemption is prolonged                     | yes                                                |
 * | Cluster moved to a datacenter that does not enforce      | yes                                                |
 * | Cluster whose preset or sidecar loses more than before   | yes                                                |
 * | Cluster while an exemption is in force                   | no                                                 |
 * | workload that lacks what it did not lack before          | yes                                                |
 * | workload created ineffective, and beyond repair          | yes                                                |
 * | workload that lacked the same before                     | no                                                 |
 */
import type { Config } from '../config.ts';
import type { ClusterView, SeedView } from '../kkp.ts';
import type { PodSpec } from '../kubernetes.ts';
import { explainReason, explainRepair, type Reason, reason } from '../reasons.ts';
import { desire, splitImage } from './desired.ts';
import { judge } from './effective.ts';
import { findLostSettings, findUnstartable } from './lost-settings.ts';
import { APISERVER } from './names.ts';
import {
  EXEMPT_UNTIL_ANNOTATION,
  isExempt,
  parseTime,
  type Resolution,
  resolveSettings,
  type Settings,
} from './settings.ts';

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
  const held = before?.annotations ?? {};
  // As if nobody were exempt: an exemption that this very write brings has not been admitted yet.
  const resolution = resolveSettings({ ...(before ?? after), annotations: {} }, seeds, config, nowMs);
  const attempts = judgeExemption(held, after.annotations, nowMs);
  if (!mayBeEnforced(resolution) || isExempt(held, nowMs)) return { attempts, notes: [] };
  const notes: Reason[] = [];
  if (before === undefined) {
    const isIgnored = after.auditLogging?.enabled === false && resolution.resolved;
    if (isIgnored) notes.push(reason('FLAG_IGNORED', { datacenter: after.datacenter }));
  } else {
    const moved = resolveSettings({ ...after, annotations: {} }, seeds, config, nowMs);
    if (before.datacenter !== after.datacenter && !(moved.resolved && moved.settings.enforced))
      attempts.push(reason('CLUSTER_DATACENTER_CHANGED', { datacenter: after.datacenter }));
    const isPaused = !before.paused && after.paused;
    if (isPaused || before.workerName !== after.workerName) notes.push(reason('CLUSTER_PAUSED'));
  }
  attempts.push(...findLostSettings(before, after, settingsOf(resolution)));
  notes.push(...findUnstartable(before, after, settingsOf(resolution)));
  return { attempts, notes };
}

/** The opt-out is judged wherever the Cluster is: set ahead of time, it would hold from the moment that enforcement begins. */
function judgeExemption(
  before: Readonly<Record<string, string>>,
  after: Readonly<Record<string, string>>,
  nowMs: number,
): Reason[] {
  if (!isExempt(after, nowMs)) return [];
  if (!isExempt(before, nowMs)) return [reason('CLUSTER_OPT_OUT')];
  const [old, next] = [before[EXEMPT_UNTIL_ANNOTATION], after[EXEMPT_UNTIL_ANNOTATION]];
  const endOf = (until: string | undefined): number =>
    until === undefined ? Number.POSITIVE_INFINITY : parseTime(until);
  if (endOf(next) <= endOf(old)) return [];
  return [reason('EXEMPTION_PROLONGED', { before: old ?? 'no end', after: next ?? 'no end' })];
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
  const lacked = new Set((old === undefined ? [] : findIneffective(old, resolution)).map(keyOf));
  return { attempts: found.filter((lack) => !lacked.has(keyOf(lack))), notes: [] };
}

/** What is the same lack, whatever the value that it comes from. */
const keyOf = ({ code, parameters }: Reason): string => `${code} ${parameters.flag ?? ''}`;

/** Whether a person's write takes the apiserver's image from somewhere else: flags say nothing of a program that is another one. */
export function findReplacedImage(before: PodSpec, after: PodSpec, resolution: Resolution): Reason[] {
  if (!mayBeEnforced(resolution)) return [];
  const sourceOf = (spec: PodSpec): string => {
    const { registry, repository } = splitImage(
      spec.containers?.find(({ name }) => name === APISERVER)?.image ?? '',
    );
    return `${registry}/${repository}`;
  };
  const [old, next] = [sourceOf(before), sourceOf(after)];
  return old === next ? [] : [reason('APISERVER_IMAGE_REPLACED', { before: old, after: next })];
}

/** Ways in which a pod spec does not do what settings ask for. */
export const findIneffective = (spec: PodSpec, resolution: Resolution): readonly Reason[] =>
  judge(spec, desire(settingsOf(resolution), 'deployment')).reasons;

/** Where it can't be told whether auditing is enforced, an attempt is judged as if it were. */
export const mayBeEnforced = (resolution: Resolution): boolean =>
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
  const why = !resolution.resolved
    ? explainReason(resolution.reason)
    : settings.enforced
      ? `datacenter "${settings.datacenter}" (Seed "${settings.seed}") enforces it`
      : `this would hold from the moment that datacenter "${settings.datacenter}" enforces it`;
  const wayOut = attempts[0] === undefined ? '' : ` ${explainRepair(attempts[0])}`;
  return (
    `audit logging of cluster "${settings.cluster}" can't be weakened, because ${why}. ` +
    `${subject}: ${list(attempts)}.${wayOut} ` +
    'Only those who may "disable-audit-logging" on clusters.kubermatic.k8c.io can do this, or end the enforcement in the Seed.'
  );
}

/**
 * The sentence for what nobody may write, because it is not valid as it stands.
 * @param why such as `kube-apiserver would not start with this audit policy`
 */
export const explainInvalid = (subject: string, why: string, faults: readonly Reason[]): string =>
  `${subject}: ${why}: ${list(faults)}.${faults[0] === undefined ? '' : ` ${explainRepair(faults[0])}`}`;

function list(reasons: readonly Reason[]): string {
  const shown = reasons.slice(0, MAX_LINES).map((given) => `${explainReason(given)} [${given.code}]`);
  const rest = [...new Set(reasons.slice(MAX_LINES).map(({ code }) => code))];
  const more = rest.length > 0 ? `; and ${reasons.length - MAX_LINES} more [${rest.join(', ')}]` : '';
  return `${shown.join('; ')}${more}`;
}
