/** A document as kube-apiserver's decoder sees it, YAML or JSON: the values of JSON, with the place of each. */
import type { Position } from './position.ts';

export type Data =
  | { readonly kind: 'null'; readonly at: Position }
  | { readonly kind: 'bool'; readonly value: boolean; readonly at: Position }
  /** `text` as it stands in JSON. */
  | { readonly kind: 'number'; readonly text: string; readonly at: Position }
  | { readonly kind: 'string'; readonly value: string; readonly at: Position }
  | { readonly kind: 'list'; readonly items: readonly Data[]; readonly at: Position }
  | DataMap;

/** In JSON a key may stand there twice. */
export interface DataMap {
  readonly kind: 'map';
  readonly entries: readonly DataEntry[];
  readonly at: Position;
}

export interface DataEntry {
  readonly key: string;
  readonly at: Position;
  readonly value: Data;
}

/** Something kube-apiserver reads over, with a line in its own log. */
export interface StrictNote {
  readonly path: string;
  readonly key: string;
  readonly at: Position;
}

/** A document, and the keys in it that stand there twice (the last one counts, as kube-apiserver reads it leniently). */
export interface Document {
  readonly root: Data;
  readonly duplicates: readonly StrictNote[];
  /** Where text starts that kube-apiserver never reads, because it follows the first document. */
  readonly ignoredFrom: Position | undefined;
}

const NAMES = {
  null: 'null',
  bool: 'a boolean',
  number: 'a number',
  string: 'a string',
  list: 'a list',
  map: 'a map',
};

/** What a person calls it. */
export function describe(data: Data): string {
  if (data.kind === 'bool') return `the boolean ${data.value}`;
  if (data.kind === 'number') return `the number ${data.text}`;
  return NAMES[data.kind];
}

export function entryOf(map: DataMap, key: string): DataEntry | undefined {
  return map.entries.findLast((entry) => entry.key === key);
}

/**
 * The place of a value, or of the closest part around it that exists.
 * @param path keys and indexes from the root
 */
export function locate(root: Data, path: readonly (string | number)[]): Position {
  let data = root;
  let at = root.at;
  for (const step of path) {
    if (data.kind === 'map' && typeof step === 'string') {
      const entry = entryOf(data, step);
      if (entry === undefined) return at;
      at = entry.at;
      data = entry.value;
    } else if (data.kind === 'list' && typeof step === 'number') {
      const item = data.items[step];
      if (item === undefined) return at;
      at = item.at;
      data = item;
    } else return at;
  }
  return at;
}

/** `rules[0].level`; a key that would not read as a name is quoted. */
export function formatPath(path: readonly (string | number)[]): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (/^[\w-]+$/.test(step)) text += text === '' ? step : `.${step}`;
    else text += `[${JSON.stringify(step)}]`;
  }
  return text;
}
