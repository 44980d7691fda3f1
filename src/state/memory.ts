/**
 * The Clusters and Seeds in memory, whatever their source: found by name and by namespace, with listeners that hear of real changes only
 * (KKP writes a Cluster's status many times a day; none of that concerns audit logging).
 */
import { isDeepStrictEqual } from 'node:util';
import type { ClusterView, SeedView } from '../kkp.ts';

/** The look-ups of a state. A source extends it and fills it; who uses a State sees only what answers. */
export class StateIndex {
  readonly #clusters = new Map<string, ClusterView>();
  /** Who says that the namespace is theirs, best claim first; nearly always one. */
  readonly #claims = new Map<string, ClusterView[]>();
  /** Namespaces that more than one Cluster claims. */
  readonly #contested = new Set<string>();
  readonly #seeds = new Map<string, SeedView>();
  #sortedSeeds: readonly SeedView[] = [];
  readonly #listeners = new Set<() => void>();

  cluster(name: string): ClusterView | undefined {
    return this.#clusters.get(name);
  }

  clusterOfNamespace(namespace: string): ClusterView | undefined {
    return this.#claims.get(namespace)?.[0];
  }

  clusters(): Iterable<ClusterView> {
    return this.#clusters.values();
  }

  get clusterCount(): number {
    return this.#clusters.size;
  }

  /** In the order of their names. */
  seeds(): readonly SeedView[] {
    return this.#sortedSeeds;
  }

  /** What is wrong with the objects as a whole. */
  problems(): string[] {
    return [...this.#contested].sort().map((namespace) => {
      const [first, ...others] = (this.#claims.get(namespace) ?? []).map(({ name }) => name);
      return `namespace ${namespace} is claimed by Cluster ${first} and by ${others.join(', ')}; ${first} is taken`;
    });
  }

  /** Takes the list for all the Clusters that there are. */
  replaceClusters(clusters: readonly ClusterView[]): void {
    const names = new Set(clusters.map(({ name }) => name));
    let changed = false;
    for (const name of [...this.#clusters.keys()]) {
      if (!names.has(name)) changed = this.#removeCluster(name) || changed;
    }
    for (const cluster of clusters) changed = this.#setCluster(cluster) || changed;
    if (changed) this.notify();
  }

  upsertCluster(cluster: ClusterView): void {
    if (this.#setCluster(cluster)) this.notify();
  }

  removeCluster(name: string): void {
    if (this.#removeCluster(name)) this.notify();
  }

  /** Takes the list for all the Seeds that there are. */
  replaceSeeds(seeds: readonly SeedView[]): void {
    const old = new Map(this.#seeds);
    this.#seeds.clear();
    for (const seed of seeds) this.#seeds.set(seed.name, seed);
    this.#sortSeeds();
    if (old.size !== this.#seeds.size || seeds.some((seed) => !sameExceptVersion(old.get(seed.name), seed)))
      this.notify();
  }

  upsertSeed(seed: SeedView): void {
    const old = this.#seeds.get(seed.name);
    this.#seeds.set(seed.name, seed);
    this.#sortSeeds();
    if (!sameExceptVersion(old, seed)) this.notify();
  }

  removeSeed(name: string): void {
    if (!this.#seeds.delete(name)) return;
    this.#sortSeeds();
    this.notify();
  }

  onChange(listener: () => void): () => void {
    const own = () => listener();
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  /** Calls the listeners. */
  notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  #setCluster(cluster: ClusterView): boolean {
    const old = this.#clusters.get(cluster.name);
    if (old !== undefined) this.#unclaim(old);
    this.#clusters.set(cluster.name, cluster);
    const claims = [...(this.#claims.get(cluster.namespace) ?? []), cluster].sort(compareClaims);
    this.#setClaims(cluster.namespace, claims);
    return !sameExceptVersion(old, cluster);
  }

  #removeCluster(name: string): boolean {
    const old = this.#clusters.get(name);
    if (old === undefined) return false;
    this.#unclaim(old);
    return this.#clusters.delete(name);
  }

  #unclaim(cluster: ClusterView): void {
    const claims = this.#claims.get(cluster.namespace) ?? [];
    this.#setClaims(
      cluster.namespace,
      claims.filter(({ name }) => name !== cluster.name),
    );
  }

  #setClaims(namespace: string, claims: ClusterView[]): void {
    if (claims.length === 0) this.#claims.delete(namespace);
    else this.#claims.set(namespace, claims);
    if (claims.length > 1) this.#contested.add(namespace);
    else this.#contested.delete(namespace);
  }

  #sortSeeds(): void {
    this.#sortedSeeds = [...this.#seeds.values()].sort((a, b) => compareText(a.name, b.name));
  }
}

/** What a Cluster's status says ranks before what its name suggests; among equals the name decides, so that every replica agrees. */
function compareClaims(a: ClusterView, b: ClusterView): number {
  return (
    Number(a.namespaceGuessed ?? false) - Number(b.namespaceGuessed ?? false) || compareText(a.name, b.name)
  );
}

/** By code units: the order must not depend on a machine's locale. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

function sameExceptVersion<T extends { readonly resourceVersion: string }>(a: T | undefined, b: T): boolean {
  return a !== undefined && isDeepStrictEqual({ ...a, resourceVersion: '' }, { ...b, resourceVersion: '' });
}
