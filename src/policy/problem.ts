/** What is wrong with a policy, for a person and for a program. */
import type { ProblemCode } from './codes.ts';
import type { Position } from './position.ts';

export interface Problem {
  /** Stable, for programs. */
  readonly code: ProblemCode;
  /** A field such as `rules[3].level`; empty where the whole text is meant. */
  readonly path: string;
  /** One sentence or two, with a way out; neither path nor place in it. */
  readonly message: string;
  readonly position: Position | undefined;
}

/** `line 12, column 5: rules[3].level: …` */
export function formatProblem(problem: Problem): string {
  const { position, path, message } = problem;
  const place = position === undefined ? '' : `line ${position.line}, column ${position.column}: `;
  return `${place}${path === '' ? '' : `${path}: `}${message}`;
}

/**
 * The candidate that somebody may have meant.
 * @returns undefined where none is close
 */
export function closest(word: string, candidates: readonly string[]): string | undefined {
  if (word.length > 64) return undefined;
  let best: string | undefined;
  let bestDistance = Math.min(3, Math.ceil(word.length / 2));
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - word.length) >= bestDistance) continue;
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** A text of the input within a sentence: quoted, control characters escaped, and cut where it is long. */
export function quote(text: string): string {
  const short = text.length > 80 ? `${text.slice(0, 77)}…` : text;
  return JSON.stringify(short).replace(
    /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
