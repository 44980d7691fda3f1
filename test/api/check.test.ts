/** `check` on a real control plane: green where the chart is installed and does its work, and each planted fault found with its way out. */
import assert from 'node:assert/strict';
import { Readable, Writable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import type { Configuration, WebhookEntry } from '../../src/certs/publish.ts';
import { type CheckResult, runChecks } from '../../src/check/checks.ts';
import { gather } from '../../src/check/gather.ts';
import type { Snapshot } from '../../src/check/snapshot.ts';
import { run } from '../../src/cli/run.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/credentials.ts';
import type { Deployment } from '../../src/kubernetes.ts';
import { ALL_PROGRAMS, type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import { renderKkp } from '../support/fixtures.ts';
import { CHART, FULL_NAME, helm, RELEASE, skipWithoutHelm } from '../support/helm.ts';
import { type Installation, install, type Replica } from '../support/installation.ts';
import { addNodes, createCluster, prepareSeed, renderSeed, SEEDS_PATH } from '../support/seed.ts';
import { until } from '../support/wait.ts';

const skip = await skipWithoutHelm('check on a real control plane', ALL_PROGRAMS);

type Change = (snapshot: Snapshot) => Partial<Snapshot>;

const found = <T>(value: T) => ({ found: true as const, value });
const gone = { found: false as const, missing: true, problem: '404 NotFound' };

/** Takes the value of a part that was read. */
function value<T>(read: { readonly found: boolean; readonly value?: T }): T {
  assert.ok(read.found && read.value !== undefined);
  return read.value;
}

const changeEntries = (
  snapshot: Snapshot,
  change: (entry: WebhookEntry, name: string) => WebhookEntry[],
): Partial<Snapshot> => ({
  configurations: found(
    value<readonly Configuration[]>(snapshot.configurations).map((configuration) => ({
      ...configuration,
      object: {
        ...configuration.object,
        webhooks: (configuration.object.webhooks ?? []).flatMap((entry) => change(entry, configuration.name)),
      },
    })),
  ),
});
const changeDeployment = (snapshot: Snapshot, spec: object, status: object = {}): Partial<Snapshot> => {
  const deployment = value<Deployment & { status?: object }>(snapshot.deployment);
  return {
    deployment: found({
      ...deployment,
      spec: { ...deployment.spec, ...spec },
      status: { ...deployment.status, ...status },
    }),
  };
};
const changeApiserver = (
  snapshot: Snapshot,
  change: (deployment: Deployment) => Deployment,
): Partial<Snapshot> => {
  const { deployments, pods } = value<{ deployments: readonly Deployment[]; pods: readonly never[] }>(
    snapshot.workloads as never,
  );
  return { workloads: found({ deployments: deployments.map(change), pods }) };
};
const DAY_MS = 86_400_000;
const policy = (name: string, spec: object) => found([{ metadata: { name }, spec }]);
const toService = (entry: WebhookEntry, service: object = {}): WebhookEntry => ({
  ...entry,
  clientConfig: {
    ...entry.clientConfig,
    service: { name: FULL_NAME, namespace: RELEASE.namespace, path: '/validate', port: 443, ...service },
  },
});
const withoutUrl = ({
  clientConfig: { url: _, ...clientConfig } = {},
  ...entry
}: WebhookEntry): WebhookEntry => ({ ...entry, clientConfig });

/** What goes wrong, how the snapshot looks then, and which check says so. */
const FAULTS: readonly [string, string, 'warning' | 'failure', Change][] = [
  [
    'kube-apiserver is away',
    'cluster-version',
    'failure',
    () => ({ version: { found: false, missing: false, problem: 'no answer' } }),
  ],
  [
    'Kubernetes is too old',
    'cluster-version',
    'failure',
    () => ({ version: found({ major: '1', minor: '29+', gitVersion: 'v1.29.9' }) }),
  ],
  [
    'Kubernetes is newer than known',
    'cluster-version',
    'warning',
    () => ({ version: found({ major: '1', minor: '99', gitVersion: 'v1.99.0' }) }),
  ],
  ['a version that says nothing', 'cluster-version', 'warning', () => ({ version: found({}) })],
  [
    'ValidatingAdmissionPolicy is switched off',
    'admission-policies',
    'failure',
    () => ({ admissionResources: found(['mutatingwebhookconfigurations']) }),
  ],
  ['no seed of KKP', 'kkp-kinds', 'failure', () => ({ kkpResources: gone })],
  ['KKP is elsewhere', 'kkp-version', 'warning', () => ({ kkpController: gone })],
  [
    'KKP is too old',
    'kkp-version',
    'failure',
    () => ({
      kkpController: found({
        spec: {
          template: { spec: { containers: [{ name: 'x', image: 'quay.io/kubermatic/kubermatic:v2.19.3' }] } },
        },
      }),
    }),
  ],
  ['there is no Seed', 'seeds', 'failure', () => ({ seeds: found([]) })],
  [
    'two Seeds share a datacenter',
    'seeds',
    'failure',
    (snapshot) => ({ seeds: found([0, 1].flatMap(() => value<never[]>(snapshot.seeds as never))) }),
  ],
  ['no Deployment', 'replicas', 'failure', () => ({ deployment: gone })],
  [
    'no replica is ready',
    'replicas',
    'failure',
    (snapshot) => changeDeployment(snapshot, {}, { readyReplicas: 0 }),
  ],
  [
    'a roll-out is stuck',
    'replicas',
    'warning',
    (snapshot) => changeDeployment(snapshot, {}, { updatedReplicas: 1 }),
  ],
  [
    'one replica only',
    'replicas',
    'warning',
    (snapshot) => changeDeployment(snapshot, { replicas: 1 }, { readyReplicas: 1, updatedReplicas: 1 }),
  ],
  [
    'settings are not valid',
    'configuration',
    'failure',
    () => ({ configProblems: found(['ConfigMap x: defaults.mode: must be one of']) }),
  ],
  ['no PodDisruptionBudget', 'disruption-budget', 'warning', () => ({ disruptionBudgets: found([]) })],
  [
    'a right is missing',
    'rights',
    'failure',
    () => ({
      missingRights: found([{ namespace: '', group: '', resource: 'pods', name: '', verb: 'list' }]),
    }),
  ],
  [
    'rights that may not be asked for',
    'rights',
    'warning',
    () => ({ missingRights: { found: false, missing: false, problem: '403' } }),
  ],
  ['no Lease', 'leader', 'failure', () => ({ lease: gone })],
  ['nobody leads', 'leader', 'failure', () => ({ lease: found({ spec: { holderIdentity: '' } }) })],
  ['the leader is silent', 'leader', 'failure', (snapshot) => ({ nowMs: snapshot.nowMs + 600_000 })],
  [
    'a default-deny NetworkPolicy',
    'network-policies',
    'failure',
    () => ({ networkPolicies: policy('deny', { podSelector: {}, policyTypes: ['Ingress'] }) }),
  ],
  [
    'a NetworkPolicy for another port',
    'network-policies',
    'failure',
    () => ({ networkPolicies: policy('ops', { podSelector: {}, ingress: [{ ports: [{ port: 8080 }] }] }) }),
  ],
  [
    'a NetworkPolicy without egress',
    'network-policies',
    'failure',
    () => ({ networkPolicies: policy('deny', { podSelector: {}, policyTypes: ['Egress'], egress: [] }) }),
  ],
  [
    'a hook is gone',
    'hooks-registered',
    'failure',
    (snapshot) => changeEntries(snapshot, (entry) => (entry.name.startsWith('mutate-pods') ? [] : [entry])),
  ],
  ['the hooks are gone', 'hooks-registered', 'failure', () => ({ configurations: found([]) })],
  [
    'a hook points to another namespace',
    'hooks-point-here',
    'failure',
    (snapshot) =>
      changeEntries(snapshot, (entry) => [toService(withoutUrl(entry), { namespace: 'elsewhere' })]),
  ],
  [
    'a hook points to a port that the Service lacks',
    'hooks-point-here',
    'failure',
    (snapshot) => changeEntries(snapshot, (entry) => [toService(withoutUrl(entry), { port: 444 })]),
  ],
  [
    'the Service has no endpoints',
    'endpoints',
    'failure',
    (snapshot) => ({
      ...changeEntries(snapshot, (entry) => [toService(withoutUrl(entry))]),
      endpointSlices: found([]),
    }),
  ],
  [
    'a hook may take long',
    'hook-timeouts',
    'warning',
    (snapshot) => changeEntries(snapshot, (entry) => [{ ...entry, timeoutSeconds: 30 }]),
  ],
  [
    'Fail for every cluster',
    'hook-failure-policies',
    'failure',
    (snapshot) => changeEntries(snapshot, (entry) => [{ ...entry, failurePolicy: 'Fail' }]),
  ],
  [
    'no CA is published',
    'ca-bundle',
    'failure',
    (snapshot) =>
      changeEntries(snapshot, ({ clientConfig: { caBundle: _, ...clientConfig } = {}, ...entry }) => [
        { ...entry, clientConfig },
      ]),
  ],
  [
    'nonsense is published',
    'ca-bundle',
    'failure',
    (snapshot) =>
      changeEntries(snapshot, (entry) => [
        { ...entry, clientConfig: { ...entry.clientConfig, caBundle: 'AAAA' } },
      ]),
  ],
  [
    'the published CA has ended',
    'ca-bundle',
    'failure',
    (snapshot) => ({ nowMs: snapshot.nowMs + 400 * DAY_MS }),
  ],
  [
    'the Secret of the CA is broken',
    'ca-published',
    'failure',
    () => ({ caSecret: found({ data: { 'ca.crt': 'AAAA' } }) }),
  ],
  [
    'the CA ends in days',
    'certificate-life',
    'failure',
    (snapshot) => ({ nowMs: snapshot.nowMs + 175 * DAY_MS }),
  ],
  [
    'the CA ends in weeks',
    'certificate-life',
    'warning',
    (snapshot) => ({ nowMs: snapshot.nowMs + 155 * DAY_MS }),
  ],
  [
    'the certificate that is mounted can not be looked at',
    'served-certificate',
    'warning',
    (snapshot) =>
      changeDeployment(snapshot, {
        template: { spec: { containers: [{ name: 'webhook', args: ['serve', '--tls-cert=/tls.crt'] }] } },
      }),
  ],
  [
    'a dry run can not be tried',
    'dry-run',
    'warning',
    () => ({ probes: [{ answered: false, untried: true, problem: '403' }] }),
  ],
  [
    'a dry run is not judged',
    'dry-run',
    'failure',
    () => ({ probes: [{ answered: false, problem: 'it went through' }] }),
  ],
  ['slow', 'latency', 'warning', () => ({ probes: [{ answered: true, tookMs: 300 }] })],
  ['far too slow', 'latency', 'failure', () => ({ probes: [{ answered: true, tookMs: 3000 }] })],
  [
    'Fail is not on',
    'enforced-hooks',
    'warning',
    (snapshot) => changeEntries(snapshot, (entry, name) => (name.startsWith('enforced.') ? [] : [entry])),
  ],
  [
    'Fail is not on for all',
    'enforced-hooks',
    'warning',
    (snapshot) =>
      changeEntries(snapshot, (entry) => (entry.name.startsWith('enforced-validate-secrets') ? [] : [entry])),
  ],
  [
    'somebody made Fail Ignore',
    'enforced-hooks',
    'failure',
    (snapshot) => changeEntries(snapshot, (entry) => [{ ...entry, failurePolicy: 'Ignore' }]),
  ],
  ['no backstop', 'backstop', 'failure', () => ({ policies: found([]) })],
  ['the backstop is not bound', 'backstop', 'failure', () => ({ bindings: found([]) })],
  [
    'the backstop only warns',
    'backstop',
    'warning',
    (snapshot) => ({
      bindings: found(
        value<{ spec?: object }[]>(snapshot.bindings as never).map((binding) => ({
          ...binding,
          spec: { ...binding.spec, validationActions: ['Warn'] },
        })),
      ),
    }),
  ],
  [
    'an expression of the backstop is doubted',
    'backstop-types',
    'warning',
    (snapshot) => ({
      policies: found(
        value<object[]>(snapshot.policies as never).map((each) => ({
          ...each,
          status: { typeChecking: { expressionWarnings: [{ warning: 'x' }] } },
        })),
      ),
    }),
  ],
  [
    'a datacenter is unknown',
    'datacenters-known',
    'warning',
    (snapshot) => ({
      clusters: found(
        value<{ datacenter: string }[]>(snapshot.clusters as never).map((cluster) => ({
          ...cluster,
          datacenter: 'lost',
        })) as never,
      ),
    }),
  ],
  ['a label is missing', 'labels', 'warning', () => ({ labelledNamespaces: found([]) })],
  [
    'an exemption without an end',
    'exemptions',
    'warning',
    (snapshot) => ({
      clusters: found(
        value<object[]>(snapshot.clusters as never).map((cluster) => ({
          ...cluster,
          annotations: { 'kubermatic.k8c.io/skip-audit-logging-enforcement': 'true' },
        })) as never,
      ),
    }),
  ],
  [
    'an owner takes the injection out',
    'owner-fights',
    'warning',
    (snapshot) =>
      changeApiserver(snapshot, (deployment) => ({
        ...deployment,
        metadata: { ...deployment.metadata, annotations: { 'audit.kubermatic.k8c.io/injection': 'pod' } },
      })),
  ],
  [
    'a Deployment does not audit',
    'drift',
    'warning',
    (snapshot) =>
      changeApiserver(snapshot, (deployment) => ({
        ...deployment,
        spec: {
          ...deployment.spec,
          template: {
            spec: { containers: [{ name: 'apiserver', command: ['/usr/local/bin/kube-apiserver'] }] },
          },
        },
      })),
  ],
  [
    'a pod of an enforced cluster does not audit',
    'drift',
    'failure',
    () => ({
      workloads: found({
        deployments: [],
        pods: [
          {
            metadata: { name: 'apiserver-x', namespace: 'cluster-one' },
            spec: { containers: [{ name: 'apiserver' }] },
          },
        ],
      }),
    }),
  ],
];

describe('check', { skip }, () => {
  let seed: ControlPlane;
  let installation: Installation;
  let replicas: Replica[];
  let client: KubeClient;
  let healthy: Snapshot;

  const take = (pre = false, as = client) =>
    gather(as, {
      namespace: RELEASE.namespace,
      name: undefined,
      config: undefined,
      pre,
      nowMs: Date.now(),
    });
  const problems = (results: readonly CheckResult[]) => results.filter(({ status }) => status !== 'ok');

  /** Runs the command as a person does. */
  async function runCheck(...args: string[]): Promise<{ code: number; stdout: string }> {
    let stdout = '';
    let code = 0;
    const sink = (write: (text: string) => void) =>
      new Writable({
        write(chunk, _encoding, done) {
          write(String(chunk));
          done();
        },
      });
    await run(['check', '--kubeconfig', seed.adminKubeconfig, ...args], {
      stdin: Readable.from([]),
      stdout: sink((text) => {
        stdout += text;
      }),
      stderr: sink((text) => assert.fail(text)),
      env: {},
      setExitCode: (given) => {
        code = given;
      },
    });
    return { code, stdout };
  }

  before(async () => {
    seed = await startControlPlane({ controllers: true, kwok: true });
    await prepareSeed(seed.client);
    await addNodes(seed.client);
    await seed.client.request('POST', SEEDS_PATH, renderSeed({ 'aws-1': { enforceAuditLogging: true } }));
    await seed.client.request('POST', '/apis/apps/v1/namespaces/kubermatic/deployments', {
      metadata: { name: 'kubermatic-seed-controller-manager' },
      spec: {
        replicas: 0,
        selector: { matchLabels: { app: 'x' } },
        template: {
          metadata: { labels: { app: 'x' } },
          spec: {
            containers: [{ name: 'controller-manager', image: 'quay.io/kubermatic/kubermatic-ee:v2.31.0' }],
          },
        },
      },
    });
    client = new KubeClient(await loadKubeconfig(seed.adminKubeconfig));
  });
  after(async () => {
    await client?.close();
    await installation?.stop();
    await seed?.stop();
  });

  test('--pre is green on a seed that is fit, and finds a broken one', async () => {
    const { code, stdout } = await runCheck('--pre');
    assert.equal(code, 0, stdout);
    const taken = await take(true);
    const ids = problems(
      runChecks(
        {
          ...taken,
          missingRights: found([
            { namespace: '', group: 'apps', resource: 'deployments', name: '', verb: 'create' },
          ]),
        },
        true,
      ),
    );
    assert.deepEqual(
      ids.map(({ id }) => id),
      ['may-install'],
    );
  });

  test('without an installation it says so, and exits with 2', async () => {
    const { code, stdout } = await runCheck('-o', 'json');
    assert.equal(code, 2);
    const { status, checks } = JSON.parse(stdout) as { status: string; checks: CheckResult[] };
    assert.equal(status, 'failure');
    const failed = checks.filter((check) => check.status === 'failure').map(({ id }) => id);
    for (const id of ['replicas', 'leader', 'hooks-registered', 'backstop'])
      assert.ok(failed.includes(id), `${id} in ${failed}`);
    for (const { status: own, wayOut } of checks) assert.equal(wayOut === '', own === 'ok');
  });

  test('on a healthy installation all is green', async () => {
    installation = await install(seed, { apply: () => false });
    const values = { webhooks: { url: installation.balancer.url } };
    const args = [
      'install',
      RELEASE.name,
      CHART,
      '--namespace',
      RELEASE.namespace,
      '--wait',
      '--timeout=90s',
    ];
    const installed = await helm('helm3', args, { kubeconfig: seed.adminKubeconfig, values });
    assert.equal(installed.code, 0, installed.stderr);
    replicas = await Promise.all([installation.startReplica(), installation.startReplica()]);
    await createCluster(seed.client, { name: 'one', datacenter: 'aws-1' });
    await seed.client.request(
      'POST',
      '/apis/apps/v1/namespaces/cluster-one/deployments',
      renderKkp({ cluster: 'one' }),
    );
    let last = '';
    await until(
      'all to be green',
      async () => {
        healthy = await take();
        const bad = problems(runChecks(healthy, false));
        last = JSON.stringify(bad, undefined, 1);
        return bad.length === 0;
      },
      40_000,
    ).catch((error: Error) =>
      assert.fail(`${error.message}: ${last}\n${replicas.map(({ child }) => child.logTail()).join('\n')}`),
    );
    const { code, stdout } = await runCheck();
    assert.equal(code, 0, stdout);
    assert.match(stdout, /√ all is well/);
    assert.ok(!stdout.includes('\u001b'), 'no colour where the output is no terminal');
  });

  test('--pre says that it is installed already', async () => {
    const { code, stdout } = await runCheck('--pre', '-o', 'json');
    assert.equal(code, 1, stdout);
    assert.match(stdout, /This is an upgrade/);
  });

  for (const [name, id, status, change] of FAULTS) {
    test(`${name}: ${status} of ${id}`, () => {
      const results = runChecks({ ...healthy, ...change(healthy) }, false);
      const result = results.find((each) => each.id === id);
      assert.equal(result?.status, status, JSON.stringify(result));
      assert.notEqual(result?.wayOut, '');
    });
  }

  test('somebody who may read Clusters and Seeds alone is told what that person can not be told, and no failure', async () => {
    const reader = { user: 'rita' };
    const metadata = { name: 'readers' };
    const roles = '/apis/rbac.authorization.k8s.io/v1';
    const rules = [{ apiGroups: ['kubermatic.k8c.io'], resources: ['clusters', 'seeds'], verbs: ['list'] }];
    await seed.client.request('POST', `${roles}/clusterroles`, { metadata, rules });
    await seed.client.request('POST', `${roles}/clusterrolebindings`, {
      metadata,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'readers' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: reader.user }],
    });
    const own = new KubeClient(await loadKubeconfig(seed.kubeconfigFor(reader)));
    try {
      const taken = await take(false, own);
      const results = runChecks(taken, false);
      const statusOf = (id: string) => results.find((result) => result.id === id)?.status;
      assert.deepEqual(
        results.filter(({ status }) => status === 'failure'),
        [],
      );
      for (const id of ['replicas', 'configuration', 'disruption-budget', 'network-policies', 'ca-published'])
        assert.equal(statusOf(id), 'warning', id);
      const dryRun = results.find(({ id }) => id === 'dry-run');
      assert.equal(dryRun?.status, 'warning');
      assert.match(dryRun.text, /could not be tried: .*"rita" cannot create resource "configmaps"/);
    } finally {
      await own.close();
    }
  });

  test('a role that was taken away, a NetworkPolicy, and replicas that end are found on the cluster itself', async () => {
    const ids = async () => problems(runChecks(await take(), false)).map((each) => each.id);
    const role = `/apis/rbac.authorization.k8s.io/v1/namespaces/${RELEASE.namespace}/roles/${FULL_NAME}`;
    await seed.client.request('DELETE', role);
    await until('the missing rights to be found', async () => (await ids()).includes('rights'));
    const networkPolicy = { metadata: { name: 'deny' }, spec: { podSelector: {}, policyTypes: ['Ingress'] } };
    await seed.client.request(
      'DELETE',
      `/apis/networking.k8s.io/v1/namespaces/${RELEASE.namespace}/networkpolicies/${FULL_NAME}`,
    );
    await seed.client.request(
      'POST',
      `/apis/networking.k8s.io/v1/namespaces/${RELEASE.namespace}/networkpolicies`,
      networkPolicy,
    );
    assert.ok((await ids()).includes('network-policies'));
    await Promise.all(replicas.map(({ child }) => child.stop()));
    assert.ok((await ids()).includes('dry-run'));
    const { code, stdout } = await runCheck();
    assert.equal(code, 2);
    assert.match(stdout, /^× the hooks do not answer: .*\n {4}\S.* \[dry-run\]$/m);
  });
});
