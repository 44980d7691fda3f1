/** Puts attempts on record where people look: a counter by reason and datacenter, and an Event on the Cluster. The log has them with the decision. */
import type { Attempt, AttemptOutcome } from './hooks.ts';
import type { EventRecorder } from './kube/events.ts';
import type { Metrics } from './metrics.ts';
import { explainReason } from './reasons.ts';

/** What the Event on the Cluster is called, and what was done. */
const EVENTS: Readonly<
  Record<AttemptOutcome, { readonly reason: string; readonly action: string; readonly what: string }>
> = {
  rejected: {
    reason: 'AuditLoggingAttemptRejected',
    action: 'Reject',
    what: 'tried to weaken audit logging',
  },
  admitted: { reason: 'AuditLoggingAttemptAdmitted', action: 'Admit', what: 'weakened audit logging' },
  permitted: { reason: 'AuditLoggingWeakened', action: 'Permit', what: 'may weaken audit logging, and did' },
};

/** @returns what hooks call for each attempt; it never throws and never waits */
export function buildAttemptRecorder(
  metrics: Pick<Metrics, 'attempted'>,
  recordEvent: EventRecorder['record'],
): (attempt: Attempt) => void {
  return ({ cluster, datacenter, subject, user, outcome, reasons, notes }) => {
    for (const code of new Set(reasons.map((reason) => reason.code)))
      metrics.attempted(code, datacenter, outcome);
    if (cluster === undefined) return;
    const { reason, action, what } = EVENTS[outcome];
    const list = [...reasons, ...notes].map((given) => `${explainReason(given)} [${given.code}]`).join('; ');
    const message = `${user} ${what} by ${subject}: ${list}`;
    recordEvent({ name: cluster.name, uid: cluster.uid }, { type: 'Warning', reason, action, message });
  };
}
