/** Replicas that have their certificates from different sources, as in the roll-out of another `tls.mode`. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { issueCa } from '../../src/certificates.ts';
import { splitCertificates } from '../../src/certs/authority.ts';
import { HOUR, startWorld } from '../support/certificate-world.ts';

/** Of files that somebody else writes. */
async function filesCa(): Promise<{ cert: string; tick(): Promise<string[]> }> {
  const { cert } = await issueCa({ days: 365, now: new Date(Date.UTC(2026, 0, 1)) });
  const [spelt = ''] = splitCertificates(cert);
  return { cert: spelt, tick: async () => [spelt] };
}

test('from the own CA to files: the new replica is trusted beside the old ones, which go, and their CA an hour later', async (t) => {
  const { api, clock, replicas, pass, assertBelieved, startReplica } = await startWorld(t);
  await pass(0);
  const [own = []] = api.trusted();
  const { cert, ...source } = await filesCa();
  const late = startReplica(source);
  await late.registrar.tick();
  for (let looks = 0; looks < 3; looks += 1) {
    await pass(1000);
    await late.registrar.tick();
    assertBelieved('the old ones');
    for (const bundle of api.trusted()) assert.deepEqual(new Set(bundle), new Set([...own, cert]));
  }
  replicas[0].isLeader = false;
  late.isLeader = true;
  await late.registrar.tick();
  for (const bundle of api.trusted()) assert.deepEqual(new Set(bundle), new Set([...own, cert]));
  clock.advance(HOUR + 1);
  await late.registrar.tick();
  for (const bundle of api.trusted()) assert.deepEqual(bundle, [cert]);
});

test('from files to the own CA: a replica that does not lead makes the Secret and is trusted', async (t) => {
  const { api, replicas, startReplica } = await startWorld(t);
  const { cert, ...source } = await filesCa();
  const old = startReplica(source);
  old.isLeader = true;
  replicas[0].isLeader = false;
  await old.registrar.tick();
  await replicas[0].registrar.tick();
  await old.registrar.tick();
  const { served } = replicas[0];
  assert.ok(served);
  for (const bundle of api.trusted()) {
    assert.ok(bundle.includes(cert));
    assert.ok(
      bundle.some((ca) => new X509Certificate(served.cert).verify(new X509Certificate(ca).publicKey)),
    );
  }
});

test('two replicas that go on to disagree do not write in turns for ever', async (t) => {
  const { api, clock, replicas, pass, startReplica } = await startWorld(t);
  await pass(0);
  const [own] = api.trusted();
  const { cert, ...source } = await filesCa();
  const stray = startReplica(source);
  for (let minutes = 0; minutes <= 60; minutes += 5) {
    await stray.registrar.tick();
    await replicas[0].registrar.tick();
    assert.equal(api.trusted()[0]?.includes(cert), minutes < 60, `after ${minutes} minutes`);
    clock.advance(HOUR / 12);
  }
  await stray.registrar.tick();
  for (const bundle of api.trusted()) assert.deepEqual(bundle, own);
});
