/**
 * One term of leadership, and the loop around the plan: looks at the clusters in which something changed, does what the plan says, and begins
 * roll-outs where the budget allows.
 */
import { setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import { type Config, optionsOf } from '../config.ts';
import type { KubeClient } from '../kube/client.ts';
import { WorkQueue } from '../kube/workqueue.ts';
import type { State } from '../state/state.ts';
import { Actor, NotLeading } from './act.ts';
import type { Announcer } from './announce.ts';
import { Fleet, type FleetHealth } from './fleet.ts';
import { Ledger } from './ledger.ts';
import type { ControllerMetrics } from './metrics.ts';
import type { Action } from './plan/action.ts';
import type { Assessment } from './plan/assess.ts';
import { type Progress, planFleet } from './plan/budget.ts';

export interface TermOptions {
  readonly client: KubeClient;
  readonly state: State;
  readonly config: Config;
  readonly logger: Logger;
  readonly announcer: Announcer;
  readonly metrics: () => ControllerMetrics | undefined;
  /** Looked at before every write. */
  readonly isLeader: () => boolean;
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
  /** Every cluster is looked at again after this time. */
  readonly scanIntervalMs?: number;
  /** Clusters in flight are looked at again after this time. */
  readonly tickIntervalMs?: number;
}

const SCAN_INTERVAL_MS = 60_000;
const TICK_INTERVAL_MS = 2000;
/** So long are changes collected before the state or the budget is looked at. */
export const SETTLE_MS = 50;
const CLUSTERS_PER_TURN = 50;

export class Term {
  readonly #options: TermOptions;
  readonly #signal: AbortSignal;
  readonly #fleet: Fleet;
  readonly #ledger: Ledger;
  readonly #actor: Actor;
  readonly #queue: WorkQueue;
  readonly #sleeper: Sleeper;
  #progress: ReadonlyMap<string, Progress> = new Map();
  #seeds: unknown;
  #stateChanged = true;
  #scanAll = true;

  /** @param signal ends the term */
  constructor(options: TermOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
    this.#fleet = new Fleet({ ...options, onChange: (namespace) => this.#onFleetChange(namespace) });
    this.#ledger = new Ledger({ ...options, fleet: this.#fleet });
    this.#actor = new Actor({ ...options, ledger: this.#ledger, signal });
    this.#queue = new WorkQueue({
      work: (name) => this.#reconcile(name),
      onFailure: (name, error, failures) => this.#tellFailure(name, error, failures),
    });
    this.#sleeper = new Sleeper(options.clock, signal);
  }

  /** What was last found of each cluster. */
  assessments(): Iterable<Assessment> {
    return this.#ledger.assessments();
  }

  /** By datacenter. */
  progress(): ReadonlyMap<string, Progress> {
    return this.#progress;
  }

  health(): FleetHealth {
    return this.#fleet.health();
  }

  /** Works until the signal. The state should be synced before. */
  async run(): Promise<void> {
    const { state, clock, logger } = this.#options;
    const stopListening = state.onChange(() => {
      this.#stateChanged = true;
      this.#sleeper.wake();
    });
    try {
      this.#fleet.start();
      this.#fleet.watchBackends();
      while (!this.#fleet.health().settled && !this.#signal.aborted)
        await clock.sleep(SETTLE_MS, this.#signal);
      if (this.#signal.aborted) return;
      const { clusters } = state.health();
      const { problems } = this.#fleet.health();
      logger.info({ clusters, problems }, 'controller: looking after the clusters');
      await Promise.all([this.#queue.run(this.#signal), this.#loop()]);
    } finally {
      stopListening();
      await this.#fleet.close();
    }
  }

  async #loop(): Promise<void> {
    const { clock, scanIntervalMs = SCAN_INTERVAL_MS, tickIntervalMs = TICK_INTERVAL_MS } = this.#options;
    let scanAtMs = clock.now() + scanIntervalMs;
    let tickAtMs = clock.now() + tickIntervalMs;
    while (!this.#signal.aborted) {
      if (this.#stateChanged) this.#queueChanged();
      if (clock.now() >= scanAtMs) this.#scanAll = true;
      if (this.#scanAll) {
        this.#scanAll = false;
        this.#actor.retryForbidden();
        scanAtMs = clock.now() + scanIntervalMs;
        await this.#scan();
      }
      if (clock.now() >= tickAtMs) {
        tickAtMs = clock.now() + tickIntervalMs;
        for (const { cluster, sinceMs } of this.assessments())
          if (sinceMs !== undefined) this.#queue.add(cluster);
      }
      await this.#begin();
      await this.#sleeper.sleep(Math.max(SETTLE_MS, Math.min(scanAtMs, tickAtMs) - clock.now()));
      await clock.sleep(SETTLE_MS, this.#signal);
    }
  }

  #onFleetChange(namespace: string): void {
    if (namespace === '') this.#scanAll = true;
    else {
      const cluster = this.#options.state.clusterOfNamespace(namespace);
      if (cluster === undefined) return;
      this.#queue.add(cluster.name);
    }
    this.#sleeper.wake();
  }

  #queueChanged(): void {
    this.#stateChanged = false;
    const seeds = this.#options.state.seeds();
    if (seeds !== this.#seeds) {
      this.#seeds = seeds;
      this.#fleet.watchBackends();
      this.#scanAll = true;
    }
    const { changed, gone } = this.#ledger.findChanged();
    for (const name of gone) this.#queue.forget(name);
    for (const name of changed) this.#queue.add(name);
  }

  /** Looks at every cluster, and queues those with something to do. */
  async #scan(): Promise<void> {
    let turn = 0;
    for (const { name } of [...this.#options.state.clusters()]) {
      if (this.#signal.aborted) return;
      const assessment = this.#ledger.assess(name);
      if ((assessment?.actions.length ?? 0) > 0) this.#queue.add(name);
      turn += 1;
      if (turn % CLUSTERS_PER_TURN === 0) await setImmediate();
    }
  }

  /** Begins roll-outs as far as the budget goes, one after the other. */
  async #begin(): Promise<void> {
    const { config, announcer } = this.#options;
    const { progress, starts } = planFleet(
      this.assessments(),
      (datacenter) => optionsOf(config, datacenter).rollout,
    );
    announcer.announceProgress(this.#progress, progress, this.assessments());
    this.#progress = progress;
    for (const { cluster } of starts) {
      if (this.#signal.aborted) return;
      // By a fresh look: what is stored of it may have moved on.
      const assessment = this.#ledger.assess(cluster);
      if (assessment?.start === undefined || !this.#actor.mayTry(assessment.start)) continue;
      try {
        await this.#actor.act(assessment.start, assessment);
        announcer.announceStart(assessment);
      } catch (error) {
        // Tried again at the next look: when the watch brings what was in the way, or a moment later.
        this.#tellFailure(cluster, error, 1);
        continue;
      }
      this.#ledger.assess(cluster);
      this.#queue.add(cluster);
    }
  }

  /** Does what is to be done about one cluster. */
  async #reconcile(name: string): Promise<void> {
    const before = this.#ledger.last(name);
    const done = new Set<string>();
    // What was written may change what is to be done. Nothing is done twice in one go: the watch will tell what came of it.
    for (let acted = true; acted && !this.#signal.aborted; ) {
      acted = false;
      const assessment = this.#ledger.assess(name);
      for (const planned of assessment?.actions ?? []) {
        const key = `${planned.name} ${planned.path}`;
        if (done.has(key) || !this.#actor.mayTry(planned)) continue;
        done.add(key);
        acted = true;
        const action = planned.verify ? await this.#confirm(planned, name) : planned;
        if (action !== undefined && assessment !== undefined) await this.#actor.act(action, assessment);
        if (planned.method !== 'POST') break;
      }
    }
    const after = this.#ledger.last(name);
    if (before?.sinceMs !== after?.sinceMs || (before?.start === undefined) !== (after?.start === undefined))
      this.#sleeper.wake();
  }

  /** The action as a fresh look asks for it; undefined where it does not. */
  async #confirm(action: Action, name: string): Promise<Action | undefined> {
    await this.#actor.refresh(name);
    return this.#ledger.assess(name)?.actions.find((other) => other.name === action.name);
  }

  #tellFailure(name: string, error: unknown, failures: number): void {
    if (!(error instanceof NotLeading)) this.#options.announcer.announceFailure(name, error, failures);
  }
}

/** Sleeps until its time is over, it is woken, or the signal. */
class Sleeper {
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  #woken = false;
  #wake: (() => void) | undefined;

  constructor(clock: Clock, signal: AbortSignal) {
    this.#clock = clock;
    this.#signal = signal;
  }

  /** Ends a sleep under way, or the next. */
  wake(): void {
    this.#woken = true;
    this.#wake?.();
  }

  async sleep(delayMs: number): Promise<void> {
    if (!this.#woken) {
      const waking = new AbortController();
      const stop = () => waking.abort();
      this.#wake = stop;
      this.#signal.addEventListener('abort', stop, { once: true });
      await this.#clock.sleep(delayMs, waking.signal);
      this.#signal.removeEventListener('abort', stop);
      this.#wake = undefined;
    }
    this.#woken = false;
  }
}
