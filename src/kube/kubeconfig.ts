/** A kubeconfig as kubectl reads it: every complaint names file, line and field. */
import path from 'node:path';
import { type InputDocument, InputError, type InputPath, readYamlDocuments } from '../input.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../kubernetes.ts';

/**
 * Reads a kubeconfig.
 * @param file what it was read from
 * @throws {InputError}
 */
export function parseKubeconfig(text: string, file: string): Section {
  const [document] = readYamlDocuments(text, file);
  if (document === undefined || !isJsonObject(document.value)) {
    throw new InputError([
      { file, line: 0, field: '', text: 'this is no kubeconfig: it is empty or no mapping' },
    ]);
  }
  return new Section(document, [], document.value);
}

/** Part of a kubeconfig, which knows its place. */
export class Section {
  readonly #document: InputDocument;
  readonly #path: InputPath;
  readonly value: JsonObject;

  constructor(document: InputDocument, path: InputPath, value: JsonObject) {
    this.#document = document;
    this.#path = path;
    this.value = value;
  }

  get file(): string {
    return this.#document.file;
  }

  error(key: string, text: string): InputError {
    return new InputError([this.#document.problem([...this.#path, key], text)]);
  }

  get(key: string): JsonValue | undefined {
    return Object.hasOwn(this.value, key) ? this.value[key] : undefined;
  }

  text(key: string): string | undefined {
    const value = this.get(key);
    if (value === undefined || value === null || value === '') return undefined;
    if (typeof value !== 'string') throw this.error(key, 'must be text');
    return value;
  }

  requiredText(key: string): string {
    const value = this.text(key);
    if (value === undefined) throw this.error(key, 'is missing');
    return value;
  }

  /** A path in a kubeconfig is relative to it. */
  filePath(key: string): string | undefined {
    const value = this.text(key);
    return value === undefined ? undefined : path.resolve(path.dirname(this.file), value);
  }

  /** The part called `key` of the entry with that name. */
  named(list: string, name: string, key: string, wantedBy: string): Section {
    const entries = this.get(list);
    const index = Array.isArray(entries)
      ? entries.findIndex((entry) => isJsonObject(entry) && entry.name === name)
      : -1;
    const entry = Array.isArray(entries) ? entries[index] : undefined;
    const value = isJsonObject(entry) ? entry[key] : undefined;
    if (isJsonObject(value)) return new Section(this.#document, [list, index, key], value);
    throw this.error(index < 0 ? wantedBy : list, `${list} has no ${key} ${JSON.stringify(name)}`);
  }
}
