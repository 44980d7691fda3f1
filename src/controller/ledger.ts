/** What is known of each cluster and what was last found of it. A write's answer counts at once, before the watch brings it. */
import type { Logger } from 'pino';
import { type ClusterView, KKP_GROUP, viewCluster } from '../kkp.ts';
import type { KubernetesObject } from '../kubernetes.ts';
import type { State } from '../state/state.ts';
import type { Announcer } from './announce.ts';
import { type Fleet, isOlder } from './fleet.ts';
import { type Assessment, assess } from './plan/assess.ts';

export interface LedgerOptions {
  readonly state: State;
  readonly fleet: Fleet;
  readonly logger: Logger;
  readonly announcer: Announcer;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
}

export class Ledger {
  readonly #options: LedgerOptions;
  readonly #assessments = new Map<string, Assessment>();
  /** Clusters as `findChanged` last saw them. */
  readonly #seen = new Map<string, ClusterView>();
  /** Clusters as writes brought them back, until the watch has caught up. */
  readonly #written = new Map<string, ClusterView>();

  constructor(options: LedgerOptions) {
    this.#options = options;
  }

  /** What was last found of each cluster. */
  assessments(): Iterable<Assessment> {
    return this.#assessments.values();
  }

  /** What was last found of a cluster. */
  last(name: string): Assessment | undefined {
    return this.#assessments.get(name);
  }

  /** Looks at a cluster afresh; undefined where there is none, or none that can be judged. */
  assess(name: string): Assessment | undefined {
    const { fleet, nowMs, logger, announcer } = this.#options;
    const cluster = this.#cluster(name);
    const before = this.#assessments.get(name);
    let assessment: Assessment | undefined;
    try {
      assessment = cluster && assess(fleet.facts(cluster), nowMs());
    } catch (error) {
      // A fault about one Cluster must not stop the work on the others.
      logger.error({ cluster: name, err: error }, 'controller: a cluster can not be judged');
    }
    if (assessment === undefined) {
      this.#assessments.delete(name);
      return undefined;
    }
    this.#assessments.set(name, assessment);
    if (before?.state !== assessment.state) announcer.announceState(before, assessment);
    return assessment;
  }

  /** Takes what a write of a cluster brought back. */
  remember(name: string, answer: KubernetesObject): void {
    if (answer.kind === 'Cluster' && answer.apiVersion?.startsWith(`${KKP_GROUP}/`))
      this.#written.set(name, viewCluster(answer));
    else this.#options.fleet.take(answer);
  }

  /** Reads the Deployment and the pods of a cluster again. */
  async refresh(name: string, signal: AbortSignal): Promise<void> {
    const cluster = this.#cluster(name);
    if (cluster !== undefined) await this.#options.fleet.refresh(cluster.namespace, signal);
  }

  /**
   * Names the clusters that changed since it was last asked, and forgets those that are gone. The state does not say which: compared by identity,
   * which costs a millisecond for ten thousand.
   */
  findChanged(): { readonly changed: readonly string[]; readonly gone: readonly string[] } {
    const { state } = this.#options;
    const gone = [...this.#seen.keys()].filter((name) => state.cluster(name) === undefined);
    for (const memory of [this.#seen, this.#assessments, this.#written])
      for (const name of gone) memory.delete(name);
    const changed: string[] = [];
    for (const cluster of state.clusters()) {
      if (this.#seen.get(cluster.name) !== cluster) changed.push(cluster.name);
      this.#seen.set(cluster.name, cluster);
    }
    return { changed, gone };
  }

  /** The newer one of what the watch and the last write brought. */
  #cluster(name: string): ClusterView | undefined {
    const cluster = this.#options.state.cluster(name);
    const written = this.#written.get(name);
    if (cluster === undefined || written === undefined) return cluster;
    if (cluster.uid === written.uid && isOlder(cluster.resourceVersion, written.resourceVersion))
      return written;
    this.#written.delete(name);
    return cluster;
  }
}
