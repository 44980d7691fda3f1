/**
 * Reads YAML and JSON that people write: what comes out is plain JSON data, and every complaint about it names file, line and field.
 * Scalars mean what they mean to kubectl, which reads YAML 1.1 (`yes` and `on` are booleans, `0755` is octal, `<<` merges).
 */
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  type ScalarTag,
  type Tags,
} from 'yaml';
import { isJsonObject, type JsonObject, type JsonValue } from './kubernetes.ts';

export type InputPath = readonly (string | number)[];

export interface InputProblem {
  readonly file: string;
  /** Counted from 1; 0 where the problem has no place in the file (it cannot be read). */
  readonly line: number;
  /** Such as `spec.cloud.dc`; "" where the problem is the document's. */
  readonly field: string;
  /** What is wrong and the way out. */
  readonly text: string;
}

/** What a person wrote cannot be used. The message has one line a problem: `file:line: field: what is wrong`. */
export class InputError extends Error {
  override readonly name = 'InputError';
  readonly problems: readonly InputProblem[];

  constructor(problems: readonly InputProblem[]) {
    super(problems.map(formatProblem).join('\n'));
    this.problems = problems;
  }
}

export interface InputDocument {
  readonly file: string;
  /** As JSON.parse would give it: a key `__proto__` is a property like any other. Aliases of YAML are the same value twice. */
  readonly value: JsonValue;
  /** Where the document begins. */
  readonly line: number;
  /** Where the field is, or the nearest thing around it that the file has. */
  lineOf(path: InputPath): number;
  /** A problem with that field, for an InputError. */
  problem(path: InputPath, text: string): InputProblem;
}

/** Far above what any Kubernetes object has, far below what a stack holds. */
const MAX_DEPTH = 200;
/** As YAML 1.1 has it, but a lone dot is text. */
const FLOAT: ScalarTag = {
  default: true,
  tag: 'tag:yaml.org,2002:float',
  test: /^[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)$/,
  resolve: (text) => Number(text.replaceAll('_', '')),
};
const UNFINISHED = Symbol('unfinished');
const NOT_JSON = new Set(
  ['timestamp', 'binary', 'omap', 'pairs', 'set'].map((tag) => `tag:yaml.org,2002:${tag}`),
);

/** `file:line: field: text`, without the parts that the problem does not have. */
export function formatProblem(problem: InputProblem): string {
  const place = problem.line > 0 ? `${problem.file}:${problem.line}` : problem.file;
  return [place, problem.field, problem.text].filter((part) => part !== '').join(': ');
}

/** `['spec', 'filters', 0, 'a.b']` → `spec.filters[0]["a.b"]`. */
export function formatPath(path: InputPath): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    if (!/^[A-Za-z_][\w-]*$/.test(part)) return `${text}[${JSON.stringify(part)}]`;
    return text === '' ? part : `${text}.${part}`;
  }, '');
}

/**
 * Reads every document of a text; a `List` counts as its items, empty documents do not count.
 * @param text YAML (also several documents) or JSON
 * @param file the name that problems are reported under
 * @throws {InputError} with every error of syntax
 */
export function readYamlDocuments(text: string, file: string): InputDocument[] {
  return (readJson(text, file) ?? readYaml(text, file)).flatMap(itemsOf);
}

/** JSON is nearly always valid YAML too, but ten times as fast to read, and tabs are allowed. The lines are looked up only for a problem. */
function readJson(text: string, file: string): InputDocument[] | undefined {
  if (!/^\s*[{[]/.test(text)) return undefined;
  let value: JsonValue;
  try {
    value = JSON.parse(text) as JsonValue;
  } catch {
    return undefined;
  }
  checkJsonDepth(value, file);
  const line = (text.slice(0, text.search(/\S/)).match(/\n/g) ?? []).length + 1;
  const lines: { of?: (path: InputPath) => number } = {};
  return [
    describe(file, value, line, (path) => {
      lines.of ??= parse(text)[0]?.lineOf ?? (() => line);
      return lines.of(path);
    }),
  ];
}

function readYaml(text: string, file: string): InputDocument[] {
  const documents = guardSyntax(file, () => parse(text));
  const problems = documents.flatMap(({ document, line }) =>
    [...document.errors, ...document.warnings].map((error) => ({
      file,
      line: line(error.pos[0]),
      field: '',
      text: explainSyntax(error.code, error.message),
    })),
  );
  if (problems.length > 0) throw new InputError(problems);
  return documents.flatMap(({ document, line, lineOf }) => {
    if (!isNode(document.contents)) return [];
    const start = line(document.contents.range?.[0] ?? 0);
    const value = guardSyntax(file, () => toJson(document.toJS({ mapAsMap: true }), 0, new Map()), start);
    return value === null ? [] : [describe(file, value, start, lineOf)];
  });
}

interface ParsedText {
  readonly document: Document.Parsed;
  readonly line: (offset: number) => number;
  readonly lineOf: (path: InputPath) => number;
}

function parse(text: string): ParsedText[] {
  const lineCounter = new LineCounter();
  const line = (offset: number): number => Math.max(1, lineCounter.linePos(offset).line);
  const documents = parseAllDocuments(text, {
    schema: 'yaml-1.1',
    customTags: jsonTags,
    merge: true,
    intAsBigInt: true,
    prettyErrors: false,
    lineCounter,
    logLevel: 'silent',
  });
  if (!Array.isArray(documents)) return [];
  return documents.map((document) => ({ document, line, lineOf: (path) => line(offsetOf(document, path)) }));
}

/** Kubernetes reads `2001-01-01`, `1:30` and `.` as text, and knows no other types than JSON's. */
function jsonTags(tags: Tags): Tags {
  return tags
    .filter((tag) => {
      if (typeof tag === 'string') return true;
      return (
        !NOT_JSON.has(tag.tag) &&
        !('format' in tag && tag.format === 'TIME') &&
        !('test' in tag && tag.test?.test('.'))
      );
    })
    .concat(FLOAT);
}

function describe(
  file: string,
  value: JsonValue,
  line: number,
  lineOf: (path: InputPath) => number,
): InputDocument {
  const problem = (path: InputPath, text: string): InputProblem => ({
    file,
    line: lineOf(path),
    field: formatPath(path),
    text,
  });
  return { file, value, line, lineOf, problem };
}

/** The items of `kubectl get -o yaml`. Those of a typed list (`DeploymentList`) may leave out what the list says for them. */
function itemsOf(document: InputDocument): InputDocument[] {
  const list = document.value;
  if (!isJsonObject(list)) return [document];
  const { kind, items, apiVersion = '' } = list;
  if (typeof kind !== 'string' || !kind.endsWith('List') || !Array.isArray(items)) return [document];
  const itemKind = kind.slice(0, -'List'.length);
  return items.flatMap((item, index) => {
    const under = (path: InputPath): InputPath => ['items', index, ...path];
    const value =
      itemKind !== '' && isJsonObject(item) && item.kind === undefined
        ? { apiVersion, kind: itemKind, ...item }
        : item;
    const line = document.lineOf(under([]));
    return itemsOf(describe(document.file, value, line, (path) => document.lineOf(under(path))));
  });
}

function toJson(value: unknown, depth: number, seen: Map<unknown, JsonValue | typeof UNFINISHED>): JsonValue {
  if (depth > MAX_DEPTH) throw new RangeError('nested too deeply');
  if (typeof value === 'bigint') {
    if (BigInt(Number(value)) === value && Number.isSafeInteger(Number(value))) return Number(value);
    throw new TypeError(`the number ${value} cannot be kept exactly; put it in quotes`);
  }
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw new TypeError(`${value} is no number of JSON; put it in quotes`);
  }
  if (typeof value !== 'object' || value === null) return (value ?? null) as JsonValue;
  const known = seen.get(value);
  if (known === UNFINISHED) throw new TypeError('an alias (`*name`) stands inside of what it names');
  if (known !== undefined) return known;
  seen.set(value, UNFINISHED);
  const converted = convert(value, depth + 1, seen);
  seen.set(value, converted);
  return converted;
}

function convert(value: object, depth: number, seen: Map<unknown, JsonValue | typeof UNFINISHED>): JsonValue {
  if (Array.isArray(value)) return value.map((item) => toJson(item, depth, seen));
  const object: JsonObject = {};
  for (const [key, item] of value as Map<unknown, unknown>) {
    if (typeof key === 'object' && key !== null) throw new TypeError('a mapping or list cannot be a key');
    setOwn(object, String(key), toJson(item, depth, seen));
  }
  return object;
}

/** An assignment to `__proto__` would change the object's prototype instead. */
function setOwn(object: JsonObject, key: string, value: JsonValue): void {
  if (key !== '__proto__') object[key] = value;
  else Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
}

function checkJsonDepth(value: JsonValue, file: string): void {
  let level: JsonValue[] = [value];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > MAX_DEPTH) throw tooDeep(file, 0);
    level = level.flatMap((item) => (typeof item === 'object' && item !== null ? Object.values(item) : []));
  }
}

function tooDeep(file: string, line: number): InputError {
  return new InputError([
    {
      file,
      line,
      field: '',
      text: `it is nested more than ${MAX_DEPTH} levels deep, which no Kubernetes object is`,
    },
  ]);
}

/** The parser throws, where it should collect: on a stack that is used up, alias bombs and numbers like `0b_`. */
function guardSyntax<T>(file: string, read: () => T, line = 0): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof RangeError) throw tooDeep(file, line);
    throw new InputError([
      { file, line, field: '', text: error instanceof Error ? error.message : String(error) },
    ]);
  }
}

function explainSyntax(code: string, message: string): string {
  if (code === 'DUPLICATE_KEY') return 'this key is there twice in one mapping; keep one of them';
  if (code === 'TAB_AS_INDENT') return 'a tab cannot indent YAML; use spaces';
  return `this is not valid YAML: ${message}`;
}

/** The offset of the field's key, of the list's item, or of the last part of the path that is there. */
function offsetOf(document: Document.Parsed, path: InputPath): number {
  let node: Node | null = document.contents;
  let offset = node?.range?.[0] ?? 0;
  for (const part of path) {
    if (isAlias(node)) node = node.resolve(document) ?? null;
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => String(isScalar(key) ? key.value : key) === part);
      if (pair === undefined) break;
      if (isNode(pair.key)) offset = pair.key.range?.[0] ?? offset;
      node = isNode(pair.value) ? pair.value : null;
    } else if (isSeq(node) && typeof part === 'number') {
      const item: unknown = node.items[part];
      if (!isNode(item)) break;
      offset = item.range?.[0] ?? offset;
      node = item;
    } else break;
  }
  return offset;
}
