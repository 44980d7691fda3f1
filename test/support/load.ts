/** A constant load of writes on a seed, each of which tells by its answer whether the hooks judged it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Answer, ApiClient } from './api-client.ts';
import type { ControlPlane } from './controlplane.ts';
import type { Deployment } from './fixture-types.ts';
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

/** Two hooks are called at once for a write, and kube-apiserver keeps 25 idle connections: with more at once it would mostly shake hands. */
const MAX_OUTSTANDING = 12;
const TICK_MS = 5;
/** How long writes that could not be sent in time are still owed. */
const MAX_DEBT_SECONDS = 5;
/** One in so many Deployments and pods is as large as KKP makes them: kube-apiserver takes four times the time for these. */
const WHOLE_EVERY = 20;

interface Write {
  readonly name: string;
  /** @param turn how many were sent before */
  readonly send: (turn: number) => Promise<Answer<string>>;
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
  const whole = renderKkp({ cluster });
  const deployments = [whole, shorten(whole)].map((deployment) => JSON.stringify(deployment));
  const pods = [whole, shorten(whole)].map(({ spec: { template } }) =>
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { ...template.metadata, generateName: 'apiserver-' },
      spec: template.spec,
    }),
  );
  const off = JSON.stringify({ spec: { auditLogging: { enabled: false } } });
  const create = (as: ApiClient, path: string, bodies: readonly string[]) => (turn: number) =>
    as.sendForText('POST', `${path}?dryRun=All`, bodies[turn % WHOLE_EVERY === 0 ? 0 : 1]);
  const deployed: Write = {
    name: 'a Deployment of a person',
    send: create(alice, `/apis/apps/v1${namespace}/deployments`, deployments),
  };
  const switchedOff: Write = {
    name: 'audit logging switched off',
    send: () => alice.sendForText('PATCH', `${CLUSTERS_PATH}/${cluster}?dryRun=All`, off),
    refusedBy: 'CLUSTER_AUDIT_DISABLED',
  };
  const policyDeleted: Write = {
    name: 'the policy deleted',
    send: () => alice.sendForText('DELETE', `/api/v1${namespace}/configmaps/audit-config?dryRun=All`),
    refusedBy: 'POLICY_DELETED',
  };
  // Nothing holds these two back: they would pass in silence.
  const deployedByKkp: Write = {
    name: 'a Deployment of KKP',
    send: create(kkp, `/apis/apps/v1${namespace}/deployments`, deployments),
  };
  const pod: Write = { name: 'a pod', send: create(alice, `/api/v1${namespace}/pods`, pods) };
  const refused = [switchedOff, policyDeleted];
  return [deployed, deployedByKkp, pod].flatMap((write) => [write, ...refused, ...refused]);
}

/** The same in few words: a control plane that no one could run, but that has to be judged all the same. */
function shorten(deployment: Deployment): Deployment {
  const { template } = deployment.spec;
  const containers = template.spec.containers
    .filter(({ name }) => name === 'apiserver')
    .map(({ name, image, command }) => ({ name, image, command, args: ['--secure-port', '6443'] }));
  const spec = { containers, initContainers: [], volumes: [] };
  return { ...deployment, spec: { ...deployment.spec, template: { ...template, spec } } };
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

  const judge = ({ name, refusedBy }: Write, { status, body }: Answer<string>) => {
    const message = `${name}: ${status} ${body.slice(0, 500)}`;
    if (refusedBy === undefined && status === 201) {
      if (body.includes('"name":"audit-logs"')) judged += 1;
      else unjudged.push(`${name}: the sidecar is missing`);
    } else if (refusedBy !== undefined && status < 300) unjudged.push(`${name}: it was let through`);
    else if (refusedBy !== undefined && status === 403 && message.includes(refusedBy)) judged += 1;
    else failed.push(message);
  };
  const send = (write: Write): void => {
    const answered = write
      .send(Math.floor(sent / writes.length))
      .then((answer) => judge(write, answer))
      .catch((error: Error) => {
        failed.push(`${write.name}: ${error.message}`);
      })
      .finally(() => outstanding.delete(answered));
    outstanding.add(answered);
  };
  const loop = (async () => {
    let owedFrom = 0;
    while (running) {
      const due = Math.floor(((performance.now() - startedMs) / 1000) * writesPerSecond);
      owedFrom = Math.max(owedFrom, due - MAX_DEBT_SECONDS * writesPerSecond);
      for (; owedFrom < due && outstanding.size < MAX_OUTSTANDING; owedFrom += 1) {
        const write = writes[sent % writes.length];
        if (write !== undefined) send(write);
        sent += 1;
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
