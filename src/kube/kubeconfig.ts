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

  /** The part called `key` of the entry with that name; undefined where there is no such entry. */
  find(list: string, name: string, key: string): Section | undefined {
    const entries = this.get(list);
    if (!Array.isArray(entries)) return undefined;
    const index = entries.findIndex((entry) => isJsonObject(entry) && entry.name === name);
    const entry = entries[index];
    if (!isJsonObject(entry)) return undefined;
    const value = entry[key];
    if (isJsonObject(value)) return new Section(this.#document, [list, index, key], value);
    throw this.error(list, noSuch(list, name, key));
  }
}

const noSuch = (list: string, name: string, key: string): string =>
  `${list} has no ${key} ${JSON.stringify(name)}`;

/** One kubeconfig, or several that count as one: as in kubectl, what the first of them says goes, and an entry is taken whole. */
export class Kubeconfig {
  readonly #files: readonly [Section, ...Section[]];

  constructor(files: readonly [Section, ...Section[]]) {
    this.#files = files;
  }

  /** @throws {InputError} where no file has it */
  requiredText(key: string, problem: string): string {
    for (const file of this.#files) {
      const value = file.text(key);
      if (value !== undefined) return value;
    }
    throw this.#files[0].error(key, problem);
  }

  /**
   * The part called `key` of the entry with that name.
   * @param wantedBy the field that names it
   * @throws {InputError} where no file has it
   */
  named(list: string, name: string, key: string, wantedBy: string): Section {
    for (const file of this.#files) {
      const found = file.find(list, name, key);
      if (found !== undefined) return found;
    }
    throw this.#files[0].error(wantedBy, noSuch(list, name, key));
  }
}
