/**
 * What the hooks know of the seed: one interface, two sources (a folder of files, a Kubernetes cluster). Look-ups are synchronous and answer
 * from memory, because no round trip belongs inside an admission deadline; the one exception is a Cluster that is not in memory yet.
 */
import type { ClusterView, SeedView } from '../kkp.ts';

export interface StateHealth {
  /** True once every kind was read in full; it stays true while a source is away, because the last known state serves on. */
  readonly synced: boolean;
  /** Since the source last said that the state is current: 0 for files, Infinity before a cluster first answered. */
  readonly ageSeconds: number;
  readonly clusters: number;
  readonly seeds: number;
  /** Why the state is not current: one line a problem, naming the file and line or the resource; empty when all is well. */
  readonly problems: readonly string[];
}

export interface State {
  /** The Cluster of that name, as last seen. */
  cluster(name: string): ClusterView | undefined;
  /** The Cluster whose namespace that is (`status.namespaceName`, else the name rule), as last seen. */
  clusterOfNamespace(namespace: string): ClusterView | undefined;
  clusters(): Iterable<ClusterView>;
  /** Every Seed, in the order of their names. */
  seeds(): readonly SeedView[];
  /**
   * Asks the source itself for a Cluster that is not in memory; simultaneous calls for one namespace share one request.
   * @param namespace `cluster-X`
   * @param signal aborts the wait: the caller's deadline
   * @returns the Cluster, or undefined where the source says that there is none
   * @throws {StateError} where the source does not answer (never taken for "there is none")
   */
  fetchClusterOfNamespace(namespace: string, signal: AbortSignal): Promise<ClusterView | undefined>;
  health(): StateHealth;
  /** Calls back after every change of what a look-up would answer, and once when synced. Returns the way to stop that. */
  onChange(listener: () => void): () => void;
  close(): Promise<void>;
}

/** The source of the state could not answer: an internal failure, never a verdict. */
export class StateError extends Error {
  override readonly name = 'StateError';
}

/**
 * Waits until every kind was read in full.
 * @param signal the deadline
 * @throws {StateError} with the state's problems, when the signal comes first
 */
export function waitForSync(state: State, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => {
      stop();
      signal.removeEventListener('abort', abort);
      settle();
    };
    const check = () => {
      if (state.health().synced) end(resolve);
    };
    const abort = () => {
      const problems = state.health().problems.join('; ') || 'it did not answer in time';
      end(() => reject(new StateError(`the Clusters and Seeds could not be read: ${problems}`)));
    };
    const stop = state.onChange(check);
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
    else check();
  });
}
