/**
 * Leader election by a Lease, as client-go does it (client-node has none). Why there are not two leaders: every write names the resourceVersion that
 * it replaces, so that one of two writers fails. A leader counts its time from *before* it sent its last successful write and gives up after
 * `renewDeadlineMs`; another one counts from *after* it first saw that write and waits for `leaseDurationMs`, which is longer. No clocks are
 * compared, only durations, so they need to run equally fast, not to agree. A Lease that somebody deletes gives all of this up for one renewal.
 */
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { type Clock, systemClock } from '../clock.ts';
import { type KubernetesObject, resourcePath } from '../kubernetes.ts';
import { isStatus, type KubeClient } from './client.ts';

export interface LeaderElectionOptions {
  readonly client: KubeClient;
  readonly logger: Logger;
  readonly namespace: string;
  readonly name: string;
  /** The replica as people know it, such as the pod's name; something unique to the process is added. */
  readonly identity: string;
  /**
   * Runs while this replica leads. It ends soon after the signal, which comes when leadership is lost or given up; no other run begins before it ended. Its
   * writes check `isLeader()` shortly before, and are conditional themselves.
   */
  lead(signal: AbortSignal): Promise<void>;
  readonly clock?: Clock;
  readonly random?: () => number;
  /** For the times in the Lease, which nobody computes with. */
  readonly wallTime?: () => Date;
  readonly leaseDurationMs?: number;
  readonly renewDeadlineMs?: number;
  readonly retryPeriodMs?: number;
}

interface Lease extends KubernetesObject {
  readonly spec?: {
    readonly holderIdentity?: string | null;
    readonly leaseDurationSeconds?: number | null;
    readonly leaseTransitions?: number | null;
    readonly acquireTime?: string | null;
    readonly renewTime?: string | null;
  };
}

/** The Lease as this replica last saw it, and when it first saw it so. */
interface Observation {
  readonly lease: Lease;
  readonly atMs: number;
}

/** No slip in a Lease, by whomever, keeps every replica from leading for longer. */
const MAX_DURATION_MS = 600_000;
const API = 'coordination.k8s.io/v1';

export class LeaderElection {
  readonly #options: LeaderElectionOptions;
  readonly #clock: Clock;
  readonly #leaseDurationMs: number;
  readonly #renewDeadlineMs: number;
  readonly #retryPeriodMs: number;
  readonly #stopping = new AbortController();
  readonly #path: string;
  #observed: Observation | undefined;
  #leading = false;
  #validUntilMs = Number.NEGATIVE_INFINITY;
  #problem: string | undefined;
  #running: Promise<void> | undefined;
  /** What the Lease calls this process. */
  readonly identity: string;

  /** @throws {RangeError} where the durations leave room for two leaders */
  constructor(options: LeaderElectionOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#leaseDurationMs = options.leaseDurationMs ?? 15_000;
    this.#renewDeadlineMs = options.renewDeadlineMs ?? 10_000;
    this.#retryPeriodMs = options.retryPeriodMs ?? 2000;
    if (!(this.#retryPeriodMs * 1.2 < this.#renewDeadlineMs && this.#renewDeadlineMs < this.#leaseDurationMs))
      throw new RangeError(
        'the retry period must be shorter than the renewal deadline, and that than the lease',
      );
    if (this.#leaseDurationMs % 1000 !== 0) throw new RangeError('the lease must last whole seconds');
    this.#path = resourcePath(API, 'leases', { namespace: options.namespace, name: options.name });
    this.identity = `${options.identity}_${randomUUID()}`;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Judged by the clock at this moment: a process that was held up does not take itself for the leader when it wakes. */
  isLeader(): boolean {
    return this.#leading && this.#clock.now() < this.#validUntilMs;
  }

  /** Who led when last seen; undefined where nobody does. */
  holder(): string | undefined {
    return this.#observed?.lease.spec?.holderIdentity || undefined;
  }

  /** Why the Lease cannot be read or written, in one line; undefined when all is well. */
  problem(): string | undefined {
    return this.#problem;
  }

  /** Ends the work, then lets go of the Lease, so that another replica need not wait for it. */
  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { logger, name } = this.#options;
    while (!signal.aborted) {
      if (await this.#attempt(() => this.#acquire())) {
        logger.info({ lease: name, identity: this.identity }, 'leading');
        await this.#lead();
        logger.info({ lease: name, identity: this.identity }, 'no longer leading');
      }
      await this.#clock.sleep(this.#retryPeriodMs * this.#jitter(), signal);
    }
  }

  /** @returns once the work has ended, whoever ended it */
  async #lead(): Promise<void> {
    const over = new AbortController();
    const stop = () => over.abort();
    this.#stopping.signal.addEventListener('abort', stop);
    if (this.#stopping.signal.aborted) stop();
    this.#leading = true;
    const work = this.#work(over.signal).finally(stop);
    await this.#keepRenewing(over.signal);
    stop();
    this.#stopping.signal.removeEventListener('abort', stop);
    // It must stay this replica's until the work has ended; without an end in time, it expires by itself.
    const drained = new AbortController();
    const expiry = this.#clock.sleep(this.#validUntilMs - this.#clock.now(), drained.signal);
    await Promise.race([work, expiry]);
    drained.abort();
    const release = this.isLeader();
    this.#leading = false;
    if (release) await this.#attempt(() => this.#release());
    await work;
  }

  async #work(signal: AbortSignal): Promise<void> {
    try {
      await this.#options.lead(signal);
    } catch (error) {
      this.#options.logger.error({ err: error, lease: this.#options.name }, 'the work of the leader failed');
    }
  }

  /** Returns when the Lease is lost, or the signal says that it is no longer wanted. */
  async #keepRenewing(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const remainingMs = this.#validUntilMs - this.#clock.now();
      await this.#clock.sleep(Math.min(this.#retryPeriodMs, remainingMs), signal);
      if (signal.aborted) return;
      if (!this.isLeader()) return this.#lose('it could not be renewed in time');
      await this.#attempt(async () => {
        const sentAtMs = this.#clock.now();
        try {
          await this.#write(this.#observed?.lease, {});
        } catch (error) {
          // Perhaps an earlier write arrived whose answer was lost.
          if (!isStatus(error, 409)) throw error;
          await this.#observe();
          if (this.holder() !== this.identity) return false;
          await this.#write(this.#observed?.lease, {});
        }
        this.#validUntilMs = sentAtMs + this.#renewDeadlineMs;
        return true;
      });
      if (this.holder() !== this.identity) return this.#lose(`it is held by ${this.holder() ?? 'nobody'}`);
    }
  }

  #lose(reason: string): void {
    this.#options.logger.warn({ lease: this.#options.name, reason }, 'leadership lost');
  }

  /** @returns whether this replica leads now */
  async #acquire(): Promise<boolean> {
    const before = this.#observed;
    const lease = await this.#observe();
    const held = lease ?? before?.lease;
    const holder = held?.spec?.holderIdentity;
    const seenAtMs = lease === undefined ? before?.atMs : this.#observed?.atMs;
    if (holder && holder !== this.identity && this.#clock.now() < (seenAtMs ?? 0) + this.#durationMs(held)) {
      // A Lease that was deleted may still be believed in by its holder.
      if (lease === undefined) this.#observed = before;
      return false;
    }
    const sentAtMs = this.#clock.now();
    await this.#write(lease, {
      acquireTime: this.#timestamp(),
      leaseTransitions: (lease?.spec?.leaseTransitions ?? -1) + 1,
    });
    this.#validUntilMs = sentAtMs + this.#renewDeadlineMs;
    return true;
  }

  async #release(): Promise<boolean> {
    await this.#write(this.#observed?.lease, { holderIdentity: '', leaseDurationSeconds: 1 });
    return true;
  }

  /** Reads the Lease; the time counts from when it was first seen as it is. */
  async #observe(): Promise<Lease | undefined> {
    const lease = await this.#request('GET', this.#path).catch((error: unknown) => {
      if (isStatus(error, 404) && error.objectName !== '') return undefined;
      throw error;
    });
    if (lease === undefined) this.#observed = undefined;
    else this.#see(lease);
    return lease;
  }

  #see(lease: Lease): void {
    if (lease.metadata?.resourceVersion === this.#observed?.lease.metadata?.resourceVersion) return;
    this.#observed = { lease, atMs: this.#clock.now() };
  }

  /**
   * Writes the Lease in this replica's name, in the place of that one only.
   * @throws {KubeError} 409 where it is another by now
   */
  async #write(lease: Lease | undefined, changes: NonNullable<Lease['spec']>): Promise<void> {
    const spec = {
      ...lease?.spec,
      holderIdentity: this.identity,
      leaseDurationSeconds: this.#leaseDurationMs / 1000,
      renewTime: this.#timestamp(),
      ...changes,
    };
    const { namespace, name } = this.#options;
    const written =
      lease === undefined
        ? await this.#request('POST', resourcePath(API, 'leases', { namespace }), {
            apiVersion: API,
            kind: 'Lease',
            metadata: { name, namespace },
            spec,
          })
        : await this.#request('PUT', this.#path, { ...lease, apiVersion: API, kind: 'Lease', spec });
    this.#see(written);
  }

  /** No request outlives the leadership, nor takes so long that no second one could follow. */
  async #request(method: 'GET' | 'POST' | 'PUT', path: string, body?: Lease): Promise<Lease> {
    const limitMs = this.#renewDeadlineMs / 2;
    const remainingMs = this.#leading ? Math.min(limitMs, this.#validUntilMs - this.#clock.now()) : limitMs;
    const expired = new AbortController();
    const answered = new AbortController();
    void this.#clock.sleep(remainingMs, answered.signal).then(() => expired.abort());
    try {
      return await this.#options.client.request<Lease>(method, path, {
        ...(body === undefined ? {} : { body }),
        signal: expired.signal,
        timeoutMs: limitMs,
      });
    } finally {
      answered.abort();
    }
  }

  /** A failure is a problem that is told once; another replica that was faster is none. */
  async #attempt(action: () => Promise<boolean>): Promise<boolean> {
    try {
      const done = await action();
      this.#problem = undefined;
      return done;
    } catch (error) {
      if (isStatus(error, 409)) return false;
      // A leader whose Lease is gone has none.
      if (isStatus(error, 404) && error.objectName !== '') this.#observed = undefined;
      const problem = error instanceof Error ? error.message : String(error);
      if (problem !== this.#problem)
        this.#options.logger.warn({ lease: this.#options.name, problem }, 'the Lease cannot be used');
      this.#problem = problem;
      return false;
    }
  }

  #durationMs(lease: Lease | undefined): number {
    const seconds = lease?.spec?.leaseDurationSeconds;
    return typeof seconds === 'number' && seconds > 0
      ? Math.min(seconds * 1000, MAX_DURATION_MS)
      : this.#leaseDurationMs;
  }

  #timestamp(): string {
    const time = (this.#options.wallTime ?? (() => new Date()))();
    // MicroTime is read with exactly six digits.
    return time.toISOString().replace('Z', '000Z');
  }

  #jitter(): number {
    return 1 + 0.2 * (this.#options.random ?? Math.random)();
  }
}
