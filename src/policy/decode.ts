/**
 * Data to fields, as kube-apiserver's JSON decoder fills its types: keys by their exact spelling, null for "leave it", a wrong kind an error,
 * unknown keys read over, and of a key that stands there twice the second written over the first, list items and all.
 */
import { type Data, type DataMap, describe, formatPath, type StrictNote } from './data.ts';
import type { Position } from './position.ts';
import { isClock, isDate, isZone } from './yaml/resolve.ts';

export type Schema =
  | { readonly type: 'string' | 'boolean' | 'optional-boolean' | 'integer' | 'time' | 'anything' }
  | { readonly type: 'list'; readonly items: Schema; readonly what: string }
  | { readonly type: 'map'; readonly values: Schema }
  | { readonly type: 'struct'; readonly fields: ReadonlyMap<string, Schema>; readonly what: string };

export interface DecodeError {
  readonly path: readonly (string | number)[];
  readonly message: string;
  readonly at: Position;
}

export interface UnknownField extends StrictNote {
  /** Names that the decoder knows in that place. */
  readonly known: readonly string[];
}

/** A struct's fields that were given and are not null; a Map, so that no key can be one of an object's prototype. */
export type Struct = Map<string, Value>;
export type Value = string | boolean | undefined | List | Struct;
/** `memory` keeps the items that a shorter list has put aside: a later, longer one starts from them. */
interface List {
  length: number;
  readonly memory: Value[];
}

/** Types of Go that are not pointers: null does not reach them. */
const KEEPS_ON_NULL = new Set<Schema['type']>(['string', 'boolean', 'struct']);

export class FieldDecoder {
  readonly errors: DecodeError[] = [];
  readonly unknown: UnknownField[] = [];
  readonly #most: number;

  /** @param most errors, and unknown fields, that are kept */
  constructor(most: number) {
    this.#most = most;
  }

  /** @param current what an earlier value of the same key has left */
  decode(data: Data, schema: Schema, path: readonly (string | number)[], current: Value): Value {
    if (data.kind === 'null') return KEEPS_ON_NULL.has(schema.type) ? current : undefined;
    switch (schema.type) {
      case 'anything':
        return undefined;
      case 'string':
        if (data.kind === 'string') return data.value;
        return this.#refuse(data, path, 'a string', current);
      case 'boolean':
      case 'optional-boolean':
        if (data.kind === 'bool') return data.value;
        return this.#refuse(data, path, 'true or false', current);
      case 'integer':
        if (data.kind === 'number' && isInt64(data.text)) return undefined;
        return this.#refuse(data, path, 'a whole number', current);
      case 'time':
        if (data.kind === 'string' && isTime(data.value)) return undefined;
        return this.#refuse(data, path, 'a time such as 2006-01-02T15:04:05Z', current);
      case 'list':
        if (data.kind === 'list') return this.#list(data.items, schema.items, path, current);
        return this.#refuse(data, path, `a list of ${schema.what}`, current);
      case 'map':
        if (data.kind !== 'map') return this.#refuse(data, path, 'a map', current);
        for (const { key, value } of data.entries)
          this.decode(value, schema.values, [...path, key], undefined);
        return undefined;
      case 'struct':
        if (data.kind === 'map') return this.#struct(data, schema.fields, path, current);
        return this.#refuse(data, path, `a map (${schema.what})`, current);
    }
  }

  #refuse(data: Data, path: readonly (string | number)[], wanted: string, current: Value): Value {
    if (this.errors.length >= this.#most) return current;
    const hint =
      wanted === 'a string' && (data.kind === 'bool' || data.kind === 'number')
        ? '; put it in quotes if the text is meant (YAML 1.1 reads yes, no, on, off, y and n as booleans)'
        : '';
    this.errors.push({ path, message: `must be ${wanted}, not ${describe(data)}${hint}`, at: data.at });
    return current;
  }

  #list(items: readonly Data[], schema: Schema, path: readonly (string | number)[], current: Value): Value {
    if (items.length === 0) return { length: 0, memory: [] };
    const memory = isList(current) ? current.memory : [];
    items.forEach((item, index) => {
      memory[index] = this.decode(item, schema, [...path, index], memory[index]);
    });
    return { length: items.length, memory };
  }

  #struct(
    map: DataMap,
    fields: ReadonlyMap<string, Schema>,
    path: readonly (string | number)[],
    current: Value,
  ): Value {
    const struct: Struct = current instanceof Map ? current : new Map();
    for (const { key, value, at } of map.entries) {
      const schema = fields.get(key);
      if (schema === undefined) {
        if (this.unknown.length >= this.#most) continue;
        this.unknown.push({ path: formatPath([...path, key]), key, at, known: [...fields.keys()] });
      } else struct.set(key, this.decode(value, schema, [...path, key], struct.get(key)));
    }
    return struct;
  }
}

function isList(value: Value): value is List {
  return typeof value === 'object' && !(value instanceof Map);
}

/** The items of a list field; missing and null are empty. */
export function itemsOf(value: Value): readonly Value[] {
  return isList(value) ? value.memory.slice(0, value.length) : [];
}

/** The strings of a list field: a null item is an empty string, as in Go. */
export function stringsOf(value: Value): readonly string[] {
  return itemsOf(value).map((item) => (typeof item === 'string' ? item : ''));
}

export function fieldOf(struct: Value, key: string): Value {
  return struct instanceof Map ? struct.get(key) : undefined;
}

function isInt64(text: string): boolean {
  if (!/^-?[0-9]+$/.test(text)) return false;
  const value = BigInt(text);
  return value >= -(2n ** 63n) && value < 2n ** 63n;
}

/** RFC 3339 as Go's parser takes it: an hour may have one digit, a fraction may start with a comma. */
function isTime(text: string): boolean {
  const match = /^(\d{4})-(\d{2})-(\d{2})T(\d{1,2}):(\d{2}):(\d{2})(?:[.,]\d+)?(Z|[+-]\d{2}:\d{2})$/.exec(
    text,
  );
  if (match === null) return false;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map(Number);
  return isDate(year, month, day) && isClock(hour, minute, second) && isZone(match[7] ?? '');
}
