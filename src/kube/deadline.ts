/** The end of an exchange: by its time, or by whoever asked for it. */
export interface Deadline {
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  readonly timedOut: boolean;
  restart(timeoutMs: number): void;
  end(): void;
}

/** Starts the time. Not AbortSignal.any: what a caller's signal of a long life collects there is freed late. */
export function startDeadline(outer: AbortSignal | undefined, timeoutMs: number): Deadline {
  const controller = new AbortController();
  let timedOut = false;
  let limitMs = timeoutMs;
  const expire = () => {
    timedOut = true;
    controller.abort();
  };
  const abort = () => controller.abort();
  let timer = setTimeout(expire, limitMs);
  if (outer?.aborted) abort();
  outer?.addEventListener('abort', abort);
  return {
    signal: controller.signal,
    get timeoutMs() {
      return limitMs;
    },
    get timedOut() {
      return timedOut;
    },
    restart(newLimitMs) {
      if (newLimitMs === limitMs) {
        timer.refresh();
        return;
      }
      clearTimeout(timer);
      limitMs = newLimitMs;
      timer = setTimeout(expire, limitMs);
    },
    end() {
      clearTimeout(timer);
      outer?.removeEventListener('abort', abort);
    },
  };
}

/**
 * Waits no longer than the signal allows, for what cannot be aborted itself or goes on for others.
 * @param explain the error where the signal came first
 */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal, explain: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(explain());
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort);
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
