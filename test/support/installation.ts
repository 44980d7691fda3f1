/**
 * What `helm install` leaves, on a test's control plane, with the server's replicas as processes beside it: the chart's hooks, backstop and
 * configuration, registered by the URL of a balancer that stands for the Service.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JsonObject } from '../../src/kubernetes.ts';
import { type Backend, type Balancer, isReady, startBalancer } from './balancer.ts';
import { type Child, startChild } from './children.ts';
import { type ControlPlane, freePort } from './controlplane.ts';
import { FULL_NAME, find, type Manifest, RELEASE, renderChart } from './helm.ts';
import { IDENTITIES } from './identities.ts';
import { until } from './wait.ts';

const SOURCE = [join(import.meta.dirname, '..', '..', 'src', 'main.ts')];
const READY_TIMEOUT_MS = 60_000;
const READY_INTERVAL_MS = 50;
const REGISTRATION = /^(?:Mutating|Validating)(?:Webhook|AdmissionPolicy)/;

export interface Replica extends Backend {
  readonly child: Child;
}

export interface LaunchOptions {
  /** More arguments of `serve`. */
  readonly args?: readonly string[];
  /** More of its environment, such as `wrongClock`. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface Installation {
  readonly balancer: Balancer;
  readonly manifests: readonly Manifest[];
  /** Starts a replica behind the balancer. */
  launchReplica(options?: LaunchOptions): Promise<Replica>;
  /** Starts a replica behind the balancer and waits until it is ready. */
  startReplica(options?: LaunchOptions): Promise<Replica>;
  /** Ends a replica as kubelet does: SIGTERM, and no more connections once it is not ready. */
  endReplica(replica: Replica): Promise<void>;
  stop(): Promise<void>;
}

export interface InstallationOptions {
  /** More values of the chart. */
  readonly values?: JsonObject;
  readonly overlapSeconds?: number;
  /** Node's arguments up to the program's own; default the source as it is. */
  readonly program?: readonly string[];
  /** Between two looks of the balancer at what is ready; must be well below the second for which replicas still serve. */
  readonly probeIntervalMs?: number;
  /** What of the chart is applied; default the registrations: hooks and backstop. */
  readonly apply?: (manifest: Manifest) => boolean;
}

let installations = 0;

export async function install(seed: ControlPlane, options: InstallationOptions = {}): Promise<Installation> {
  const balancer = await startBalancer(options.probeIntervalMs);
  const number = installations++;
  const children = new Set<Child>();
  const manifests = await renderChart({ webhooks: { url: balancer.url }, ...options.values });
  const wanted = manifests.filter(options.apply ?? (({ kind }) => REGISTRATION.test(kind ?? '')));
  if (wanted.length > 0) {
    const input = wanted.map((manifest) => JSON.stringify(manifest)).join('\n---\n');
    const applied = await seed.kubectl(['apply', '--server-side', '-f', '-'], { input });
    if (applied.code !== 0) {
      await balancer.stop();
      throw new Error(applied.stderr);
    }
  }
  const files = find(manifests, 'ConfigMap', FULL_NAME).data as Record<string, string>;
  const file = (name: string): string => join(seed.dir, `installation-${number}-${name}`);
  for (const [name, text] of Object.entries(files)) writeFileSync(file(name), text);

  const launchReplica = async ({ args = [], env = {} }: LaunchOptions = {}): Promise<Replica> => {
    const [port, opsPort] = await Promise.all([freePort(), freePort()]);
    const name = `replica-${port}`;
    const child = startChild({
      name,
      command: process.execPath,
      args: [
        ...(options.program ?? SOURCE),
        'serve',
        `--kubeconfig=${seed.kubeconfigFor(IDENTITIES.webhook)}`,
        `--port=${port}`,
        `--ops-port=${opsPort}`,
        `--config=${file('config.yaml')}`,
        '--certificates=self',
        `--namespace=${RELEASE.namespace}`,
        `--service=${FULL_NAME}`,
        `--enforced-hooks=${file('enforced-hooks.yaml')}`,
        `--certificate-overlap-seconds=${options.overlapSeconds ?? 1}`,
        '--shutdown-delay-seconds=1',
        ...args,
      ],
      logFile: join(seed.dir, `${name}.log`),
      env,
    });
    children.add(child);
    const replica = { port, opsUrl: `http://127.0.0.1:${opsPort}`, child };
    balancer.add(replica);
    return replica;
  };
  const startReplica = async (options: LaunchOptions = {}): Promise<Replica> => {
    const replica = await launchReplica(options);
    const { child } = replica;
    try {
      await until(
        'the replica to be ready',
        () => {
          if (child.ended !== undefined) throw new Error(`it ended: ${child.ended}`);
          return isReady(replica.opsUrl);
        },
        READY_TIMEOUT_MS,
        READY_INTERVAL_MS,
      );
    } catch (error) {
      throw new Error(`${(error as Error).message}; the end of its log:\n${child.logTail()}`, {
        cause: error,
      });
    }
    return replica;
  };

  const stop = async (): Promise<void> => {
    await balancer.stop();
    await Promise.all([...children].map((child) => child.stop()));
  };
  return {
    balancer,
    manifests,
    launchReplica,
    startReplica,
    async endReplica(replica) {
      await replica.child.stop('SIGTERM');
      balancer.remove(replica);
    },
    stop,
  };
}
