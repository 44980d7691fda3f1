/** What a check says. */
import type { Read, Snapshot } from './snapshot.ts';

export type CheckStatus = 'ok' | 'warning' | 'failure';

export interface Verdict {
  readonly status: CheckStatus;
  /** What was found, in one line. */
  readonly text: string;
  /** What to do about it; "" where all is well. */
  readonly wayOut: string;
}

export interface Check {
  /** Stable, for scripts. */
  readonly id: string;
  readonly group: string;
  /** pre: only before the installation; post: only after it. */
  readonly when: 'always' | 'pre' | 'post';
  readonly judge: (snapshot: Snapshot) => Verdict;
}

export const ok = (text: string): Verdict => ({ status: 'ok', text, wayOut: '' });
export const warning = (text: string, wayOut: string): Verdict => ({ status: 'warning', text, wayOut });
export const failure = (text: string, wayOut: string): Verdict => ({ status: 'failure', text, wayOut });

/** Judges a part of the snapshot; where it could not be read, that is what is to be said. */
export function ofRead<T>(
  read: Read<T>,
  what: string,
  judge: (value: T) => Verdict,
  whenMissing?: Verdict,
): Verdict {
  if (read.found) return judge(read.value);
  if (read.missing && whenMissing !== undefined) return whenMissing;
  return warning(
    `${what} can't be read: ${read.problem}`,
    'Run this as somebody who may read it, and see that kube-apiserver answers.',
  );
}

const MAX_NAMES = 5;

/** The first of some names. */
export function some(names: readonly string[]): string {
  const shown = names.slice(0, MAX_NAMES).join(', ');
  return names.length > MAX_NAMES ? `${shown} and ${names.length - MAX_NAMES} more` : shown;
}
