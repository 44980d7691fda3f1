/** JSON as Go's decoder takes it (RFC 8259, nothing more), with the place of every value and with keys that stand there twice. */
import { type Data, type DataEntry, type Document, formatPath, type StrictNote } from './data.ts';
import { MAX_DEPTH, type Position, SyntaxProblem } from './position.ts';

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
const WORD = /true|false|null/y;
const SPACE = /[ \t\r\n]*/y;
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** @throws {SyntaxProblem} where the text is not one value of JSON and nothing else */
export function readJsonDocument(text: string): Document {
  const reader = new Reader(text);
  const root = reader.value([]);
  reader.end();
  return { root, duplicates: reader.duplicates, ignoredFrom: undefined };
}

class Reader {
  readonly duplicates: StrictNote[] = [];
  readonly #text: string;
  #at = 0;
  #line = 1;
  #column = 1;
  #counted = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(path: readonly (string | number)[]): Data {
    this.#space();
    const at = this.#position();
    const c = this.#text[this.#at];
    if (c === '{') return { kind: 'map', entries: this.#nested(() => this.#entries(path)), at };
    if (c === '[') return { kind: 'list', items: this.#nested(() => this.#items(path)), at };
    if (c === '"') return { kind: 'string', value: this.#string(), at };
    const word = this.#match(WORD);
    if (word === 'null') return { kind: 'null', at };
    if (word !== undefined) return { kind: 'bool', value: word === 'true', at };
    const number = this.#match(NUMBER);
    if (number !== undefined) return { kind: 'number', text: number, at };
    return this.#fail('a value of JSON was expected');
  }

  end(): void {
    this.#space();
    if (this.#at < this.#text.length) this.#fail('unexpected text behind the JSON value');
  }

  #entries(path: readonly (string | number)[]): DataEntry[] {
    const entries: DataEntry[] = [];
    const seen = new Set<string>();
    this.#list('}', () => {
      const at = this.#position();
      if (this.#text[this.#at] !== '"')
        this.#fail('a key in double quotes was expected: text that starts with "{" is read as JSON');
      const key = this.#string();
      this.#space();
      if (this.#text[this.#at] !== ':') this.#fail('":" was expected');
      this.#at++;
      if (seen.has(key)) this.duplicates.push({ path: formatPath([...path, key]), key, at });
      seen.add(key);
      entries.push({ key, at, value: this.value([...path, key]) });
    });
    return entries;
  }

  #items(path: readonly (string | number)[]): Data[] {
    const items: Data[] = [];
    this.#list(']', () => items.push(this.value([...path, items.length])));
    return items;
  }

  #list(end: string, readItem: () => void): void {
    this.#at++;
    this.#space();
    if (this.#text[this.#at] === end) {
      this.#at++;
      return;
    }
    for (;;) {
      this.#space();
      readItem();
      this.#space();
      const c = this.#text[this.#at];
      if (c !== ',' && c !== end) this.#fail(`"," or "${end}" was expected`);
      this.#at++;
      if (c === end) return;
    }
  }

  #nested<T>(read: () => T): T {
    if (++this.#depth > MAX_DEPTH) this.#fail(`nested more than ${MAX_DEPTH} levels deep`);
    const value = read();
    this.#depth--;
    return value;
  }

  #string(): string {
    const start = this.#at++;
    for (; ; this.#at++) {
      const c = this.#text.charCodeAt(this.#at);
      if (c === 0x22) break;
      if (Number.isNaN(c)) this.#fail('a string is never closed');
      if (c < 0x20) this.#fail('a control character in a string must be written as an escape');
      if (c === 0x5c) this.#escape();
    }
    this.#at++;
    return (JSON.parse(this.#text.slice(start, this.#at)) as string).replace(LONE_SURROGATE, '\ufffd');
  }

  #escape(): void {
    ESCAPE.lastIndex = this.#at;
    const found = ESCAPE.exec(this.#text)?.[0];
    if (found === undefined) this.#fail('an unknown escape in a string');
    this.#at += found.length - 1;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  #space(): void {
    this.#match(SPACE);
  }

  #position(): Position {
    for (; this.#counted < this.#at; this.#counted++) {
      const c = this.#text.charCodeAt(this.#counted);
      if (c === 0x0a) {
        this.#line++;
        this.#column = 1;
      } else if (c >> 10 !== 0x37) this.#column++;
    }
    return { line: this.#line, column: this.#column };
  }

  #fail(message: string): never {
    throw new SyntaxProblem(message, this.#position());
  }
}
