/**
 * The loop around the plan: looks at the clusters in which something changed, does what the plan says, and begins roll-outs where the budget allows.
 * It runs on the leader alone, and all that matters is in the objects: another leader goes on where this one ended. What is in memory here (what is
 * queued, what was written moments ago, when a nudge was sent) only saves work.
 */
import { setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type Clock, systemClock } from '../clock.ts';
import { type Config, optionsOf } from '../config.ts';
import { type ClusterView, KKP_GROUP, viewCluster } from '../kkp.ts';
import { isStatus, type KubeClient, KubeError } from '../kube/client.ts';
import type { EventRecorder } from '../kube/events.ts';
import { RateLimiter, WorkQueue } from '../kube/workqueue.ts';
import { type JsonObject, type KubernetesObject, resourcePath, type Secret } from '../kubernetes.ts';
import type { State } from '../state/state.ts';
import { Fleet, type FleetHealth, isOlder } from './fleet.ts';
import type { ControllerMetrics } from './metrics.ts';
import { ownSecret } from './objects.ts';
import type { Action } from './plan/action.ts';
import { type Assessment, assess } from './plan/assess.ts';
import { type Progress, planFleet } from './plan/budget.ts';
import { DRIFT } from './plan/drift.ts';
import { CONTENT_ANNOTATION } from './view.ts';

export interface ControllerOptions {
  readonly client: KubeClient;
  readonly state: State;
  readonly config: Config;
  readonly logger: Logger;
  readonly events: EventRecorder;
  /** Looked at before every write. */
  readonly isLeader: () => boolean;
  readonly clock?: Clock;
  /** Milliseconds since 1970. */
  readonly nowMs?: () => number;
  /** Every cluster is looked at again after this time. */
  readonly scanIntervalMs?: number;
  /** Clusters in flight are looked at again after this time. */
  readonly tickIntervalMs?: number;
}

const SCAN_INTERVAL_MS = 60_000;
const TICK_INTERVAL_MS = 2000;
/** So long are changes collected before the state or the budget is looked at. */
const SETTLE_MS = 50;
/** What a roll-out may cost the API server; the hooks' own look-ups are not counted. */
const REQUESTS_PER_SECOND = 20;
const REQUEST_BURST = 40;
/** A Deployment that a nudge did not change is nudged again after this time. */
const NUDGE_INTERVAL_MS = 30_000;
const CLUSTERS_PER_TURN = 50;

export class Controller {
  readonly #options: ControllerOptions;
  readonly #clock: Clock;
  readonly #nowMs: () => number;
  readonly #metrics: () => ControllerMetrics | undefined;
  readonly #assessments = new Map<string, Assessment>();
  readonly #seen = new Map<string, ClusterView>();
  /** Clusters as writes brought them back, until the watch has caught up. */
  readonly #written = new Map<string, ClusterView>();
  /** When something was done last, by its path and occasion. */
  readonly #occasions = new Map<string, { readonly occasion: string; readonly atMs: number }>();
  /** Writes that RBAC does not allow, until the next scan, and the kinds of which that was told. */
  readonly #forbidden = new Set<string>();
  readonly #toldForbidden = new Set<string>();
  #seeds: unknown;
  #fleet: Fleet | undefined;
  #progress: ReadonlyMap<string, Progress> = new Map();

  /** @param metrics a function, because the metrics read from the controller */
  constructor(options: ControllerOptions, metrics: () => ControllerMetrics | undefined = () => undefined) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#nowMs = options.nowMs ?? Date.now;
    this.#metrics = metrics;
  }

  /** What was last found of each cluster; empty where this replica does not lead. */
  assessments(): Iterable<Assessment> {
    return this.#assessments.values();
  }

  progress(): ReadonlyMap<string, Progress> {
    return this.#progress;
  }

  health(): FleetHealth | undefined {
    return this.#fleet?.health();
  }

  /** Leads until the signal. Fails only by a fault of its own. */
  async lead(signal: AbortSignal): Promise<void> {
    const { client, state, config, logger } = this.#options;
    const run = new Run(signal);
    const queue = new WorkQueue({
      work: (name) => this.#reconcile(name, run),
      onFailure: (name, error, failures) => this.#tellFailure(name, error, failures),
    });
    const fleet = new Fleet({
      client,
      state,
      config,
      logger,
      nowMs: this.#nowMs,
      onChange: (namespace) => {
        if (namespace === '') run.scanAll = true;
        else {
          const cluster = state.clusterOfNamespace(namespace);
          if (cluster === undefined) return;
          queue.add(cluster.name);
        }
        run.wake();
      },
    });
    const stopListening = state.onChange(() => {
      run.stateChanged = true;
      run.wake();
    });
    try {
      await this.#awaitState(signal);
      this.#fleet = fleet;
      fleet.start();
      fleet.watchBackends();
      await this.#awaitFleet(fleet, signal);
      if (signal.aborted) return;
      const { clusters } = state.health();
      logger.info({ clusters, problems: fleet.health().problems }, 'controller: looking after the clusters');
      run.scanAll = true;
      await Promise.all([queue.run(signal), this.#loop(run, queue)]);
    } finally {
      stopListening();
      await fleet.close();
      this.#fleet = undefined;
      for (const memory of [this.#assessments, this.#seen, this.#written, this.#occasions]) memory.clear();
      this.#progress = new Map();
      this.#seeds = undefined;
    }
  }

  async #awaitState(signal: AbortSignal): Promise<void> {
    while (!this.#options.state.health().synced && !signal.aborted)
      await this.#clock.sleep(SETTLE_MS, signal);
  }

  async #awaitFleet(fleet: Fleet, signal: AbortSignal): Promise<void> {
    while (!fleet.health().settled && !signal.aborted) await this.#clock.sleep(SETTLE_MS, signal);
  }

  async #loop(run: Run, queue: WorkQueue): Promise<void> {
    const { signal } = run;
    const { scanIntervalMs = SCAN_INTERVAL_MS, tickIntervalMs = TICK_INTERVAL_MS } = this.#options;
    let scanAtMs = this.#clock.now() + scanIntervalMs;
    let tickAtMs = this.#clock.now() + tickIntervalMs;
    while (!signal.aborted) {
      if (run.stateChanged) this.#findChanged(run, queue);
      if (this.#clock.now() >= scanAtMs) run.scanAll = true;
      if (run.scanAll) {
        run.scanAll = false;
        this.#forbidden.clear();
        scanAtMs = this.#clock.now() + scanIntervalMs;
        await this.#scan(queue, signal);
      }
      if (this.#clock.now() >= tickAtMs) {
        tickAtMs = this.#clock.now() + tickIntervalMs;
        for (const { cluster, sinceMs } of this.#assessments.values())
          if (sinceMs !== undefined) queue.add(cluster);
      }
      await this.#begin(run, queue);
      await run.sleep(this.#clock, Math.max(SETTLE_MS, Math.min(scanAtMs, tickAtMs) - this.#clock.now()));
      await this.#clock.sleep(SETTLE_MS, signal);
    }
  }

  /** The state does not say what changed: compared by identity, which costs a millisecond for ten thousand. */
  #findChanged(run: Run, queue: WorkQueue): void {
    run.stateChanged = false;
    const { state } = this.#options;
    if (state.seeds() !== this.#seeds) {
      this.#seeds = state.seeds();
      this.#fleet?.watchBackends();
      run.scanAll = true;
    }
    for (const name of this.#seen.keys()) {
      if (state.cluster(name) !== undefined) continue;
      this.#seen.delete(name);
      this.#assessments.delete(name);
      this.#written.delete(name);
      queue.forget(name);
    }
    for (const cluster of state.clusters()) {
      const old = this.#seen.get(cluster.name);
      this.#seen.set(cluster.name, cluster);
      if (old !== cluster) queue.add(cluster.name);
    }
  }

  /** Looks at every cluster, and queues those with something to do. */
  async #scan(queue: WorkQueue, signal: AbortSignal): Promise<void> {
    let turn = 0;
    for (const { name } of [...this.#options.state.clusters()]) {
      if (signal.aborted) return;
      const assessment = this.#assess(name);
      if ((assessment?.actions.length ?? 0) > 0) queue.add(name);
      turn += 1;
      if (turn % CLUSTERS_PER_TURN === 0) await setImmediate();
    }
  }

  /** Begins roll-outs as far as the budget goes, one after the other. */
  async #begin(run: Run, queue: WorkQueue): Promise<void> {
    const { config, logger } = this.#options;
    const { progress, starts } = planFleet(
      this.#assessments.values(),
      (datacenter) => optionsOf(config, datacenter).rollout,
    );
    this.#tellProgress(progress);
    this.#progress = progress;
    for (const { cluster } of starts) {
      if (run.signal.aborted) return;
      // By a fresh look: what is stored of it may have moved on.
      const assessment = this.#assess(cluster);
      if (assessment?.start === undefined || !this.#isDue(assessment.start)) continue;
      try {
        await this.#act(assessment.start, assessment, run);
        const { datacenter, drift } = assessment;
        logger.info({ cluster, datacenter, drift }, 'roll-out of a cluster begins');
        this.#event(assessment, 'Normal', 'AuditLoggingRolloutStarted', 'Start', explainDrift(assessment));
      } catch (error) {
        // Tried again at the next look: when the watch brings what was in the way, or a moment later.
        this.#tellFailure(cluster, error, 1);
        continue;
      }
      this.#assess(cluster);
      queue.add(cluster);
    }
  }

  #cluster(name: string): ClusterView | undefined {
    const cluster = this.#options.state.cluster(name);
    const written = this.#written.get(name);
    if (cluster === undefined || written === undefined) return cluster;
    if (cluster.uid === written.uid && isOlder(cluster.resourceVersion, written.resourceVersion))
      return written;
    this.#written.delete(name);
    return cluster;
  }

  #assess(name: string): Assessment | undefined {
    const cluster = this.#cluster(name);
    if (cluster === undefined || this.#fleet === undefined) {
      this.#assessments.delete(name);
      return undefined;
    }
    const before = this.#assessments.get(name);
    let assessment: Assessment;
    try {
      assessment = assess(this.#fleet.facts(cluster), this.#nowMs());
    } catch (error) {
      // A fault about one Cluster must not stop the work on the others.
      this.#assessments.delete(name);
      this.#options.logger.error({ cluster: name, err: error }, 'controller: a cluster can not be judged');
      return undefined;
    }
    this.#assessments.set(name, assessment);
    if (before?.state !== assessment.state) this.#tellState(before, assessment);
    return assessment;
  }

  async #reconcile(name: string, run: Run): Promise<void> {
    const before = this.#assessments.get(name);
    const done = new Set<string>();
    // What was written may change what is to be done. Nothing is done twice in one go: the watch will tell what came of it.
    for (let acted = true; acted && !run.signal.aborted; ) {
      acted = false;
      const assessment = this.#assess(name);
      for (const planned of assessment?.actions ?? []) {
        const key = `${planned.name} ${planned.path}`;
        if (done.has(key) || !this.#isDue(planned)) continue;
        done.add(key);
        acted = true;
        const action = planned.verify ? await this.#confirm(planned, name, run) : planned;
        if (action !== undefined && assessment !== undefined) await this.#act(action, assessment, run);
        if (planned.method !== 'POST') break;
      }
    }
    const after = this.#assessments.get(name);
    if (before?.sinceMs !== after?.sinceMs || (before?.start === undefined) !== (after?.start === undefined))
      run.wake();
  }

  /** What the API refuses by RBAC is not asked for again before the next scan, and an empty patch that changed nothing not before a while. */
  #isDue({ name, path, occasion }: Action): boolean {
    if (this.#forbidden.has(`${name} ${path}`)) return false;
    if (occasion === undefined) return true;
    const last = this.#occasions.get(path);
    const atMs = this.#clock.now();
    if (last?.occasion === occasion && atMs - last.atMs < NUDGE_INTERVAL_MS) return false;
    this.#occasions.set(path, { occasion, atMs });
    return true;
  }

  /** The action as a fresh look asks for it; undefined where it does not. */
  async #confirm(action: Action, name: string, run: Run): Promise<Action | undefined> {
    await this.#refresh(name, run);
    return this.#assess(name)?.actions.find((other) => other.name === action.name);
  }

  async #refresh(name: string, run: Run): Promise<void> {
    const cluster = this.#cluster(name);
    if (cluster === undefined || this.#fleet === undefined) return;
    const isRolling = this.#assessments.get(name)?.sinceMs !== undefined;
    await (isRolling ? run.rolloutLimiter : run.limiter).take(run.signal);
    await this.#fleet.refresh(cluster.namespace, run.signal);
  }

  /**
   * Does one thing.
   * @throws {KubeError} where the API refuses; a conflict means that the facts are old
   */
  async #act(action: Action, assessment: Assessment, run: Run): Promise<void> {
    const { cluster } = assessment;
    const { logger, isLeader } = this.#options;
    if (action.method === 'REFRESH') return this.#refresh(cluster, run);
    const isRolling = assessment.sinceMs !== undefined || action.name === 'startRollout';
    await (isRolling ? run.rolloutLimiter : run.limiter).take(run.signal);
    if (!isLeader() || run.signal.aborted) throw new NotLeading();
    const log = { cluster, action: action.name };
    try {
      const answer = await this.#send(action, run.signal);
      this.#metrics()?.acted(action.name, 'done');
      this.#toldForbidden.delete(action.name);
      this.#remember(cluster, answer);
      if (action.name !== 'nudgeDeployment') logger.info(log, 'controller: done');
      else logger.debug(log, 'controller: done');
      if (action.name === 'finishRollout') {
        this.#event(
          assessment,
          'Normal',
          'AuditLoggingRolledOut',
          'Finish',
          'audit logging is as it should be, and the apiservers are available',
        );
      }
    } catch (error) {
      if (action.method === 'POST' && isStatus(error, 409)) {
        // Someone else was faster. What it made is looked at when the watch brings it.
        this.#metrics()?.acted(action.name, 'conflict');
        return;
      }
      if (action.method === 'DELETE' && isStatus(error, 404)) return;
      const isForbidden = isStatus(error, 403);
      const outcome = isForbidden ? 'forbidden' : isStatus(error, 409) ? 'conflict' : 'failed';
      this.#metrics()?.acted(action.name, outcome);
      if (!isForbidden) throw error;
      this.#forbidden.add(`${action.name} ${action.path}`);
      if (!this.#toldForbidden.has(action.name)) {
        this.#toldForbidden.add(action.name);
        logger.error({ ...log, problem: error.message }, 'controller: not allowed; the rest goes on');
      }
    }
  }

  async #send(action: Action, signal: AbortSignal): Promise<KubernetesObject | undefined> {
    const { client } = this.#options;
    if (action.method === 'COPY') return this.#copy(action, signal);
    const method = action.method as 'POST' | 'PATCH' | 'DELETE';
    return client.request<KubernetesObject>(method, action.path, { body: action.body, signal });
  }

  /** Copies a Secret, in the place of the version that the action names, where it names one. */
  async #copy({ path, body }: Action, signal: AbortSignal): Promise<KubernetesObject> {
    const { client } = this.#options;
    const { namespace, name, resourceVersion } = body as {
      namespace: string;
      name: string;
      resourceVersion: string;
    };
    const source = await client.request<Secret>('GET', path, { signal });
    const copy = ownSecret(name, source.data ?? {});
    const from = `${source.metadata?.namespace}/${name}@${source.metadata?.resourceVersion}`;
    const metadata = copy.metadata as JsonObject;
    const marked = { ...metadata, annotations: { [CONTENT_ANNOTATION]: from } };
    const place = resourcePath('v1', 'secrets', { namespace });
    if (resourceVersion === '') {
      return client.request('POST', place, { body: { ...copy, metadata: marked }, signal });
    }
    const patch = { metadata: { ...marked, resourceVersion }, data: copy.data };
    return client.request('PATCH', `${place}/${name}`, { body: patch, signal });
  }

  #remember(cluster: string, answer: KubernetesObject | undefined): void {
    if (answer?.kind === 'Cluster' && answer.apiVersion?.startsWith(`${KKP_GROUP}/`))
      this.#written.set(cluster, viewCluster(answer));
    else if (answer !== undefined) this.#fleet?.take(answer);
  }

  #tellFailure(cluster: string, error: unknown, failures: number): void {
    if (error instanceof NotLeading) return;
    const log = { cluster, failures, problem: error instanceof Error ? error.message : String(error) };
    // A conflict is looked at again at once; the first failures of the API are nothing to wake anybody for.
    if (isStatus(error, 409)) this.#options.logger.debug(log, 'controller: a write met a newer object');
    else if (error instanceof KubeError) this.#options.logger.warn(log, 'controller: will try again');
    else this.#options.logger.error({ ...log, err: error }, 'controller: a fault of its own; will try again');
  }

  #tellState(before: Assessment | undefined, after: Assessment): void {
    const { cluster, datacenter, state, drift, reasons } = after;
    const log = { cluster, datacenter, state, before: before?.state ?? '', drift, reasons };
    if (state === 'failing') {
      this.#options.logger.warn(log, 'the roll-out of a cluster does not come to its end');
      this.#event(
        after,
        'Warning',
        'AuditLoggingRolloutFailing',
        'Wait',
        `the apiservers did not become available and audited in time: ${explainDrift(after) || 'they are not available'}`,
      );
    } else if (drift.length > 0 && (state === 'waiting' || state === 'drifted')) {
      this.#options.logger.info(log, 'a cluster is not as it should be');
      if (before?.state === 'compliant')
        this.#event(after, 'Warning', 'AuditLoggingDrift', 'Repair', explainDrift(after));
    }
  }

  /** Tells when a datacenter's roll-out is stopped, on the clusters that stop it, and when it goes on. */
  #tellProgress(progress: ReadonlyMap<string, Progress>): void {
    for (const [datacenter, now] of progress) {
      const wasPaused = this.#progress.get(datacenter)?.paused ?? false;
      if (now.paused === wasPaused) continue;
      const log = { datacenter, ...now };
      if (!now.paused) {
        this.#options.logger.info(log, 'roll-out goes on');
        continue;
      }
      this.#options.logger.warn(log, 'roll-out paused: too many clusters failed');
      for (const assessment of this.#assessments.values()) {
        if (assessment.datacenter !== datacenter || assessment.state !== 'failing') continue;
        this.#event(
          assessment,
          'Warning',
          'AuditLoggingRolloutPaused',
          'Pause',
          `the roll-out of audit logging in datacenter ${datacenter} is paused until this cluster's apiservers are available; ${now.waiting} clusters wait`,
        );
      }
    }
  }

  #event(
    assessment: Assessment,
    type: 'Normal' | 'Warning',
    reason: string,
    action: string,
    message: string,
  ): void {
    const { cluster: name, uid } = assessment;
    this.#options.events.record({ name, uid }, { type, reason, action, message });
  }
}

/** Leadership ended before a write: the next leader does it. */
class NotLeading extends Error {
  override readonly name = 'NotLeading';
}

const explainDrift = ({ drift }: Assessment): string => drift.map((code) => DRIFT[code].sentence).join('; ');

/** One term of leadership. */
class Run {
  readonly signal: AbortSignal;
  readonly limiter = new RateLimiter({ perSecond: REQUESTS_PER_SECOND, burst: REQUEST_BURST });
  /** Clusters in flight do not queue behind those that wait and are only prepared. */
  readonly rolloutLimiter = new RateLimiter({ perSecond: REQUESTS_PER_SECOND, burst: REQUEST_BURST });
  stateChanged = true;
  scanAll = false;
  #woken = false;
  #wake: (() => void) | undefined;

  constructor(signal: AbortSignal) {
    this.signal = signal;
  }

  /** Ends a sleep under way, or the next. */
  wake(): void {
    this.#woken = true;
    this.#wake?.();
  }

  async sleep(clock: Clock, delayMs: number): Promise<void> {
    if (!this.#woken) {
      const waking = new AbortController();
      const stop = () => waking.abort();
      this.#wake = stop;
      this.signal.addEventListener('abort', stop, { once: true });
      await clock.sleep(delayMs, waking.signal);
      this.signal.removeEventListener('abort', stop);
      this.#wake = undefined;
    }
    this.#woken = false;
  }
}
