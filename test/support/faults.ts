/**
 * A seed with the chart's hooks, two replicas behind a balancer and a network that can be cut, for tests of faults under a constant load of writes.
 * Short in `npm test`; with SOAK in the environment (`npm run soak`) at full length and rate.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { build } from '../../scripts/build.ts';
import { type ControlPlane, startControlPlane } from './controlplane.ts';
import { type Cut, startCut } from './cut.ts';
import { IDENTITIES } from './identities.ts';
import { imageEntrypoint } from './image-entrypoint.ts';
import { type Installation, install, type LaunchOptions, type Replica } from './installation.ts';
import { kubeconfigThrough } from './kubeconfig.ts';
import { type Load, type LoadResult, startLoad } from './load.ts';
import { CLUSTERS_PATH, createCluster, prepareSeed, renderSeed, SEEDS_PATH } from './seed.ts';
import { until } from './wait.ts';

export const IS_SOAK = Boolean(process.env.SOAK);
/** So many are tried; each test says how many the machine took. `npm test` shares two cores with other tests. */
const WRITES_PER_SECOND = Number(process.env.SOAK_WRITES_PER_SECOND || (IS_SOAK ? 200 : 10));
const WAIT_MS = 120_000;
/** For each probe a replica calls itself, with a new handshake. */
const PROBE_INTERVAL_MS = 400;
const ENFORCED_HOOKS =
  '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/enforced.audit.kubermatic.k8c.io';

/** Enforced, with audit logging on, and without a Deployment. */
export const CLUSTER = 'loaded';

export interface FaultWorld {
  readonly seed: ControlPlane;
  readonly installation: Installation;
  /** Between the replicas and kube-apiserver. */
  readonly network: Cut;
  readonly replicas: Replica[];
  /** Starts a replica on that network. */
  start(options?: LaunchOptions): Promise<Replica>;
  /**
   * Does something while writes go on, before it and for some more answers after it, so that what it left behind is seen.
   * @throws {Error} with the first failed writes where it fails
   */
  underLoad(
    t: TestContext,
    what: (load: Load) => Promise<void>,
    writesPerSecond?: number,
  ): Promise<LoadResult>;
  stop(): Promise<void>;
}

export async function startFaultWorld(): Promise<FaultWorld> {
  // Memory for time: most of a write's time is kube-apiserver's.
  const seed = await startControlPlane({ apiserverEnv: { GOGC: '400' } });
  await prepareSeed(seed.client);
  await seed.client.request('POST', SEEDS_PATH, renderSeed({ 'aws-1': { enforceAuditLogging: true } }));
  await createCluster(seed.client, { name: CLUSTER, datacenter: 'aws-1', auditLogging: { enabled: true } });
  const network = await startCut(Number(new URL(seed.url).port));
  const dist = join(seed.dir, 'dist');
  await build(dist);
  // Without the backstop, which would do the hooks' work in their place, and hide what they miss.
  const installation = await install(seed, {
    apply: ({ kind }) => kind?.endsWith('WebhookConfiguration') ?? false,
    program: imageEntrypoint(dist),
    probeIntervalMs: PROBE_INTERVAL_MS,
  });
  const start = async (options: LaunchOptions = {}): Promise<Replica> => {
    const kubeconfig = await kubeconfigThrough(seed, IDENTITIES.webhook, network.port);
    const args = [...(options.args ?? []), `--kubeconfig=${kubeconfig}`];
    return installation.startReplica({ ...options, args });
  };
  const replicas = await Promise.all([start(), start()]);
  await until('the cluster to be labelled, and Fail to be on', async () => {
    const { client } = seed;
    const { metadata } = await client.request<{ metadata: { labels?: object } }>(
      'GET',
      `${CLUSTERS_PATH}/${CLUSTER}`,
    );
    const { webhooks } = await client.request<{ webhooks?: unknown[] }>('GET', ENFORCED_HOOKS);
    return 'audit.kubermatic.k8c.io/enforced' in (metadata.labels ?? {}) && (webhooks ?? []).length > 0;
  });
  await until('both replicas to be in the balancer', () => installation.balancer.ready === 2);

  const underLoad: FaultWorld['underLoad'] = async (t, what, writesPerSecond = WRITES_PER_SECOND) => {
    const load = startLoad(seed, CLUSTER, writesPerSecond);
    await until('the load to run', () => load.judged >= writesPerSecond / 4, WAIT_MS);
    await what(load).catch(async (error: Error) => {
      const { failed } = await load.stop();
      throw new Error(`${error.message}; failed writes: ${failed.slice(0, 3).join('; ')}`, { cause: error });
    });
    const before = load.judged;
    await until('writes to be judged again', () => load.judged >= before + writesPerSecond, WAIT_MS);
    const result = await load.stop();
    t.diagnostic(
      `${result.judged} writes judged at ${result.perSecond.toFixed(1)} a second, ${result.failed.length} failed, ${result.unjudged.length} unjudged`,
    );
    return result;
  };
  return {
    seed,
    installation,
    network,
    replicas,
    start,
    underLoad,
    async stop() {
      await installation.stop();
      await network.stop();
      await seed.stop();
    },
  };
}

/** No write failed, and none went past the hooks. */
export function assertFlawless({ unjudged, failed, judged }: LoadResult): void {
  assert.deepEqual({ unjudged, failed }, { unjudged: [], failed: [] });
  assert.ok(judged > 0);
}

/** Shows how far a long run has come. */
export function progress(text: string): void {
  if (IS_SOAK) process.stderr.write(`${new Date().toISOString()} ${text}\n`);
}
