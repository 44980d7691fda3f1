/**
 * When a CA is made, and how it is replaced without a moment in which kube-apiserver does not trust what a replica serves. Pure: the time is
 * kube-apiserver's, because that is who judges a certificate, so the clock of the machine may jump as it likes.
 *
 * | the Secret         | what kube-apiserver trusts           | step      | then                                                  |
 * |--------------------|--------------------------------------|-----------|-------------------------------------------------------|
 * | missing            | anything                             | create    | signs at once; what was trusted stays so              |
 * | broken, or not     | anything                             | replace   | the same; replicas serve on with what they have until |
 * | valid now          |                                      |           | the new one is trusted                                |
 * | near its end       | it                                   | introduce | the next one is published besides                     |
 * | with a next one    | not yet both                         | none      | publishing goes first                                 |
 * | with a next one    | both, for the time of the overlap    | promote   | replicas serve what the next one signs                |
 * | with previous ones | the current one, for long enough     | retire    | the previous ones are no longer published: every      |
 * |                    | since it signs                       |           | replica has had the time to serve the current one's   |
 */
import { X509Certificate } from 'node:crypto';
import type { Authorities, CertificateAuthority, Reading } from './authority.ts';

export interface Timings {
  /** How long a CA is valid from when it is made. */
  readonly lifetimeMs: number;
  /** The next one is made when less than this is left. */
  readonly renewBeforeMs: number;
  /** How long kube-apiserver must have trusted both before the next one signs: each of its instances learns of it by a watch. */
  readonly overlapMs: number;
  /** How long a replaced CA stays trusted after it has signed last: every replica must have looked at the Secret. */
  readonly retireAfterMs: number;
}

const DAY_MS = 24 * 60 * 60 * 1000;

export const DEFAULT_TIMINGS: Timings = {
  lifetimeMs: 180 * DAY_MS,
  renewBeforeMs: 60 * DAY_MS,
  overlapMs: 60_000,
  retireAfterMs: 600_000,
};

export interface RotationInput {
  readonly reading: Reading;
  /** An operator asked for a new CA. */
  readonly requested: boolean;
  /** Milliseconds since 1970, by kube-apiserver's clock. */
  readonly nowMs: number;
  /** For how long without a break all that the Secret trusts was seen published, by a clock that no correction moves; undefined where it is not. */
  readonly publishedForMs: number | undefined;
  /** For how long the current one was seen to be the one that signs, by the same clock. */
  readonly currentForMs: number;
}

export type Step = 'none' | 'create' | 'replace' | 'introduce' | 'promote' | 'retire';

/** The next step, and why; one at a time, each of which is one write. */
export function planRotation(
  { reading, requested, nowMs, publishedForMs, currentForMs }: RotationInput,
  timings: Timings,
): { readonly step: Step; readonly why: string } {
  if (reading.state === 'missing') return { step: 'create', why: 'there is none' };
  if (reading.state === 'broken') return { step: 'replace', why: reading.problem };
  const { current, next, previous } = reading.authorities;
  const isPublishedFor = (ms: number): boolean => publishedForMs !== undefined && publishedForMs >= ms;
  if (!isValid(current, nowMs)) {
    if (next !== undefined && isValid(next, nowMs) && isPublishedFor(0))
      return { step: 'promote', why: 'the current one is not valid now' };
    return {
      step: 'replace',
      why: `it is valid from ${show(current.notBeforeMs)} to ${show(current.notAfterMs)}`,
    };
  }
  if (next !== undefined && isValid(next, nowMs)) {
    return isPublishedFor(timings.overlapMs)
      ? { step: 'promote', why: 'both are trusted' }
      : { step: 'none', why: 'the next one is being published' };
  }
  if (next !== undefined) return { step: 'introduce', why: 'the next one is not valid now' };
  if (requested) return { step: 'introduce', why: 'it was asked for' };
  if (current.notAfterMs - nowMs < timings.renewBeforeMs)
    return { step: 'introduce', why: `it ends ${show(current.notAfterMs)}` };
  if (previous.length > 0 && currentForMs >= timings.retireAfterMs && isPublishedFor(timings.retireAfterMs))
    return { step: 'retire', why: 'nobody serves what the previous one signed' };
  return { step: 'none', why: '' };
}

/**
 * What the Secret holds after the step.
 * @param fresh a CA that was just made, for the steps that bring one in
 * @param published PEM of what kube-apiserver trusts now: it stays trusted where the Secret can't tell
 */
export function applyStep(
  step: Exclude<Step, 'none'>,
  reading: Reading,
  fresh: CertificateAuthority,
  published: readonly string[],
  nowMs: number,
): Authorities {
  const before = reading.state === 'good' ? reading.authorities : undefined;
  const withoutEnded = (certs: readonly string[]): string[] =>
    [...new Set(certs)].filter((cert) => new X509Certificate(cert).validToDate.getTime() > nowMs);
  if (before === undefined || step === 'create' || step === 'replace') {
    const kept = before === undefined ? published : [before.current.cert, ...before.previous, ...published];
    return { current: fresh, next: undefined, previous: withoutEnded(kept) };
  }
  const { current, next, previous } = before;
  if (step === 'introduce') return { current, next: fresh, previous: withoutEnded(previous) };
  if (step === 'retire' || next === undefined) return { current, next, previous: [] };
  return { current: next, next: undefined, previous: withoutEnded([current.cert, ...previous]) };
}

const isValid = ({ notBeforeMs, notAfterMs }: CertificateAuthority, nowMs: number): boolean =>
  notBeforeMs <= nowMs && nowMs < notAfterMs;

const show = (ms: number): string => new Date(ms).toISOString();
