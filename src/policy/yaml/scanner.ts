/**
 * Text to tokens, with the grammar of libyaml as go-yaml v2 has it: YAML 1.1 and its habits (which characters may start a plain scalar, where
 * tabs are taken, the 1024 characters within which a key must end). What a document means depends on them, so they are kept to the letter and
 * held equal to Kubernetes' own reader by the differential tests.
 */
import { type Position, SyntaxProblem } from '../position.ts';
import { atDocumentIndicator, isBlank, isBlankOrEnd, skipComment } from './characters.ts';
import { scanDirective } from './directives.ts';
import { scanBlockScalar, scanPlainScalar, scanQuotedScalar } from './scalars.ts';
import { isBreak, type Source } from './source.ts';
import { scanAnchor, scanTag } from './tags.ts';

export type TokenKind =
  | 'stream-start'
  | 'stream-end'
  | 'version-directive'
  | 'tag-directive'
  | 'document-start'
  | 'document-end'
  | 'block-sequence-start'
  | 'block-mapping-start'
  | 'block-end'
  | '['
  | ']'
  | '{'
  | '}'
  | ','
  | '-'
  | 'key'
  | 'value'
  | 'alias'
  | 'anchor'
  | 'tag'
  | 'scalar';

export interface Token {
  readonly kind: TokenKind;
  readonly start: Position;
  /** A scalar's text, an anchor's or alias's name, a tag's handle, a version. */
  readonly value: string;
  /** A tag's suffix, a tag directive's prefix. */
  readonly suffix: string;
  readonly plain: boolean;
}

interface SimpleKey {
  possible: boolean;
  required: boolean;
  token: number;
  line: number;
  column: number;
  index: number;
}

const MAX_KEY_CHARACTERS = 1024;
const MAX_LEVELS = 10000;

const NOT_PLAIN = new Set(Array.from('-?:,[]{}#&*!|>\'"%@`', (c) => c.charCodeAt(0)));

export class Scanner {
  readonly #source: Source;
  #queue: Token[] = [];
  #head = 0;
  /** Tokens handed out. */
  #parsed = 0;
  #available = false;
  #started = false;
  #indent = -1;
  readonly #indents: number[] = [];
  #flowLevel = 0;
  #keyAllowed = false;
  readonly #keys: SimpleKey[] = [];
  /** Number of a token that may turn out to be a key → its index in `#keys`. */
  readonly #keyOfToken = new Map<number, number>();

  constructor(source: Source) {
    this.#source = source;
  }

  /** @throws {SyntaxProblem} where the text is no YAML */
  peek(): Token {
    if (!this.#available) this.#fetchMore();
    return this.#queue[this.#head] as Token;
  }

  skip(): void {
    this.#available = false;
    this.#parsed++;
    this.#head++;
    if (this.#head > 64 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
  }

  #fail(message: string, position: Position = this.#source.position()): never {
    throw new SyntaxProblem(message, position);
  }

  #fetchMore(): void {
    for (;;) {
      if (this.#head !== this.#queue.length) {
        const index = this.#keyOfToken.get(this.#parsed);
        const key = index === undefined ? undefined : this.#keys[index];
        if (key === undefined || !this.#isValid(key)) break;
      }
      this.#fetchNext();
    }
    this.#available = true;
  }

  #push(kind: TokenKind, start: Position, text: Partial<Token> = {}): void {
    this.#queue.push({ kind, start, value: '', suffix: '', plain: false, ...text });
  }

  #insert(kind: TokenKind, start: Position, number: number): void {
    const token: Token = { kind, start, value: '', suffix: '', plain: false };
    this.#queue.splice(this.#head + number - this.#parsed, 0, token);
  }

  #fetchNext(): void {
    const source = this.#source;
    source.need(1);
    if (!this.#started) {
      this.#started = true;
      this.#keys.push({ possible: false, required: false, token: 0, line: 0, column: 0, index: 0 });
      this.#keyAllowed = true;
      this.#push('stream-start', source.position());
      return;
    }
    this.#toNextToken();
    this.#unroll(source.column);
    source.need(4);
    const start = source.position();
    const c = source.peek();
    const next = source.peek(1);
    if (c === 0) this.#fetchEnd();
    else if (source.column === 0 && c === 0x25) this.#fetchDirective(start);
    else if (atDocumentIndicator(source)) {
      this.#toBlockStart();
      source.skip(3);
      this.#push(c === 0x2d ? 'document-start' : 'document-end', start);
    } else if (c === 0x5b || c === 0x7b) this.#openFlow(c === 0x5b ? '[' : '{', start);
    else if (c === 0x5d || c === 0x7d) this.#closeFlow(c === 0x5d ? ']' : '}', start);
    else if (c === 0x2c) {
      this.#removeKey();
      this.#keyAllowed = true;
      source.skip();
      this.#push(',', start);
    } else if (c === 0x2d && isBlankOrEnd(next)) this.#fetchBlockEntry(start);
    else if (c === 0x3f && (this.#flowLevel > 0 || isBlankOrEnd(next))) this.#fetchKey(start);
    else if (c === 0x3a && (this.#flowLevel > 0 || isBlankOrEnd(next))) this.#fetchValue(start);
    else if (c === 0x2a || c === 0x26) {
      this.#saveKey(false);
      this.#push(c === 0x2a ? 'alias' : 'anchor', start, { value: scanAnchor(source, start) });
    } else if (c === 0x21) {
      this.#saveKey(false);
      this.#push('tag', start, scanTag(source, start));
    } else if ((c === 0x7c || c === 0x3e) && this.#flowLevel === 0) {
      this.#removeKey();
      this.#keyAllowed = true;
      this.#push('scalar', start, { value: scanBlockScalar(source, c === 0x7c, this.#indent) });
    } else if (c === 0x27 || c === 0x22) {
      this.#saveKey(false);
      this.#push('scalar', start, { value: scanQuotedScalar(source, c === 0x27) });
    } else if (this.#startsPlain(c, next)) {
      this.#saveKey(false);
      const { value, brokeLine } = scanPlainScalar(source, this.#indent, this.#flowLevel > 0);
      if (brokeLine) this.#keyAllowed = true;
      this.#push('scalar', start, { value, plain: true });
    } else if (c === 0x09) this.#fail('a tab cannot indent; use spaces');
    else {
      const character = String.fromCodePoint(c);
      this.#fail(`"${character}" cannot start a value; put it in quotes if it belongs to a text`);
    }
  }

  #startsPlain(c: number, next: number): boolean {
    if (!isBlankOrEnd(c) && !NOT_PLAIN.has(c)) return true;
    if (c === 0x2d) return !isBlank(next);
    return this.#flowLevel === 0 && (c === 0x3f || c === 0x3a) && !isBlankOrEnd(next);
  }

  #toNextToken(): void {
    const source = this.#source;
    for (;;) {
      source.need(1);
      if (source.column === 0 && source.atBom()) source.skip();
      source.need(1);
      while (
        source.peek() === 0x20 ||
        ((this.#flowLevel > 0 || !this.#keyAllowed) && source.peek() === 0x09)
      ) {
        source.skip();
        source.need(1);
      }
      skipComment(source);
      if (!isBreak(source.peek())) return;
      source.need(2);
      source.skipLine();
      if (this.#flowLevel === 0) this.#keyAllowed = true;
    }
  }

  // --- keys that show only by the ":" behind them

  #isValid(key: SimpleKey): boolean {
    if (!key.possible) return false;
    const source = this.#source;
    if (key.line < source.line || key.index + MAX_KEY_CHARACTERS < source.index) {
      if (key.required) this.#failKey(key);
      key.possible = false;
      return false;
    }
    return true;
  }

  #failKey(key: SimpleKey): never {
    this.#fail('a key without ":" behind it, or a line whose indentation does not fit the lines around it', {
      line: key.line + 1,
      column: key.column + 1,
    });
  }

  #saveKey(allowedAfter: boolean): void {
    const { line, column, index } = this.#source;
    if (this.#keyAllowed) {
      this.#removeKey();
      const token = this.#parsed + this.#queue.length - this.#head;
      const required = this.#flowLevel === 0 && this.#indent === column;
      this.#keys[this.#keys.length - 1] = { possible: true, required, token, line, column, index };
      this.#keyOfToken.set(token, this.#keys.length - 1);
    }
    this.#keyAllowed = allowedAfter;
  }

  #removeKey(): void {
    const key = this.#keys.at(-1);
    if (!key?.possible) return;
    if (key.required) this.#failKey(key);
    key.possible = false;
    this.#keyOfToken.delete(key.token);
  }

  // --- indentation

  #roll(column: number, kind: TokenKind, start: Position, number?: number): void {
    if (this.#flowLevel > 0 || this.#indent >= column) return;
    this.#indents.push(this.#indent);
    this.#indent = column;
    if (this.#indents.length > MAX_LEVELS) this.#fail('nested too deeply');
    if (number === undefined) this.#push(kind, start);
    else this.#insert(kind, start, number);
  }

  #unroll(column: number): void {
    if (this.#flowLevel > 0) return;
    while (this.#indent > column) {
      this.#push('block-end', this.#source.position());
      this.#indent = this.#indents.pop() ?? -1;
    }
  }

  #toBlockStart(): void {
    this.#unroll(-1);
    this.#removeKey();
    this.#keyAllowed = false;
  }

  // --- tokens

  #fetchEnd(): void {
    const source = this.#source;
    if (source.column !== 0) {
      source.column = 0;
      source.line++;
    }
    this.#toBlockStart();
    this.#push('stream-end', source.position());
  }

  #openFlow(kind: '[' | '{', start: Position): void {
    this.#saveKey(true);
    const { line, column, index } = this.#source;
    const token = this.#parsed + this.#queue.length - this.#head;
    this.#keys.push({ possible: false, required: false, token, line, column, index });
    this.#flowLevel++;
    if (this.#flowLevel > MAX_LEVELS) this.#fail('nested too deeply');
    this.#source.skip();
    this.#push(kind, start);
  }

  #closeFlow(kind: ']' | '}', start: Position): void {
    this.#removeKey();
    if (this.#flowLevel > 0) {
      this.#flowLevel--;
      const key = this.#keys.pop();
      if (key !== undefined) this.#keyOfToken.delete(key.token);
    }
    this.#keyAllowed = false;
    this.#source.skip();
    this.#push(kind, start);
  }

  #fetchBlockEntry(start: Position): void {
    if (this.#flowLevel === 0) {
      if (!this.#keyAllowed) this.#fail('a list item ("- ") cannot start here; give it a line of its own');
      this.#roll(this.#source.column, 'block-sequence-start', start);
    }
    this.#removeKey();
    this.#keyAllowed = true;
    this.#source.skip();
    this.#push('-', start);
  }

  #fetchKey(start: Position): void {
    if (this.#flowLevel === 0) {
      if (!this.#keyAllowed) this.#fail('a key ("? ") cannot start here');
      this.#roll(this.#source.column, 'block-mapping-start', start);
    }
    this.#removeKey();
    this.#keyAllowed = this.#flowLevel === 0;
    this.#source.skip();
    this.#push('key', start);
  }

  #fetchValue(start: Position): void {
    const key = this.#keys.at(-1);
    if (key !== undefined && this.#isValid(key)) {
      const keyStart = { line: key.line + 1, column: key.column + 1 };
      this.#insert('key', keyStart, key.token);
      this.#roll(key.column, 'block-mapping-start', keyStart, key.token);
      key.possible = false;
      this.#keyOfToken.delete(key.token);
      this.#keyAllowed = false;
    } else {
      if (this.#flowLevel === 0) {
        if (!this.#keyAllowed) {
          this.#fail('": " cannot stand here; the line is indented wrongly, or its text needs quotes');
        }
        this.#roll(this.#source.column, 'block-mapping-start', start);
      }
      this.#keyAllowed = this.#flowLevel === 0;
    }
    this.#source.skip();
    this.#push('value', start);
  }

  #fetchDirective(start: Position): void {
    this.#toBlockStart();
    const { kind, ...text } = scanDirective(this.#source, start);
    this.#push(kind, start, text);
  }
}
