/**
 * Faults to survive, under a constant load of writes on a real kube-apiserver, with two replicas behind a balancer. Short here; with SOAK in the
 * environment (`npm run soak`) at full length and rate.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Secret } from '../../src/kubernetes.ts';
import { isReady } from '../support/balancer.ts';
import { BASE_PROGRAMS } from '../support/binaries.ts';
import { type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import { type Cut, startCut } from '../support/cut.ts';
import { renderKkp } from '../support/fixtures.ts';
import { RELEASE, skipWithoutHelm } from '../support/helm.ts';
import { IDENTITIES } from '../support/identities.ts';
import { type Installation, install, type Replica } from '../support/installation.ts';
import { kubeconfigThrough } from '../support/kubeconfig.ts';
import { type Load, type LoadResult, startLoad } from '../support/load.ts';
import { CLUSTERS_PATH, createCluster, prepareSeed, renderSeed, SEEDS_PATH } from '../support/seed.ts';
import { until } from '../support/wait.ts';

const skip = await skipWithoutHelm('faults on a real kube-apiserver', BASE_PROGRAMS);

const isSoak = Boolean(process.env.SOAK);
const WRITES_PER_SECOND = isSoak ? 200 : 10;
const RESTARTS = isSoak ? 100 : 2;
const ROTATIONS = isSoak ? 20 : 1;
const AWAY_MS = isSoak ? 300_000 : 3000;
/** kube-apiserver takes 3 MiB at most. */
const LARGE_BYTES = 2_900_000;
const LARGE_WRITES = isSoak ? 40 : 6;
const WAIT_MS = 120_000;

const CLUSTER = 'loaded';
const SECRET = `/api/v1/namespaces/${RELEASE.namespace}/secrets/kkp-audit-webhook-ca`;

describe('faults', { skip }, () => {
  let seed: ControlPlane;
  let installation: Installation;
  let network: Cut;
  let replicas: Replica[];

  const start = async (): Promise<Replica> => {
    const kubeconfig = await kubeconfigThrough(seed, IDENTITIES.webhook, network.port);
    return installation.startReplica([`--kubeconfig=${kubeconfig}`]);
  };
  /** Writes go on for some more answers, so that what a fault left behind is seen. */
  const settle = async (load: Load): Promise<LoadResult> => {
    const before = load.judged;
    await until('writes to be judged again', () => load.judged >= before + WRITES_PER_SECOND, WAIT_MS);
    return load.stop();
  };
  const underLoad = async (what: (load: Load) => Promise<void>): Promise<LoadResult> => {
    const load = startLoad(seed, CLUSTER, WRITES_PER_SECOND);
    await until('the load to run', () => load.judged >= WRITES_PER_SECOND / 4, WAIT_MS);
    await what(load).catch(async (error: Error) => {
      const { failed } = await load.stop();
      throw new Error(`${error.message}; failed writes: ${failed.slice(0, 3).join('; ')}`, { cause: error });
    });
    return settle(load);
  };
  const assertFlawless = ({ unjudged, failed, judged }: LoadResult): void => {
    assert.deepEqual({ unjudged, failed }, { unjudged: [], failed: [] });
    assert.ok(judged > 0);
  };

  before(async () => {
    seed = await startControlPlane();
    await prepareSeed(seed.client);
    await seed.client.request('POST', SEEDS_PATH, renderSeed({ 'aws-1': { enforceAuditLogging: true } }));
    await createCluster(seed.client, { name: CLUSTER, datacenter: 'aws-1', auditLogging: { enabled: true } });
    network = await startCut(Number(new URL(seed.url).port));
    // Without the backstop, which would do the hooks' work in their place, and hide what they miss.
    installation = await install(seed, {
      apply: ({ kind }) => kind?.endsWith('WebhookConfiguration') ?? false,
    });
    replicas = await Promise.all([start(), start()]);
    await until('the cluster to be labelled, and Fail to be on', async () => {
      const cluster = await seed.client.request<{ metadata: { labels?: object } }>(
        'GET',
        `${CLUSTERS_PATH}/${CLUSTER}`,
      );
      const path =
        '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/enforced.audit.kubermatic.k8c.io';
      const { webhooks } = await seed.client.request<{ webhooks?: unknown[] }>('GET', path);
      return (
        'audit.kubermatic.k8c.io/enforced' in (cluster.metadata.labels ?? {}) && (webhooks ?? []).length > 0
      );
    });
    await until('both replicas to be in the balancer', () => installation.balancer.ready === 2);
  });
  after(async () => {
    await installation?.stop();
    await network?.stop();
    await seed?.stop();
  });

  test('rolling restarts fail no write and leave none unjudged', async () => {
    assertFlawless(
      await underLoad(async () => {
        for (let i = 0; i < RESTARTS; i++) {
          const old = replicas.shift();
          replicas.push(await start());
          await until('the new replica to get requests', () => installation.balancer.ready === 3);
          if (old !== undefined) await installation.endReplica(old);
        }
      }),
    );
  });

  test('rotations of the certificate fail no write and leave none unjudged', async () => {
    const readCa = async () => (await seed.client.request<Secret>('GET', SECRET)).data;
    assertFlawless(
      await underLoad(async () => {
        for (let i = 0; i < ROTATIONS; i++) {
          const old = (await readCa())?.['ca.crt'];
          await seed.client.request('PATCH', SECRET, {
            metadata: { annotations: { 'audit.kubermatic.k8c.io/rotate': 'now' } },
          });
          await until(
            'the next CA to sign, and the old one to be dropped',
            async () => {
              const data = await readCa();
              return data?.['ca.crt'] !== old && data?.['previous.crt'] === undefined;
            },
            WAIT_MS,
          );
        }
      }),
    );
  });

  test('a replica that is killed leaves no write unjudged, and the other one goes on', async () => {
    const { unjudged, failed } = await underLoad(async () => {
      await replicas.shift()?.child.stop('SIGKILL');
    });
    replicas.push(await start());
    assert.deepEqual(unjudged, []);
    // Only what was under way in the killed one: kube-apiserver calls a hook once. What the mutating one could not complete, the validating one refused.
    for (const failure of failed) assert.match(failure, /failed calling webhook|denied the request/);
    assert.ok(failed.length <= WRITES_PER_SECOND, `${failed.length} writes failed: ${failed[0]}`);
  });

  test('while kube-apiserver is away from the replicas they go on judging, and stay ready', async () => {
    const { unjudged, failed, judged } = await underLoad(async () => {
      network.cut();
      await sleep(AWAY_MS);
      for (const { opsUrl } of replicas) assert.equal(await isReady(opsUrl), true);
      network.mend();
    });
    assert.deepEqual(unjudged, []);
    assert.ok(judged > 0);
    // Whether an attempt is one of an operator's can't be found out meanwhile: an error, which Fail turns into a refusal.
    const isUndecided = (failure: string): boolean => /^attempt: 500 .*failed calling webhook/.test(failure);
    assert.deepEqual(
      failed.filter((failure) => !isUndecided(failure)),
      [],
    );
  });

  test('when kube-apiserver restarts, nothing goes past the hooks', async () => {
    const { unjudged } = await underLoad(() => seed.restartApiserver());
    assert.deepEqual(unjudged, []);
  });

  test('bodies of 3 MB in parallel are judged, and hold nobody up', async () => {
    assertFlawless(
      await underLoad(async () => {
        const alice = seed.client.as(IDENTITIES.alice);
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
      }),
    );
  });
});
