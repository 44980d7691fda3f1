/**
 * Requests that stand for what an audit log is read for. Policies are compared by what they would log of these; docs/policy.md lists them, held
 * equal by a test. Adding one makes the demand on policies stricter: do it on purpose.
 */
import { NO_RESOURCE, type RequestAttributes } from './types.ts';

export type Concern =
  | 'secrets'
  | 'configmaps'
  | 'tokens'
  | 'exec'
  | 'rbac'
  | 'admission'
  | 'workloads'
  | 'nodes'
  | 'network'
  | 'deletecollection'
  | 'access'
  | 'reads';

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

interface Row extends Where {
  readonly concern: Concern;
  readonly essential: boolean;
  readonly verbs: readonly string[];
  readonly group: string;
  readonly resources: readonly string[];
}

interface Where {
  /** "team" where it is not given; "" for what has no namespace. */
  readonly namespace?: string;
  readonly name?: string;
  readonly users?: readonly { readonly name: string; readonly groups: readonly string[] }[];
}

const ESSENTIAL = true;
const OTHER = false;

function row(
  concern: Concern,
  essential: boolean,
  verbs: readonly string[],
  group: string,
  resources: string,
  where: Where = {},
): Row {
  return { concern, essential, verbs, group, resources: resources.split(' '), ...where };
}

/** One table: what it tells, how, where, by whom. Resources of one group stand in one text. */
const ROWS: readonly Row[] = [
  row('secrets', ESSENTIAL, [...READS, ...CHANGES, 'deletecollection'], '', 'secrets'),
  row('secrets', ESSENTIAL, ['get'], '', 'secrets', { users: [WORKLOAD, ADMIN] }),
  row('secrets', ESSENTIAL, ['get'], '', 'secrets', { namespace: 'kube-system' }),
  row('secrets', ESSENTIAL, ['create', 'update'], '', 'secrets', {
    namespace: 'kube-system',
    name: 'usersshkeys',
  }),
  row('configmaps', ESSENTIAL, ['get', ...CHANGES], '', 'configmaps'),
  row('configmaps', ESSENTIAL, ['update'], '', 'configmaps', { namespace: 'kube-system' }),
  row('tokens', ESSENTIAL, ['create'], '', 'serviceaccounts/token'),
  row('tokens', ESSENTIAL, ['create'], 'authentication.k8s.io', 'tokenreviews', { namespace: '' }),
  row('tokens', ESSENTIAL, ['create', 'delete'], '', 'serviceaccounts'),
  row('tokens', ESSENTIAL, ['create'], 'certificates.k8s.io', 'certificatesigningrequests', {
    namespace: '',
  }),
  row('tokens', ESSENTIAL, ['update'], 'certificates.k8s.io', 'certificatesigningrequests/approval', {
    namespace: '',
  }),
  row(
    'exec',
    ESSENTIAL,
    ['create', 'get'],
    '',
    'pods/exec pods/attach pods/portforward pods/proxy services/proxy',
  ),
  row('exec', ESSENTIAL, ['create', 'get'], '', 'nodes/proxy', { namespace: '' }),
  row('exec', ESSENTIAL, ['create'], '', 'pods/exec', { users: [ADMIN, WORKLOAD] }),
  row('exec', ESSENTIAL, ['create'], '', 'pods/exec', { namespace: 'kube-system' }),
  row('exec', ESSENTIAL, ['update', 'patch'], '', 'pods/ephemeralcontainers'),
  row('exec', OTHER, ['get'], '', 'pods/log'),
  row('rbac', ESSENTIAL, [...CHANGES, 'deletecollection'], 'rbac.authorization.k8s.io', 'roles rolebindings'),
  row(
    'rbac',
    ESSENTIAL,
    [...CHANGES, 'deletecollection'],
    'rbac.authorization.k8s.io',
    'clusterroles clusterrolebindings',
    { namespace: '' },
  ),
  row('rbac', ESSENTIAL, ['create'], 'rbac.authorization.k8s.io', 'clusterrolebindings', {
    namespace: '',
    users: [ADMIN, WORKLOAD],
  }),
  row(
    'admission',
    ESSENTIAL,
    CHANGES,
    'admissionregistration.k8s.io',
    'mutatingwebhookconfigurations validatingwebhookconfigurations validatingadmissionpolicies validatingadmissionpolicybindings',
    { namespace: '' },
  ),
  row('admission', ESSENTIAL, CHANGES, 'apiextensions.k8s.io', 'customresourcedefinitions', {
    namespace: '',
  }),
  row('admission', ESSENTIAL, CHANGES, 'apiregistration.k8s.io', 'apiservices', { namespace: '' }),
  row(
    'admission',
    ESSENTIAL,
    ['create', 'update', 'delete'],
    'templates.gatekeeper.sh',
    'constrainttemplates',
    { namespace: '' },
  ),
  row('workloads', ESSENTIAL, CHANGES, '', 'pods'),
  row('workloads', ESSENTIAL, ['create', 'delete'], '', 'pods', { namespace: 'kube-system' }),
  row('workloads', ESSENTIAL, CHANGES, 'apps', 'deployments statefulsets daemonsets replicasets'),
  row('workloads', ESSENTIAL, ['patch'], 'apps', 'deployments/scale'),
  row('workloads', ESSENTIAL, CHANGES, 'batch', 'jobs cronjobs'),
  row('workloads', ESSENTIAL, ['create'], '', 'pods/eviction'),
  row('workloads', ESSENTIAL, ['create', 'delete'], '', 'persistentvolumes', { namespace: '' }),
  row('workloads', ESSENTIAL, ['create', 'update', 'delete'], 'example.com', 'widgets'),
  row('nodes', ESSENTIAL, CHANGES, '', 'nodes namespaces', { namespace: '' }),
  row('nodes', ESSENTIAL, CHANGES, 'cluster.k8s.io', 'machines machinesets machinedeployments', {
    namespace: 'kube-system',
  }),
  row('network', ESSENTIAL, CHANGES, 'networking.k8s.io', 'networkpolicies ingresses'),
  row('network', ESSENTIAL, CHANGES, '', 'services'),
  row('deletecollection', ESSENTIAL, ['deletecollection'], '', 'pods configmaps events'),
  row('deletecollection', ESSENTIAL, ['deletecollection'], 'apps', 'deployments'),
  row('access', ESSENTIAL, ['get', 'list'], '', 'secrets', { users: [ANONYMOUS] }),
  row('access', ESSENTIAL, ['create'], '', 'pods', { users: [ANONYMOUS] }),
  row('access', OTHER, ['create'], 'authorization.k8s.io', 'selfsubjectaccessreviews subjectaccessreviews', {
    namespace: '',
  }),
  row('reads', OTHER, READS, '', 'pods services'),
  row('reads', OTHER, ['get', 'list'], '', 'nodes namespaces', { namespace: '' }),
  row('reads', OTHER, ['list'], 'rbac.authorization.k8s.io', 'clusterroles', { namespace: '' }),
  row('reads', OTHER, ['list'], 'apps', 'deployments'),
  row('reads', OTHER, ['get'], 'example.com', 'widgets'),
];

/** Paths are no resources; kube-apiserver knows them by the lower-case HTTP method. */
const PATHS: readonly RepresentativeRequest[] = ['/api', '/metrics', '/logs/'].map((path) => ({
  title: `get ${path} by a user`,
  concern: 'access',
  essential: false,
  request: { ...NO_RESOURCE, user: USER, verb: 'get', path },
}));

export const REPRESENTATIVE_REQUESTS: readonly RepresentativeRequest[] = [...ROWS.flatMap(spread), ...PATHS];

function spread(one: Row): RepresentativeRequest[] {
  const { concern, essential, group, namespace = 'team', name, users = [USER] } = one;
  return one.resources.flatMap((pattern) =>
    one.verbs.flatMap((verb) =>
      users.map((user) => {
        const [resource = '', subresource = ''] = pattern.split('/');
        const isOne = verb !== 'list' && verb !== 'watch' && verb !== 'deletecollection';
        const request: RequestAttributes = {
          user,
          verb,
          isResource: true,
          namespace: namespace === '' && resource === 'namespaces' && isOne ? 'example' : namespace,
          apiGroup: group,
          resource,
          subresource,
          name: isOne ? (name ?? 'example') : '',
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
