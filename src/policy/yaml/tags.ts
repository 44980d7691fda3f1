/** What may stand in front of a node: tags (`!!str`, `!local`, `!<verbatim>`) and the names of anchors; and the directive that declares a tag's handle. */
import { type Position, SyntaxProblem } from '../position.ts';
import { isBlank, isBlankOrEnd, isWord, skipBlanks } from './characters.ts';
import type { Source } from './source.ts';

const URI = new Set(Array.from(";/?:@&=+$,.!~*'()[]%", (c) => c.charCodeAt(0)));
const HEX = /^[0-9a-fA-F]{2}$/;

interface TagText {
  readonly value: string;
  readonly suffix: string;
}

/** @param source stands on "!" */
export function scanTag(source: Source, start: Position): TagText {
  source.need(2);
  let value = '';
  let suffix: string;
  if (source.peek(1) === 0x3c) {
    source.skip(2);
    suffix = scanUri(source, '', start);
    if (source.peek() !== 0x3e)
      throw new SyntaxProblem('">" is missing behind a tag that starts with "!<"', start);
    source.skip();
  } else {
    value = scanHandle(source, false, start);
    if (value.length > 1 && value.endsWith('!')) suffix = scanUri(source, '', start);
    else {
      suffix = scanUri(source, value, start);
      [value, suffix] = suffix === '' ? ['', '!'] : ['!', suffix];
    }
  }
  source.need(1);
  if (!isBlankOrEnd(source.peek())) throw new SyntaxProblem('a blank is missing behind a tag', start);
  return { value, suffix };
}

/** @param source stands behind "%TAG" */
export function scanTagDirective(source: Source, start: Position): TagText {
  skipBlanks(source);
  const value = scanHandle(source, true, start);
  source.need(1);
  if (!isBlank(source.peek())) throw new SyntaxProblem('a blank is missing in a %TAG directive', start);
  skipBlanks(source);
  const suffix = scanUri(source, '', start);
  source.need(1);
  if (!isBlankOrEnd(source.peek())) throw new SyntaxProblem('unexpected text in a %TAG directive', start);
  return { value, suffix };
}

/**
 * The name of an anchor or alias.
 * @param source stands on "&" or "*"
 */
export function scanAnchor(source: Source, start: Position): string {
  source.skip();
  const name = scanWord(source);
  const c = source.peek();
  const ended = isBlankOrEnd(c) || '?:,]}%@`'.includes(String.fromCodePoint(c));
  if (name !== '' && ended) return name;
  const text = '"*" and "&" start the name of an anchor: letters and digits only; put a text in quotes';
  throw new SyntaxProblem(text, start);
}

/** Letters, digits, "-" and "_"; "" where there are none. */
export function scanWord(source: Source): string {
  let word = '';
  for (source.need(1); isWord(source.peek()); source.need(1)) word += source.take();
  return word;
}

function scanHandle(source: Source, directive: boolean, start: Position): string {
  source.need(1);
  if (source.peek() !== 0x21) throw new SyntaxProblem('a tag must start with "!"', start);
  const handle = source.take() + scanWord(source);
  if (source.peek() === 0x21) return handle + source.take();
  if (directive && handle !== '!')
    throw new SyntaxProblem('the handle of a %TAG directive must end in "!"', start);
  return handle;
}

/** The rest of a tag; escapes stay bytes (one code unit each), since no tag that means anything has any. */
function scanUri(source: Source, head: string, start: Position): string {
  let uri = head.slice(1);
  let found = head !== '';
  for (source.need(1); isWord(source.peek()) || URI.has(source.peek()); source.need(1)) {
    uri += source.peek() === 0x25 ? scanEscapes(source, start) : source.take();
    found = true;
  }
  if (!found) throw new SyntaxProblem('a tag is empty', start);
  return uri;
}

/** Escapes of the bytes of one UTF-8 character. */
function scanEscapes(source: Source, start: Position): string {
  let text = '';
  let left = 1;
  for (let k = 0; k < left; k++) {
    source.need(3);
    const digits = String.fromCodePoint(source.peek(1), source.peek(2));
    if (source.peek() !== 0x25 || !HEX.test(digits))
      throw new SyntaxProblem('a broken "%" escape in a tag', start);
    const octet = Number.parseInt(digits, 16);
    if (k === 0) {
      left = octet < 0x80 ? 1 : octet >> 5 === 6 ? 2 : octet >> 4 === 14 ? 3 : octet >> 3 === 30 ? 4 : 0;
      if (left === 0) throw new SyntaxProblem('a "%" escape in a tag is not UTF-8', start);
    } else if ((octet & 0xc0) !== 0x80) throw new SyntaxProblem('a "%" escape in a tag is not UTF-8', start);
    text += String.fromCharCode(octet);
    source.skip(3);
  }
  return text;
}
