/**
 * The rules of policies that others publish, put down in short: who, what and which level, in their order. None of them has a rule that is
 * never reached, so a finding that says so would be false.
 */
const rule = (level: string, parts: object = {}): string => JSON.stringify({ level, ...parts });
const policy = (rules: readonly string[], omitStages: readonly string[] = ['RequestReceived']): string =>
  `apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: ${JSON.stringify(omitStages)}\nrules:\n${rules.map((one) => `- ${one}\n`).join('')}`;
const core = (...resources: string[]): object => ({ group: '', resources });
const all = (...groups: string[]): object[] => groups.map((group) => ({ group }));

const KNOWN_APIS = all(
  '',
  'admissionregistration.k8s.io',
  'apiextensions.k8s.io',
  'apiregistration.k8s.io',
  'apps',
  'authentication.k8s.io',
  'authorization.k8s.io',
  'autoscaling',
  'batch',
  'certificates.k8s.io',
  'extensions',
  'metrics.k8s.io',
  'networking.k8s.io',
  'node.k8s.io',
  'policy',
  'rbac.authorization.k8s.io',
  'scheduling.k8s.io',
  'storage.k8s.io',
);
const READS = ['get', 'list', 'watch'];
const HEALTH = ['/healthz*', '/version', '/swagger*'];
const SENSITIVE = [
  core('secrets', 'configmaps', 'serviceaccounts/token'),
  { group: 'authentication.k8s.io', resources: ['tokenreviews'] },
];

export const PUBLISHED: Readonly<Record<string, string>> = {
  'Kubernetes documentation, task "Auditing"': policy([
    rule('RequestResponse', { resources: [core('pods')] }),
    rule('Metadata', { resources: [core('pods/log', 'pods/status')] }),
    rule('None', { resources: [{ ...core('configmaps'), resourceNames: ['controller-leader'] }] }),
    rule('None', {
      users: ['system:kube-proxy'],
      verbs: ['watch'],
      resources: [core('endpoints', 'services')],
    }),
    rule('None', { userGroups: ['system:authenticated'], nonResourceURLs: ['/api*', '/version'] }),
    rule('Request', { resources: [core('configmaps')], namespaces: ['kube-system'] }),
    rule('Metadata', { resources: [core('secrets', 'configmaps')] }),
    rule('Request', { resources: all('', 'extensions') }),
    rule('Metadata', { omitStages: ['RequestReceived'] }),
  ]),
  'Google Compute Engine and GKE': policy(
    [
      rule('None', {
        users: ['system:kube-proxy'],
        verbs: ['watch'],
        resources: [core('endpoints', 'services', 'services/status')],
      }),
      rule('None', {
        users: ['system:unsecured'],
        namespaces: ['kube-system'],
        verbs: ['get'],
        resources: [core('configmaps')],
      }),
      rule('None', { users: ['kubelet'], verbs: ['get'], resources: [core('nodes', 'nodes/status')] }),
      rule('None', {
        userGroups: ['system:nodes'],
        verbs: ['get'],
        resources: [core('nodes', 'nodes/status')],
      }),
      rule('None', {
        users: [
          'system:kube-controller-manager',
          'system:kube-scheduler',
          'system:serviceaccount:kube-system:endpoint-controller',
        ],
        verbs: ['get', 'update'],
        namespaces: ['kube-system'],
        resources: [core('endpoints')],
      }),
      rule('None', {
        users: ['system:apiserver'],
        verbs: ['get'],
        resources: [core('namespaces', 'namespaces/status', 'namespaces/finalize')],
      }),
      rule('None', {
        users: ['cluster-autoscaler'],
        verbs: ['get', 'update'],
        namespaces: ['kube-system'],
        resources: [core('configmaps', 'endpoints')],
      }),
      rule('None', {
        users: ['system:kube-controller-manager'],
        verbs: ['get', 'list'],
        resources: [{ group: 'metrics.k8s.io' }],
      }),
      rule('None', { nonResourceURLs: HEALTH }),
      rule('None', { resources: [core('events')] }),
      rule('Request', {
        users: [
          'kubelet',
          'system:node-problem-detector',
          'system:serviceaccount:kube-system:node-problem-detector',
        ],
        verbs: ['update', 'patch'],
        resources: [core('nodes/status', 'pods/status')],
        omitStages: ['RequestReceived'],
      }),
      rule('Request', {
        userGroups: ['system:nodes'],
        verbs: ['update', 'patch'],
        resources: [core('nodes/status', 'pods/status')],
        omitStages: ['RequestReceived'],
      }),
      rule('Request', {
        users: ['system:serviceaccount:kube-system:namespace-controller'],
        verbs: ['deletecollection'],
        omitStages: ['RequestReceived'],
      }),
      rule('Metadata', { resources: SENSITIVE, omitStages: ['RequestReceived'] }),
      rule('Request', { verbs: READS, resources: KNOWN_APIS, omitStages: ['RequestReceived'] }),
      rule('RequestResponse', { resources: KNOWN_APIS, omitStages: ['RequestReceived'] }),
      rule('Metadata', { omitStages: ['RequestReceived'] }),
    ],
    [],
  ),
  'Amazon EKS, by its documentation': policy([
    rule('RequestResponse', {
      namespaces: ['kube-system'],
      verbs: ['update', 'patch', 'delete'],
      resources: [{ ...core('configmaps'), resourceNames: ['aws-auth'] }],
    }),
    rule('None', {
      users: ['system:kube-proxy'],
      verbs: ['watch'],
      resources: [core('endpoints', 'services', 'services/status')],
    }),
    rule('None', {
      userGroups: ['system:nodes'],
      verbs: ['get'],
      resources: [core('nodes', 'nodes/status')],
    }),
    rule('None', { nonResourceURLs: HEALTH }),
    rule('None', { resources: [core('events')] }),
    rule('Metadata', { resources: SENSITIVE }),
    rule('Request', { resources: [core('serviceaccounts')] }),
    rule('Request', { verbs: READS, resources: KNOWN_APIS }),
    rule('RequestResponse', { resources: KNOWN_APIS }),
    rule('Metadata'),
  ]),
  'OpenShift, profile Default': policy([
    rule('None', { resources: [core('events')] }),
    rule('None', {
      resources: [{ group: 'oauth.openshift.io', resources: ['oauthaccesstokens', 'oauthauthorizetokens'] }],
    }),
    rule('None', {
      userGroups: ['system:authenticated', 'system:unauthenticated'],
      nonResourceURLs: ['/api*', '/version', '/healthz'],
    }),
    rule('RequestResponse', {
      verbs: ['create', 'update', 'patch', 'delete'],
      resources: [
        { group: 'user.openshift.io', resources: ['identities'] },
        { group: 'oauth.openshift.io', resources: ['oauthclients'] },
      ],
    }),
    rule('Metadata', { omitStages: ['RequestReceived'] }),
  ]),
  'CIS Kubernetes Benchmark, the least for 3.2.1': policy([rule('Metadata')], []),
  'CIS Kubernetes Benchmark, 3.2.2': policy([
    rule('Metadata', {
      resources: [
        core('secrets', 'configmaps'),
        { group: 'authentication.k8s.io', resources: ['tokenreviews'] },
      ],
    }),
    rule('Request', {
      verbs: ['create', 'update', 'patch', 'delete'],
      resources: [core('pods'), { group: 'apps', resources: ['deployments'] }],
    }),
    rule('Metadata', { resources: [core('pods/exec', 'pods/portforward', 'pods/proxy', 'services/proxy')] }),
  ]),
  'DISA STIG': policy([rule('RequestResponse')], []),
};
