/**
 * The rules of `k8s.io/apiserver/pkg/apis/audit/validation`, with every error at once. The paths have the index that Kubernetes leaves out
 * (`rules[0].resources[2].group`).
 */
import type { ProblemCode } from './codes.ts';
import { closest, quote } from './problem.ts';
import {
  ANY_GROUP_SINCE_MINOR,
  type GroupResources,
  LEVELS,
  type Policy,
  type PolicyRule,
  STAGES,
} from './types.ts';

/** A policy as decoded: levels and stages may be any text. */
export type UncheckedRule = Omit<PolicyRule, 'level' | 'omitStages'> & {
  readonly level: string;
  readonly omitStages: readonly string[];
};
export type UncheckedPolicy = Omit<Policy, 'rules' | 'omitStages'> & {
  readonly rules: readonly UncheckedRule[];
  readonly omitStages: readonly string[];
};

export interface Invalid {
  readonly code: ProblemCode;
  readonly path: readonly (string | number)[];
  readonly message: string;
}

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const MAX_SUBDOMAIN_CHARACTERS = 253;

/**
 * @param minor of Kubernetes 1.x
 * @returns what kube-apiserver would refuse, one after the other, so that nobody has to wait for more than are shown
 */
export function* validatePolicy(policy: UncheckedPolicy, minor: number): Generator<Invalid> {
  yield* validateStages(policy.omitStages, ['omitStages']);
  for (const [index, rule] of policy.rules.entries()) yield* validateRule(rule, ['rules', index], minor);
  if (policy.rules.length === 0) {
    const message = 'a policy needs at least one rule; to log everything, write "rules: [{level: Metadata}]"';
    yield { code: 'no-rules', path: ['rules'], message };
  }
}

type Path = readonly (string | number)[];

function* validateRule(rule: UncheckedRule, path: Path, minor: number): Generator<Invalid> {
  yield* validateLevel(rule.level, [...path, 'level']);
  for (const [index, url] of rule.nonResourceURLs.entries()) {
    yield* validateUrl(url, [...path, 'nonResourceURLs', index]);
  }
  for (const [index, resources] of rule.resources.entries()) {
    yield* validateGroupResources(resources, [...path, 'resources', index], minor);
  }
  yield* validateStages(rule.omitStages, [...path, 'omitStages']);
  if (rule.nonResourceURLs.length > 0 && (rule.resources.length > 0 || rule.namespaces.length > 0)) {
    const other = rule.resources.length > 0 ? 'resources' : 'namespaces';
    const message = `a rule has either nonResourceURLs or resources and namespaces; make two rules of it (this one has ${other} too)`;
    yield { code: 'resources-and-urls', path: [...path, 'nonResourceURLs'], message };
  }
}

function* validateLevel(level: string, path: Path): Generator<Invalid> {
  if ((LEVELS as readonly string[]).includes(level)) return;
  if (level === '') {
    yield { code: 'level-missing', path, message: `a level is required: one of ${LEVELS.join(', ')}` };
  } else yield { code: 'level-unknown', path, message: unknownWord(level, 'level', LEVELS) };
}

function* validateStages(stages: readonly string[], path: Path): Generator<Invalid> {
  for (const [index, stage] of stages.entries()) {
    if ((STAGES as readonly string[]).includes(stage)) continue;
    yield { code: 'stage-unknown', path: [...path, index], message: unknownWord(stage, 'stage', STAGES) };
  }
}

function unknownWord(word: string, what: string, known: readonly string[]): string {
  const meant = closest(word, known);
  const hint = meant === undefined ? '' : `; did you mean ${meant}?`;
  return `${quote(word)} is no ${what}${hint} (${known.join(', ')})`;
}

function* validateUrl(url: string, path: Path): Generator<Invalid> {
  if (url === '*') return;
  if (!url.startsWith('/')) {
    const message = `${quote(url)} must be "*" or start with "/", such as "/healthz*"`;
    yield { code: 'url-without-slash', path, message };
  }
  if (url.slice(0, -1).includes('*')) {
    const message = `${quote(url)} may have "*" only once, as its last character`;
    yield { code: 'url-wildcard', path, message };
  }
}

function* validateGroupResources(item: GroupResources, path: Path, minor: number): Generator<Invalid> {
  const message = item.group === '' ? '' : groupProblem(item.group, minor);
  if (message !== '') yield { code: 'group-invalid', path: [...path, 'group'], message };
  if (item.resourceNames.length > 0 && item.resources.length === 0) {
    yield {
      code: 'names-without-resources',
      path: [...path, 'resourceNames'],
      message: 'resourceNames need resources beside them, such as resources: ["configmaps"]',
    };
  }
}

function groupProblem(group: string, minor: number): string {
  if (group === '*') {
    return minor >= ANY_GROUP_SINCE_MINOR
      ? ''
      : `"*" for all groups is read since Kubernetes 1.${ANY_GROUP_SINCE_MINOR}, this is for 1.${minor}; leave "resources" out to mean everything, or list the groups`;
  }
  if (group.length <= MAX_SUBDOMAIN_CHARACTERS && SUBDOMAIN.test(group)) return '';
  const start = `${quote(group)} is no API group`;
  if (group === 'core' || group === 'v1') return `${start}; the core group is ""`;
  if (group.includes('/'))
    return `${start}; leave the version out and write ${quote(group.split('/')[0] ?? '')}`;
  return `${start}: lower-case letters, digits, "-" and ".", such as "apps" or "rbac.authorization.k8s.io"`;
}
