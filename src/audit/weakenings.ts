/**
 * Flags of kube-apiserver that make a configured audit log lose events (kube-apiserver --help, "Auditing flags"; behaviour read in
 * k8s.io/apiserver's options and plugins of 1.33 to 1.36), in one table. `audit-` and the backend's name stand in front of each.
 */
import { RETENTION_MAXIMUMS } from '../config.ts';
import { type CommandLine, findFlag } from './command-line.ts';
import { isGoTrue, parseGoDurationMs, parseGoInteger } from './go-literals.ts';

interface Weakening {
  readonly backend: 'log' | 'webhook';
  readonly flag: string;
  /** Whether a value loses events, given whether the backend runs in batch mode. */
  readonly weakens: (value: string, isBatch: boolean) => boolean;
  /** What is put behind it, so that it no longer counts. */
  readonly neutral: string;
  readonly isBoolean?: true;
  readonly why: string;
}

/** Half a minute of events of a busy apiserver; kube-apiserver's own default is 10000. */
const MIN_BUFFER_EVENTS = 1000;
/** kube-apiserver writes a batch when it is full or has waited long enough, and loses what it holds when it is killed. */
const MAX_BATCH_EVENTS = 1000;
const MAX_BATCH_WAIT_MS = 300_000;

const batchRows = (backend: 'log' | 'webhook', throttleQps: string): Weakening[] => [
  {
    backend,
    flag: 'batch-buffer-size',
    weakens: (value, isBatch) => isBatch && !(parseGoInteger(value) >= MIN_BUFFER_EVENTS),
    neutral: '10000',
    why: `events beyond the buffer are dropped; at least ${MIN_BUFFER_EVENTS} are needed`,
  },
  {
    backend,
    flag: 'batch-max-size',
    weakens: (value, isBatch) => isBatch && !(parseGoInteger(value) <= MAX_BATCH_EVENTS),
    neutral: backend === 'log' ? '1' : '400',
    why: `events are held back until a batch is full; at most ${MAX_BATCH_EVENTS} make one`,
  },
  {
    backend,
    flag: 'batch-max-wait',
    weakens: (value, isBatch) => isBatch && !(parseGoDurationMs(value) <= MAX_BATCH_WAIT_MS),
    neutral: '30s',
    why: 'events are held back for minutes',
  },
  {
    backend,
    flag: 'truncate-enabled',
    weakens: isGoTrue,
    neutral: 'false',
    isBoolean: true,
    why: 'large events lose their bodies, and larger ones are dropped whole',
  },
  ...(backend === 'log'
    ? [
        {
          backend,
          flag: 'batch-throttle-enable',
          weakens: (value: string, isBatch: boolean) => isBatch && isGoTrue(value),
          neutral: 'false',
          isBoolean: true as const,
          why: 'events that the throttle holds back are dropped when the buffer is full',
        },
      ]
    : [
        {
          backend,
          flag: 'batch-throttle-qps',
          weakens: (value: string, isBatch: boolean) => isBatch && !(Number(value) >= Number(throttleQps)),
          neutral: throttleQps,
          why: 'events that the throttle holds back are dropped when the buffer is full',
        },
      ]),
];

const RETENTION = [
  { flag: 'maxage', neutral: '30', maximum: RETENTION_MAXIMUMS.maxAgeDays },
  { flag: 'maxbackup', neutral: '10', maximum: RETENTION_MAXIMUMS.maxBackups },
  { flag: 'maxsize', neutral: '100', maximum: RETENTION_MAXIMUMS.maxSizeMegabytes },
] as const;

const isBetween = (value: string, least: number, most: number): boolean => {
  const amount = parseGoInteger(value);
  return amount >= least && amount <= most;
};

/**
 * Whether a flag keeps the log at least as long as is wanted, and still has a bound.
 * @param name whole name of the flag, without dashes
 */
export function keepsEnough(name: string, value: string, wanted: string): boolean {
  const row = RETENTION.find(({ flag }) => name === `audit-log-${flag}`);
  return isBetween(value, Number(wanted), row?.maximum ?? Number.POSITIVE_INFINITY);
}

export const WEAKENINGS: readonly Weakening[] = [
  ...batchRows('log', ''),
  ...batchRows('webhook', '10'),
  ...RETENTION.map(
    ({ flag, neutral, maximum }): Weakening => ({
      backend: 'log',
      flag,
      weakens: (value) => !isBetween(value, 1, maximum),
      neutral,
      why: `without a bound from 1 to ${maximum} the log fills the volume until the pod is evicted, or is not written at all`,
    }),
  ),
];

const NAMED = WEAKENINGS.map((row) => ({
  ...row,
  name: `audit-${row.backend}-${row.flag}`,
  modeName: `audit-${row.backend}-mode`,
}));

export interface FoundWeakening {
  /** Whole name of the flag, without dashes. */
  readonly name: string;
  readonly value: string;
  readonly neutral: string;
  readonly isBoolean: boolean;
  readonly why: string;
}

/**
 * The flags of a command line that make it lose events.
 * @param backends which of kube-apiserver's audit backends count
 */
export function findWeakenings(
  commandLine: CommandLine,
  backends: ReadonlySet<'log' | 'webhook'>,
): FoundWeakening[] {
  const found: FoundWeakening[] = [];
  for (const row of NAMED) {
    const { name, modeName } = row;
    const flag = findFlag(commandLine, name);
    if (flag === undefined || !backends.has(row.backend)) continue;
    const mode = findFlag(commandLine, modeName);
    const isBatch =
      mode === undefined ? row.backend === 'webhook' : mode.value === undefined || mode.value === 'batch';
    if (flag.value !== undefined && !row.weakens(flag.value, isBatch)) continue;
    const { neutral, isBoolean = false, why } = row;
    found.push({ name, value: flag.value ?? '(unknown)', neutral, isBoolean, why });
  }
  return found;
}
