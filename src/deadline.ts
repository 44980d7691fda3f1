/**
 * Deadlines of admission requests. A timer and an AbortSignal a request would cost more than most decisions do, so requests whose deadlines
 * fall into the same tenth of a second share one signal.
 */
const SLOT_MS = 100;
/** What kube-apiserver uses where a webhook names no `timeoutSeconds`, and the most that it allows. */
const DEFAULT_TIMEOUT_MS = 10_000;
const MAX_TIMEOUT_MS = 30_000;
const UNITS_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

/**
 * Reads the `timeout` that kube-apiserver sends with the query.
 * @param value a Go duration, such as "5s" or "1m30s"; anything else counts as kube-apiserver's default
 * @returns how long a decision may take, in milliseconds: a tenth (at most 500 ms) less, for the way back
 */
export function decisionTimeMs(value: unknown): number {
  const timeoutMs = typeof value === 'string' ? readDurationMs(value) : 0;
  const boundedMs = Math.min(timeoutMs > 0 ? timeoutMs : DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS);
  return boundedMs - Math.min(500, boundedMs / 10);
}

/** A Go duration in milliseconds; 0 where it is none. */
function readDurationMs(text: string): number {
  if (/^\d{1,4}s$/.test(text)) return Number(text.slice(0, -1)) * 1000; // nearly all of them, and on the way of every request
  if (!/^(?:\d+(?:\.\d+)?(?:h|ms|m|s))+$/.test(text)) return 0;
  let sumMs = 0;
  for (const [, amount = '', unit = ''] of text.matchAll(/([\d.]+)(h|ms|m|s)/g)) {
    sumMs += Number(amount) * (UNITS_MS[unit] ?? 0);
  }
  return sumMs;
}

export interface Deadlines {
  /** A signal that aborts when the time is over, or up to a tenth of a second before. Remove listeners from it: others share it. */
  signal(timeMs: number): AbortSignal;
  /** Stops the timers; no signal aborts any more. */
  close(): void;
}

/**
 * Makes a source of signals.
 * @param now a clock in milliseconds that never goes back
 */
export function buildDeadlines(now: () => number = () => performance.now()): Deadlines {
  const slots = new Map<number, { readonly signal: AbortSignal; readonly timer: NodeJS.Timeout }>();
  return {
    signal(timeMs) {
      const nowMs = now();
      const slot = Math.floor((nowMs + timeMs) / SLOT_MS);
      const known = slots.get(slot);
      if (known !== undefined) return known.signal;
      const controller = new AbortController();
      const timer = setTimeout(
        () => {
          slots.delete(slot);
          controller.abort(new DOMException('the time that kube-apiserver gives is over', 'TimeoutError'));
        },
        slot * SLOT_MS - nowMs,
      );
      timer.unref();
      slots.set(slot, { signal: controller.signal, timer });
      return controller.signal;
    },
    close() {
      for (const { timer } of slots.values()) clearTimeout(timer);
      slots.clear();
    },
  };
}
