/**
 * Filters of fluent-bit that lose audit events. tail makes a record of one key out of a line, and that key is the whole event; so what
 * matters is where the event may be after each filter, and what takes a key away or puts another value in its place. Pure.
 */
import type { Section } from './fluentbit.ts';
import { hasVariable, isOff, isOn, lastOf, pluginOf, valuesOf, WHOLE_PARSERS } from './fluentbit-values.ts';

/** Where an event may be. It only grows: whether a filter applied to an event can't be told, as conditions may hold it back. */
export interface EventKeys {
  /** Each may hold the event or a part of it. */
  readonly keys: Set<string>;
  /** Parts of it may be anywhere. */
  isScattered: boolean;
}

/** The top level of an audit event, which parsing it as JSON makes keys of. */
const EVENT_FIELDS: readonly string[] = [
  ...['kind', 'apiVersion', 'level', 'auditID', 'stage', 'requestURI', 'verb', 'user', 'impersonatedUser'],
  ...['authenticationMetadata', 'sourceIPs', 'userAgent', 'objectRef', 'responseStatus', 'requestObject'],
  ...['responseObject', 'requestReceivedTimestamp', 'stageTimestamp', 'annotations'],
];

/** @returns what is lost, or undefined; what the filter does to the event's place goes into `event` */
type Judge = (filter: Section, event: EventKeys) => string | undefined;

const TAKEN = 'takes away what holds the event';
const REPLACED = 'puts something else in the place of the event';

/** What can't be told as it stands: a variable, or quotes and escapes, which fluent-bit resolves. */
const isUnclear = (key: string): boolean => key === '' || hasVariable(key) || /["'\\]/.test(key);

const mayHold = ({ keys, isScattered }: EventKeys, key: string): boolean =>
  isScattered || isUnclear(key) || keys.has(key);

/** A key that is added where it may be there already: twice the same one, and whoever reads the record takes one of them. */
const mayHide = ({ keys }: EventKeys, key: string): boolean => isUnclear(key) || keys.has(key);

/** So that many renames and many removals do not take the product of both; nobody renames an event so often. */
const MAX_PLACES = 100;

function addPlace(event: EventKeys, key: string): void {
  if (isUnclear(key) || event.keys.size >= MAX_PLACES) event.isScattered = true;
  else event.keys.add(key);
}

/** A word of a value; unclear where one in front of it is, which may stand for several words or for none. */
function wordAt(value: string, at: number): string {
  const words = value.split(/[ \t]+/, at + 1);
  return words.some(isUnclear) ? '' : (words[at] ?? '');
}

/** A filter that adds keys: its options that do, and which of their words names the key. */
const adds =
  (options: Readonly<Record<string, number>>): Judge =>
  (filter, event) => {
    const added = filter.entries.flatMap(([name, value]) => {
      const at = options[name.toLowerCase()];
      return at === undefined ? [] : [wordAt(value, at).replace(/^\$/, '')];
    });
    return added.some((key) => mayHide(event, key)) ? REPLACED : undefined;
  };

type Operation = (event: EventKeys, from: string, to: string) => string | undefined;
const keeps: Operation = () => undefined;
const conditions: Operation = () => undefined;
const takes: Operation = () => TAKEN;

/** Operations of `modify`, in whose order they are carried out. */
const MODIFY: ReadonlyMap<string, Operation> = new Map<string, Operation>([
  ['add', keeps],
  ['add_if_not_present', keeps],
  ['condition', conditions],
  ['copy', keeps],
  ['move_to_end', keeps],
  ['move_to_start', keeps],
  ['remove', (event, key) => (mayHold(event, key) ? TAKEN : undefined)],
  ['remove_regex', takes],
  ['remove_wildcard', takes],
  ['set', (event, key) => (mayHold(event, key) ? REPLACED : undefined)],
  ['hard_copy', (event, _, to) => (mayHold(event, to) ? REPLACED : undefined)],
  ['rename', (event, from, to) => follow(event, from, to)],
  ['hard_rename', (event, from, to) => (mayHold(event, to) ? REPLACED : follow(event, from, to))],
]);

function follow(event: EventKeys, from: string, to: string): undefined {
  if (mayHold(event, from)) addPlace(event, to);
}

const TOKEN = / *(?:"((?:[^"\\]|\\[\s\S])*)"|'((?:[^'\\]|\\[\s\S])*)'|([^ "'][^ ]*))/y;
const MAX_TOKENS = 4;

/** Words as `modify` takes them, in quotes or not; empty where quotes do not end. */
function tokensOf(value: string): string[] {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < value.length && tokens.length < MAX_TOKENS) {
    const match = TOKEN.exec(value);
    if (match === null) return [];
    const [, double, single, plain] = match;
    tokens.push(plain ?? (double ?? single ?? '').replace(/\\(["'\\])/g, '$1'));
  }
  return tokens;
}

const GENERAL_OPTIONS = ['name', 'match', 'match_regex', 'alias', 'log_level', 'log_suppress_interval'];

const judgeModify: Judge = (filter, event) => {
  for (const [name, value] of filter.entries) {
    const option = name.toLowerCase();
    if (GENERAL_OPTIONS.includes(option)) continue;
    const operation = MODIFY.get(option);
    if (operation === undefined) return 'has an option that is not known to keep the event';
    const problem = operate(operation, value, event);
    if (problem !== undefined) return problem;
  }
  return undefined;
};

function operate(operation: Operation, value: string, event: EventKeys): string | undefined {
  const tokens = tokensOf(value);
  const unclear = tokens.findIndex(isUnclear);
  const clear = unclear === -1 ? tokens : tokens.slice(0, unclear);
  const [from = '', to = ''] = clear;
  // Of three words, whatever the operation, modify makes a renaming of the first one to the last.
  if (operation !== conditions && (tokens.length > 2 || unclear !== -1 || tokens.length === 0))
    follow(event, from, unclear === -1 ? (tokens.at(-1) ?? '') : '');
  return operation(event, from, to);
}

/** As record_modifier compares: whatever the capitals, and `*` at the end stands for any text. */
function nameTest(pattern: string): (lowerCaseKey: string) => boolean {
  const wanted = pattern.toLowerCase();
  if (!wanted.endsWith('*')) return (key) => key === wanted;
  const start = wanted.slice(0, -1);
  return (key) => key.startsWith(start);
}

const judgeRecordModifier: Judge = (filter, event) => {
  const keys = [...event.keys].map((key) => key.toLowerCase());
  const isTaken = (pattern: string): boolean =>
    event.isScattered || isUnclear(pattern) || keys.some(nameTest(pattern));
  if (valuesOf(filter, 'remove_key').some(isTaken)) return TAKEN;
  const kept = valuesOf(filter, 'allowlist_key', 'whitelist_key');
  const tests = kept.filter((pattern) => !isUnclear(pattern)).map(nameTest);
  if (kept.length > 0 && (event.isScattered || !keys.every((key) => tests.some((names) => names(key)))))
    return TAKEN;
  return adds({ record: 0, uuid_key: 0 })(filter, event);
};

const judgeNest: Judge = (filter, event) => {
  const problem = adds({ nest_under: 0 })(filter, event);
  // `lift` makes keys of what is inside of others, with a prefix perhaps.
  if ((lastOf(filter, 'operation') ?? '').toLowerCase() !== 'nest') event.isScattered = true;
  for (const key of valuesOf(filter, 'nest_under')) addPlace(event, key);
  return problem;
};

const judgeParser: Judge = (filter, event) => {
  if (!valuesOf(filter, 'parser').every((name) => WHOLE_PARSERS.has(name)))
    return 'uses a parser that is not known to keep all of the event';
  const key = lastOf(filter, 'key_name') ?? '';
  if (!mayHold(event, key)) return 'makes keys of something else than the event';
  const isAll = !event.isScattered && event.keys.size === 1 && event.keys.has(key);
  if (!isAll && !isOn(lastOf(filter, 'reserve_data')))
    return 'drops every key but the one that it parses, without Reserve_Data On';
  for (const field of EVENT_FIELDS) event.keys.add(field);
  return undefined;
};

const judgeKubernetes: Judge = (filter, event) => {
  for (const option of ['k8s-logging.exclude', 'use_journal'])
    if (!isOff(lastOf(filter, option))) return `drops events with ${option} on`;
  if (isOff(lastOf(filter, 'merge_log'))) return undefined;
  if (!valuesOf(filter, 'merge_parser').every((name) => WHOLE_PARSERS.has(name)))
    return 'uses a parser that is not known to keep all of the event';
  for (const field of EVENT_FIELDS) event.keys.add(field);
  for (const key of valuesOf(filter, 'merge_log_key')) addPlace(event, key);
  return undefined;
};

/** Filters that pass every event on, each with what it may do to it. */
const FILTERS: ReadonlyMap<string, Judge> = new Map<string, Judge>([
  ['aws', adds({})],
  ['checklist', adds({ record: 0 })],
  ['ecs', adds({ add: 0 })],
  ['geoip2', adds({ record: 0 })],
  ['kubernetes', judgeKubernetes],
  ['modify', judgeModify],
  ['nest', judgeNest],
  ['parser', judgeParser],
  ['record_modifier', judgeRecordModifier],
  ['stdout', adds({})],
  [
    'sysinfo',
    adds({
      fluentbit_version_key: 0,
      hostname_key: 0,
      kernel_version_key: 0,
      os_name_key: 0,
      os_version_key: 0,
    }),
  ],
  ['type_converter', adds({ str_key: 1, int_key: 1, uint_key: 1, float_key: 1 })],
]);

/** Filters that drop events, or can be told to; `multiline` makes one of several, through a buffer that may be full. */
const LOSSY_FILTERS: ReadonlySet<string> = new Set([
  ...['expect', 'grep', 'log_to_metrics', 'lua', 'multiline', 'nightfall', 'rewrite_tag', 'sampling'],
  ...['tensorflow', 'throttle', 'throttle_size', 'wasm'],
]);

/**
 * What a filter that gets the events loses of them, or undefined.
 * @param event where an event is in front of the filter; changed to where it is behind it
 */
export function findFilterLoss(filter: Section, event: EventKeys): string | undefined {
  const name = pluginOf(filter);
  if (LOSSY_FILTERS.has(name)) return `${name} drops events`;
  const judge = FILTERS.get(name);
  if (judge === undefined) return 'its kind is not known to pass every event on';
  const problem = judge(filter, event);
  return problem === undefined ? undefined : `${name} ${problem}`;
}

/** What a key of an output names: with `$` it is an accessor. */
export const isEventKey = (event: EventKeys, key: string): boolean =>
  !event.isScattered && event.keys.has(key.replace(/^\$/, ''));

/** The place of an event as the input makes it. */
export function startEvent(key: string, isParsed: boolean): EventKeys {
  return { keys: new Set([key, ...(isParsed ? EVENT_FIELDS : [])]), isScattered: isUnclear(key) };
}
