/**
 * The staged roll-out of a datacenter's switch, on a real kube-apiserver with real controllers: never more than the budget, stopped by failures,
 * going on by itself, and continued by another leader after a kill -9. `SOAK=1` makes it 200 clusters; `npm test` makes do with few.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { request } from 'undici';
import { findUnaudited } from '../support/audited.ts';
import { skipWithoutControlPlane } from '../support/binaries.ts';
import { ALL_PROGRAMS, type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import type { Deployment } from '../support/fixture-types.ts';
import { renderKkp } from '../support/fixtures.ts';
import {
  addNodes,
  CLUSTERS_PATH,
  createCluster,
  prepareSeed,
  renderSeed,
  SEEDS_PATH,
} from '../support/seed.ts';
import { until } from '../support/wait.ts';
import { startWebhookServer, type WebhookServer } from '../support/webhook-server.ts';
import { registerWebhooks } from '../support/webhooks.ts';

const SOAK = process.env.SOAK === '1';
const CLUSTERS = SOAK ? 200 : 8;
const MAX_IN_FLIGHT = SOAK ? 10 : 3;
const MAX_FAILURES = SOAK ? 3 : 2;
const LIMIT_MS = SOAK ? 1_500_000 : 120_000;
const TIMEOUT_SECONDS = SOAK ? 30 : 6;
const CONFIG = JSON.stringify({
  defaults: {
    rollout: {
      maxInFlight: MAX_IN_FLIGHT,
      maxFailures: MAX_FAILURES,
      timeoutSeconds: TIMEOUT_SECONDS,
      graceSeconds: 1,
    },
  },
});
const ROLLOUT = 'audit.kubermatic.k8c.io/rollout';

interface Status {
  readonly observedGeneration?: number;
  readonly replicas?: number;
  readonly updatedReplicas?: number;
  readonly availableReplicas?: number;
}

interface StoredCluster {
  readonly metadata: { readonly name: string; readonly annotations?: Record<string, string> };
}

function isComplete({ metadata, status }: Deployment): boolean {
  const { observedGeneration, replicas, updatedReplicas, availableReplicas } = (status ?? {}) as Status;
  return (
    observedGeneration === metadata.generation &&
    [replicas, updatedReplicas, availableReplicas].every((count) => count === 2)
  );
}

describe('the staged roll-out', {
  skip: await skipWithoutControlPlane(`the roll-out of a switch to ${CLUSTERS} clusters`, ALL_PROGRAMS),
}, () => {
  let seed: ControlPlane;
  const servers: WebhookServer[] = [];
  const names = Array.from({ length: CLUSTERS }, (_, i) => `c${String(i).padStart(3, '0')}`);
  const stuck = names.slice(0, MAX_FAILURES);

  before(async () => {
    seed = await startControlPlane({ controllers: true, kwok: true });
    await prepareSeed(seed.client);
    await addNodes(seed.client, Math.ceil(CLUSTERS / 30) + 2);
    await seed.client.request('POST', SEEDS_PATH, renderSeed({ dc: {} }));
    for (const name of names) {
      await createCluster(seed.client, { name, datacenter: 'dc' });
      const path = `/apis/apps/v1/namespaces/cluster-${name}/deployments`;
      await seed.client.request('POST', path, renderKkp({ cluster: name }));
    }
    await until('the old Deployments', async () => (await deployments()).every(isComplete), LIMIT_MS);
  });
  after(async () => {
    await Promise.all(servers.map((server) => server.stop()));
    await seed?.stop();
  });

  async function deployments(): Promise<Deployment[]> {
    const query = 'fieldSelector=metadata.name%3Dapiserver';
    return (await seed.client.request<{ items: Deployment[] }>('GET', `/apis/apps/v1/deployments?${query}`))
      .items;
  }
  async function inFlight(): Promise<string[]> {
    const { items } = await seed.client.request<{ items: StoredCluster[] }>('GET', CLUSTERS_PATH);
    return items
      .filter(({ metadata }) => metadata.annotations?.[ROLLOUT] !== undefined)
      .map(({ metadata }) => metadata.name);
  }
  async function start(...args: string[]): Promise<WebhookServer> {
    const server = await startWebhookServer(seed, { config: CONFIG, args });
    servers.push(server);
    return server;
  }
  async function metric(server: WebhookServer, name: string): Promise<number> {
    const { body } = await request(`${server.opsUrl}/metrics`);
    const line = (await body.text()).split('\n').find((text) => text.startsWith(`kkp_audit_webhook_${name}`));
    return Number(line?.split(' ').at(-1));
  }

  /** How many Deployments were being rolled at once, at most, as somebody sees it who looks again and again. */
  function observe() {
    const stopping = new AbortController();
    let most = 0;
    const watching = (async () => {
      while (!stopping.signal.aborted) {
        const rolling = (await deployments()).filter(
          (deployment) => (deployment.metadata.generation ?? 0) > 1 && !isComplete(deployment),
        );
        most = Math.max(most, rolling.length);
        await delay(SOAK ? 500 : 25);
      }
    })();
    return {
      async end(): Promise<number> {
        stopping.abort();
        await watching;
        return most;
      },
    };
  }

  test('never more than the budget; stopped by failures; goes on when they recover; survives a kill -9', async () => {
    const hooks = await start('--no-controller');
    await registerWebhooks(seed.client, hooks);
    const leader = await start();
    // A roll-out needs a third pod for a moment, which is not allowed here.
    const full = { hard: { pods: '2' }, used: { pods: '2' } };
    for (const name of stuck) {
      const path = `/api/v1/namespaces/cluster-${name}/resourcequotas`;
      await seed.client.request('POST', path, { metadata: { name: 'full' }, spec: { hard: full.hard } });
      await seed.client.request('PATCH', `${path}/full/status`, { status: full });
    }
    const observed = observe();
    await seed.client.request('PATCH', `${SEEDS_PATH}/kubermatic`, {
      spec: { datacenters: { dc: { spec: { enforceAuditLogging: true } } } },
    });

    await until('the roll-out to stop', async () => (await metric(leader, 'rollout_paused')) === 1, LIMIT_MS);
    await until(
      'the others in flight to end',
      async () => (await inFlight()).every((name) => stuck.includes(name)),
      LIMIT_MS,
    );
    assert.deepEqual(await inFlight(), stuck);
    const waiting = await metric(leader, 'rollout_waiting');
    assert.ok(waiting > 0, 'some clusters still wait');
    const untouched = (await deployments()).filter(({ metadata }) => metadata.generation === 1);
    assert.ok(untouched.length >= waiting - MAX_FAILURES && untouched.length > 0);
    await until('an Event that says so', async () => {
      const { items } = await seed.client.request<{
        items: { reason: string; regarding: { name: string } }[];
      }>('GET', '/apis/events.k8s.io/v1/namespaces/default/events');
      const told = items.filter(({ reason }) => reason === 'AuditLoggingRolloutPaused');
      return stuck.every((name) => told.some(({ regarding }) => regarding.name === name));
    });

    for (const name of stuck)
      await seed.client.request('DELETE', `/api/v1/namespaces/cluster-${name}/resourcequotas/full`);
    // The Deployment controller tries again after a while; a change of the Deployment's labels makes it look at once.
    for (const name of stuck)
      await seed.client.request('PATCH', `/apis/apps/v1/namespaces/cluster-${name}/deployments/apiserver`, {
        metadata: { labels: { 'test/quota': 'gone' } },
      });
    await until(
      'the roll-out to go on',
      async () => (await metric(leader, 'rollout_paused')) === 0,
      LIMIT_MS,
    );
    await until(
      'more clusters in flight',
      async () => (await inFlight()).some((name) => !stuck.includes(name)),
      LIMIT_MS,
    );

    await leader.child.stop('SIGKILL');
    await start();
    await until(
      'every cluster to be audited',
      async () => {
        if ((await inFlight()).length > 0) return false;
        const all = await deployments();
        return all.every((deployment) => isComplete(deployment) && (deployment.metadata.generation ?? 0) > 1);
      },
      LIMIT_MS,
    );
    const most = await observed.end();
    assert.ok(most <= MAX_IN_FLIGHT, `${most} at a time`);
    assert.ok(most > 1, 'and not one by one');
    for (const name of names)
      assert.deepEqual(await findUnaudited(seed.client, name), [[], []], `pods of ${name}`);
    assert.deepEqual(
      (await deployments())
        .filter(({ metadata }) => metadata.generation !== 2)
        .map(({ metadata }) => metadata.namespace),
      [],
      'each Deployment was changed once',
    );
  });
});
