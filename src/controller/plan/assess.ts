/**
 * What is to be done about one cluster. Pure: it goes by the same settings, injection and judgement as the hooks, so that controller and hooks
 * cannot disagree, and by what is written in the objects alone, so that a new leader goes on where the last one ended.
 *
 * Whatever may roll an apiserver is disruptive, and happens only to a cluster in flight: one whose Cluster carries ROLLOUT_ANNOTATION. The write
 * that begins it (`start`) sets the annotation together with the settings; the write that ends it takes it away once the apiservers are
 * available again.
 *
 * | in flight | something disruptive to do | settled | then                                                                 | actions (action.ts)     |
 * |-----------|----------------------------|---------|----------------------------------------------------------------------|-------------------------|
 * | no        | no                         | -       | what is small is put right                                           | anyTime, inTurn, atRest |
 * | no        | yes                        | -       | `start`, when the datacenter's budget allows                         | anyTime; toBegin        |
 * | yes       | yes                        | no      | it is done, one step at a time; past the timeout it counts as failed | anyTime, inTurn         |
 * | yes       | no                         | no      | wait for the roll-out                                                | anyTime, inTurn, atRest |
 * | yes       | no                         | yes     | the annotation goes                                                  | anyTime, inTurn, atRest |
 */
import { settingsOf } from '../../audit/enforce.ts';
import type { ReasonCode } from '../../reasons.ts';
import { type Action, isDue } from './action.ts';
import { type DriftCode, type Finding, isDisruptive } from './drift.ts';
import {
  type ClusterFacts,
  isWanted,
  KINDS,
  type Kind,
  readRollout,
  type Situation,
  situationOf,
} from './facts.ts';
import { findBackendDrift } from './rules/backend.ts';
import { findDeploymentDrift } from './rules/deployment.ts';
import { findEgressDrift } from './rules/egress.ts';
import { findFluentBitDrift } from './rules/fluentbit.ts';
import { findLabelDrift } from './rules/labels.ts';
import { findLeftovers } from './rules/leftovers.ts';
import { findPolicyDrift } from './rules/policy.ts';
import { advanceRollout, findSettingsDrift, startRollout } from './rules/rollout.ts';
import { type ComplianceState, stateOf } from './state.ts';

export interface Assessment {
  readonly cluster: string;
  readonly uid: string;
  readonly datacenter: string;
  readonly state: ComplianceState;
  readonly enforced: boolean;
  readonly exempt: boolean;
  /** Audit logging is asked for. */
  readonly wanted: boolean;
  /** The Deployment is left to its owner, and pods are injected. */
  readonly left: boolean;
  readonly drift: readonly DriftCode[];
  /** Why Deployment or pods are not effective. */
  readonly reasons: readonly ReasonCode[];
  /** Undefined where it is not in flight; 0 where the annotation can't be read. */
  readonly sinceMs: number | undefined;
  /** What may be done at once. */
  readonly actions: readonly Action[];
  /** What begins the roll-out of this cluster, once the budget allows. */
  readonly start: Action | undefined;
}

interface Rule {
  readonly find: (situation: Situation) => readonly Finding[];
  /** What has to be there: a namespace that does not end, and audit logging that is asked for. */
  readonly needs: 'nothing' | 'namespace' | 'auditing';
  /** Kinds without which it says nothing, because what was not read seems to be missing. */
  readonly reads?: readonly Kind[];
}

/** In the order in which things are done: what the pods read, then the pods, then what is left over, and the Cluster last. */
const RULES: readonly Rule[] = [
  { find: findSettingsDrift, needs: 'nothing' },
  { find: findLabelDrift, needs: 'nothing' },
  { find: findPolicyDrift, needs: 'auditing', reads: ['configmaps'] },
  { find: findFluentBitDrift, needs: 'auditing', reads: ['secrets'] },
  { find: findBackendDrift, needs: 'auditing', reads: ['secrets'] },
  { find: findEgressDrift, needs: 'auditing', reads: ['networkpolicies'] },
  { find: findDeploymentDrift, needs: 'namespace' },
  { find: findLeftovers, needs: 'namespace', reads: KINDS },
  { find: advanceRollout, needs: 'namespace' },
];

/**
 * Says what a cluster is in want of.
 * @param nowMs milliseconds since 1970
 */
export function assess(facts: ClusterFacts, nowMs: number): Assessment {
  const { cluster, resolution } = facts;
  const settings = settingsOf(resolution);
  const base = {
    cluster: cluster.name,
    uid: cluster.uid,
    datacenter: cluster.datacenter,
    enforced: resolution.resolved && settings.enforced,
    exempt: settings.exempt,
    wanted: isWanted(settings),
    left: facts.deployment?.isLeft ?? false,
    sinceMs: readRollout(cluster),
  };
  const idle = { ...base, drift: [], reasons: [], actions: [], start: undefined };
  if (!resolution.resolved) return { ...idle, state: 'unresolved' };
  if (cluster.paused || cluster.workerName !== '') return { ...idle, state: 'paused' };

  const situation = situationOf(facts, nowMs);
  const findings = RULES.filter((rule) => applies(rule, situation)).flatMap(({ find }) => find(situation));
  const drift = [...new Set(findings.flatMap((finding) => finding.drift ?? []))];
  const isInFlight = situation.flight !== undefined;
  const isDisrupted = isDisruptive(drift);
  return {
    ...base,
    state: stateOf(situation, drift),
    drift,
    reasons: reasonsOf(situation),
    actions: findings
      .flatMap(({ action }) => action ?? [])
      .filter(({ name }) => isDue(name, isInFlight, isDisrupted)),
    start: isDue('startRollout', isInFlight, isDisrupted) ? startRollout(situation, nowMs) : undefined,
  };
}

/** Of a Cluster under deletion nothing is asked. */
function applies({ needs, reads = [] }: Rule, situation: Situation): boolean {
  const { cluster, unread } = situation;
  if (cluster.deleting || reads.some((kind) => unread.has(kind))) return false;
  return needs === 'nothing' || (hasNamespace(situation) && (needs === 'namespace' || situation.isWanted));
}

/** Where namespaces can't be read, it is taken to be there. */
const hasNamespace = ({ namespace, unread }: Situation): boolean =>
  namespace === undefined ? unread.has('namespaces') : !namespace.terminating;

/** Codes of the Deployment, unless its pods are given what it lacks, and of the pods. */
function reasonsOf({ deployment, livePods, isLeft }: Situation): ReasonCode[] {
  const judged = deployment === undefined || isLeft ? livePods : [...livePods, deployment];
  return [...new Set(judged.flatMap(({ codes }) => codes))];
}
