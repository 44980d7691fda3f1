/**
 * Which requests reach a rule, proven and not guessed. A rule matches a product of choices (a target, a verb, a user, a group, a namespace).
 * For a field that is open ("any verb") one value that no rule names stands for all others: an earlier rule that takes that value takes every
 * value. So a rule is never reached exactly when each of these requests is taken by an earlier rule, and where one is not, that request is
 * the proof.
 */
import { takesPath, targetOf } from './evaluate.ts';
import type { GroupResources, Policy, PolicyRule, RequestAttributes } from './types.ts';

/** A name that no policy has: NUL cannot stand in one that was read from YAML, and nobody would write this one in JSON. */
export const SOMETHING_ELSE = '\0else';

/** Where a request goes: a resource, or a path. */
export interface Target {
  readonly isResource: boolean;
  readonly apiGroup: string;
  readonly resource: string;
  readonly subresource: string;
  readonly name: string;
  readonly path: string;
}

/** Narrows the search: only requests that fit are looked for. */
export interface Restriction {
  readonly targets?: readonly Target[];
  readonly verbs?: readonly string[];
  readonly users?: readonly string[];
}

/** What searches may cost together, in looks at a rule: one that has used it up claims nothing more. */
export class SearchBudget {
  left: number;
  constructor(looks = 5_000_000) {
    this.left = looks;
  }
}

/**
 * @param index of the rule in the policy
 * @param only requests that fit this are looked for
 * @returns a request that the rule decides; undefined where there is none; 'unknown' where the budget did not suffice
 */
export function findRequest(
  policy: Policy,
  index: number,
  only: Restriction = {},
  budget: SearchBudget = new SearchBudget(),
): RequestAttributes | 'unknown' | undefined {
  const rule = policy.rules[index];
  if (rule === undefined) return undefined;
  const looks = (only.targets?.length ?? countTargets(rule)) * Math.max(1, rule.resources.length);
  budget.left -= index + looks;
  if (budget.left < 0 || looks > MAX_LOOKS_AT_TARGETS) return 'unknown';
  return new Search(policy.rules.slice(0, index), dimensionsOf(rule, only), budget).run();
}

/** A rule whose own lists multiply to more than this is not searched. */
const MAX_LOOKS_AT_TARGETS = 500_000;

/** An upper bound, without building them: resources times names may be many. */
function countTargets(rule: PolicyRule): number {
  let count = 2 + rule.nonResourceURLs.length;
  for (const { resources, resourceNames } of rule.resources) {
    count += Math.max(1, resources.length) * 2 * Math.max(1, resourceNames.length);
  }
  return count;
}

interface Dimensions {
  readonly targets: readonly Target[];
  readonly verbs: readonly string[];
  readonly users: readonly string[];
  readonly groups: readonly (string | undefined)[];
  readonly namespaces: readonly string[];
}

function dimensionsOf(rule: PolicyRule, only: Restriction): Dimensions {
  return {
    // A pattern such as "*/" takes nothing, not even what it seems to mean.
    targets: (only.targets ?? targetsOf(rule)).filter((target) => takesTarget(rule, target)),
    verbs: meet(rule.verbs, only.verbs),
    users: meet(rule.users, only.users),
    groups: rule.userGroups.length === 0 ? [undefined] : rule.userGroups,
    namespaces: orElse(rule.namespaces),
  };
}

function orElse(values: readonly string[]): readonly string[] {
  return values.length === 0 ? [SOMETHING_ELSE] : values;
}

function meet(values: readonly string[], wanted: readonly string[] | undefined): readonly string[] {
  if (wanted === undefined) return orElse(values);
  return values.length === 0 ? wanted : wanted.filter((value) => values.includes(value));
}

class Search {
  readonly #earlier: readonly PolicyRule[];
  readonly #dimensions: Dimensions;
  readonly #budget: SearchBudget;

  constructor(earlier: readonly PolicyRule[], dimensions: Dimensions, budget: SearchBudget) {
    this.#earlier = earlier;
    this.#budget = budget;
    this.#dimensions = dimensions;
  }

  run(): RequestAttributes | 'unknown' | undefined {
    const { targets, verbs, users, groups, namespaces } = this.#dimensions;
    if ([targets, verbs, users, groups, namespaces].some((values) => values.length === 0)) return undefined;
    try {
      return this.#search();
    } catch (error) {
      if (error instanceof GaveUp) return 'unknown';
      throw error;
    }
  }

  #search(): RequestAttributes | undefined {
    const { targets, verbs, users, groups, namespaces } = this.#dimensions;
    const all = [...this.#earlier];
    for (const [target, byTarget] of this.#split(all, targets, takesTarget)) {
      for (const [verb, byVerb] of this.#split(byTarget, verbs, takesVerb)) {
        for (const [user, byUser] of this.#split(byVerb, users, takesUser)) {
          for (const [group, byGroup] of this.#split(byUser, groups, takesGroup)) {
            for (const [namespace, rest] of this.#split(byGroup, namespaces, takesNamespace)) {
              if (rest.length > 0) continue;
              const user_ = { name: user, groups: group === undefined ? [] : [group] };
              return { ...target, verb, user: user_, namespace: target.isResource ? namespace : '' };
            }
          }
        }
      }
    }
    return undefined;
  }

  /** The values, one for each different set of rules that take it. */
  *#split<T>(
    rules: readonly PolicyRule[],
    values: readonly T[],
    takes: (rule: PolicyRule, value: T) => boolean,
  ): Generator<[T, readonly PolicyRule[]]> {
    const seen = new Set<string>();
    for (const value of values) {
      this.#budget.left -= rules.length + 1;
      if (this.#budget.left < 0) throw new GaveUp();
      const left: PolicyRule[] = [];
      let signature = '';
      rules.forEach((rule, index) => {
        if (!takes(rule, value)) return;
        left.push(rule);
        signature += `${index},`;
      });
      if (seen.has(signature)) continue;
      seen.add(signature);
      yield [value, left];
    }
  }
}

class GaveUp extends Error {}

// --- one field of a rule against one choice

function takesVerb(rule: PolicyRule, verb: string): boolean {
  return rule.verbs.length === 0 || setOf(rule.verbs).has(verb);
}

function takesUser(rule: PolicyRule, user: string): boolean {
  return rule.users.length === 0 || setOf(rule.users).has(user);
}

function takesGroup(rule: PolicyRule, group: string | undefined): boolean {
  return rule.userGroups.length === 0 || (group !== undefined && setOf(rule.userGroups).has(group));
}

function takesNamespace(rule: PolicyRule, namespace: string): boolean {
  return rule.namespaces.length === 0 || setOf(rule.namespaces).has(namespace);
}

const sets = new WeakMap<readonly string[], ReadonlySet<string>>();

function setOf(values: readonly string[]): ReadonlySet<string> {
  let set = sets.get(values);
  if (set === undefined) {
    set = new Set(values);
    sets.set(values, set);
  }
  return set;
}

function takesTarget(rule: PolicyRule, target: Target): boolean {
  switch (targetOf(rule)) {
    case 'anything':
      return true;
    case 'urls':
      return !target.isResource && takesPath(rule.nonResourceURLs, target.path);
    case 'resources':
      if (!target.isResource) return false;
      return rule.resources.length === 0 || rule.resources.some((item) => takesResource(item, target));
  }
}

function takesResource(item: GroupResources, target: Target): boolean {
  if (item.group !== target.apiGroup && item.group !== '*') return false;
  if (item.resources.length === 0) return true;
  if (item.resourceNames.length > 0 && !setOf(item.resourceNames).has(target.name)) return false;
  const { resource, subresource } = target;
  const combined = subresource === '' ? resource : `${resource}/${subresource}`;
  const patterns = setOf(item.resources);
  return (
    patterns.has('*') ||
    patterns.has(combined) ||
    (subresource !== '' && patterns.has(`*/${subresource}`)) ||
    patterns.has(`${resource}/*`)
  );
}

// --- what a rule is about

const NO_TARGET: Target = {
  isResource: true,
  apiGroup: '',
  resource: '',
  subresource: '',
  name: '',
  path: '',
};

/** A resource as a target: `pods`, `pods/exec`. */
export function resourceTarget(apiGroup: string, pattern: string, name: string = SOMETHING_ELSE): Target {
  const [resource = '', ...rest] = pattern.split('/');
  return { ...NO_TARGET, apiGroup, resource, subresource: rest.join('/'), name };
}

export function urlTarget(path: string): Target {
  return { ...NO_TARGET, isResource: false, path };
}

/** Targets that stand for all that a rule takes. */
export function targetsOf(rule: PolicyRule): readonly Target[] {
  switch (targetOf(rule)) {
    case 'urls':
      return rule.nonResourceURLs.map((url) => urlTarget(pathOf(url)));
    case 'resources':
      return rule.resources.length === 0 ? ANY_RESOURCE : rule.resources.flatMap(targetsOfItem);
    case 'anything':
      return [...ANY_RESOURCE, urlTarget(pathOf('*'))];
  }
}

const ANY = [SOMETHING_ELSE, `${SOMETHING_ELSE}/${SOMETHING_ELSE}`];
const ANY_RESOURCE = ANY.map((pattern) => resourceTarget(SOMETHING_ELSE, pattern));

function pathOf(url: string): string {
  const path = url.endsWith('*') ? url.replace(/\*+$/, '') + SOMETHING_ELSE : url;
  return path.startsWith('/') ? path : `/${path}`;
}

export function targetsOfItem(item: GroupResources): readonly Target[] {
  const group = item.group === '*' ? SOMETHING_ELSE : item.group;
  const patterns = item.resources.length === 0 ? ANY : item.resources.flatMap(expand);
  return patterns.flatMap((pattern) =>
    orElse(item.resourceNames).map((name) => resourceTarget(group, pattern, name)),
  );
}

/** A pattern of a policy as resources without wildcards. */
function expand(pattern: string): readonly string[] {
  if (pattern === '*') return ANY;
  if (pattern.startsWith('*/')) return [SOMETHING_ELSE + pattern.slice(1)];
  if (pattern.endsWith('/*')) return [pattern.slice(0, -2), pattern.slice(0, -1) + SOMETHING_ELSE];
  return [pattern];
}
