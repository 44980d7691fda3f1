/**
 * What a scalar's text means to go-yaml v2: YAML 1.1, so `yes` and `off` are booleans and `010` is eight. A tag such as `!!int` insists on a
 * type.
 */
import { SyntaxProblem } from '../position.ts';
import { type Node, YAML_TAG } from './parser.ts';

/** A value of Go's as far as JSON and map keys can tell; `text` of a float is as JSON has it. */
export type Scalar =
  | { readonly type: 'null' }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'int'; readonly value: bigint }
  | { readonly type: 'float'; readonly value: number }
  | { readonly type: 'string'; readonly value: string };

const WORDS = new Map<string, Scalar>();
for (const word of ['y', 'Y', 'yes', 'Yes', 'YES', 'true', 'True', 'TRUE', 'on', 'On', 'ON']) {
  WORDS.set(word, { type: 'bool', value: true });
}
for (const word of ['n', 'N', 'no', 'No', 'NO', 'false', 'False', 'FALSE', 'off', 'Off', 'OFF']) {
  WORDS.set(word, { type: 'bool', value: false });
}
for (const word of ['', '~', 'null', 'Null', 'NULL']) WORDS.set(word, { type: 'null' });
for (const word of ['.nan', '.NaN', '.NAN']) WORDS.set(word, { type: 'float', value: Number.NaN });
for (const word of ['.inf', '.Inf', '.INF', '+.inf', '+.Inf', '+.INF']) {
  WORDS.set(word, { type: 'float', value: Number.POSITIVE_INFINITY });
}
for (const word of ['-.inf', '-.Inf', '-.INF'])
  WORDS.set(word, { type: 'float', value: Number.NEGATIVE_INFINITY });

const TYPE_OF_TAG: ReadonlyMap<string, string> = new Map([
  [`${YAML_TAG}str`, 'string'],
  [`${YAML_TAG}bool`, 'bool'],
  [`${YAML_TAG}int`, 'int'],
  [`${YAML_TAG}float`, 'float'],
  [`${YAML_TAG}null`, 'null'],
  [`${YAML_TAG}timestamp`, 'timestamp'],
]);
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const FLOAT = /^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$/;
/** Go takes underscores between digits, and this spelling reaches its parser with them. */
const DOTTED_FLOAT = /^\.[0-9](?:_?[0-9])*(?:[eE][-+]?[0-9](?:_?[0-9])*)?$/;
const TIMESTAMP =
  /^(\d{4})-(\d{1,2})-(\d{1,2})(?:[Tt](\d{1,2}):(\d{1,2}):(\d{1,2})(?:[.,]\d+)?(Z|[+-]\d{2}:\d{2})| (\d{1,2}):(\d{1,2}):(\d{1,2})(?:[.,]\d+)?)?$/;

const MIN_INT = -(2n ** 63n);
const MAX_INT = 2n ** 63n - 1n;
const MAX_UINT = 2n ** 64n - 1n;

/** @throws {SyntaxProblem} where the tag and the text do not fit */
export function resolve(node: Node & { kind: 'scalar' }): Scalar {
  const { value: text, tag } = node;
  if (tag === '' && !node.implicit) return { type: 'string', value: text };
  if (tag === `${YAML_TAG}binary`) return { type: 'string', value: decodeBinary(node) };
  const wanted = TYPE_OF_TAG.get(tag);
  if (tag !== '' && wanted === undefined) return { type: 'string', value: text };
  if (wanted === 'string') return { type: 'string', value: text };
  const found = resolvePlain(text, wanted);
  if (tag === '' || found.type === wanted) return found;
  if (wanted === 'timestamp' && isTimestamp(text)) return { type: 'string', value: text };
  if (wanted === 'float' && found.type === 'int' && found.value <= MAX_INT) {
    return { type: 'float', value: Number(found.value) };
  }
  const name = tag.replace(YAML_TAG, '!!');
  throw new SyntaxProblem(`${JSON.stringify(text)} is not what its tag ${name} says`, node.at);
}

function resolvePlain(text: string, wanted: string | undefined): Scalar {
  const word = WORDS.get(text);
  if (word !== undefined) return word;
  const first = text.charCodeAt(0);
  if (first === 0x2e) {
    const value = DOTTED_FLOAT.test(text) ? Number(text.replaceAll('_', '')) : Number.NaN;
    if (Number.isFinite(value)) return { type: 'float', value };
  } else if ((first >= 0x30 && first <= 0x39) || first === 0x2b || first === 0x2d) {
    // A timestamp stays text for kube-apiserver, and a number never looks like one.
    if ((wanted === undefined || wanted === 'timestamp') && isTimestamp(text))
      return { type: 'string', value: text };
    const number = resolveNumber(text.replaceAll('_', ''));
    if (number !== undefined) return number;
  }
  return { type: 'string', value: text };
}

function resolveNumber(plain: string): Scalar | undefined {
  const int = parseInteger(plain);
  if (int !== undefined) return { type: 'int', value: int };
  if (FLOAT.test(plain)) {
    const value = Number(plain);
    if (Number.isFinite(value)) return { type: 'float', value };
  }
  const binary = /^(-?)0b([-+]?)([01]+)$/.exec(plain);
  if (binary === null) return undefined;
  const [, sign = '', inner = '', digits = ''] = binary;
  if (sign !== '' && inner !== '') return undefined;
  const magnitude = BigInt(`0b${digits}`);
  const value = sign === '-' || inner === '-' ? -magnitude : magnitude;
  const most = sign === '' && inner === '' ? MAX_UINT : MAX_INT;
  return value >= MIN_INT && value <= most ? { type: 'int', value } : undefined;
}

/** Go's ParseInt and ParseUint with base 0, underscores already gone. */
function parseInteger(plain: string): bigint | undefined {
  const match = /^([-+]?)(?:(0[xX][0-9a-fA-F]+)|(0[oO][0-7]+)|(0[bB][01]+)|(0[0-7]*)|([1-9][0-9]*))$/.exec(
    plain,
  );
  if (match === null) return undefined;
  const [, sign = '', hex, octal, binary, old, decimal] = match;
  const magnitude = BigInt(hex ?? octal ?? binary ?? (old === undefined ? (decimal ?? '0') : `0o0${old}`));
  const value = sign === '-' ? -magnitude : magnitude;
  return value >= MIN_INT && value <= (sign === '' ? MAX_UINT : MAX_INT) ? value : undefined;
}

function isTimestamp(text: string): boolean {
  const match = TIMESTAMP.exec(text);
  if (match === null) return false;
  const [year = 0, month = 0, day = 0, ...clock] = match
    .slice(1)
    .map((part) => (part === undefined ? 0 : Number(part)));
  const [hour, minute, second] = match[4] === undefined ? clock.slice(4) : clock;
  return isDate(year, month, day) && isClock(hour ?? 0, minute ?? 0, second ?? 0) && isZone(match[7] ?? 'Z');
}

/** A day that exists. */
export function isDate(year: number, month: number, day: number): boolean {
  if (month < 1 || month > 12 || day < 1) return false;
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
  return day <= (days[month - 1] ?? 0);
}

export function isClock(hour: number, minute: number, second: number): boolean {
  return hour < 24 && minute < 60 && second < 60;
}

/** `Z` or `+hh:mm`, as far as Go lets an offset go. */
export function isZone(zone: string): boolean {
  return zone === 'Z' || (Number(zone.slice(1, 3)) <= 24 && Number(zone.slice(4, 6)) <= 60);
}

function decodeBinary(node: Node & { kind: 'scalar' }): string {
  const text = node.value.replaceAll(/[\r\n]/g, '');
  if (!BASE64.test(text)) throw new SyntaxProblem('the value of a !!binary is not base64', node.at);
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.from(text, 'base64'));
}
