/**
 * Every way in which the rules of some policies together may decide. A rule asks of a request whether its user, one of its groups, its namespace
 * and its name stand in lists. Values that stand in the same lists fare alike, so one of them is enough; a value that no list has stands for
 * all others. What is left to try is tried field by field, and a choice that leaves the same rules as another is not tried again: an exception
 * for one user in one namespace is found, and a list of 20 000 users is one case.
 */
import { SOMETHING_ELSE } from './witness.ts';

/** What a comparison may cost, in looks at a rule or at one of its values: well below a second. What a person writes stays a hundred times below. */
export const MAX_LOOKS = 20_000_000;

/** The policies single out so much that trying it all would take too long. */
export class ComparisonTooLarge extends Error {
  override readonly name = 'ComparisonTooLarge';
  constructor() {
    super('the policies are too large to be compared; name fewer users, groups, namespaces and objects');
  }
}

export class Budget {
  #left = MAX_LOOKS;

  /** @throws {ComparisonTooLarge} where it does not suffice */
  look(count: number): void {
    this.#left -= count;
    if (this.#left < 0) throw new ComparisonTooLarge();
  }
}

/** Numbers for values: 0 for those that no list has, another one for each set of lists that have them. */
export class Classes {
  readonly #of = new Map<string, number>();
  readonly #examples: string[] = [SOMETHING_ELSE];

  constructor(lists: Iterable<readonly string[]>) {
    const standsIn = new Map<string, string>();
    let index = 0;
    for (const values of lists) {
      for (const value of new Set(values)) standsIn.set(value, `${standsIn.get(value) ?? ''}${index},`);
      index += 1;
    }
    const numbers = new Map<string, number>();
    for (const [value, signature] of standsIn) {
      // No namespace is unlike any namespace: most requests can't be without.
      const key = value === '' ? '' : signature;
      let number = numbers.get(key);
      if (number === undefined) {
        number = this.#examples.push(value) - 1;
        numbers.set(key, number);
      }
      this.#of.set(value, number);
    }
  }

  of(value: string): number {
    return this.#of.get(value) ?? 0;
  }

  /** Undefined for an empty list, which takes everything. */
  all(values: readonly string[]): ReadonlySet<number> | undefined {
    return values.length === 0 ? undefined : new Set(values.map((value) => this.of(value)));
  }

  example(number: number): string {
    return this.#examples[number] ?? SOMETHING_ELSE;
  }
}

/** A rule of which verb and target match; a field that is undefined takes everything, or has been found to match. */
export interface Candidate {
  /** Of the rule in its policy. */
  readonly rule: number;
  readonly users: ReadonlySet<number> | undefined;
  readonly groups: ReadonlySet<number> | undefined;
  readonly namespaces: ReadonlySet<number> | undefined;
  readonly names: ReadonlySet<number> | undefined;
  /** Equal for candidates that say the same, of whatever policy. */
  readonly text: string;
}

export type Field = 'users' | 'namespaces' | 'names';
export const FIELDS: readonly Field[] = ['users', 'namespaces', 'names'];

/** Values of a request by number; undefined: as the request has it. */
export interface Choice {
  readonly users?: number | undefined;
  readonly namespaces?: number | undefined;
  readonly names?: number | undefined;
  readonly groups: readonly number[];
  /** The rules that decide; -1 where none does. */
  readonly decided: readonly number[];
}

/** Candidates of each policy; the last of a list takes everything, or no rule decides after it. */
export type Lists = readonly (readonly Candidate[])[];

/** The numbers of what a request has, and which others its namespace may be replaced by. */
export interface Start {
  readonly users: number;
  readonly namespaces: number;
  readonly names: number;
  readonly groups: readonly number[];
  readonly scope: 'fixed' | 'namespaced' | 'any';
}

/** What is written of a request that a rule decides. */
export interface Written {
  /** Equal where the same is written. */
  readonly text: string;
  /** Index in LEVELS, at least and at most: stages that are left out take from some requests more than from others. */
  readonly low: number;
  readonly high: number;
}

export const NOTHING_WRITTEN: Written = { text: 'None', low: 0, high: 0 };

interface Given {
  /** By policy and rule. */
  readonly written: readonly (readonly Written[])[];
  /** The number of the namespace "", where a policy names it. */
  readonly emptyNamespace: number;
  /** Only what the policy in question writes below this level, and below what the others write, is looked for; undefined: any difference. */
  readonly below: number | undefined;
}

/** The second policy is the one in question: where it decides as another does, nothing is looked for. */
export class Choices {
  readonly #given: Given;
  readonly #budget: Budget;
  readonly #known = new Map<string, readonly Choice[]>();

  constructor(given: Given, budget: Budget) {
    this.#given = given;
    this.#budget = budget;
  }

  /** The candidates that take a value of a field. */
  narrow(lists: Lists, field: Field, value: number): Lists {
    return lists.map((list) => {
      this.#budget.look(list.length + 1);
      const left: Candidate[] = [];
      for (const candidate of list) {
        const taken = candidate[field];
        if (taken !== undefined && !taken.has(value)) continue;
        const narrowed = taken === undefined ? candidate : { ...candidate, [field]: undefined };
        left.push(narrowed);
        if (takesAll(narrowed)) break;
      }
      return left;
    });
  }

  /** All that differ in the rules that decide. Requests that leave the same rules to try have the same. */
  find(lists: Lists, start: Start): readonly Choice[] {
    if (this.#isSettled(lists)) return [];
    const key = JSON.stringify([start, lists.map((list) => list.map(({ rule, text }) => `${rule} ${text}`))]);
    let known = this.#known.get(key);
    if (known === undefined) {
      const found = new Map<string, Choice>();
      this.#tryField(lists, start, 0, {}, found);
      known = [...found.values()];
      this.#known.set(key, known);
    }
    return known;
  }

  #tryField(
    lists: Lists,
    start: Start,
    depth: number,
    chosen: Omit<Choice, 'groups' | 'decided'>,
    found: Map<string, Choice>,
  ): void {
    if (this.#isSettled(lists)) return;
    const field = FIELDS[depth];
    if (field === undefined) {
      this.#tryGroups(lists, chosen, found);
      return;
    }
    const seen = new Set<string>();
    for (const value of this.#valuesOf(lists, field, start)) {
      const narrowed = this.narrow(lists, field, value ?? start[field]);
      const signature = narrowed.map((list) => list.map(({ rule }) => rule).join()).join(';');
      if (seen.has(signature)) continue;
      seen.add(signature);
      this.#tryField(narrowed, start, depth + 1, { ...chosen, [field]: value }, found);
    }
  }

  /** Undefined first, for what the request has itself; then what no list has, then each of those that lists have. */
  *#valuesOf(lists: Lists, field: Field, start: Start): Generator<number | undefined> {
    yield undefined;
    if (field === 'namespaces' && start.scope === 'fixed') return;
    yield 0;
    const seen = new Set<number>();
    for (const list of lists) {
      for (const candidate of list) {
        const values = candidate[field];
        this.#budget.look(values?.size ?? 0);
        for (const value of values ?? []) {
          if (seen.has(value)) continue;
          seen.add(value);
          const isNone = field === 'namespaces' && value === this.#given.emptyNamespace;
          if (!isNone || start.scope === 'any') yield value;
        }
      }
    }
  }

  /** A request may have several groups; one more for each policy is enough for any rules to decide. */
  #tryGroups(lists: Lists, chosen: Omit<Choice, 'groups' | 'decided'>, found: Map<string, Choice>): void {
    const nobody = lists.map((list) => {
      const index = list.findIndex(({ groups }) => groups === undefined);
      return index === -1 ? list.length : index;
    });
    const ways = new Ways(lists);
    ways.add(nobody, []);
    const alike = new Ways(lists);
    for (const [group, first] of this.#firstByGroup(lists, nobody)) alike.add(first, [group]);
    const groups = alike.all();
    let tried = 0;
    for (let round = 0; round < lists.length && groups.length > 0; round++) {
      const all = ways.all();
      for (const way of all.slice(tried)) {
        this.#budget.look(groups.length);
        for (const group of groups) ways.addBoth(way, group);
      }
      tried = all.length;
    }
    for (const { first, groups: more } of ways.all()) {
      const decided = first.map((index, policy) => lists[policy]?.[index]?.rule ?? -1);
      if (this.#isSame(decided)) continue;
      const key = decided.join();
      if (!found.has(key)) found.set(key, { ...chosen, groups: more, decided });
    }
  }

  /** For each group that some candidate asks for, the first candidates that take a request with it. */
  #firstByGroup(lists: Lists, nobody: readonly number[]): ReadonlyMap<number, readonly number[]> {
    const byGroup = new Map<number, number[]>();
    lists.forEach((list, policy) => {
      list.forEach(({ groups }, index) => {
        this.#budget.look(groups?.size ?? 0);
        for (const group of groups ?? []) {
          const first = byGroup.get(group) ?? [...nobody];
          byGroup.set(group, first);
          first[policy] = Math.min(first[policy] ?? index, index);
        }
      });
    });
    return byGroup;
  }

  /** Whether nothing that is looked for is left, whatever is chosen. */
  #isSettled(lists: Lists): boolean {
    const [, mine] = lists;
    if (mine === undefined) return true;
    this.#budget.look(mine.length);
    const range = this.#rangeOf(1, mine);
    return lists.some((other, policy) => {
      if (policy === 1) return false;
      if (other.length === mine.length && other.every(({ text }, at) => text === mine[at]?.text)) return true;
      this.#budget.look(other.length);
      return this.#isMet(range, this.#rangeOf(policy, other));
    });
  }

  /** Whether for these deciding rules there is nothing that is looked for. */
  #isSame(decided: readonly number[]): boolean {
    const mine = this.#written(1, decided[1] ?? -1);
    return decided.some((rule, policy) => policy !== 1 && this.#isMet(mine, this.#written(policy, rule)));
  }

  #isMet(mine: Written, other: Written): boolean {
    const { below } = this.#given;
    return below === undefined
      ? mine.text !== '' && mine.text === other.text
      : mine.low >= Math.min(other.high, below);
  }

  /** What a policy writes, whichever of the candidates decides; the text is "" where it differs. */
  #rangeOf(policy: number, list: readonly Candidate[]): Written {
    const last = list.at(-1);
    const isOpen = last === undefined || !takesAll(last);
    let range = this.#written(policy, isOpen ? -1 : (last?.rule ?? -1));
    for (const { rule } of list) {
      const { text, low, high } = this.#written(policy, rule);
      range = {
        text: text === range.text ? text : '',
        low: Math.min(low, range.low),
        high: Math.max(high, range.high),
      };
    }
    return range;
  }

  #written(policy: number, rule: number): Written {
    return this.#given.written[policy]?.[rule] ?? NOTHING_WRITTEN;
  }
}

interface Way {
  /** Of each policy, the first candidate that takes the groups; the length of its list where none does. */
  readonly first: readonly number[];
  readonly groups: readonly number[];
}

/** One for each different combination of first candidates. */
class Ways {
  readonly #found = new Map<number, Way>();
  readonly #sizes: readonly number[];

  constructor(lists: Lists) {
    this.#sizes = lists.map((list) => list.length + 1);
  }

  all(): readonly Way[] {
    return [...this.#found.values()];
  }

  add(first: readonly number[], groups: readonly number[]): void {
    const key = this.#keyOf(first, first);
    if (!this.#found.has(key)) this.#found.set(key, { first, groups });
  }

  /** This is the innermost of all loops: nothing is made where it is known. */
  addBoth(a: Way, b: Way): void {
    const key = this.#keyOf(a.first, b.first);
    if (this.#found.has(key)) return;
    const first = a.first.map((index, policy) => Math.min(index, b.first[policy] ?? index));
    this.#found.set(key, { first, groups: [...a.groups, ...b.groups] });
  }

  #keyOf(a: readonly number[], b: readonly number[]): number {
    let key = 0;
    for (let policy = 0; policy < this.#sizes.length; policy++)
      key = key * (this.#sizes[policy] ?? 1) + Math.min(a[policy] ?? 0, b[policy] ?? 0);
    return key;
  }
}

export const takesAll = ({ users, groups, namespaces, names }: Candidate): boolean =>
  users === undefined && groups === undefined && namespaces === undefined && names === undefined;
