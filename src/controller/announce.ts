/** What people are told of the controller's work: lines of the log, and Events on the Cluster that they are about. */
import type { Logger } from 'pino';
import { isStatus, KubeError } from '../kube/client.ts';
import type { EventContent, EventRecorder } from '../kube/events.ts';
import type { ActionName } from './plan/action.ts';
import type { Assessment } from './plan/assess.ts';
import type { Progress } from './plan/budget.ts';
import { DRIFT } from './plan/drift.ts';

const EVENTS = {
  started: { type: 'Normal', reason: 'AuditLoggingRolloutStarted', action: 'Start' },
  finished: { type: 'Normal', reason: 'AuditLoggingRolledOut', action: 'Finish' },
  drifted: { type: 'Warning', reason: 'AuditLoggingDrift', action: 'Repair' },
  failing: { type: 'Warning', reason: 'AuditLoggingRolloutFailing', action: 'Wait' },
  paused: { type: 'Warning', reason: 'AuditLoggingRolloutPaused', action: 'Pause' },
} as const satisfies Readonly<Record<string, Omit<EventContent, 'message'>>>;

export class Announcer {
  readonly #logger: Logger;
  readonly #events: EventRecorder;
  /** Actions of which it was said that they are not allowed, until one is done. */
  readonly #forbidden = new Set<ActionName>();

  constructor(logger: Logger, events: EventRecorder) {
    this.#logger = logger;
    this.#events = events;
  }

  /** A roll-out of a cluster has begun. */
  announceStart(assessment: Assessment): void {
    const { cluster, datacenter, drift } = assessment;
    this.#logger.info({ cluster, datacenter, drift }, 'roll-out of a cluster begins');
    this.#record('started', assessment, explainDrift(assessment));
  }

  /** An action was done, and with the last one the roll-out of a cluster. */
  announceDone(action: ActionName, assessment: Assessment): void {
    this.#forbidden.delete(action);
    // A nudge stores nothing by itself.
    const level = action === 'nudgeDeployment' ? 'debug' : 'info';
    this.#logger[level]({ cluster: assessment.cluster, action }, 'controller: done');
    if (action !== 'finishRollout') return;
    const message = 'audit logging is as it should be, and the apiservers are available';
    this.#record('finished', assessment, message);
  }

  /** RBAC does not allow an action; said once. */
  announceForbidden(action: ActionName, cluster: string, error: unknown): void {
    if (this.#forbidden.has(action)) return;
    this.#forbidden.add(action);
    const log = { cluster, action, problem: explainError(error) };
    this.#logger.error(log, 'controller: not allowed; the rest goes on');
  }

  /**
   * The work on a cluster failed, and will be tried again.
   * @param failures in a row
   */
  announceFailure(cluster: string, error: unknown, failures: number): void {
    const log = { cluster, failures, problem: explainError(error) };
    // A conflict is looked at again at once; the first failures of the API are nothing to wake anybody for.
    if (isStatus(error, 409)) this.#logger.debug(log, 'controller: a write met a newer object');
    else if (error instanceof KubeError) this.#logger.warn(log, 'controller: will try again');
    else this.#logger.error({ ...log, err: error }, 'controller: a fault of its own; will try again');
  }

  /** A cluster is in another state than before. */
  announceState(before: Assessment | undefined, after: Assessment): void {
    const { cluster, datacenter, state, drift, reasons } = after;
    const log = { cluster, datacenter, state, before: before?.state ?? '', drift, reasons };
    if (state === 'failing') {
      this.#logger.warn(log, 'the roll-out of a cluster does not come to its end');
      const why = explainDrift(after) || 'they are not available';
      this.#record('failing', after, `the apiservers did not become available and audited in time: ${why}`);
    } else if (drift.length > 0 && (state === 'waiting' || state === 'drifted')) {
      this.#logger.info(log, 'a cluster is not as it should be');
      if (before?.state === 'compliant') this.#record('drifted', after, explainDrift(after));
    }
  }

  /** A datacenter's roll-out is stopped, which is said on the clusters that stop it, or goes on. */
  announceProgress(
    before: ReadonlyMap<string, Progress>,
    after: ReadonlyMap<string, Progress>,
    assessments: Iterable<Assessment>,
  ): void {
    const changed = [...after].filter(
      ([datacenter, { paused }]) => paused !== (before.get(datacenter)?.paused ?? false),
    );
    if (changed.length === 0) return;
    const failing = [...assessments].filter(({ state }) => state === 'failing');
    for (const [datacenter, now] of changed) {
      const log = { datacenter, ...now };
      if (!now.paused) {
        this.#logger.info(log, 'roll-out goes on');
        continue;
      }
      this.#logger.warn(log, 'roll-out paused: too many clusters failed');
      const message = `the roll-out of audit logging in datacenter ${datacenter} is paused until this cluster's apiservers are available; ${now.waiting} clusters wait`;
      for (const assessment of failing)
        if (assessment.datacenter === datacenter) this.#record('paused', assessment, message);
    }
  }

  #record(event: keyof typeof EVENTS, { cluster: name, uid }: Assessment, message: string): void {
    this.#events.record({ name, uid }, { ...EVENTS[event], message });
  }
}

const explainDrift = ({ drift }: Assessment): string => drift.map((code) => DRIFT[code].sentence).join('; ');
const explainError = (error: unknown): string => (error instanceof Error ? error.message : String(error));
