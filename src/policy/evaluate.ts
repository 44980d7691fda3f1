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
  let compiled = cache.get(policy);
  if (compiled === undefined) {
    compiled = compile(policy);
    cache.set(policy, compiled);
  }
  for (const rule of compiled.rules) if (matches(rule, request)) return rule.evaluation;
  return compiled.otherwise;
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
    return !request.isResource && rule.urls.some((url) => matchesUrl(url, request.path))
      ? undefined
      : 'nonResourceURLs';
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
export function matchesUrl(url: string, path: string): boolean {
  return url === '*' || url === path || (url.endsWith('*') && path.startsWith(url.replace(/\*+$/, '')));
}

function matchesResources(item: CompiledResources, request: RequestAttributes): boolean {
  if (item.group !== request.apiGroup && item.group !== '*') return false;
  if (item.exact === undefined) return true;
  if (item.names !== undefined && !item.names.has(request.name)) return false;
  if (item.any) return true;
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
