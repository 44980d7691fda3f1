/** The owner is never fought: the test owner reconciles beside hooks and controller, on a real kube-apiserver with real controllers. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ApiError } from '../support/api-client.ts';
import { findUnaudited, livePods } from '../support/audited.ts';
import { skipWithoutControlPlane } from '../support/binaries.ts';
import { ALL_PROGRAMS, type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import type { AuditLogging } from '../support/fixture-types.ts';
import { Owner, type OwnerOptions, type Pass } from '../support/owner.ts';
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
import { registerWebhooks, unregisterWebhooks } from '../support/webhooks.ts';

const PASSES = 20;
const SEED_PATH = `${SEEDS_PATH}/kubermatic`;
const CONFIG = 'defaults: { rollout: { graceSeconds: 1, timeoutSeconds: 60 } }';

const CHECKSUM = 'audit.kubermatic.k8c.io/policy-checksum';

interface StoredCluster {
  readonly metadata: { readonly annotations?: Record<string, string> };
  readonly spec: { readonly auditLogging?: AuditLogging };
}

/** As the Deployment controller says once it has nothing more to write. */
function isRolledOut(deployment: Awaited<ReturnType<Owner['deployment']>>): boolean {
  const status = (deployment?.status ?? {}) as {
    observedGeneration?: number;
    replicas?: number;
    updatedReplicas?: number;
    availableReplicas?: number;
    terminatingReplicas?: number;
    conditions?: { type: string; reason: string }[];
  };
  return (
    status.observedGeneration === deployment?.metadata.generation &&
    [status.replicas, status.updatedReplicas, status.availableReplicas].every((count) => count === 2) &&
    (status.terminatingReplicas ?? 0) === 0 &&
    status.conditions?.find(({ type }) => type === 'Progressing')?.reason === 'NewReplicaSetAvailable'
  );
}

describe('the owner is never fought', {
  skip: await skipWithoutControlPlane(
    '20 passes of the test owner beside hooks and controller',
    ALL_PROGRAMS,
  ),
}, () => {
  let seed: ControlPlane;
  let server: WebhookServer;

  before(async () => {
    seed = await startControlPlane({ controllers: true, kwok: true });
    await prepareSeed(seed.client);
    await addNodes(seed.client);
    const datacenters = Object.fromEntries(
      ['kkp', 'never'].flatMap((rendering) => [
        [`enforcing-${rendering}`, { enforceAuditLogging: true }],
        [`switched-${rendering}`, {}],
        [`old-${rendering}`, {}],
        [`free-${rendering}`, {}],
      ]),
    );
    await seed.client.request('POST', SEEDS_PATH, renderSeed(datacenters));
    server = await startWebhookServer(seed, { config: CONFIG });
    await registerWebhooks(seed.client, server);
  });
  after(async () => {
    await server?.stop();
    await seed?.stop();
  });

  const enforce = (datacenter: string, enforceAuditLogging: boolean) =>
    seed.client.request('PATCH', SEED_PATH, {
      spec: { datacenters: { [datacenter]: { spec: { enforceAuditLogging } } } },
    });
  const readCluster = (name: string) => seed.client.request<StoredCluster>('GET', `${CLUSTERS_PATH}/${name}`);

  /** Until the controller has nothing left to do about the cluster, the owner passing all the while. */
  async function settle(owner: Owner, name: string, isAudited: boolean): Promise<void> {
    const rendering = name.split('-').at(-1);
    await until(
      `${name} to be ${isAudited ? '' : 'not '}audited`,
      async () => {
        const { outcome } = await owner.pass();
        if (outcome !== 'unchanged') return false;
        const cluster = await readCluster(name);
        if (cluster.metadata.annotations?.['audit.kubermatic.k8c.io/rollout'] !== undefined) return false;
        const deployment = await owner.deployment();
        if (!isRolledOut(deployment)) return false;
        // Where no owner does, the controller notes which policy the pods have read.
        const isNoted = deployment?.metadata.annotations?.[CHECKSUM] !== undefined;
        if (isNoted !== (isAudited && rendering === 'never')) return false;
        return (await findUnaudited(seed.client, name)).every((problems) =>
          isAudited ? problems.length === 0 : problems.includes('no sidecar'),
        );
      },
      90_000,
    );
  }

  /** 20 passes, of which the last 10 change nothing. */
  async function fixedPoint(owner: Owner): Promise<void> {
    await owner.run(PASSES / 2);
    const before = await owner.deployment();
    const passes = await owner.run(PASSES / 2);
    const after = await owner.deployment();
    assert.deepEqual(
      passes.filter(({ outcome }) => outcome !== 'unchanged'),
      [],
    );
    assert.equal(after?.metadata.generation, before?.metadata.generation);
    assert.equal(after?.metadata.resourceVersion, before?.metadata.resourceVersion);
  }

  /** That somebody wrote between an owner's look and its Update is daily life: it looks again. */
  const isFault = ({ outcome, error }: Pass): boolean =>
    outcome === 'failed-wait' ||
    (outcome === 'error' && !(error instanceof ApiError && error.status === 409));
  const noFault = (owner: Owner) => assert.deepEqual(owner.passes.filter(isFault), []);

  for (const rendering of ['kkp', 'never'] satisfies OwnerOptions['rendering'][]) {
    describe(`rendering ${rendering}`, () => {
      const create = async (name: string, datacenter: string, auditLogging?: AuditLogging) => {
        await createCluster(seed.client, {
          name,
          datacenter,
          ...(auditLogging === undefined ? {} : { auditLogging }),
        });
        return new Owner(seed.client, { cluster: name, rendering });
      };

      test('a new cluster of an enforcing datacenter', async () => {
        const name = `new-${rendering}`;
        const owner = await create(name, `enforcing-${rendering}`);
        await settle(owner, name, true);
        assert.ok(owner.updates <= 1, `${owner.updates} Updates`);
        await fixedPoint(owner);
        noFault(owner);
      });

      test('a cluster whose datacenter switches enforcement on and off again', async () => {
        const name = `switched-${rendering}`;
        const owner = await create(name, `switched-${rendering}`);
        await settle(owner, name, false);
        const first = owner.updates;
        await enforce(`switched-${rendering}`, true);
        await settle(owner, name, true);
        assert.ok(owner.updates - first <= 1, `${owner.updates - first} Updates after the switch`);
        await fixedPoint(owner);

        const second = owner.updates;
        await enforce(`switched-${rendering}`, false);
        await settle(owner, name, true);
        await fixedPoint(owner);
        assert.equal(owner.updates, second, 'the Cluster keeps its settings, as with KKP');
        await seed.client.request('PATCH', `${CLUSTERS_PATH}/${name}`, {
          spec: { auditLogging: { enabled: false } },
        });
        await settle(owner, name, false);
        assert.ok(owner.updates - second <= 1, `${owner.updates - second} Updates after the end`);
        await fixedPoint(owner);
        noFault(owner);
      });

      test('an old cluster, made before there was a hook', async () => {
        const name = `old-${rendering}`;
        const datacenter = `old-${rendering}`;
        await unregisterWebhooks(seed.client);
        const owner = await create(name, datacenter);
        await settle(owner, name, false);
        await enforce(datacenter, true);
        await registerWebhooks(seed.client, server);
        const updates = owner.updates;
        await settle(owner, name, true);
        assert.ok(owner.updates - updates <= 1, `${owner.updates - updates} Updates`);
        await fixedPoint(owner);
        noFault(owner);
      });

      test('a cluster whose settings change', async () => {
        const name = `changing-${rendering}`;
        const owner = await create(name, `free-${rendering}`, { enabled: true });
        await settle(owner, name, true);
        await fixedPoint(owner);
        const updates = owner.updates;
        const sidecar = {
          config: { outputs: [{ Name: 'loki', Match: '*', Host: 'loki.example.com' }] },
          extraEnvs: [{ name: 'TENANT', value: 'blue' }],
        };
        const auditLogging = { enabled: true, policyPreset: 'recommended', sidecar };
        await seed.client.request('PATCH', `${CLUSTERS_PATH}/${name}`, { spec: { auditLogging } });
        const isNew = async () =>
          (await livePods(seed.client, name)).every(({ spec }) =>
            spec.containers.some(({ env }) => env?.some((variable) => variable.value === 'blue')),
          );
        await until(
          'pods with the new settings',
          async () => {
            await owner.pass();
            return isNew();
          },
          60_000,
        );
        await settle(owner, name, true);
        assert.ok(owner.updates - updates <= 1, `${owner.updates - updates} Updates after the change`);
        await fixedPoint(owner);
        noFault(owner);
      });
    });
  }
});
