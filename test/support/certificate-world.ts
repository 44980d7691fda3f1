/**
 * Replicas that publish certificates, a clock that the test moves, short life times, and a stub of kube-apiserver whose time jumps: a real one can't be
 * moved through months.
 */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import type { TestContext } from 'node:test';
import { splitCertificates } from '../../src/certs/authority.ts';
import { HOOKS_NAME, type WebhookConfiguration } from '../../src/certs/publish.ts';
import { type BundleSource, Registrar } from '../../src/certs/registrar.ts';
import { ROTATE_ANNOTATION, SelfManaged } from '../../src/certs/self-managed.ts';
import { KubeClient } from '../../src/kube/client.ts';
import type { JsonObject, Secret } from '../../src/kubernetes.ts';
import type { TlsMaterial } from '../../src/tls.ts';
import { FakeClock } from './fake-clock.ts';
import { testLog } from './log.ts';
import { plainCredentials, readJson, sendJson, sendStatus, startStubApi } from './stub-api.ts';

export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;
const TIMINGS = { lifetimeMs: 30 * DAY, renewBeforeMs: 10 * DAY, overlapMs: HOUR, retireAfterMs: 5 * HOUR };
export const SETTLE_MS = 60_000;
const HOOKS = ['mutating', 'validating'].map((kind) => `/${kind}webhookconfigurations/${HOOKS_NAME}`);

/** The little of kube-apiserver that is needed: one Secret and two webhook configurations, with conditional writes, and its own time. */
async function startApi(t: TestContext) {
  const world = { wallMs: Date.UTC(2026, 0, 1), isAway: false, secret: undefined as Secret | undefined };
  const hooks = new Map<string, WebhookConfiguration>(
    HOOKS.map((path) => [
      path,
      { metadata: { resourceVersion: '1' }, webhooks: [{ name: 'a' }, { name: 'b' }] },
    ]),
  );
  let version = 1;
  const next = (metadata: object | undefined) => ({ ...metadata, resourceVersion: String(++version) });
  const isStale = (
    stored: JsonObject | WebhookConfiguration | Secret | undefined,
    given: { metadata?: { resourceVersion?: string } },
  ) => given.metadata?.resourceVersion !== (stored as Secret | undefined)?.metadata?.resourceVersion;
  const api = await startStubApi(t, async (request, response, url) => {
    if (world.isAway) return response.destroy();
    const { pathname } = url;
    const body = request.method === 'GET' ? {} : ((await readJson(request)) as Secret & WebhookConfiguration);
    if (pathname.endsWith('/configmaps')) {
      assert.equal(url.searchParams.get('dryRun'), 'All');
      return sendJson(
        response,
        { metadata: { creationTimestamp: new Date(world.wallMs).toISOString() } },
        201,
      );
    }
    if (pathname.includes('/secrets')) {
      if (request.method === 'GET')
        return world.secret === undefined
          ? sendStatus(response, 404, 'NotFound', 'none', 'x')
          : sendJson(response, world.secret);
      if (request.method === 'POST' ? world.secret !== undefined : isStale(world.secret, body))
        return sendStatus(response, 409, 'Conflict');
      world.secret = { ...body, metadata: next(body.metadata) };
      return sendJson(response, world.secret);
    }
    const path = HOOKS.find((known) => pathname.endsWith(known));
    const stored = hooks.get(path ?? '');
    if (path === undefined || stored === undefined) return sendStatus(response, 404, 'NotFound', 'none', 'x');
    if (request.method === 'PATCH') {
      if (isStale(stored, body)) return sendStatus(response, 409, 'Conflict');
      const changes = new Map((body.webhooks ?? []).map((entry) => [entry.name, entry]));
      const webhooks = (stored.webhooks ?? []).map((entry) => ({
        ...entry,
        clientConfig: { ...entry.clientConfig, ...changes.get(entry.name)?.clientConfig },
      }));
      hooks.set(path, { metadata: next(stored.metadata) as JsonObject, webhooks });
    }
    return sendJson(response, hooks.get(path));
  });
  const trusted = (): string[][] =>
    [...hooks.values()].flatMap(({ webhooks = [] }) =>
      webhooks.map(({ clientConfig }) =>
        splitCertificates(Buffer.from(clientConfig?.caBundle ?? '', 'base64').toString()),
      ),
    );
  /** As an upgrade of the chart does that gives the Service another name. */
  const setService = (service: { name: string; namespace: string }): void => {
    for (const [path, { metadata, webhooks = [] }] of hooks)
      hooks.set(path, {
        metadata: next(metadata) as JsonObject,
        webhooks: webhooks.map((entry) => ({ ...entry, clientConfig: { ...entry.clientConfig, service } })),
      });
  };
  return { url: api.url, world, trusted, setService };
}

export class Replica {
  readonly registrar: Registrar;
  isLeader = false;
  served: TlsMaterial | undefined;

  /** @param source where it has its certificate from; its own CA where that is left out */
  constructor(client: KubeClient, clock: FakeClock, source?: BundleSource) {
    const { logger } = testLog();
    const selfManaged = new SelfManaged({
      client,
      logger,
      namespace: 'own',
      secretName: 'ca',
      serverNames: ['127.0.0.1', 'hooks.own.svc'],
      timings: TIMINGS,
      settleMs: SETTLE_MS,
      clock,
      onChange: (tls) => {
        this.served = tls;
      },
    });
    this.registrar = new Registrar({
      client,
      logger,
      source: source ?? selfManaged,
      isLeader: () => this.isLeader,
      enforcedHooks: undefined,
      probeNamespace: () => undefined,
      clock,
      tickMs: 1000,
    });
  }
}

export async function startWorld(t: TestContext) {
  const api = await startApi(t);
  const clock = new FakeClock();
  const client = new KubeClient(plainCredentials(api.url));
  t.after(() => client.close());
  const replicas = [new Replica(client, clock), new Replica(client, clock)] as const;
  replicas[0].isLeader = true;
  /** Time passes, for all alike, and each replica looks twice: what one writes the other one sees. */
  const pass = async (ms: number): Promise<void> => {
    clock.advance(ms);
    api.world.wallMs += ms;
    for (const { registrar } of [...replicas, ...replicas]) await registrar.tick();
  };
  const assertBelieved = (when: string): void => {
    for (const [i, { served }] of replicas.entries()) {
      assert.ok(served, `${when}: replica ${i} serves something`);
      const leaf = new X509Certificate(served.cert);
      const now = api.world.wallMs;
      assert.ok(
        served.notBefore.getTime() <= now && now < served.notAfter.getTime(),
        `${when}: replica ${i} serves what is valid now`,
      );
      for (const bundle of api.trusted())
        assert.ok(
          bundle.some((cert) => leaf.verify(new X509Certificate(cert).publicKey)),
          `${when}: every hook trusts what replica ${i} serves`,
        );
    }
  };
  const ca = (): string => Buffer.from(api.world.secret?.data?.['ca.crt'] ?? '', 'base64').toString();
  const startReplica = (source?: BundleSource): Replica => new Replica(client, clock, source);
  /** As an operator does it. */
  const requestCa = (): void => {
    const { metadata, ...rest } = api.world.secret ?? {};
    api.world.secret = {
      ...rest,
      metadata: { ...metadata, annotations: { ...metadata?.annotations, [ROTATE_ANNOTATION]: 'now' } },
    };
  };
  return { api, clock, replicas, pass, assertBelieved, ca, startReplica, requestCa };
}
