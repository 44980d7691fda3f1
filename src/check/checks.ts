/**
 * The checks, in one table: each judges the snapshot and says how it is, and the way out. Pure. The order is that in which a person would look:
 * what a later check needs, an earlier one has looked at.
 */
import { CLUSTER_CHECKS } from './cluster.ts';
import { FLEET_CHECKS } from './fleet.ts';
import { HOOK_CHECKS } from './hooks.ts';
import { INSTALLATION_CHECKS } from './installation.ts';
import type { Snapshot } from './snapshot.ts';
import type { Check, CheckStatus, Verdict } from './verdict.ts';

export const CHECKS: readonly Check[] = [
  ...CLUSTER_CHECKS,
  ...INSTALLATION_CHECKS,
  ...HOOK_CHECKS,
  ...FLEET_CHECKS,
];

/** One line of the report. */
export interface CheckResult extends Verdict {
  readonly id: string;
  readonly group: string;
}

/** @param pre before the installation: only what it needs */
export function runChecks(snapshot: Snapshot, pre: boolean): CheckResult[] {
  return CHECKS.filter(({ when }) => when === 'always' || (when === 'pre') === pre).map(
    ({ id, group, judge }) => ({
      id,
      group,
      ...judge(snapshot),
    }),
  );
}

/** The worst of them. */
export function worstOf(results: readonly CheckResult[]): CheckStatus {
  for (const status of ['failure', 'warning'] as const)
    if (results.some((result) => result.status === status)) return status;
  return 'ok';
}
