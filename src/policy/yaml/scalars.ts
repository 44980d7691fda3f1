/** The three ways to write a scalar over lines: plain, quoted, and as a block (`|`, `>`). */
import { type Position, SyntaxProblem } from '../position.ts';
import {
  atDocumentIndicator,
  isBlank,
  isBlankOrEnd,
  isBreakOrEnd,
  isDigit,
  skipBlanks,
  skipComment,
} from './characters.ts';
import { isBreak, type Source } from './source.ts';

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['0', '\0'],
  ['a', '\x07'],
  ['b', '\b'],
  ['t', '\t'],
  ['\t', '\t'],
  ['n', '\n'],
  ['v', '\v'],
  ['f', '\f'],
  ['r', '\r'],
  ['e', '\x1b'],
  [' ', ' '],
  ['"', '"'],
  ["'", "'"],
  ['\\', '\\'],
  ['N', '\x85'],
  ['_', '\xa0'],
  ['L', '\u2028'],
  ['P', '\u2029'],
]);
const ESCAPE_DIGITS: ReadonlyMap<string, number> = new Map([
  ['x', 2],
  ['u', 4],
  ['U', 8],
]);
const HEX = /^[0-9a-fA-F]+$/;

/** Line breaks within a scalar: the first is a space, or nothing where more follow, unless it is one that never folds. */
function fold(first: string, rest: string): string {
  if (!first.startsWith('\n')) return first + rest;
  return rest === '' ? ' ' : rest;
}

/**
 * @param source stands on the first character
 * @param indent of the block around it; -1 at the top
 * @returns the text, and whether a line break was read behind it
 */
export function scanPlainScalar(
  source: Source,
  indent: number,
  flow: boolean,
): { value: string; brokeLine: boolean } {
  let value = '';
  let blanks = '';
  let firstBreak = '';
  let breaks = '';
  let brokeLine = false;
  for (;;) {
    source.need(4);
    if (atDocumentIndicator(source) || source.peek() === 0x23) break;
    while (!isBlankOrEnd(source.peek())) {
      const c = source.peek();
      if (c === 0x3a && isBlankOrEnd(source.peek(1))) break;
      if (flow && (c === 0x2c || c === 0x3f || c === 0x5b || c === 0x5d || c === 0x7b || c === 0x7d)) break;
      if (brokeLine) {
        value += fold(firstBreak, breaks);
        firstBreak = '';
        breaks = '';
        brokeLine = false;
      } else value += blanks;
      blanks = '';
      value += source.take();
      source.need(2);
    }
    if (!isBlank(source.peek()) && !isBreak(source.peek())) break;
    source.need(1);
    for (; isBlank(source.peek()) || isBreak(source.peek()); source.need(1)) {
      if (isBlank(source.peek())) {
        if (brokeLine && source.column < indent + 1 && source.peek() === 0x09) {
          throw new SyntaxProblem('a tab cannot indent; use spaces', source.position());
        }
        if (brokeLine) source.skip();
        else blanks += source.take();
      } else {
        source.need(2);
        if (brokeLine) breaks += source.takeLine();
        else {
          blanks = '';
          firstBreak = source.takeLine();
          brokeLine = true;
        }
      }
    }
    if (!flow && source.column < indent + 1) break;
  }
  return { value, brokeLine };
}

/** @param source stands on the quote */
export function scanQuotedScalar(source: Source, single: boolean): string {
  const start = source.position();
  const quote = single ? 0x27 : 0x22;
  source.skip();
  let value = '';
  for (;;) {
    source.need(4);
    if (atDocumentIndicator(source)) {
      throw new SyntaxProblem('a quoted text is not closed before the document ends', start);
    }
    if (source.peek() === 0) throw new SyntaxProblem('a quoted text is never closed', start);
    let brokeLine = false;
    while (!isBlankOrEnd(source.peek())) {
      const c = source.peek();
      if (single && c === quote && source.peek(1) === quote) {
        value += "'";
        source.skip(2);
      } else if (c === quote) break;
      else if (!single && c === 0x5c && isBreak(source.peek(1))) {
        source.need(3);
        source.skip();
        source.skipLine();
        brokeLine = true;
        break;
      } else if (!single && c === 0x5c) value += scanEscape(source);
      else value += source.take();
      source.need(2);
    }
    source.need(1);
    if (source.peek() === quote) break;
    let blanks = '';
    let firstBreak = '';
    let breaks = '';
    for (; isBlank(source.peek()) || isBreak(source.peek()); source.need(1)) {
      if (isBlank(source.peek())) {
        if (brokeLine) source.skip();
        else blanks += source.take();
      } else {
        source.need(2);
        if (brokeLine) breaks += source.takeLine();
        else {
          firstBreak = source.takeLine();
          brokeLine = true;
        }
      }
    }
    if (!brokeLine) value += blanks;
    else value += firstBreak === '' ? breaks : fold(firstBreak, breaks);
  }
  source.skip();
  return value;
}

function scanEscape(source: Source): string {
  const start = source.position();
  const letter = String.fromCodePoint(source.peek(1));
  const simple = ESCAPES.get(letter);
  const digits = ESCAPE_DIGITS.get(letter);
  if (simple === undefined && digits === undefined) {
    throw new SyntaxProblem(
      `unknown escape "\\${letter}" in double quotes; write "\\\\" for a backslash`,
      start,
    );
  }
  source.skip(2);
  if (digits === undefined) return simple ?? '';
  source.need(digits);
  const text = String.fromCodePoint(...Array.from({ length: digits }, (_, k) => source.peek(k)));
  const value = HEX.test(text) ? Number.parseInt(text, 16) : Number.NaN;
  if (!(value <= 0x10ffff) || (value >= 0xd800 && value <= 0xdfff)) {
    throw new SyntaxProblem(
      `"\\${letter}" in double quotes needs ${digits} hexadecimal digits of a character`,
      start,
    );
  }
  source.skip(digits);
  return String.fromCodePoint(value);
}

/**
 * @param source stands on "|" or ">"
 * @param parentIndent of the block around it; -1 at the top
 */
export function scanBlockScalar(source: Source, literal: boolean, parentIndent: number): string {
  const start = source.position();
  source.skip();
  const { chomping, increment } = scanBlockHeader(source, start);
  const block = {
    indent: increment === 0 ? 0 : Math.max(parentIndent, 0) + increment,
    least: Math.max(parentIndent + 1, 1),
  };
  let value = '';
  let firstBreak = '';
  let startedBlank = false;
  let breaks = scanBlockBreaks(source, block, start);
  source.need(1);
  while (source.column === block.indent && source.peek() !== 0) {
    const startsBlank = isBlank(source.peek());
    if (!literal && !startedBlank && !startsBlank && firstBreak.startsWith('\n')) {
      if (breaks === '') value += ' ';
    } else value += firstBreak;
    value += breaks;
    startedBlank = startsBlank;
    for (; !isBreakOrEnd(source.peek()); source.need(1)) value += source.take();
    source.need(2);
    firstBreak = source.takeLine();
    breaks = scanBlockBreaks(source, block, start);
  }
  if (chomping !== '-') value += firstBreak;
  if (chomping === '+') value += breaks;
  return value;
}

function scanBlockHeader(source: Source, start: Position): { chomping: string; increment: number } {
  let chomping = '';
  let increment = 0;
  const readChomping = (): void => {
    source.need(1);
    if (source.peek() === 0x2b || source.peek() === 0x2d) chomping = source.take();
  };
  const readIncrement = (): void => {
    source.need(1);
    if (!isDigit(source.peek())) return;
    increment = Number(source.take());
    if (increment === 0) throw new SyntaxProblem('a block cannot be indented by 0', start);
  };
  readChomping();
  readIncrement();
  if (chomping === '' && increment > 0) readChomping();
  skipBlanks(source);
  skipComment(source);
  if (!isBreakOrEnd(source.peek())) {
    throw new SyntaxProblem(
      'text must start on the line after "|" or ">"; put it in quotes to have it on this line',
      start,
    );
  }
  if (isBreak(source.peek())) {
    source.need(2);
    source.skipLine();
  }
  return { chomping, increment };
}

/** Passes indentation and empty lines; finds out the block's indentation where it is not known yet. */
function scanBlockBreaks(source: Source, block: { indent: number; least: number }, start: Position): string {
  let breaks = '';
  let widest = 0;
  const within = (): boolean => block.indent === 0 || source.column < block.indent;
  for (;;) {
    for (source.need(1); within() && source.peek() === 0x20; source.need(1)) source.skip();
    widest = Math.max(widest, source.column);
    if (within() && source.peek() === 0x09) throw new SyntaxProblem('a tab cannot indent; use spaces', start);
    if (!isBreak(source.peek())) break;
    source.need(2);
    breaks += source.takeLine();
  }
  if (block.indent === 0) block.indent = Math.max(widest, block.least);
  return breaks;
}
