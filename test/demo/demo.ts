/**
 * `npm run demo`: the main job before your eyes, on a real etcd and kube-apiserver on loopback. It ends with the audit events of a second
 * kube-apiserver that runs with the flags and the policy of an injected Deployment. Exit code 0 only if every step was as expected.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dump } from 'js-yaml';
import { BASE_PROGRAMS, ensureBinaries } from '../support/binaries.ts';
import { type ControlPlane, type KubectlResult, startControlPlane } from '../support/controlplane.ts';
import type { Deployment } from '../support/fixture-types.ts';
import { renderKkp } from '../support/fixtures.ts';
import { IDENTITIES, type Identity } from '../support/identities.ts';
import { createClusterNamespace, prepareSeed, renderCluster, renderSeed } from '../support/seed.ts';
import { until } from '../support/wait.ts';
import { startWebhookServer, type WebhookServer } from '../support/webhook-server.ts';
import { registerWebhooks } from '../support/webhooks.ts';
import { type AuditEvent, startAuditedApiserver } from './audited-apiserver.ts';
import { Screen } from './screen.ts';

const { admin, alice, auditOperator, editor, seedControllerManager } = IDENTITIES;
const ENFORCING = 'hamburg';
const FREE = 'lab';
/** One user cluster in each datacenter. */
const AUDITED = 'ph7d4kxw2c';
const UNAUDITED = 't9m2vqz6rb';
const SWITCH_ON = '{"spec":{"auditLogging":{"enabled":true}}}';
const SWITCH_OFF = '{"spec":{"auditLogging":{"enabled":false}}}';
const OPT_OUT = 'kubermatic.k8c.io/skip-audit-logging-enforcement';
const PEOPLE = new Map<Identity, string>([
  [admin, 'an administrator'],
  [alice, 'alice, who may write to the seed'],
  [auditOperator, 'olga, an audit operator'],
  [editor, 'erin, an editor in the dashboard'],
  [seedControllerManager, "KKP's seed-controller-manager"],
]);

const screen = new Screen(process.stdout);

/** Shows a kubectl command and what it printed. */
async function kubectl(seed: ControlPlane, as: Identity, command: string): Promise<KubectlResult> {
  screen.command(`kubectl ${command}`, `as ${PEOPLE.get(as)}`);
  const args = command.split(' ').map((word) => word.replaceAll("'", ''));
  const result = await seed.kubectl(args, { as, cwd: seed.dir });
  screen.output(result.stdout + result.stderr);
  return result;
}

/** Writes an object to a file that the commands name. */
function writeYaml(seed: ControlPlane, file: string, object: object): void {
  writeFileSync(join(seed.dir, file), dump(object, { noRefs: true }));
}

function getDeployment(seed: ControlPlane, cluster: string): Promise<Deployment> {
  const path = `/apis/apps/v1/namespaces/cluster-${cluster}/deployments/apiserver`;
  return seed.client.request<Deployment>('GET', path);
}

function isAudited(deployment: Deployment): boolean {
  const { containers } = deployment.spec.template.spec;
  const apiserver = containers.find(({ name }) => name === 'apiserver');
  return (
    containers.some(({ name }) => name === 'audit-logs') &&
    (apiserver?.args?.includes('--audit-policy-file') ?? false)
  );
}

/** The pod template without what kube-apiserver adds by default, for a diff that shows the injection alone. */
function templateYaml(deployment: Deployment): string {
  const { containers, volumes } = deployment.spec.template.spec;
  const slim = containers.map(({ name, image, command, args, env, resources, volumeMounts }) =>
    JSON.parse(JSON.stringify({ name, image, command, args, env, resources, volumeMounts })),
  );
  const slimVolumes = volumes.map(({ name, secret, configMap, emptyDir }) =>
    JSON.parse(JSON.stringify({ name, secret: secret?.secretName, configMap: configMap?.name, emptyDir })),
  );
  return dump({ containers: slim, volumes: slimVolumes }, { sortKeys: true, lineWidth: -1 });
}

async function createSeed(seed: ControlPlane): Promise<void> {
  screen.step("A seed: KKP's kinds, a datacenter that enforces audit logging, and one that is free");
  await prepareSeed(seed.client);
  const datacenters = { [ENFORCING]: { enforceAuditLogging: true }, [FREE]: {} };
  const settings = { sidecar: { extraEnvs: [{ name: 'SITE', value: 'hamburg-1' }] } };
  writeYaml(seed, 'seed.yaml', renderSeed(datacenters, settings));
  const clusters = [
    renderCluster({ name: AUDITED, datacenter: ENFORCING, auditLogging: { enabled: true } }),
    renderCluster({ name: UNAUDITED, datacenter: FREE }),
  ];
  writeYaml(seed, 'clusters.yaml', { apiVersion: 'v1', kind: 'List', items: clusters });
  const created = [
    await kubectl(seed, admin, 'create -f seed.yaml'),
    await kubectl(seed, admin, 'create -f clusters.yaml'),
  ];
  for (const name of [AUDITED, UNAUDITED]) {
    await createClusterNamespace(seed.client, name);
    writeYaml(seed, `${name}.yaml`, renderKkp({ cluster: name }));
  }
  const columns = 'NAME:.metadata.name,DATACENTER:.spec.cloud.dc,NAMESPACE:.status.namespaceName';
  await kubectl(seed, admin, `get clusters -o custom-columns=${columns}`);
  screen.expect(
    `the datacenter ${ENFORCING} enforces, ${FREE} does not`,
    created.every(({ code }) => code === 0),
  );
}

async function startServer(seed: ControlPlane): Promise<WebhookServer> {
  screen.step('kkp-audit-webhook, on the state of that seed, with its hooks registered');
  const server = await startWebhookServer(seed);
  screen.say(`It serves on ${server.url}, its health and metrics on ${server.opsUrl}.`);
  await registerWebhooks(seed.client, server);
  screen.expect('the hooks are in force', true);
  return server;
}

async function injectWhereEnforced(seed: ControlPlane): Promise<Deployment> {
  screen.step(`KKP creates an apiserver in ${ENFORCING}, without audit logging`);
  const created = await kubectl(seed, seedControllerManager, `create -f ${AUDITED}.yaml`);
  const stored = await getDeployment(seed, AUDITED);
  screen.say('What was stored, against what was sent:');
  screen.diff(templateYaml(renderKkp({ cluster: AUDITED })), templateYaml(stored));
  screen.expect(
    'the policy flag, the sidecar and its volume are injected',
    created.code === 0 && isAudited(stored),
  );
  return stored;
}

async function injectWhereFree(seed: ControlPlane): Promise<void> {
  screen.step(`In ${FREE} the Cluster decides for itself`);
  await kubectl(seed, seedControllerManager, `create -f ${UNAUDITED}.yaml`);
  const sent = templateYaml(renderKkp({ cluster: UNAUDITED }));
  screen.expect('nothing is injected', templateYaml(await getDeployment(seed, UNAUDITED)) === sent);

  await kubectl(seed, alice, `patch cluster ${UNAUDITED} --type merge -p '${SWITCH_ON}'`);
  screen.say('Any write lets the Deployment pass the hook, even one that says nothing:');
  const touch = `patch deployment apiserver -n cluster-${UNAUDITED} --type merge -p {}`;
  await kubectl(seed, alice, touch);
  const first = await getDeployment(seed, UNAUDITED);
  screen.expect('with the flag on, auditing is injected', isAudited(first));

  await kubectl(seed, alice, touch);
  const second = await getDeployment(seed, UNAUDITED);
  for (const field of ['generation', 'resourceVersion'] as const)
    screen.expect(
      `the next write leaves ${field} at ${first.metadata[field]}`,
      first.metadata[field] === second.metadata[field],
    );
}

async function reject(seed: ControlPlane): Promise<void> {
  screen.step(`Attempts to switch auditing off in ${ENFORCING} are rejected`);
  const isRefused = ({ code, stderr }: KubectlResult) =>
    code !== 0 && stderr.includes('denied the request') && stderr.includes(ENFORCING);
  const byFlag = await kubectl(seed, editor, `patch cluster ${AUDITED} --type merge -p '${SWITCH_OFF}'`);
  screen.expect('turning the flag of the Cluster off is rejected', isRefused(byFlag));
  const byAnnotation = await kubectl(seed, alice, `annotate cluster ${AUDITED} ${OPT_OUT}=true`);
  screen.expect('opting the Cluster out is rejected', isRefused(byAnnotation));
  const byReplace = await kubectl(seed, alice, `replace -f ${AUDITED}.yaml`);
  screen.expect('replacing the Deployment by one without auditing is rejected', isRefused(byReplace));
  screen.expect('the Deployment still audits', isAudited(await getDeployment(seed, AUDITED)));

  screen.step(`In ${FREE}, and by an audit operator, the same is admitted`);
  const inFree = await kubectl(seed, alice, `patch cluster ${UNAUDITED} --type merge -p '${SWITCH_OFF}'`);
  screen.expect("where nothing is enforced, the flag is anybody's", inFree.code === 0);
  const byOperator = await kubectl(
    seed,
    auditOperator,
    `patch cluster ${AUDITED} --type merge -p '${SWITCH_OFF}' --dry-run=server`,
  );
  screen.expect('an audit operator may', byOperator.code === 0);
}

async function audit(seed: ControlPlane, deployment: Deployment): Promise<void> {
  screen.step('A second kube-apiserver, with the audit flags and the policy of the injected Deployment');
  const audited = await startAuditedApiserver(deployment, seed.client);
  screen.output(audited.flags.join('\n'));
  screen.say('(Each path is mapped to a temporary folder, with the policy of ConfigMap audit-config in it.)');
  const { controlPlane } = audited;
  await kubectl(controlPlane, admin, 'create configmap of-the-demo -n default --from-literal=key=value');
  await kubectl(controlPlane, alice, 'get secrets -n kube-system');
  await kubectl(controlPlane, admin, 'delete configmap of-the-demo -n default');

  const requests = [
    { user: admin, verb: 'create', uri: '/api/v1/namespaces/default/configmaps', code: 201 },
    { user: alice, verb: 'list', uri: '/api/v1/namespaces/kube-system/secrets', code: 403 },
    { user: admin, verb: 'delete', uri: '/api/v1/namespaces/default/configmaps/of-the-demo', code: 200 },
  ];
  const eventOf = ({ user, verb, uri, code }: (typeof requests)[number]) =>
    audited
      .events()
      .find(
        (event) =>
          event.user.username === user.user &&
          event.verb === verb &&
          event.requestURI.split('?')[0] === uri &&
          event.responseStatus?.code === code,
      );
  const found = () => requests.map(eventOf).filter((event) => event !== undefined);
  // kube-apiserver writes an event once it has answered.
  await until('the audit events', () => found().length === requests.length).catch(() => {});

  screen.step('The audit events that it wrote');
  for (const event of found()) screen.output(describe(event));
  screen.say(`${audited.events().length} events in all, of kube-apiserver's own requests as well.`);
  for (const request of requests)
    screen.expect(
      `${request.verb} ${request.uri} by ${request.user.user}, answered ${request.code}, is recorded`,
      eventOf(request) !== undefined,
    );
  await controlPlane.stop();
}

function describe(event: AuditEvent): string {
  const { level, stage, verb, requestURI, user, responseStatus, stageTimestamp } = event;
  return `${stageTimestamp.slice(11, 23)}  ${level}  ${stage}  ${user.username}  ${verb} ${requestURI.split('?')[0]}  ${responseStatus?.code ?? ''}`;
}

async function main(): Promise<number> {
  screen.step('A real etcd and kube-apiserver on loopback');
  const log = (line: string) => screen.say(line);
  await ensureBinaries(BASE_PROGRAMS, { log });
  const seed = await startControlPlane();
  let server: WebhookServer | undefined;
  try {
    const version = await kubectl(seed, admin, 'version');
    screen.expect(`kube-apiserver answers at ${seed.url}`, version.code === 0);
    await createSeed(seed);
    server = await startServer(seed);
    const deployment = await injectWhereEnforced(seed);
    await injectWhereFree(seed);
    await reject(seed);
    await audit(seed, deployment);
  } finally {
    await server?.stop();
    await seed.stop();
  }
  return screen.finish();
}

process.exitCode = await main().catch((error: Error) => {
  process.stderr.write(`\nThe demo could not go on: ${error.message}\n`);
  return 1;
});
