/**
 * What one policy logs and another does not: of the representative requests, and of the same requests as sent by and to whatever either policy
 * names (its users, groups, namespaces, names and resources, and all of these together), so that an exception for one user is seen.
 */
import type { Evaluation } from './evaluate.ts';
import { findOutcomes, type Outcome, outcomesOf } from './outcomes.ts';
import type { RepresentativeRequest } from './requests.ts';
import { compareLevels, type Level, type Policy, type RequestAttributes } from './types.ts';

export interface Difference {
  readonly title: string;
  readonly essential: boolean;
  readonly request: RequestAttributes;
  readonly before: Evaluation;
  readonly after: Evaluation;
  readonly change: 'less' | 'more' | 'other';
}

/** Requests that stay open; only they have a line for the start of the answer. */
const LONG_RUNNING = new Set(['exec', 'attach', 'portforward', 'proxy', 'log']);

/**
 * The level that a request's lines really have, its omitted stages taken into account: bodies are written with the end of the answer, and a
 * request whose every ordinary stage is left out is not logged.
 */
export function writtenLevel(evaluation: Evaluation, request: RequestAttributes): Level {
  const { level, omitStages } = evaluation;
  if (level === 'None' || !omitStages.includes('ResponseComplete')) return level;
  const stays = request.verb === 'watch' || LONG_RUNNING.has(request.subresource);
  const left = !omitStages.includes('RequestReceived') || (stays && !omitStages.includes('ResponseStarted'));
  return left ? 'Metadata' : 'None';
}

/**
 * @param requests to compare by; the representative ones and their variants where they are not given
 * @returns every request that the policies log differently, in the order of the requests; a variant only where it fares unlike the request
 *   that it varies
 * @throws {ComparisonTooLarge} where the policies single out too much
 */
export function comparePolicies(
  before: Policy,
  after: Policy,
  requests?: Iterable<RepresentativeRequest>,
): Difference[] {
  const policies = [before, after];
  const outcomes = requests === undefined ? findOutcomes(policies) : outcomesOf(requests, policies);
  const differences: Difference[] = [];
  for (const outcome of outcomes) {
    const difference = differenceOf(outcome);
    if (difference !== undefined) differences.push(difference);
  }
  return differences;
}

/**
 * @param outcome of the policy before and the policy after
 * @returns undefined where they log alike, and for a variant that fares like what it varies
 */
export function differenceOf(outcome: Outcome): Difference | undefined {
  const { request, essential, base } = outcome;
  const [before, after] = outcome.evaluations;
  if (before === undefined || after === undefined || (base !== undefined && areAlike(outcome, base)))
    return undefined;
  const change = compareEvaluations(before, after, request);
  return change === 'same' ? undefined : { title: outcome.title, essential, request, before, after, change };
}

/** Whether the same is written by all policies. */
function areAlike(a: Outcome, b: Outcome): boolean {
  return a.evaluations.every((mine, policy) => {
    const other = b.evaluations[policy];
    // Nearly always the same rules decide, and their evaluations are the same objects.
    if (mine === other || other === undefined) return true;
    return (
      writtenLevel(mine, a.request) === writtenLevel(other, b.request) &&
      mine.omitStages.join() === other.omitStages.join()
    );
  });
}

/** The differences by which the second policy logs less than the first. */
export function logsLess(
  before: Policy,
  after: Policy,
  requests?: Iterable<RepresentativeRequest>,
): Difference[] {
  return comparePolicies(before, after, requests).filter(({ change }) => change === 'less');
}

function compareEvaluations(
  before: Evaluation,
  after: Evaluation,
  request: RequestAttributes,
): Difference['change'] | 'same' {
  const order = compareLevels(writtenLevel(after, request), writtenLevel(before, request));
  if (order !== 0) return order < 0 ? 'less' : 'more';
  const level = writtenLevel(after, request);
  if (level === 'None') return 'same';
  const sameBodies = level === 'Metadata' || before.omitManagedFields === after.omitManagedFields;
  return sameBodies && before.omitStages.join() === after.omitStages.join() ? 'same' : 'other';
}
