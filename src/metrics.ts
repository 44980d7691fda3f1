/**
 * Prometheus metrics in a registry of their own. Labels have few values: hooks, operations, outcomes and codes come from tables, never from
 * what a request holds.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { HookName } from './admission.ts';
import type { FaultCode } from './faults.ts';
import type { StateHealth } from './state/state.ts';

const PREFIX = 'kkp_audit_webhook_';
const LATENCY_BUCKETS_SECONDS = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10];
const CODE = /^[A-Z][A-Z0-9_]{0,63}$/;

/** - failed: answered with an HTTP error, so kube-apiserver applies the failurePolicy */
export type Outcome = 'allowed' | 'patched' | 'denied' | 'failed';

export interface MetricsSources {
  readonly version: string;
  /** The last answer to whoever asked whether requests may be sent here; undefined before the first. */
  readonly ready: () => boolean | undefined;
  /** When the served certificate ends. */
  readonly certificateExpiry: () => Date | undefined;
  /** Undefined where the server runs without state. */
  readonly stateHealth: () => StateHealth | undefined;
  /** Metrics of the process and of Node (memory, event loop, garbage collection). */
  readonly processMetrics: boolean;
}

export interface Metrics {
  readonly registry: Registry;
  /** A request was refused before it could be judged. */
  refused(hook: HookName, code: FaultCode): void;
  /** The body of a request has arrived, for which `finished` will be called. */
  started(): void;
  /**
   * A request was answered.
   * @param operation of the request; "" where it could not be read
   * @param reasons codes of reasons.ts or faults.ts; the first counts
   */
  finished(
    hook: HookName,
    operation: string,
    outcome: Outcome,
    reasons: readonly string[],
    seconds: number,
  ): void;
  /**
   * Somebody tried to weaken audit logging.
   * @param code of reasons.ts
   * @param datacenter of a Seed; "" where no Seed has it
   */
  attempted(code: string, datacenter: string, outcome: 'rejected' | 'admitted' | 'permitted'): void;
}

/** Makes the metrics; each call makes a registry that shares nothing with others. */
export function buildMetrics(sources: MetricsSources): Metrics {
  const registry = new Registry();
  const registers = [registry];
  let inFlight = 0;
  if (sources.processMetrics) collectDefaultMetrics({ register: registry });

  const requests = new Counter({
    name: `${PREFIX}requests_total`,
    help: 'Admission requests by hook, operation, outcome (allowed, patched, denied, failed) and first reason code.',
    labelNames: ['hook', 'operation', 'outcome', 'reason'],
    registers,
  });
  const latency = new Histogram({
    name: `${PREFIX}request_duration_seconds`,
    help: 'Time from a complete body to the answer.',
    labelNames: ['hook'],
    buckets: LATENCY_BUCKETS_SECONDS,
    registers,
  });
  const attempts = new Counter({
    name: `${PREFIX}attempts_total`,
    help: 'Attempts to weaken audit logging by reason code, datacenter and outcome (rejected, admitted by the mode, permitted to an operator).',
    labelNames: ['reason', 'datacenter', 'outcome'],
    registers,
  });
  const gauge = (name: string, help: string, read: () => number | undefined): void => {
    new Gauge({
      name: PREFIX + name,
      help,
      registers,
      collect() {
        this.remove();
        const value = read();
        if (value !== undefined) this.set(value);
      },
    });
  };
  gauge('requests_in_flight', 'Admission requests that are being judged.', () => inFlight);
  gauge('certificate_expiry_timestamp_seconds', 'When the served certificate ends.', () => {
    const expiry = sources.certificateExpiry();
    return expiry === undefined ? undefined : expiry.getTime() / 1000;
  });
  gauge('ready', '1 where the last readiness probe was told to send requests here.', () => {
    const ready = sources.ready();
    return ready === undefined ? undefined : Number(ready);
  });
  gauge('state_synced', '1 once the state was read in full.', () => {
    const health = sources.stateHealth();
    return health === undefined ? undefined : Number(health.synced);
  });
  gauge('state_age_seconds', 'Time since the source of the state last said that it is current.', () => {
    return sources.stateHealth()?.ageSeconds;
  });
  gauge('state_problems', 'Parts of the state that could not be read; the last good ones are used.', () => {
    return sources.stateHealth()?.problems.length;
  });
  new Gauge({
    name: `${PREFIX}state_objects`,
    help: 'Objects held in memory by kind.',
    labelNames: ['kind'],
    registers,
    collect() {
      this.reset();
      const health = sources.stateHealth();
      if (health === undefined) return;
      this.set({ kind: 'Cluster' }, health.clusters);
      this.set({ kind: 'Seed' }, health.seeds);
    },
  });
  new Gauge({
    name: `${PREFIX}build_info`,
    help: 'Always 1; the version is a label.',
    labelNames: ['version'],
    registers,
  }).set({ version: sources.version }, 1);

  return {
    registry,
    refused(hook, code) {
      requests.inc({ hook, operation: '', outcome: 'failed', reason: code });
    },
    started() {
      inFlight += 1;
    },
    finished(hook, operation, outcome, reasons, seconds) {
      inFlight -= 1;
      const [first = ''] = reasons;
      requests.inc({ hook, operation, outcome, reason: first === '' || CODE.test(first) ? first : 'OTHER' });
      latency.observe({ hook }, seconds);
    },
    attempted(reason, datacenter, outcome) {
      attempts.inc({ reason, datacenter, outcome });
    },
  };
}
