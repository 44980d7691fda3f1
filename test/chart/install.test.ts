import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { run } from '../../src/cli/run.ts';
import type { JsonObject, KubernetesObject } from '../../src/kubernetes.ts';
import { removeFolder, temporaryFolder } from '../support/children.ts';
import { ALL_PROGRAMS, type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import {
  CHART,
  FULL_NAME,
  HELM_VERSIONS,
  type HelmVersion,
  helm,
  type Manifest,
  RELEASE,
  renderChart,
  skipWithoutHelm,
} from '../support/helm.ts';
import { IDENTITIES } from '../support/identities.ts';
import { addNodes, CLUSTERS_PATH, createCluster, prepareSeed } from '../support/seed.ts';

const skip = await skipWithoutHelm('that the chart installs', ALL_PROGRAMS);

const REGISTRATION = '/apis/admissionregistration.k8s.io/v1';
const CLUSTER_ROLES = '/apis/rbac.authorization.k8s.io/v1/clusterroles';
const HOOKS = 'audit.kubermatic.k8c.io';
const CONFIGURATIONS = ['mutatingwebhookconfigurations', 'validatingwebhookconfigurations'] as const;
const CA_BUNDLE = Buffer.from('-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n').toString(
  'base64',
);

/** The Cluster and its namespace are under enforcement. */
const LABELLED = [`${CLUSTERS_PATH}/held`, '/api/v1/namespaces/cluster-held'];

interface Registration {
  readonly webhooks?: { name: string; failurePolicy: string; clientConfig: { caBundle?: string } }[];
}

for (const version of HELM_VERSIONS)
  describe(`${version} on a real control plane`, { skip }, () => {
    let seed: ControlPlane;

    const runHelm = async (command: string, ...args: string[]) => {
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
      for (const name of ['free', 'held']) await createCluster(seed.client, { name, datacenter: 'aws-1' });
      const labels = { [`${HOOKS}/enforced`]: 'true' };
      for (const path of LABELLED) await seed.client.request('PATCH', path, { metadata: { labels } });
      // kube-apiserver itself then refuses a pod that asks for more than the standard lets it.
      await seed.client.request('PATCH', `/api/v1/namespaces/${RELEASE.namespace}`, {
        metadata: { labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
      });
    });
    after(() => seed?.stop());

    test('installs under the restricted pod security standard, and its pods become ready on different nodes', async () => {
      const notes = await runHelm('install', CHART, '--wait');
      assert.match(notes, /rollout status deployment\/audit-kkp-audit-webhook/);
      const pods = await seed.client.request<{ items: { spec: { nodeName: string } }[] }>(
        'GET',
        `/api/v1/namespaces/${RELEASE.namespace}/pods?labelSelector=app.kubernetes.io/instance%3D${RELEASE.name}`,
      );
      assert.equal(pods.items.length, 2);
      assert.equal(new Set(pods.items.map(({ spec }) => spec.nodeName)).size, 2);
    });

    test('refuses a second release, and says whose the first one is', async () => {
      const namespace = 'elsewhere';
      const { code, stderr } = await helm(
        version,
        ['install', 'second', CHART, `--namespace=${namespace}`, '--create-namespace', '--timeout=90s'],
        { kubeconfig: seed.adminKubeconfig },
      );
      assert.notEqual(code, 0);
      assert.match(stderr, /"audit\.kubermatic\.k8c\.io".* exists and cannot be imported/);
      assert.match(stderr, /"meta\.helm\.sh\/release-name" must equal "second": current value is "audit"/);
      for (const path of [`/apis/apps/v1/namespaces/${namespace}/deployments`, CLUSTER_ROLES]) {
        const { items } = await seed.client.request<{ items: KubernetesObject[] }>('GET', path);
        assert.ok(!items.some(({ metadata }) => metadata?.name?.startsWith('second')), path);
      }
    });

    test('holds no write back before a replica answers', async () => {
      const path = '/api/v1/namespaces/cluster-free/pods?dryRun=All';
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
      await runHelm(
        'upgrade',
        CHART,
        '--wait',
        '--set=webhooks.timeoutSeconds=3',
        '--set=config.defaults.mode=warn',
      );
      await check();
      await runHelm('upgrade', CHART, '--wait', '--reset-values');
      await check();
      await runHelm('rollback', '2', '--wait');
      await check();
    });

    test('is upgraded as the documentation says, also to a chart with a section more', async () => {
      const text = readFileSync(join(CHART, '..', '..', 'docs', 'upgrade.md'), 'utf8');
      const [, flags = ''] = /^ {4}helm upgrade audit \S+ --namespace \S+ (.*) --wait$/m.exec(text) ?? [];
      const folder = temporaryFolder();
      try {
        const next = join(folder, 'next');
        cpSync(CHART, next, { recursive: true });
        const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8'));
        schema.required.push('next');
        schema.properties.next = { type: 'object' };
        writeFileSync(join(next, 'values.schema.json'), JSON.stringify(schema));
        const values = readFileSync(join(CHART, 'values.yaml'), 'utf8');
        writeFileSync(join(next, 'values.yaml'), `${values}\nnext: { level: 1 }\n`);
        await runHelm('upgrade', CHART, '--wait', '--set=webhooks.timeoutSeconds=3');
        const manifest = await runHelm('upgrade', next, flags, '--dry-run=server');
        assert.match(manifest, /timeoutSeconds: 3/);
        // As it says too.
        await assert.rejects(runHelm('upgrade', next, '--reuse-values', '--dry-run=server'), /next/);
      } finally {
        removeFolder(folder);
      }
    });

    test('has the hooks with Fail where the documentation says to take them away', async () => {
      const text = readFileSync(join(CHART, '..', '..', 'docs', 'uninstall.md'), 'utf8');
      const [, args = ''] = /^ {4}kubectl (delete \S*webhookconfiguration \S+)$/m.exec(text) ?? [];
      const { code, stdout, stderr } = await seed.kubectl([...args.split(' '), '--dry-run=server']);
      assert.equal(code, 0, stderr);
      assert.deepEqual(
        stdout.match(/\w+webhookconfiguration\S* "enforced\.\S+" deleted/g)?.length,
        2,
        stdout,
      );
    });

    test('takes its hooks and labels away as the Job that uninstalls may', async () => {
      // By now nobody answers the hooks with failurePolicy Fail; the backstop may be faster.
      const label = { metadata: { labels: { [`${HOOKS}/enforced`]: null } } };
      for (const path of LABELLED)
        assert.ok((await seed.client.as(IDENTITIES.alice).send('PATCH', path, label)).status >= 400, path);
      const own = {
        [`/apis/coordination.k8s.io/v1/namespaces/${RELEASE.namespace}/leases`]:
          'kkp-audit-webhook-controller',
        [`/api/v1/namespaces/${RELEASE.namespace}/secrets`]: 'kkp-audit-webhook-ca',
      };
      for (const [path, name] of Object.entries(own))
        await seed.client.request('POST', path, { metadata: { name } });
      const account = `${FULL_NAME}-uninstall`;
      const isOfJob = ({ kind = '', metadata }: Manifest) => metadata?.name === account && kind !== 'Job';
      const manifests = (await renderChart()).filter(isOfJob);
      assert.equal(manifests.length, 5);
      const apply = await seed.kubectl(['apply', '-f', '-'], {
        input: manifests.map((m) => JSON.stringify(m)).join('\n---\n'),
      });
      assert.equal(apply.code, 0, apply.stderr);

      const identity = {
        user: `system:serviceaccount:${RELEASE.namespace}:${account}`,
        groups: ['system:authenticated'],
      };
      const args = [
        `--namespace=${RELEASE.namespace}`,
        `--name=${FULL_NAME}`,
        `--kubeconfig=${seed.kubeconfigFor(identity)}`,
      ];
      for (const [round, expected] of [
        ['first', /^backstop pods\.audit\.kubermatic\.k8c\.io: deleted$/m],
        ['second', /: not there$/m],
      ] as const) {
        const { code, stdout, stderr } = await runCommand(['uninstall-hooks', ...args]);
        assert.deepEqual([code, stderr], [0, ''], `${round} time: ${stdout}`);
        assert.match(stdout, expected);
        assert.doesNotMatch(stdout, /failed/);
      }
      for (const path of LABELLED) {
        const { metadata } = await seed.client.request<KubernetesObject>('GET', path);
        assert.equal(metadata?.labels?.[`${HOOKS}/enforced`], undefined, path);
      }
      for (const [path, name] of Object.entries(own))
        assert.equal(await seed.client.find(`${path}/${name}`), undefined);
    });

    test('says what it could not do, and does the rest', async () => {
      const identity = { user: 'nobody', groups: ['system:authenticated'] };
      const args = ['--namespace=x', `--kubeconfig=${seed.kubeconfigFor(identity)}`];
      const { code, stderr, stdout } = await runCommand(['uninstall-hooks', ...args]);
      assert.equal(code, 1);
      assert.match(stderr, /not done: .*labels of namespaces.*run it again/);
      assert.match(stdout, /labels of Clusters: failed: .*forbidden/);
    });

    test('leaves nothing when it is uninstalled', async () => {
      await runHelm('uninstall', '--wait');
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

/** Runs a command of the command line, in this process. */
async function runCommand(
  argv: readonly string[],
): Promise<{ code: number; stdout: string; stderr: string }> {
  const result = { code: 0, stdout: '', stderr: '' };
  const collect = (key: 'stdout' | 'stderr') =>
    new Writable({
      write(chunk, _encoding, done) {
        result[key] += String(chunk);
        done();
      },
    });
  await run(argv, {
    stdin: Readable.from([]),
    stdout: collect('stdout'),
    stderr: collect('stderr'),
    env: {},
    setExitCode: (code) => {
      result.code = code;
    },
  });
  return result;
}

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
