import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { KubeClient } from '../../src/kube/client.ts';
import { buildEventRecorder, type EventContent } from '../../src/kube/events.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testLog } from '../support/log.ts';
import { plainCredentials, readJson, sendJson, sendStatus, startStubApi } from '../support/stub-api.ts';
import { until } from '../support/wait.ts';

interface StoredEvent {
  metadata: { name: string };
  note: string;
  series?: { count: number };
}

const CLUSTER = { name: 'q7x2mfk9vd', uid: 'uid-1' };
const EVENT: EventContent = {
  type: 'Warning',
  reason: 'AuditLoggingAttemptRejected',
  message: 'alice tried',
  action: 'Reject',
};

/** An API server that keeps Events. */
async function setUp(t: TestContext) {
  const stored = new Map<string, StoredEvent>();
  const api = await startStubApi(t, async (request, response, url) => {
    const name = url.pathname.split('/')[7] ?? '';
    if (request.method === 'GET') return sendJson(response, stored.get(name));
    const body = (await readJson(request)) as StoredEvent;
    if (request.method === 'POST') {
      if (stored.has(body.metadata.name)) return sendStatus(response, 409, 'AlreadyExists');
      stored.set(body.metadata.name, body);
      return sendJson(response, body, 201);
    }
    stored.set(name, { ...(stored.get(name) as StoredEvent), ...body });
    return sendJson(response, stored.get(name));
  });
  const client = new KubeClient(plainCredentials(api.url));
  t.after(() => client.close());
  const clock = new FakeClock();
  const start = () => {
    const recorder = buildEventRecorder(client, { logger: testLog().logger, instance: 'pod-1', clock });
    t.after(() => recorder.close());
    return recorder;
  };
  return { api, stored, clock, start };
}

const only = (stored: Map<string, StoredEvent>): StoredEvent => {
  assert.equal(stored.size, 1);
  return [...stored.values()][0] as StoredEvent;
};

test('an Event that repeats is one object that counts, also after a restart', async (t) => {
  const { stored, clock, start } = await setUp(t);
  const recorder = start();
  recorder.record(CLUSTER, EVENT);
  recorder.record(CLUSTER, EVENT);
  await until('the Event', () => stored.size === 1);
  recorder.record(CLUSTER, EVENT);
  await until('the recorder to wait', () => clock.sleeping > 0);
  assert.equal(only(stored).series?.count, 2, 'the repetition waits for its time');
  for (let second = 0; second < 31; second += 1) {
    clock.advance(1000);
    await new Promise(setImmediate);
  }
  await until('the count', () => only(stored).series?.count === 3);

  start().record(CLUSTER, EVENT);
  await until('the count of both', () => only(stored).series?.count === 4);
});

test('different Events and different Clusters are different objects', async (t) => {
  const { stored, start } = await setUp(t);
  const recorder = start();
  recorder.record(CLUSTER, EVENT);
  recorder.record(CLUSTER, { ...EVENT, message: 'bob tried' });
  recorder.record({ ...CLUSTER, uid: 'uid-2' }, EVENT);
  await until('three Events', () => stored.size === 3);
});

test('a message that is too long is cut at a whole character, within 1024 bytes', async (t) => {
  const { stored, start } = await setUp(t);
  start().record(CLUSTER, { ...EVENT, message: '🔥'.repeat(500) });
  await until('the Event', () => stored.size === 1);
  assert.ok(Buffer.byteLength(only(stored).note) <= 1024);
  assert.match(only(stored).note, /^(🔥)+…$/u);
});

test('a flood is bounded: what is too much is dropped, and recording never throws', async (t) => {
  const { api, start } = await setUp(t);
  await api.stop();
  const recorder = start();
  for (let i = 0; i < 2000; i += 1) recorder.record(CLUSTER, { ...EVENT, message: `attempt ${i}` });
  assert.equal(recorder.dropped, 1000);
});
