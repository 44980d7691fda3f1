/**
 * The characters of a YAML document, decoded as go-yaml v2's reader does: in blocks of 512 bytes and only as far as somebody asks. That matters
 * because kube-apiserver reads the first document of a file alone: what stands behind it counts only if it shares a block.
 */
import { type Position, SyntaxProblem } from '../position.ts';

const BLOCK_BYTES = 512;
const BOM = 0xfeff;

/** Line breaks of YAML 1.1: LF, CR, NEL, LS, PS. */
export function isBreak(c: number): boolean {
  return c === 0x0a || c === 0x0d || c === 0x85 || c === 0x2028 || c === 0x2029;
}

type Encoding = 'utf-8' | 'utf-16le' | 'utf-16be';

export class Source {
  readonly #bytes: Uint8Array;
  readonly #chars: number[] = [];
  #encoding: Encoding | undefined;
  /** Bytes before `#decoded` are decoded, those before `#loaded` are in the reader's block. */
  #decoded = 0;
  #loaded = 0;
  #end = false;
  /** Where the reader's buffer starts: its check for a byte order mark looks there, and not at the current character. */
  #bufferStart = 0;
  /** Characters behind the current one that are decoded, the NULs that stand for the end included. */
  #unread = 0;
  #at = 0;

  line = 0;
  column = 0;
  /** Characters read so far. */
  index = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes.length === 0 ? new Uint8Array([0x0a]) : bytes;
  }

  /** The character that far ahead; 0 at the end of the text. Ask `need` first: decoding is part of what is imitated. */
  peek(ahead = 0): number {
    return this.#chars[this.#at + ahead] ?? 0;
  }

  position(): Position {
    return { line: this.line + 1, column: this.column + 1 };
  }

  /** True where the reader thinks that it looks at a byte order mark. */
  atBom(): boolean {
    return this.#chars[this.#bufferStart] === BOM;
  }

  skip(count = 1): void {
    this.index += count;
    this.column += count;
    this.#unread -= count;
    this.#at += count;
  }

  /** Passes a line break, CR LF as one; does nothing on another character. */
  skipLine(): void {
    const c = this.peek();
    if (!isBreak(c)) return;
    const count = c === 0x0d && this.peek(1) === 0x0a ? 2 : 1;
    this.index += count;
    this.#unread -= count;
    this.#at += count;
    this.column = 0;
    this.line++;
  }

  /** Reads a character. */
  take(): string {
    const c = this.peek();
    this.skip();
    return String.fromCodePoint(c);
  }

  /** Reads a line break: all but LS and PS become a line feed. Empty where there is none. */
  takeLine(): string {
    const c = this.peek();
    if (!isBreak(c)) return '';
    this.skipLine();
    return c === 0x2028 || c === 0x2029 ? String.fromCodePoint(c) : '\n';
  }

  /**
   * Sees to it that so many characters are decoded.
   * @throws {SyntaxProblem} where the bytes of the current block are not text that YAML allows
   */
  need(count: number): void {
    if (this.#unread >= count) return;
    if (this.#encoding === undefined) this.#detectEncoding();
    this.#bufferStart = this.#at;
    let first = true;
    while (this.#unread < count) {
      if (!first || this.#decoded === this.#loaded) this.#load();
      first = false;
      this.#decodeBlock();
      if (this.#end) {
        this.#unread++;
        break;
      }
    }
  }

  #load(): void {
    if (this.#loaded - this.#decoded >= BLOCK_BYTES || this.#end) return;
    const next = Math.min(this.#decoded + BLOCK_BYTES, this.#bytes.length);
    if (this.#loaded === this.#bytes.length) this.#end = true;
    this.#loaded = next;
  }

  #detectEncoding(): void {
    while (!this.#end && this.#loaded - this.#decoded < 3) this.#load();
    const [a, b, c] = this.#bytes;
    if (a === 0xff && b === 0xfe) this.#startAs('utf-16le', 2);
    else if (a === 0xfe && b === 0xff) this.#startAs('utf-16be', 2);
    else if (a === 0xef && b === 0xbb && c === 0xbf) this.#startAs('utf-8', 3);
    else this.#startAs('utf-8', 0);
  }

  #startAs(encoding: Encoding, markBytes: number): void {
    this.#encoding = encoding;
    this.#decoded = markBytes;
  }

  #decodeBlock(): void {
    while (this.#decoded < this.#loaded) {
      const width = this.#encoding === 'utf-8' ? this.#decodeUtf8() : this.#decodeUtf16();
      if (width === 0) return;
      this.#decoded += width;
      this.#unread++;
    }
  }

  /** @returns bytes used, 0 where the character goes on in the next block */
  #decodeUtf8(): number {
    const lead = this.#byte(0);
    const width = lead < 0x80 ? 1 : lead >> 5 === 6 ? 2 : lead >> 4 === 14 ? 3 : lead >> 3 === 30 ? 4 : 0;
    if (width === 0) this.#fail(`byte 0x${lead.toString(16)} cannot start a UTF-8 character`);
    if (this.#decoded + width > this.#loaded) {
      if (this.#end) this.#fail('the text ends within a UTF-8 character');
      return 0;
    }
    let value = width === 1 ? lead : lead & (0x7f >> width);
    for (let k = 1; k < width; k++) {
      const octet = this.#byte(k);
      if ((octet & 0xc0) !== 0x80) this.#fail(`byte 0x${octet.toString(16)} cannot go on a UTF-8 character`);
      value = (value << 6) | (octet & 0x3f);
    }
    const least = [0, 0, 0x80, 0x800, 0x10000][width] ?? 0;
    if (value < least) this.#fail('a UTF-8 character is written in more bytes than it needs');
    if ((value >= 0xd800 && value <= 0xdfff) || value > 0x10ffff) this.#fail('not a Unicode character');
    this.#accept(value);
    return width;
  }

  #decodeUtf16(): number {
    if (this.#decoded + 2 > this.#loaded) {
      if (this.#end) this.#fail('the text ends within a UTF-16 character');
      return 0;
    }
    let value = this.#unit(0);
    if (value >> 10 === 0x37) this.#fail('unexpected low surrogate in UTF-16');
    if (value >> 10 !== 0x36) {
      this.#accept(value);
      return 2;
    }
    if (this.#decoded + 4 > this.#loaded) {
      if (this.#end) this.#fail('the text ends within a UTF-16 surrogate pair');
      return 0;
    }
    const low = this.#unit(2);
    if (low >> 10 !== 0x37) this.#fail('a low surrogate is missing in UTF-16');
    value = 0x10000 + ((value & 0x3ff) << 10) + (low & 0x3ff);
    this.#accept(value);
    return 4;
  }

  #byte(offset: number): number {
    return this.#bytes[this.#decoded + offset] ?? 0;
  }

  #unit(offset: number): number {
    const [first, second] = [this.#byte(offset), this.#byte(offset + 1)];
    return this.#encoding === 'utf-16le' ? first | (second << 8) : (first << 8) | second;
  }

  #accept(value: number): void {
    const allowed =
      value === 0x09 ||
      value === 0x0a ||
      value === 0x0d ||
      value === 0x85 ||
      (value >= 0x20 && value <= 0x7e) ||
      (value >= 0xa0 && value <= 0xd7ff) ||
      (value >= 0xe000 && value <= 0xfffd) ||
      value >= 0x10000;
    if (!allowed) {
      const name = `U+${value.toString(16).toUpperCase().padStart(4, '0')}`;
      this.#fail(
        `the control character ${name} is not allowed; remove it, or write it as an escape in double quotes`,
      );
    }
    this.#chars.push(value);
  }

  /** The reader stops at a byte, so the place is counted anew from what was decoded. */
  #fail(message: string): never {
    let line = 1;
    let column = 1;
    this.#chars.forEach((c, index) => {
      if (isBreak(c) && !(c === 0x0d && this.#chars[index + 1] === 0x0a)) {
        line++;
        column = 1;
      } else column++;
    });
    throw new SyntaxProblem(message, { line, column });
  }
}
