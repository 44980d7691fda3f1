/**
 * Requests that stand for what an audit log is read for. Policies are compared by what they would log of these; docs/policy.md lists them, held
 * equal by a test. Adding one makes the demand on policies stricter: do it on purpose.
 */
import type { RequestAttributes } from './types.ts';

export const CONCERNS = [
  'secrets',
  'configmaps',
  'tokens',
  'exec',
  'rbac',
  'admission',
  'workloads',
  'nodes',
  'network',
  'deletecollection',
  'access',
  'reads',
] as const;
export type Concern = (typeof CONCERNS)[number];

export interface RepresentativeRequest {
  /** How a sentence names it: "create pods/exec in a namespace, by a user". */
  readonly title: string;
  readonly concern: Concern;
  /**
   * True where a log without it cannot answer who changed, took over or saw something: such a request must never go unlogged where audit
   * logging is enforced. The others may, unless the datacenter demands a preset that logs them.
   */
  readonly essential: boolean;
  readonly request: RequestAttributes;
  /** The representative request that this one varies; undefined for the representative ones themselves. */
  readonly variantOf?: RequestAttributes;
}

const USER = { name: 'someone@example.com', groups: ['system:authenticated'] };
const WORKLOAD = {
  name: 'system:serviceaccount:team:app',
  groups: ['system:serviceaccounts', 'system:serviceaccounts:team', 'system:authenticated'],
};
const ADMIN = { name: 'kubernetes-admin', groups: ['system:masters', 'system:authenticated'] };
const ANONYMOUS = { name: 'system:anonymous', groups: ['system:unauthenticated'] };

const WHO: ReadonlyMap<string, string> = new Map([
  [USER.name, 'a user'],
  [WORKLOAD.name, 'a workload'],
  [ADMIN.name, 'a system:masters administrator'],
  [ANONYMOUS.name, 'nobody known (system:anonymous)'],
]);

const CHANGES = ['create', 'update', 'patch', 'delete'];
const READS = ['get', 'list', 'watch'];

interface Row {
  readonly concern: Concern;
  readonly essential: boolean;
  readonly verbs: readonly string[];
  readonly group: string;
  readonly resources: readonly string[];
  /** "team" where it is not given; "" for what has no namespace. */
  readonly namespace?: string;
  readonly name?: string;
  readonly users?: readonly { readonly name: string; readonly groups: readonly string[] }[];
}

/** One table: what, how, by whom. */
const ROWS: readonly Row[] = [
  {
    concern: 'secrets',
    essential: true,
    verbs: [...READS, ...CHANGES, 'deletecollection'],
    group: '',
    resources: ['secrets'],
  },
  {
    concern: 'secrets',
    essential: true,
    verbs: ['get'],
    group: '',
    resources: ['secrets'],
    users: [WORKLOAD, ADMIN],
  },
  {
    concern: 'secrets',
    essential: true,
    verbs: ['get'],
    group: '',
    resources: ['secrets'],
    namespace: 'kube-system',
  },
  {
    concern: 'secrets',
    essential: true,
    verbs: ['create', 'update'],
    group: '',
    resources: ['secrets'],
    namespace: 'kube-system',
    name: 'usersshkeys',
  },
  {
    concern: 'configmaps',
    essential: true,
    verbs: ['get', ...CHANGES],
    group: '',
    resources: ['configmaps'],
  },
  {
    concern: 'configmaps',
    essential: true,
    verbs: ['update'],
    group: '',
    resources: ['configmaps'],
    namespace: 'kube-system',
  },
  { concern: 'tokens', essential: true, verbs: ['create'], group: '', resources: ['serviceaccounts/token'] },
  {
    concern: 'tokens',
    essential: true,
    verbs: ['create'],
    group: 'authentication.k8s.io',
    resources: ['tokenreviews'],
    namespace: '',
  },
  {
    concern: 'tokens',
    essential: true,
    verbs: ['create', 'delete'],
    group: '',
    resources: ['serviceaccounts'],
  },
  {
    concern: 'tokens',
    essential: true,
    verbs: ['create'],
    group: 'certificates.k8s.io',
    resources: ['certificatesigningrequests'],
    namespace: '',
  },
  {
    concern: 'tokens',
    essential: true,
    verbs: ['update'],
    group: 'certificates.k8s.io',
    resources: ['certificatesigningrequests/approval'],
    namespace: '',
  },
  {
    concern: 'exec',
    essential: true,
    verbs: ['create', 'get'],
    group: '',
    resources: ['pods/exec', 'pods/attach', 'pods/portforward', 'pods/proxy', 'services/proxy'],
  },
  {
    concern: 'exec',
    essential: true,
    verbs: ['create', 'get'],
    group: '',
    resources: ['nodes/proxy'],
    namespace: '',
  },
  {
    concern: 'exec',
    essential: true,
    verbs: ['create'],
    group: '',
    resources: ['pods/exec'],
    users: [ADMIN, WORKLOAD],
  },
  {
    concern: 'exec',
    essential: true,
    verbs: ['create'],
    group: '',
    resources: ['pods/exec'],
    namespace: 'kube-system',
  },
  {
    concern: 'exec',
    essential: true,
    verbs: ['update', 'patch'],
    group: '',
    resources: ['pods/ephemeralcontainers'],
  },
  { concern: 'exec', essential: false, verbs: ['get'], group: '', resources: ['pods/log'] },
  {
    concern: 'rbac',
    essential: true,
    verbs: [...CHANGES, 'deletecollection'],
    group: 'rbac.authorization.k8s.io',
    resources: ['roles', 'rolebindings'],
  },
  {
    concern: 'rbac',
    essential: true,
    verbs: [...CHANGES, 'deletecollection'],
    group: 'rbac.authorization.k8s.io',
    resources: ['clusterroles', 'clusterrolebindings'],
    namespace: '',
  },
  {
    concern: 'rbac',
    essential: true,
    verbs: ['create'],
    group: 'rbac.authorization.k8s.io',
    resources: ['clusterrolebindings'],
    namespace: '',
    users: [ADMIN, WORKLOAD],
  },
  {
    concern: 'admission',
    essential: true,
    verbs: CHANGES,
    group: 'admissionregistration.k8s.io',
    resources: [
      'mutatingwebhookconfigurations',
      'validatingwebhookconfigurations',
      'validatingadmissionpolicies',
      'validatingadmissionpolicybindings',
    ],
    namespace: '',
  },
  {
    concern: 'admission',
    essential: true,
    verbs: CHANGES,
    group: 'apiextensions.k8s.io',
    resources: ['customresourcedefinitions'],
    namespace: '',
  },
  {
    concern: 'admission',
    essential: true,
    verbs: CHANGES,
    group: 'apiregistration.k8s.io',
    resources: ['apiservices'],
    namespace: '',
  },
  {
    concern: 'admission',
    essential: true,
    verbs: ['create', 'update', 'delete'],
    group: 'templates.gatekeeper.sh',
    resources: ['constrainttemplates'],
    namespace: '',
  },
  { concern: 'workloads', essential: true, verbs: CHANGES, group: '', resources: ['pods'] },
  {
    concern: 'workloads',
    essential: true,
    verbs: ['create', 'delete'],
    group: '',
    resources: ['pods'],
    namespace: 'kube-system',
  },
  {
    concern: 'workloads',
    essential: true,
    verbs: CHANGES,
    group: 'apps',
    resources: ['deployments', 'statefulsets', 'daemonsets', 'replicasets'],
  },
  {
    concern: 'workloads',
    essential: true,
    verbs: ['patch'],
    group: 'apps',
    resources: ['deployments/scale'],
  },
  { concern: 'workloads', essential: true, verbs: CHANGES, group: 'batch', resources: ['jobs', 'cronjobs'] },
  { concern: 'workloads', essential: true, verbs: ['create'], group: '', resources: ['pods/eviction'] },
  {
    concern: 'workloads',
    essential: true,
    verbs: ['create', 'delete'],
    group: '',
    resources: ['persistentvolumes'],
    namespace: '',
  },
  {
    concern: 'workloads',
    essential: true,
    verbs: ['create', 'update', 'delete'],
    group: 'example.com',
    resources: ['widgets'],
  },
  {
    concern: 'nodes',
    essential: true,
    verbs: CHANGES,
    group: '',
    resources: ['nodes', 'namespaces'],
    namespace: '',
  },
  {
    concern: 'nodes',
    essential: true,
    verbs: CHANGES,
    group: 'cluster.k8s.io',
    resources: ['machines', 'machinesets', 'machinedeployments'],
    namespace: 'kube-system',
  },
  {
    concern: 'network',
    essential: true,
    verbs: CHANGES,
    group: 'networking.k8s.io',
    resources: ['networkpolicies', 'ingresses'],
  },
  { concern: 'network', essential: true, verbs: CHANGES, group: '', resources: ['services'] },
  {
    concern: 'deletecollection',
    essential: true,
    verbs: ['deletecollection'],
    group: '',
    resources: ['pods', 'configmaps', 'events'],
  },
  {
    concern: 'deletecollection',
    essential: true,
    verbs: ['deletecollection'],
    group: 'apps',
    resources: ['deployments'],
  },
  {
    concern: 'access',
    essential: true,
    verbs: ['get', 'list'],
    group: '',
    resources: ['secrets'],
    users: [ANONYMOUS],
  },
  {
    concern: 'access',
    essential: true,
    verbs: ['create'],
    group: '',
    resources: ['pods'],
    users: [ANONYMOUS],
  },
  {
    concern: 'access',
    essential: false,
    verbs: ['create'],
    group: 'authorization.k8s.io',
    resources: ['selfsubjectaccessreviews', 'subjectaccessreviews'],
    namespace: '',
  },
  { concern: 'reads', essential: false, verbs: READS, group: '', resources: ['pods', 'services'] },
  {
    concern: 'reads',
    essential: false,
    verbs: ['get', 'list'],
    group: '',
    resources: ['nodes', 'namespaces'],
    namespace: '',
  },
  {
    concern: 'reads',
    essential: false,
    verbs: ['list'],
    group: 'rbac.authorization.k8s.io',
    resources: ['clusterroles'],
    namespace: '',
  },
  { concern: 'reads', essential: false, verbs: ['list'], group: 'apps', resources: ['deployments'] },
  { concern: 'reads', essential: false, verbs: ['get'], group: 'example.com', resources: ['widgets'] },
];

const NO_RESOURCE = {
  isResource: false,
  namespace: '',
  apiGroup: '',
  resource: '',
  subresource: '',
  name: '',
};

/** Paths are no resources; kube-apiserver knows them by the lower-case HTTP method. */
const PATHS: readonly RepresentativeRequest[] = ['/api', '/metrics', '/logs/'].map((path) => ({
  title: `get ${path} by a user`,
  concern: 'access',
  essential: false,
  request: { ...NO_RESOURCE, user: USER, verb: 'get', path },
}));

export const REPRESENTATIVE_REQUESTS: readonly RepresentativeRequest[] = [...ROWS.flatMap(spread), ...PATHS];

function spread(row: Row): RepresentativeRequest[] {
  const { concern, essential, group, namespace = 'team', name, users = [USER] } = row;
  return row.resources.flatMap((pattern) =>
    row.verbs.flatMap((verb) =>
      users.map((user) => {
        const [resource = '', subresource = ''] = pattern.split('/');
        const one = verb !== 'list' && verb !== 'watch' && verb !== 'deletecollection';
        const request: RequestAttributes = {
          user,
          verb,
          isResource: true,
          namespace: namespace === '' && resource === 'namespaces' && one ? 'example' : namespace,
          apiGroup: group,
          resource,
          subresource,
          name: one ? (name ?? 'example') : '',
          path: '',
        };
        return { title: titleOf(request), concern, essential, request };
      }),
    ),
  );
}

/** A request in a few words. */
export function titleOf(request: RequestAttributes): string {
  const { verb, user, apiGroup, resource, subresource, namespace, name } = request;
  const who = user === undefined ? 'nobody known' : (WHO.get(user.name) ?? user.name);
  if (!request.isResource) return `${verb} ${request.path} by ${who}`;
  const what = `${resource}${subresource === '' ? '' : `/${subresource}`}${apiGroup === '' ? '' : `.${apiGroup}`}`;
  const named = name === '' || name === 'example' ? '' : ` ${name}`;
  const where =
    namespace === '' || namespace === 'team' || resource === 'namespaces' ? '' : ` in ${namespace}`;
  return `${verb} ${what}${named}${where} by ${who}`;
}
