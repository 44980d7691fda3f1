/** What is measured under load, and how samples become one figure. */
import type { Load } from './load.ts';

export interface Sample extends Load {
  readonly cpuMicrosecondsPerRequest: number;
}

export interface Figures {
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuMicrosecondsPerRequest: number;
}

interface Measure {
  readonly title: string;
  readonly digits: number;
  readonly of: (sample: Sample) => number;
}

/** In the order in which they are shown. */
export const MEASURES: Readonly<Record<keyof Figures, Measure>> = {
  requestsPerSecond: {
    title: 'requests/s',
    digits: 0,
    of: ({ requests, seconds }) => requests / seconds,
  },
  p50Ms: { title: 'p50 ms', digits: 3, of: ({ p50Ms }) => p50Ms },
  p99Ms: { title: 'p99 ms', digits: 3, of: ({ p99Ms }) => p99Ms },
  cpuMicrosecondsPerRequest: {
    title: 'CPU µs/request',
    digits: 0,
    of: ({ cpuMicrosecondsPerRequest }) => cpuMicrosecondsPerRequest,
  },
};
export const MEASURE_KEYS = Object.keys(MEASURES) as (keyof Figures)[];

/** @returns NaN of no values */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** The median of each figure. */
export function summarize(samples: readonly Sample[]): Figures {
  return each((key) => median(samples.map(MEASURES[key].of)));
}

/** Each figure of one by that of the other: for requests per second more is better, for the others less. */
export function divide(one: Figures, other: Figures): Figures {
  return each((key) => one[key] / other[key]);
}

function each(figure: (key: keyof Figures) => number): Figures {
  return Object.fromEntries(MEASURE_KEYS.map((key) => [key, figure(key)])) as Record<keyof Figures, number>;
}
