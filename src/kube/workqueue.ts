/**
 * Work by key, as client-go's rate-limited queue does it: a key that is added many times is worked on once, never twice at a time, again after
 * it was added during its work, and later and later while it fails. p-queue and its kind know neither keys nor such retries.
 */
import { type Clock, systemClock } from '../clock.ts';
import { type Backoff, backoffMs } from './backoff.ts';

export interface WorkQueueOptions {
  /** Works on a key. Where it throws, the key comes again after a while. */
  work(key: string, signal: AbortSignal): Promise<void>;
  /** Told of each failure; `failures` in a row. */
  onFailure?(key: string, error: unknown, failures: number): void;
  /** How many keys at a time; 4 by default. */
  readonly concurrency?: number;
  readonly backoff?: Backoff;
  readonly clock?: Clock;
  readonly random?: () => number;
}

const BACKOFF: Backoff = { baseMs: 250, maxMs: 60_000 };
const CONCURRENCY = 4;

export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #clock: Clock;
  /** In the order in which they came. */
  readonly #waiting = new Set<string>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #failures = new Map<string, number>();
  #signal: AbortSignal | undefined;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** How many keys wait. */
  get size(): number {
    return this.#waiting.size;
  }

  add(key: string): void {
    this.#waiting.add(key);
    this.#pump();
  }

  /** Forgets a key: it neither waits nor comes again by itself. */
  forget(key: string): void {
    this.#waiting.delete(key);
    this.#failures.delete(key);
  }

  /** Works until the signal, and returns when the last work has ended. */
  async run(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    this.#pump();
    if (!signal.aborted)
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    await Promise.all(this.#running.values());
  }

  #pump(): void {
    const { concurrency = CONCURRENCY } = this.#options;
    const signal = this.#signal;
    if (signal === undefined || signal.aborted) return;
    for (const key of this.#waiting) {
      if (this.#running.size >= concurrency) return;
      if (this.#running.has(key)) continue;
      this.#waiting.delete(key);
      const work = this.#work(key, signal).finally(() => {
        this.#running.delete(key);
        this.#pump();
      });
      this.#running.set(key, work);
    }
  }

  async #work(key: string, signal: AbortSignal): Promise<void> {
    const { work, onFailure, backoff = BACKOFF, random = Math.random } = this.#options;
    try {
      await work(key, signal);
      this.#failures.delete(key);
    } catch (error) {
      if (signal.aborted) return;
      const failures = (this.#failures.get(key) ?? 0) + 1;
      this.#failures.set(key, failures);
      onFailure?.(key, error, failures);
      void this.#clock.sleep(backoffMs(backoff, failures, random), signal).then(() => {
        if (this.#failures.has(key)) this.add(key);
      });
    }
  }
}

/** Lets so much through in a time, and the rest wait its turn. */
export class RateLimiter {
  readonly #intervalMs: number;
  readonly #burst: number;
  readonly #clock: Clock;
  /** When the bucket will be full again; what is taken moves it away. */
  #fullAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: { readonly perSecond: number; readonly burst: number; readonly clock?: Clock }) {
    this.#intervalMs = 1000 / options.perSecond;
    this.#burst = options.burst;
    this.#clock = options.clock ?? systemClock;
  }

  async take(signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.now();
    this.#fullAtMs = Math.max(this.#fullAtMs, nowMs) + this.#intervalMs;
    const waitMs = this.#fullAtMs - nowMs - this.#burst * this.#intervalMs;
    if (waitMs > 0) await this.#clock.sleep(waitMs, signal);
  }
}
