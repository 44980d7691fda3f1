/** Time as the parts that wait see it, so that tests decide what it is. */
export interface Clock {
  /** Milliseconds; only differences mean anything. */
  now(): number;
  /** Waits that long, or until the signal aborts; it never rejects. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
}

/** setTimeout takes more for nothing. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** A clock that no correction of the machine's time moves. */
export const systemClock: Clock = {
  now: () => performance.now(),
  sleep: (delayMs, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, Math.min(Math.max(delayMs, 0), MAX_TIMER_MS));
      signal?.addEventListener('abort', done);
    }),
};
