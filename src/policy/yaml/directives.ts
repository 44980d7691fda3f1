/** Directives: the lines that begin with "%", before a document. */
import { type Position, SyntaxProblem } from '../position.ts';
import { isBlankOrEnd, isBreakOrEnd, isDigit, skipBlanks, skipComment } from './characters.ts';
import { isBreak, type Source } from './source.ts';
import { scanTagDirective, scanWord } from './tags.ts';

/** A version (`1.1`), or the handle and the prefix of tags. */
interface Directive {
  readonly kind: 'version-directive' | 'tag-directive';
  readonly value: string;
  readonly suffix: string;
}

/**
 * Reads a directive to the end of its line.
 * @param source stands on "%"
 * @param start of the directive, for problems
 * @throws {SyntaxProblem}
 */
export function scanDirective(source: Source, start: Position): Directive {
  source.skip();
  const name = scanWord(source);
  if (name === '' || !isBlankOrEnd(source.peek()))
    throw new SyntaxProblem('not a directive after "%"', start);
  const directive = scanContent(name, source, start);
  skipBlanks(source);
  skipComment(source);
  if (!isBreakOrEnd(source.peek())) throw new SyntaxProblem('unexpected text behind a directive', start);
  if (isBreak(source.peek())) {
    source.need(2);
    source.skipLine();
  }
  return directive;
}

function scanContent(name: string, source: Source, start: Position): Directive {
  if (name === 'YAML') return { kind: 'version-directive', value: scanVersion(source, start), suffix: '' };
  if (name === 'TAG') return { kind: 'tag-directive', ...scanTagDirective(source, start) };
  throw new SyntaxProblem(`unknown directive "%${name}"`, start);
}

function scanVersion(source: Source, start: Position): string {
  skipBlanks(source);
  const major = scanNumber(source, start);
  if (source.peek() !== 0x2e) throw new SyntaxProblem(NO_VERSION, start);
  source.skip();
  return `${major}.${scanNumber(source, start)}`;
}

const NO_VERSION = 'a version such as 1.1 must follow "%YAML"';

function scanNumber(source: Source, start: Position): number {
  let digits = '';
  for (source.need(1); isDigit(source.peek()); source.need(1)) {
    digits += source.take();
    if (digits.length > 2) throw new SyntaxProblem('a YAML version of so many digits does not exist', start);
  }
  if (digits === '') throw new SyntaxProblem(NO_VERSION, start);
  return Number(digits);
}
