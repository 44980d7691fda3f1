/**
 * Months of rotations in a moment: two replicas, a clock that the test moves, short life times, and an API whose time jumps. After every step what a
 * replica serves must be what kube-apiserver trusts.
 */
import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { KubeClient } from '../../src/kube/client.ts';
import type { Secret } from '../../src/kubernetes.ts';
import { DAY, HOUR, Replica, SETTLE_MS, startWorld } from '../support/certificate-world.ts';
import { issueRsaCa } from '../support/certificates.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { plainCredentials, startStubApi } from '../support/stub-api.ts';

test('over three months of rotations, with leaders that change, what is served is trusted at every step', async (t) => {
  const { api, replicas, pass, assertBelieved, ca } = await startWorld(t);
  await pass(0);
  const seen = new Set<string>();
  let most = 0;
  for (let hours = 0; hours < 90 * 24; hours += 8) {
    const leader = Math.floor(hours / 100) % 2;
    for (const [i, replica] of replicas.entries()) replica.isLeader = i === leader;
    await pass(8 * HOUR);
    assertBelieved(`after ${hours} hours`);
    seen.add(ca());
    most = Math.max(most, ...api.trusted().map((bundle) => bundle.length));
  }
  assert.ok(seen.size >= 4 && seen.size <= 6, `${seen.size} CAs in 90 days, each of which signs for 20`);
  assert.equal(most, 2, 'never more than two are trusted');
});

for (const [name, jumpMs] of [
  ['40 days ahead', 40 * DAY],
  ['40 days back', -40 * DAY],
  ['10 years ahead', 3650 * DAY],
  ['an hour back', -HOUR],
] as const) {
  test(`when the time of kube-apiserver jumps ${name}, what is served is valid again within two looks`, async (t) => {
    const { api, pass, assertBelieved } = await startWorld(t);
    await pass(0);
    await pass(2 * DAY);
    api.world.wallMs += jumpMs;
    await pass(HOUR);
    await pass(2 * SETTLE_MS);
    assertBelieved('after the jump');
    api.world.wallMs -= jumpMs;
    await pass(HOUR);
    await pass(2 * SETTLE_MS);
    assertBelieved('after the way back');
  });
}

test('the clock of the machine has no say', async (t) => {
  const { pass, assertBelieved } = await startWorld(t);
  t.mock.timers.enable({ apis: ['Date'], now: Date.UTC(2040, 0, 1) });
  await pass(0);
  await pass(DAY);
  assertBelieved('fourteen years ahead');
});

const RSA_CA = await issueRsaCa();
const base64 = (text: string): string => Buffer.from(text).toString('base64');

for (const [name, breakSecret] of [
  [
    'of RSA',
    (secret: Secret) => ({
      ...secret,
      data: { 'ca.crt': base64(RSA_CA.cert), 'ca.key': base64(RSA_CA.key) },
    }),
  ],
  ['emptied', (secret: Secret) => ({ ...secret, data: {} })],
  ['another key', (secret: Secret) => ({ ...secret, data: { ...secret.data, 'ca.key': 'AAAA' } })],
  ['deleted', () => undefined],
] as const) {
  test(`a Secret that is ${name} takes no replica down, and is made anew`, async (t) => {
    const { api, replicas, pass, assertBelieved, ca } = await startWorld(t);
    await pass(0);
    await pass(DAY);
    const old = ca();
    const served = replicas.map((replica) => replica.served);
    api.world.secret = breakSecret(api.world.secret ?? {});
    replicas[0].isLeader = false;
    await pass(1000);
    if (api.world.secret !== undefined && name !== 'deleted')
      assert.deepEqual(
        replicas.map((replica) => replica.served),
        served,
        'without a leader all stays as it is',
      );
    assertBelieved('without a leader');
    replicas[1].isLeader = true;
    await pass(1000);
    assertBelieved('as soon as somebody leads');
    await pass(2 * SETTLE_MS);
    await pass(2 * SETTLE_MS);
    assertBelieved('at last');
    assert.notEqual(ca(), old);
    for (const [i, replica] of replicas.entries()) assert.notEqual(replica.served, served[i]);
    await pass(6 * HOUR);
    await pass(6 * HOUR);
    assert.deepEqual(
      new Set(api.trusted().map((bundle) => bundle.length)),
      new Set([1]),
      'the old one is dropped',
    );
    assertBelieved('when the old one is gone');
  });
}

test('a key in another spelling signs as before', async (t) => {
  const { api, replicas, pass, assertBelieved, ca, startReplica } = await startWorld(t);
  await pass(0);
  const before = ca();
  const data = api.world.secret?.data ?? {};
  const key = createPrivateKey(Buffer.from(data['ca.key'] ?? '', 'base64'));
  const sec1 = key.export({ type: 'sec1', format: 'pem' }).toString();
  api.world.secret = { ...api.world.secret, data: { ...data, 'ca.key': base64(sec1) } };
  for (const { registrar } of replicas) await registrar.tick();
  const late = startReplica();
  await late.registrar.tick();
  assert.ok(late.served);
  assertBelieved('afterwards');
  assert.equal(ca(), before);
});

test('a replaced CA is trusted for its whole time after it has signed last, however long ago the next one was published', async (t) => {
  const { api, clock, replicas, pass, assertBelieved, requestCa } = await startWorld(t);
  await pass(0);
  await pass(DAY);
  requestCa();
  await pass(1000);
  api.world.isAway = true;
  await pass(6 * HOUR);
  api.world.isAway = false;
  const served = replicas[1].served;
  for (let looks = 0; looks < 3; looks += 1) {
    await replicas[0].registrar.tick();
    clock.advance(30_000);
  }
  assert.notEqual(replicas[0].served, undefined);
  assert.equal(replicas[1].served, served, 'the other one has not looked');
  assertBelieved('while the other one has not looked');
  await pass(4 * HOUR);
  assert.equal(api.trusted()[0]?.length, 2);
  await pass(2 * HOUR);
  assert.equal(api.trusted()[0]?.length, 1);
  assertBelieved('at last');
});

test('who asks for a CA while one is being replaced gets one that is made after that', async (t) => {
  const { api, pass, assertBelieved, ca, requestCa } = await startWorld(t);
  await pass(0);
  await pass(DAY);
  requestCa();
  await pass(1000);
  const early = Buffer.from(api.world.secret?.data?.['next.crt'] ?? '', 'base64').toString();
  assert.match(early, /BEGIN CERTIFICATE/);
  requestCa();
  for (let hours = 0; hours < 12; hours += 1) {
    await pass(HOUR);
    assertBelieved(`after ${hours} hours`);
  }
  assert.notEqual(ca(), early);
  assert.deepEqual(api.world.secret?.metadata?.annotations, {});
});

test('an end does not wait for a kube-apiserver that does not answer', async (t) => {
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  const api = await startStubApi(t, () => resolve());
  const client = new KubeClient(plainCredentials(api.url));
  t.after(() => client.close());
  const { registrar } = new Replica(client, new FakeClock());
  registrar.start();
  await asked;
  await registrar.close();
  assert.match(registrar.problem() ?? '', /webhookconfigurations.*given up/);
});

test('while kube-apiserver is away all stays as it is, and goes on afterwards', async (t) => {
  const { api, replicas, pass, assertBelieved } = await startWorld(t);
  await pass(0);
  await pass(DAY);
  const served = replicas.map((replica) => replica.served);
  api.world.isAway = true;
  await pass(25 * DAY);
  assert.deepEqual(
    replicas.map((replica) => replica.served),
    served,
  );
  assert.match(replicas[0].registrar.problem() ?? '', /no answer/);
  api.world.isAway = false;
  for (let i = 0; i < 6; i++) {
    await pass(2 * HOUR);
    assertBelieved('back again');
  }
  assert.notDeepEqual(
    replicas.map((replica) => replica.served),
    served,
    'the rotation that was due',
  );
  assert.equal(replicas[0].registrar.problem(), undefined);
});

test('of two that take themselves for the leader each write of only one counts', async (t) => {
  const { replicas, pass, assertBelieved } = await startWorld(t);
  for (const replica of replicas) replica.isLeader = true;
  await Promise.all(replicas.map(({ registrar }) => registrar.tick()));
  await Promise.all(replicas.map(({ registrar }) => registrar.tick()));
  await pass(SETTLE_MS);
  assertBelieved('after the beginning');
  for (let days = 0; days < 40; days += 1) {
    await pass(DAY / 2);
    await Promise.all(replicas.map(({ registrar }) => registrar.tick()));
    await pass(DAY / 2);
    assertBelieved(`after ${days} days`);
  }
});

test('when the hooks call another Service, replicas have its name and the former one', async (t) => {
  const { api, replicas, pass, assertBelieved } = await startWorld(t);
  await pass(0);
  api.setService({ name: 'auditor', namespace: 'own' });
  await pass(1000);
  for (const { served } of replicas) {
    const leaf = new X509Certificate(served?.cert ?? '');
    for (const name of ['auditor.own.svc', 'hooks.own.svc']) assert.equal(leaf.checkHost(name), name);
  }
  const served = replicas.map((replica) => replica.served);
  await pass(1000);
  assert.deepEqual(
    replicas.map((replica) => replica.served),
    served,
    'once is enough',
  );
  assertBelieved('afterwards');
});
