/** Faults of replicas and of what they live on, under a constant load of writes on a real kube-apiserver. Short here; `npm run soak` runs them at length. */
import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { LEASE_NAME } from '../../src/controller/start.ts';
import type { Secret } from '../../src/kubernetes.ts';
import { isReady } from '../support/balancer.ts';
import { BASE_PROGRAMS } from '../support/binaries.ts';
import { startChild } from '../support/children.ts';
import { assertFlawless, type FaultWorld, IS_SOAK, progress, startFaultWorld } from '../support/faults.ts';
import { RELEASE, skipWithoutHelm } from '../support/helm.ts';
import type { Replica } from '../support/installation.ts';
import { until } from '../support/wait.ts';
import { skipWithoutWrongClock, wrongClock } from '../support/wrong-clock.ts';

const skip = await skipWithoutHelm('faults on a real kube-apiserver', BASE_PROGRAMS);

const RESTARTS = Number(process.env.SOAK_RESTARTS || (IS_SOAK ? 100 : 2));
/** A start takes a core for a while: at once after another, they would be all that the machine does. */
const BETWEEN_WRITES = IS_SOAK ? 1200 : 10;
const ROTATIONS = IS_SOAK ? 20 : 1;
/** On cores that others want three times over. */
const BUSY_WRITES_PER_SECOND = IS_SOAK ? 25 : 10;
const BUSY_WRITES = IS_SOAK ? 3000 : 30;
const WAIT_MS = 120_000;

const OWN_NAMESPACE = `/api/v1/namespaces/${RELEASE.namespace}`;
const SECRET = `${OWN_NAMESPACE}/secrets/kkp-audit-webhook-ca`;
const LEASE = `/apis/coordination.k8s.io/v1/namespaces/${RELEASE.namespace}/leases/${LEASE_NAME}`;

interface Lease {
  readonly spec?: { readonly holderIdentity?: string };
}

describe('faults of replicas', { skip }, () => {
  let world: FaultWorld;

  before(async () => {
    world = await startFaultWorld();
  });
  after(() => world?.stop());

  const readCa = async () => (await world.seed.client.find<Secret>(SECRET))?.data ?? {};
  /** @returns the Secret's data once it holds one CA alone, which is none of these (base64): every step of a rotation is done */
  const waitForOneCa = async (...others: (string | undefined)[]) => {
    let data = await readCa();
    await until(
      'a CA to sign, and the one before it to be dropped',
      async () => {
        data = await readCa();
        return Object.keys(data).sort().join() === 'ca.crt,ca.key' && !others.includes(data['ca.crt']);
      },
      WAIT_MS,
    );
    return data;
  };
  /** What the leader says of itself in its metrics. */
  const leads = async ({ opsUrl }: Replica): Promise<boolean> =>
    /^kkp_audit_webhook_controller_leader 1$/m.test(await (await fetch(`${opsUrl}/metrics`)).text());
  const leaders = async (): Promise<number> =>
    (await Promise.all(world.replicas.map(leads))).filter(Boolean).length;

  test('rolling restarts fail no write and leave none unjudged', async (t) => {
    const { installation, replicas } = world;
    const result = await world.underLoad(t, async (load) => {
      for (let i = 1; i <= RESTARTS; i++) {
        const old = replicas.shift();
        replicas.push(await world.start());
        await until('the new replica to get requests', () => installation.balancer.ready === 3);
        if (old !== undefined) await installation.endReplica(old);
        const before = load.judged;
        await until('writes to be judged by these', () => load.judged >= before + BETWEEN_WRITES, WAIT_MS);
        progress(`restart ${i} of ${RESTARTS}`);
      }
    });
    assertFlawless(result);
  });

  test('rotations of the certificate fail no write and leave none unjudged', async (t) => {
    const result = await world.underLoad(t, async () => {
      for (let i = 1; i <= ROTATIONS; i++) {
        const old = (await readCa())['ca.crt'];
        await world.seed.client.request('PATCH', SECRET, {
          metadata: { annotations: { 'audit.kubermatic.k8c.io/rotate': 'now' } },
        });
        await waitForOneCa(old);
        progress(`rotation ${i} of ${ROTATIONS}`);
      }
    });
    assertFlawless(result);
  });

  test('a Secret with a broken CA fails no write, and is made anew', async (t) => {
    const old = (await readCa())['ca.crt'];
    const broken = Buffer.from('no certificate').toString('base64');
    const result = await world.underLoad(t, async () => {
      await world.seed.client.request('PATCH', SECRET, { data: { 'ca.crt': broken } });
      await waitForOneCa(old, broken);
    });
    assertFlawless(result);
  });

  test('a replica that is killed leaves no write unjudged, and the other one goes on', async (t) => {
    const { unjudged, failed, judged } = await world.underLoad(t, async (load) => {
      const killed = world.replicas.shift();
      await killed?.child.stop('SIGKILL');
      if (killed !== undefined) world.installation.balancer.remove(killed);
      const before = load.judged;
      await until('the other one to judge', () => load.judged > before + 10);
    });
    world.replicas.push(await world.start());
    await until('both replicas to be in the balancer', () => world.installation.balancer.ready === 2);
    // Only what was under way in the killed one: kube-apiserver calls a hook once. What failurePolicy Ignore lets past the mutating one, the
    // validating ones see; KKP's writes and pods have only that one, and are what the Pod hook and the backstop are for.
    const isOfPlatform = (write: string): boolean => /^a (?:Deployment of KKP|pod):/.test(write);
    assert.deepEqual(
      unjudged.filter((write) => !isOfPlatform(write)),
      [],
    );
    for (const failure of failed) assert.match(failure, /failed calling webhook|denied the request/);
    assert.ok(judged > 0);
    assert.ok(failed.length + unjudged.length <= judged / 10, `${failed.length} failed: ${failed[0]}`);
  });

  test('when the Lease is lost, another leader is found, and no write fails', async (t) => {
    await until('one to lead', async () => (await leaders()) === 1, WAIT_MS);
    const { client } = world.seed;
    const { spec } = await client.request<Lease>('GET', LEASE);
    const result = await world.underLoad(t, async () => {
      await client.request('PATCH', LEASE, {
        spec: { holderIdentity: 'somebody-else', leaseDurationSeconds: 1, renewTime: null },
      });
      await until(
        'the leader to give up, and one to lead again',
        async () => {
          const now = await client.request<Lease>('GET', LEASE);
          return now.spec?.holderIdentity !== 'somebody-else' && (await leaders()) === 1;
        },
        WAIT_MS,
      );
      await client.request('DELETE', LEASE);
      await until(
        'a Lease to be there again, and one to lead',
        async () => {
          const now = await client.find<Lease>(LEASE);
          return now?.spec?.holderIdentity !== undefined && (await leaders()) === 1;
        },
        WAIT_MS,
      );
    });
    assert.notEqual(spec?.holderIdentity, undefined);
    assertFlawless(result);
  });

  test('on cores that are busy with something else, nothing fails', async (t) => {
    const result = await world.underLoad(
      t,
      async (load) => {
        const hogs = Array.from({ length: 2 * availableParallelism() }, (_, i) =>
          startChild({
            name: `hog-${i}`,
            command: process.execPath,
            args: ['-e', 'for (;;);'],
            logFile: join(world.seed.dir, `hog-${i}.log`),
          }),
        );
        try {
          const before = load.judged;
          await until(
            'writes to be judged beside them',
            () => load.judged > before + BUSY_WRITES,
            WAIT_MS * 5,
          );
        } finally {
          await Promise.all(hogs.map((hog) => hog.stop()));
        }
      },
      BUSY_WRITES_PER_SECOND,
    );
    for (const { opsUrl } of world.replicas) assert.equal(await isReady(opsUrl), true);
    assertFlawless(result);
  });

  test('replicas whose clock is 40 days ahead are believed, judge and lead', {
    skip: skipWithoutWrongClock(),
  }, async (t) => {
    const { installation, replicas } = world;
    const before = await waitForOneCa();
    const result = await world.underLoad(t, async (load) => {
      const others = replicas.splice(0);
      for (let i = 0; i < others.length; i++) replicas.push(await world.start({ env: wrongClock(40) }));
      await until('the new replicas to get requests', () => installation.balancer.ready === 4);
      for (const other of others) await installation.endReplica(other);
      await until('one with that clock to lead', async () => (await leaders()) === 1, WAIT_MS);
      const judged = load.judged;
      await until('them to judge', () => load.judged > judged + 50, WAIT_MS);
    });
    assertFlawless(result);
    const logs = replicas.map(({ child }) => child.logTail()).join('\n');
    const aheadMs = Date.parse(/"time":"([^"]+)"/.exec(logs)?.[1] ?? '') - Date.now();
    assert.ok(aheadMs > 39 * 86_400_000, 'their clock is ahead');
    assert.deepEqual(await readCa(), before, 'the CA was not replaced for it');
  });
});
