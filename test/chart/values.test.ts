/** What the schema of the values takes, kube-apiserver takes too, and CEL reads it as it was meant. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { JsonObject } from '../../src/kubernetes.ts';
import { BASE_PROGRAMS } from '../support/binaries.ts';
import { registerChart } from '../support/chart-hooks.ts';
import { type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import { renderKkp } from '../support/fixtures.ts';
import { HELM_VERSIONS, RELEASE, renderChartText, skipWithoutHelm } from '../support/helm.ts';
import { IDENTITIES } from '../support/identities.ts';
import { createCluster, prepareSeed } from '../support/seed.ts';
import { until } from '../support/wait.ts';

const skip = await skipWithoutHelm('what values of the chart make', BASE_PROGRAMS);

/** Kinds of operators that are not here. */
const FOREIGN = /^kind: "?(Certificate|Issuer|ServiceMonitor|PrometheusRule)"?$/m;
const LABEL = 'audit.kubermatic.k8c.io/enforced';
const NAMESPACE = '/api/v1/namespaces/cluster-held';

/** Whom and what CEL could misread. */
const USERS = [`o'neil`, 'a "quoted" user', 'DOMAIN\\user', '<a>&b', 'tab\tand $1 %s {{ x }}'];
const GROUPS = [`oidc:Team 'A'`, 'back\\slash', 'a"b'];
const REPOSITORIES = [`it's/bit`, 'a^b/bit', 'c]d/bit', '[e/bit', 'f\\g/bit', 'h"i/bit', 'j.k+(l)|m/bit'];

const CASES: Readonly<Record<string, JsonObject>> = {
  'no values': {},
  'a volume of each source, and variables': {
    server: {
      extraEnv: [
        { name: 'A', value: '1' },
        { name: 'B', valueFrom: { secretKeyRef: { name: 'x', key: 'y', optional: true } } },
        { name: 'C', valueFrom: { configMapKeyRef: { name: 'x', key: 'y' } } },
        { name: 'D', valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } } },
        { name: 'E', valueFrom: { resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } } },
      ],
      extraVolumes: [
        { name: 'a', secret: { secretName: 'x', items: [{ key: 'k', path: 'p', mode: 256 }] } },
        { name: 'b', configMap: { name: 'x', optional: true, defaultMode: 420 } },
        { name: 'c', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
        {
          name: 'd',
          projected: {
            sources: [
              { serviceAccountToken: { audience: 'x', expirationSeconds: 600, path: 't' } },
              { configMap: { name: 'x', items: [{ key: 'k', path: 'p' }] } },
              { secret: { name: 'x' } },
              { downwardAPI: { items: [{ path: 'l', fieldRef: { fieldPath: 'metadata.labels' } }] } },
            ],
          },
        },
        { name: 'e', downwardAPI: { items: [{ path: 'n', fieldRef: { fieldPath: 'metadata.name' } }] } },
        { name: 'f', csi: { driver: 'csi.example', readOnly: true, volumeAttributes: { a: 'b' } } },
        { name: 'g', persistentVolumeClaim: { claimName: 'x', readOnly: true } },
        {
          name: 'h',
          ephemeral: {
            volumeClaimTemplate: {
              spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
            },
          },
        },
        { name: 'i', hostPath: { path: '/x', type: 'Directory' } },
        { name: 'j', nfs: { server: 'x', path: '/y' } },
        { name: 'k', image: { reference: 'x/y:1', pullPolicy: 'Always' } },
        { name: 'l', fc: { wwids: ['x'] } },
      ],
      extraVolumeMounts: [
        {
          name: 'a',
          mountPath: '/a',
          readOnly: true,
          recursiveReadOnly: 'IfPossible',
          mountPropagation: 'None',
        },
      ],
    },
  },
  'places of pods': {
    nodeSelector: { 'kubernetes.io/os': 'linux', empty: '' },
    tolerations: [
      { operator: 'Exists' },
      { key: 'a', effect: 'NoSchedule' },
      {
        key: 'example.com/b',
        operator: 'Equal',
        value: 'c',
        effect: 'NoExecute',
        tolerationSeconds: 10000000,
      },
      { key: 'd', operator: 'Exists', value: '', effect: '' },
    ],
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [
            {
              matchExpressions: [
                { key: 'pool', operator: 'In', values: ['a', 'b'] },
                { key: 'cpus', operator: 'Gt', values: ['3'] },
                { key: 'spot', operator: 'DoesNotExist' },
              ],
              matchFields: [{ key: 'metadata.name', operator: 'NotIn', values: ['x'] }],
            },
          ],
        },
        preferredDuringSchedulingIgnoredDuringExecution: [
          { weight: 1, preference: { matchExpressions: [{ key: 'a', operator: 'Exists' }] } },
        ],
      },
      podAntiAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: [
          {
            topologyKey: 'kubernetes.io/hostname',
            labelSelector: { matchExpressions: [{ key: 'a', operator: 'In', values: ['b', ''] }] },
            namespaceSelector: {},
            namespaces: ['x'],
          },
        ],
        preferredDuringSchedulingIgnoredDuringExecution: [
          {
            weight: 100,
            podAffinityTerm: { topologyKey: 'zone', labelSelector: { matchLabels: { a: 'b' } } },
          },
        ],
      },
    },
    resources: {
      requests: {
        cpu: 0.25,
        memory: '.5Gi',
        'ephemeral-storage': '1e3',
        'hugepages-2Mi': '2Mi',
        'a.example/b': 1,
      },
      limits: {
        cpu: 2,
        memory: 1073741824,
        'ephemeral-storage': '1M',
        'hugepages-2Mi': '2Mi',
        'a.example/b': '1',
      },
    },
  },
  'networks, rights, labels and annotations': {
    networkPolicy: {
      metricsFrom: [
        { namespaceSelector: { matchLabels: { a: 'b' } }, podSelector: { matchLabels: { c: '' } } },
        { ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } },
        { podSelector: {} },
      ],
      apiServer: [
        { cidr: '10.0.0.1/32', port: 6443 },
        { cidr: 'fd00::1/128', port: 443 },
      ],
      extraEgress: [
        { ports: [{ port: 53, protocol: 'UDP' }, { port: 'dns-tcp' }, { port: 1, endPort: 65535 }] },
        { to: [{ ipBlock: { cidr: '::/0' } }] },
        {},
      ],
    },
    rbac: {
      operators: {
        subjects: [
          { kind: 'Group', name: 'a b' },
          { apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: `o'neil` },
          { apiGroup: '', kind: 'ServiceAccount', name: 'x.y', namespace: 'z' },
        ],
      },
    },
    commonLabels: { 'example.com/team': 'A_b.c-d', empty: '' },
    podLabels: { team: '1' },
    podAnnotations: { 'Example.com/Note': `it's "a: b" {{ c }}\n# d`, empty: '' },
    service: { annotations: { 'a.example/b': 'c' } },
    serviceAccount: { annotations: { 'a.example/b': 'c' }, name: 'a.b' },
    imagePullSecrets: [{ name: 'a.b' }],
    image: { repository: 'registry.example:5000/a/b__c', tag: `v1_2.3-4@sha256:${'0'.repeat(64)}` },
    webhooks: { url: `https://[fd00::1]:8443/it's"&:` },
  },
  'names that YAML reads as numbers and truths': {
    fullnameOverride: 'true',
    nameOverride: '1.2',
    serviceAccount: { name: '456' },
    config: { platform: { namespace: '123' } },
    rbac: { webhookBackendSecrets: [{ namespace: '123', name: '1e3' }] },
  },
  'a platform and images that CEL could misread': {
    config: {
      platform: { users: USERS, groups: GROUPS },
      defaults: { sidecar: { allowedImages: REPOSITORIES } },
    },
  },
};

describe('kube-apiserver', { skip }, () => {
  let seed: ControlPlane;

  before(async () => {
    seed = await startControlPlane();
    await prepareSeed(seed.client);
    await seed.client.request('POST', '/api/v1/namespaces', { metadata: { name: '123' } });
    await createCluster(seed.client, { name: 'held', datacenter: 'aws-1' });
    await seed.client.request('PATCH', NAMESPACE, { metadata: { labels: { [LABEL]: 'true' } } });
    // By RBAC they may write, so that nobody but the backstop refuses them.
    await seed.client.request('POST', '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', {
      metadata: { name: 'test:odd-groups' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'test:seed-users' },
      subjects: [...GROUPS, 'other'].map((name) => ({ kind: 'Group', name })),
    });
  });
  after(() => seed?.stop());

  for (const [what, values] of Object.entries(CASES))
    for (const version of HELM_VERSIONS)
      test(`${version}: takes what comes of ${what}`, async () => {
        const namespace = what.startsWith('names') ? '123' : RELEASE.namespace;
        const text = await renderChartText(values, { version, namespace });
        const documents = text.split(/^---$/m).filter((document) => !FOREIGN.test(document));
        const { code, stdout, stderr } = await seed.kubectl(
          ['apply', '--server-side', '--dry-run=server', '--validate=strict', '-f', '-'],
          { input: documents.join('---\n') },
        );
        assert.equal(code, 0, stderr);
        assert.ok(stdout.split('\n').length > 20, stdout);
      });

  test('knows the platform and the images whose names CEL could misread', async () => {
    const values = CASES['a platform and images that CEL could misread'] ?? {};
    await registerChart(seed.client, 'backstop', { url: 'https://127.0.0.1:1', values });
    const unlabel = (user: string, group = 'seed-users') =>
      seed.client
        .as({ user, groups: [group] })
        .send('PATCH', `${NAMESPACE}?dryRun=All`, { metadata: { labels: { [LABEL]: null } } });
    const start = (image: string) => {
      const { spec } = renderKkp({ cluster: 'held' }, { enabled: true }).spec.template;
      for (const container of spec.containers) if (container.name === 'audit-logs') container.image = image;
      return seed.client.as(IDENTITIES.seedControllerManager).send('POST', `${NAMESPACE}/pods?dryRun=All`, {
        metadata: { generateName: 'apiserver-', labels: { app: 'apiserver' } },
        spec,
      });
    };
    await until('the policies to be in force', async () => {
      const answers = await Promise.all([unlabel('alice'), start('docker.io/other/bit:1')]);
      return answers.every(({ status }) => status === 403);
    });
    for (const user of USERS) assert.equal((await unlabel(user)).status, 200, user);
    for (const group of GROUPS) assert.equal((await unlabel('alice', group)).status, 200, group);
    for (const user of ['oneil', 'a', 'DOMAIN\\\\user', 'users'])
      assert.equal((await unlabel(user)).status, 403, user);
    assert.equal((await unlabel('alice', 'other')).status, 403);
    for (const repository of REPOSITORIES) {
      const { status, body } = await start(`docker.io/${repository}:1`);
      assert.equal(status, 201, `${repository}: ${body.message}`);
    }
    for (const repository of ['ab/bit', 'cd/bit', 'jxk+(l)|m/bit', 'm/bit', '\\^/bit'])
      assert.equal((await start(`docker.io/${repository}:1`)).status, 403, repository);
  });
});
