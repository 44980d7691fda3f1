/**
 * Lines of an audit log, looked at as bytes: bodies are most of a log and no policy looks into them, so only the few fields that matter are
 * parsed and the rest is passed over.
 */
import { NO_RESOURCE, type RequestAttributes } from '../../policy/index.ts';

/** A value within the bytes of a line; `end` is behind it. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export interface LoggedEvent {
  readonly request: RequestAttributes;
  readonly level: string;
  readonly stage: string;
  /** The bodies, their keys and commas included; undefined where the line has none. */
  readonly requestObject: Span | undefined;
  readonly responseObject: Span | undefined;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;
const COLON = 0x3a;

const isSpace = (c: number | undefined): boolean => c === 0x20 || c === 0x09 || c === 0x0d || c === 0x0a;

/** Index behind the string that starts at `at`, or -1 where it does not end. */
function skipString(bytes: Uint8Array, at: number, end: number): number {
  for (let i = at + 1; i < end; i++) {
    const c = bytes[i];
    if (c === QUOTE) return i + 1;
    if (c === BACKSLASH) i++;
  }
  return -1;
}

/** Index behind the value that starts at `at`, or -1. Only as strict as it takes to find the end. */
export function skipValue(bytes: Uint8Array, at: number, end: number): number {
  const first = bytes[at];
  if (first === QUOTE) return skipString(bytes, at, end);
  let i = at;
  if (first !== OPEN_BRACE && first !== OPEN_BRACKET) {
    for (; i < end; i++) {
      const c = bytes[i];
      if (c === COMMA || c === CLOSE_BRACE || c === CLOSE_BRACKET || isSpace(c)) break;
    }
    return i > at ? i : -1;
  }
  let depth = 0;
  while (i < end) {
    const c = bytes[i];
    if (c === QUOTE) {
      i = skipString(bytes, i, end);
      if (i === -1) return -1;
      continue;
    }
    i++;
    if (c === OPEN_BRACE || c === OPEN_BRACKET) depth++;
    else if (c === CLOSE_BRACE || c === CLOSE_BRACKET) {
      depth--;
      if (depth === 0) return i;
    }
  }
  return -1;
}

function skipSpace(bytes: Uint8Array, at: number, end: number): number {
  let i = at;
  while (i < end && isSpace(bytes[i])) i++;
  return i;
}

/**
 * Calls back for each key of the object that starts at `at`.
 * @param visit the key's place (without quotes), and the value's
 * @returns index behind the object, or -1 where it is none
 */
export function eachEntry(
  bytes: Uint8Array,
  at: number,
  end: number,
  visit: (keyStart: number, keyEnd: number, start: number, valueEnd: number) => void,
): number {
  if (bytes[at] !== OPEN_BRACE) return -1;
  let i = skipSpace(bytes, at + 1, end);
  if (bytes[i] === CLOSE_BRACE) return i + 1;
  for (;;) {
    if (bytes[i] !== QUOTE) return -1;
    const keyStart = i + 1;
    const keyEnd = skipString(bytes, i, end);
    if (keyEnd === -1) return -1;
    i = skipSpace(bytes, keyEnd, end);
    if (bytes[i] !== COLON) return -1;
    const start = skipSpace(bytes, i + 1, end);
    const valueEnd = skipValue(bytes, start, end);
    if (valueEnd === -1) return -1;
    visit(keyStart, keyEnd - 1, start, valueEnd);
    i = skipSpace(bytes, valueEnd, end);
    if (bytes[i] === CLOSE_BRACE) return i + 1;
    if (bytes[i] !== COMMA) return -1;
    i = skipSpace(bytes, i + 1, end);
  }
}

/** Fields of an event, told apart by their length and then by their bytes. */
const FIELDS = [
  'level',
  'stage',
  'verb',
  'user',
  'objectRef',
  'requestURI',
  'requestObject',
  'responseObject',
] as const;
type Field = (typeof FIELDS)[number];
const NAMES: readonly { readonly field: Field; readonly bytes: Uint8Array }[] = FIELDS.map((field) => ({
  field,
  bytes: Buffer.from(field),
}));

export function isKey(bytes: Uint8Array, start: number, end: number, name: Uint8Array): boolean {
  if (end - start !== name.length) return false;
  for (let k = 0; k < name.length; k++) if (bytes[start + k] !== name[k]) return false;
  return true;
}

interface User {
  readonly name: string;
  readonly groups: readonly string[];
}
interface ObjectRef {
  readonly resource: string;
  readonly namespace: string;
  readonly name: string;
  readonly apiGroup: string;
  readonly subresource: string;
}

/** The same few users and paths come again and again. */
const MAX_REMEMBERED = 20_000;

export class EventReader {
  readonly #users = new Map<string, User | undefined>();

  /** @returns undefined where the bytes are no audit event */
  read(bytes: Buffer, start: number, end: number): LoggedEvent | undefined {
    const spans: Partial<Record<Field, Span>> = {};
    const last = eachEntry(
      bytes,
      skipSpace(bytes, start, end),
      end,
      (keyStart, keyEnd, valueStart, valueEnd) => {
        for (const { field, bytes: name } of NAMES) {
          if (!isKey(bytes, keyStart, keyEnd, name)) continue;
          const isBody = field === 'requestObject' || field === 'responseObject';
          // The key's quote and the comma before it go with the body.
          spans[field] = { start: isBody ? keyStart - 2 : valueStart, end: valueEnd };
          return;
        }
      },
    );
    if (last === -1 || skipSpace(bytes, last, end) !== end) return undefined;
    const text = (field: Field): string => {
      const value = this.#parse(bytes, spans[field]);
      return typeof value === 'string' ? value : '';
    };
    const [level, stage, verb] = [text('level'), text('stage'), text('verb')];
    if (level === '' || stage === '' || spans.requestURI === undefined) return undefined;
    const request = this.#request(bytes, spans, verb, text('requestURI'));
    return {
      request,
      level,
      stage,
      requestObject: spans.requestObject,
      responseObject: spans.responseObject,
    };
  }

  #request(bytes: Buffer, spans: Partial<Record<Field, Span>>, verb: string, uri: string): RequestAttributes {
    const user = this.#user(bytes, spans.user);
    const path = uri.split('?', 1)[0] ?? '';
    const ref = readRef(this.#parse(bytes, spans.objectRef));
    if (ref === undefined) {
      return {
        user,
        verb,
        ...NO_RESOURCE,
        path,
      };
    }
    // The name that kube-apiserver adds from the body of a create was not known when its policy decided.
    const name = verb === 'create' && !hasSegment(path, ref.name) ? '' : ref.name;
    return { user, verb, isResource: true, ...ref, name, path };
  }

  #user(bytes: Buffer, span: Span | undefined): User | undefined {
    if (span === undefined) return undefined;
    const raw = bytes.toString('latin1', span.start, span.end);
    if (this.#users.has(raw)) return this.#users.get(raw);
    const user = readUser(this.#parse(bytes, span));
    if (this.#users.size >= MAX_REMEMBERED) this.#users.clear();
    this.#users.set(raw, user);
    return user;
  }

  #parse(bytes: Buffer, span: Span | undefined): unknown {
    if (span === undefined) return undefined;
    try {
      return JSON.parse(bytes.toString('utf8', span.start, span.end));
    } catch {
      return undefined;
    }
  }
}

function hasSegment(path: string, name: string): boolean {
  return name !== '' && path.split('/').includes(encodeURIComponent(name));
}

function readUser(value: unknown): User | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { username, groups } = value as { username?: unknown; groups?: unknown };
  const list = Array.isArray(groups) ? groups.filter((group) => typeof group === 'string') : [];
  return { name: typeof username === 'string' ? username : '', groups: list };
}

function readRef(value: unknown): ObjectRef | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = value as Record<string, unknown>;
  const text = (key: string): string => {
    const field = Object.hasOwn(fields, key) ? fields[key] : undefined;
    return typeof field === 'string' ? field : '';
  };
  return {
    resource: text('resource'),
    namespace: text('namespace'),
    name: text('name'),
    apiGroup: text('apiGroup'),
    subresource: text('subresource'),
  };
}

const METADATA = Buffer.from('metadata');
const MANAGED_FIELDS = Buffer.from('managedFields');
const ITEMS = Buffer.from('items');

/** Bytes that a body has in managedFields: of the object, or of the items of a list. */
export function managedFieldsBytes(bytes: Uint8Array, span: Span): number {
  let total = 0;
  let at = span.start;
  while (at < span.end && bytes[at] !== COLON) at++;
  at = skipSpace(bytes, at + 1, span.end);
  eachEntry(bytes, at, span.end, (keyStart, keyEnd, start, end) => {
    if (isKey(bytes, keyStart, keyEnd, METADATA)) total += ofMetadata(bytes, start, end);
    else if (isKey(bytes, keyStart, keyEnd, ITEMS) && bytes[start] === OPEN_BRACKET) {
      for (let i = skipSpace(bytes, start + 1, end); i < end && bytes[i] === OPEN_BRACE; ) {
        const itemEnd = eachEntry(bytes, i, end, (itemKey, itemKeyEnd, value, valueEnd) => {
          if (isKey(bytes, itemKey, itemKeyEnd, METADATA)) total += ofMetadata(bytes, value, valueEnd);
        });
        if (itemEnd === -1) return;
        i = skipSpace(bytes, itemEnd, end);
        if (bytes[i] !== COMMA) return;
        i = skipSpace(bytes, i + 1, end);
      }
    }
  });
  return total;
}

function ofMetadata(bytes: Uint8Array, start: number, end: number): number {
  let found = 0;
  let entries = 0;
  eachEntry(bytes, start, end, (keyStart, keyEnd, _value, valueEnd) => {
    entries++;
    // With the key's first quote.
    if (isKey(bytes, keyStart, keyEnd, MANAGED_FIELDS)) found = valueEnd - keyStart + 1;
  });
  return found > 0 && entries > 1 ? found + 1 : found;
}
