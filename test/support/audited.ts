/** Whether a cluster's running apiserver pods audit: looked at plainly, without the project's own judge. */
import type { ApiClient } from './api-client.ts';
import type { PodSpec } from './fixture-types.ts';

interface Pod {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
  readonly spec: PodSpec;
}

/** The live apiserver pods of a cluster. */
export async function livePods(client: ApiClient, cluster: string): Promise<readonly Pod[]> {
  const path = `/api/v1/namespaces/cluster-${cluster}/pods?labelSelector=app%3Dapiserver`;
  const { items } = await client.request<{ items: Pod[] }>('GET', path);
  return items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
}

/** For each live pod, what it lacks. */
export async function findUnaudited(client: ApiClient, cluster: string): Promise<string[][]> {
  return (await livePods(client, cluster)).map(({ spec }) => {
    const apiserver = spec.containers.find(({ name }) => name === 'apiserver');
    const args = (apiserver?.args ?? []).join(' ');
    return [
      ...(args.includes('--audit-policy-file /etc/kubernetes/audit/policy.yaml') ? [] : ['no policy']),
      ...(spec.containers.some(({ name }) => name === 'audit-logs') ? [] : ['no sidecar']),
    ];
  });
}
