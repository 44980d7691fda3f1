/** `inject` and `uninject`: what the hook would make of files, by the hook's own code. */
import { Command, Option } from 'commander';
import type { Operation } from 'fast-json-patch';
import { dump } from 'js-yaml';
import { settingsOf } from '../audit/enforce.ts';
import { injectDeployment, uninjectDeployment } from '../audit/inject.ts';
import { resolveSettings } from '../audit/settings.ts';
import type { Config } from '../config.ts';
import { type InputDocument, InputError, readYamlDocuments } from '../input.ts';
import { CLUSTER_NAMESPACE_PREFIX } from '../kkp.ts';
import type { Deployment } from '../kubernetes.ts';
import { buildPatch } from '../patch.ts';
import { explainReason, type Reason, reason } from '../reasons.ts';
import type { State } from '../state/state.ts';
import { readDeployment } from '../workload.ts';
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

interface InjectOptions extends SourceOptions {
  readonly file: readonly string[];
  readonly output: 'yaml' | 'json' | 'patch';
}

interface Outcome {
  readonly document: InputDocument;
  readonly after: unknown;
  readonly patch: readonly Operation[];
}

const FILE_OPTION = new Option(
  '-f, --file <file...>',
  'manifests, also several documents in one; - is standard input',
).makeOptionMandatory();
const OUTPUT_OPTION = new Option(
  '-o, --output <format>',
  'yaml, json, or patch: the JSON Patch of each document',
)
  .choices(['yaml', 'json', 'patch'])
  .default('yaml');

export function injectCommand(io: CliIo): Command {
  const command = new Command('inject')
    .description(
      'Print what the hook would make of the apiserver Deployments in files; anything else passes through.',
    )
    .addOption(FILE_OPTION)
    .addOption(OUTPUT_OPTION);
  return withSourceOptions(command).action(async (options: InjectOptions) => {
    const config = await loadConfig(options.config, io);
    const documents = await readDocuments(options.file, io);
    const client = await openClient(options, {});
    const state = await openState(options, client, config, silentLogger());
    try {
      const outcomes: Outcome[] = [];
      for (const document of documents) outcomes.push(await injectDocument(document, state, config, io));
      write(outcomes, options.output, io);
    } finally {
      await state.close();
      await client?.close();
    }
  });
}

export function uninjectCommand(io: CliIo): Command {
  return new Command('uninject')
    .description('Take out of apiserver Deployments what the hook put in; what their owner rendered stays.')
    .addOption(FILE_OPTION)
    .addOption(OUTPUT_OPTION)
    .action(async (options: InjectOptions) => {
      const documents = await readDocuments(options.file, io);
      const outcomes = documents.map((document) => {
        if (!isApiserverManifest(document.value)) return { document, after: document.value, patch: [] };
        const after = uninjectDeployment(checkDeployment(document));
        return { document, after, patch: buildPatch(document.value, after) };
      });
      write(outcomes, options.output, io);
    });
}

async function readDocuments(files: readonly string[], io: CliIo): Promise<InputDocument[]> {
  const documents: InputDocument[] = [];
  for (const file of files)
    documents.push(...readYamlDocuments(await readInput(file, io), file === '-' ? 'stdin' : file));
  if (documents.length === 0) {
    throw new InputError([{ file: files.join(', '), line: 0, field: '', text: 'there is no object in it' }]);
  }
  return documents;
}

function checkDeployment(document: InputDocument): Deployment {
  try {
    return readDeployment(document.value as Deployment);
  } catch (error) {
    throw new InputError([
      document.problem([], (error as Error).message.replace('request.object', 'object')),
    ]);
  }
}

async function injectDocument(
  document: InputDocument,
  state: State,
  config: Config,
  io: CliIo,
): Promise<Outcome> {
  const unchanged = { document, after: document.value, patch: [] };
  if (!isApiserverManifest(document.value)) return unchanged;
  const deployment = checkDeployment(document);
  const namespace = deployment.metadata?.namespace ?? '';
  const tell = (given: Reason): void => {
    io.stderr.write(`${document.file}:${document.line}: ${explainReason(given)} [${given.code}]\n`);
  };
  const cluster = namespace.startsWith(CLUSTER_NAMESPACE_PREFIX)
    ? (state.clusterOfNamespace(namespace) ??
      (await state.fetchClusterOfNamespace(namespace, AbortSignal.timeout(10_000))))
    : undefined;
  if (cluster === undefined) {
    tell(reason('CLUSTER_NOT_FOUND', { namespace: namespace || '(none given)' }));
    return unchanged;
  }
  const resolution = resolveSettings(cluster, state.seeds(), config, Date.now());
  if (!resolution.resolved) tell(resolution.reason);
  const injected = injectDeployment(deployment, () => undefined, settingsOf(resolution), false);
  for (const given of [...injected.problems, ...injected.remaining]) tell(given);
  return { document, after: injected.object, patch: buildPatch(deployment, injected.object) };
}

function write(outcomes: readonly Outcome[], output: InjectOptions['output'], io: CliIo): void {
  if (output === 'patch') {
    for (const { patch } of outcomes) io.stdout.write(`${JSON.stringify(patch)}\n`);
  } else if (output === 'json') {
    const objects = outcomes.map(({ after }) => after);
    const value = objects.length === 1 ? objects[0] : { apiVersion: 'v1', kind: 'List', items: objects };
    io.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
  } else {
    io.stdout.write(outcomes.map(({ after }) => dump(after, { lineWidth: -1, noRefs: true })).join('---\n'));
  }
}
