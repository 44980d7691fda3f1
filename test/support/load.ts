/** A constant load of writes on a seed, each of which tells by its answer whether the hooks judged it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlPlane } from './controlplane.ts';
import { renderKkp } from './fixtures.ts';
import { IDENTITIES } from './identities.ts';

export interface LoadResult {
  /** Answered as only the hooks can make kube-apiserver answer. */
  readonly judged: number;
  /** Let through without the hooks: the one thing that must never be. */
  readonly unjudged: readonly string[];
  /** Refused for a fault, not for a reason. */
  readonly failed: readonly string[];
}

export interface Load {
  readonly judged: number;
  /** Ends it, and waits for the answers that are still to come. */
  stop(): Promise<LoadResult>;
}

const MAX_OUTSTANDING = 128;
/** One write in so many is an attempt that must be refused. */
const ATTEMPT_EVERY = 5;

/**
 * Dry runs that create an apiserver's Deployment, which the hooks complete, and that switch audit logging off, which they refuse.
 * @param cluster enforced, with audit logging on, and without a Deployment
 */
export function startLoad(seed: ControlPlane, cluster: string, writesPerSecond: number): Load {
  const client = seed.client.as(IDENTITIES.alice);
  const unjudged: string[] = [];
  const failed: string[] = [];
  const deployment = JSON.stringify(renderKkp({ cluster }));
  const off = JSON.stringify({ spec: { auditLogging: { enabled: false } } });
  let judged = 0;
  let sent = 0;
  let running = true;
  const outstanding = new Set<Promise<void>>();

  const create = async (): Promise<void> => {
    const path = `/apis/apps/v1/namespaces/cluster-${cluster}/deployments?dryRun=All`;
    const { status, body } = await client.send('POST', path, deployment);
    const text = JSON.stringify(body);
    if (status !== 201) failed.push(`create: ${status} ${String(body.message).slice(0, 300)}`);
    else if (text.includes('"audit-logs"')) judged += 1;
    else unjudged.push('create: the sidecar is missing');
  };
  const attempt = async (): Promise<void> => {
    const path = `/apis/kubermatic.k8c.io/v1/clusters/${cluster}?dryRun=All`;
    const { status, body } = await client.send('PATCH', path, off);
    if (status === 403 && String(body.message).includes('CLUSTER_AUDIT_DISABLED')) judged += 1;
    else if (status < 300) unjudged.push('attempt: it was let through');
    else failed.push(`attempt: ${status} ${String(body.message).slice(0, 300)}`);
  };
  const send = (): void => {
    const write = (sent++ % ATTEMPT_EVERY === 0 ? attempt : create)()
      .catch((error: Error) => {
        failed.push(error.message);
      })
      .finally(() => outstanding.delete(write));
    outstanding.add(write);
  };
  const loop = (async () => {
    const startedMs = performance.now();
    while (running) {
      const due = ((performance.now() - startedMs) / 1000) * writesPerSecond;
      while (running && sent < due && outstanding.size < MAX_OUTSTANDING) send();
      // What could not be sent in time is left out: the load is constant, not a backlog.
      sent = Math.max(sent, Math.floor(due));
      await sleep(5);
    }
  })();
  return {
    get judged() {
      return judged;
    },
    async stop() {
      running = false;
      await loop;
      await Promise.all(outstanding);
      return { judged, unjudged, failed };
    },
  };
}
