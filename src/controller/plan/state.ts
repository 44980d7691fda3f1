/** How a cluster stands, in one word. */
import { type DriftCode, isDisruptive } from './drift.ts';
import type { Situation } from './facts.ts';

/**
 * - off: audit logging is not asked for
 * - pending: there is no Deployment yet
 * - drifted: something is being put right that rolls no apiserver
 * - waiting: for its turn in the roll-out
 * - failing: in flight for longer than it may take
 * - paused: KKP is told to leave it alone, and so does the controller
 * - unresolved: it can't be told what its datacenter asks for
 */
export type ComplianceState =
  | 'compliant'
  | 'off'
  | 'pending'
  | 'drifted'
  | 'waiting'
  | 'rolling'
  | 'failing'
  | 'paused'
  | 'unresolved';

type Test = (situation: Situation, drift: readonly DriftCode[]) => boolean;

/** Of a cluster that the plan looks after: the first that fits. */
const STATES: readonly (readonly [ComplianceState, Test])[] = [
  ['off', ({ cluster }) => cluster.deleting],
  ['failing', ({ flight }) => flight?.isLate === true],
  ['rolling', ({ flight }) => flight !== undefined],
  ['waiting', (_situation, drift) => isDisruptive(drift)],
  // A policy that its owner keeps is left to the owner: nothing is being put right.
  ['drifted', (_situation, drift) => drift.some((code) => code !== 'POLICY_KEPT')],
  ['off', ({ isWanted }) => !isWanted],
  ['pending', ({ deployment, isStale, unread }) => deployment === undefined || isStale || unread.has('pods')],
];

/** Says how a cluster stands that the plan looks after. */
export function stateOf(situation: Situation, drift: readonly DriftCode[]): ComplianceState {
  return STATES.find(([, fits]) => fits(situation, drift))?.[0] ?? 'compliant';
}
