/** A place in a text, both counted from 1; columns count characters. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** The text is not a document that kube-apiserver's reader can take. */
export class SyntaxProblem extends Error {
  override readonly name = 'SyntaxProblem';
  readonly position: Position;
  constructor(message: string, position: Position) {
    super(message);
    this.position = position;
  }
}

/**
 * How deeply lists and maps may be nested. kube-apiserver stops at 10,000; a policy needs four levels, and a reader that recurses must stop
 * before its stack does.
 */
export const MAX_DEPTH = 500;
