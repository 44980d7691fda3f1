/**
 * The fleet as the controller sees it: beside the Clusters and Seeds of the state, slim views of what is in the clusters' namespaces, kept by
 * watches. Every kind is one watch over all namespaces, narrowed by name or label on the server's side.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { settingsOf } from '../audit/enforce.ts';
import * as names from '../audit/names.ts';
import { type Resolution, resolveSettings } from '../audit/settings.ts';
import type { Config } from '../config.ts';
import { CLUSTER_NAMESPACE_PREFIX, type ClusterView } from '../kkp.ts';
import type { KubeClient } from '../kube/client.ts';
import { type EventType, Reflector } from '../kube/watch.ts';
import { type KubernetesObject, resourcePath } from '../kubernetes.ts';
import type { State } from '../state/state.ts';
import { DENY_EGRESS_POLICY, NETWORK_POLICY } from './objects.ts';
import type { ClusterFacts, Kind } from './plan/facts.ts';
import { backendSourceOf } from './plan/rules/backend.ts';
import {
  type DeploymentView,
  MANAGED_BY_LABEL,
  MANAGER,
  type NamespaceView,
  type ObjectView,
  type PodView,
  type PolicyView,
  viewDeployment,
  viewNamespace,
  viewObject,
  viewPod,
  viewPolicy,
} from './view.ts';

export interface FleetOptions {
  readonly client: KubeClient;
  readonly state: State;
  readonly config: Config;
  readonly logger: Logger;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
  /** Called with the namespace in which something changed that counts. */
  readonly onChange?: (namespace: string) => void;
}

export interface FleetHealth {
  readonly synced: boolean;
  /** What can be read was read: the rest has a problem, and nothing is decided on it. */
  readonly settled: boolean;
  readonly ageSeconds: number;
  readonly problems: readonly string[];
}

type Row = { readonly namespace: string; readonly name?: string; readonly resourceVersion?: string };

/** Whether that version came before the other one: they are numbers, and grow (Kubernetes' own rule since 1.35, and true of etcd ever since). */
export function isOlder(version: string, other: string): boolean {
  return version.length === other.length ? version < other : version.length < other.length && version !== '';
}

/** One kind of object: by namespace, then by name; nearly always one or few in a namespace. */
class Table<T extends Row> {
  readonly #rows = new Map<string, readonly T[]>();
  readonly #onChange: (namespace: string) => void;

  constructor(onChange: (namespace: string) => void) {
    this.#onChange = onChange;
  }

  of(namespace: string): readonly T[] {
    return this.#rows.get(namespace) ?? NO_ROWS;
  }

  /** Takes the list for all that there are; of those namespaces, where they are named. */
  replace(items: readonly T[], namespaces: Iterable<string> = [...this.#rows.keys()]): void {
    const fresh = new Map<string, T[]>();
    for (const item of items) {
      const rows = fresh.get(item.namespace);
      if (rows === undefined) fresh.set(item.namespace, [item]);
      else rows.push(item);
    }
    for (const namespace of new Set([...namespaces, ...fresh.keys()]))
      this.#set(namespace, fresh.get(namespace) ?? []);
  }

  take(type: EventType, item: T): void {
    const known = this.of(item.namespace).find(({ name }) => name === item.name);
    // A write's answer may overtake the watch.
    if (isOlder(item.resourceVersion ?? '', known?.resourceVersion ?? '')) return;
    const others = this.of(item.namespace).filter(({ name }) => name !== item.name);
    this.#set(item.namespace, type === 'DELETED' ? others : [...others, item]);
  }

  #set(namespace: string, rows: readonly T[]): void {
    const old = this.of(namespace);
    if (rows.length === 0) this.#rows.delete(namespace);
    else this.#rows.set(namespace, rows);
    if (!isDeepStrictEqual(old.map(withoutVersion), rows.map(withoutVersion))) this.#onChange(namespace);
  }
}

const NONE: ReadonlySet<Kind> = new Set();
const NO_ROWS: readonly never[] = [];
const withoutVersion = (row: Row): Row => ({ ...row, resourceVersion: '' });

/** Deployments and pods are large: pages of hundreds of them, of several kinds at once, would be most of the memory that this process ever takes. */
const PAGE_SIZE = 100;

/** Secrets of webhook backends that may be watched, by name; more than a handful of names is a mistake in the settings. */
const MAX_BACKENDS = 20;

export class Fleet {
  readonly #options: FleetOptions;
  readonly #watches: { readonly kind: Kind; readonly watch: Reflector<unknown> }[] = [];
  readonly #namespaces: Table<NamespaceView>;
  readonly #deployments: Table<DeploymentView>;
  readonly #pods: Table<PodView>;
  readonly #policies: Table<PolicyView>;
  readonly #fluentBits: Table<ObjectView>;
  readonly #ownSecrets: Table<ObjectView>;
  readonly #networkPolicies: Table<ObjectView>;
  readonly #denials: Table<ObjectView>;
  readonly #backends = new Map<string, Table<ObjectView>>();
  #closed = false;

  constructor(options: FleetOptions) {
    this.#options = options;
    const change = (namespace: string): void => options.onChange?.(namespace);
    this.#namespaces = new Table(change);
    this.#deployments = new Table(change);
    this.#pods = new Table(change);
    this.#policies = new Table(change);
    this.#fluentBits = new Table(change);
    this.#ownSecrets = new Table(change);
    this.#networkPolicies = new Table(change);
    this.#denials = new Table(change);
  }

  /** Begins to watch. The state should be synced, so that what arrives can be judged at once. */
  start(): void {
    const named = (name: string): string => `metadata.name=${name}`;
    const managed = `${MANAGED_BY_LABEL}=${MANAGER}`;
    this.#watch(this.#namespaces, 'v1', 'namespaces', viewNamespace, { metadataOnly: true });
    this.#watch(this.#deployments, 'apps/v1', 'deployments', (object) => this.#viewDeployment(object), {
      fieldSelector: named(names.APISERVER),
    });
    this.#watch(this.#pods, 'v1', 'pods', (object) => this.#viewPod(object), {
      labelSelector: `app=${names.APISERVER}`,
    });
    this.#watch(this.#policies, 'v1', 'configmaps', viewPolicy, {
      fieldSelector: named(names.POLICY_CONFIGMAP),
    });
    this.#watch(this.#fluentBits, 'v1', 'secrets', (object) => viewObject(object), {
      fieldSelector: named(names.FLUENTBIT_SECRET),
      metadataOnly: true,
    });
    this.#watch(this.#ownSecrets, 'v1', 'secrets', viewOwnSecret, { labelSelector: managed });
    const policies = ['networking.k8s.io/v1', 'networkpolicies'] as const;
    const view = (object: KubernetesObject): ObjectView => viewObject(object);
    this.#watch(this.#networkPolicies, ...policies, view, {
      fieldSelector: named(NETWORK_POLICY),
      metadataOnly: true,
    });
    this.#watch(this.#denials, ...policies, view, {
      fieldSelector: named(DENY_EGRESS_POLICY),
      metadataOnly: true,
    });
  }

  /** A new watch where a Seed or datacenter names a webhook backend that is not watched yet. */
  watchBackends(): void {
    const wanted = new Set<string>();
    for (const { auditLogging, datacenters } of this.#options.state.seeds()) {
      for (const backend of [
        auditLogging?.webhookBackend,
        ...[...datacenters.values()].map(({ enforcedAuditWebhookSettings }) => enforcedAuditWebhookSettings),
      ]) {
        const name: unknown = backend?.auditWebhookConfig?.name;
        if (typeof name === 'string' && name !== '') wanted.add(name);
      }
    }
    for (const name of wanted) {
      if (this.#backends.has(name) || this.#backends.size >= MAX_BACKENDS) continue;
      const table = new Table<ObjectView>((namespace) => this.#onBackend(namespace));
      this.#backends.set(name, table);
      this.#watch(table, 'v1', 'secrets', (object) => viewObject(object), {
        fieldSelector: `metadata.name=${name}`,
        metadataOnly: true,
      });
    }
  }

  resolve(cluster: ClusterView): Resolution {
    const { state, config, nowMs } = this.#options;
    return resolveSettings(cluster, state.seeds(), config, nowMs());
  }

  /** @param cluster as the caller knows it, which may be newer than the state */
  facts(cluster: ClusterView): ClusterFacts {
    const resolution = this.resolve(cluster);
    const { namespace } = cluster;
    const settings = settingsOf(resolution);
    const backendName = settings.webhookBackend.value?.auditWebhookConfig.name ?? '';
    const backends = this.#backends.get(backendName);
    const source = backendSourceOf(settings);
    return {
      cluster,
      resolution,
      namespace: this.#namespaces.of(namespace)[0],
      deployment: this.#deployments.of(namespace)[0],
      pods: this.#pods.of(namespace),
      policy: this.#policies.of(namespace)[0],
      fluentBit: this.#fluentBits.of(namespace)[0],
      ownSecrets: new Map(this.#ownSecrets.of(namespace).map((secret) => [secret.name, secret])),
      backend: backends?.of(namespace)[0],
      backendSource: source === undefined ? undefined : backends?.of(source.namespace)[0],
      networkPolicy: this.#networkPolicies.of(namespace)[0],
      deniesEgress: this.#denials.of(namespace).length > 0,
      unread: this.#unread(),
    };
  }

  /** Takes an object that a write brought back, so that the next decision need not wait for the watch. */
  take(object: KubernetesObject): void {
    if (object.kind === 'Deployment') this.#deployments.take('MODIFIED', this.#viewDeployment(object));
    else if (object.kind === 'Namespace') this.#namespaces.take('MODIFIED', viewNamespace(object));
    else if (object.kind === 'ConfigMap') this.#policies.take('MODIFIED', viewPolicy(object));
  }

  /** Reads the Deployment and the pods of a namespace and judges them by today's settings. */
  async refresh(namespace: string, signal: AbortSignal): Promise<void> {
    const { client } = this.#options;
    const [deployment, pods] = await Promise.all([
      client.request<{ items?: KubernetesObject[] | null }>(
        'GET',
        resourcePath('apps/v1', 'deployments', { namespace }),
        { query: { fieldSelector: `metadata.name=${names.APISERVER}` }, signal },
      ),
      client.request<{ items?: KubernetesObject[] | null }>(
        'GET',
        resourcePath('v1', 'pods', { namespace }),
        { query: { labelSelector: `app=${names.APISERVER}` }, signal },
      ),
    ]);
    const views = (deployment.items ?? []).map((object) => this.#viewDeployment(object));
    this.#deployments.replace(views, [namespace]);
    this.#pods.replace(
      (pods.items ?? []).map((object) => this.#viewPod(object)),
      [namespace],
    );
  }

  health(): FleetHealth {
    const watches = this.#watches.map(({ watch }) => watch.health());
    return {
      synced: watches.length > 0 && watches.every(({ synced }) => synced),
      settled: watches.length > 0 && watches.every(({ synced, problem }) => synced || problem !== undefined),
      ageSeconds: Math.max(0, ...watches.map(({ ageSeconds }) => ageSeconds)),
      problems: watches.flatMap(({ problem }) => (problem === undefined ? [] : [problem])),
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#watches.map(({ watch }) => watch.close()));
  }

  #watch<T extends Row>(
    table: Table<T>,
    groupVersion: string,
    resource: Kind,
    slim: (object: KubernetesObject) => T,
    narrowing: {
      readonly fieldSelector?: string;
      readonly labelSelector?: string;
      readonly metadataOnly?: boolean;
    },
  ): void {
    if (this.#closed) return;
    const { client, logger } = this.#options;
    const selector = narrowing.fieldSelector ?? narrowing.labelSelector;
    const watch = new Reflector<T>({
      client,
      logger,
      path: resourcePath(groupVersion, resource),
      resource: selector === undefined ? resource : `${resource} with ${selector}`,
      ...narrowing,
      slim,
      pageSize: PAGE_SIZE,
      onReplace: (items) => table.replace(items),
      onEvent: (type, item) => table.take(type, item),
    });
    this.#watches.push({ kind: resource, watch: watch as Reflector<unknown> });
    watch.start();
  }

  #unread(): ReadonlySet<Kind> {
    const unread = this.#watches.filter(({ watch }) => !watch.health().synced);
    return unread.length === 0 ? NONE : new Set(unread.map(({ kind }) => kind));
  }

  #viewDeployment(object: KubernetesObject): DeploymentView {
    return viewDeployment(object, this.#resolutionOf(object));
  }

  #viewPod(object: KubernetesObject): PodView {
    return viewPod(object, this.#resolutionOf(object));
  }

  #resolutionOf(object: KubernetesObject): Resolution | undefined {
    const namespace = object.metadata?.namespace ?? '';
    const cluster = this.#options.state.clusterOfNamespace(namespace);
    return cluster === undefined ? undefined : this.resolve(cluster);
  }

  /** The source of a webhook backend is in a namespace of its own: then it concerns all that copy it. */
  #onBackend(namespace: string): void {
    if (namespace.startsWith(CLUSTER_NAMESPACE_PREFIX)) this.#options.onChange?.(namespace);
    else this.#options.onChange?.('');
  }
}

const viewOwnSecret = (object: KubernetesObject): ObjectView => {
  const view = viewObject(object);
  // What fluent-bit reads is judged by what it holds, so that an edit is seen; a copy by the source that it names.
  const isCopy = view.content.includes('@');
  return isCopy ? view : viewObject(object, true);
};
