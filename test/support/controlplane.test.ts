import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { ApiError } from './api-client.ts';
import { skipWithoutControlPlane } from './binaries.ts';
import { type ControlPlane, startControlPlane } from './controlplane.ts';
import type { Deployment } from './fixture-types.ts';
import { IDENTITIES } from './identities.ts';
import { Owner } from './owner.ts';
import {
  addNodes,
  CLUSTERS_PATH,
  createCluster,
  prepareSeed,
  renderCluster,
  renderSeed,
  SEEDS_PATH,
} from './seed.ts';
import { until } from './wait.ts';
import { registerWebhooks, unregisterWebhooks } from './webhooks.ts';

const skip = await skipWithoutControlPlane('the control plane that other tests stand on');

/** The programs that run with something of that folder in their command line. */
function processesOf(dir: string): string[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid)
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch {
        return ''; // ended meanwhile
      }
    })
    .filter((commandLine) => commandLine.includes(dir));
}

describe('a control plane', { skip }, () => {
  let seed: ControlPlane;

  before(async () => {
    seed = await startControlPlane();
    await prepareSeed(seed.client);
  });
  after(() => seed.stop());

  test('is of the version that it is built from, and kubectl reaches it as anybody', async () => {
    const version = await seed.kubectl(['version', '--output=json']);
    assert.equal(version.code, 0, version.stderr);
    assert.match(JSON.parse(version.stdout).serverVersion.gitVersion, /^v1\.36\.\d+$/);

    const review = await seed.kubectl(['auth', 'whoami', '--output=json'], {
      as: { user: 'dave', groups: ['devs'] },
    });
    const { username, groups } = JSON.parse(review.stdout).status.userInfo;
    assert.deepEqual([username, groups], ['dave', ['devs', 'system:authenticated']]);
  });

  test('takes every identity by its own token and by a kubeconfig', async () => {
    const review = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' };
    for (const identity of [...Object.values(IDENTITIES), { user: 'dave' }]) {
      const answer = await seed.client.as(identity).request<{
        status: { userInfo: { username: string } };
      }>('POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews', review);
      assert.equal(answer.status.userInfo.username, identity.user);
      const kubeconfig = seed.kubeconfigFor(identity);
      const whoami = await seed.kubectl([
        'auth',
        'whoami',
        `--kubeconfig=${kubeconfig}`,
        '--output=jsonpath={.status.userInfo.username}',
      ]);
      assert.equal(whoami.stdout, identity.user);
    }
  });

  test("serves KKP's kinds, pruned and defaulted as KKP's own", async () => {
    await seed.client.request('POST', SEEDS_PATH, renderSeed({ 'aws-1': { enforceAuditLogging: true } }));
    const cluster = await seed.client.request<{ spec: { auditLogging: object } }>('POST', CLUSTERS_PATH, {
      ...renderCluster({ name: 'pruned', datacenter: 'aws-1' }),
      spec: {
        ...renderCluster({ name: 'pruned', datacenter: 'aws-1' }).spec,
        auditLogging: { enabled: true, unknown: 1, webhookBackend: { auditWebhookConfig: { name: 'w' } } },
      },
    });
    assert.deepEqual(cluster.spec.auditLogging, {
      enabled: true,
      webhookBackend: { auditWebhookConfig: { name: 'w' }, auditWebhookInitialBackoff: '10s' },
    });
    const wrong = {
      ...renderCluster({ name: 'wrong', datacenter: 'aws-1', auditLogging: { policyPreset: 'all' } }),
    };
    await assert.rejects(
      seed.client.request('POST', CLUSTERS_PATH, wrong),
      (error) => error instanceof ApiError && error.status === 422 && /policyPreset/.test(error.message),
    );
    // What the dashboard saves: null is no value.
    const saved = await seed.client.request<{ spec: { auditLogging: object } }>(
      'PATCH',
      `${CLUSTERS_PATH}/pruned`,
      { spec: { auditLogging: { enabled: true, policyPreset: '', webhookBackend: null } } },
    );
    assert.deepEqual(saved.spec.auditLogging, { enabled: true, policyPreset: '' });
  });

  test('keeps its objects over a restart of kube-apiserver', async () => {
    await seed.client.request('POST', '/api/v1/namespaces', { metadata: { name: 'kept' } });
    await seed.stopApiserver();
    await assert.rejects(seed.client.request('GET', '/api/v1/namespaces/kept'));
    await seed.restartApiserver();
    assert.ok(await seed.client.find('/api/v1/namespaces/kept'));
  });

  test('calls registered hooks at once, and no longer once they are unregistered', async () => {
    // Nobody listens at that address, so that every write that a hook is called for fails.
    const nobody = { url: 'https://127.0.0.1:1', ca: seed.ca, failurePolicy: 'Fail' } as const;
    const write = () =>
      seed.client.send(
        'POST',
        `${CLUSTERS_PATH}?dryRun=All`,
        renderCluster({ name: 'hooked', datacenter: 'aws-1' }),
      );
    await registerWebhooks(seed.client, nobody);
    assert.match(String((await write()).body.message), /mutate-clusters\.audit\.kubermatic\.k8c\.io/);
    await registerWebhooks(seed.client, { ...nobody, hooks: ['validate'] });
    assert.match(String((await write()).body.message), /validate\.audit\.kubermatic\.k8c\.io/);
    await unregisterWebhooks(seed.client);
    assert.equal((await write()).status, 201);
  });

  for (const konnectivity of [true, false])
    test(`lets the owner reach its fixed point at once (konnectivity ${konnectivity})`, async () => {
      const kkp = { konnectivity, encryption: true, authorizationWebhook: true };
      const cluster = konnectivity ? 'plain' : 'legacy';
      await createCluster(seed.client, { name: cluster, datacenter: 'aws-1', kkp });
      for (const rendering of ['kkp', 'never'] as const) {
        const owner = new Owner(seed.client, { cluster, rendering, kkp });
        const passes = await owner.run(3);
        const first = rendering === 'kkp' ? 'created' : 'unchanged';
        assert.deepEqual(
          passes.map(({ outcome, differences, error }) => error?.message ?? [outcome, ...differences]),
          [[first], ['unchanged'], ['unchanged']],
        );
        assert.equal((await owner.deployment())?.metadata.generation, 1);
      }
    });

  test("lets the owner that knows the Cluster's settings switch audit logging on and off", async () => {
    const cluster = 'switched';
    await createCluster(seed.client, { name: cluster, datacenter: 'aws-1' });
    const owner = new Owner(seed.client, { cluster, rendering: 'kkp' });
    await owner.run(2);
    const names = async () =>
      (await owner.deployment())?.spec.template.spec.containers.map(({ name }) => name);
    const set = (enabled: boolean) =>
      seed.client.request('PATCH', `${CLUSTERS_PATH}/${cluster}`, { spec: { auditLogging: { enabled } } });

    await set(true);
    assert.deepEqual(
      (await owner.run(3)).map(({ outcome }) => outcome),
      ['updated', 'unchanged', 'unchanged'],
    );
    assert.deepEqual(await names(), ['konnectivity-server', 'apiserver', 'audit-logs']);
    await set(false);
    assert.deepEqual(
      (await owner.run(2)).map(({ outcome }) => outcome),
      ['updated', 'unchanged'],
    );
    assert.deepEqual(await names(), ['konnectivity-server', 'apiserver']);
    assert.deepEqual([owner.passes.length, owner.updates, owner.failedWaits, owner.errors], [7, 2, 0, 0]);
  });

  test('shows a write that comes to nothing as what it is to a reconciler: a failed wait', async () => {
    const cluster = 'stuck';
    await createCluster(seed.client, { name: cluster, datacenter: 'aws-1' });
    const owner = new Owner(seed.client, { cluster, rendering: 'never', waitTimeoutMs: 200 });
    await owner.pass();
    // The Deployment gets a part that the owner takes out, and a policy in the place of a hook puts it back.
    const stored = await owner.deployment();
    assert.ok(stored);
    stored.spec.template.spec.containers[1]?.env?.push({ name: 'INJECTED', value: 'again' });
    const path = `/apis/apps/v1/namespaces/cluster-${cluster}/deployments/apiserver`;
    await seed.client.request('PUT', path, stored);
    await injectAgain(seed, path);

    // Once, what is put back changes hands in managedFields, which is a change; from then on nothing changes any more.
    assert.deepEqual(
      (await owner.run(3)).map(({ outcome }) => outcome),
      ['updated', 'failed-wait', 'failed-wait'],
    );
    assert.equal(owner.failedWaits, 2);
  });
});

/** A MutatingAdmissionPolicy that does what a naive hook does: it injects whatever the owner writes. */
async function injectAgain(seed: ControlPlane, deploymentPath: string): Promise<void> {
  const path = '/apis/admissionregistration.k8s.io/v1';
  const name = 'naive-injector';
  await seed.client.request('POST', `${path}/mutatingadmissionpolicies`, {
    metadata: { name },
    spec: {
      matchConstraints: {
        resourceRules: [
          { apiGroups: ['apps'], apiVersions: ['v1'], operations: ['UPDATE'], resources: ['deployments'] },
        ],
      },
      matchConditions: [
        {
          name: 'not-there',
          expression: "!object.spec.template.spec.containers[1].env.exists(e, e.name == 'INJECTED')",
        },
      ],
      reinvocationPolicy: 'Never',
      failurePolicy: 'Fail',
      mutations: [
        {
          patchType: 'JSONPatch',
          jsonPatch: {
            expression: `[JSONPatch{
              op: "add",
              path: "/spec/template/spec/containers/1/env/-",
              value: Object.spec.template.spec.containers.env{name: "INJECTED", value: "again"}
            }]`,
          },
        },
      ],
    },
  });
  await seed.client.request('POST', `${path}/mutatingadmissionpolicybindings`, {
    metadata: { name },
    spec: { policyName: name },
  });
  await until('the policy to be in force', async () => {
    const stored = await seed.client.request<Deployment>('GET', deploymentPath);
    stored.spec.template.spec.containers[1]?.env?.pop();
    const dryRun = await seed.client.request<Deployment>('PUT', `${deploymentPath}?dryRun=All`, stored);
    return dryRun.spec.template.spec.containers[1]?.env?.at(-1)?.name === 'INJECTED';
  });
}

describe('controllers and nodes', { skip }, () => {
  test('roll a Deployment out; stop leaves nothing behind', async () => {
    const seed = await startControlPlane({ controllers: true, kwok: true });
    await prepareSeed(seed.client);
    await addNodes(seed.client);
    await createCluster(seed.client, { name: 'rolled', datacenter: 'aws-1' });
    const owner = new Owner(seed.client, { cluster: 'rolled', rendering: 'kkp' });
    await owner.pass();
    await until('two replicas to be available', async () => {
      const deployment = await owner.deployment();
      return (deployment?.status as { availableReplicas?: number } | undefined)?.availableReplicas === 2;
    });
    const { dir } = seed;
    assert.equal(processesOf(dir).length, 5);
    await seed.stop();
    assert.deepEqual(processesOf(dir), []);
    assert.equal(existsSync(dir), false);
  });

  for (const signal of ['SIGTERM', 'SIGKILL'] as const)
    test(`leave no process behind when the test itself ends by ${signal}`, async () => {
      const module = JSON.stringify(new URL('controlplane.ts', import.meta.url).href);
      const script = `const { startControlPlane } = await import(${module});
        console.log((await startControlPlane()).dir);
        setInterval(() => {}, 1000);`;
      const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const dir = await new Promise<string>((resolve) =>
        child.stdout.once('data', (chunk) => resolve(String(chunk).trim())),
      );
      assert.equal(processesOf(dir).length, 2);
      const ended = once(child, 'exit');
      child.kill(signal);
      await ended;
      await until('its programs to end', () => processesOf(dir).length === 0);
      if (signal === 'SIGTERM') assert.equal(existsSync(dir), false);
      rmSync(dir, { recursive: true, force: true }); // nobody could remove it after SIGKILL
    });
});
