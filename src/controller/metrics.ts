/** The controller's metrics, in the registry of the server. Only the leader has values of the fleet. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { FleetHealth } from './fleet.ts';
import type { ActionName } from './plan/action.ts';
import type { Assessment } from './plan/assess.ts';
import type { Progress } from './plan/budget.ts';
import type { DriftCode } from './plan/drift.ts';

const PREFIX = 'kkp_audit_webhook_';

/** What the gauges are read from at each scrape. */
export interface ControllerSources {
  readonly isLeader: () => boolean;
  /** Undefined where this replica does not lead. */
  readonly health: () => FleetHealth | undefined;
  readonly assessments: () => Iterable<Assessment>;
  readonly progress: () => ReadonlyMap<string, Progress>;
  readonly eventsDropped: () => number;
}

/** - failed: the API refused or did not answer; forbidden: RBAC does not allow it; conflict: it is looked at again */
export type ActionOutcome = 'done' | 'conflict' | 'forbidden' | 'failed';

export interface ControllerMetrics {
  acted(action: ActionName, outcome: ActionOutcome): void;
}

/** Registers the metrics; once a registry. */
export function registerControllerMetrics(registry: Registry, sources: ControllerSources): ControllerMetrics {
  const registers = [registry];
  const gauge = (
    name: string,
    help: string,
    labelNames: readonly string[],
    collect: (gauge: Gauge) => void,
  ) => {
    new Gauge({
      name: PREFIX + name,
      help,
      labelNames: [...labelNames],
      registers,
      collect() {
        this.reset();
        if (labelNames.length === 0) this.remove();
        collect(this as Gauge);
      },
    });
  };
  gauge('controller_leader', '1 on the replica whose controller acts.', [], (g) =>
    g.set(Number(sources.isLeader())),
  );
  gauge(
    'controller_cache_age_seconds',
    'Time since the API server last said something on the resource that was silent longest.',
    [],
    (g) => {
      const age = sources.health()?.ageSeconds;
      if (age !== undefined && Number.isFinite(age)) g.set(age);
    },
  );
  gauge(
    'controller_cache_problems',
    'Resources that the controller cannot read or watch at the moment.',
    [],
    (g) => {
      const health = sources.health();
      if (health !== undefined) g.set(health.problems.length);
    },
  );
  gauge(
    'clusters',
    'Clusters by datacenter and state (docs/rollout.md explains the states).',
    ['datacenter', 'state'],
    (g) => {
      for (const { datacenter, state } of sources.assessments()) g.inc({ datacenter, state });
    },
  );
  gauge('clusters_enforced', 'Clusters whose datacenter enforces audit logging.', ['datacenter'], (g) => {
    for (const { datacenter, enforced } of sources.assessments()) g.inc({ datacenter }, Number(enforced));
  });
  gauge('clusters_exempt', 'Clusters that are exempt from the enforcement.', ['datacenter'], (g) => {
    for (const { datacenter, exempt } of sources.assessments()) g.inc({ datacenter }, Number(exempt));
  });
  gauge(
    'drift',
    'Clusters by datacenter and way in which they are not as they should be.',
    ['datacenter', 'drift'],
    (g) => {
      for (const { datacenter, drift } of sources.assessments())
        for (const code of drift satisfies readonly DriftCode[]) g.inc({ datacenter, drift: code });
    },
  );
  const roll = (name: string, help: string, read: (progress: Progress) => number) =>
    gauge(`rollout_${name}`, help, ['datacenter'], (g) => {
      for (const [datacenter, progress] of sources.progress()) g.set({ datacenter }, read(progress));
    });
  roll('in_flight', 'Clusters that the roll-out is touching.', ({ inFlight }) => inFlight);
  roll('failing', 'Clusters in flight for longer than they may take.', ({ failing }) => failing);
  roll('waiting', 'Clusters that wait for their turn.', ({ waiting }) => waiting);
  roll('paused', '1 where no more clusters are begun, because too many failed.', ({ paused }) =>
    Number(paused),
  );
  const actions = new Counter({
    name: `${PREFIX}controller_actions_total`,
    help: 'What the controller did, by action and outcome (done, conflict, forbidden, failed).',
    labelNames: ['action', 'outcome'],
    registers,
  });
  new Counter({
    name: `${PREFIX}events_dropped_total`,
    help: 'Events that were not written, because there were too many or the API refused them.',
    registers,
    collect() {
      this.reset();
      this.inc(sources.eventsDropped());
    },
  });
  return { acted: (action, outcome) => actions.inc({ action, outcome }) };
}
