/** Break-glass: an exemption from enforcement that an operator grants, with a reason and an end, as annotations of the Cluster. Pure. */
import { SKIP_ENFORCEMENT_ANNOTATION } from '../kkp.ts';
import { EXEMPT_REASON_ANNOTATION, EXEMPT_UNTIL_ANNOTATION, parseTime } from './settings.ts';

/** Long enough for a week of trouble; whoever needs more grants it again, and is on record again. */
export const MAX_EXEMPTION_DAYS = 7;
export const MAX_REASON_CHARACTERS = 500;
const DAY_MS = 86_400_000;
/** The clocks of two machines. */
const TOLERANCE_MS = 60_000;

type Annotations = Readonly<Record<string, string>>;

/** The annotations of an exemption. */
export const exemptionAnnotations = (untilMs: number, why: string): Record<string, string> => ({
  [SKIP_ENFORCEMENT_ANNOTATION]: 'true',
  [EXEMPT_UNTIL_ANNOTATION]: new Date(untilMs).toISOString(),
  [EXEMPT_REASON_ANNOTATION]: why,
});

export const EXEMPTION_ANNOTATIONS = [
  SKIP_ENFORCEMENT_ANNOTATION,
  EXEMPT_UNTIL_ANNOTATION,
  EXEMPT_REASON_ANNOTATION,
] as const;

/** Whether a write sets or changes an exemption. */
export const changesExemption = (before: Annotations, after: Annotations): boolean =>
  after[SKIP_ENFORCEMENT_ANNOTATION] === 'true' &&
  EXEMPTION_ANNOTATIONS.some((name) => before[name] !== after[name]);

/**
 * What is wrong with an exemption, whoever grants it; undefined where nothing is. KKP's own opt-out, without our annotations, is none of ours:
 * it has neither end nor reason.
 * @param nowMs milliseconds since 1970
 */
export function findExemptionProblem(annotations: Annotations, nowMs: number): string | undefined {
  const until = annotations[EXEMPT_UNTIL_ANNOTATION];
  const why = annotations[EXEMPT_REASON_ANNOTATION]?.trim();
  if (until === undefined && why === undefined) return undefined;
  if (!why) return `it needs a reason in the annotation ${EXEMPT_REASON_ANNOTATION}`;
  if (why.length > MAX_REASON_CHARACTERS)
    return `its reason has more than ${MAX_REASON_CHARACTERS} characters`;
  if (until === undefined) return `it needs an end in the annotation ${EXEMPT_UNTIL_ANNOTATION}`;
  const untilMs = parseTime(until);
  if (Number.isNaN(untilMs))
    return `its end ${JSON.stringify(until)} is no time such as ${new Date(nowMs).toISOString()}`;
  if (untilMs <= nowMs) return `its end ${until} is past`;
  if (untilMs > nowMs + MAX_EXEMPTION_DAYS * DAY_MS + TOLERANCE_MS)
    return `it would last for more than ${MAX_EXEMPTION_DAYS} days`;
  return undefined;
}
