/** What the controller does with an action, what it knows afterwards, and what it says. The API is a stub: its refusals are wanted one by one. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { DEFAULT_CONFIG } from '../../src/config.ts';
import { Actor, NotLeading } from '../../src/controller/act.ts';
import { Announcer } from '../../src/controller/announce.ts';
import { Fleet } from '../../src/controller/fleet.ts';
import { Ledger } from '../../src/controller/ledger.ts';
import type { Action } from '../../src/controller/plan/action.ts';
import type { Assessment } from '../../src/controller/plan/assess.ts';
import type { Progress } from '../../src/controller/plan/budget.ts';
import { ROLLOUT_ANNOTATION } from '../../src/controller/plan/facts.ts';
import { KubeClient } from '../../src/kube/client.ts';
import type { EventContent } from '../../src/kube/events.ts';
import { openFileState } from '../../src/state/files.ts';
import { look, minutesAgo, NOW_MS } from '../support/cluster-facts.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testLog } from '../support/log.ts';
import { renderCluster, renderSeed } from '../support/seed.ts';
import { plainCredentials, readJson, sendJson, sendStatus, startStubApi } from '../support/stub-api.ts';

const PATCH: Action = { name: 'labelCluster', method: 'PATCH', path: '/clusters/a', body: {} };
const NUDGE: Action = { name: 'nudgeDeployment', method: 'PATCH', path: '/d', body: {}, occasion: '1 key' };

/** A log and the Events that were recorded, and who writes both. */
function listen() {
  const log = testLog();
  const events: (EventContent & { readonly cluster: string })[] = [];
  const announcer = new Announcer(log.logger, {
    record: ({ name }, event) => void events.push({ cluster: name, ...event }),
    dropped: 0,
    close: async () => {},
  });
  return { log, events, announcer };
}

/** An actor on Cluster `a`, and an API server that answers with the status that is set. */
async function setUp(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), 'act-'));
  t.after(() => rm(folder, { recursive: true }));
  const cluster = renderCluster({ name: 'a', datacenter: 'dc' });
  const stored = { ...cluster, metadata: { ...cluster.metadata, resourceVersion: '7', uid: 'uid-a' } };
  await writeFile(join(folder, 'cluster.json'), JSON.stringify(stored));
  await writeFile(join(folder, 'seed.json'), JSON.stringify(renderSeed({ dc: {} })));
  const said = listen();
  const clock = new FakeClock();
  const state = await openFileState(folder, { logger: said.log.logger, clock });
  t.after(() => state.close());
  const api = { status: 200, bodies: [] as unknown[], answer: {} as unknown };
  const stub = await startStubApi(t, async (request, response) => {
    if (request.method !== 'GET') api.bodies.push(await readJson(request));
    if (api.status === 200) sendJson(response, api.answer);
    else sendStatus(response, api.status, 'Refused');
  });
  const client = new KubeClient(plainCredentials(stub.url));
  t.after(() => client.close());
  const nowMs = () => NOW_MS;
  const { announcer } = said;
  const { logger } = said.log;
  const fleet = new Fleet({ client, state, config: DEFAULT_CONFIG, logger, nowMs });
  const ledger = new Ledger({ state, fleet, logger, announcer, nowMs });
  const outcomes: string[] = [];
  const leading = { now: true };
  const actor = new Actor({
    client,
    ledger,
    announcer,
    clock,
    metrics: () => ({ acted: (action, outcome) => void outcomes.push(`${action} ${outcome}`) }),
    isLeader: () => leading.now,
    signal: new AbortController().signal,
  });
  return { ...said, actor, api, clock, leading, ledger, outcomes, stored, requests: stub.requests };
}

const REFUSALS: readonly (readonly [Action['method'], number, string, boolean])[] = [
  ['PATCH', 200, 'labelCluster done', false],
  // Someone else made it first, or took it away first: as wanted.
  ['POST', 409, 'labelCluster conflict', false],
  ['DELETE', 404, '', false],
  ['PATCH', 409, 'labelCluster conflict', true],
  ['PATCH', 404, 'labelCluster failed', true],
  ['PATCH', 500, 'labelCluster failed', true],
  ['PATCH', 403, 'labelCluster forbidden', false],
];
for (const [method, status, outcome, fails] of REFUSALS) {
  test(`${method} answered ${status}: ${outcome || 'nothing to tell'}${fails ? ', comes again' : ''}`, async (t) => {
    const { actor, api, outcomes } = await setUp(t);
    api.status = status;
    const acting = actor.act({ ...PATCH, method }, look());
    await (fails ? assert.rejects(acting) : acting);
    assert.equal(outcomes.join(), outcome);
  });
}

test('what RBAC does not allow is said once, and not tried again before the next scan', async (t) => {
  const { actor, api, log } = await setUp(t);
  api.status = 403;
  await actor.act(PATCH, look());
  assert.equal(actor.mayTry(PATCH), false);
  assert.equal(actor.mayTry({ ...PATCH, path: '/clusters/b' }), true);
  await actor.act({ ...PATCH, path: '/clusters/b' }, look());
  const told = () => log.withMessage('controller: not allowed; the rest goes on').length;
  assert.equal(told(), 1);
  actor.retryForbidden();
  assert.equal(actor.mayTry(PATCH), true);
  api.status = 200;
  await actor.act(PATCH, look());
  api.status = 403;
  await actor.act(PATCH, look());
  assert.equal(told(), 2, 'after it was allowed for a while');
});

test('an empty write that did not help is not done again at once, but for another occasion', async (t) => {
  const { actor, clock } = await setUp(t);
  assert.equal(actor.mayTry(NUDGE), true);
  assert.equal(actor.mayTry(NUDGE), false);
  assert.equal(actor.mayTry({ ...NUDGE, occasion: '2 key' }), true);
  assert.equal(actor.mayTry({ ...NUDGE, occasion: '2 key' }), false);
  clock.advance(30_000);
  assert.equal(actor.mayTry({ ...NUDGE, occasion: '2 key' }), true);
});

test('who does not lead writes nothing', async (t) => {
  const { actor, leading, requests } = await setUp(t);
  leading.now = false;
  await assert.rejects(actor.act(PATCH, look()), NotLeading);
  assert.deepEqual(requests, []);
});

test('a Secret is copied with the mark of its source: made, or put in the place of the version that was seen', async (t) => {
  const { actor, api, requests } = await setUp(t);
  api.answer = {
    metadata: { namespace: 'secrets', name: 'hook', resourceVersion: '12' },
    data: { k: 'eA==' },
  };
  const copy = (resourceVersion: string): Action => ({
    name: 'copyBackend',
    method: 'COPY',
    path: '/source',
    body: { namespace: 'cluster-a', name: 'hook', resourceVersion },
  });
  await actor.act(copy(''), look());
  await actor.act(copy('5'), look());
  const place = '/api/v1/namespaces/cluster-a/secrets';
  assert.deepEqual(requests, ['GET /source', `POST ${place}`, 'GET /source', `PATCH ${place}/hook`]);
  type Written = { metadata: { resourceVersion?: string; annotations: object }; data: object };
  const [made, replaced] = api.bodies as Written[];
  assert.deepEqual(Object.values(made?.metadata.annotations ?? {}), ['secrets/hook@12']);
  assert.deepEqual(made?.data, { k: 'eA==' });
  assert.equal(replaced?.metadata.resourceVersion, '5');
  assert.deepEqual(replaced?.data, { k: 'eA==' });
});

test('what a write brings back counts at once; an older answer does not', async (t) => {
  const { actor, api, ledger, stored } = await setUp(t);
  const rolling = (resourceVersion: string) => ({
    ...stored,
    metadata: { ...stored.metadata, resourceVersion, annotations: { [ROLLOUT_ANNOTATION]: minutesAgo(1) } },
  });
  api.answer = rolling('6');
  await actor.act(PATCH, { ...look(), cluster: 'a' });
  assert.equal(ledger.assess('a')?.sinceMs, undefined);
  api.answer = rolling('8');
  await actor.act(PATCH, { ...look(), cluster: 'a' });
  assert.equal(ledger.assess('a')?.sinceMs, Date.parse(minutesAgo(1)));
  assert.equal(ledger.last('a')?.state, 'rolling');
});

test('a Cluster is news once', async (t) => {
  const { ledger } = await setUp(t);
  assert.deepEqual(ledger.findChanged(), { changed: ['a'], gone: [] });
  assert.deepEqual(ledger.findChanged(), { changed: [], gone: [] });
  assert.equal(ledger.assess('nobody'), undefined);
});

test('Events: a roll-out that begins, ends, or does not end; drift only where all was well', () => {
  const { announcer, events } = listen();
  const drifted = look({ facts: { fluentBit: undefined } });
  const failing: Assessment = { ...drifted, state: 'failing', drift: [] };
  announcer.announceStart(drifted);
  announcer.announceDone('labelCluster', drifted);
  announcer.announceDone('finishRollout', drifted);
  announcer.announceState(undefined, failing);
  announcer.announceState(undefined, drifted);
  announcer.announceState(look(), drifted);
  announcer.announceState(drifted, look());
  assert.deepEqual(
    events.map(({ type, reason, message }) => `${type} ${reason}: ${message}`),
    [
      'Normal AuditLoggingRolloutStarted: Secret audit-logs-fluentbit is missing',
      'Normal AuditLoggingRolledOut: audit logging is as it should be, and the apiservers are available',
      'Warning AuditLoggingRolloutFailing: the apiservers did not become available and audited in time: they are not available',
      'Warning AuditLoggingDrift: Secret audit-logs-fluentbit is missing',
    ],
  );
});

test('a paused roll-out is told on the clusters that stop it, in each datacenter, and once', () => {
  const { announcer, events, log } = listen();
  const one = (cluster: string, datacenter: string, state: Assessment['state']): Assessment => ({
    ...look(),
    cluster,
    datacenter,
    state,
  });
  const assessments = new Map([
    ['a', one('a', 'x', 'failing')],
    ['b', one('b', 'y', 'failing')],
    ['c', one('c', 'y', 'waiting')],
    ['d', one('d', 'z', 'failing')],
  ]);
  const progress = (paused: boolean): Progress => ({
    maxInFlight: 1,
    inFlight: 1,
    failing: 1,
    waiting: 1,
    paused,
  });
  const now = new Map([
    ['x', progress(true)],
    ['y', progress(true)],
    ['z', progress(false)],
  ]);
  announcer.announceProgress(new Map(), now, assessments.values());
  announcer.announceProgress(now, now, assessments.values());
  assert.deepEqual(
    events.map(({ cluster, reason }) => `${cluster} ${reason}`),
    ['a AuditLoggingRolloutPaused', 'b AuditLoggingRolloutPaused'],
  );
  announcer.announceProgress(now, new Map([['x', progress(false)]]), assessments.values());
  assert.deepEqual(
    log.withMessage('roll-out goes on').map(({ datacenter }) => datacenter),
    ['x'],
  );
});
