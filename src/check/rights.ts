/** What the chart grants the server's service account: docs/rbac.md as data. A test holds it equal to what the chart renders. */
import { ENFORCED_HOOKS_NAME, HOOKS_NAME } from '../certs/publish.ts';
import { LEASE_NAME } from '../controller/start.ts';
import { KKP_GROUP } from '../kkp.ts';

/** own: of this software; kkp: where the Seeds are; default: where Events of Clusters are; everywhere: all of them, or none. */
export type Where = 'everywhere' | 'own' | 'kkp' | 'default';

export interface Right {
  readonly where: Where;
  readonly group: string;
  readonly resource: string;
  /** Empty: any. */
  readonly names: readonly string[];
  readonly verbs: readonly string[];
}

const right = (
  where: Where,
  group: string,
  resource: string,
  verbs: readonly string[],
  names: readonly string[] = [],
): Right => ({ where, group, resource, names, verbs });

const HOOKS = [HOOKS_NAME, ENFORCED_HOOKS_NAME];
const FLUENTBIT_SECRETS = ['audit-logs-fluentbit', 'audit-logs-fluentbit-tuned'];
export const CA_SECRET = 'kkp-audit-webhook-ca';

export const RIGHTS: readonly Right[] = [
  right('everywhere', KKP_GROUP, 'clusters', ['get', 'list', 'watch', 'patch']),
  right('everywhere', '', 'namespaces', ['get', 'list', 'watch', 'patch']),
  right('everywhere', '', 'pods', ['list', 'watch']),
  right('everywhere', 'apps', 'deployments', ['list', 'watch', 'patch'], ['apiserver']),
  right('everywhere', '', 'configmaps', ['list', 'watch', 'patch'], ['audit-config']),
  right('everywhere', '', 'configmaps', ['create']),
  right('everywhere', '', 'secrets', ['list', 'watch', 'create']),
  right('everywhere', '', 'secrets', ['patch', 'delete'], FLUENTBIT_SECRETS),
  right(
    'everywhere',
    'networking.k8s.io',
    'networkpolicies',
    ['list', 'watch'],
    ['default-deny-all-egress', 'kkp-audit-webhook-egress'],
  ),
  right(
    'everywhere',
    'networking.k8s.io',
    'networkpolicies',
    ['patch', 'delete'],
    ['kkp-audit-webhook-egress'],
  ),
  right('everywhere', 'networking.k8s.io', 'networkpolicies', ['create']),
  right('everywhere', 'authorization.k8s.io', 'subjectaccessreviews', ['create']),
  right(
    'everywhere',
    'admissionregistration.k8s.io',
    'mutatingwebhookconfigurations',
    ['get', 'patch'],
    HOOKS,
  ),
  right(
    'everywhere',
    'admissionregistration.k8s.io',
    'validatingwebhookconfigurations',
    ['get', 'patch'],
    HOOKS,
  ),
  right('own', 'coordination.k8s.io', 'leases', ['create']),
  right('own', 'coordination.k8s.io', 'leases', ['get', 'update'], [LEASE_NAME]),
  right('own', '', 'secrets', ['get', 'update'], [CA_SECRET]),
  right('kkp', KKP_GROUP, 'seeds', ['list', 'watch']),
  right('default', 'events.k8s.io', 'events', ['create', 'get', 'patch']),
];

/** Helm looks whether an object is there before it makes it. */
const MAKE = ['get', 'create'];
/** Nobody may grant by a role what they may not do themselves, unless by these verbs. */
const GRANT = [...MAKE, 'escalate', 'bind'];

const grants = (where: Where): Right[] => [
  right(where, 'rbac.authorization.k8s.io', 'roles', GRANT),
  right(where, 'rbac.authorization.k8s.io', 'rolebindings', MAKE),
];

/** What whoever installs the chart, and one day uninstalls it, must be able to do. A test holds it equal to what the chart renders. */
export const INSTALL_RIGHTS: readonly Right[] = [
  right('everywhere', 'admissionregistration.k8s.io', 'mutatingwebhookconfigurations', MAKE),
  right('everywhere', 'admissionregistration.k8s.io', 'validatingwebhookconfigurations', MAKE),
  right('everywhere', 'admissionregistration.k8s.io', 'validatingadmissionpolicies', MAKE),
  right('everywhere', 'admissionregistration.k8s.io', 'validatingadmissionpolicybindings', MAKE),
  right('everywhere', 'rbac.authorization.k8s.io', 'clusterroles', GRANT),
  right('everywhere', 'rbac.authorization.k8s.io', 'clusterrolebindings', MAKE),
  ...grants('own'),
  ...grants('kkp'),
  ...grants('default'),
  right('own', 'apps', 'deployments', MAKE),
  right('own', 'batch', 'jobs', MAKE),
  right('own', 'networking.k8s.io', 'networkpolicies', MAKE),
  right('own', 'policy', 'poddisruptionbudgets', MAKE),
  right('own', '', 'configmaps', MAKE),
  right('own', '', 'serviceaccounts', MAKE),
  right('own', '', 'services', MAKE),
  // Helm keeps the release itself in Secrets.
  right('own', '', 'secrets', [...MAKE, 'list', 'update']),
];

/** One verb on one name, as a SubjectAccessReview asks for it. */
export interface Question {
  readonly namespace: string;
  readonly group: string;
  readonly resource: string;
  readonly name: string;
  readonly verb: string;
}

export function questionsOf(
  rights: readonly Right[],
  namespaces: Readonly<Record<Exclude<Where, 'everywhere'>, string>>,
): Question[] {
  const all = rights.flatMap(({ where, group, resource, names, verbs }) =>
    (names.length === 0 ? [''] : names).flatMap((name) =>
      verbs.map((verb) => ({
        namespace: where === 'everywhere' ? '' : namespaces[where],
        group,
        resource,
        name,
        verb,
      })),
    ),
  );
  // Two of the namespaces may be the same.
  return [...new Map(all.map((question) => [describeQuestion(question), question])).values()];
}

export const describeQuestion = ({ namespace, group, resource, name, verb }: Question): string =>
  `${verb} ${resource}${group === '' ? '' : `.${group}`}${name === '' ? '' : `/${name}`}${namespace === '' ? '' : ` in ${namespace}`}`;
