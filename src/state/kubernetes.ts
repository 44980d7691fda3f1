/**
 * State from a seed: watches of Clusters and Seeds fill the memory, and the last known state serves on while the API server is away. A Cluster that
 * the watch has not brought yet is asked for once, live.
 */
import type { Logger } from 'pino';
import { type Clock, systemClock } from '../clock.ts';
import {
  CLUSTER_NAMESPACE_PREFIX,
  type ClusterView,
  KKP_GROUP,
  type SeedView,
  viewCluster,
  viewSeed,
} from '../kkp.ts';
import { isStatus, type KubeClient } from '../kube/client.ts';
import { untilAborted } from '../kube/deadline.ts';
import { Reflector, type ReflectorOptions } from '../kube/watch.ts';
import { type KubernetesObject, resourcePath } from '../kubernetes.ts';
import { StateIndex } from './memory.ts';
import { type State, StateError, type StateHealth } from './state.ts';

export interface KubernetesStateOptions {
  readonly logger: Logger;
  /** Where KKP keeps its Seeds. */
  readonly kkpNamespace?: string;
  /** Asks for a Cluster that the watch has not brought yet, in the course of a request; undefined for the client itself. */
  readonly asker?: Pick<KubeClient, 'request'>;
  readonly clock?: Clock;
  /** For tests: how the watches wait and page. */
  readonly watch?: Pick<ReflectorOptions<unknown>, 'backoff' | 'pageSize' | 'idleTimeoutMs' | 'random'>;
}

const KKP_API = `${KKP_GROUP}/v1`;
const FETCH_TIMEOUT_MS = 10_000;
/** "There is none" is believed this long: enough for a burst of requests, too short for a namespace that KKP is just making. */
const NEGATIVE_CACHE_MS = 1000;
const MAX_NEGATIVES = 1000;

/**
 * Starts to watch and returns at once; `waitForSync` waits for the first full reading.
 * @param client the caller's to close, after the state
 */
export function openKubernetesState(client: KubeClient, options: KubernetesStateOptions): State {
  return new KubernetesState(client, options);
}

class KubernetesState extends StateIndex implements State {
  readonly #asker: Pick<KubeClient, 'request'>;
  readonly #clock: Clock;
  readonly #clusterWatch: Reflector<ClusterView>;
  readonly #seedWatch: Reflector<SeedView>;
  /** Look-ups under way, by namespace. */
  readonly #fetching = new Map<string, Promise<ClusterView | undefined>>();
  /** Namespaces without a Cluster, and until when that is believed. */
  readonly #negatives = new Map<string, number>();
  readonly #stopping = new AbortController();

  constructor(client: KubeClient, options: KubernetesStateOptions) {
    super();
    const { logger, clock = systemClock, kkpNamespace = 'kubermatic', watch = {} } = options;
    this.#asker = options.asker ?? client;
    this.#clock = clock;
    const common = { ...watch, client, logger, clock, onSynced: () => this.notify() };
    this.#clusterWatch = new Reflector({
      ...common,
      path: resourcePath(KKP_API, 'clusters'),
      resource: `clusters.${KKP_GROUP}`,
      slim: viewCluster,
      onReplace: (clusters) => this.replaceClusters(clusters),
      onEvent: (type, cluster) =>
        type === 'DELETED' ? this.removeCluster(cluster.name) : this.upsertCluster(cluster),
    });
    this.#seedWatch = new Reflector({
      ...common,
      path: resourcePath(KKP_API, 'seeds', { namespace: kkpNamespace }),
      resource: `seeds.${KKP_GROUP} in namespace ${kkpNamespace}`,
      slim: viewSeed,
      onReplace: (seeds) => this.replaceSeeds(seeds),
      onEvent: (type, seed) => (type === 'DELETED' ? this.removeSeed(seed.name) : this.upsertSeed(seed)),
    });
    this.#clusterWatch.start();
    this.#seedWatch.start();
  }

  async fetchClusterOfNamespace(namespace: string, signal: AbortSignal): Promise<ClusterView | undefined> {
    const known = this.clusterOfNamespace(namespace);
    if (known !== undefined) return known;
    if ((this.#negatives.get(namespace) ?? Number.NEGATIVE_INFINITY) > this.#clock.now()) return undefined;
    let fetching = this.#fetching.get(namespace);
    if (fetching === undefined) {
      fetching = this.#fetch(namespace).finally(() => this.#fetching.delete(namespace));
      this.#fetching.set(namespace, fetching);
    }
    // The look-up goes on for the others who wait for it.
    return untilAborted(
      fetching,
      signal,
      () => new StateError(`namespace ${namespace}: the API server did not say in time whose it is`),
    );
  }

  health(): StateHealth {
    const watches = [this.#clusterWatch.health(), this.#seedWatch.health()];
    return {
      synced: watches.every(({ synced }) => synced),
      ageSeconds: Math.max(...watches.map(({ ageSeconds }) => ageSeconds)),
      clusters: this.clusterCount,
      seeds: this.seeds().length,
      problems: [...watches.flatMap(({ problem }) => problem ?? []), ...this.problems()],
    };
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await Promise.all([this.#clusterWatch.close(), this.#seedWatch.close()]);
    await Promise.allSettled(this.#fetching.values());
  }

  async #fetch(namespace: string): Promise<ClusterView | undefined> {
    try {
      const cluster = await this.#ask(namespace);
      if (cluster === undefined) this.#remember(namespace);
      return cluster;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new StateError(`namespace ${namespace}: its Cluster could not be looked up: ${message}`, {
        cause: error,
      });
    }
  }

  /**
   * | Cluster by the name rule        | owner of the namespace          | answer        |
   * |---------------------------------|---------------------------------|---------------|
   * | says that the namespace is its  | not asked                       | that Cluster  |
   * | says nothing (yet)              | not asked                       | that Cluster  |
   * | there is none, or has another   | none, or no Cluster             | none          |
   * | there is none, or has another   | a Cluster with this or no other | the owner     |
   * | there is none, or has another   | a Cluster with another          | none          |
   */
  async #ask(namespace: string): Promise<ClusterView | undefined> {
    if (namespace.startsWith(CLUSTER_NAMESPACE_PREFIX)) {
      const cluster = await this.#getCluster(namespace.slice(CLUSTER_NAMESPACE_PREFIX.length));
      if (cluster?.namespace === namespace) return cluster;
    }
    const owner = await this.#getOwner(namespace);
    if (owner === undefined) return undefined;
    const cluster = await this.#getCluster(owner.name);
    if (cluster === undefined || cluster.uid !== owner.uid) return undefined;
    if (cluster.namespaceGuessed) {
      const { namespaceGuessed: _, ...view } = cluster;
      return { ...view, namespace };
    }
    return cluster.namespace === namespace ? cluster : undefined;
  }

  async #getCluster(name: string): Promise<ClusterView | undefined> {
    if (name === '') return undefined;
    const cluster = await this.#get(resourcePath(KKP_API, 'clusters', { name }));
    return cluster === undefined ? undefined : viewCluster(cluster);
  }

  async #getOwner(namespace: string): Promise<{ readonly name: string; readonly uid: string } | undefined> {
    const object = await this.#get(resourcePath('v1', 'namespaces', { name: namespace }));
    const owner = object?.metadata?.ownerReferences?.find(
      ({ apiVersion, kind }) => kind === 'Cluster' && apiVersion?.split('/')[0] === KKP_GROUP,
    );
    return owner?.name === undefined ? undefined : { name: owner.name, uid: owner.uid ?? '' };
  }

  /** @returns undefined where the API server says that there is no such object; that it does not know the resource says nothing of the kind */
  async #get(path: string): Promise<KubernetesObject | undefined> {
    try {
      return await this.#asker.request<KubernetesObject>('GET', path, {
        signal: this.#stopping.signal,
        timeoutMs: FETCH_TIMEOUT_MS,
      });
    } catch (error) {
      if (isStatus(error, 404) && error.objectName !== '') return undefined;
      throw error;
    }
  }

  #remember(namespace: string): void {
    if (this.#negatives.size >= MAX_NEGATIVES) this.#negatives.clear();
    this.#negatives.set(namespace, this.#clock.now() + NEGATIVE_CACHE_MS);
  }
}
