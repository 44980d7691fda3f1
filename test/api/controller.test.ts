/** What the controller keeps up beside the hooks, on a real kube-apiserver with real controllers. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { request } from 'undici';
import { DEFAULT_CONFIG } from '../../src/config.ts';
import { findUnaudited, livePods } from '../support/audited.ts';
import { skipWithoutControlPlane } from '../support/binaries.ts';
import { ALL_PROGRAMS, type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import type { AuditLogging } from '../support/fixture-types.ts';
import { renderKkp, renderKkpInto } from '../support/fixtures.ts';
import { Owner } from '../support/owner.ts';
import {
  addNodes,
  CLUSTERS_PATH,
  createCluster,
  prepareSeed,
  renderCluster,
  renderSeed,
  SEEDS_PATH,
} from '../support/seed.ts';
import { until } from '../support/wait.ts';
import { startWebhookServer, type WebhookServer } from '../support/webhook-server.ts';
import { registerWebhooks, unregisterWebhooks } from '../support/webhooks.ts';

const OWN_USER = 'system:serviceaccount:kkp-audit-webhook:kkp-audit-webhook';
/** As the chart configures it: this software's own writes count as the platform's. */
const CONFIG = `
platform: { users: [${[...DEFAULT_CONFIG.platform.users, OWN_USER].map((user) => JSON.stringify(user)).join()}] }
defaults: { rollout: { graceSeconds: 1, timeoutSeconds: 60 } }
datacenters: { reached: { egress: [{ cidr: 203.0.113.0/24, port: 3100 }] } }
`;
const OWN_POLICY = 'apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n  - level: Request\n';

interface StoredObject {
  readonly metadata: {
    readonly uid: string;
    readonly resourceVersion: string;
    readonly labels?: Record<string, string>;
    readonly annotations?: Record<string, string>;
  };
  readonly data?: Record<string, string>;
  readonly spec?: { readonly template?: { readonly spec: unknown } };
}

describe('the controller', {
  skip: await skipWithoutControlPlane('what the controller keeps up', ALL_PROGRAMS),
}, () => {
  let seed: ControlPlane;
  let server: WebhookServer;

  before(async () => {
    seed = await startControlPlane({ controllers: true, kwok: true });
    await prepareSeed(seed.client);
    await addNodes(seed.client);
    const datacenters = {
      enforcing: { enforceAuditLogging: true },
      reached: { enforceAuditLogging: true },
      free: {},
    };
    await seed.client.request('POST', SEEDS_PATH, renderSeed(datacenters));
    server = await startWebhookServer(seed, { config: CONFIG });
    await registerWebhooks(seed.client, server);
  });
  after(async () => {
    await server?.stop();
    await seed?.stop();
  });

  const core = (cluster: string, resource: string, name = ''): string =>
    `/api/v1/namespaces/cluster-${cluster}/${resource}${name && `/${name}`}`;
  const deploymentsPath = (cluster: string): string =>
    `/apis/apps/v1/namespaces/cluster-${cluster}/deployments`;
  const readDeployment = (cluster: string) =>
    seed.client.request<StoredObject>('GET', `${deploymentsPath(cluster)}/apiserver`);
  const readPolicy = async (cluster: string): Promise<string | undefined> =>
    (await seed.client.find<StoredObject>(core(cluster, 'configmaps', 'audit-config')))?.data?.[
      'policy.yaml'
    ];
  const patchCluster = (name: string, spec: object) =>
    seed.client.request('PATCH', `${CLUSTERS_PATH}/${name}`, { spec });

  /** A cluster whose Deployment nobody reconciles, without KKP's revision labels. */
  async function create(name: string, datacenter: string, auditLogging?: AuditLogging): Promise<void> {
    const settings = auditLogging === undefined ? {} : { auditLogging };
    await createCluster(seed.client, { name, datacenter, ...settings });
    await seed.client.request(
      'POST',
      deploymentsPath(name),
      renderKkpInto(undefined, { cluster: name }, undefined),
    );
  }
  const untilPods = (name: string, what: string, check: (problems: string[]) => boolean) =>
    until(
      `the pods of ${name} to be ${what}`,
      async () => {
        const pods = await findUnaudited(seed.client, name);
        return pods.length === 2 && pods.every(check);
      },
      60_000,
    );
  /** A roll-out may have been faster with one of them. */
  const deletePods = async (name: string): Promise<void> => {
    for (const { metadata } of await livePods(seed.client, name))
      await seed.client.send('DELETE', core(name, 'pods', metadata.name));
  };
  const untilAudited = (name: string) => untilPods(name, 'audited', (problems) => problems.length === 0);

  test('with an owner that never renders it, every new pod is audited, and the Deployment is the owner’s', async () => {
    await createCluster(seed.client, { name: 'never', datacenter: 'enforcing' });
    const owner = new Owner(seed.client, { cluster: 'never', rendering: 'never' });
    const pass = async () => (await owner.pass()).outcome;
    await until('the owner to find nothing to do', async () => (await pass()) === 'unchanged');
    await untilAudited('never');
    await deletePods('never');
    await untilAudited('never');
    assert.equal(await pass(), 'unchanged');
    const { spec } = await readDeployment('never');
    assert.doesNotMatch(JSON.stringify(spec?.template?.spec), /audit-policy-file|audit-logs/);
  });

  test('pods that came while nobody injected are replaced', async () => {
    await createCluster(seed.client, { name: 'missed', datacenter: 'enforcing' });
    const owner = new Owner(seed.client, { cluster: 'missed', rendering: 'never' });
    await until('the owner to find nothing to do', async () => (await owner.pass()).outcome === 'unchanged');
    await untilAudited('missed');
    await registerWebhooks(seed.client, { ...server, hooks: ['mutate-deployments', 'mutate-clusters'] });
    await deletePods('missed');
    await untilPods('missed', 'unaudited', (problems) => problems.length > 0);
    await registerWebhooks(seed.client, server);
    await untilAudited('missed');
    assert.equal((await owner.pass()).outcome, 'unchanged');
  });

  test('turned off again: our parts go, the owner’s and the ConfigMap stay', async () => {
    await createCluster(seed.client, { name: 'off', datacenter: 'free' });
    await registerWebhooks(seed.client, { ...server, hooks: ['mutate-clusters'] });
    await seed.client.request('POST', deploymentsPath('off'), renderKkp({ cluster: 'off' }));
    const bare = (await readDeployment('off')).spec?.template?.spec;
    await registerWebhooks(seed.client, server);
    await patchCluster('off', { auditLogging: { enabled: true } });
    await untilAudited('off');
    // Pods that are made meanwhile are injected before the Deployment has its turn.
    await until(
      'the Deployment to be injected',
      async () => !isDeepStrictEqual((await readDeployment('off')).spec?.template?.spec, bare),
      60_000,
    );
    await patchCluster('off', { auditLogging: { enabled: false } });
    await untilPods('off', 'without sidecar', (problems) => problems.includes('no sidecar'));
    assert.deepEqual((await readDeployment('off')).spec?.template?.spec, bare);
    for (const name of ['audit-logs-fluentbit', 'audit-logs-fluentbit-tuned'])
      await until(`Secret ${name} to be gone`, async () => {
        return (await seed.client.find(core('off', 'secrets', name))) === undefined;
      });
    assert.ok(await readPolicy('off'));
    await until('no mark of ours', async () => {
      const { metadata } = await readDeployment('off');
      return !Object.keys(metadata.annotations ?? {}).some((key) =>
        key.startsWith('audit.kubermatic.k8c.io/'),
      );
    });
  });

  test('a policy: made where it is missing, kept where a person edited it, replaced by a preset', async () => {
    await create('policy', 'enforcing');
    await untilAudited('policy');
    const path = core('policy', 'configmaps', 'audit-config');
    await until('the checksum', async () => {
      const { annotations } = (await readDeployment('policy')).metadata;
      return annotations?.['audit.kubermatic.k8c.io/policy-checksum'] !== undefined;
    });
    await seed.client.request('DELETE', path);
    await until('the policy to be back', async () => (await readPolicy('policy')) !== undefined);
    assert.match((await readPolicy('policy')) ?? '', /^# policyPreset: metadata/);

    const before = (await livePods(seed.client, 'policy')).map(({ metadata }) => metadata.name);
    await seed.client.request('PATCH', path, { data: { 'policy.yaml': OWN_POLICY } });
    await until(
      'pods that have read the edit',
      async () => {
        const pods = await livePods(seed.client, 'policy');
        return pods.length === 2 && pods.every(({ metadata }) => !before.includes(metadata.name));
      },
      60_000,
    );
    assert.equal(await readPolicy('policy'), OWN_POLICY);

    await seed.client.request('PATCH', `${SEEDS_PATH}/kubermatic`, {
      spec: { auditLogging: { enabled: true, policyPreset: 'minimal' } },
    });
    await until(
      'the preset',
      async () => /^# policyPreset: minimal/.test((await readPolicy('policy')) ?? ''),
      60_000,
    );
    await seed.client.request('PATCH', `${SEEDS_PATH}/kubermatic`, { spec: { auditLogging: null } });
  });

  test('enforced namespaces and Clusters are labelled, and a NetworkPolicy opens what KKP denies', async () => {
    await create('labelled', 'reached');
    await untilAudited('labelled');
    const label = async (path: string) =>
      (await seed.client.request<StoredObject>('GET', path)).metadata.labels?.[
        'audit.kubermatic.k8c.io/enforced'
      ];
    for (const path of ['/api/v1/namespaces/cluster-labelled', `${CLUSTERS_PATH}/labelled`])
      await until(`the label of ${path}`, async () => (await label(path)) === 'true');
    const policies = '/apis/networking.k8s.io/v1/namespaces/cluster-labelled/networkpolicies';
    assert.equal(await seed.client.find(`${policies}/kkp-audit-webhook-egress`), undefined);
    await seed.client.request('POST', policies, {
      metadata: { name: 'default-deny-all-egress' },
      spec: { podSelector: { matchLabels: { app: 'apiserver' } }, policyTypes: ['Egress'] },
    });
    await until('the NetworkPolicy', async () => {
      return (await seed.client.find(`${policies}/kkp-audit-webhook-egress`)) !== undefined;
    });
    await seed.client.request('DELETE', `${policies}/default-deny-all-egress`);
    await until('the NetworkPolicy to be gone', async () => {
      return (await seed.client.find(`${policies}/kkp-audit-webhook-egress`)) === undefined;
    });
  });

  test('a Cluster that is paused is left alone', async () => {
    await createCluster(seed.client, { name: 'paused', datacenter: 'free', pause: true });
    await registerWebhooks(seed.client, { ...server, hooks: ['mutate-pods'] });
    await seed.client.request('POST', deploymentsPath('paused'), renderKkp({ cluster: 'paused' }));
    await patchCluster('paused', { auditLogging: { enabled: true } });
    await registerWebhooks(seed.client, server);
    await create('beacon', 'free', { enabled: true });
    await untilAudited('beacon');
    assert.doesNotMatch(JSON.stringify((await readDeployment('paused')).spec), /audit-policy-file/);
    await patchCluster('paused', { pause: false });
    await untilAudited('paused');
  });

  test('a Deployment that lost its injection while no hook was there gets it back', async () => {
    await create('drifted', 'enforcing');
    await untilAudited('drifted');
    const injected = (await readDeployment('drifted')).spec?.template?.spec;
    await unregisterWebhooks(seed.client);
    const stored = await readDeployment('drifted');
    const bare = renderKkpInto(undefined, { cluster: 'drifted' }, undefined);
    // Without a version: the Deployment's status may change between the read and the write.
    const { resourceVersion: _, ...metadata } = stored.metadata ?? {};
    const spec = { ...stored.spec, template: bare.spec.template };
    await seed.client.request('PUT', `${deploymentsPath('drifted')}/apiserver`, {
      ...stored,
      metadata,
      spec,
    });
    await registerWebhooks(seed.client, server);
    await until(
      'the injection to be back',
      async () =>
        JSON.stringify((await readDeployment('drifted')).spec?.template?.spec) === JSON.stringify(injected),
      60_000,
    );
    await untilAudited('drifted');
  });

  test('report says how each cluster stands, and by its exit code whether all is well', async () => {
    await create('reported', 'enforcing');
    await untilAudited('reported');
    const run = () =>
      new Promise<{ code: number; stdout: string }>((resolve) => {
        const main = join(import.meta.dirname, '..', '..', 'src', 'main.ts');
        const args = [main, 'report', '--output=json', '--kubeconfig', seed.adminKubeconfig];
        execFile(process.execPath, args, (error, stdout) =>
          resolve({ code: Number(error?.code ?? 0), stdout }),
        );
      });
    const stateOf = (stdout: string, name: string) =>
      JSON.parse(stdout).clusters.find(({ cluster }: { cluster: string }) => cluster === name)?.state;
    await until(
      'it to be reported as compliant',
      async () => stateOf((await run()).stdout, 'reported') === 'compliant',
    );
    await seed.client.request(
      'POST',
      CLUSTERS_PATH,
      renderCluster({ name: 'nowhere', datacenter: 'unknown' }),
    );
    const after = await run();
    assert.equal(stateOf(after.stdout, 'nowhere'), 'unresolved');
    assert.equal(after.code, 3);
    await seed.client.request('DELETE', `${CLUSTERS_PATH}/nowhere`);
  });

  test('kube-apiserver away: the state serves on, and work goes on when it is back', async () => {
    await create('outage', 'free');
    await seed.stopApiserver();
    const { statusCode, body } = await request(`${server.opsUrl}/readyz`);
    await body.dump();
    assert.equal(statusCode, 200);
    await seed.restartApiserver();
    await patchCluster('outage', { auditLogging: { enabled: true } });
    await untilAudited('outage');
  });
});
