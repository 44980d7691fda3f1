/** The audit policy of kube-apiserver (`audit.k8s.io/v1` Policy), with the defaults of its decoder filled in. */

export const LEVELS = ['None', 'Metadata', 'Request', 'RequestResponse'] as const;
export type Level = (typeof LEVELS)[number];

export const STAGES = ['RequestReceived', 'ResponseStarted', 'ResponseComplete', 'Panic'] as const;
export type Stage = (typeof STAGES)[number];

/** `-1`, `0` or `1` as the first level writes less than, as much as, or more than the second. */
export function compareLevels(a: Level, b: Level): number {
  return Math.sign(LEVELS.indexOf(a) - LEVELS.indexOf(b));
}

export interface GroupResources {
  readonly group: string;
  readonly resources: readonly string[];
  readonly resourceNames: readonly string[];
}

/** An empty list means "any", in every field. */
export interface PolicyRule {
  readonly level: Level;
  readonly users: readonly string[];
  readonly userGroups: readonly string[];
  readonly verbs: readonly string[];
  readonly resources: readonly GroupResources[];
  readonly namespaces: readonly string[];
  readonly nonResourceURLs: readonly string[];
  readonly omitStages: readonly Stage[];
  /** Undefined: as the policy says. */
  readonly omitManagedFields: boolean | undefined;
}

export interface Policy {
  readonly rules: readonly PolicyRule[];
  readonly omitStages: readonly Stage[];
  readonly omitManagedFields: boolean;
}

/** A request, by what kube-apiserver's policy looks at. */
export interface RequestAttributes {
  /** Undefined: nobody was authenticated, which no rule with users or groups matches. */
  readonly user?: { readonly name: string; readonly groups: readonly string[] } | undefined;
  readonly verb: string;
  /** False for a path such as /healthz; then only `path` counts of what follows. */
  readonly isResource: boolean;
  readonly namespace: string;
  readonly apiGroup: string;
  readonly resource: string;
  readonly subresource: string;
  readonly name: string;
  readonly path: string;
}

/** What a request for a path says of resources: nothing. */
export const NO_RESOURCE = {
  isResource: false,
  namespace: '',
  apiGroup: '',
  resource: '',
  subresource: '',
  name: '',
} as const;

/** The minor versions of Kubernetes 1.x whose readers this library tells apart. */
export const KUBERNETES_MINORS = [33, 34, 35, 36] as const;
export const NEWEST_MINOR = 36;
/** Since Kubernetes 1.36 the group "*" stands for all groups; before, it is no valid group. */
export const ANY_GROUP_SINCE_MINOR = 36;
