import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ClusterView, viewCluster, viewSeed } from '../../src/kkp.ts';
import { StateIndex } from '../../src/state/memory.ts';

function cluster(
  name: string,
  options: { namespace?: string; dc?: string; version?: string } = {},
): ClusterView {
  return viewCluster({
    metadata: { name, resourceVersion: options.version ?? '1' },
    spec: { cloud: { dc: options.dc ?? 'dc' } },
    ...(options.namespace === undefined ? {} : { status: { namespaceName: options.namespace } }),
  } as object);
}

function counted(index: StateIndex): () => number {
  let count = 0;
  index.onChange(() => {
    count += 1;
  });
  return () => count;
}

test('Clusters are found by name and by namespace: the status says which, else the name', () => {
  const index = new StateIndex();
  index.replaceClusters([cluster('a'), cluster('b', { namespace: 'other' })]);
  assert.equal(index.cluster('a')?.name, 'a');
  assert.equal(index.clusterOfNamespace('cluster-a')?.name, 'a');
  assert.equal(index.clusterOfNamespace('other')?.name, 'b');
  assert.equal(index.clusterOfNamespace('cluster-b'), undefined);
  assert.equal(index.cluster('__proto__'), undefined);
  assert.equal(index.clusterOfNamespace('constructor'), undefined);
});

test('a Cluster that moves, leaves or comes again is found only where it is', () => {
  const index = new StateIndex();
  index.upsertCluster(cluster('a'));
  index.upsertCluster(cluster('a', { namespace: 'moved' }));
  assert.equal(index.clusterOfNamespace('cluster-a'), undefined);
  assert.equal(index.clusterOfNamespace('moved')?.name, 'a');
  index.removeCluster('a');
  assert.equal(index.clusterOfNamespace('moved'), undefined);
  index.replaceClusters([cluster('b')]);
  index.replaceClusters([cluster('c')]);
  assert.deepEqual(
    [...index.clusters()].map(({ name }) => name),
    ['c'],
  );
});

test('two Clusters that claim one namespace: the status ranks first, then the name, and it is a problem', () => {
  const claims = [
    cluster('a'),
    cluster('c', { namespace: 'cluster-a' }),
    cluster('b', { namespace: 'cluster-a' }),
  ];
  for (const order of [claims, claims.toReversed()]) {
    const index = new StateIndex();
    for (const view of order) index.upsertCluster(view);
    assert.equal(index.clusterOfNamespace('cluster-a')?.name, 'b');
    assert.deepEqual(index.problems(), [
      'namespace cluster-a is claimed by Cluster b and by c, a; b is taken',
    ]);
    index.removeCluster('b');
    index.removeCluster('c');
    assert.equal(index.clusterOfNamespace('cluster-a')?.name, 'a');
    assert.deepEqual(index.problems(), []);
  }
});

test('listeners hear of what matters and of nothing else', () => {
  const index = new StateIndex();
  const count = counted(index);
  index.replaceClusters([cluster('a')]);
  assert.equal(count(), 1);
  index.upsertCluster(cluster('a', { version: '2' }));
  index.replaceClusters([cluster('a', { version: '3' })]);
  assert.equal(count(), 1, 'only the resourceVersion is new');
  assert.equal(index.cluster('a')?.resourceVersion, '3', 'which is kept all the same');
  index.upsertCluster(cluster('a', { dc: 'other' }));
  assert.equal(count(), 2);
  index.removeCluster('nobody');
  index.removeSeed('nobody');
  assert.equal(count(), 2);
  index.replaceClusters([]);
  assert.equal(count(), 3);
});

test('a listener that was taken off hears nothing more', () => {
  const index = new StateIndex();
  let heard = 0;
  const stop = index.onChange(() => {
    heard += 1;
  });
  stop();
  index.upsertCluster(cluster('a'));
  assert.equal(heard, 0);
});

test('Seeds come in the order of their names, and a changed datacenter is a change', () => {
  const index = new StateIndex();
  const count = counted(index);
  const seed = (name: string, enforce: boolean, version = '1') =>
    viewSeed({
      metadata: { name, resourceVersion: version },
      spec: { datacenters: { dc: { spec: { enforceAuditLogging: enforce } }, ['__proto__']: {} } },
    } as object);
  index.replaceSeeds([seed('b', true), seed('a', false)]);
  assert.deepEqual(
    index.seeds().map(({ name }) => name),
    ['a', 'b'],
  );
  index.replaceSeeds([seed('a', false, '2'), seed('b', true)]);
  assert.equal(count(), 1);
  index.upsertSeed(seed('a', true));
  assert.equal(count(), 2);
  assert.equal(index.seeds()[0]?.datacenters.get('dc')?.enforceAuditLogging, true);
  index.upsertSeed(seed('0', true));
  index.removeSeed('b');
  assert.deepEqual(
    index.seeds().map(({ name }) => name),
    ['0', 'a'],
  );
  assert.equal(count(), 4);
});

test('any sequence of operations leaves what the last word on each Cluster says', () => {
  const name = fc.constantFrom('a', 'b', 'c');
  const view = fc
    .record({ name, namespace: fc.constantFrom(undefined, 'cluster-a', 'other') })
    .map(({ name, namespace }) => cluster(name, namespace === undefined ? {} : { namespace }));
  const operation = fc.oneof(
    view.map((item) => ({ upsert: item })),
    name.map((item) => ({ remove: item })),
    fc.uniqueArray(view, { selector: (item) => item.name }).map((items) => ({ replace: items })),
  );
  fc.assert(
    fc.property(fc.array(operation), (operations) => {
      const index = new StateIndex();
      const expected = new Map<string, ClusterView>();
      for (const step of operations) {
        if ('upsert' in step) {
          index.upsertCluster(step.upsert);
          expected.set(step.upsert.name, step.upsert);
        } else if ('remove' in step) {
          index.removeCluster(step.remove);
          expected.delete(step.remove);
        } else {
          index.replaceClusters(step.replace);
          expected.clear();
          for (const item of step.replace) expected.set(item.name, item);
        }
      }
      const fresh = new StateIndex();
      fresh.replaceClusters([...expected.values()]);
      for (const key of ['a', 'b', 'c']) assert.deepEqual(index.cluster(key), expected.get(key));
      for (const namespace of ['cluster-a', 'cluster-b', 'cluster-c', 'other']) {
        assert.equal(index.clusterOfNamespace(namespace), fresh.clusterOfNamespace(namespace));
      }
      assert.deepEqual(index.problems(), fresh.problems());
    }),
  );
});

test('views of odd objects are views, and fields of a wrong type count as missing', () => {
  const odd = fc.oneof(
    fc.jsonValue(),
    fc.record({ metadata: fc.jsonValue(), spec: fc.jsonValue(), status: fc.jsonValue() }),
  );
  fc.assert(
    fc.property(odd, (value) => {
      const view = viewCluster(value as object);
      assert.equal(typeof view.name, 'string');
      assert.equal(typeof view.datacenter, 'string');
      viewSeed(value as object);
    }),
  );
  const view = viewCluster({
    metadata: {
      name: 'x',
      labels: 7,
      annotations: { 'kubermatic.k8c.io/skip-audit-logging-enforcement': true },
    },
    spec: { cloud: { dc: 5 }, auditLogging: ['x'], pause: 'true' },
    status: { namespaceName: null },
  } as object);
  assert.deepEqual(
    { ...view, annotations: { ...view.annotations } },
    {
      name: 'x',
      uid: '',
      resourceVersion: '',
      namespace: 'cluster-x',
      namespaceGuessed: true,
      datacenter: '',
      auditLogging: undefined,
      annotations: { 'kubermatic.k8c.io/skip-audit-logging-enforcement': '' },
      paused: false,
      workerName: '',
      deleting: false,
    },
  );
});
