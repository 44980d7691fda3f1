/** `policy replay`: what a policy would write of the requests in a real audit log, counted while the log streams by. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { evaluate, LEVELS, type Level, type Policy, type Stage } from '../../policy/index.ts';
import type { CliIo } from '../io.ts';
import { paintFor, table } from '../table.ts';
import { EventReader, type LoggedEvent, managedFieldsBytes } from './event.ts';
import { inputError } from './load.ts';

interface LogCount {
  lines: number;
  bytes: number;
}

/** `matched`: lines of the log that the rule decides, written or not. */
interface RuleCount extends LogCount {
  matched: number;
}

export interface Replay {
  /** Lines and bytes of the log. */
  read: LogCount;
  /** Lines that are no audit events, and the number of the first. */
  unreadable: number;
  firstUnreadable: number;
  /** What the policy would write, by index of the rule; the last entry is for requests that no rule matches. */
  readonly byRule: RuleCount[];
  /** Lines that the policy writes when a request arrives, of requests that the log has only later lines of. */
  missingReceived: number;
  /** Lines whose bodies the policy would write and the log does not have: the bytes are too few by them. */
  missingBodies: number;
}

const CHUNK_BYTES = 1 << 20;
/** kube-apiserver's own limit for a request is 3 MiB, its answer may be larger. */
const MAX_LINE_BYTES = 128 << 20;
const PROGRESS_MS = 200;
const NEWLINE = 0x0a;

/** Counts over the lines that it is fed, in bounded memory. */
export class Replayer {
  readonly result: Replay;
  readonly #policy: Policy;
  readonly #reader = new EventReader();
  #sawReceived = false;

  constructor(policy: Policy) {
    this.#policy = policy;
    this.result = {
      read: { lines: 0, bytes: 0 },
      unreadable: 0,
      firstUnreadable: 0,
      byRule: Array.from({ length: policy.rules.length + 1 }, () => ({ matched: 0, lines: 0, bytes: 0 })),
      missingReceived: 0,
      missingBodies: 0,
    };
  }

  /** One line, without its line break. */
  line(bytes: Buffer, start: number, end: number): void {
    const { result } = this;
    if (end === start || (end === start + 1 && bytes[start] === 0x0d)) return;
    result.read.lines++;
    result.read.bytes += end - start + 1;
    const event = this.#reader.read(bytes, start, end);
    if (event === undefined) {
      if (result.unreadable++ === 0) result.firstUnreadable = result.read.lines;
      return;
    }
    this.#count(event, bytes, end - start + 1);
  }

  #count(event: LoggedEvent, bytes: Buffer, lineBytes: number): void {
    const { level, omitStages, omitManagedFields, rule } = evaluate(this.#policy, event.request);
    const count = this.result.byRule[rule ?? this.#policy.rules.length];
    if (count === undefined) return;
    count.matched++;
    if (level === 'None') return;
    if (event.stage === 'RequestReceived') this.#sawReceived = true;
    if (event.stage === 'ResponseComplete' && !omitStages.includes('RequestReceived'))
      this.result.missingReceived++;
    if (omitStages.includes(event.stage as Stage)) return;
    count.lines++;
    count.bytes += this.#bytesAt(level, event, bytes, lineBytes, omitManagedFields);
  }

  /** The line as the policy would have it: other level, without the bodies or the managedFields that it leaves out. */
  #bytesAt(
    level: Level,
    event: LoggedEvent,
    bytes: Buffer,
    lineBytes: number,
    omitManagedFields: boolean,
  ): number {
    let size = lineBytes + level.length - event.level.length;
    const wants = LEVELS.indexOf(level);
    const bodies = [
      { span: event.requestObject, from: LEVELS.indexOf('Request') },
      { span: event.responseObject, from: LEVELS.indexOf('RequestResponse') },
    ];
    for (const { span, from } of bodies) {
      if (span === undefined) continue;
      if (wants < from) size -= span.end - span.start;
      else if (omitManagedFields) size -= managedFieldsBytes(bytes, span);
    }
    const had = LEVELS.indexOf(event.level as Level);
    if (wants > had && wants >= LEVELS.indexOf('Request') && event.stage !== 'RequestReceived')
      this.result.missingBodies++;
    return size;
  }

  /** To be called once, after the last line. */
  finish(): Replay {
    if (this.#sawReceived) this.result.missingReceived = 0;
    return this.result;
  }
}

/**
 * Streams a log through a replayer.
 * @param onProgress bytes read so far
 */
export async function replayStream(
  replayer: Replayer,
  stream: AsyncIterable<Buffer | string>,
  onProgress: (bytes: number) => void = () => {},
): Promise<Replay> {
  let parts: Buffer[] = [];
  let waiting = 0;
  let seen = 0;
  for await (const data of stream) {
    const chunk = typeof data === 'string' ? Buffer.from(data) : data;
    seen += chunk.length;
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      if (parts.length === 0) replayer.line(chunk, start, end);
      else {
        const line = Buffer.concat([...parts, chunk.subarray(start, end)]);
        replayer.line(line, 0, line.length);
        parts = [];
        waiting = 0;
      }
      start = end + 1;
    }
    if (start < chunk.length) {
      parts.push(Buffer.from(chunk.subarray(start)));
      waiting += chunk.length - start;
      if (waiting > MAX_LINE_BYTES)
        throw inputError('the log', `has a line of more than ${MAX_LINE_BYTES} bytes`);
    }
    onProgress(seen);
  }
  if (parts.length > 0) {
    const line = Buffer.concat(parts);
    replayer.line(line, 0, line.length);
  }
  return replayer.finish();
}

export async function runReplay(
  io: CliIo,
  policy: Policy,
  log: string,
  output: 'table' | 'json',
): Promise<void> {
  const { stream, totalBytes } = await open(io, log);
  const started = performance.now();
  const progress = progressOn(io, totalBytes, started);
  let result: Replay;
  try {
    result = await replayStream(new Replayer(policy), stream, progress.show);
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error)) throw error;
    throw inputError(log, `cannot be read: ${error.message}`);
  } finally {
    progress.clear();
  }
  if (result.unreadable > 0) {
    const lines = result.unreadable === 1 ? '1 line is' : `${result.unreadable} lines are`;
    io.stderr.write(`${lines} no audit event, the first is line ${result.firstUnreadable}; not counted\n`);
  }
  if (output === 'json') io.stdout.write(`${JSON.stringify(toJson(policy, result), null, 2)}\n`);
  else io.stdout.write(toText(io, policy, result));
}

async function open(io: CliIo, log: string): Promise<{ stream: AsyncIterable<Buffer>; totalBytes: number }> {
  if (log === '-') return { stream: io.stdin as Readable, totalBytes: 0 };
  let totalBytes: number;
  try {
    totalBytes = (await stat(log)).size;
  } catch (error) {
    throw inputError(log, `cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
  const file = createReadStream(log, { highWaterMark: CHUNK_BYTES });
  if (!log.endsWith('.gz')) return { stream: file, totalBytes };
  const gunzip = createGunzip({ chunkSize: CHUNK_BYTES });
  file.on('error', (error) => gunzip.destroy(error));
  return { stream: file.pipe(gunzip), totalBytes: 0 };
}

function progressOn(
  io: CliIo,
  totalBytes: number,
  started: number,
): { show: (bytes: number) => void; clear: () => void } {
  let last = started;
  let shown = false;
  return {
    show: (bytes) => {
      const now = performance.now();
      if (io.stderr.isTTY !== true || now - last < PROGRESS_MS) return;
      last = now;
      shown = true;
      const share =
        totalBytes > 0 ? `${Math.floor((bytes / totalBytes) * 100)} % of ${size(totalBytes)}` : size(bytes);
      io.stderr.write(`\r${share}, ${size((bytes / (now - started)) * 1000)}/s\u001b[K`);
    },
    clear: () => {
      if (shown) io.stderr.write('\r\u001b[K');
    },
  };
}

function totalOf({ byRule }: Replay): RuleCount {
  const total = { matched: 0, lines: 0, bytes: 0 };
  for (const { matched, lines, bytes } of byRule) {
    total.matched += matched;
    total.lines += lines;
    total.bytes += bytes;
  }
  return total;
}

function toJson(policy: Policy, result: Replay): unknown {
  const { read, unreadable, missingReceived, missingBodies } = result;
  return {
    log: { ...read, unreadable },
    written: totalOf(result),
    rules: policy.rules.map(({ level }, rule) => ({ rule, level, ...result.byRule[rule] })),
    unmatched: result.byRule[policy.rules.length]?.matched ?? 0,
    missingReceived,
    missingBodies,
  };
}

function toText(io: CliIo, policy: Policy, result: Replay): string {
  const paint = paintFor(io.stdout, io.env);
  const total = totalOf(result);
  const { read } = result;
  const none = { matched: 0, lines: 0, bytes: 0 };
  const row = (name: string, level: string, { matched, lines, bytes }: RuleCount): string[] => [
    name,
    level,
    count(matched),
    count(lines),
    size(bytes),
    percent(bytes, read.bytes),
  ];
  const rows = policy.rules.map(({ level }, index) =>
    row(`rules[${index}]`, level, result.byRule[index] ?? none),
  );
  rows.push(row('(no rule)', 'None', result.byRule[policy.rules.length] ?? none), row('total', '', total));
  const columns = [
    { title: 'RULE' },
    { title: 'LEVEL' },
    ...['LOG LINES', 'WRITTEN', 'BYTES', 'OF LOG'].map((title) => ({ title, align: 'right' as const })),
  ];
  const notes: string[] = [];
  if (result.missingReceived > 0) {
    notes.push(
      `The log has no lines of the stage RequestReceived; the policy would write ${count(result.missingReceived)} more of them.`,
    );
  }
  if (result.missingBodies > 0) {
    notes.push(
      `Of ${count(result.missingBodies)} lines the policy would write bodies that the log does not have: their bytes are not counted.`,
    );
  }
  return `${table(columns, rows, paint)}${notes.map((note) => `${note}\n`).join('')}`;
}

function count(value: number): string {
  return String(value).replaceAll(/\B(?=(\d{3})+$)/g, ',');
}

function percent(part: number, whole: number): string {
  return whole === 0 ? '-' : `${((part / whole) * 100).toFixed(1)} %`;
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  for (; value >= 1000 && unit < UNITS.length - 1; unit++) value /= 1000;
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}
