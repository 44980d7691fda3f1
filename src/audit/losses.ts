/**
 * Ways in which a configuration of fluent-bit loses audit events on their way from the log to where they are kept. Judged by what is known of
 * fluent-bit's plugins: what is not known to pass every event on counts as a loss. Nothing of the text but places and names from the tables
 * below gets into a reason, because outputs hold passwords. Pure.
 */
import { type Reason, type ReasonCode, reason } from '../reasons.ts';
import { FluentBitSyntaxError, parseFluentBit, type Section } from './fluentbit.ts';
import { cleanPath } from './mounts.ts';
import { LOG_PATH } from './names.ts';

/** Filters that pass every event on, whatever else they do with it. `modify` and `record_modifier` are looked at closer. */
const HARMLESS_FILTERS = new Set([
  ...['aws', 'checklist', 'ecs', 'geoip2', 'kubernetes', 'modify', 'multiline', 'nest', 'parser'],
  ...['record_modifier', 'stdout', 'sysinfo', 'type_converter'],
]);
/** Filters that drop events, or can be told to. */
const LOSSY_FILTERS = new Set([
  ...['expect', 'grep', 'log_to_metrics', 'lua', 'nightfall', 'rewrite_tag', 'sampling', 'tensorflow'],
  ...['throttle', 'throttle_size', 'wasm'],
]);
/** tail makes a record of one key out of a line. */
const RECORD_KEY = 'log';

/** Outputs that carry events to somewhere, and the key that says where to; `undefined` where they need none. */
const OUTPUTS: ReadonlyMap<string, readonly string[] | undefined> = new Map<
  string,
  readonly string[] | undefined
>([
  ['stdout', undefined],
  ...(['datadog', 'logdna', 'newrelic', 'nrlogs'] as const).map((name): [string, undefined] => [
    name,
    undefined,
  ]),
  ...[
    ...[
      'es',
      'gelf',
      'http',
      'influxdb',
      'loki',
      'nats',
      'opensearch',
      'opentelemetry',
      'pgsql',
      'skywalking',
    ],
    ...['splunk', 'syslog', 'tcp', 'udp', 'websocket'],
  ].map((name): [string, readonly string[]] => [name, ['host']]),
  ['forward', ['host', 'upstream']],
  ['azure', ['customer_id']],
  ['azure_blob', ['account_name']],
  ['azure_kusto', ['ingestion_endpoint']],
  ['azure_logs_ingestion', ['dce_url']],
  ['bigquery', ['dataset_id']],
  ['chronicle', ['customer_id']],
  ['cloudwatch', ['log_group_name']],
  ['cloudwatch_logs', ['log_group_name']],
  ['firehose', ['delivery_stream']],
  ['kafka', ['brokers']],
  ['kafka-rest', ['host']],
  ['kinesis', ['stream']],
  ['kinesis_firehose', ['delivery_stream']],
  ['kinesis_streams', ['stream']],
  ['oracle_log_analytics', ['namespace']],
  ['s3', ['bucket']],
  ['slack', ['webhook']],
  ['stackdriver', ['google_service_credentials', 'export_to_project_id']],
  ['td', ['database']],
  ['vivo_exporter', undefined],
]);
/** Nobody but the pod itself. */
const LOOPBACK = /^(localhost|127\.|0\.0\.0\.0|::1?$|\[::1?\]|0:0:0:0:0:0:0:[01]$)/i;

/** KKP's input has none; fluent-bit's own default of 32 KiB is the least. */
const MIN_BUFFER_BYTES = 32 * 1024;
/** A burst of a busy apiserver that has to wait while an output is slow. */
const MIN_MEMORY_BYTES = 1024 * 1024;
const MAX_FLUSH_SECONDS = 60;
const SIZE_UNITS: Readonly<Record<string, number>> = { '': 1, k: 1000, m: 1e6, g: 1e9 };

const KNOWN_SECTIONS = new Set(['SERVICE', 'INPUT', 'FILTER', 'OUTPUT', 'PARSER', 'MULTILINE_PARSER']);

/**
 * Finds the losses of a configuration.
 * @param text in fluent-bit's classic format
 * @param where for messages, such as `fluent-bit.conf`
 * @returns empty where every event is carried on
 */
export function findLosses(text: string, where: string): Reason[] {
  const losses: Reason[] = [];
  const say = (code: ReasonCode, place: string, problem: string): void => {
    losses.push(reason(code, { where: place === '' ? where : `${where}, ${place}`, problem }));
  };
  for (const [index, line] of text.split('\n').entries()) {
    if (/^\s*@include\b/i.test(line))
      say('FLUENTBIT_UNREADABLE', `line ${index + 1}`, '@INCLUDE brings in what stands elsewhere');
  }
  let sections: Section[];
  try {
    sections = parseFluentBit(text);
  } catch (error) {
    if (!(error instanceof FluentBitSyntaxError)) throw error;
    say('FLUENTBIT_UNREADABLE', '', error.message);
    return losses;
  }
  for (const { name } of sections) {
    if (!KNOWN_SECTIONS.has(name))
      say('FLUENTBIT_UNREADABLE', '', 'it has a section of a kind that is not known here');
  }
  for (const service of sections.filter(({ name }) => name === 'SERVICE')) judgeService(service, say);
  const tag = judgeInputs(sections, say);
  for (const [index, filter] of number(sections, 'FILTER')) judgeFilter(filter, `filter ${index}`, tag, say);
  judgeOutputs(sections, tag, say);
  return losses;
}

type Say = (code: ReasonCode, place: string, problem: string) => void;

/** Sections of a kind, counted from 1 as a person would. */
const number = (sections: readonly Section[], kind: string): [number, Section][] =>
  sections.filter(({ name }) => name === kind).map((section, index) => [index + 1, section]);

/** The value of a key, whatever its capitals; the last one counts. */
const lastOf = (section: Section, key: string): string | undefined =>
  section.entries.findLast(([name]) => name.toLowerCase() === key)?.[1];

const valuesOf = (section: Section, ...keys: string[]): string[] =>
  section.entries.filter(([name]) => keys.includes(name.toLowerCase())).map(([, value]) => value);

const isOn = (value: string | undefined): boolean => /^(on|true|yes|1)$/i.test(value ?? '');

/** fluent-bit's sizes: 512k, 5MB, 1.5G; NaN where it is none. */
function bytesOf(value: string): number {
  const [, digits, unit = ''] = /^([\d.]+)\s*([kmg]?)b?$/i.exec(value) ?? [];
  return Number(digits) * (SIZE_UNITS[unit.toLowerCase()] ?? Number.NaN);
}

function judgeService(service: Section, say: Say): void {
  const flush = Number(lastOf(service, 'flush') ?? '1');
  if (flush > MAX_FLUSH_SECONDS)
    say('FLUENTBIT_OUTPUT', 'service', `it holds events back for more than ${MAX_FLUSH_SECONDS} s`);
  if (isOn(lastOf(service, 'daemon')))
    say('FLUENTBIT_INPUT', 'service', 'as a daemon it leaves the container, which ends');
}

/** @returns the tag of what is read from the audit log; undefined where nothing reads it, or the tag can't be told */
function judgeInputs(sections: readonly Section[], say: Say): string | undefined {
  const inputs = number(sections, 'INPUT').filter(([, input]) => isPlugin(input, 'tail'));
  const reading = inputs.filter(([, input]) => readsLog(lastOf(input, 'path') ?? ''));
  const [first] = reading;
  if (first === undefined) {
    say('FLUENTBIT_INPUT', '', `no input of kind tail reads ${LOG_PATH}`);
    return undefined;
  }
  const [index, input] = first;
  const place = `input ${index}`;
  if (valuesOf(input, 'exclude_path').some((path) => path.split(',').some((part) => readsLog(part))))
    say('FLUENTBIT_INPUT', place, 'Exclude_Path leaves the log out');
  if (lastOf(input, 'ignore_older') !== undefined)
    say('FLUENTBIT_INPUT', place, 'Ignore_Older skips what is old');
  if (isOn(lastOf(input, 'exit_on_eof')))
    say('FLUENTBIT_INPUT', place, 'Exit_On_Eof ends fluent-bit at the end of the log');
  for (const [key, minimum] of [
    ['buffer_max_size', MIN_BUFFER_BYTES],
    ['mem_buf_limit', MIN_MEMORY_BYTES],
  ] as const) {
    const value = lastOf(input, key);
    if (value !== undefined && !(bytesOf(value) >= minimum))
      say('FLUENTBIT_INPUT', place, `${key} is below ${minimum} bytes, so events wait or are skipped`);
  }
  const position = sections.filter(({ name }) => name === 'INPUT').indexOf(input);
  const tag = lastOf(input, 'tag') ?? `tail.${position}`;
  return tag.includes('${') || tag.includes('*') ? undefined : tag;
}

const isPlugin = (section: Section, name: string): boolean =>
  (lastOf(section, 'name') ?? '').toLowerCase() === name;

/** Whether a path of tail, which may be a list of patterns, has the audit log in it. */
function readsLog(paths: string): boolean {
  return paths.split(',').some((given) => {
    const trimmed = given.trim();
    // With a slash at the end it names no file.
    const path = trimmed.endsWith('/') ? trimmed : cleanPath(trimmed);
    return path.includes('*') ? matchesPattern(LOG_PATH, path) : path === LOG_PATH;
  });
}

/** `*` stands for any text. Linear in the text: no regular expression is made of what a person wrote. */
function matchesPattern(text: string, pattern: string): boolean {
  const [head = '', ...parts] = pattern.split('*');
  if (parts.length === 0) return text === pattern;
  const tail = parts.pop() ?? '';
  if (!text.startsWith(head) || !text.endsWith(tail) || text.length < head.length + tail.length) return false;
  let at = head.length;
  for (const part of parts) {
    const found = text.indexOf(part, at);
    if (found === -1) return false;
    at = found + part.length;
  }
  return at <= text.length - tail.length;
}

/** Regular expressions that match everything; what others match is not tried out, as it could take forever. */
const MATCHES_ALL = /^\^?\.[*+]\$?$/;

/** Whether a filter or an output gets what has the tag; undefined where that can't be told. */
function matches(section: Section, tag: string | undefined): boolean | undefined {
  const pattern = lastOf(section, 'match');
  const expression = lastOf(section, 'match_regex');
  if (pattern !== undefined) {
    if (pattern === '*') return true;
    if (tag === undefined || pattern.includes('${')) return undefined;
    return matchesPattern(tag, pattern);
  }
  if (expression === undefined) return false;
  return MATCHES_ALL.test(expression) ? true : undefined;
}

function judgeFilter(filter: Section, place: string, tag: string | undefined, say: Say): void {
  if (matches(filter, tag) === false) return;
  const name = (lastOf(filter, 'name') ?? '').toLowerCase();
  if (LOSSY_FILTERS.has(name)) {
    say('FLUENTBIT_FILTER', place, `${name} drops events`);
  } else if (!HARMLESS_FILTERS.has(name)) {
    say('FLUENTBIT_FILTER', place, 'its kind is not known to pass every event on');
  } else if (takesRecordAway(filter, name)) {
    say('FLUENTBIT_FILTER', place, `${name} takes the key "${RECORD_KEY}" away, which is the whole event`);
  }
}

function takesRecordAway(filter: Section, name: string): boolean {
  if (name === 'record_modifier') {
    const kept = valuesOf(filter, 'allowlist_key', 'whitelist_key');
    return (
      valuesOf(filter, 'remove_key').includes(RECORD_KEY) || (kept.length > 0 && !kept.includes(RECORD_KEY))
    );
  }
  if (name === 'modify') {
    if (valuesOf(filter, 'remove_wildcard', 'remove_regex').length > 0) return true;
    // `Set log x` and `Rename x log` would put something else in its place.
    const overwriting = valuesOf(filter, 'set', 'hard_copy', 'hard_rename');
    return (
      valuesOf(filter, 'remove').some((key) => key.trim() === RECORD_KEY) ||
      overwriting.some((value) => value.split(/\s+/).includes(RECORD_KEY))
    );
  }
  return false;
}

function judgeOutputs(sections: readonly Section[], tag: string | undefined, say: Say): void {
  const outputs = number(sections, 'OUTPUT');
  for (const [index, output] of outputs) {
    if (isPlugin(output, 'exit')) say('FLUENTBIT_OUTPUT', `output ${index}`, 'exit ends fluent-bit');
  }
  const reached = outputs.filter(([, output]) => matches(output, tag) === true);
  if (reached.length === 0) {
    say('FLUENTBIT_OUTPUT', '', 'no output gets the audit events');
    return;
  }
  const problems = reached.map(([index, output]) => [`output ${index}`, findOutputProblem(output)] as const);
  if (problems.some(([, problem]) => problem === undefined)) return;
  for (const [place, problem] of problems) say('FLUENTBIT_OUTPUT', place, problem ?? '');
}

/** Why events that reach the output are kept nowhere. */
function findOutputProblem(output: Section): string | undefined {
  const name = (lastOf(output, 'name') ?? '').toLowerCase();
  if (['null', 'counter', 'flowcounter', 'plot'].includes(name)) return `${name} keeps nothing`;
  if (name === 'file') return 'a file in the container is gone with it';
  if (!OUTPUTS.has(name)) return 'its kind is not known to carry events on';
  const destinations = OUTPUTS.get(name);
  if (destinations === undefined) return undefined;
  const given = destinations.map((key) => lastOf(output, key)).filter((value) => value !== undefined);
  if (given.length === 0) return `${name} has no ${destinations.join(' or ')}`;
  if (destinations.includes('host') && given.every((value) => LOOPBACK.test(value)))
    return `${name} leads back into the pod`;
  return undefined;
}
