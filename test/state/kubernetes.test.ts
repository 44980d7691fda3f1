// On a stub server: see test/support/stub-api.ts. The same state on a real kube-apiserver is in test/api/state.test.ts.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { KubeClient } from '../../src/kube/client.ts';
import { openKubernetesState } from '../../src/state/kubernetes.ts';
import { StateError, waitForSync } from '../../src/state/state.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testLog } from '../support/log.ts';
import { type Handler, plainCredentials, sendJson, sendStatus, startStubApi } from '../support/stub-api.ts';
import { refuse, StubResource } from '../support/stub-watch.ts';
import { until } from '../support/wait.ts';

const CLUSTERS = '/apis/kubermatic.k8c.io/v1/clusters';
const SEEDS = '/apis/kubermatic.k8c.io/v1/namespaces/kubermatic/seeds';
const soon = () => AbortSignal.timeout(10_000);

async function open(t: TestContext, options: { clock?: FakeClock } = {}) {
  const clusters = new StubResource();
  const seeds = new StubResource();
  /** Single objects by path; a handler in the place of one is asked. */
  const objects = new Map<string, object | Handler>();
  const gets: string[] = [];
  const stub = await startStubApi(t, (request, response, url) => {
    if (url.pathname === CLUSTERS) return clusters.handle(request, response, url);
    if (url.pathname === SEEDS) return seeds.handle(request, response, url);
    gets.push(url.pathname);
    const object = objects.get(url.pathname);
    if (typeof object === 'function') return (object as Handler)(request, response, url);
    if (object !== undefined) return sendJson(response, object);
    return sendStatus(response, 404, 'NotFound', 'not found', url.pathname.split('/').at(-1));
  });
  const client = new KubeClient(plainCredentials(stub.url));
  const log = testLog();
  const start = () =>
    openKubernetesState(client, {
      logger: log.logger,
      watch: { backoff: { baseMs: 1, maxMs: 5 } },
      ...options,
    });
  t.after(() => client.close());
  return { stub, clusters, seeds, objects, gets, log, start };
}

function cluster(name: string, options: { uid?: string; namespaceName?: string } = {}) {
  return {
    metadata: { name, uid: options.uid ?? `uid-${name}`, resourceVersion: '5' },
    spec: { cloud: { dc: 'dc' } },
    ...(options.namespaceName === undefined ? {} : { status: { namespaceName: options.namespaceName } }),
  };
}

function namespaceOf(owner: { name: string; uid: string }, apiVersion = 'kubermatic.k8c.io/v1') {
  return { metadata: { name: 'x', ownerReferences: [{ apiVersion, kind: 'Cluster', ...owner }] } };
}

test('synced once Clusters and Seeds were read; watches keep it current', async (t) => {
  const { clusters, seeds, start } = await open(t);
  clusters.items = [{ name: 'a', version: '1', rest: { spec: { cloud: { dc: 'dc' } } } }];
  const dc = (enforceAuditLogging: boolean) => ({
    spec: { datacenters: { dc: { spec: { enforceAuditLogging } } } },
  });
  seeds.items = [{ name: 's', version: '1', rest: dc(false) }];
  const state = start();
  t.after(() => state.close());
  assert.equal(state.health().synced, false);
  let changes = 0;
  state.onChange(() => {
    changes += 1;
  });
  await waitForSync(state, soon());
  assert.equal(state.cluster('a')?.datacenter, 'dc');
  await until('the watches', () => clusters.openWatches === 1 && seeds.openWatches === 1);
  changes = 0;
  clusters.send('ADDED', { name: 'b', version: '2', rest: { status: { namespaceName: 'other' } } });
  seeds.send('MODIFIED', { name: 's', version: '3', rest: dc(true) });
  await until('the events', () => state.clusterOfNamespace('other')?.name === 'b' && changes === 2);
  assert.equal(state.seeds()[0]?.datacenters.get('dc')?.enforceAuditLogging, true);
  clusters.send('DELETED', { name: 'a', version: '4' });
  seeds.send('DELETED', { name: 's', version: '5' });
  await until('the deletions', () => state.cluster('a') === undefined && state.seeds().length === 0);
  assert.equal(state.health().clusters, 1);
});

test('an empty seed is synced too', async (t) => {
  const { start } = await open(t);
  const state = start();
  t.after(() => state.close());
  await waitForSync(state, soon());
  assert.deepEqual([...state.clusters()], []);
});

test('one resource that may not be read is a problem; the other goes on', async (t) => {
  const { clusters, seeds, start } = await open(t);
  for (let i = 0; i < 1000; i += 1) seeds.listFaults.push(refuse(403, 'Forbidden'));
  clusters.items = [{ name: 'a', version: '1' }];
  const state = start();
  t.after(() => state.close());
  await until('the Cluster', () => state.cluster('a') !== undefined && state.health().problems.length === 1);
  assert.match(
    state.health().problems[0] ?? '',
    /^seeds\.kubermatic\.k8c\.io in namespace kubermatic: get, list and watch must be allowed/,
  );
  await assert.rejects(
    waitForSync(state, AbortSignal.timeout(20)),
    (error) => error instanceof StateError && /must be allowed/.test(error.message),
  );
  seeds.listFaults.length = 0;
  await waitForSync(state, soon());
  await until('recovery', () => state.health().problems.length === 0);
});

test('while the API server is away the last known state serves, with its age', async (t) => {
  const clock = new FakeClock();
  const { stub, clusters, seeds, start } = await open(t, { clock });
  clusters.items = [{ name: 'a', version: '1' }];
  const state = start();
  t.after(() => state.close());
  await until('the watches', () => clusters.openWatches === 1 && seeds.openWatches === 1);
  await stub.stop();
  await until('both pauses', () => clock.sleeping === 2);
  clock.advance(300_000);
  await until('both pauses again', () => clock.sleeping === 2);
  const health = state.health();
  assert.deepEqual(
    [health.synced, health.ageSeconds, health.clusters, health.problems.length],
    [true, 300, 1, 2],
  );
  assert.equal(state.clusterOfNamespace('cluster-a')?.name, 'a');
  await assert.rejects(state.fetchClusterOfNamespace('cluster-b', soon()), StateError);
  await stub.start();
  clock.advance(1000);
  await until('recovery', () => state.health().problems.length === 0);
  assert.ok(state.health().ageSeconds < 1);
});

const OWNED = '/api/v1/namespaces/cluster-x';
const X = `${CLUSTERS}/x`;
const Y = `${CLUSTERS}/y`;

const CASES: readonly (readonly [
  what: string,
  objects: Record<string, object>,
  expected: string | undefined,
  gets: string[],
])[] = [
  ['by the name rule, status not written yet', { [X]: cluster('x') }, 'x', [X]],
  ['by the name rule, status agrees', { [X]: cluster('x', { namespaceName: 'cluster-x' }) }, 'x', [X]],
  ['no such Cluster, no such namespace', {}, undefined, [X, OWNED]],
  ['a namespace of nobody', { [OWNED]: { metadata: {} } }, undefined, [X, OWNED]],
  [
    'by its owner',
    { [OWNED]: namespaceOf({ name: 'y', uid: 'uid-y' }), [Y]: cluster('y', { namespaceName: 'cluster-x' }) },
    'y',
    [X, OWNED, Y],
  ],
  [
    'by its owner, status not written yet',
    { [OWNED]: namespaceOf({ name: 'y', uid: 'uid-y' }), [Y]: cluster('y') },
    'y',
    [X, OWNED, Y],
  ],
  [
    'the Cluster of the name rule has another namespace',
    { [X]: cluster('x', { namespaceName: 'other' }), [OWNED]: { metadata: {} } },
    undefined,
    [X, OWNED],
  ],
  [
    'its owner has another namespace',
    { [OWNED]: namespaceOf({ name: 'y', uid: 'uid-y' }), [Y]: cluster('y', { namespaceName: 'other' }) },
    undefined,
    [X, OWNED, Y],
  ],
  ['its owner is gone', { [OWNED]: namespaceOf({ name: 'y', uid: 'uid-y' }) }, undefined, [X, OWNED, Y]],
  [
    'its owner was made anew',
    { [OWNED]: namespaceOf({ name: 'y', uid: 'uid-old' }), [Y]: cluster('y') },
    undefined,
    [X, OWNED, Y],
  ],
  [
    'its owner is another API’s Cluster',
    { [OWNED]: namespaceOf({ name: 'y', uid: 'uid-y' }, 'cluster.x-k8s.io/v1'), [Y]: cluster('y') },
    undefined,
    [X, OWNED],
  ],
];

for (const [what, content, expected, expectedGets] of CASES) {
  test(`a Cluster that is not in memory: ${what}`, async (t) => {
    const { objects, gets, start } = await open(t);
    for (const [path, object] of Object.entries(content)) objects.set(path, object);
    const state = start();
    t.after(() => state.close());
    const found = await state.fetchClusterOfNamespace('cluster-x', soon());
    assert.equal(found?.name, expected);
    if (found !== undefined) assert.equal(found.namespace, 'cluster-x');
    assert.deepEqual(gets, expectedGets);
  });
}

test('a namespace outside of the name rule is looked up by its owner alone', async (t) => {
  const { objects, gets, start } = await open(t);
  objects.set('/api/v1/namespaces/other', namespaceOf({ name: 'y', uid: 'uid-y' }));
  objects.set(Y, cluster('y', { namespaceName: 'other' }));
  const state = start();
  t.after(() => state.close());
  assert.equal((await state.fetchClusterOfNamespace('other', soon()))?.name, 'y');
  assert.equal(await state.fetchClusterOfNamespace('cluster-', soon()), undefined);
  assert.deepEqual(gets, ['/api/v1/namespaces/other', Y, '/api/v1/namespaces/cluster-']);
});

test('what is in memory is not asked for', async (t) => {
  const { clusters, gets, start } = await open(t);
  clusters.items = [{ name: 'x', version: '1' }];
  const state = start();
  t.after(() => state.close());
  await waitForSync(state, soon());
  assert.equal((await state.fetchClusterOfNamespace('cluster-x', soon()))?.name, 'x');
  assert.deepEqual(gets, []);
});

test('simultaneous look-ups share one request, each with its own deadline', async (t) => {
  const { objects, gets, start } = await open(t);
  let answer = () => {};
  objects.set(X, (_request: unknown, response: Parameters<Handler>[1]) => {
    answer = () => sendJson(response, cluster('x'));
  });
  const state = start();
  t.after(() => state.close());
  const hasty = new AbortController();
  const first = state.fetchClusterOfNamespace('cluster-x', hasty.signal);
  const others = [1, 2, 3].map(() => state.fetchClusterOfNamespace('cluster-x', soon()));
  await until('the request', () => gets.length === 1);
  hasty.abort();
  await assert.rejects(
    first,
    (error) => error instanceof StateError && /did not say in time/.test(error.message),
  );
  answer();
  assert.deepEqual(
    (await Promise.all(others)).map((view) => view?.name),
    ['x', 'x', 'x'],
  );
  assert.deepEqual(gets, [X]);
  await assert.rejects(state.fetchClusterOfNamespace('cluster-y', AbortSignal.abort()), StateError);
});

test('"there is none" is believed for a moment only', async (t) => {
  const clock = new FakeClock();
  const { objects, gets, start } = await open(t, { clock });
  const state = start();
  t.after(() => state.close());
  assert.equal(await state.fetchClusterOfNamespace('cluster-x', soon()), undefined);
  assert.equal(await state.fetchClusterOfNamespace('cluster-x', soon()), undefined);
  assert.equal(gets.length, 2);
  objects.set(X, cluster('x'));
  clock.advance(1000);
  assert.equal((await state.fetchClusterOfNamespace('cluster-x', soon()))?.name, 'x');
});

const NO_ANSWERS: readonly (readonly [what: string, path: string, handler: Handler])[] = [
  ['an error of the API server', X, refuse(500, 'InternalError')],
  [
    'a resource that is not installed',
    X,
    (_request, response) => response.writeHead(404).end('404 page not found'),
  ],
  ['a namespace that may not be read', OWNED, refuse(403, 'Forbidden')],
  [
    'an answer that is no JSON',
    X,
    (_request, response) => response.writeHead(200, { 'content-type': 'application/json' }).end('{'),
  ],
];

for (const [what, path, handler] of NO_ANSWERS) {
  test(`never taken for "there is none": ${what}`, async (t) => {
    const { objects, start } = await open(t);
    objects.set(path, handler);
    const state = start();
    t.after(() => state.close());
    const failure = await state.fetchClusterOfNamespace('cluster-x', soon()).then(
      () => assert.fail('it was answered'),
      (error: unknown) => error,
    );
    assert.ok(failure instanceof StateError);
    assert.match(failure.message, /^namespace cluster-x: its Cluster could not be looked up: /);
    objects.set(path, path === X ? cluster('x') : namespaceOf({ name: 'y', uid: 'uid-y' }));
    objects.set(Y, cluster('y'));
    assert.notEqual(
      await state.fetchClusterOfNamespace('cluster-x', soon()),
      undefined,
      'the failure was not kept',
    );
  });
}
