/** Requests to the hooks without a server, and a State in memory. */
import type { AdmissionRequest, Decision, Hook, HookName, UserInfo } from '../../src/admission.ts';
import { type Config, DEFAULT_CONFIG } from '../../src/config.ts';
import { buildHooks, type HookDependencies } from '../../src/hooks.ts';
import type { ClusterView, SeedView } from '../../src/kkp.ts';
import type { KubernetesObject } from '../../src/kubernetes.ts';
import { StateIndex } from '../../src/state/memory.ts';
import { type State, StateError } from '../../src/state/state.ts';

export const NOW = Date.parse('2026-11-23T12:00:00Z');
export const PERSON: UserInfo = { username: 'erin@example.com', groups: ['editors-x5fk9vq2lm'] };
export const OPERATOR: UserInfo = { username: 'olga', groups: [] };
export const KKP: UserInfo = {
  username: 'system:serviceaccount:kubermatic:kubermatic-seed',
  groups: ['system:serviceaccounts', 'system:serviceaccounts:kubermatic'],
};

/**
 * @param live what the source itself says when it is asked for a namespace; an Error is thrown
 */
export function memoryState(
  clusters: readonly ClusterView[],
  seeds: readonly SeedView[],
  live: (namespace: string) => ClusterView | Error | undefined = () => undefined,
): State {
  const index = new StateIndex();
  index.replaceClusters(clusters);
  index.replaceSeeds(seeds);
  return {
    cluster: (name) => index.cluster(name),
    clusterOfNamespace: (namespace) => index.clusterOfNamespace(namespace),
    clusters: () => index.clusters(),
    seeds: () => index.seeds(),
    fetchClusterOfNamespace: async (namespace) => {
      const found = live(namespace);
      if (found instanceof Error) throw found;
      return found;
    },
    health: () => ({
      synced: true,
      ageSeconds: 0,
      clusters: index.clusterCount,
      seeds: seeds.length,
      problems: [],
    }),
    onChange: (listener) => index.onChange(listener),
    close: async () => {},
  };
}

export const unreachable = (): Error => new StateError('the source does not answer');

export function hooksOf(
  state: State,
  options: { config?: Config; mayDisable?: HookDependencies['mayDisable'] } = {},
): Record<HookName, Hook> {
  const mayDisable = options.mayDisable ?? (async (user: UserInfo) => user.username === OPERATOR.username);
  return buildHooks({ state, config: options.config ?? DEFAULT_CONFIG, nowMs: () => NOW, mayDisable });
}

/** A write of an object, by a person unless said otherwise; what is asked is worked out from the object. */
export function requestOf(
  object: KubernetesObject | undefined,
  old?: KubernetesObject,
  fields: Partial<AdmissionRequest> = {},
): AdmissionRequest {
  const shown = object ?? old;
  const [group = '', version = ''] = shown?.apiVersion?.includes('/')
    ? shown.apiVersion.split('/')
    : ['', 'v1'];
  return {
    uid: '705ab4f5-6393-11e8-b7cc-42010a800002',
    operation: object === undefined ? 'DELETE' : old === undefined ? 'CREATE' : 'UPDATE',
    group,
    version,
    kind: shown?.kind ?? '',
    resource: `${shown?.kind?.toLowerCase() ?? ''}s`,
    subResource: '',
    name: shown?.metadata?.name ?? '',
    namespace: shown?.metadata?.namespace ?? '',
    userInfo: PERSON,
    dryRun: false,
    object,
    oldObject: () => old,
    oldManagedFields: () => [],
    fieldManager: '',
    ...fields,
  };
}

export const ask = async (hook: Hook, request: AdmissionRequest): Promise<Decision> =>
  hook(request, new AbortController().signal);
