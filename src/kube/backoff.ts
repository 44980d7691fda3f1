/** How long to wait between attempts: doubled each time, up to a limit, and spread so that replicas do not come together. */
export interface Backoff {
  readonly baseMs: number;
  readonly maxMs: number;
}

/**
 * @param failures in a row, from 1
 * @param random between 0 and 1
 * @returns between half and the whole of the step
 */
export function backoffMs(backoff: Backoff, failures: number, random: () => number): number {
  const stepMs = Math.min(backoff.maxMs, backoff.baseMs * 2 ** Math.min(failures - 1, 30));
  return stepMs * (0.5 + 0.5 * random());
}
