/** The Secret of the webhook backend: copied into the cluster's namespace from where an administrator keeps it. */
import type { Settings } from '../../../audit/settings.ts';
import { resourcePath } from '../../../kubernetes.ts';
import type { Action } from '../action.ts';
import type { Finding } from '../drift.ts';
import type { Situation } from '../facts.ts';

/**
 * Which Secret a webhook backend is copied from: only where an administrator decided it. A Cluster's own would let its editors pull any Secret of
 * the seed.
 * @returns undefined where nothing is copied
 */
export function backendSourceOf(
  settings: Settings,
): { readonly namespace: string; readonly name: string } | undefined {
  const { value, by } = settings.webhookBackend;
  const namespace: unknown = value?.auditWebhookConfig.namespace;
  if (value === undefined || (by !== 'seed' && by !== 'datacenter')) return undefined;
  if (typeof namespace !== 'string' || namespace === '' || namespace === settings.namespace) return undefined;
  return { namespace, name: value.auditWebhookConfig.name };
}

export function findBackendDrift({ backend, backendSource, cluster, settings }: Situation): Finding[] {
  const source = backendSourceOf(settings);
  if (source === undefined) return [];
  // Nothing to copy from: where the Secret is not there either, the apiserver can't start.
  if (backendSource === undefined) return backend === undefined ? [{ drift: 'BACKEND_MISSING' }] : [];
  const version = `${source.namespace}/${source.name}@${backendSource.resourceVersion}`;
  if (backend !== undefined && (!backend.isOurs || backend.content === version)) return [];
  const action: Action = {
    name: 'copyBackend',
    method: 'COPY',
    path: resourcePath('v1', 'secrets', source),
    body: {
      namespace: cluster.namespace,
      name: source.name,
      resourceVersion: backend?.resourceVersion ?? '',
    },
  };
  return [{ drift: 'BACKEND_MISSING', action }];
}
