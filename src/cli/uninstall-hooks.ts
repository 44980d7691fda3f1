/**
 * `uninstall-hooks`: what has to happen before the software goes, so that no write is held back by hooks that outlive it and nothing of it stays
 * behind that the chart does not know. Each step may find nothing left to do, so that it can be run again.
 *
 * In this order: hooks and backstop first, then the replicas (the controller would put the labels back), then the labels, then what the
 * replicas made for themselves.
 */

import { setTimeout } from 'node:timers/promises';
import { Command, Option } from 'commander';
import {
  CONFIGURATION_KINDS,
  configurationPath,
  ENFORCED_HOOKS_NAME,
  HOOKS_NAME,
  REGISTRATION_API,
} from '../certs/publish.ts';
import { LEASE_NAME } from '../controller/start.ts';
import { InputError } from '../input.ts';
import { ENFORCED_LABEL, KKP_GROUP } from '../kkp.ts';
import { isStatus, type KubeClient, KubeError } from '../kube/client.ts';
import { type KubernetesObject, resourcePath } from '../kubernetes.ts';
import type { CliIo } from './io.ts';
import { openClient, type SourceOptions } from './source.ts';
import { printable } from './table.ts';

interface UninstallOptions extends Pick<SourceOptions, 'kubeconfig' | 'context'> {
  readonly namespace: string;
  readonly name: string;
  readonly secret: string;
}

/** The kinds of objects that the backstop judges; its policies are named after them. */
const BACKSTOP = ['clusters', 'configmaps', 'deployments', 'namespaces', 'pods', 'secrets'];
/** A replica serves on for some seconds after it was told to end, and lets requests finish. */
const DRAIN_TIMEOUT_MS = 120_000;
const POLL_MS = 1000;
const PAGE_SIZE = 500;
const FORGET_ATTEMPTS = 15;
const METADATA_ONLY = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1';

export function uninstallHooksCommand(io: CliIo): Command {
  return new Command('uninstall-hooks')
    .description(
      'Take the hooks, the backstop and the labels away before the software is removed. The chart runs it before it is deleted.',
    )
    .requiredOption('--namespace <namespace>', 'where the software is installed')
    .option('--name <name>', 'its Deployment', 'kkp-audit-webhook')
    .option('--secret <name>', 'the Secret of its own CA', 'kkp-audit-webhook-ca')
    .addOption(new Option('--kubeconfig <file>', 'of the seed (default: the cluster around this pod)'))
    .addOption(new Option('--context <name>', 'context of the kubeconfig (default: its current one)'))
    .action((options: UninstallOptions) => uninstall(options, io));
}

async function uninstall(options: UninstallOptions, io: CliIo): Promise<void> {
  const client = await openClient(options, io.env);
  if (client === undefined) {
    const text = 'this is no pod, so give --kubeconfig FILE';
    throw new InputError([{ file: 'command line', line: 0, field: '--kubeconfig', text }]);
  }
  const failures: string[] = [];
  const say = (line: string): void => void io.stdout.write(`${printable(line)}\n`);
  /** A step that fails does not keep the others from being done. */
  const step = async (what: string, work: () => Promise<string>): Promise<void> => {
    try {
      say(`${what}: ${await work()}`);
    } catch (error) {
      if (!(error instanceof KubeError)) throw error;
      failures.push(what);
      say(`${what}: failed: ${error.message}`);
    }
  };
  const remove = (what: string, path: string): Promise<void> => step(what, () => removeObject(client, path));
  const { namespace } = options;
  try {
    for (const name of [ENFORCED_HOOKS_NAME, HOOKS_NAME])
      for (const kind of CONFIGURATION_KINDS)
        await remove(`${kind} hooks ${name}`, configurationPath(kind, name));
    for (const resource of BACKSTOP) {
      const name = `${resource}.${HOOKS_NAME}`;
      await remove(
        `backstop ${name}`,
        resourcePath(REGISTRATION_API, 'validatingadmissionpolicybindings', { name }),
      );
    }
    await step(`replicas of ${namespace}/${options.name}`, () => endReplicas(client, options));
    await step('labels of namespaces', () => removeLabels(client, resourcePath('v1', 'namespaces')));
    await step('labels of Clusters', () => removeLabels(client, resourcePath(`${KKP_GROUP}/v1`, 'clusters')));
    await remove(
      `Lease ${namespace}/${LEASE_NAME}`,
      resourcePath('coordination.k8s.io/v1', 'leases', { namespace, name: LEASE_NAME }),
    );
    await remove(
      `Secret ${namespace}/${options.secret}`,
      resourcePath('v1', 'secrets', { namespace, name: options.secret }),
    );
  } finally {
    await client.close();
  }
  if (failures.length === 0) return;
  io.stderr.write(`not done: ${failures.join(', ')}; correct what is said above, and run it again\n`);
  io.setExitCode(1);
}

async function removeObject(client: KubeClient, path: string): Promise<string> {
  try {
    await client.request('DELETE', path);
    return 'deleted';
  } catch (error) {
    if (isStatus(error, 404)) return 'not there';
    throw error;
  }
}

/** Scales the Deployment to zero, and waits until its pods are gone. */
async function endReplicas(client: KubeClient, { namespace, name }: UninstallOptions): Promise<string> {
  let selector: string | undefined;
  try {
    const path = resourcePath('apps/v1', 'deployments', { namespace, name, subresource: 'scale' });
    const scale = await client.request<{ status?: { selector?: string } }>('PATCH', path, {
      body: { spec: { replicas: 0 } },
    });
    selector = scale.status?.selector;
  } catch (error) {
    if (isStatus(error, 404)) return 'not there';
    throw error;
  }
  if (!selector) return 'ended';
  const query = { labelSelector: selector };
  const pods = resourcePath('v1', 'pods', { namespace });
  const endMs = performance.now() + DRAIN_TIMEOUT_MS;
  while (performance.now() < endMs) {
    const { items } = await client.request<{ items?: unknown[] | null }>('GET', pods, {
      query,
      accept: METADATA_ONLY,
    });
    if ((items ?? []).length === 0) return 'ended';
    await setTimeout(POLL_MS);
  }
  return `still there after ${DRAIN_TIMEOUT_MS / 1000} s; where labels come back, run this once more`;
}

/** Takes the label of enforced clusters from every object of a kind. */
async function removeLabels(client: KubeClient, path: string): Promise<string> {
  const names: string[] = [];
  let page: string | undefined;
  do {
    const query = { labelSelector: ENFORCED_LABEL, limit: PAGE_SIZE, continue: page };
    let list: { metadata?: { continue?: string }; items?: KubernetesObject[] | null };
    try {
      list = await client.request('GET', path, { query, accept: METADATA_ONLY });
    } catch (error) {
      // A seed whose KKP is gone has no Clusters either.
      if (isStatus(error, 404)) return 'not there';
      throw error;
    }
    names.push(...(list.items ?? []).flatMap(({ metadata }) => metadata?.name ?? []));
    page = list.metadata?.continue || undefined;
  } while (page !== undefined);
  for (const name of names) await removeLabel(client, `${path}/${encodeURIComponent(name)}`);
  return names.length === 0 ? 'none' : `${names.length} removed`;
}

async function removeLabel(client: KubeClient, path: string): Promise<void> {
  const body = { metadata: { labels: { [ENFORCED_LABEL]: null } } };
  for (let attempt = 1; ; attempt++) {
    try {
      await client.request('PATCH', path, { body });
      return;
    } catch (error) {
      if (isStatus(error, 404)) return;
      // kube-apiserver forgets hooks and backstop in its own time, and each of several does.
      const isOurs = error instanceof KubeError && error.message.includes(HOOKS_NAME);
      if (!isOurs || attempt === FORGET_ATTEMPTS) throw error;
      await setTimeout(POLL_MS);
    }
  }
}
