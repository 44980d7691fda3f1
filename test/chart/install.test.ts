import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { JsonObject } from '../../src/kubernetes.ts';
import { skipWithoutControlPlane } from '../support/binaries.ts';
import { ALL_PROGRAMS, type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import { CHART, HELM_VERSIONS, type HelmVersion, helm, RELEASE, skipWithoutHelm } from '../support/helm.ts';
import { addNodes, createCluster, prepareSeed } from '../support/seed.ts';

const skip =
  (await skipWithoutControlPlane('that the chart installs', ALL_PROGRAMS)) ||
  (await skipWithoutHelm('that the chart installs'));

const REGISTRATION = '/apis/admissionregistration.k8s.io/v1';
const HOOKS = 'audit.kubermatic.k8c.io';
const CONFIGURATIONS = ['mutatingwebhookconfigurations', 'validatingwebhookconfigurations'] as const;
const CA_BUNDLE = Buffer.from('-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n').toString(
  'base64',
);

interface Registration {
  readonly webhooks?: { name: string; failurePolicy: string; clientConfig: { caBundle?: string } }[];
}

for (const version of HELM_VERSIONS)
  describe(`${version} on a real control plane`, { skip }, () => {
    let seed: ControlPlane;

    const run = async (command: string, ...args: string[]) => {
      const { code, stdout, stderr } = await helm(
        version as HelmVersion,
        [command, RELEASE.name, ...args, '--namespace', RELEASE.namespace, '--timeout=90s'],
        { kubeconfig: seed.adminKubeconfig },
      );
      assert.equal(code, 0, stdout + stderr);
      return stdout;
    };
    const registration = (plural: string, name: string) =>
      seed.client.request<Registration>('GET', `${REGISTRATION}/${plural}/${name}`);

    before(async () => {
      seed = await startControlPlane({ controllers: true, kwok: true });
      await prepareSeed(seed.client);
      await addNodes(seed.client);
      await createCluster(seed.client, { name: 'held', datacenter: 'aws-1' });
    });
    after(() => seed?.stop());

    test('installs, and its pods become ready on different nodes', async () => {
      const notes = await run('install', CHART, '--wait');
      assert.match(notes, /rollout status deployment\/audit-kkp-audit-webhook/);
      const pods = await seed.client.request<{ items: { spec: { nodeName: string } }[] }>(
        'GET',
        `/api/v1/namespaces/${RELEASE.namespace}/pods?labelSelector=app.kubernetes.io/instance%3D${RELEASE.name}`,
      );
      assert.equal(pods.items.length, 2);
      assert.equal(new Set(pods.items.map(({ spec }) => spec.nodeName)).size, 2);
    });

    test('holds no write back before a replica answers', async () => {
      const path = '/api/v1/namespaces/cluster-held/pods?dryRun=All';
      const pod = {
        metadata: { name: 'x', labels: { app: 'apiserver' } },
        spec: { containers: [{ name: 'apiserver', image: 'x' }] },
      };
      await seed.client.request('POST', path, pod);
    });

    test('keeps what the controller wrote through an upgrade and a rollback', async () => {
      for (const plural of CONFIGURATIONS) {
        const { webhooks = [] } = await registration(plural, HOOKS);
        const withCa = webhooks.map(({ clientConfig, ...rest }) => ({
          ...rest,
          clientConfig: { ...clientConfig, caBundle: CA_BUNDLE },
        }));
        await seed.client.request('PATCH', `${REGISTRATION}/${plural}/${HOOKS}`, { webhooks: withCa });
        const enforced = withCa.map((hook) => ({
          ...hook,
          name: `enforced-${hook.name}`,
          failurePolicy: 'Fail',
          objectSelector: { matchLabels: { [`${HOOKS}/enforced`]: 'true' } },
        }));
        await seed.client.request('PATCH', `${REGISTRATION}/${plural}/enforced.${HOOKS}`, {
          webhooks: enforced,
        });
      }
      const check = async () => {
        for (const plural of CONFIGURATIONS) {
          const { webhooks = [] } = await registration(plural, HOOKS);
          assert.ok(webhooks.length >= 3);
          for (const { name, clientConfig, failurePolicy } of webhooks) {
            assert.equal(clientConfig.caBundle, CA_BUNDLE, name);
            assert.equal(failurePolicy, 'Ignore', name);
          }
          const enforced = await registration(plural, `enforced.${HOOKS}`);
          assert.equal(enforced.webhooks?.length, webhooks.length);
          for (const { name, failurePolicy } of enforced.webhooks ?? [])
            assert.equal(failurePolicy, 'Fail', name);
        }
      };
      await check();
      await run(
        'upgrade',
        CHART,
        '--wait',
        '--set=webhooks.timeoutSeconds=3',
        '--set=config.defaults.mode=warn',
      );
      await check();
      await run('upgrade', CHART, '--wait', '--reset-values');
      await check();
      await run('rollback', '2', '--wait');
      await check();
    });

    test('leaves nothing when it is uninstalled', async () => {
      await run('uninstall', '--wait');
      const left: string[] = [];
      const { resources } = await listResources(seed);
      for (const path of resources) {
        const selector = `labelSelector=app.kubernetes.io/instance%3D${RELEASE.name}`;
        const { items } = await seed.client.request<{
          items: { metadata: { name: string; deletionTimestamp?: string } }[];
        }>('GET', `${path}?${selector}`);
        for (const { metadata } of items)
          if (!metadata.deletionTimestamp) left.push(`${path}/${metadata.name}`);
      }
      assert.deepEqual(left, []);
      for (const plural of CONFIGURATIONS) {
        const { items } = await seed.client.request<{ items: JsonObject[] }>(
          'GET',
          `${REGISTRATION}/${plural}`,
        );
        assert.deepEqual(items, []);
      }
    });
  });

/** The paths of every kind of object that can be listed. */
async function listResources(seed: ControlPlane): Promise<{ resources: string[] }> {
  const { groups } = await seed.client.request<{ groups: { preferredVersion: { groupVersion: string } }[] }>(
    'GET',
    '/apis',
  );
  const versions = [
    'api/v1',
    ...groups.map(({ preferredVersion }) => `apis/${preferredVersion.groupVersion}`),
  ];
  const resources: string[] = [];
  for (const version of versions) {
    const list = await seed.client.request<{ resources: { name: string; verbs: string[] }[] }>(
      'GET',
      `/${version}`,
    );
    for (const { name, verbs } of list.resources)
      if (verbs.includes('list')) resources.push(`/${version}/${name}`);
  }
  assert.ok(resources.length > 40);
  return { resources };
}
