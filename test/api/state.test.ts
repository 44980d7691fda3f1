// The state of a seed, and the client and watches under it, on a real kube-apiserver.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { rootCertificates } from 'node:tls';
import { isStatus, KubeClient, KubeError } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/credentials.ts';
import { Reflector } from '../../src/kube/watch.ts';
import { type KubernetesObject, resourcePath } from '../../src/kubernetes.ts';
import { openKubernetesState } from '../../src/state/kubernetes.ts';
import { waitForSync } from '../../src/state/state.ts';
import { skipWithoutControlPlane } from '../support/binaries.ts';
import { type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import { startCut } from '../support/cut.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { IDENTITIES, type Identity } from '../support/identities.ts';
import { kubeconfigThrough } from '../support/kubeconfig.ts';
import { testLog } from '../support/log.ts';
import {
  CLUSTERS_PATH,
  createCluster,
  prepareSeed,
  renderCluster,
  renderSeed,
  SEEDS_PATH,
} from '../support/seed.ts';
import { until } from '../support/wait.ts';

const skip = await skipWithoutControlPlane('the state of a seed');
const soon = () => AbortSignal.timeout(20_000);
const RBAC = '/apis/rbac.authorization.k8s.io/v1';

describe('the state of a seed', { skip }, () => {
  let seed: ControlPlane;

  before(async () => {
    seed = await startControlPlane();
  });
  after(() => seed.stop());

  async function clientFor(t: TestContext, identity: Identity, port?: number): Promise<KubeClient> {
    const file = await kubeconfigThrough(seed, identity, port);
    const client = new KubeClient(await loadKubeconfig(file));
    t.after(() => client.close());
    return client;
  }

  function open(t: TestContext, client: KubeClient, log = testLog()) {
    const state = openKubernetesState(client, {
      logger: log.logger,
      watch: { backoff: { baseMs: 20, maxMs: 200 }, pageSize: 4 },
    });
    t.after(() => state.close());
    return state;
  }

  const grant = async (name: string, user: string, rules: object[]) => {
    await seed.client.request('POST', `${RBAC}/clusterroles`, { metadata: { name }, rules });
    await seed.client.request('POST', `${RBAC}/clusterrolebindings`, {
      metadata: { name },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user }],
    });
  };

  test('waits for CRDs that are not installed yet, and says so', async (t) => {
    const state = open(t, await clientFor(t, IDENTITIES.admin));
    await until('the problems', () => state.health().problems.length === 2);
    for (const problem of state.health().problems) assert.match(problem, /are its CRDs installed\?/);
    await assert.rejects(state.fetchClusterOfNamespace('cluster-none', soon()), /could not be looked up/);
    await prepareSeed(seed.client);
    await waitForSync(state, soon());
    await until('that the problems are gone', () => state.health().problems.length === 0);
  });

  test('reads all pages, and keeps up with Clusters and Seeds', async (t) => {
    const names = Array.from({ length: 10 }, (_, index) => `page-${index}`);
    for (const name of names)
      await seed.client.request('POST', CLUSTERS_PATH, renderCluster({ name, datacenter: 'free' }));
    const state = open(t, await clientFor(t, IDENTITIES.webhook));
    await waitForSync(state, soon());
    const found = [...state.clusters()].map(({ name }) => name).filter((name) => name.startsWith('page-'));
    assert.deepEqual(found.sort(), names);

    await createCluster(seed.client, { name: 'live', datacenter: 'strict', auditLogging: { enabled: true } });
    await until(
      'the new Cluster',
      () =>
        state.cluster('live')?.namespaceGuessed === undefined &&
        state.clusterOfNamespace('cluster-live') !== undefined,
    );
    assert.equal(state.cluster('live')?.auditLogging?.enabled, true);
    await seed.client.request('PATCH', `${CLUSTERS_PATH}/live`, {
      spec: { auditLogging: { enabled: false } },
    });
    await until('the change', () => state.cluster('live')?.auditLogging?.enabled === false);

    await seed.client.request(
      'POST',
      SEEDS_PATH,
      renderSeed({ strict: { enforceAuditLogging: true }, free: {} }),
    );
    await until('the Seed', () => state.seeds()[0]?.datacenters.get('strict')?.enforceAuditLogging === true);
    for (const name of names) await seed.client.request('DELETE', `${CLUSTERS_PATH}/${name}`);
    await until('the deletions', () => names.every((name) => state.cluster(name) === undefined));
    assert.deepEqual(state.health().problems, []);
    assert.ok(state.health().ageSeconds < 60);
  });

  test('what happened while the network was down and the API server forgot it is made up for by a new list', async (t) => {
    for (const name of ['gone', 'kept'])
      await seed.client.request('POST', CLUSTERS_PATH, renderCluster({ name, datacenter: 'free' }));
    const network = await startCut(Number(new URL(seed.url).port));
    t.after(() => network.stop());
    const state = open(t, await clientFor(t, IDENTITIES.webhook, network.port));
    await waitForSync(state, soon());
    network.cut();
    await until('the problems', () => state.health().problems.length === 2);
    await seed.client.request('DELETE', `${CLUSTERS_PATH}/gone`);
    await seed.client.request('POST', CLUSTERS_PATH, renderCluster({ name: 'new', datacenter: 'free' }));
    await seed.restartApiserver();
    assert.equal(state.cluster('gone')?.name, 'gone', 'the last known state serves');
    network.mend();
    await until('the truth', () => state.cluster('gone') === undefined && state.cluster('new') !== undefined);
    assert.equal(state.cluster('kept')?.name, 'kept');
    await until('that the problems are gone', () => state.health().problems.length === 0);
  });

  test('a Cluster that no watch brings is looked up, by its name and by its namespace', async (t) => {
    await grant('look-up', 'looker', [
      { apiGroups: ['kubermatic.k8c.io'], resources: ['clusters'], verbs: ['get'] },
      { apiGroups: [''], resources: ['namespaces'], verbs: ['get'] },
    ]);
    await createCluster(seed.client, { name: 'owner', datacenter: 'free' });
    const { metadata } = await seed.client.request<{ metadata: { uid: string } }>(
      'GET',
      `${CLUSTERS_PATH}/owner`,
    );
    const ownerReferences = [
      { apiVersion: 'kubermatic.k8c.io/v1', kind: 'Cluster', name: 'owner', uid: metadata.uid },
    ];
    await seed.client.request('POST', '/api/v1/namespaces', {
      metadata: { name: 'elsewhere', ownerReferences },
    });
    const state = open(t, await clientFor(t, { user: 'looker' }));
    assert.equal((await state.fetchClusterOfNamespace('cluster-owner', soon()))?.name, 'owner');
    assert.equal(
      await state.fetchClusterOfNamespace('elsewhere', soon()),
      undefined,
      'the status names another',
    );
    await seed.client.request('PATCH', `${CLUSTERS_PATH}/owner/status`, {
      status: { namespaceName: 'elsewhere' },
    });
    const other = open(t, await clientFor(t, { user: 'looker' }));
    assert.equal((await other.fetchClusterOfNamespace('elsewhere', soon()))?.name, 'owner');
    assert.equal(await other.fetchClusterOfNamespace('cluster-owner', soon()), undefined);
    assert.equal(await other.fetchClusterOfNamespace('cluster-nobody', soon()), undefined);
    await until('the problems', () => other.health().problems.length === 2);
    for (const problem of other.health().problems)
      assert.match(problem, /get, list and watch must be allowed: .*403 Forbidden/);
  });

  test('a namespace that may not be read is a failure, not a "there is none"', async (t) => {
    const state = open(t, await clientFor(t, { user: 'stranger' }));
    await assert.rejects(
      state.fetchClusterOfNamespace('cluster-owner', soon()),
      /namespace cluster-owner: .*403 Forbidden/,
    );
  });

  test('the client: conflicts, patches, and errors without the token', async (t) => {
    const client = await clientFor(t, IDENTITIES.admin);
    const maps = resourcePath('v1', 'configmaps', { namespace: 'default' });
    const made = await client.request('POST', maps, {
      body: { metadata: { name: 'c' }, data: { ['__proto__']: 'x' } },
    });
    assert.deepEqual(Object.keys(made.data as object), ['__proto__']);
    const map = `${maps}/c`;
    await client.request('PATCH', map, { body: { data: { b: 'ü' } } });
    await assert.rejects(
      client.request('PUT', map, { body: made }),
      (error) => isStatus(error, 409) && error.reason === 'Conflict',
    );
    const patch = [{ op: 'remove', path: '/data/b' }];
    const patched = await client.request('PATCH', map, {
      body: patch,
      contentType: 'application/json-patch+json',
    });
    assert.deepEqual(Object.keys(patched.data as object), ['__proto__']);
    assert.equal(await client.request<unknown>('GET', '/readyz'), 'ok');

    const file = seed.kubeconfigFor(IDENTITIES.admin);
    await writeFile(file, (await readFile(file, 'utf8')).replace('token-of-admin', 'token-of-nobody'));
    const refused = new KubeClient(await loadKubeconfig(file));
    t.after(() => refused.close());
    await assert.rejects(refused.request('GET', '/api/v1/nodes'), (error) => {
      assert.ok(error instanceof KubeError);
      assert.ok(!JSON.stringify([error.message, error.stack, error.cause]).includes('token-of-nobody'));
      return error.statusCode === 401;
    });
    const untrusting = JSON.parse(await readFile(file, 'utf8'));
    delete untrusting.clusters[0].cluster['certificate-authority-data'];
    await writeFile(file, JSON.stringify(untrusting));
    const distrustful = new KubeClient(await loadKubeconfig(file));
    t.after(() => distrustful.close());
    await assert.rejects(distrustful.request('GET', '/readyz'), /no answer from https:.*certificate/);
  });

  test('the client: a CA that is replaced is taken up, and a proxy is gone through', async (t) => {
    const { port } = new URL(seed.url);
    const tunnels: (string | undefined)[] = [];
    const proxy = createServer().on('connect', (request, socket) => {
      tunnels.push(request.url);
      const target = connect(Number(port), '127.0.0.1', () => socket.write('HTTP/1.1 200 OK\r\n\r\n'));
      target.pipe(socket).pipe(target);
      target.on('error', () => socket.destroy());
      socket.on('error', () => target.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    t.after(() => proxy.close());
    const config = JSON.parse(await readFile(seed.kubeconfigFor(IDENTITIES.admin), 'utf8'));
    const caFile = join(seed.dir, 'rotating-ca.pem');
    const { cluster } = config.clusters[0];
    delete cluster['certificate-authority-data'];
    cluster['certificate-authority'] = caFile;
    cluster['proxy-url'] = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const file = join(seed.dir, 'rotating.kubeconfig');
    await writeFile(file, JSON.stringify(config));
    await writeFile(caFile, rootCertificates[0] ?? '');
    const clock = new FakeClock();
    const client = new KubeClient(await loadKubeconfig(file, { clock }));
    t.after(() => client.close());
    await assert.rejects(client.request('GET', '/readyz'), /certificate/);
    await writeFile(caFile, seed.ca);
    await assert.rejects(client.request('GET', '/readyz'), /certificate/);
    clock.advance(60_000);
    assert.equal(await client.request<unknown>('GET', '/readyz'), 'ok');
    assert.equal(tunnels.at(-1), `127.0.0.1:${port}`);
  });

  test('a watch of metadata alone, by a selector', async (t) => {
    const client = await clientFor(t, IDENTITIES.admin);
    const seen = new Map<string, KubernetesObject>();
    const reflector = new Reflector<KubernetesObject>({
      client,
      logger: testLog().logger,
      path: resourcePath('v1', 'secrets'),
      resource: 'secrets',
      fieldSelector: 'metadata.name=wanted',
      metadataOnly: true,
      slim: (object) => object,
      onReplace: (items) => items.forEach((item) => void seen.set(item.metadata?.namespace ?? '', item)),
      onEvent: (_type, item) => void seen.set(item.metadata?.namespace ?? '', item),
    });
    reflector.start();
    t.after(() => reflector.close());
    const secrets = resourcePath('v1', 'secrets', { namespace: 'default' });
    await until('the first list', () => reflector.health().synced);
    for (const name of ['wanted', 'other'])
      await client.request('POST', secrets, { body: { metadata: { name }, stringData: { a: 'secret' } } });
    await until('the Secret', () => seen.has('default'));
    assert.deepEqual([...seen.keys()], ['default']);
    assert.ok(!('data' in (seen.get('default') ?? {})));
    assert.equal(seen.get('default')?.kind, 'PartialObjectMetadata');
  });
});
