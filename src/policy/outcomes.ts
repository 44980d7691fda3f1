/** Every way in which some policies together decide a request, and for each way one request. */
import { type Asked, READS_OF_ALL, requestsFor, titleFor } from './asked.ts';
import {
  Budget,
  type Candidate,
  type Choice,
  Choices,
  Classes,
  FIELDS,
  type Field,
  type Lists,
  NOTHING_WRITTEN,
  type Start,
  takesAll,
  type Written,
} from './choices.ts';
import { type Evaluation, evaluationsOf, type Taker, takersOf } from './evaluate.ts';
import type { RepresentativeRequest } from './requests.ts';
import { LEVELS, type Level, type Policy, type RequestAttributes } from './types.ts';

/** A request, and how each policy decides it. */
export interface Outcome {
  readonly title: string;
  readonly essential: boolean;
  readonly request: RequestAttributes;
  /** In the order of the policies. */
  readonly evaluations: readonly Evaluation[];
  /** The outcome of the request that this one varies; undefined for a request that is asked as it stands. */
  readonly base?: Outcome;
}

/** What there is to do for each besides, in looks. */
const LOOKS_OF_A_REQUEST = 100;
const LOOKS_OF_A_VARIANT = 10;

/**
 * @param policies the second is the one in question: where it decides as another does, whatever else is asked, variants are left out
 * @param options.essentialOnly leaves out requests that a log may be without
 * @param options.below leaves out variants, unless the policy in question writes less of them than the others do, and less than this level
 * @returns lazily; each request as it stands, then its variants
 * @throws {ComparisonTooLarge} while it is read
 */
export function* findOutcomes(
  policies: readonly Policy[],
  options: { readonly essentialOnly?: boolean; readonly below?: Level } = {},
): Generator<Outcome> {
  const trial = new Trial(policies, options.below);
  for (const asked of requestsFor(policies, options.essentialOnly === true)) yield* trial.run(asked);
}

/** As findOutcomes(), of given requests alone. */
export function* outcomesOf(
  requests: Iterable<RepresentativeRequest>,
  policies: readonly Policy[],
): Generator<Outcome> {
  const trial = new Trial(policies);
  for (const asked of requests) yield trial.ask(asked);
}

interface Rule {
  readonly users: ReadonlySet<number> | undefined;
  readonly groups: ReadonlySet<number> | undefined;
  readonly namespaces: ReadonlySet<number> | undefined;
  /** Of each entry of its resources. */
  readonly names: readonly (ReadonlySet<number> | undefined)[];
  /** Equal for rules that say the same. */
  readonly text: number;
}

class Trial {
  readonly #policies: readonly Policy[];
  readonly #evaluations: readonly ReturnType<typeof evaluationsOf>[];
  readonly #rules: readonly (readonly Rule[])[];
  readonly #classes: Readonly<Record<Field | 'groups', Classes>>;
  /** What it costs to look at all rules with all their resources. */
  readonly #looks: number;
  readonly #choices: Choices;
  /** By the text of a candidate. */
  readonly #names = new Map<string, ReadonlySet<number>>();
  readonly #budget = new Budget();
  readonly #asked = new Map<Asked, Outcome>();

  constructor(policies: readonly Policy[], below?: Level) {
    this.#policies = policies;
    this.#evaluations = policies.map(evaluationsOf);
    const rules = policies.flatMap((policy) => policy.rules);
    this.#looks = rules.reduce((sum, rule) => sum + 1 + rule.resources.length, 0);
    this.#classes = {
      users: new Classes(rules.map((rule) => rule.users)),
      groups: new Classes(rules.map((rule) => rule.userGroups)),
      namespaces: new Classes(rules.map((rule) => rule.namespaces)),
      names: new Classes(rules.flatMap((rule) => rule.resources.map((item) => item.resourceNames))),
    };
    const written = this.#evaluations.map(({ rules: evaluations }) => evaluations.map(rangeOf));
    const emptyNamespace = this.#classes.namespaces.of('');
    this.#choices = new Choices(
      { written, emptyNamespace, below: below && LEVELS.indexOf(below) },
      this.#budget,
    );
    const texts = new Map<string, number>();
    const numberOf = (text: string): number => {
      const number = texts.get(text) ?? texts.size;
      texts.set(text, number);
      return number;
    };
    this.#rules = policies.map((policy, index) =>
      policy.rules.map((rule, at) => ({
        users: this.#classes.users.all(rule.users),
        groups: this.#classes.groups.all(rule.userGroups),
        namespaces: this.#classes.namespaces.all(rule.namespaces),
        names: rule.resources.map((item) => this.#classes.names.all(item.resourceNames)),
        text: numberOf(JSON.stringify([rule, { ...this.#evaluations[index]?.rules[at], rule: 0 }])),
      })),
    );
  }

  /** The request as it stands. */
  ask(asked: Asked): Outcome {
    const { title, essential, request, like } = asked;
    this.#budget.look(LOOKS_OF_A_REQUEST);
    const found = this.#listsOf(request);
    const start = this.#startOf(asked);
    let lists = this.#withGroups(found, start.groups);
    for (const field of FIELDS) lists = this.#choices.narrow(lists, field, start[field]);
    const decided = lists.map((list) => list.find(({ groups }) => groups === undefined)?.rule ?? -1);
    const base = like === undefined ? undefined : this.#asked.get(like);
    const outcome = {
      title: title === '' ? titleFor(asked, request, undefined) : title,
      essential,
      request,
      evaluations: this.#evaluationsOf(decided),
      ...(base !== undefined && { base }),
    };
    if (title !== '') this.#asked.set(asked, outcome);
    return outcome;
  }

  /** The request as it stands, and one for each other way in which it may be decided. */
  *run(asked: Asked): Generator<Outcome> {
    const base = this.ask(asked);
    yield base;
    const { essential, request } = asked;
    const start = this.#startOf(asked);
    const lists = this.#withGroups(this.#listsOf(request), start.groups);
    for (const choice of this.#choices.find(lists, start)) {
      this.#budget.look(LOOKS_OF_A_VARIANT);
      yield this.#outcomeOf(choice, asked, essential, base);
    }
  }

  #outcomeOf(choice: Choice, asked: Asked, essential: boolean, base: Outcome): Outcome {
    const { request } = asked;
    const pick = (field: Field, value: string): string => {
      const number = choice[field];
      return number === undefined ? value : this.#classes[field].example(number);
    };
    const groups = choice.groups.map((number) => this.#classes.groups.example(number));
    const changed: RequestAttributes = {
      ...request,
      user: {
        name: pick('users', request.user?.name ?? ''),
        groups: [...(request.user?.groups ?? []), ...groups],
      },
      namespace: pick('namespaces', request.namespace),
      name: pick('names', request.name),
    };
    return {
      // Few of the many variants are ever named.
      get title() {
        return titleFor(asked, changed, groups.length === 0 ? undefined : groups.join(' and '));
      },
      essential,
      request: changed,
      evaluations: this.#evaluationsOf(choice.decided),
      base,
    };
  }

  #evaluationsOf(decided: readonly number[]): readonly Evaluation[] {
    return this.#evaluations.map(({ rules, otherwise }, policy) => rules[decided[policy] ?? -1] ?? otherwise);
  }

  #startOf({ request, isOfAnyScope }: Asked): Start {
    const { user, namespace, name, verb } = request;
    const isFixed = !request.isResource || namespace === '';
    return {
      users: this.#classes.users.of(user?.name ?? ''),
      groups: (user?.groups ?? [])
        .map((group) => this.#classes.groups.of(group))
        .filter((group) => group > 0),
      namespaces: this.#classes.namespaces.of(namespace),
      names: this.#classes.names.of(name),
      scope: isFixed ? 'fixed' : isOfAnyScope || READS_OF_ALL.has(verb) ? 'any' : 'namespaced',
    };
  }

  /** The rules that verb and target of a request match. */
  #listsOf(request: RequestAttributes): Lists {
    this.#budget.look(this.#looks);
    return this.#policies.map((policy, index) => {
      const takers = takersOf(policy, request);
      const rules = this.#rules[index] ?? [];
      const list: Candidate[] = [];
      for (const taker of takers) {
        const rule = rules[taker.rule];
        if (rule === undefined) continue;
        const { users, groups, namespaces } = rule;
        const text = `${rule.text} ${taker.named?.join() ?? ''}`;
        const names = this.#namesOf(rule, taker, text);
        const candidate = { rule: taker.rule, users, groups, namespaces, names, text };
        list.push(candidate);
        if (takesAll(candidate)) break;
      }
      return list;
    });
  }

  /** Those that some of the resources take which match; undefined where any name is taken. */
  #namesOf(rule: Rule, { named }: Taker, text: string): ReadonlySet<number> | undefined {
    if (named === undefined) return undefined;
    let names = this.#names.get(text);
    if (names === undefined) {
      names = new Set(named.flatMap((item) => [...(rule.names[item] ?? [])]));
      this.#names.set(text, names);
    }
    return names;
  }

  /** Every request has the groups of who sends it, whatever else is varied. */
  #withGroups(lists: Lists, groups: readonly number[]): Lists {
    if (groups.length === 0) return lists;
    return lists.map((list) =>
      untilDecided(
        list.map((candidate) =>
          candidate.groups !== undefined && groups.some((group) => candidate.groups?.has(group))
            ? { ...candidate, groups: undefined }
            : candidate,
        ),
      ),
    );
  }
}

function untilDecided(list: readonly Candidate[]): readonly Candidate[] {
  const end = list.findIndex(takesAll);
  return end === -1 ? list : list.slice(0, end + 1);
}

/** What is written at least and at most: without the end of the answer there are no bodies, and of most requests nothing. */
function rangeOf({ level, omitStages, omitManagedFields }: Evaluation): Written {
  const high = LEVELS.indexOf(level);
  if (high === 0) return NOTHING_WRITTEN;
  const text = `${level} ${omitStages} ${omitManagedFields}`;
  return omitStages.includes('ResponseComplete') ? { text, low: 0, high: 1 } : { text, low: high, high };
}
