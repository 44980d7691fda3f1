import type { Clock } from '../../src/clock.ts';

interface Sleeper {
  readonly atMs: number;
  readonly wake: () => void;
}

/** A clock that stands still until the test moves it. */
export class FakeClock implements Clock {
  #nowMs = 1_000_000;
  readonly #sleepers = new Set<Sleeper>();

  now(): number {
    return this.#nowMs;
  }

  /** How many wait for the clock. */
  get sleeping(): number {
    return this.#sleepers.size;
  }

  /** How long until the first of them wakes. */
  get nextMs(): number {
    return Math.min(...[...this.#sleepers].map(({ atMs }) => atMs)) - this.#nowMs;
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted || delayMs <= 0) return resolve();
      const sleeper: Sleeper = {
        atMs: this.#nowMs + delayMs,
        wake: () => {
          this.#sleepers.delete(sleeper);
          signal?.removeEventListener('abort', sleeper.wake);
          resolve();
        },
      };
      this.#sleepers.add(sleeper);
      signal?.addEventListener('abort', sleeper.wake);
    });
  }

  /** Moves on and wakes those whose time has come, in their order. */
  advance(byMs: number): void {
    this.#nowMs += byMs;
    const due = [...this.#sleepers].filter(({ atMs }) => atMs <= this.#nowMs);
    for (const sleeper of due.sort((a, b) => a.atMs - b.atMs)) sleeper.wake();
  }
}
