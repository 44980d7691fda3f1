import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { JsonObject, PodSpec } from '../../src/kubernetes.ts';
import { BASE_PROGRAMS } from '../support/binaries.ts';
import { registerChart } from '../support/chart-hooks.ts';
import { type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import { renderKkp } from '../support/fixtures.ts';
import { FULL_NAME, RELEASE, skipWithoutHelm } from '../support/helm.ts';
import { IDENTITIES, type Identity } from '../support/identities.ts';
import { judgeOf } from '../support/judge.ts';
import { CLUSTERS_PATH, createCluster, prepareSeed } from '../support/seed.ts';
import { until } from '../support/wait.ts';
import { POD_CASES, type Spec } from './pod-cases.ts';

const skip = await skipWithoutHelm('the backstop on a real kube-apiserver', BASE_PROGRAMS);

const ENFORCED = { 'audit.kubermatic.k8c.io/enforced': 'true' };
const NAMESPACE = 'cluster-held';
const DEPLOYMENTS = `/apis/apps/v1/namespaces/${NAMESPACE}/deployments`;
const SECRETS = `/api/v1/namespaces/${NAMESPACE}/secrets`;
const CONFIGMAPS = `/api/v1/namespaces/${NAMESPACE}/configmaps`;
const DRY_RUN = '?dryRun=All';

const renderSpec = (): Spec =>
  structuredClone(renderKkp({ cluster: 'held' }, { enabled: true }).spec.template.spec) as unknown as Spec;

const isEffective = judgeOf(
  { name: 'held', datacenter: 'aws-1' },
  { 'aws-1': { enforceAuditLogging: true } },
  'deployment',
);

describe('the backstop', { skip }, () => {
  let seed: ControlPlane;

  const writePod = (
    spec: Spec,
    labels: Record<string, string> = { app: 'apiserver' },
    namespace = NAMESPACE,
  ) =>
    seed.client
      .as(IDENTITIES.seedControllerManager)
      .send('POST', `/api/v1/namespaces/${namespace}/pods${DRY_RUN}`, {
        metadata: { generateName: 'apiserver-', labels },
        spec,
      });

  const renderDeployment = (change: (spec: Spec) => void = () => undefined) => {
    const deployment = renderKkp({ cluster: 'held' }, { enabled: true });
    change(deployment.spec.template.spec as unknown as Spec);
    return deployment;
  };

  /** Replaces the stored Deployment's template, for show. */
  const writeDeployment = async (change: (spec: Spec) => void, as: Identity = IDENTITIES.alice) => {
    const stored = await seed.client.request<{ spec: { template: { spec: Spec } } }>(
      'GET',
      `${DEPLOYMENTS}/apiserver`,
    );
    change(stored.spec.template.spec);
    return seed.client.as(as).send('PUT', `${DEPLOYMENTS}/apiserver${DRY_RUN}`, stored);
  };

  const patch = (path: string, body: JsonObject, as: Identity = IDENTITIES.alice) =>
    seed.client.as(as).send('PATCH', path + DRY_RUN, body);

  before(async () => {
    seed = await startControlPlane();
    await prepareSeed(seed.client);
    for (const name of ['held', 'free']) await createCluster(seed.client, { name, datacenter: 'aws-1' });
    await seed.client.request('POST', DEPLOYMENTS, renderDeployment());
    await seed.client.request('POST', SECRETS, {
      metadata: { name: 'audit-logs-fluentbit' },
      stringData: { 'fluent-bit.conf': '[INPUT]\n    Name tail\n' },
    });
    await seed.client.request('POST', SECRETS, {
      metadata: { name: 'audit-logs-fluentbit-tuned', labels: { group: 'some' } },
      stringData: { 'fluent-bit.conf': '[INPUT]\n    Name tail\n' },
    });
    await seed.client.request('PATCH', `${CLUSTERS_PATH}/held`, {
      metadata: { labels: ENFORCED },
      spec: { auditLogging: { enabled: true } },
    });
    await seed.client.request('PATCH', `/api/v1/namespaces/${NAMESPACE}`, { metadata: { labels: ENFORCED } });
    await registerChart(seed.client, 'backstop');
    // kube-apiserver learns of each policy in its own time.
    await until('the policies to be in force', async () => {
      const answers = await Promise.all([
        writePod({ containers: [{ name: 'apiserver', image: 'x' }] }),
        writeDeployment((spec) => void spec.containers.pop()),
        patch(`${CLUSTERS_PATH}/held`, { spec: { auditLogging: null } }),
        patch(`/api/v1/namespaces/${NAMESPACE}`, {
          metadata: { labels: { [Object.keys(ENFORCED)[0] ?? '']: null } },
        }),
        patch(`/api/v1/namespaces/${NAMESPACE}/configmaps/audit-config`, { data: null }),
        patch(`/api/v1/namespaces/${NAMESPACE}/secrets/audit-logs-fluentbit`, { data: null }),
      ]);
      return answers.every(({ status }) => status === 403);
    });
  });
  after(() => seed?.stop());

  for (const { name, change, effective, beyondCel } of POD_CASES)
    test(`pod: ${name}: ${effective ? 'may start' : 'may not'}`, async () => {
      const spec = renderSpec();
      change(spec);
      if (!beyondCel) assert.equal(isEffective(spec as unknown as PodSpec), effective, 'the server itself');
      const { status, body } = await writePod(spec);
      assert.equal(status, effective ? 201 : 403, String(body.message));
      if (!effective) assert.match(String(body.message), /pods\.audit\.kubermatic\.k8c\.io.*\[[A-Z_, ]+\]/s);
    });

  test('pod: one that runs no apiserver, or in another namespace, is none of its concern', async () => {
    const spec = { containers: [{ name: 'etcd', image: 'etcd', command: ['/usr/local/bin/etcd'] }] };
    assert.equal((await writePod(spec, { app: 'etcd' })).status, 201);
    const bare = renderKkp({ cluster: 'free' }).spec.template.spec as unknown as Spec;
    assert.equal((await writePod(bare, { app: 'apiserver' }, 'cluster-free')).status, 201);
  });

  test('pod: one without the labels that runs kube-apiserver all the same is judged', async () => {
    const bare = renderKkp({ cluster: 'held' }).spec.template.spec as unknown as Spec;
    assert.equal((await writePod(bare, { app: 'other' })).status, 403);
    const image = { containers: [{ name: 'x', image: 'registry.k8s.io/kube-apiserver:v1.36.2' }] };
    assert.equal((await writePod(image, {})).status, 403);
  });

  test('pod: a running one keeps its sidecar, and takes no container more', async () => {
    const pods = `/api/v1/namespaces/${NAMESPACE}/pods`;
    const metadata = { name: 'running', labels: { app: 'apiserver' } };
    await seed.client.request('POST', pods, { metadata, spec: renderSpec() });
    const write = (body: object, as: Identity = IDENTITIES.alice, subresource = '') =>
      seed.client.as(as).send('PATCH', `${pods}/running${subresource}${DRY_RUN}`, body, {
        contentType: 'application/strategic-merge-patch+json',
      });
    const image = (name: string, to: string) => ({ spec: { containers: [{ name, image: to }] } });
    assert.equal((await write(image('audit-logs', 'busybox'))).status, 403);
    assert.equal((await write(image('audit-logs', 'fluent/fluent-bit:4.1.0'))).status, 200);
    const elsewhere = image('apiserver', 'evil.example/kube-apiserver:v1.36.2');
    assert.equal((await write(elsewhere)).status, 403);
    assert.equal((await write(elsewhere, IDENTITIES.auditOperator)).status, 200);
    assert.equal((await write(image('apiserver', 'registry.k8s.io/kube-apiserver:v1.37.0'))).status, 200);
    assert.equal((await write({ metadata: { labels: { team: 'a' } } })).status, 200);
    const debug = { spec: { ephemeralContainers: [{ name: 'debugger', image: 'busybox' }] } };
    assert.equal((await write(debug, IDENTITIES.alice, '/ephemeralcontainers')).status, 403);
    assert.equal((await write(debug, IDENTITIES.auditOperator, '/ephemeralcontainers')).status, 200);

    await seed.client.request('POST', pods, {
      metadata: { name: 'other' },
      spec: { containers: [{ name: 'x', image: 'x' }] },
    });
    const label = { metadata: { labels: { app: 'apiserver' } } };
    const labelled = await seed.client.as(IDENTITIES.alice).send('PATCH', `${pods}/other${DRY_RUN}`, label);
    assert.equal(labelled.status, 403, 'a pod does not become the apiserver by a label');
    const status = (body: object, as: Identity = IDENTITIES.alice) =>
      seed.client.as(as).send('PATCH', `${pods}/other/status${DRY_RUN}`, body);
    assert.equal((await status(label)).status, 403, 'nor by a label of its status');
    assert.equal((await status({ status: { message: 'x' }, metadata: { labels: { a: 'b' } } })).status, 200);
    const bind = (path: string, labels: object) =>
      seed.client.as(IDENTITIES.alice).send('POST', path + DRY_RUN, {
        apiVersion: 'v1',
        kind: 'Binding',
        metadata: { name: 'other', labels },
        target: { kind: 'Node', name: 'some' },
      });
    for (const path of [`${pods}/other/binding`, `/api/v1/namespaces/${NAMESPACE}/bindings`]) {
      const { status: refused, body } = await bind(path, { app: 'apiserver' });
      assert.equal(refused, 403, 'nor by a label of its binding');
      assert.match(String(body.message), /APISERVER_COMMAND_UNKNOWN/);
      assert.equal((await bind(path, { zone: 'a' })).status, 201);
    }
    const bare = await seed.client
      .as(IDENTITIES.alice)
      .send('PATCH', `${pods}/other/ephemeralcontainers${DRY_RUN}`, debug, {
        contentType: 'application/strategic-merge-patch+json',
      });
    assert.equal(bare.status, 200);
  });

  test('Deployment: scaling, restarts, labels and upgrades go through', async () => {
    const path = `${DEPLOYMENTS}/apiserver`;
    const at = { 'kubectl.kubernetes.io/restartedAt': '2026-01-01T00:00:00Z' };
    for (const body of [
      {},
      { spec: { replicas: 3 } },
      { metadata: { labels: { team: 'a' } } },
      { spec: { template: { metadata: { annotations: at } } } },
    ])
      assert.equal((await patch(path, body)).status, 200, JSON.stringify(body));
    const upgrade = (spec: Spec) => {
      for (const container of spec.containers)
        if (container.name === 'apiserver') container.image = 'registry.k8s.io/kube-apiserver:v1.37.0';
    };
    assert.equal((await writeDeployment(upgrade)).status, 200);
  });

  for (const [what, fields, code] of [
    [
      'its image from elsewhere',
      { image: 'evil.example/kube-apiserver:v1.36.2' },
      'APISERVER_IMAGE_REPLACED',
    ],
    ['a handler', { lifecycle: { postStart: { exec: { command: ['x'] } } } }, 'APISERVER_HANDLERS'],
  ] as const)
    test(`Deployment: only an operator or the platform gives the apiserver ${what}`, async () => {
      const change = (spec: Spec): void => {
        for (const container of spec.containers)
          if (container.name === 'apiserver') Object.assign(container, fields);
      };
      const { status, body } = await writeDeployment(change);
      assert.equal(status, 403);
      assert.match(String(body.message), new RegExp(code));
      for (const identity of [IDENTITIES.auditOperator, IDENTITIES.seedControllerManager])
        assert.equal((await writeDeployment(change, identity)).status, 200, identity.user);
    });

  const removeSidecar = (spec: Spec): void => {
    spec.containers = spec.containers.filter(({ name }) => name !== 'audit-logs');
  };

  for (const [who, identity, status] of [
    ['a person', IDENTITIES.alice, 403],
    ['an operator', IDENTITIES.auditOperator, 200],
    ['KKP', IDENTITIES.seedControllerManager, 200],
    [
      'this software',
      { user: `system:serviceaccount:${RELEASE.namespace}:${FULL_NAME}`, groups: ['seed-users'] },
      200,
    ],
  ] as const)
    test(`Deployment: ${who} ${status === 200 ? 'may' : 'may not'} take the sidecar out`, async () => {
      const { status: found, body } = await writeDeployment(removeSidecar, identity);
      assert.equal(found, status, String(body.message));
    });

  test('Deployment: a person can not create one that does not audit', async () => {
    const bare = renderKkp({ cluster: 'held' });
    const create = (deployment: object) =>
      seed.client.as(IDENTITIES.alice).send('POST', DEPLOYMENTS + DRY_RUN, deployment);
    await seed.client.request('DELETE', `${DEPLOYMENTS}/apiserver`);
    assert.equal((await create(bare)).status, 403);
    assert.equal((await create(renderDeployment())).status, 201);
    // Once one is there that does not audit, for instance because its pods get what it lacks, it can be worked on.
    await seed.client.as(IDENTITIES.seedControllerManager).request('POST', DEPLOYMENTS, bare);
    const change = (spec: Spec) => void spec.volumes?.push({ name: 'more', emptyDir: {} });
    assert.equal((await writeDeployment(change)).status, 200);
  });

  const OPT_OUT = 'kubermatic.k8c.io/skip-audit-logging-enforcement';
  const LABEL = 'audit.kubermatic.k8c.io/enforced';
  const held = `${CLUSTERS_PATH}/held`;
  const namespace = `/api/v1/namespaces/${NAMESPACE}`;
  for (const [what, path, body, isAttempt] of [
    ['audit logging off', held, { spec: { auditLogging: { enabled: false } } }, true],
    ['the block away', held, { spec: { auditLogging: null } }, true],
    ['the opt-out', held, { metadata: { annotations: { [OPT_OUT]: 'true' } } }, true],
    ['the label off the Cluster', held, { metadata: { labels: { [LABEL]: null } } }, true],
    ['the label of the Cluster to another value', held, { metadata: { labels: { [LABEL]: 'false' } } }, true],
    [
      'both labels and the switch',
      held,
      { metadata: { labels: { [LABEL]: null } }, spec: { auditLogging: { enabled: false } } },
      true,
    ],
    ['an opt-out that does not count', held, { metadata: { annotations: { [OPT_OUT]: 'yes' } } }, false],
    [
      "the dashboard's save",
      held,
      { spec: { auditLogging: { enabled: true, policyPreset: 'metadata', webhookBackend: null } } },
      false,
    ],
    ['another name for people', held, { spec: { humanReadableName: 'renamed' } }, false],
    ['a pause', held, { spec: { pause: true } }, false],
    ['the label off the namespace', namespace, { metadata: { labels: { [LABEL]: null } } }, true],
    [
      'the label off the namespace, with its status',
      `${namespace}/status`,
      { metadata: { labels: { [LABEL]: null } } },
      true,
    ],
    [
      'a condition of the namespace',
      `${namespace}/status`,
      { status: { conditions: [{ type: 'A', status: 'True' }] } },
      false,
    ],
    ['another label of the namespace', namespace, { metadata: { labels: { team: 'a' } } }, false],
    ['an empty policy', `${CONFIGMAPS}/audit-config`, { data: { 'policy.yaml': ' ' } }, true],
    [
      'the policy under another key',
      `${CONFIGMAPS}/audit-config`,
      { data: { 'policy.yaml': null, 'p.yaml': 'x' } },
      true,
    ],
    [
      'another policy',
      `${CONFIGMAPS}/audit-config`,
      { data: { 'policy.yaml': 'apiVersion: audit.k8s.io/v1' } },
      false,
    ],
    ['a label of the policy', `${CONFIGMAPS}/audit-config`, { metadata: { labels: { team: 'a' } } }, false],
    [
      'an empty configuration of the sidecar',
      `${SECRETS}/audit-logs-fluentbit`,
      { data: { 'fluent-bit.conf': '' } },
      true,
    ],
    [
      "an empty configuration of the sidecar's in pods",
      `${SECRETS}/audit-logs-fluentbit-tuned`,
      { data: { 'fluent-bit.conf': '' } },
      true,
    ],
    ['another Secret', `${SECRETS}/ca`, { data: null }, false],
  ] as const)
    test(`${what}: ${isAttempt ? 'only by an operator or the platform' : 'by anybody'}`, async () => {
      const write = (identity: Identity) => patch(path, body as JsonObject, identity);
      const { status, body: answer } = await write(IDENTITIES.alice);
      assert.equal(status, isAttempt ? 403 : 200, String(answer.message));
      for (const identity of [IDENTITIES.auditOperator, IDENTITIES.seedControllerManager])
        assert.equal((await write(identity)).status, 200, identity.user);
    });

  test("the policy and the sidecar's configuration can not be deleted, but go with their namespace", async () => {
    for (const path of [`${CONFIGMAPS}/audit-config`, `${SECRETS}/audit-logs-fluentbit`]) {
      const remove = (identity: Identity) => seed.client.as(identity).send('DELETE', path + DRY_RUN);
      assert.equal((await remove(IDENTITIES.alice)).status, 403, path);
      assert.equal((await remove(IDENTITIES.auditOperator)).status, 200, path);
    }
    // A request about a collection names none of them.
    for (const path of [
      CONFIGMAPS,
      SECRETS,
      `${SECRETS}?labelSelector=group%3Dsome`,
      `${CONFIGMAPS}?fieldSelector=metadata.name%3Daudit-config`,
    ]) {
      const url = path + (path.includes('?') ? DRY_RUN.replace('?', '&') : DRY_RUN);
      const remove = (identity: Identity) => seed.client.as(identity).send('DELETE', url);
      const { status, body } = await remove(IDENTITIES.alice);
      assert.equal(status, 403, path);
      assert.match(String(body.message), /is deleted \[(POLICY|FLUENTBIT)_DELETED\]/);
      assert.equal((await remove(IDENTITIES.auditOperator)).status, 200, path);
    }
    const others = `${CONFIGMAPS}?fieldSelector=metadata.name%3Dother${DRY_RUN.replace('?', '&')}`;
    assert.equal((await seed.client.as(IDENTITIES.alice).send('DELETE', others)).status, 200);
    const finalized = await seed.client.as(IDENTITIES.alice).send('PUT', `${namespace}/finalize${DRY_RUN}`, {
      metadata: { name: NAMESPACE },
      spec: { finalizers: ['kubernetes'] },
    });
    assert.equal(finalized.status, 403, 'the label of the namespace, as what ends its deletion');
    // Without kube-controller-manager the namespace stays in that state.
    await seed.client.request('DELETE', namespace);
    for (const path of [`${CONFIGMAPS}/audit-config`, `${SECRETS}/audit-logs-fluentbit`])
      assert.equal((await seed.client.as(IDENTITIES.alice).send('DELETE', path)).status, 200, path);
  });
});
