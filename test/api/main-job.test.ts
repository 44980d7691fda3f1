/** The main job, on a real kube-apiserver and through kubectl: what is injected, what stays as it is, what is refused. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { skipWithoutControlPlane } from '../support/binaries.ts';
import { type ControlPlane, type KubectlResult, startControlPlane } from '../support/controlplane.ts';
import { renderKkp } from '../support/fixtures.ts';
import { IDENTITIES } from '../support/identities.ts';
import { createCluster, prepareSeed, renderSeed, SEEDS_PATH } from '../support/seed.ts';
import { startWebhookServer, type WebhookServer } from '../support/webhook-server.ts';
import { registerWebhooks } from '../support/webhooks.ts';

interface Stored {
  readonly metadata: { readonly generation: number; readonly resourceVersion: string };
  readonly spec: { readonly template: { readonly spec: Record<string, unknown> } };
}

const deploymentPath = (cluster: string): string =>
  `/apis/apps/v1/namespaces/cluster-${cluster}/deployments/apiserver`;

describe('the main job', {
  skip: await skipWithoutControlPlane('injection through a real kube-apiserver'),
}, () => {
  let seed: ControlPlane;
  let server: WebhookServer;

  before(async () => {
    seed = await startControlPlane();
    await prepareSeed(seed.client);
    const datacenters = { enforcing: { enforceAuditLogging: true }, free: {} };
    await seed.client.request('POST', SEEDS_PATH, renderSeed(datacenters));
    server = await startWebhookServer(seed);
    await registerWebhooks(seed.client, server);
  });
  after(async () => {
    await server?.stop();
    await seed?.stop();
  });

  const bare = (cluster: string): string => JSON.stringify(renderKkp({ cluster }));
  const get = (cluster: string): Promise<Stored> =>
    seed.client.request<Stored>('GET', deploymentPath(cluster));
  const template = async (cluster: string) => (await get(cluster)).spec.template.spec;
  const kubectl = (args: readonly string[], input?: string): Promise<KubectlResult> =>
    seed.kubectl(args, { as: IDENTITIES.alice, ...(input !== undefined && { input }) });
  const succeed = async (args: readonly string[], input?: string): Promise<KubectlResult> => {
    const result = await kubectl(args, input);
    assert.equal(result.code, 0, result.stderr);
    return result;
  };

  test('a Deployment becomes what KKP renders with audit logging on', async () => {
    await createCluster(seed.client, { name: 'like-kkp', datacenter: 'enforcing' });
    await succeed(['create', '-f', '-'], bare('like-kkp'));
    const injected = await template('like-kkp');
    // The same from KKP's own hand, stored with all defaults, where no hook is asked.
    const rendered = renderKkp({ cluster: 'like-kkp' }, { enabled: true });
    const name = 'rendered-by-kkp';
    const path = '/apis/apps/v1/namespaces/cluster-like-kkp/deployments';
    const stored = await seed.client.request<Stored>('POST', path, {
      ...rendered,
      metadata: { ...rendered.metadata, name },
    });
    assert.deepEqual(injected, stored.spec.template.spec);
  });

  for (const how of ['client-side', 'server-side']) {
    test(`applying the same Deployment again, ${how}, changes neither generation nor resourceVersion`, async () => {
      const name = `twice-${how}`;
      const apply = () => succeed(['apply', `--server-side=${how === 'server-side'}`, '-f', '-'], bare(name));
      await createCluster(seed.client, { name, datacenter: 'enforcing' });
      await apply();
      const first = await get(name);
      await apply();
      const { generation, resourceVersion } = (await get(name)).metadata;
      assert.deepEqual(
        [generation, resourceVersion],
        [first.metadata.generation, first.metadata.resourceVersion],
      );
    });
  }

  test('create, update, dry run, server-side apply and replace all end in the same template', async () => {
    const clusters = ['by-create', 'by-update', 'by-dry-run', 'by-server-side', 'by-replace'];
    for (const name of clusters) {
      await createCluster(seed.client, { name, datacenter: 'free', auditLogging: { enabled: true } });
    }
    const results = new Map<string, unknown>();
    await succeed(['create', '-f', '-'], bare('by-create'));
    results.set('by-create', await template('by-create'));

    await succeed(['create', '-f', '-'], bare('by-update'));
    const changed = { spec: { template: { spec: { terminationGracePeriodSeconds: 31 } } } };
    await succeed([
      '-n',
      'cluster-by-update',
      'patch',
      'deployment',
      'apiserver',
      '-p',
      JSON.stringify(changed),
    ]);
    const back = { spec: { template: { spec: { terminationGracePeriodSeconds: 30 } } } };
    await succeed([
      '-n',
      'cluster-by-update',
      'patch',
      'deployment',
      'apiserver',
      '-p',
      JSON.stringify(back),
    ]);
    results.set('by-update', await template('by-update'));

    const { stdout } = await succeed(
      ['create', '--dry-run=server', '-o', 'json', '-f', '-'],
      bare('by-dry-run'),
    );
    results.set('by-dry-run', (JSON.parse(stdout) as Stored).spec.template.spec);
    assert.equal(
      (await seed.client.send('GET', deploymentPath('by-dry-run'))).status,
      404,
      'a dry run leaves no trace',
    );

    await succeed(['apply', '--server-side', '-f', '-'], bare('by-server-side'));
    await succeed(['apply', '--server-side', '-f', '-'], bare('by-server-side'));
    results.set('by-server-side', await template('by-server-side'));

    await succeed(['create', '-f', '-'], bare('by-replace'));
    await succeed(['replace', '-f', '-'], bare('by-replace'));
    results.set('by-replace', await template('by-replace'));

    const neutral = (name: string): unknown =>
      JSON.parse(JSON.stringify(results.get(name)).replaceAll(name, 'NAME')) as unknown;
    for (const name of clusters) assert.deepEqual(neutral(name), neutral('by-create'), name);
  });

  test('turned off again in a free datacenter, what was put in goes', async () => {
    await createCluster(seed.client, { name: 'on-off', datacenter: 'free' });
    await succeed(['create', '-f', '-'], bare('on-off'));
    const original = await template('on-off');
    const turn = (enabled: boolean) =>
      succeed([
        'patch',
        'cluster',
        'on-off',
        '--type',
        'merge',
        '-p',
        JSON.stringify({ spec: { auditLogging: { enabled } } }),
      ]);
    const nudge = async (
      expected: (spec: Record<string, unknown>) => boolean,
    ): Promise<Record<string, unknown>> => {
      for (;;) {
        await succeed([
          '-n',
          'cluster-on-off',
          'patch',
          'deployment',
          'apiserver',
          '--type',
          'merge',
          '-p',
          '{}',
        ]);
        const spec = await template('on-off');
        if (expected(spec)) return spec; // until the server's watch has brought the Cluster's change
      }
    };
    await turn(true);
    const injected = await nudge((spec) => (spec.containers as unknown[]).length === 3);
    assert.notDeepEqual(injected, original);
    await turn(false);
    assert.deepEqual(await nudge((spec) => (spec.containers as unknown[]).length === 2), original);
  });

  test('an attempt to switch a Cluster off is refused with what, why and who may', async () => {
    await createCluster(seed.client, {
      name: 'guarded',
      datacenter: 'enforcing',
      auditLogging: { enabled: true },
    });
    const off = [
      'patch',
      'cluster',
      'guarded',
      '--type',
      'merge',
      '-p',
      '{"spec":{"auditLogging":{"enabled":false}}}',
    ];
    const { code, stderr } = await kubectl(off);
    assert.equal(code, 1);
    for (const part of [
      'spec.auditLogging.enabled is turned off',
      'datacenter "enforcing"',
      'disable-audit-logging',
      'CLUSTER_AUDIT_DISABLED',
    ]) {
      assert.ok(stderr.includes(part), `${part} in: ${stderr}`);
    }
    const { auditLogging } = (
      await seed.client.request<{ spec: { auditLogging: unknown } }>(
        'GET',
        '/apis/kubermatic.k8c.io/v1/clusters/guarded',
      )
    ).spec;
    assert.deepEqual(auditLogging, { enabled: true });
  });

  test("a person's replace that takes the injection out of an enforced cluster is refused", async () => {
    await createCluster(seed.client, { name: 'kept', datacenter: 'enforcing' });
    await succeed(['create', '-f', '-'], bare('kept'));
    const before = await get('kept');
    const { code, stderr } = await kubectl(['replace', '-f', '-'], bare('kept'));
    assert.equal(code, 1, stderr);
    assert.match(stderr, /SIDECAR_MISSING/);
    assert.match(stderr, /POLICY_FLAG_MISSING/);
    assert.deepEqual((await get('kept')).metadata, before.metadata);
  });
});
