/** `explain`: what is decided for a Cluster, who decided it, and what of it is not effective, and why. */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { Command, Option } from 'commander';
import { findIneffective, settingsOf } from '../audit/enforce.ts';
import { APISERVER } from '../audit/names.ts';
import { type Decided, type Resolution, resolveSettings, type Settings } from '../audit/settings.ts';
import { EXAMPLE_STATE } from '../example.ts';
import { InputError, readYamlDocuments } from '../input.ts';
import type { ClusterView } from '../kkp.ts';
import type { KubeClient } from '../kube/client.ts';
import type { Deployment } from '../kubernetes.ts';
import { explainReason, explainRepair, type Reason } from '../reasons.ts';
import { podSpecOf, readDeployment } from '../workload.ts';
import type { CliIo } from './io.ts';
import { isApiserverManifest } from './manifest.ts';
import { silentLogger } from './silent.ts';
import {
  loadConfig,
  openClient,
  openState,
  readInput,
  type SourceOptions,
  withSourceOptions,
} from './source.ts';
import { paintFor, printable, table } from './table.ts';

interface ExplainOptions extends SourceOptions {
  readonly file?: string;
  readonly output: 'table' | 'json';
}

/** What the command knows in the end; its JSON output has just this form. */
export interface Explanation {
  readonly cluster: string;
  readonly namespace: string;
  readonly datacenter: string;
  readonly seed: string;
  readonly enforced: boolean | 'unknown';
  readonly exempt: boolean;
  readonly mode: string;
  readonly settings: readonly {
    readonly setting: string;
    readonly value: string;
    readonly decidedBy: string;
  }[];
  /** Undefined where no Deployment was found. */
  readonly effective: boolean | undefined;
  readonly findings: readonly { readonly code: string; readonly finding: string; readonly repair: string }[];
}

export function explainCommand(io: CliIo): Command {
  const command = new Command('explain')
    .description('Say what is decided for a Cluster, by whom, and what of it is not effective.')
    .argument('<cluster>', 'name of the Cluster')
    .option(
      '-f, --file <file>',
      'its apiserver Deployment (default: the one in the folder or the cluster); - is standard input',
    )
    .addOption(
      new Option('-o, --output <format>', 'table or json').choices(['table', 'json']).default('table'),
    );
  return withSourceOptions(command).action(async (name: string, options: ExplainOptions) => {
    const config = await loadConfig(options.config, io);
    const client = await openClient(options, {});
    const state = await openState(options, client, config, silentLogger());
    try {
      const cluster = state.cluster(name);
      if (cluster === undefined) throw unknownCluster(name, [...state.clusters()], options);
      const resolution = resolveSettings(cluster, state.seeds(), config, Date.now());
      const deployment = await findDeployment(cluster, options, client, io);
      const explanation = explain(cluster, resolution, deployment);
      io.stdout.write(
        options.output === 'json' ? `${JSON.stringify(explanation, null, 2)}\n` : format(explanation, io),
      );
    } finally {
      await state.close();
      await client?.close();
    }
  });
}

function unknownCluster(name: string, known: readonly ClusterView[], options: SourceOptions): InputError {
  const names = known.map((cluster) => cluster.name).sort();
  const some =
    names.length === 0
      ? 'there is none'
      : `there are ${names.slice(0, 10).join(', ')}${names.length > 10 ? ', …' : ''}`;
  const file = options.state ?? options.kubeconfig ?? EXAMPLE_STATE;
  return new InputError([{ file, line: 0, field: '', text: `no Cluster is called "${name}"; ${some}` }]);
}

/** Puts together what is known of a Cluster. Pure. */
export function explain(
  cluster: ClusterView,
  resolution: Resolution,
  deployment: Deployment | undefined,
): Explanation {
  const settings = settingsOf(resolution);
  const ineffective = deployment === undefined ? [] : findIneffective(podSpecOf(deployment), resolution);
  const found: readonly Reason[] = [
    ...(resolution.resolved ? [] : [resolution.reason]),
    ...settings.problems,
    ...ineffective,
  ];
  return {
    cluster: cluster.name,
    namespace: cluster.namespace,
    datacenter: cluster.datacenter,
    seed: settings.seed,
    enforced: resolution.resolved ? settings.enforced : 'unknown',
    exempt: settings.exempt,
    mode: settings.options.mode,
    settings: listSettings(settings),
    effective: deployment === undefined ? undefined : ineffective.length === 0,
    findings: found.map((given) => ({
      code: given.code,
      finding: explainReason(given),
      repair: explainRepair(given),
    })),
  };
}

const DECIDERS: Readonly<Record<Decided<unknown>['by'], (settings: Settings) => string>> = {
  default: () => 'nobody (default)',
  cluster: ({ cluster }) => `Cluster ${cluster}`,
  seed: ({ seed }) => `Seed ${seed}`,
  datacenter: ({ datacenter }) => `datacenter ${datacenter}`,
  server: () => 'configuration of kkp-audit-webhook',
};

function listSettings(settings: Settings): Explanation['settings'] {
  const row = (setting: string, decided: Decided<unknown>, value: string) => ({
    setting,
    value,
    decidedBy: DECIDERS[decided.by](settings),
  });
  const sidecar = Object.keys(settings.sidecar.value);
  return [
    row('enabled', settings.enabled, String(settings.enabled.value)),
    row('policyPreset', settings.policyPreset, settings.policyPreset.value || '(policy stays as edited)'),
    row(
      'sidecar',
      settings.sidecar,
      sidecar.length === 0 ? '(as KKP renders it)' : `sets ${sidecar.join(', ')}`,
    ),
    row(
      'webhookBackend',
      settings.webhookBackend,
      settings.webhookBackend.value?.auditWebhookConfig.name ?? '(none)',
    ),
  ];
}

async function findDeployment(
  cluster: ClusterView,
  options: ExplainOptions,
  client: KubeClient | undefined,
  io: CliIo,
): Promise<Deployment | undefined> {
  if (options.file !== undefined)
    return pickDeployment(await readInput(options.file, io), options.file, undefined);
  if (client !== undefined) {
    const { isStatus } = await import('../kube/client.ts');
    const at = `/apis/apps/v1/namespaces/${cluster.namespace}/deployments/${APISERVER}`;
    const found = await client.request('GET', at).catch((error: unknown) => {
      if (isStatus(error, 404)) return undefined;
      throw error;
    });
    return found === undefined ? undefined : readDeployment(found);
  }
  const folder = options.state ?? EXAMPLE_STATE;
  const files = (await readdir(folder, { recursive: true }))
    .filter((file) => /\.(ya?ml|json)$/.test(file))
    .sort();
  for (const file of files) {
    const found = pickDeployment(await readInput(path.join(folder, file), io), file, cluster.namespace);
    if (found !== undefined) return found;
  }
  return undefined;
}

function pickDeployment(text: string, file: string, namespace: string | undefined): Deployment | undefined {
  const found = readYamlDocuments(text, file).find(
    ({ value }) =>
      isApiserverManifest(value) &&
      (namespace === undefined || (value as Deployment).metadata?.namespace === namespace),
  );
  return found === undefined ? undefined : readDeployment(found.value as Deployment);
}

function format(explanation: Explanation, io: CliIo): string {
  const paint = paintFor(io.stdout, io.env);
  const { enforced, exempt, effective } = explanation;
  const why =
    enforced === true
      ? `enforced by datacenter ${explanation.datacenter}`
      : enforced === 'unknown'
        ? 'unknown whether enforced'
        : exempt
          ? 'exempt from enforcement'
          : 'not enforced';
  const state =
    effective === undefined
      ? 'no Deployment to judge'
      : effective
        ? paint('green', 'effective')
        : paint('red', 'not effective');
  const head = table(
    [{ title: '' }, { title: '' }],
    [
      ['Cluster', `${explanation.cluster} (namespace ${explanation.namespace})`],
      ['Datacenter', `${explanation.datacenter || '(none)'}, Seed ${explanation.seed || '(unknown)'}`],
      ['Enforcement', `${why}, mode ${explanation.mode}`],
      ['Deployment', state],
    ],
  );
  const settings = table(
    [{ title: 'SETTING' }, { title: 'VALUE' }, { title: 'DECIDED BY' }],
    explanation.settings.map(({ setting, value, decidedBy }) => [
      setting,
      printable(value),
      printable(decidedBy),
    ]),
    paint,
  );
  const findings = table(
    [{ title: 'CODE' }, { title: 'FINDING' }, { title: 'WAY OUT' }],
    explanation.findings.map(({ code, finding, repair }) => [code, printable(finding), printable(repair)]),
    paint,
  );
  return [head, settings, findings].filter((part) => part !== '').join('\n');
}
