/** Ways in which a cluster is not as it should be: one table, for people and for the plan. */
import type { Action } from './action.ts';

/** For people, what is wrong; for the plan, whether mending it may roll an apiserver. */
export const DRIFT = {
  SETTINGS_DIFFER: { disruptive: true, sentence: 'spec.auditLogging is not what the datacenter enforces' },
  DEPLOYMENT_DIFFERS: {
    disruptive: true,
    sentence: 'the Deployment apiserver is not what the hook would make of it',
  },
  PODS_INEFFECTIVE: {
    disruptive: true,
    sentence: 'apiserver pods run that are not audited as they should be',
  },
  PODS_OUTDATED: { disruptive: true, sentence: 'apiserver pods run with an older policy or configuration' },
  PODS_LEFTOVER: {
    disruptive: true,
    sentence: 'apiserver pods still carry the sidecar, though audit logging is off',
  },
  POLICY_NOT_PRESET: { disruptive: true, sentence: 'ConfigMap audit-config is not the preset that is set' },
  POLICY_KEPT: {
    disruptive: false,
    sentence:
      'ConfigMap audit-config is not the preset, but immutable or put back by its owner, and is left as it is',
  },
  POLICY_MISSING: { disruptive: false, sentence: 'ConfigMap audit-config is missing' },
  FLUENTBIT_MISSING: { disruptive: false, sentence: 'Secret audit-logs-fluentbit is missing' },
  FLUENTBIT_OUTDATED: {
    disruptive: false,
    sentence: 'Secret audit-logs-fluentbit, made by this software, is outdated',
  },
  TUNING_OUTDATED: {
    disruptive: false,
    sentence: 'Secret audit-logs-fluentbit-tuned is missing or outdated',
  },
  BACKEND_MISSING: {
    disruptive: false,
    sentence: 'the Secret of the webhook backend is missing or outdated',
  },
  EGRESS_OUTDATED: {
    disruptive: false,
    sentence: 'the NetworkPolicy for the configured destinations is missing or outdated',
  },
  LABEL_DIFFERS: {
    disruptive: false,
    sentence: 'the label that marks enforced clusters is not as it should be',
  },
  LEFTOVERS: { disruptive: false, sentence: 'objects of this software are left that nobody needs any more' },
} as const;
export type DriftCode = keyof typeof DRIFT;

/** One thing that a rule found: what is wrong, what is to be done about it, or both. */
export interface Finding {
  readonly drift?: DriftCode;
  readonly action?: Action;
}

/** Whether mending one of these may roll an apiserver. */
export function isDisruptive(drift: Iterable<DriftCode>): boolean {
  return [...drift].some((code) => DRIFT[code].disruptive);
}
