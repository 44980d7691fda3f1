/**
 * Ways in which a configuration of fluent-bit loses audit events on their way from the log to where they are kept. Judged by what is known of
 * fluent-bit's plugins: what is not known to pass every event on counts as a loss. Nothing of the text but places and names from the tables
 * below gets into a reason, because outputs hold passwords. Pure.
 */
import { type Reason, type ReasonCode, reason } from '../reasons.ts';
import { type EventKeys, findFilterLoss, startEvent } from './filter-losses.ts';
import { FluentBitSyntaxError, parseFluentBit, type Section } from './fluentbit.ts';
import {
  bytesOf,
  hasVariable,
  isOff,
  isOn,
  lastOf,
  leadingNumber,
  matches,
  matchesPattern,
  mayBeLog,
  pluginOf,
  valuesOf,
  WHOLE_PARSERS,
} from './fluentbit-values.ts';
import { LOG_PATH, PARSERS_PATH } from './names.ts';
import { findOutputHarm, findOutputLoss } from './output-losses.ts';

/** tail makes a record of one key out of a line. */
const RECORD_KEY = 'log';

/** KKP's input has none; fluent-bit's own default of 32 KiB is the least. */
const MIN_BUFFER_BYTES = 32 * 1024;
/** A burst of a busy apiserver that has to wait while an output is slow. */
const MIN_MEMORY_BYTES = 1024 * 1024;
const MAX_FLUSH_SECONDS = 60;
/** fluent-bit's own defaults: how soon a file is found, and how long a rotated one is read. */
const MAX_REFRESH_SECONDS = 60;
const MIN_ROTATE_WAIT_SECONDS = 5;

/** Not PARSER and MULTILINE_PARSER: fluent-bit does not start with these in its main file. */
const KNOWN_SECTIONS = new Set(['SERVICE', 'INPUT', 'FILTER', 'OUTPUT']);

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
  const { tag, event } = judgeInputs(sections, say);
  for (const [index, filter] of number(sections, 'FILTER')) {
    if (matches(filter, tag) === false) continue;
    const problem = findFilterLoss(filter, event);
    if (problem !== undefined) say('FLUENTBIT_FILTER', `filter ${index}`, problem);
  }
  judgeOutputs(sections, tag, event, say);
  return losses;
}

type Say = (code: ReasonCode, place: string, problem: string) => void;

/** Sections of a kind, counted from 1 as a person would. */
const number = (sections: readonly Section[], kind: string): [number, Section][] =>
  sections.filter(({ name }) => name === kind).map((section, index) => [index + 1, section]);

type Problem = readonly [code: ReasonCode, problem: string];

/** What a value of an option does to the events; undefined where that is nothing. */
type Option = (value: string) => Problem | undefined;

const harmless: Option = () => undefined;
const options = (names: readonly string[], option: Option): [string, Option][] =>
  names.map((name) => [name, option]);

const bringsIn = (name: string): Problem => [
  'FLUENTBIT_UNREADABLE',
  `${name} brings in what stands elsewhere`,
];

const SERVICE_OPTIONS: ReadonlyMap<string, Option> = new Map<string, Option>([
  ...options(['coro_stack_size', 'grace', 'health_check', 'log_level'], harmless),
  ...options(['enable_chunk_trace', 'hot_reload', 'http_server'], harmless),
  [
    'flush',
    (value) => {
      const seconds = hasVariable(value) ? Number.NaN : leadingNumber(value);
      return seconds > 0 && seconds <= MAX_FLUSH_SECONDS
        ? undefined
        : ['FLUENTBIT_OUTPUT', `it holds events back for more than ${MAX_FLUSH_SECONDS} s, or for good`];
    },
  ],
  [
    'daemon',
    (value) =>
      isOff(value) ? undefined : ['FLUENTBIT_INPUT', 'as a daemon it leaves the container, which ends'],
  ],
  [
    'log_file',
    (value) => (mayBeLog(value) ? ['FLUENTBIT_INPUT', 'Log_File may write into the audit log'] : undefined),
  ],
  ['parsers_file', (value) => (value === PARSERS_PATH ? undefined : bringsIn('Parsers_File'))],
  ['plugins_file', () => bringsIn('Plugins_File')],
  ['streams_file', () => bringsIn('Streams_File')],
]);
/** Of these, whatever comes behind: how fluent-bit looks up names, tries again, buffers on disk and tells how it is. */
const SERVICE_PREFIXES = /^(dns|hc|hot_reload|http|json|scheduler|sp|storage)[._]/;

function judgeService(service: Section, say: Say): void {
  for (const [name, value] of service.entries) {
    const option = name.toLowerCase();
    const judge = SERVICE_OPTIONS.get(option);
    const problem =
      judge?.(value) ??
      (judge !== undefined || SERVICE_PREFIXES.test(option)
        ? undefined
        : (['FLUENTBIT_UNREADABLE', 'it has an option that is not known to keep every event'] as const));
    if (problem !== undefined) say(problem[0], 'service', problem[1]);
  }
}

const skips = (problem: string): Problem => ['FLUENTBIT_INPUT', problem];
const atLeast =
  (name: string, minimum: number): Option =>
  (value) =>
    bytesOf(value) >= minimum
      ? undefined
      : skips(`${name} is below ${minimum} bytes, so events wait or are skipped`);
const only =
  (isGood: (value: string) => boolean, problem: string): Option =>
  (value) =>
    isGood(value) ? undefined : skips(problem);

/** Options of tail. What is not here may leave events out: nobody but KKP and this software writes inputs. */
const INPUT_OPTIONS: ReadonlyMap<string, Option> = new Map<string, Option>([
  ...options(['alias', 'exclude_path', 'key', 'log_level', 'log_suppress_interval', 'name'], harmless),
  ...options(['offset_key', 'path', 'path_key', 'tag', 'tag_regex', 'threaded'], harmless),
  ...options(['db', 'db.compare_filename', 'db.journal_mode', 'db.locking', 'db.sync'], harmless),
  ...options(['buffer_chunk_size', 'file_cache_advise', 'inotify_watcher', 'read_from_head'], harmless),
  ...options(['skip_empty_lines', 'skip_long_lines', 'storage.pause_on_chunks_overlimit'], harmless),
  ['buffer_max_size', atLeast('buffer_max_size', MIN_BUFFER_BYTES)],
  ['mem_buf_limit', atLeast('mem_buf_limit', MIN_MEMORY_BYTES)],
  ['docker_mode', only(isOff, 'Docker_Mode joins events')],
  ['exit_on_eof', only(isOff, 'Exit_On_Eof ends fluent-bit at the end of the log')],
  ['ignore_older', () => skips('Ignore_Older skips what is old')],
  ['multiline', only(isOff, 'Multiline joins events')],
  ['parser', only((name) => WHOLE_PARSERS.has(name), 'its parser is not known to keep all of the event')],
  [
    'refresh_interval',
    only((value) => leadingNumber(value) <= MAX_REFRESH_SECONDS, 'Refresh_Interval finds the log too late'),
  ],
  [
    'rotate_wait',
    only((value) => leadingNumber(value) >= MIN_ROTATE_WAIT_SECONDS, 'Rotate_Wait leaves a rotated log'),
  ],
  ['routable', only(isOn, 'Routable keeps events from every output')],
  [
    'storage.type',
    only((value) => /^(filesystem|memory)$/i.test(value), 'Storage.Type drops what is old when it is full'),
  ],
]);

interface Inputs {
  /** Of what is read from the audit log; undefined where nothing reads it, or the tag can't be told. */
  readonly tag: string | undefined;
  readonly event: EventKeys;
}

function judgeInputs(sections: readonly Section[], say: Say): Inputs {
  const inputs = number(sections, 'INPUT');
  const first = inputs.find(
    ([, input]) => pluginOf(input) === 'tail' && readsLog(lastOf(input, 'path') ?? ''),
  );
  for (const [index, input] of inputs) {
    // Of what reads something else only what ends fluent-bit counts.
    const endsIt = valuesOf(input, 'exit_on_eof', 'exit_after_oneshot').some((value) => !isOff(value));
    if (endsIt && index !== first?.[0]) say('FLUENTBIT_INPUT', `input ${index}`, 'it ends fluent-bit');
  }
  if (first === undefined) {
    say('FLUENTBIT_INPUT', '', `no input of kind tail reads ${LOG_PATH}`);
    return { tag: undefined, event: startEvent(RECORD_KEY, false) };
  }
  const [index, input] = first;
  const unknown: Problem = ['FLUENTBIT_INPUT', 'it has an option that is not known to keep every event'];
  for (const [name, value] of input.entries) {
    const judge = INPUT_OPTIONS.get(name.toLowerCase());
    const problem = judge === undefined ? unknown : judge(value);
    if (problem !== undefined) say(problem[0], `input ${index}`, problem[1]);
  }
  if (valuesOf(input, 'exclude_path').some((path) => path.split(',').some(mayExcludeLog)))
    say('FLUENTBIT_INPUT', `input ${index}`, 'Exclude_Path leaves the log out');
  const key = lastOf(input, 'key') ?? RECORD_KEY;
  if (
    hasVariable(key) ||
    valuesOf(input, 'path_key', 'offset_key').some((other) => other === key || hasVariable(other))
  )
    say('FLUENTBIT_INPUT', `input ${index}`, 'the key of the event is that of something else');
  const tag = lastOf(input, 'tag') ?? `tail.${index - 1}`;
  return {
    // `*` stands for the file's path, `<name>` for a part of it.
    tag: hasVariable(tag) || /[*<]/.test(tag) ? undefined : tag,
    event: startEvent(key, lastOf(input, 'parser') !== undefined),
  };
}

/**
 * Whether a path of tail, which may be a list of patterns, has the audit log in it, spelled as LOG_PATH is: the pattern that excludes it is
 * compared with the spelling. `*` stands for what is between slashes (glob).
 */
function readsLog(paths: string): boolean {
  const wanted = LOG_PATH.split('/');
  return paths.split(',').some((given) => {
    const parts = given.trim().split('/');
    return (
      parts.length === wanted.length && parts.every((part, at) => matchesPattern(wanted[at] ?? '', part))
    );
  });
}

/** `*` stands for any text, slashes too (fnmatch); what `?`, brackets and escapes stand for is not tried out. */
const mayExcludeLog = (given: string): boolean =>
  /[?[\\]/.test(given) || hasVariable(given) || matchesPattern(LOG_PATH, given.trim());

function judgeOutputs(
  sections: readonly Section[],
  tag: string | undefined,
  event: EventKeys,
  say: Say,
): void {
  const outputs = number(sections, 'OUTPUT');
  for (const [index, output] of outputs) {
    const harm = findOutputHarm(output);
    if (harm !== undefined) say('FLUENTBIT_OUTPUT', `output ${index}`, harm);
  }
  const reached = outputs.filter(([, output]) => matches(output, tag) === true);
  if (reached.length === 0) {
    say('FLUENTBIT_OUTPUT', '', 'no output gets the audit events');
    return;
  }
  const problems = reached.map(
    ([index, output]) => [`output ${index}`, findOutputLoss(output, event)] as const,
  );
  if (problems.some(([, problem]) => problem === undefined)) return;
  for (const [place, problem] of problems) say('FLUENTBIT_OUTPUT', place, problem ?? '');
}
