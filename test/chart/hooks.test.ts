import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { JsonObject } from '../../src/kubernetes.ts';
import type { Method } from '../support/api-client.ts';
import { BASE_PROGRAMS } from '../support/binaries.ts';
import { NOWHERE, registerChart } from '../support/chart-hooks.ts';
import { type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import { renderKkp } from '../support/fixtures.ts';
import { FULL_NAME, RELEASE, skipWithoutHelm } from '../support/helm.ts';
import { IDENTITIES, type Identity } from '../support/identities.ts';
import {
  CLUSTERS_PATH,
  createCluster,
  prepareSeed,
  renderCluster,
  renderSeed,
  SEEDS_PATH,
} from '../support/seed.ts';
import { until } from '../support/wait.ts';

const skip = await skipWithoutHelm('which requests the hooks are asked about', BASE_PROGRAMS);

const NAMESPACE = '/api/v1/namespaces/cluster-some';
const DEPLOYMENT = '/apis/apps/v1/namespaces/cluster-some/deployments/apiserver';
const CLUSTER = `${CLUSTERS_PATH}/some`;
const SEED = `${SEEDS_PATH}/kubermatic`;
const LABEL = 'audit.kubermatic.k8c.io/enforced';
const SELF: Identity = {
  user: `system:serviceaccount:${RELEASE.namespace}:${FULL_NAME}`,
  groups: ['seed-users'],
};
const PERSON = IDENTITIES.alice;
const KKP = IDENTITIES.seedControllerManager;

const container = (name: string, fields: JsonObject): JsonObject => ({
  spec: { template: { spec: { containers: [{ name, ...fields }] } } },
});
const pod = (labels: Record<string, string>, image = 'x'): JsonObject => ({
  metadata: { generateName: 'x-', labels },
  spec: { containers: [{ name: 'x', image }] },
});

const READY: JsonObject = { status: { conditions: [{ type: 'Ready', status: 'True' }] } };
const binding = (labels: Record<string, string>): JsonObject => ({
  apiVersion: 'v1',
  kind: 'Binding',
  metadata: { name: 'quiet', labels },
  target: { kind: 'Node', name: 'some' },
});

/** Who is asked first, '' for nobody: a mutating hook before a validating one. */
const CASES: readonly (readonly [
  what: string,
  as: Identity,
  method: Method,
  path: string,
  body: unknown,
  asked: string,
])[] = [
  // Writes that leave everything audit-relevant as it was never wait.
  ['an empty patch', PERSON, 'PATCH', DEPLOYMENT, {}, ''],
  ['scaling', PERSON, 'PATCH', DEPLOYMENT, { spec: { replicas: 3 } }, ''],
  ['a label', PERSON, 'PATCH', DEPLOYMENT, { metadata: { labels: { a: 'b' } } }, ''],
  [
    'a restart',
    PERSON,
    'PATCH',
    DEPLOYMENT,
    { spec: { template: { metadata: { annotations: { a: 'b' } } } } },
    '',
  ],
  [
    'a tag of the image',
    KKP,
    'PATCH',
    DEPLOYMENT,
    container('apiserver', { image: 'registry.k8s.io/kube-apiserver:v9' }),
    '',
  ],
  [
    'resources',
    KKP,
    'PATCH',
    DEPLOYMENT,
    container('apiserver', { resources: { limits: { cpu: '4' } } }),
    '',
  ],
  [
    'the times of a probe',
    KKP,
    'PATCH',
    DEPLOYMENT,
    container('apiserver', { livenessProbe: { periodSeconds: 20 } }),
    '',
  ],
  ['tolerations', PERSON, 'PATCH', DEPLOYMENT, { spec: { template: { spec: { tolerations: [] } } } }, ''],
  [
    'another Deployment',
    PERSON,
    'POST',
    '/apis/apps/v1/namespaces/cluster-some/deployments',
    { ...renderKkp({ cluster: 'some' }), metadata: { name: 'other' } },
    '',
  ],
  [
    'a Deployment elsewhere',
    PERSON,
    'POST',
    '/apis/apps/v1/namespaces/default/deployments',
    { ...renderKkp({ cluster: 'some' }), metadata: { name: 'apiserver' } },
    '',
  ],
  ['another pod', PERSON, 'POST', `${NAMESPACE}/pods`, pod({ app: 'etcd' }), ''],
  ['a pod elsewhere', PERSON, 'POST', '/api/v1/namespaces/default/pods', pod({ app: 'apiserver' }), ''],
  ['another ConfigMap', PERSON, 'POST', `${NAMESPACE}/configmaps`, { metadata: { name: 'other' } }, ''],
  [
    'a label of the policy',
    PERSON,
    'PATCH',
    `${NAMESPACE}/configmaps/audit-config`,
    { metadata: { labels: { a: 'b' } } },
    '',
  ],
  ['a pod without its label, when it runs', KKP, 'PATCH', `${NAMESPACE}/pods/quiet/status`, READY, ''],
  ['an apiserver pod, when it runs', KKP, 'PATCH', `${NAMESPACE}/pods/apiserver-1/status`, READY, ''],
  ['a pod that gets its node', KKP, 'POST', `${NAMESPACE}/pods/quiet/binding`, binding({ zone: 'a' }), ''],
  ['other ConfigMaps deleted', PERSON, 'DELETE', `${NAMESPACE}/configmaps?labelSelector=a`, undefined, ''],
  [
    'the status of the namespace',
    PERSON,
    'PATCH',
    `${NAMESPACE}/status`,
    { status: { conditions: [{ type: 'A', status: 'True' }] } },
    '',
  ],
  [
    'the policy, by KKP',
    KKP,
    'PATCH',
    `${NAMESPACE}/configmaps/audit-config`,
    { data: { 'policy.yaml': 'x' } },
    '',
  ],
  ['another Secret', PERSON, 'PATCH', `${NAMESPACE}/secrets/ca`, { data: null }, ''],
  ['another name for people', PERSON, 'PATCH', CLUSTER, { spec: { humanReadableName: 'x' } }, ''],
  ['another version', PERSON, 'PATCH', CLUSTER, { spec: { version: '1.37.0' } }, ''],
  ['a status', KKP, 'PATCH', `${CLUSTER}/status`, { status: { versions: { apiserver: '1.36.3' } } }, ''],
  ['a label of the namespace', PERSON, 'PATCH', NAMESPACE, { metadata: { labels: { a: 'b' } } }, ''],
  [
    'another namespace',
    PERSON,
    'PATCH',
    '/api/v1/namespaces/default',
    { metadata: { labels: { [LABEL]: 'true' } } },
    '',
  ],
  [
    'a new datacenter',
    PERSON,
    'PATCH',
    SEED,
    {
      spec: {
        datacenters: {
          new: { country: 'DE', location: 'x', spec: { aws: { region: 'x' }, enforceAuditLogging: true } },
        },
      },
    },
    '',
  ],

  // What decides whether an apiserver audits.
  [
    'a new Cluster',
    PERSON,
    'POST',
    CLUSTERS_PATH,
    renderCluster({ name: 'new', datacenter: 'aws-1' }),
    'mutate-clusters',
  ],
  ['the switch', PERSON, 'PATCH', CLUSTER, { spec: { auditLogging: { enabled: true } } }, 'mutate-clusters'],
  [
    'the switch, by KKP',
    KKP,
    'PATCH',
    CLUSTER,
    { spec: { auditLogging: { enabled: true } } },
    'mutate-clusters',
  ],
  [
    'the opt-out',
    PERSON,
    'PATCH',
    CLUSTER,
    { metadata: { annotations: { 'kubermatic.k8c.io/skip-audit-logging-enforcement': 'true' } } },
    'mutate-clusters',
  ],
  ['an empty patch of our own', SELF, 'PATCH', DEPLOYMENT, {}, 'mutate-deployments'],
  ['arguments', KKP, 'PATCH', DEPLOYMENT, container('apiserver', { args: ['--x'] }), 'mutate-deployments'],
  [
    'the image from elsewhere',
    PERSON,
    'PATCH',
    DEPLOYMENT,
    container('apiserver', { image: 'evil.example/kube-apiserver:v9' }),
    'mutate-deployments',
  ],
  [
    'a lifecycle',
    PERSON,
    'PATCH',
    DEPLOYMENT,
    container('apiserver', { lifecycle: { postStart: { exec: { command: ['x'] } } } }),
    'mutate-deployments',
  ],
  [
    'a command of a probe',
    PERSON,
    'PATCH',
    DEPLOYMENT,
    container('apiserver', { livenessProbe: { httpGet: null, exec: { command: ['x'] } } }),
    'mutate-deployments',
  ],
  [
    'the time to stop',
    PERSON,
    'PATCH',
    DEPLOYMENT,
    { spec: { template: { spec: { terminationGracePeriodSeconds: 600 } } } },
    'mutate-deployments',
  ],
  ['a container more', PERSON, 'PATCH', DEPLOYMENT, container('more', { image: 'x' }), 'mutate-deployments'],
  [
    'a mark of the injection',
    PERSON,
    'PATCH',
    DEPLOYMENT,
    { metadata: { annotations: { 'audit.kubermatic.k8c.io/injected': 'x' } } },
    'mutate-deployments',
  ],
  ['an apiserver pod', KKP, 'POST', `${NAMESPACE}/pods`, pod({ app: 'apiserver' }), 'mutate-pods'],
  [
    'an apiserver pod without its label',
    KKP,
    'POST',
    `${NAMESPACE}/pods`,
    pod({}, 'registry.k8s.io/kube-apiserver:v1'),
    'validate-pods',
  ],
  [
    'the policy',
    PERSON,
    'PATCH',
    `${NAMESPACE}/configmaps/audit-config`,
    { data: { 'policy.yaml': 'x' } },
    'validate-configmaps',
  ],
  [
    'the policy frozen',
    PERSON,
    'PATCH',
    `${NAMESPACE}/configmaps/audit-config`,
    { immutable: true },
    'validate-configmaps',
  ],
  [
    'the policy deleted',
    PERSON,
    'DELETE',
    `${NAMESPACE}/configmaps/audit-config`,
    undefined,
    'validate-configmaps',
  ],
  ['all ConfigMaps deleted', PERSON, 'DELETE', `${NAMESPACE}/configmaps`, undefined, 'validate-configmaps'],
  ['all Secrets deleted', PERSON, 'DELETE', `${NAMESPACE}/secrets`, undefined, 'validate-secrets'],
  [
    'the label of an apiserver, with the status of a pod',
    PERSON,
    'PATCH',
    `${NAMESPACE}/pods/quiet/status`,
    { metadata: { labels: { app: 'apiserver' } } },
    'validate-pods',
  ],
  ...[`${NAMESPACE}/pods/quiet/binding`, `${NAMESPACE}/bindings`].map(
    (path) =>
      [
        `the label of an apiserver, with the node of a pod (${path})`,
        PERSON,
        'POST',
        path,
        binding({ app: 'apiserver' }),
        'validate-pods',
      ] as const,
  ),
  [
    'the label of the namespace, with its status',
    PERSON,
    'PATCH',
    `${NAMESPACE}/status`,
    { metadata: { labels: { [LABEL]: null } } },
    'validate-namespaces',
  ],
  [
    'the label of the namespace, as what ends its deletion',
    PERSON,
    'PUT',
    `${NAMESPACE}/finalize`,
    { metadata: { name: 'cluster-some' }, spec: { finalizers: ['kubernetes'] } },
    'validate-namespaces',
  ],
  [
    'a probe of our own',
    SELF,
    'POST',
    `${NAMESPACE}/configmaps`,
    { metadata: { name: 'audit-config', labels: { 'audit.kubermatic.k8c.io/probe': 'x' } } },
    'validate-configmaps',
  ],
  [
    "the sidecar's configuration",
    PERSON,
    'POST',
    `${NAMESPACE}/secrets`,
    { metadata: { name: 'audit-logs-fluentbit-tuned' } },
    'validate-secrets',
  ],
  [
    'the label of the namespace',
    PERSON,
    'PATCH',
    NAMESPACE,
    { metadata: { labels: { [LABEL]: null } } },
    'validate-namespaces',
  ],
  [
    'the enforcement of a datacenter',
    PERSON,
    'PATCH',
    SEED,
    { spec: { datacenters: { 'aws-1': { spec: { enforceAuditLogging: false } } } } },
    'validate-seeds',
  ],
  [
    'a datacenter gone',
    PERSON,
    'PATCH',
    SEED,
    { spec: { datacenters: { 'aws-1': null } } },
    'validate-seeds',
  ],
  ['the Seed gone', PERSON, 'DELETE', SEED, undefined, 'validate-seeds'],
];

describe('kube-apiserver', { skip }, () => {
  let seed: ControlPlane;

  const write = (as: Identity, method: Method, path: string, body: unknown) => {
    const isOwnKind = path.includes('kubermatic.k8c.io');
    const contentType = isOwnKind ? 'application/merge-patch+json' : 'application/strategic-merge-patch+json';
    return seed.client
      .as(as)
      .send(
        method,
        `${path}${path.includes('?') ? '&' : '?'}dryRun=All`,
        body,
        method === 'PATCH' ? { contentType } : {},
      );
  };

  before(async () => {
    seed = await startControlPlane();
    await prepareSeed(seed.client);
    await seed.client.request('POST', SEEDS_PATH, renderSeed({ 'aws-1': { enforceAuditLogging: true } }));
    await createCluster(seed.client, { name: 'some', datacenter: 'aws-1' });
    // Nobody makes it here, and no pod can be without.
    await seed.client.request('POST', '/api/v1/namespaces/default/serviceaccounts', {
      metadata: { name: 'default' },
    });
    await seed.client.request('PATCH', NAMESPACE, { metadata: { labels: { [LABEL]: 'true' } } });
    await seed.client.request('POST', DEPLOYMENT.replace(/\/apiserver$/, ''), renderKkp({ cluster: 'some' }));
    await seed.client.request('POST', `${NAMESPACE}/secrets`, { metadata: { name: 'audit-logs-fluentbit' } });
    for (const [name, labels] of [
      ['quiet', {}],
      ['apiserver-1', { app: 'apiserver' }],
    ] as const)
      await seed.client.request('POST', `${NAMESPACE}/pods`, { ...pod(labels), metadata: { name, labels } });
    // Every write that a hook is asked about fails, and says by which.
    await registerChart(seed.client, 'webhooks', { url: NOWHERE, failurePolicy: 'Fail' });
    await until('the hooks to be in force', async () => {
      const mutating = await write(PERSON, 'PATCH', CLUSTER, { spec: { auditLogging: { enabled: true } } });
      const validating = await write(PERSON, 'DELETE', SEED, undefined);
      return mutating.status === 500 && validating.status === 500;
    });
  });
  after(() => seed?.stop());

  for (const [what, as, method, path, body, asked] of CASES)
    test(`asks ${asked || 'nobody'} about ${what}`, async () => {
      const answer = await write(as, method, path, body);
      const text = JSON.stringify(answer.body);
      const [, hook = ''] = /failed calling webhook \\"([^."\\]+)\./.exec(text) ?? [];
      assert.equal(hook, asked, text.slice(0, 500));
      if (asked === '') assert.ok(answer.status < 300, text.slice(0, 500));
    });
});
