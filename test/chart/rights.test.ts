import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { request } from 'undici';
import type { JsonObject, KubernetesObject } from '../../src/kubernetes.ts';
import { BASE_PROGRAMS } from '../support/binaries.ts';
import { type Child, removeFolder, startChild, temporaryFolder } from '../support/children.ts';
import { type ControlPlane, freePort, startControlPlane } from '../support/controlplane.ts';
import { renderKkp } from '../support/fixtures.ts';
import {
  CHART,
  find,
  HELM_VERSIONS,
  helm,
  type Manifest,
  RELEASE,
  renderChart,
  skipWithoutHelm,
} from '../support/helm.ts';
import { IDENTITIES } from '../support/identities.ts';
import { renderPolicyPreset } from '../support/kkp-objects.ts';
import {
  CLUSTERS_PATH,
  createCluster,
  prepareSeed,
  renderCluster,
  renderSeed,
  SEEDS_PATH,
} from '../support/seed.ts';
import { until } from '../support/wait.ts';

const skip = await skipWithoutHelm('that the chart grants what the server needs', BASE_PROGRAMS);

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'main.ts');
/** So that the chart's service account is the one whose token the tests have. */
const NAME = 'kkp-audit-webhook';
const REGISTRATION = '/apis/admissionregistration.k8s.io/v1';
const READY_TIMEOUT_MS = 60_000;
const SECRET = `/api/v1/namespaces/${RELEASE.namespace}/secrets/kkp-audit-webhook-ca`;
const BACKEND = { name: 'audit-backend', namespace: 'kubermatic' };

const configWithEgress = (cidr: string): JsonObject => ({
  datacenters: { 'aws-1': { egress: [{ cidr, port: 443 }], rollout: { graceSeconds: 3 } } },
});

/** An event of the seed's own audit log. */
interface AuditEvent {
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly responseStatus?: { readonly code: number };
  readonly requestURI: string;
  readonly objectRef?: {
    readonly resource: string;
    readonly apiGroup?: string;
    readonly name?: string;
    readonly namespace?: string;
  };
}

describe('the server with no more than the chart grants', { skip }, () => {
  const dir = temporaryFolder();
  const auditLog = join(dir, 'audit.log');
  let seed: ControlPlane;
  let server: Child;
  let values: JsonObject;
  /** Of the hooks, and of health and metrics. */
  let ports: [number, number];

  const readEvents = (): AuditEvent[] =>
    readFileSync(auditLog, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as AuditEvent)
      .filter(({ user }) => user.username === IDENTITIES.webhook.user);

  /** What it has used so far: verb and resource. */
  const readUsed = (): ReadonlySet<string> =>
    new Set(
      readEvents().map(
        ({ verb, objectRef }) =>
          `${verb} ${objectRef?.resource}${objectRef?.apiGroup ? `.${objectRef.apiGroup}` : ''}`,
      ),
    );

  before(async () => {
    writeFileSync(
      join(dir, 'policy.yaml'),
      JSON.stringify({
        apiVersion: 'audit.k8s.io/v1',
        kind: 'Policy',
        omitStages: ['RequestReceived'],
        rules: [{ level: 'Metadata' }],
      }),
    );
    seed = await startControlPlane({
      extraArgs: [`--audit-policy-file=${join(dir, 'policy.yaml')}`, `--audit-log-path=${auditLog}`],
    });
    const { client } = seed;
    await prepareSeed(client);
    // What the tests' own seed grants the webhook is taken away.
    await client.request(
      'DELETE',
      '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/test:kkp-audit-webhook',
    );
    await client.request('POST', `/api/v1/namespaces/${BACKEND.namespace}/secrets`, {
      metadata: { name: BACKEND.name },
      stringData: { 'webhook.yaml': 'apiVersion: v1\nkind: Config\n' },
    });
    const enforcedAuditWebhookSettings = { auditWebhookConfig: BACKEND };
    await client.request(
      'POST',
      SEEDS_PATH,
      renderSeed({ 'aws-1': { enforceAuditLogging: true, enforcedAuditWebhookSettings }, 'aws-2': {} }),
    );
    for (const [name, datacenter] of [
      ['held', 'aws-1'],
      ['free', 'aws-2'],
    ] as const) {
      await createCluster(client, { name, datacenter });
      await client.request(
        'POST',
        `/apis/apps/v1/namespaces/cluster-${name}/deployments`,
        renderKkp({ cluster: name }),
      );
    }
    await client.request('POST', '/apis/networking.k8s.io/v1/namespaces/cluster-held/networkpolicies', {
      metadata: { name: 'default-deny-all-egress' },
      spec: { podSelector: { matchLabels: { app: 'apiserver' } }, policyTypes: ['Egress'] },
    });

    const port = await freePort();
    ports = [port, await freePort()];
    values = {
      fullnameOverride: NAME,
      webhooks: { url: `https://127.0.0.1:${port}` },
      rbac: { webhookBackendSecrets: [BACKEND] },
      config: configWithEgress('192.0.2.0/24'),
    };
    const args = ['install', RELEASE.name, CHART, '--namespace', RELEASE.namespace];
    const { code, stderr } = await helm('helm3', args, { kubeconfig: seed.adminKubeconfig, values });
    assert.equal(code, 0, stderr);
    server = startServer(await renderChart(values), ...ports);
  });
  after(async () => {
    await server?.stop();
    await seed?.stop();
    removeFolder(dir);
  });

  /** Runs what the chart's Deployment runs, beside the control plane. */
  function startServer(manifests: readonly Manifest[], port: number, opsPort: number): Child {
    const files = find(manifests, 'ConfigMap', NAME).data as Record<string, string>;
    for (const [name, content] of Object.entries(files)) writeFileSync(join(dir, name), content);
    const spec = find(manifests, 'Deployment', NAME).spec as unknown as {
      template: { spec: { containers: { args: string[] }[] } };
    };
    const args = (spec.template.spec.containers[0]?.args ?? []).map((arg) =>
      arg.replace('/etc/kkp-audit-webhook', dir),
    );
    return startChild({
      name: 'server',
      command: process.execPath,
      args: [
        MAIN,
        ...args,
        '--host=127.0.0.1',
        '--ops-host=127.0.0.1',
        `--port=${port}`,
        `--ops-port=${opsPort}`,
        '--shutdown-delay-seconds=0',
        '--certificate-overlap-seconds=1',
        `--kubeconfig=${seed.kubeconfigFor(IDENTITIES.webhook)}`,
      ],
      logFile: join(dir, 'server.log'),
      env: { POD_NAMESPACE: RELEASE.namespace },
    });
  }

  const isReady = async (): Promise<boolean> => {
    assert.equal(server.ended, undefined, server.logTail());
    const answer = await request(`http://127.0.0.1:${ports[1]}/readyz`).catch(() => undefined);
    await answer?.body.dump();
    return answer?.statusCode === 200;
  };

  const object = <T = KubernetesObject>(path: string) => seed.client.find<T>(path);

  test('becomes ready, publishes its CA and switches Fail on', async () => {
    await until('the server to be ready', isReady, READY_TIMEOUT_MS).catch((error) => {
      throw new Error(`${error}\n${server.logTail()}`);
    });
    // With the backstop there are no mutating ones: pods do not wait for an answer.
    for (const kind of ['validating'])
      await until(`the ${kind} hooks with Fail`, async () => {
        const found = await object<{
          webhooks?: { failurePolicy: string; clientConfig: { caBundle?: string } }[];
        }>(`${REGISTRATION}/${kind}webhookconfigurations/enforced.audit.kubermatic.k8c.io`);
        const hooks = found?.webhooks ?? [];
        return (
          hooks.length > 0 &&
          hooks.every((hook) => hook.failurePolicy === 'Fail' && hook.clientConfig.caBundle)
        );
      });
  });

  test('brings an enforced cluster in line, and leaves the other alone', async () => {
    const namespace = '/api/v1/namespaces/cluster-held';
    await until('the settings', async () => {
      const cluster = await object<{ spec: { auditLogging?: { enabled?: boolean } } }>(
        `${CLUSTERS_PATH}/held`,
      );
      return cluster?.spec.auditLogging?.enabled === true;
    });
    await until(
      'the label',
      async () =>
        (await object(namespace))?.metadata?.labels?.['audit.kubermatic.k8c.io/enforced'] === 'true',
    );
    for (const [what, path] of [
      ["the sidecar's configuration", `${namespace}/secrets/audit-logs-fluentbit`],
      ['the webhook backend', `${namespace}/secrets/${BACKEND.name}`],
      [
        'the way out',
        '/apis/networking.k8s.io/v1/namespaces/cluster-held/networkpolicies/kkp-audit-webhook-egress',
      ],
    ] as const)
      await until(what, async () => (await object(path)) !== undefined);
    await until('the sidecar', async () =>
      JSON.stringify(await object('/apis/apps/v1/namespaces/cluster-held/deployments/apiserver')).includes(
        '"name":"audit-logs"',
      ),
    );
    const free = await object('/apis/apps/v1/namespaces/cluster-free/deployments/apiserver');
    assert.doesNotMatch(JSON.stringify(free), /"name":"audit-logs"/);
  });

  test('rejects an attempt in a sentence, and makes it an Event', async () => {
    const attempt = { spec: { auditLogging: { enabled: false } } };
    const { status, body } = await seed.client
      .as(IDENTITIES.alice)
      .send('PATCH', `${CLUSTERS_PATH}/held`, attempt);
    assert.equal(status, 403);
    assert.match(String(body.message), /CLUSTER_AUDIT_DISABLED/);
    await until('the Event', async () => {
      const { items } = await seed.client.request<{ items: JsonObject[] }>(
        'GET',
        '/apis/events.k8s.io/v1/namespaces/default/events',
      );
      return items.some((event) => JSON.stringify(event).includes('CLUSTER_AUDIT_DISABLED'));
    });
    const create = renderCluster({ name: 'new', datacenter: 'aws-1', auditLogging: { enabled: false } });
    const { warnings } = await seed.client
      .as(IDENTITIES.alice)
      .send('POST', `${CLUSTERS_PATH}?dryRun=All`, create);
    assert.match(warnings.join(), /FLAG_IGNORED/);
  });

  const uses = (right: string) => (): boolean => readUsed().has(right);
  const patch = (path: string, body: JsonObject) => seed.client.request('PATCH', path, body);

  test('follows what changes', async () => {
    await patch(SECRET, { metadata: { annotations: { 'audit.kubermatic.k8c.io/rotate': 'now' } } });
    await until('a new CA', uses('update secrets'));
    await until('the Lease to be renewed', uses('update leases.coordination.k8s.io'));
    await seed.client.request('POST', '/api/v1/namespaces', { metadata: { name: 'cluster-of-nobody' } });
    await seed.client
      .as(IDENTITIES.alice)
      .request('POST', '/api/v1/namespaces/cluster-of-nobody/configmaps', {
        metadata: { name: 'audit-config' },
        data: { 'policy.yaml': renderPolicyPreset('metadata') },
      });
    assert.ok(uses('get clusters.kubermatic.k8c.io')() && uses('get namespaces')());
    await patch(`${CLUSTERS_PATH}/held`, {
      spec: { auditLogging: { policyPreset: 'minimal', sidecar: { config: { service: { Flush: '5' } } } } },
    });
    await until('another policy', uses('patch configmaps'));
    await until('another configuration of the sidecar', uses('patch secrets'));
  });

  test('goes on after a restart, with another configuration', async () => {
    await server.stop('SIGTERM');
    server = startServer(
      await renderChart({ ...values, config: configWithEgress('198.51.100.0/24') }),
      ...ports,
    );
    await until('the server to be ready', isReady, READY_TIMEOUT_MS);
    await until('another way out', uses('patch networkpolicies.networking.k8s.io'));
    const attempt = { spec: { auditLogging: { enabled: false } } };
    await seed.client.as(IDENTITIES.alice).send('PATCH', `${CLUSTERS_PATH}/held`, attempt);
    await until('the Event to count', uses('patch events.events.k8s.io'));
  });

  for (const version of HELM_VERSIONS)
    test(`judges every write while the release is upgraded and rolled back (${version})`, async () => {
      const answers: string[] = [];
      let isDone = false;
      const writeOn = async (): Promise<void> => {
        while (!isDone) {
          const { body } = await seed.client
            .as(IDENTITIES.alice)
            .send('PATCH', `${CLUSTERS_PATH}/held?dryRun=All`, {
              spec: { auditLogging: { enabled: false } },
            });
          answers.push(String(body.message));
        }
      };
      const writers = [writeOn(), writeOn()];
      const options = { kubeconfig: seed.adminKubeconfig };
      const where = ['--namespace', RELEASE.namespace];
      // Helm 4 takes over what Helm 3 has applied from the client's side.
      const take = version === 'helm4' ? ['--server-side=true', '--force-conflicts'] : [];
      const more = { ...values, webhooks: { ...(values.webhooks as JsonObject), timeoutSeconds: 4 } };
      for (const [args, given] of [
        [['upgrade', RELEASE.name, CHART, ...where, ...take], more],
        [['upgrade', RELEASE.name, CHART, ...where, ...take], values],
        [['rollback', RELEASE.name, ...where], undefined],
      ] as const) {
        const { code, stderr } = await helm(
          version,
          args,
          given === undefined ? options : { ...options, values: given },
        );
        assert.equal(code, 0, stderr);
      }
      isDone = true;
      await Promise.all(writers);
      assert.ok(answers.length > 50);
      const unjudged = answers.filter(
        (answer) => !/admission webhook "mutate-clusters\..* denied the request/s.test(answer),
      );
      assert.deepEqual(unjudged, []);
    });

  test('takes its parts away where they are no longer wanted', async () => {
    await patch(`${SEEDS_PATH}/kubermatic`, {
      spec: { datacenters: { 'aws-1': { spec: { enforceAuditLogging: false } } } },
    });
    await patch(`${CLUSTERS_PATH}/held`, { spec: { auditLogging: null } });
    await until('the way out to go', uses('delete networkpolicies.networking.k8s.io'));
    await until('the Secrets to go', uses('delete secrets'));
  });

  test('is refused nothing', () => {
    const refused = readEvents().filter(({ responseStatus }) => responseStatus?.code === 403);
    // The probe is meant to be rejected, by the server itself.
    const isProbe = ({ verb, objectRef, requestURI }: AuditEvent) =>
      verb === 'create' && objectRef?.resource === 'configmaps' && requestURI.includes('dryRun=All');
    assert.deepEqual(
      refused.filter((event) => !isProbe(event)).map(({ verb, requestURI }) => `${verb} ${requestURI}`),
      [],
    );
  });

  test('uses what it is granted', () => {
    const used = readUsed();
    const rbac = readFileSync(join(CHART, '..', '..', 'docs', 'rbac.md'), 'utf8').split(/^## /m);
    const table = rbac.find((part) => part.startsWith('The server')) ?? '';
    const granted = table
      .split('\n')
      .filter((line) => line.startsWith('| ') && !line.startsWith('| Where'))
      .flatMap((line) => {
        const [, , resource = '', , verbs = ''] = line.split('|').map((cell) => cell.trim());
        return verbs.split(', ').map((verb) => `${verb} ${resource}`);
      });
    const unused = [...new Set(granted.filter((right) => !used.has(right)))].sort();
    assert.deepEqual(unused, []);
  });
});
