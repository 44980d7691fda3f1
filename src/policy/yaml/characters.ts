/** What libyaml's grammar calls its characters, and the small steps that every part of the scanner takes. */
import { isBreak, type Source } from './source.ts';

export const isBlank = (c: number): boolean => c === 0x20 || c === 0x09;
export const isBreakOrEnd = (c: number): boolean => c === 0 || isBreak(c);
export const isBlankOrEnd = (c: number): boolean => isBlank(c) || isBreakOrEnd(c);
export const isDigit = (c: number): boolean => c >= 0x30 && c <= 0x39;
/** Letters, digits, `_` and `-`. */
export const isWord = (c: number): boolean =>
  isDigit(c) || (c >= 0x41 && c <= 0x5a) || (c >= 0x61 && c <= 0x7a) || c === 0x5f || c === 0x2d;

/** True where `---` or `...` stands alone at the start of a line. */
export function atDocumentIndicator(source: Source): boolean {
  if (source.column !== 0) return false;
  const c = source.peek();
  return (
    (c === 0x2d || c === 0x2e) && source.peek(1) === c && source.peek(2) === c && isBlankOrEnd(source.peek(3))
  );
}

export function skipBlanks(source: Source): void {
  for (source.need(1); isBlank(source.peek()); source.need(1)) source.skip();
}

/** Passes a comment up to the end of its line; does nothing on another character. */
export function skipComment(source: Source): void {
  if (source.peek() !== 0x23) return;
  for (; !isBreakOrEnd(source.peek()); source.need(1)) source.skip();
}
