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
 * @returns what kube-apiserver would refuse; empty for a valid policy
 */
export function validatePolicy(policy: UncheckedPolicy, minor: number): Invalid[] {
  const invalid = validateStages(policy.omitStages, ['omitStages']);
  policy.rules.forEach((rule, index) => {
    invalid.push(...validateRule(rule, ['rules', index], minor));
  });
  if (policy.rules.length === 0) {
    invalid.push({
      code: 'no-rules',
      path: ['rules'],
      message: 'a policy needs at least one rule; to log everything, write "rules: [{level: Metadata}]"',
    });
  }
  return invalid;
}

type Path = readonly (string | number)[];

function validateRule(rule: UncheckedRule, path: Path, minor: number): Invalid[] {
  const invalid = [
    ...validateLevel(rule.level, [...path, 'level']),
    ...rule.nonResourceURLs.flatMap((url, index) => validateUrl(url, [...path, 'nonResourceURLs', index])),
    ...rule.resources.flatMap((resources, index) =>
      validateGroupResources(resources, [...path, 'resources', index], minor),
    ),
    ...validateStages(rule.omitStages, [...path, 'omitStages']),
  ];
  if (rule.nonResourceURLs.length > 0 && (rule.resources.length > 0 || rule.namespaces.length > 0)) {
    const other = rule.resources.length > 0 ? 'resources' : 'namespaces';
    invalid.push({
      code: 'resources-and-urls',
      path: [...path, 'nonResourceURLs'],
      message: `a rule has either nonResourceURLs or resources and namespaces; make two rules of it (this one has ${other} too)`,
    });
  }
  return invalid;
}

function validateLevel(level: string, path: Path): Invalid[] {
  if ((LEVELS as readonly string[]).includes(level)) return [];
  if (level === '') {
    return [{ code: 'level-missing', path, message: `a level is required: one of ${LEVELS.join(', ')}` }];
  }
  return [{ code: 'level-unknown', path, message: unknownWord(level, 'level', LEVELS) }];
}

function validateStages(stages: readonly string[], path: Path): Invalid[] {
  return stages.flatMap((stage, index) =>
    (STAGES as readonly string[]).includes(stage)
      ? []
      : [{ code: 'stage-unknown', path: [...path, index], message: unknownWord(stage, 'stage', STAGES) }],
  );
}

function unknownWord(word: string, what: string, known: readonly string[]): string {
  const meant = closest(word, known);
  const hint = meant === undefined ? '' : `; did you mean ${meant}?`;
  return `${quote(word)} is no ${what}${hint} (${known.join(', ')})`;
}

function validateUrl(url: string, path: Path): Invalid[] {
  if (url === '*') return [];
  const invalid: Invalid[] = [];
  if (!url.startsWith('/')) {
    invalid.push({
      code: 'url-without-slash',
      path,
      message: `${quote(url)} must be "*" or start with "/", such as "/healthz*"`,
    });
  }
  if (url.slice(0, -1).includes('*')) {
    invalid.push({
      code: 'url-wildcard',
      path,
      message: `${quote(url)} may have "*" only once, as its last character`,
    });
  }
  return invalid;
}

function validateGroupResources(item: GroupResources, path: Path, minor: number): Invalid[] {
  const invalid: Invalid[] = [];
  const message = item.group === '' ? '' : groupProblem(item.group, minor);
  if (message !== '') invalid.push({ code: 'group-invalid', path: [...path, 'group'], message });
  if (item.resourceNames.length > 0 && item.resources.length === 0) {
    invalid.push({
      code: 'names-without-resources',
      path: [...path, 'resourceNames'],
      message: 'resourceNames need resources beside them, such as resources: ["configmaps"]',
    });
  }
  return invalid;
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
