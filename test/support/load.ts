/** A constant load of writes on a seed, each of which tells by its answer whether the hooks judged it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer, ApiClient } from './api-client.ts';
import type { ControlPlane } from './controlplane.ts';
import { renderKkp } from './fixtures.ts';
import { IDENTITIES } from './identities.ts';
import { CLUSTERS_PATH } from './seed.ts';

export interface LoadResult {
  /** Answered as only the hooks can make kube-apiserver answer. */
  readonly judged: number;
  /** Let through without the hooks: the one thing that must never be. */
  readonly unjudged: readonly string[];
  /** Refused for a fault, not for a reason. */
  readonly failed: readonly string[];
  /** How many were answered in a second, over the whole time. */
  readonly perSecond: number;
}

export interface Load {
  readonly judged: number;
  /** Ends it, and waits for the answers that are still to come. */
  stop(): Promise<LoadResult>;
}

const MAX_OUTSTANDING = 128;
const TICK_MS = 5;

interface Write {
  readonly name: string;
  readonly send: () => Promise<Answer<{ readonly message?: string }>>;
  /** The code of the reason by which the hooks refuse it; undefined where they let it through, with the sidecar put in. */
  readonly refusedBy?: string;
}

/**
 * One of each kind that the hooks are asked about. As dry runs, which go through the same admission and leave the seed as it is.
 * @param cluster enforced, with audit logging on, and without a Deployment
 */
function renderWrites(client: ApiClient, cluster: string): Write[] {
  const namespace = `/namespaces/cluster-${cluster}`;
  const alice = client.as(IDENTITIES.alice);
  const kkp = client.as(IDENTITIES.seedControllerManager);
  const rendered = renderKkp({ cluster });
  const { metadata, spec } = rendered.spec.template;
  const deployment = JSON.stringify(rendered);
  const pod = JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, generateName: 'apiserver-' },
    spec,
  });
  const off = JSON.stringify({ spec: { auditLogging: { enabled: false } } });
  const create = (as: ApiClient, path: string, body: string) => () =>
    as.send<{ message?: string }>('POST', `${path}?dryRun=All`, body);
  return [
    {
      name: 'a Deployment of a person',
      send: create(alice, `/apis/apps/v1${namespace}/deployments`, deployment),
    },
    {
      name: 'audit logging switched off',
      send: () => alice.send('PATCH', `${CLUSTERS_PATH}/${cluster}?dryRun=All`, off),
      refusedBy: 'CLUSTER_AUDIT_DISABLED',
    },
    // Nothing holds these two back: they would pass in silence.
    {
      name: 'a Deployment of KKP',
      send: create(kkp, `/apis/apps/v1${namespace}/deployments`, deployment),
    },
    { name: 'a pod', send: create(alice, `/api/v1${namespace}/pods`, pod) },
    {
      name: 'the policy deleted',
      send: () => alice.send('DELETE', `/api/v1${namespace}/configmaps/audit-config?dryRun=All`),
      refusedBy: 'POLICY_DELETED',
    },
  ];
}

/**
 * Sends them in turn.
 * @param cluster enforced, with audit logging on, and without a Deployment
 */
export function startLoad(seed: ControlPlane, cluster: string, writesPerSecond: number): Load {
  const writes = renderWrites(seed.client, cluster);
  const unjudged: string[] = [];
  const failed: string[] = [];
  const outstanding = new Set<Promise<void>>();
  const startedMs = performance.now();
  let judged = 0;
  let sent = 0;
  let running = true;

  const judge = ({ name, refusedBy }: Write, { status, body }: Answer<{ readonly message?: string }>) => {
    const message = `${name}: ${status} ${String(body.message).slice(0, 300)}`;
    if (refusedBy === undefined && status === 201) {
      if (JSON.stringify(body).includes('"audit-logs"')) judged += 1;
      else unjudged.push(`${name}: the sidecar is missing`);
    } else if (refusedBy !== undefined && status < 300) unjudged.push(`${name}: it was let through`);
    else if (refusedBy !== undefined && status === 403 && message.includes(refusedBy)) judged += 1;
    else failed.push(message);
  };
  const send = (write: Write): void => {
    const answered = write
      .send()
      .then((answer) => judge(write, answer))
      .catch((error: Error) => {
        failed.push(`${write.name}: ${error.message}`);
      })
      .finally(() => outstanding.delete(answered));
    outstanding.add(answered);
  };
  const loop = (async () => {
    let due = 0;
    while (running) {
      const dueNow = Math.floor(((performance.now() - startedMs) / 1000) * writesPerSecond);
      // What could not be sent in time is left out: the load is constant, not a backlog.
      for (; due < dueNow; due += 1) {
        const write = writes[sent % writes.length];
        if (write === undefined || outstanding.size >= MAX_OUTSTANDING) continue;
        sent += 1;
        send(write);
      }
      await sleep(TICK_MS);
    }
  })();
  return {
    get judged() {
      return judged;
    },
    async stop() {
      running = false;
      await loop;
      const seconds = (performance.now() - startedMs) / 1000;
      const perSecond = (sent - outstanding.size) / seconds;
      await Promise.all(outstanding);
      return { judged, unjudged, failed, perSecond };
    },
  };
}
