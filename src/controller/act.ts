/** Does what the plan says: at a pace that the API server bears, only while leading, and not again at once where it did not help. */
import type { Clock } from '../clock.ts';
import { isStatus, type KubeClient } from '../kube/client.ts';
import { RateLimiter } from '../kube/workqueue.ts';
import { type JsonObject, type KubernetesObject, resourcePath, type Secret } from '../kubernetes.ts';
import type { Announcer } from './announce.ts';
import type { Ledger } from './ledger.ts';
import type { ActionOutcome, ControllerMetrics } from './metrics.ts';
import { ownSecret } from './objects.ts';
import type { Action } from './plan/action.ts';
import type { Assessment } from './plan/assess.ts';
import { CONTENT_ANNOTATION } from './view.ts';

export interface ActorOptions {
  readonly client: KubeClient;
  readonly ledger: Ledger;
  readonly announcer: Announcer;
  readonly metrics: () => ControllerMetrics | undefined;
  /** Looked at before every write. */
  readonly isLeader: () => boolean;
  readonly clock: Clock;
  /** Ends the term of leadership. */
  readonly signal: AbortSignal;
}

/** What a roll-out may cost the API server; the hooks' own look-ups are not counted. */
const PACE = { perSecond: 20, burst: 40 };
/** A Deployment that a nudge did not change is nudged again after this time. */
const NUDGE_INTERVAL_MS = 30_000;

/** Leadership ended before a write: the next leader does it. */
export class NotLeading extends Error {
  override readonly name = 'NotLeading';
}

export class Actor {
  readonly #options: ActorOptions;
  readonly #limiter = new RateLimiter(PACE);
  /** Clusters in flight do not queue behind those that wait and are only prepared. */
  readonly #rolloutLimiter = new RateLimiter(PACE);
  /** When something was done last, by its path and occasion. */
  readonly #occasions = new Map<string, { readonly occasion: string; readonly atMs: number }>();
  /** Writes that RBAC does not allow. */
  readonly #forbidden = new Set<string>();

  constructor(options: ActorOptions) {
    this.#options = options;
  }

  /**
   * Whether an action may be tried now, and takes it for tried: what the API refuses by RBAC not before `retryForbidden`, and an empty patch that
   * changed nothing not before a while.
   */
  mayTry(action: Action): boolean {
    const { path, occasion } = action;
    if (this.#forbidden.has(keyOf(action))) return false;
    if (occasion === undefined) return true;
    const last = this.#occasions.get(path);
    const atMs = this.#options.clock.now();
    if (last?.occasion === occasion && atMs - last.atMs < NUDGE_INTERVAL_MS) return false;
    this.#occasions.set(path, { occasion, atMs });
    return true;
  }

  /** Rights may have been given. */
  retryForbidden(): void {
    this.#forbidden.clear();
  }

  /** Reads the Deployment and the pods of a cluster again. */
  async refresh(cluster: string): Promise<void> {
    const { ledger, signal } = this.#options;
    await this.#takeTurn(ledger.last(cluster)?.sinceMs !== undefined);
    await ledger.refresh(cluster, signal);
  }

  /**
   * Does one thing.
   * @throws {KubeError} where the API refuses; a conflict means that the facts are old
   * @throws {NotLeading}
   */
  async act(action: Action, assessment: Assessment): Promise<void> {
    const { cluster, sinceMs } = assessment;
    const { announcer, isLeader, ledger, metrics, signal } = this.#options;
    if (action.method === 'REFRESH') return this.refresh(cluster);
    await this.#takeTurn(sinceMs !== undefined || action.name === 'startRollout');
    if (!isLeader() || signal.aborted) throw new NotLeading();
    try {
      const answer = await this.#send(action);
      metrics()?.acted(action.name, 'done');
      if (answer !== undefined) ledger.remember(cluster, answer);
      announcer.announceDone(action.name, assessment);
    } catch (error) {
      if (action.method === 'DELETE' && isStatus(error, 404)) return;
      const outcome = outcomeOf(error);
      metrics()?.acted(action.name, outcome);
      // Someone else was faster. What it made is looked at when the watch brings it.
      if (outcome === 'conflict' && action.method === 'POST') return;
      if (outcome !== 'forbidden') throw error;
      this.#forbidden.add(keyOf(action));
      announcer.announceForbidden(action.name, cluster, error);
    }
  }

  #takeTurn(isRolling: boolean): Promise<void> {
    return (isRolling ? this.#rolloutLimiter : this.#limiter).take(this.#options.signal);
  }

  async #send(action: Action): Promise<KubernetesObject | undefined> {
    const { client, signal } = this.#options;
    const { method, path, body } = action;
    if (method === 'COPY') return this.#copy(action);
    return client.request(method as 'POST' | 'PATCH' | 'DELETE', path, { body, signal });
  }

  /** Copies a Secret, in the place of the version that the action names, where it names one. */
  async #copy({ path, body }: Action): Promise<KubernetesObject> {
    const { client, signal } = this.#options;
    const { namespace, name, resourceVersion } = body as {
      namespace: string;
      name: string;
      resourceVersion: string;
    };
    const source = await client.request<Secret>('GET', path, { signal });
    const copy = ownSecret(name, source.data ?? {});
    const from = `${source.metadata?.namespace}/${name}@${source.metadata?.resourceVersion}`;
    const metadata = copy.metadata as JsonObject;
    const marked = { ...metadata, annotations: { [CONTENT_ANNOTATION]: from } };
    const place = resourcePath('v1', 'secrets', { namespace });
    if (resourceVersion === '') {
      return client.request('POST', place, { body: { ...copy, metadata: marked }, signal });
    }
    const patch = { metadata: { ...marked, resourceVersion }, data: copy.data };
    return client.request('PATCH', `${place}/${name}`, { body: patch, signal });
  }
}

const keyOf = ({ name, path }: Action): string => `${name} ${path}`;

function outcomeOf(error: unknown): ActionOutcome {
  if (isStatus(error, 403)) return 'forbidden';
  return isStatus(error, 409) ? 'conflict' : 'failed';
}
