/** Faults of the network and of kube-apiserver, under a constant load of writes on a real one. Short here; `npm run soak` runs them at length. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { isReady } from '../support/balancer.ts';
import { BASE_PROGRAMS, NETWORK_PROGRAMS } from '../support/binaries.ts';
import { assertFlawless, CLUSTER, type FaultWorld, IS_SOAK, startFaultWorld } from '../support/faults.ts';
import { renderKkp } from '../support/fixtures.ts';
import { skipWithoutHelm } from '../support/helm.ts';
import { IDENTITIES } from '../support/identities.ts';
import { startToxiproxy, type Toxic, type ToxicProxy, type Toxiproxy } from '../support/toxiproxy.ts';
import { until } from '../support/wait.ts';

const skip = await skipWithoutHelm('faults of the network', [...BASE_PROGRAMS, ...NETWORK_PROGRAMS]);

const AWAY_MS = IS_SOAK ? 300_000 : 3000;
/** kube-apiserver takes 3 MiB at most. */
const LARGE_BYTES = 2_900_000;
const LARGE_WRITES = IS_SOAK ? 40 : 6;
/** Of each kind of slow ones. */
const CLIENTS = IS_SOAK ? 200 : 20;
const WAIT_MS = 120_000;

const HEAD = 'POST /validate?timeout=5s HTTP/1.1\r\nhost: slow\r\ncontent-type: application/json\r\n';
/** Whatever is sent is swallowed, and the connection stays. */
const SILENCE: Toxic = { type: 'timeout', attributes: { timeout: 0 } };
/** 1 KB a second. */
const SLOWNESS: Toxic = { type: 'bandwidth', attributes: { rate: 1 } };

/** Clients that hold on to the server without sending a request that ends. */
const SLOW_CLIENTS: readonly {
  readonly what: string;
  readonly connect: (proxy: ToxicProxy) => Promise<Socket>;
  /** Sent while the line is still good. */
  readonly begins: string;
  readonly toxic: Toxic;
  readonly goesOn: string;
}[] = [
  {
    what: 'of the handshake nothing arrives',
    connect: async ({ port }) => connectTcp(port, '127.0.0.1'),
    begins: '',
    toxic: SILENCE,
    goesOn: '\x16\x03\x01',
  },
  { what: 'the head never ends', connect: shakeHands, begins: HEAD, toxic: SILENCE, goesOn: '\r\n' },
  {
    what: 'the body takes minutes',
    connect: shakeHands,
    begins: `${HEAD}content-length: 1000000\r\n\r\n{"kind":"`,
    toxic: SLOWNESS,
    goesOn: 'x'.repeat(500_000),
  },
];

async function shakeHands({ port }: ToxicProxy): Promise<Socket> {
  const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  return socket;
}

describe('faults of the network', { skip }, () => {
  let world: FaultWorld;
  let toxiproxy: Toxiproxy;

  before(async () => {
    world = await startFaultWorld();
    toxiproxy = await startToxiproxy(world.seed.dir);
  });
  after(async () => {
    await toxiproxy?.stop();
    await world?.stop();
  });

  test('while kube-apiserver is away from the replicas they go on judging, and stay ready', async (t) => {
    const { unjudged, failed, judged } = await world.underLoad(t, async () => {
      world.network.cut();
      await sleep(AWAY_MS);
      for (const { opsUrl } of world.replicas) assert.equal(await isReady(opsUrl), true);
      world.network.mend();
    });
    assert.deepEqual(unjudged, []);
    assert.ok(judged > 0);
    // Whether an attempt is one of an operator's can't be found out meanwhile: an error, which Fail turns into a refusal.
    const isUndecided = (failure: string): boolean =>
      /^(?:audit logging switched off|the policy deleted): 500 .*failed calling webhook/.test(failure);
    assert.deepEqual(
      failed.filter((failure) => !isUndecided(failure)),
      [],
    );
  });

  test('when kube-apiserver restarts, nothing goes past the hooks', async (t) => {
    const { unjudged, judged } = await world.underLoad(t, () => world.seed.restartApiserver());
    assert.deepEqual(unjudged, []);
    assert.ok(judged > 0);
  });

  test('bodies of 3 MB in parallel are judged, and hold nobody up', async (t) => {
    const result = await world.underLoad(t, async () => {
      const alice = world.seed.client.as(IDENTITIES.alice);
      const large = renderKkp({ cluster: CLUSTER });
      const [container] = large.spec.template.spec.containers;
      Object.assign(container ?? {}, { env: [{ name: 'PADDING', value: 'x'.repeat(LARGE_BYTES) }] });
      const body = JSON.stringify(large);
      const path = `/apis/apps/v1/namespaces/cluster-${CLUSTER}/deployments?dryRun=All`;
      const write = () => alice.send('POST', path, body);
      for (let i = 0; i < LARGE_WRITES; i += 3) {
        const answers = await Promise.all([write(), write(), write()]);
        for (const { status, body } of answers) {
          const text = JSON.stringify(body);
          assert.equal(status, 201, text.slice(0, 300));
          assert.ok(text.includes('"audit-logs"'), 'it was completed');
        }
      }
    });
    assertFlawless(result);
  });

  for (const { what, connect, begins, toxic, goesOn } of SLOW_CLIENTS)
    test(`clients of which ${what} hold nobody up, and are sent away`, async (t) => {
      const result = await world.underLoad(t, async () => {
        const sentAway = Array.from({ length: CLIENTS }, async (_, i) => {
          const { port } = world.replicas[i % world.replicas.length] ?? assert.fail('there is no replica');
          const proxy = await toxiproxy.proxy(port);
          const socket = await connect(proxy);
          const closed = new Promise((resolve) => socket.once('close', resolve));
          socket.on('error', () => undefined).resume();
          socket.write(begins);
          await proxy.addToxic(toxic);
          socket.write(goesOn);
          await closed;
        });
        await Promise.all(sentAway);
      });
      assertFlawless(result);
    });

  test('a slow line between kube-apiserver and the replicas loses no write', async (t) => {
    const { installation, replicas, start } = world;
    const result = await world.underLoad(t, async (load) => {
      const old = replicas.splice(0);
      for (const _ of old) {
        const replica = await start();
        replicas.push(replica);
        const { port } = await toxiproxy.proxy(replica.port, [
          { type: 'latency', attributes: { latency: 100, jitter: 50 } },
          { type: 'slicer', attributes: { average_size: 1000, size_variation: 500, delay: 10 } },
        ]);
        installation.balancer.remove(replica);
        installation.balancer.add({ port, opsUrl: replica.opsUrl });
      }
      await until('the new replicas to get requests', () => installation.balancer.ready === 4);
      for (const replica of old) await installation.endReplica(replica);
      const before = load.judged;
      await until('writes to be judged by them', () => load.judged > before + 50, WAIT_MS);
    });
    assertFlawless(result);
  });
});
