/** Where commands get the state from: a folder of files, or a Kubernetes cluster; one way to say which for all of them. */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { type Command, Option } from 'commander';
import type { Logger } from 'pino';
import { type Config, DEFAULT_CONFIG, parseConfig } from '../config.ts';
import { EXAMPLE_STATE } from '../example.ts';
import { InputError } from '../input.ts';
import type { KubeClient } from '../kube/client.ts';
import { openFileState } from '../state/files.ts';
import type { State } from '../state/state.ts';
import type { CliIo } from './io.ts';

export interface SourceOptions {
  readonly state?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly config?: string;
}

/** Adds the options that say where Clusters and Seeds come from. */
export function withSourceOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--state <dir>', 'folder of YAML files with Clusters and Seeds').conflicts('kubeconfig'),
    )
    .addOption(
      new Option('--kubeconfig <file>', 'Kubernetes cluster (the seed) to read Clusters and Seeds from'),
    )
    .addOption(new Option('--context <name>', 'context of the kubeconfig (default: its current one)'))
    .addOption(new Option('--config <file>', 'settings of this software (docs/configuration.md)'));
}

/**
 * Reads a file that a command is given.
 * @param file a path, or `-` for standard input
 * @throws {InputError} naming the file
 */
export async function readInput(file: string, io: Pick<CliIo, 'stdin'>): Promise<string> {
  if (file === '-') {
    let text = '';
    io.stdin.setEncoding('utf8');
    for await (const chunk of io.stdin) text += String(chunk);
    return text;
  }
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const problem =
      (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'does not exist' : (error as Error).message;
    throw new InputError([{ file, line: 0, field: '', text: `can't be read: ${problem}` }]);
  }
}

/** @throws {InputError} naming file, line and field */
export const loadConfig = async (file: string | undefined, io: Pick<CliIo, 'stdin'>): Promise<Config> =>
  file === undefined ? DEFAULT_CONFIG : parseConfig(await readInput(file, io), file);

/** What kubectl would take: the files that $KUBECONFIG lists, which count as one, else the one in the home folder. */
export function defaultKubeconfig(env: CliIo['env']): readonly string[] {
  const listed = (env.KUBECONFIG ?? '').split(path.delimiter).filter((file) => file !== '');
  return listed.length > 0 ? listed : [path.join(env.HOME ?? homedir(), '.kube', 'config')];
}

interface ClusterOptions extends Omit<SourceOptions, 'kubeconfig'> {
  /** Several count as one. */
  readonly kubeconfig?: string | readonly string[];
}

/** The client of the cluster that the options or the pod's environment name, or undefined where none does. */
export async function openClient(
  options: ClusterOptions,
  env: CliIo['env'],
): Promise<KubeClient | undefined> {
  if (options.state !== undefined) return undefined;
  if (options.kubeconfig === undefined && !env.KUBERNETES_SERVICE_HOST) return undefined;
  // Only loaded where a cluster is asked for.
  const [{ KubeClient }, { inClusterCredentials, loadKubeconfig }] = await Promise.all([
    import('../kube/client.ts'),
    import('../kube/credentials.ts'),
  ]);
  const { kubeconfig, context } = options;
  const credentials =
    kubeconfig === undefined
      ? inClusterCredentials(env)
      : await loadKubeconfig(kubeconfig, context === undefined ? {} : { context });
  return new KubeClient(credentials);
}

/**
 * Opens the state.
 * @param client of `openClient`; without one the folder counts, and without a folder the examples
 * @param asker the client as requests are to use it, where that is another one
 */
export async function openState(
  options: SourceOptions,
  client: KubeClient | undefined,
  config: Config,
  logger: Logger,
  asker?: Pick<KubeClient, 'request'>,
): Promise<State> {
  if (client === undefined) return openFileState(options.state ?? EXAMPLE_STATE, { logger });
  const { openKubernetesState } = await import('../state/kubernetes.ts');
  return openKubernetesState(client, {
    kkpNamespace: config.platform.namespace,
    logger,
    ...(asker && { asker }),
  });
}
