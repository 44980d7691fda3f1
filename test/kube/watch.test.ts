// On a stub server: see test/support/stub-api.ts. The same reflector on a real kube-apiserver is in test/api.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { KubeClient } from '../../src/kube/client.ts';
import { Reflector, type ReflectorOptions } from '../../src/kube/watch.ts';
import type { KubernetesObject } from '../../src/kubernetes.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testLog } from '../support/log.ts';
import { plainCredentials, sendJson, startStubApi } from '../support/stub-api.ts';
import { refuse, StubResource } from '../support/stub-watch.ts';
import { until } from '../support/wait.ts';

type Options = Partial<ReflectorOptions<string>>;

/** A reflector that keeps `name@version`, and what it told. */
async function reflect(t: TestContext, resource: StubResource, options: Options = {}) {
  const stub = await startStubApi(t, resource.handle);
  const client = new KubeClient(plainCredentials(stub.url));
  const log = testLog();
  const told: string[] = [];
  const reflector = new Reflector<string>({
    client,
    logger: log.logger,
    path: '/apis/g/v1/things',
    resource: 'things.g',
    slim: (object: KubernetesObject) => `${object.metadata?.name}@${object.metadata?.resourceVersion}`,
    onReplace: (items) => told.push(`all ${items.join(' ')}`),
    onEvent: (type, item) => told.push(`${type} ${item}`),
    onSynced: () => told.push('synced'),
    backoff: { baseMs: 1, maxMs: 4 },
    ...options,
  });
  t.after(async () => {
    await reflector.close();
    await client.close();
  });
  reflector.start();
  return { stub, client, reflector, told, log };
}

const item = (name: string, version: string) => ({ name, version });

test('lists, then watches from there', async (t) => {
  const resource = new StubResource();
  resource.items = [item('a', '5'), item('b', '6')];
  resource.listVersion = '7';
  const { told, reflector } = await reflect(t, resource, {
    labelSelector: 'x=y',
    fieldSelector: 'metadata.name!=z',
  });
  await until('the watch', () => resource.openWatches === 1);
  resource.send('ADDED', item('c', '8'));
  resource.send('MODIFIED', item('a', '9'));
  resource.send('DELETED', item('b', '10'));
  await until('the events', () => told.length === 5);
  assert.deepEqual(told, ['all a@5 b@6', 'synced', 'ADDED c@8', 'MODIFIED a@9', 'DELETED b@10']);
  const query = Object.fromEntries(resource.watches[0]?.searchParams ?? []);
  const { timeoutSeconds, ...rest } = query;
  assert.deepEqual(rest, {
    watch: 'true',
    allowWatchBookmarks: 'true',
    resourceVersion: '7',
    labelSelector: 'x=y',
    fieldSelector: 'metadata.name!=z',
  });
  assert.ok(Number(timeoutSeconds) >= 300 && Number(timeoutSeconds) <= 600);
  assert.equal(resource.lists[0]?.searchParams.get('labelSelector'), 'x=y');
  assert.equal(reflector.health().problem, undefined);
  assert.equal(reflector.health().synced, true);
});

test('a long list comes in pages; its end alone counts', async (t) => {
  const resource = new StubResource();
  resource.items = Array.from({ length: 7 }, (_, index) => item(`i${index}`, '1'));
  const { told } = await reflect(t, resource, { pageSize: 3 });
  await until('the list', () => told.length > 0);
  assert.equal(told[0], 'all i0@1 i1@1 i2@1 i3@1 i4@1 i5@1 i6@1');
  assert.deepEqual(
    resource.lists.map((url) => url.searchParams.get('continue')),
    [null, '3', '6'],
  );
});

test('pages that expire are asked for from the start', async (t) => {
  const resource = new StubResource();
  resource.items = [item('a', '1'), item('b', '1')];
  resource.listFaults.push(
    (_request, response) =>
      sendJson(response, { metadata: { resourceVersion: '1', continue: '1' }, items: [] }),
    refuse(410, 'Expired'),
  );
  const { told } = await reflect(t, resource, { pageSize: 1 });
  await until('the list', () => told.length > 0);
  assert.equal(told[0], 'all a@1 b@1');
});

test('pages that are too long become shorter', async (t) => {
  const resource = new StubResource();
  resource.items = Array.from({ length: 40 }, (_, index) => ({
    ...item(`i${index}`, '1'),
    rest: { data: 'x'.repeat(1_000_000) },
  }));
  const { told } = await reflect(t, resource, { slim: (object) => object.metadata?.name ?? '' });
  await until('the list', () => told.length > 0);
  assert.equal(told[0], `all ${resource.items.map(({ name }) => name).join(' ')}`);
});

test('a watch that ends in good order goes on where it was, bookmarks included', async (t) => {
  const resource = new StubResource();
  const { told, log } = await reflect(t, resource);
  await until('the watch', () => resource.openWatches === 1);
  resource.send('ADDED', item('a', '5'));
  resource.send('BOOKMARK', item('', '9'));
  await until('the event', () => told.length === 3);
  resource.end();
  await until('the next watch', () => resource.watches.length === 2);
  assert.equal(resource.watches[1]?.searchParams.get('resourceVersion'), '9');
  assert.equal(resource.lists.length, 1);
  assert.deepEqual(log.withMessage('watch interrupted, trying on'), []);
});

for (const [what, expire] of [
  ['as an event', (resource: StubResource) => resource.sendError(410, 'Expired')],
  [
    'as an answer',
    (resource: StubResource) => {
      resource.watchFaults.push(refuse(410, 'Expired'));
      resource.end();
    },
  ],
] as const) {
  test(`a point that was forgotten (410 ${what}) leads to a new list, and is no problem`, async (t) => {
    const resource = new StubResource();
    const { told, log } = await reflect(t, resource);
    await until('the watch', () => resource.openWatches === 1);
    resource.items = [item('new', '20')];
    resource.listVersion = '20';
    expire(resource);
    await until(
      'the next watch',
      () => resource.watches.at(-1)?.searchParams.get('resourceVersion') === '20',
    );
    assert.deepEqual(told, ['all ', 'synced', 'all new@20']);
    assert.deepEqual(log.withMessage('watch interrupted, trying on'), []);
  });
}

for (const line of [
  '{"type":"ADDED","object":{"metadata',
  'null',
  '[]',
  '{"type":"ADDED"}',
  '{"type":"WHAT","object":{"metadata":{"resourceVersion":"3"}}}',
  '{"type":"ADDED","object":{"metadata":{}}}',
]) {
  test(`a line that is no event leads to a new list: ${line}`, async (t) => {
    const resource = new StubResource();
    const { told, log } = await reflect(t, resource);
    await until('the watch', () => resource.openWatches === 1);
    resource.write(`${line}\n`);
    await until('the next list', () => resource.lists.length === 2 && resource.openWatches === 1);
    assert.deepEqual(told, ['all ', 'synced', 'all ']);
    assert.equal(log.withMessage('watch interrupted, trying on').length, 1);
    assert.equal(log.withMessage('watch goes on').length, 1);
  });
}

test('a broken connection goes on where it was, without a list', async (t) => {
  const resource = new StubResource();
  const { stub, told } = await reflect(t, resource);
  await until('the watch', () => resource.openWatches === 1);
  resource.send('ADDED', item('a', '5'));
  await until('the event', () => told.length === 3);
  stub.breakConnections();
  await until('the next watch', () => resource.watches.length === 2);
  assert.equal(resource.watches[1]?.searchParams.get('resourceVersion'), '5');
  assert.equal(resource.lists.length, 1);
});

test('an API server that is away is a problem told once, with an age, and what is known stays', async (t) => {
  const resource = new StubResource();
  const clock = new FakeClock();
  const { stub, told, reflector, log } = await reflect(t, resource, { clock });
  await until('the watch', () => resource.openWatches === 1);
  await stub.stop();
  for (let attempt = 0; attempt < 5; attempt += 1) {
    await until('the pause', () => clock.sleeping === 1);
    assert.match(
      reflector.health().problem ?? '',
      /^things\.g: GET \/apis\/g\/v1\/things: no answer from http:.*ECONNREFUSED|closed|reset/i,
    );
    if (attempt < 4) clock.advance(clock.nextMs);
  }
  clock.advance(0.001);
  assert.ok(reflector.health().ageSeconds > 0);
  assert.equal(reflector.health().synced, true);
  await stub.start();
  clock.advance(10_000);
  await until('the next watch', () => resource.openWatches === 1 && reflector.health().problem === undefined);
  assert.deepEqual(told, ['all ', 'synced'], 'no new list was needed');
  assert.ok(reflector.health().ageSeconds < 1);
  const problems = log.withMessage('watch interrupted, trying on').map(({ problem }) => problem);
  assert.equal(new Set(problems).size, problems.length, 'the same problem is told once');
});

test('pauses double up to a limit, and are spread', async (t) => {
  const resource = new StubResource();
  for (let i = 0; i < 8; i += 1) resource.listFaults.push(refuse(500, 'InternalError'));
  const clock = new FakeClock();
  let random = 1;
  await reflect(t, resource, { clock, backoff: { baseMs: 500, maxMs: 30_000 }, random: () => random });
  const pauses: number[] = [];
  for (let attempt = 0; attempt < 8; attempt += 1) {
    await until('the pause', () => clock.sleeping === 1);
    pauses.push(clock.nextMs);
    random = attempt === 6 ? 0 : 1;
    clock.advance(clock.nextMs);
  }
  assert.deepEqual(pauses, [500, 1000, 2000, 4000, 8000, 16000, 30000, 15000]);
  await until('the watch at last', () => resource.openWatches === 1);
});

test('a server that asks to wait longer is obeyed', async (t) => {
  const resource = new StubResource();
  resource.listFaults.push((_request, response) => response.writeHead(429, { 'retry-after': '120' }).end());
  const clock = new FakeClock();
  await reflect(t, resource, { clock });
  await until('the pause', () => clock.sleeping === 1);
  assert.equal(clock.nextMs, 120_000);
});

test('watches that end at once are not asked for without a pause', async (t) => {
  const resource = new StubResource();
  for (let i = 0; i < 3; i += 1)
    resource.watchFaults.push((_request, response) => response.writeHead(200).end());
  const clock = new FakeClock();
  await reflect(t, resource, { clock });
  for (let attempt = 0; attempt < 3; attempt += 1) {
    await until('the pause', () => clock.sleeping === 1);
    clock.advance(10);
  }
  await until('the watch', () => resource.openWatches === 1);
  assert.equal(resource.lists.length, 1);
});

test('CRDs that are not there, and rights that are missing, are told as such, and tried again', async (t) => {
  const resource = new StubResource();
  resource.listFaults.push(
    (_request, response) => response.writeHead(404).end('404 page not found'),
    refuse(403, 'Forbidden'),
  );
  const clock = new FakeClock();
  const { reflector } = await reflect(t, resource, { clock });
  await until('the problem', () => clock.sleeping === 1);
  assert.match(
    reflector.health().problem ?? '',
    /^things\.g: the API server does not know this resource; are its CRDs installed\?/,
  );
  assert.equal(reflector.health().synced, false);
  assert.equal(reflector.health().ageSeconds, Number.POSITIVE_INFINITY);
  clock.advance(10);
  await until('the other problem', () => clock.sleeping === 1);
  assert.match(
    reflector.health().problem ?? '',
    /^things\.g: get, list and watch must be allowed: .*403 Forbidden/,
  );
  clock.advance(10);
  await until('the watch', () => reflector.health().synced && reflector.health().problem === undefined);
});

test('watches that are refused again and again lead to a new list: etcd may have been restored', async (t) => {
  const resource = new StubResource();
  const { told } = await reflect(t, resource);
  await until('the watch', () => resource.openWatches === 1);
  for (let i = 0; i < 5; i += 1) resource.watchFaults.push(refuse(504, 'Timeout'));
  resource.listVersion = '3';
  resource.end();
  await until('the next list', () => told.length === 3);
  await until(
    'the watch from there',
    () => resource.watches.at(-1)?.searchParams.get('resourceVersion') === '3',
  );
});

test('a watch that falls silent is replaced', async (t) => {
  const resource = new StubResource();
  const { log } = await reflect(t, resource, { idleTimeoutMs: 40 });
  await until('the third watch', () => resource.watches.length >= 3);
  assert.equal(resource.lists.length, 1);
  assert.deepEqual(log.withMessage('watch interrupted, trying on'), []);
});

test('what takes the objects may fail; they are listed again', async (t) => {
  const resource = new StubResource();
  const told: string[] = [];
  const { reflector } = await reflect(t, resource, {
    onReplace: (items) => told.push(`all ${items.join(' ')}`),
    onEvent: () => {
      throw new TypeError('a bug');
    },
  });
  await until('the watch', () => resource.openWatches === 1);
  resource.send('ADDED', item('a', '5'));
  await until('the next list', () => told.length === 2 && reflector.health().problem === undefined);
});

test('metadata alone is asked for where that is wanted', async (t) => {
  const resource = new StubResource();
  await reflect(t, resource, { metadataOnly: true });
  await until('the watch', () => resource.openWatches === 1);
  assert.deepEqual(resource.accepts, [
    'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1',
    'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1',
  ]);
});

test('closing ends a watch, and a pause', async (t) => {
  const resource = new StubResource();
  const { reflector } = await reflect(t, resource);
  await until('the watch', () => resource.openWatches === 1);
  await reflector.close();
  await until('its end', () => resource.openWatches === 0);
  const other = new StubResource();
  other.listFaults.push(refuse(500, 'InternalError'));
  const clock = new FakeClock();
  const paused = await reflect(t, other, { clock });
  await until('the pause', () => clock.sleeping === 1);
  await paused.reflector.close();
  assert.equal(other.lists.length, 1);
});
