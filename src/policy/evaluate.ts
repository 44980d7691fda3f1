/**
 * Request to level, as kube-apiserver's own evaluator decides it (`k8s.io/apiserver/pkg/audit/policy`): the first rule that matches in all its
 * fields counts. A policy is compiled once into sets and kept as long as the policy object lives.
 */
import type { GroupResources, Level, Policy, PolicyRule, RequestAttributes, Stage } from './types.ts';

export interface Evaluation {
  readonly level: Level;
  /** Of the policy and of the rule together, in the order of the stages. */
  readonly omitStages: readonly Stage[];
  readonly omitManagedFields: boolean;
  /** Index of the rule that decided; undefined where none matched, which means level None. */
  readonly rule: number | undefined;
}

/** `undefined` where the rule has no such field, which then matches. */
interface CompiledRule {
  readonly users: Matcher | undefined;
  readonly userGroups: Matcher | undefined;
  readonly verbs: Matcher | undefined;
  readonly target: Target;
  readonly namespaces: Matcher | undefined;
  readonly resources: readonly CompiledResources[];
  readonly urls: readonly string[];
  readonly evaluation: Evaluation;
}
type Matcher = ReadonlySet<string>;
type Target = 'anything' | 'resources' | 'urls';

interface CompiledResources {
  readonly group: string;
  /** Undefined: all of the group. */
  readonly exact: Matcher | undefined;
  /** All resources and subresources, for `*`. */
  readonly any: boolean;
  /** `pods` for all subresources of pods, which matches pods itself too (a star behind the slash). */
  readonly withSubresources: Matcher | undefined;
  /** `scale` for any resource's subresource scale (a star in front of the slash). */
  readonly subresources: Matcher | undefined;
  readonly names: Matcher | undefined;
}

interface Compiled {
  readonly rules: readonly CompiledRule[];
  readonly otherwise: Evaluation;
}

const STAGE_ORDER: readonly Stage[] = ['RequestReceived', 'ResponseStarted', 'ResponseComplete', 'Panic'];
const cache = new WeakMap<Policy, Compiled>();

/** @param policy must not change afterwards */
export function evaluate(policy: Policy, request: RequestAttributes): Evaluation {
  const { rules, otherwise } = compiledOf(policy);
  for (const rule of rules) if (matches(rule, request)) return rule.evaluation;
  return otherwise;
}

function compiledOf(policy: Policy): Compiled {
  let compiled = cache.get(policy);
  if (compiled === undefined) {
    compiled = compile(policy);
    cache.set(policy, compiled);
  }
  return compiled;
}

/** What each rule of a policy makes of a request that it decides, and what becomes of one that none matches. */
export function evaluationsOf(policy: Policy): {
  readonly rules: readonly Evaluation[];
  readonly otherwise: Evaluation;
} {
  const { rules, otherwise } = compiledOf(policy);
  return { rules: rules.map(({ evaluation }) => evaluation), otherwise };
}

/** A rule that matches a request as far as verb and target go. */
export interface Taker {
  /** Its index. */
  readonly rule: number;
  /** Indices of the resources that match only with certain names; undefined where the name does not matter. */
  readonly named: readonly number[] | undefined;
}

/** The rules that match a request, whatever its user, groups, namespace and name are. */
export function takersOf(policy: Policy, request: RequestAttributes): readonly Taker[] {
  const takers: Taker[] = [];
  compiledOf(policy).rules.forEach((rule, index) => {
    if (rule.verbs !== undefined && !rule.verbs.has(request.verb)) return;
    if (rule.target === 'urls' && (request.isResource || !takesPath(rule.urls, request.path))) return;
    if (rule.target === 'resources' && !request.isResource) return;
    if (rule.target !== 'resources' || rule.resources.length === 0) {
      takers.push({ rule: index, named: undefined });
      return;
    }
    const named: number[] = [];
    for (const [item, resources] of rule.resources.entries()) {
      if (!matchesKind(resources, request)) continue;
      if (resources.exact === undefined || resources.names === undefined) {
        takers.push({ rule: index, named: undefined });
        return;
      }
      named.push(item);
    }
    if (named.length > 0) takers.push({ rule: index, named });
  });
  return takers;
}

/** The first field of a rule that keeps it from matching. */
export type Mismatch = 'users' | 'userGroups' | 'verbs' | 'namespaces' | 'resources' | 'nonResourceURLs';

/** @returns undefined where the rule matches */
export function mismatch(rule: PolicyRule, request: RequestAttributes): Mismatch | undefined {
  return mismatchOf(compileRule(rule, EMPTY, 0), request);
}

function matches(rule: CompiledRule, request: RequestAttributes): boolean {
  return mismatchOf(rule, request) === undefined;
}

function mismatchOf(rule: CompiledRule, request: RequestAttributes): Mismatch | undefined {
  const { user } = request;
  if (rule.users !== undefined && (user === undefined || !rule.users.has(user.name))) return 'users';
  if (rule.userGroups !== undefined && !hasAny(rule.userGroups, user?.groups)) return 'userGroups';
  if (rule.verbs !== undefined && !rule.verbs.has(request.verb)) return 'verbs';
  if (rule.target === 'anything') return undefined;
  if (rule.target === 'urls') {
    return !request.isResource && takesPath(rule.urls, request.path) ? undefined : 'nonResourceURLs';
  }
  if (!request.isResource) return rule.resources.length > 0 ? 'resources' : 'namespaces';
  if (rule.namespaces !== undefined && !rule.namespaces.has(request.namespace)) return 'namespaces';
  if (rule.resources.length === 0) return undefined;
  for (const resources of rule.resources) if (matchesResources(resources, request)) return undefined;
  return 'resources';
}

function hasAny(set: Matcher, values: readonly string[] | undefined): boolean {
  if (values === undefined) return false;
  for (const value of values) if (set.has(value)) return true;
  return false;
}

/** `*`, the path itself, or a prefix of it that ends in `*`. */
export function takesPath(urls: readonly string[], path: string): boolean {
  let paths = pathsOf.get(urls);
  if (paths === undefined) {
    paths = compilePaths(urls);
    pathsOf.set(urls, paths);
  }
  const { all, exact, prefixes, lengths } = paths;
  if (all || exact.has(path)) return true;
  for (const length of lengths) {
    if (length > path.length) return false;
    if (prefixes.has(path.slice(0, length))) return true;
  }
  return false;
}

interface Paths {
  readonly all: boolean;
  readonly exact: Matcher;
  readonly prefixes: Matcher;
  /** Of the prefixes, ascending. */
  readonly lengths: readonly number[];
}

/** A rule may have as many paths as fit into it, and be asked about each of them. */
const pathsOf = new WeakMap<readonly string[], Paths>();

function compilePaths(urls: readonly string[]): Paths {
  const prefixes = urls.filter((url) => url.endsWith('*')).map((url) => url.replace(/\*+$/, ''));
  return {
    all: prefixes.includes(''),
    exact: new Set(urls),
    prefixes: new Set(prefixes),
    lengths: [...new Set(prefixes.map(({ length }) => length))].sort((a, b) => a - b),
  };
}

function matchesResources(item: CompiledResources, request: RequestAttributes): boolean {
  if (!matchesKind(item, request)) return false;
  return item.exact === undefined || item.names === undefined || item.names.has(request.name);
}

/** Whatever the name is. */
function matchesKind(item: CompiledResources, request: RequestAttributes): boolean {
  if (item.group !== request.apiGroup && item.group !== '*') return false;
  if (item.exact === undefined || item.any) return true;
  const { resource, subresource } = request;
  if (item.exact.has(subresource === '' ? resource : `${resource}/${subresource}`)) return true;
  if (subresource !== '' && item.subresources?.has(subresource)) return true;
  return item.withSubresources?.has(resource) === true;
}

const EMPTY: Pick<Policy, 'omitStages' | 'omitManagedFields'> = { omitStages: [], omitManagedFields: false };

function compile(policy: Policy): Compiled {
  return {
    rules: policy.rules.map((rule, index) => compileRule(rule, policy, index)),
    otherwise: {
      level: 'None',
      omitStages: inOrder(policy.omitStages),
      omitManagedFields: policy.omitManagedFields,
      rule: undefined,
    },
  };
}

function compileRule(rule: PolicyRule, policy: typeof EMPTY, index: number): CompiledRule {
  return {
    users: setOf(rule.users),
    userGroups: setOf(rule.userGroups),
    verbs: setOf(rule.verbs),
    target: targetOf(rule),
    namespaces: setOf(rule.namespaces),
    resources: rule.resources.map(compileResources),
    urls: rule.nonResourceURLs,
    evaluation: {
      level: rule.level,
      omitStages: inOrder([...policy.omitStages, ...rule.omitStages]),
      omitManagedFields: rule.omitManagedFields ?? policy.omitManagedFields,
      rule: index,
    },
  };
}

/** What kind of request a rule is about. */
export function targetOf(rule: PolicyRule): Target {
  if (rule.namespaces.length > 0 || rule.resources.length > 0) return 'resources';
  return rule.nonResourceURLs.length > 0 ? 'urls' : 'anything';
}

function compileResources(item: GroupResources): CompiledResources {
  const { resources } = item;
  return {
    group: item.group,
    exact: setOf(resources),
    any: resources.includes('*'),
    withSubresources: setOf(resources.filter((name) => name.endsWith('/*')).map((name) => name.slice(0, -2))),
    subresources: setOf(resources.filter((name) => name.startsWith('*/')).map((name) => name.slice(2))),
    names: setOf(item.resourceNames),
  };
}

function setOf(values: readonly string[]): Matcher | undefined {
  return values.length === 0 ? undefined : new Set(values);
}

function inOrder(stages: readonly Stage[]): readonly Stage[] {
  return STAGE_ORDER.filter((stage) => stages.includes(stage));
}
