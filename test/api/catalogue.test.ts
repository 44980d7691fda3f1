/**
 * The catalogue on a real kube-apiserver, through kubectl: no attack gets through, nothing legitimate is refused; with the chart's hooks before a
 * KKP that repairs in silence, and with the chart's backstop alone while no replica runs.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { request } from 'undici';
import { ApiError } from '../support/api-client.ts';
import { BASE_PROGRAMS } from '../support/binaries.ts';
import { registerChart } from '../support/chart-hooks.ts';
import { type ControlPlane, type KubectlResult, startControlPlane } from '../support/controlplane.ts';
import { renderKkp } from '../support/fixtures.ts';
import { skipWithoutHelm } from '../support/helm.ts';
import { IDENTITIES, type Identity } from '../support/identities.ts';
import { judgeOf } from '../support/judge.ts';
import { type KkpHook, startKkpHook } from '../support/kkp-hook.ts';
import { renderFluentBitConf, renderPolicyPreset } from '../support/kkp-objects.ts';
import { Owner } from '../support/owner.ts';
import { CLUSTERS_PATH, createCluster, prepareSeed, renderSeed, SEEDS_PATH } from '../support/seed.ts';
import { until } from '../support/wait.ts';
import { startWebhookServer, type WebhookServer } from '../support/webhook-server.ts';
import {
  ATTACKS,
  type AttackRow,
  FINE,
  LABEL,
  NAMESPACE,
  PASSWORD,
  renderPod,
  type Stage,
  type Stored,
  type Who,
} from './catalogue.ts';

const skip = await skipWithoutHelm('the catalogue of attacks on a real kube-apiserver', BASE_PROGRAMS);

const BACKEND = {
  auditWebhookConfig: { name: 'audit-backend', namespace: 'kubermatic' },
  auditWebhookInitialBackoff: '10s',
};
const AUDIT_LOGGING = { enabled: true, policyPreset: 'recommended', webhookBackend: BACKEND };
const DATACENTERS = {
  enforcing: { enforceAuditLogging: true, enforcedAuditWebhookSettings: BACKEND },
  free: {},
};

const WHO: Readonly<Record<Who, Identity>> = {
  editor: IDENTITIES.editor,
  insider: { user: 'mallory@example.com', groups: ['editors-x5fk9vq2lm'] },
  alice: IDENTITIES.alice,
  operator: IDENTITIES.auditOperator,
  replicasets: {
    user: 'system:serviceaccount:kube-system:replicaset-controller',
    groups: ['system:serviceaccounts', 'system:serviceaccounts:kube-system'],
  },
};

const PATHS: Readonly<Record<string, string>> = {
  'clusters.kubermatic.k8c.io': '/apis/kubermatic.k8c.io/v1',
  'deployments.apps': '/apis/apps/v1',
};
function pathOf(resource: string, name: string, namespace?: string): string {
  const base = PATHS[resource] ?? '/api/v1';
  const [plural] = resource.split('.');
  return `${base}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${plural}${name === '' ? '' : `/${name}`}`;
}

/** What every row finds as it was: [resource, name, namespace]. */
const OBJECTS: readonly (readonly [string, string, string?])[] = [
  ['clusters.kubermatic.k8c.io', 'bank'],
  ['clusters.kubermatic.k8c.io', 'shop'],
  ['namespaces', NAMESPACE],
  ['deployments.apps', 'apiserver', NAMESPACE],
  ['configmaps', 'audit-config', NAMESPACE],
  ['configmaps', 'ca-bundle', NAMESPACE],
  ['secrets', 'audit-logs-fluentbit', NAMESPACE],
  ['secrets', 'tokens', NAMESPACE],
  ['pods', 'apiserver-running', NAMESPACE],
  ['pods', 'harmless', NAMESPACE],
];

/** Without what every write changes. */
function strip(object: Stored | undefined): Stored | undefined {
  if (object === undefined) return undefined;
  const { status: _status, ...rest } = object;
  const {
    resourceVersion: _r,
    managedFields: _m,
    generation: _g,
    uid: _u,
    creationTimestamp: _c,
    ...metadata
  } = rest.metadata;
  return { ...rest, metadata };
}

class World implements Stage {
  readonly seed: ControlPlane;
  readonly #reference = new Map<string, Stored | undefined>();

  constructor(seed: ControlPlane) {
    this.seed = seed;
  }

  kubectl(who: Who, args: readonly string[], input?: unknown): Promise<KubectlResult> {
    return this.seed.kubectl(args, {
      as: WHO[who],
      ...(input !== undefined && { input: JSON.stringify(input) }),
    });
  }

  async get(resource: string, name: string, namespace?: string): Promise<Stored> {
    return this.seed.client.request<Stored>('GET', pathOf(resource, name, namespace));
  }

  async prepare(resource: string, name: string, change: (object: Stored) => void): Promise<void> {
    const [, , namespace] = OBJECTS.find(([kind, known]) => kind === resource && known === name) ?? [];
    const path = pathOf(resource, name, namespace);
    const object = await this.seed.client.request<Stored>('GET', path);
    change(object);
    await this.seed.client.as(IDENTITIES.seedControllerManager).request('PUT', path, object);
    await this.remember();
  }

  /** Takes what is there as what has to stay. */
  async remember(): Promise<void> {
    for (const [index, object] of (await this.#readAll()).entries())
      this.#reference.set(String(index), strip(object));
  }

  /** What is no longer as it was remembered, and pods that were not there. */
  async changes(): Promise<string[]> {
    const changed: string[] = [];
    for (const [index, object] of (await this.#readAll()).entries()) {
      if (!isDeepStrictEqual(strip(object), this.#reference.get(String(index))))
        changed.push(OBJECTS[index]?.join(' ') ?? '');
    }
    for (const name of await this.#strangers()) changed.push(`pod ${name}`);
    return changed;
  }

  /** Makes everything as in `baseline`, in KKP's name; another may be at work on it, so it takes a few tries. */
  async restore(baseline: (Stored | undefined)[]): Promise<void> {
    await until(
      'everything to be as it was',
      async () => {
        try {
          await this.#restoreOnce(baseline);
        } catch (error) {
          if (!(error instanceof ApiError && [404, 409].includes(error.status))) throw error;
        }
        const stored = await this.#readAll();
        return stored.every((object, index) => isDeepStrictEqual(strip(object), strip(baseline[index])));
      },
      5000,
    );
    await this.remember();
  }

  async #restoreOnce(baseline: (Stored | undefined)[]): Promise<void> {
    const kkp = this.seed.client.as(IDENTITIES.seedControllerManager);
    const stored = await this.#readAll();
    for (const [index, wanted] of baseline.entries()) {
      const [resource = '', name = '', namespace] = OBJECTS[index] ?? [];
      const now = stored[index];
      if (wanted === undefined || isDeepStrictEqual(strip(now), strip(wanted))) continue;
      const path = pathOf(resource, name, namespace);
      const isReplaceable = now !== undefined && resource !== 'pods' && now.immutable !== true;
      if (isReplaceable) {
        const { resourceVersion, uid } = now.metadata;
        const metadata = { ...strip(wanted)?.metadata, resourceVersion, uid };
        await kkp.request('PUT', path, { ...strip(wanted), metadata });
        continue;
      }
      if (now !== undefined) await this.#delete(path);
      const created = await kkp.request<Stored>('POST', pathOf(resource, '', namespace), strip(wanted));
      // A new pod's token has another name.
      if (resource === 'pods') baseline[index] = created;
    }
    for (const name of await this.#strangers()) await this.#delete(pathOf('pods', name, NAMESPACE));
  }

  snapshot(): Promise<(Stored | undefined)[]> {
    return this.#readAll();
  }

  #readAll(): Promise<(Stored | undefined)[]> {
    return Promise.all(OBJECTS.map(([...where]) => this.seed.client.find<Stored>(pathOf(...where))));
  }

  async #strangers(): Promise<string[]> {
    const { items } = await this.seed.client.request<{ items: Stored[] }>(
      'GET',
      pathOf('pods', '', NAMESPACE),
    );
    const known = OBJECTS.filter(([resource]) => resource === 'pods').map(([, name]) => name);
    return items.map(({ metadata }) => metadata.name as string).filter((name) => !known.includes(name));
  }

  async #delete(path: string): Promise<void> {
    await this.seed.client.request('DELETE', path, { gracePeriodSeconds: 0 });
    await until(`${path} to be gone`, async () => (await this.seed.client.find(path)) === undefined);
  }
}

/** Rights of somebody who works in the namespace of one cluster: without them most attacks would end at RBAC. */
async function admitInsider({ client }: ControlPlane): Promise<void> {
  const rbac = '/apis/rbac.authorization.k8s.io/v1';
  const metadata = { name: 'test:insider' };
  const verbs = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete', 'deletecollection'];
  await client.request('POST', `${rbac}/clusterroles`, {
    metadata,
    rules: [
      {
        apiGroups: [''],
        resources: [
          'pods',
          'pods/ephemeralcontainers',
          'pods/resize',
          'pods/status',
          'pods/binding',
          'configmaps',
          'secrets',
        ],
        verbs,
      },
      { apiGroups: ['apps'], resources: ['deployments', 'deployments/scale', 'replicasets'], verbs },
    ],
  });
  for (const namespace of [NAMESPACE, 'cluster-shop']) {
    await client.request('POST', `${rbac}/namespaces/${namespace}/rolebindings`, {
      metadata,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: metadata.name },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: WHO.insider.user }],
    });
  }
  // Who makes the pods of an enforced cluster may do so by Kubernetes' own role.
  await client.request('POST', `${rbac}/clusterrolebindings`, {
    metadata: { name: 'test:replicasets' },
    roleRef: {
      apiGroup: 'rbac.authorization.k8s.io',
      kind: 'ClusterRole',
      name: 'system:controller:replicaset-controller',
    },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: WHO.replicasets.user }],
  });
}

async function furnish(world: World): Promise<void> {
  const { client } = world.seed;
  const kkp = client.as(IDENTITIES.seedControllerManager);
  const labels = { [LABEL]: 'true' };
  await createCluster(client, { name: 'bank', datacenter: 'enforcing', auditLogging: AUDIT_LOGGING, labels });
  await createCluster(client, { name: 'shop', datacenter: 'free', auditLogging: { enabled: true } });
  await admitInsider(world.seed);
  const data = { 'policy.yaml': renderPolicyPreset('recommended') };
  await kkp.request('PATCH', pathOf('configmaps', 'audit-config', NAMESPACE), { data });
  await client.request('POST', pathOf('secrets', '', NAMESPACE), {
    metadata: { name: 'audit-logs-fluentbit' },
    stringData: { 'fluent-bit.conf': renderFluentBitConf('bank', AUDIT_LOGGING) },
  });
  await client.request('POST', pathOf('secrets', '', NAMESPACE), {
    metadata: { name: 'audit-backend' },
    stringData: { 'webhook.yaml': '{}' },
  });
  await kkp.request(
    'POST',
    pathOf('deployments.apps', '', NAMESPACE),
    renderKkp({ cluster: 'bank' }, AUDIT_LOGGING),
  );
  await kkp.request(
    'POST',
    pathOf('pods', '', NAMESPACE),
    await renderPod(world, () => undefined, { name: 'apiserver-running' }),
  );
  await kkp.request('POST', pathOf('pods', '', NAMESPACE), {
    metadata: { name: 'harmless', labels: { team: 'a' } },
    spec: { containers: [{ name: 'x', image: 'example.com/x:1' }] },
  });
  // The controller's work, in its name.
  await client.request('PATCH', pathOf('namespaces', NAMESPACE), { metadata: { labels } });
}

/** Whether what is stored audits, by the server's own judgement. */
const isEffective = judgeOf({ name: 'bank', datacenter: 'enforcing' }, DATACENTERS, 'pod');

async function assertAudited(world: World): Promise<void> {
  const cluster = await world.get('clusters.kubermatic.k8c.io', 'bank');
  assert.equal(cluster.spec.auditLogging?.enabled, true, 'the Cluster stays enabled');
  assert.deepEqual(cluster.spec.auditLogging?.webhookBackend, BACKEND, "the datacenter's backend stays");
  const deployment = await world.seed.client.find<Stored>(pathOf('deployments.apps', 'apiserver', NAMESPACE));
  if (deployment !== undefined)
    assert.ok(isEffective(deployment.spec.template.spec), 'the Deployment stays effective');
  const { items } = await world.seed.client.request<{ items: Stored[] }>(
    'GET',
    pathOf('pods', '', NAMESPACE),
  );
  for (const { metadata, spec } of items)
    if (metadata.labels?.app === 'apiserver') assert.ok(isEffective(spec), `pod ${metadata.name} audits`);
}

function assertRefused(row: AttackRow, { code, stderr }: KubectlResult): void {
  assert.notEqual(code, 0, `it got through: ${stderr}`);
  assert.match(stderr, /denied the request/);
  for (const expected of row.codes) assert.ok(stderr.includes(`[${expected}]`), `${expected} in: ${stderr}`);
  if (row.because !== undefined) assert.match(stderr, row.because);
  else {
    // What, why, and who may.
    assert.match(
      stderr,
      /audit logging of cluster "bank" can't be weakened, because datacenter "enforcing" \(Seed "kubermatic"\) enforces it/,
    );
    assert.match(stderr, /Only those who may "disable-audit-logging"/);
  }
  assert.ok(!stderr.includes(PASSWORD), 'no secret in a message');
  assert.ok(
    stderr.trim().split('\n').length <= 12 && stderr.length < 2500,
    `a few lines at kubectl: ${stderr}`,
  );
}

describe('the catalogue', { skip }, () => {
  let seed: ControlPlane;
  let world: World;
  let server: WebhookServer;
  let kkpHook: KkpHook;
  let unregister: () => Promise<void>;
  let baseline: (Stored | undefined)[];

  before(async () => {
    seed = await startControlPlane();
    await prepareSeed(seed.client);
    await seed.client.request('POST', SEEDS_PATH, renderSeed(DATACENTERS));
    world = new World(seed);
    await furnish(world);
    server = await startWebhookServer(seed, { args: ['--no-controller'] });
    kkpHook = await startKkpHook(seed.client, ['enforcing']);
    unregister = await registerChart(seed.client, 'webhooks', server);
    await until('the hooks to be in force', async () => {
      const alice = seed.client.as(IDENTITIES.alice);
      const answers = await Promise.all([
        alice.send('PATCH', `${CLUSTERS_PATH}/bank?dryRun=All`, { spec: { auditLogging: null } }),
        alice.send('PATCH', `${pathOf('secrets', 'audit-logs-fluentbit', NAMESPACE)}?dryRun=All`, {
          data: null,
        }),
      ]);
      return answers.every(({ status }) => status === 403);
    });
    baseline = await world.snapshot();
    await world.restore(baseline);
  });
  after(async () => {
    await kkpHook?.stop();
    await server?.stop();
    await seed?.stop();
  });

  describe('with the webhook, before a KKP that repairs in silence', () => {
    for (const row of ATTACKS) {
      test(`refused: ${row.name}`, async () => {
        try {
          const result = await row.run(world);
          assertRefused(row, result);
          assert.deepEqual(await world.changes(), [], 'everything is as it was');
        } finally {
          await world.restore(baseline);
        }
      });
    }

    for (const row of FINE) {
      test(`goes through: ${row.name}`, async () => {
        try {
          const { code, stderr } = await row.run(world);
          assert.equal(code, 0, stderr);
          if (row.warns !== undefined) assert.match(stderr, row.warns);
          await assertAudited(world);
        } finally {
          await world.restore(baseline);
        }
      });
    }

    test('goes through: KKP at work, pass by pass', async () => {
      const owner = new Owner(seed.client, { cluster: 'bank', rendering: 'kkp' });
      await owner.run(3);
      assert.deepEqual([owner.failedWaits, owner.errors], [0, 0]);
      assert.equal(owner.passes.at(-1)?.outcome, 'unchanged');
      await assertAudited(world);
      await world.restore(baseline);
    });

    test('each attempt is counted by its reason and datacenter, and a dry run is not', async () => {
      const read = async (): Promise<string> => (await request(`${server.opsUrl}/metrics`)).body.text();
      const count = (metrics: string, code: string): number =>
        Number(
          new RegExp(
            `attempts_total\\{reason="${code}",datacenter="enforcing",outcome="rejected"\\} (\\d+)`,
          ).exec(metrics)?.[1] ?? 0,
        );
      const before = await read();
      for (const { codes, because } of ATTACKS)
        if (because === undefined) for (const code of codes) assert.ok(count(before, code) > 0, code);
      const patch = JSON.stringify({ spec: { auditLogging: null } });
      const args = ['patch', 'cluster', 'bank', '--type=merge', '-p', patch];
      assert.notEqual((await world.kubectl('editor', [...args, '--dry-run=server'])).code, 0);
      assert.equal(count(await read(), 'CLUSTER_AUDIT_REMOVED'), count(before, 'CLUSTER_AUDIT_REMOVED'));
      assert.notEqual((await world.kubectl('editor', args)).code, 0);
      assert.equal(count(await read(), 'CLUSTER_AUDIT_REMOVED'), count(before, 'CLUSTER_AUDIT_REMOVED') + 1);
    });

    test('the log has every reason in full, and nothing of a Secret', async () => {
      const path = join(seed.dir, `${server.child.name}.log`);
      await until('the log to be written', () => readFileSync(path, 'utf8').includes('SIDECAR_MISSING'));
      const log = readFileSync(path, 'utf8');
      assert.ok(!log.includes(PASSWORD));
      const lines = log.split('\n').filter((line) => line.includes('"attempt":"rejected"'));
      const all = lines.map(
        (line) => JSON.parse(line) as { reasons: string[]; attempts: string[]; user: string },
      );
      assert.ok(all.length >= ATTACKS.length);
      assert.ok(
        all.every(({ attempts, reasons }) => attempts.length >= reasons.length && reasons.length > 0),
      );
    });

    test('the hooks come before KKP repairs: none of the attempts reached it', () => {
      assert.equal(kkpHook.repairs(), 0);
    });
  });

  /**
   * Whether kube-apiserver heeds the backstop's policies.
   * @param isAlone also those that the webhook comes before, as it refuses in its mutating hooks
   */
  async function isBackstopHeard(isAlone: boolean): Promise<boolean> {
    const alice = seed.client.as(IDENTITIES.alice);
    const dryRun = '?dryRun=All';
    const patch = (path: string, body: object) => alice.send('PATCH', path + dryRun, body);
    const answers = await Promise.all([
      patch(pathOf('namespaces', NAMESPACE), { metadata: { labels: { [LABEL]: null } } }),
      patch(pathOf('secrets', 'audit-logs-fluentbit', NAMESPACE), { data: null }),
      patch(pathOf('configmaps', 'audit-config', NAMESPACE), { data: null }),
      alice.send('POST', pathOf('pods', '', NAMESPACE) + dryRun, {
        metadata: { name: 'x', labels: { app: 'apiserver' } },
        spec: { containers: [{ name: 'x', image: 'x' }] },
      }),
      ...(isAlone
        ? [
            patch(`${CLUSTERS_PATH}/bank`, { spec: { auditLogging: null } }),
            patch(pathOf('deployments.apps', 'apiserver', NAMESPACE), {
              spec: { template: { spec: { containers: [{ name: 'x', image: 'x' }] } } },
            }),
          ]
        : []),
    ]);
    return answers.every(({ body }) => String(body.message).includes('ValidatingAdmissionPolicy'));
  }

  describe('with the webhook and the backstop', () => {
    before(async () => {
      await registerChart(seed.client, 'backstop', server);
      await until('the backstop to be in force', () => isBackstopHeard(false));
    });

    for (const row of FINE) {
      test(`goes through: ${row.name}`, async () => {
        try {
          const { code, stderr } = await row.run(world);
          assert.equal(code, 0, stderr);
          await assertAudited(world);
        } finally {
          await world.restore(baseline);
        }
      });
    }
  });

  describe('with the backstop alone, while no replica runs', () => {
    before(async () => {
      await kkpHook.stop();
      await unregister();
      await server.stop();
      kkpHook = await startKkpHook(seed.client, []);
      // Only the answers of the hooks are gone, and kube-apiserver needs a moment to see that.
      await until('the hooks to be out of force', async () => {
        const answer = await seed.client
          .as(IDENTITIES.alice)
          .send('PATCH', `${CLUSTERS_PATH}/shop?dryRun=All`, { spec: { auditLogging: { enabled: true } } });
        const probe = await seed.client
          .as(IDENTITIES.alice)
          .send('PATCH', `${pathOf('configmaps', 'audit-config', 'cluster-shop')}?dryRun=All`, {
            data: { 'policy.yaml': 'no policy' },
          });
        return answer.status === 200 && probe.status === 200;
      });
      await until('the backstop to answer alone', () => isBackstopHeard(true));
    });

    for (const row of ATTACKS.filter(({ cel }) => cel)) {
      test(`refused: ${row.name}`, async () => {
        try {
          const { code, stderr } = await row.run(world);
          assert.notEqual(code, 0, 'it got through');
          assert.match(stderr, /ValidatingAdmissionPolicy '.*' with binding '.*' denied request/);
          assert.deepEqual(await world.changes(), []);
        } finally {
          await world.restore(baseline);
        }
      });
    }
    for (const row of FINE.filter(({ needsWebhook }) => !needsWebhook)) {
      test(`goes through: ${row.name}`, async () => {
        try {
          const { code, stderr } = await row.run(world);
          assert.equal(code, 0, stderr);
        } finally {
          await world.restore(baseline);
        }
      });
    }
  });
});
