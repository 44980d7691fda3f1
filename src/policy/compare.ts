/**
 * What one policy logs and another does not, by evaluation: of the representative requests, and of the same requests as sent by and to whatever
 * either policy names (its users, groups, namespaces, names and resources), so that an exception for one user is seen.
 */
import { type Evaluation, evaluate } from './evaluate.ts';
import { REPRESENTATIVE_REQUESTS, type RepresentativeRequest, titleOf } from './requests.ts';
import { compareLevels, type Level, type Policy, type RequestAttributes } from './types.ts';
import { SOMETHING_ELSE, targetsOfItem } from './witness.ts';

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
 */
export function comparePolicies(
  before: Policy,
  after: Policy,
  requests: Iterable<RepresentativeRequest> = representativeFor(before, after),
): Difference[] {
  const differences: Difference[] = [];
  const originals = new Map<RequestAttributes, { old: Evaluation; now: Evaluation }>();
  for (const one of requests) {
    const { request, essential, variantOf } = one;
    const [old, now] = [evaluate(before, request), evaluate(after, request)];
    if (variantOf === undefined) originals.set(request, { old, now });
    else {
      const original = originals.get(variantOf);
      if (original !== undefined && areAlike(original, variantOf, { old, now }, request)) continue;
    }
    const change = compareEvaluations(old, now, request);
    if (change !== 'same') {
      differences.push({ title: one.title, essential, request, before: old, after: now, change });
    }
  }
  return differences;
}

interface Pair {
  readonly old: Evaluation;
  readonly now: Evaluation;
}

function areAlike(a: Pair, requestOfA: RequestAttributes, b: Pair, requestOfB: RequestAttributes): boolean {
  // Nearly always the same rules decide, and their evaluations are the same objects.
  if (a.old === b.old && a.now === b.now) return true;
  const outcome = ({ old, now }: Pair, request: RequestAttributes): string =>
    `${writtenLevel(old, request)} ${writtenLevel(now, request)} ${old.omitStages} ${now.omitStages}`;
  return outcome(a, requestOfA) === outcome(b, requestOfB);
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

/** Looks at one rule or one of its resources: about half a second. A policy that a person can read stays a hundred times below. */
const MAX_COMPARISON_COST = 50_000_000;

/** False for policies that single out so much that a comparison with all variants would take too long. */
export function areComparable(policies: readonly Policy[]): boolean {
  const rules = policies.flatMap((policy) => policy.rules);
  const values = rules.flatMap((rule) => [
    ...rule.users,
    ...rule.userGroups,
    ...rule.namespaces,
    ...rule.resources.flatMap((item) => item.resourceNames),
  ]);
  const resources = rules.flatMap((rule) => rule.resources.flatMap((item) => item.resources)).length;
  const requests =
    (new Set(values).size + 1) * REPRESENTATIVE_REQUESTS.length + resources * VERBS_OF_NAMED.length;
  const looks = rules.reduce((sum, rule) => sum + 1 + rule.resources.length, 0);
  return requests * looks <= MAX_COMPARISON_COST;
}

const VERBS_OF_NAMED = ['create', 'update', 'patch', 'delete', 'get'];

/** The representative requests, and each of them again for whatever the policies single out. */
export function* representativeFor(...policies: readonly Policy[]): Generator<RepresentativeRequest> {
  yield* REPRESENTATIVE_REQUESTS;
  const rules = policies.flatMap((policy) => policy.rules);
  const collect = (pick: (rule: (typeof rules)[number]) => readonly string[]): string[] => [
    ...new Set(rules.flatMap(pick)),
  ];
  const vary = function* (
    values: readonly string[],
    how: string,
    change: (request: RequestAttributes, value: string) => RequestAttributes,
  ): Generator<RepresentativeRequest> {
    for (const value of values) {
      for (const { essential, concern, request, title } of REPRESENTATIVE_REQUESTS) {
        const changed = change(request, value);
        yield {
          // Few of the many variants are ever named.
          get title() {
            return how === ''
              ? titleOf(changed)
              : title + how.replace('*', () => (value === '' ? '""' : value));
          },
          essential,
          concern,
          request: changed,
          variantOf: request,
        };
      }
    }
  };
  yield* vary(
    collect((rule) => rule.users),
    '',
    (request, name) => ({ ...request, user: { name, groups: request.user?.groups ?? [] } }),
  );
  yield* vary(
    collect((rule) => rule.userGroups),
    ' in the group *',
    (request, group) => {
      const { name = '', groups = [] } = request.user ?? {};
      return { ...request, user: { name, groups: [...groups, group] } };
    },
  );
  yield* vary(
    collect((rule) => rule.namespaces).filter((namespace) => namespace !== ''),
    ' in *',
    (request, namespace) => (request.namespace === '' ? request : { ...request, namespace }),
  );
  yield* vary(
    collect((rule) => rule.resources.flatMap((item) => item.resourceNames)),
    ' (name *)',
    (request, name) => (request.isResource ? { ...request, name } : request),
  );
  yield* changesOfNamedResources(policies);
}

/** Changes to each resource that a policy names and that no representative request is about. */
function* changesOfNamedResources(policies: readonly Policy[]): Generator<RepresentativeRequest> {
  const known = new Set(REPRESENTATIVE_REQUESTS.map(({ request }) => keyOf(request)));
  const items = policies.flatMap((policy) => policy.rules.flatMap((rule) => rule.resources));
  const [base] = REPRESENTATIVE_REQUESTS;
  if (base === undefined) return;
  for (const target of items.flatMap((item) => targetsOfItem({ ...item, resourceNames: [] }))) {
    const { apiGroup, resource, subresource } = target;
    if ([apiGroup, resource, subresource].some((part) => part.includes(SOMETHING_ELSE))) continue;
    const key = keyOf(target);
    if (known.has(key)) continue;
    known.add(key);
    for (const verb of VERBS_OF_NAMED) {
      const request = { ...base.request, verb, apiGroup, resource, subresource, name: 'example' };
      yield { title: titleOf(request), concern: 'workloads', essential: false, request };
    }
  }
}

function keyOf({
  apiGroup,
  resource,
  subresource,
}: Pick<RequestAttributes, 'apiGroup' | 'resource' | 'subresource'>): string {
  return JSON.stringify([apiGroup, resource, subresource]);
}
