/**
 * Keeps up with all objects of a resource, as client-go's reflector does: lists in pages, watches from there, lists again where the API server
 * has forgotten that point. client-node's informer neither pages nor trims, and stops for good on an error. Each object is slimmed as it
 * arrives, so that whole objects are never in memory together.
 */
import type { Logger } from 'pino';
import { type Clock, systemClock } from '../clock.ts';
import { isJsonObject, type JsonObject, type KubernetesObject } from '../kubernetes.ts';
import { type Backoff, backoffMs } from './backoff.ts';
import { isStatus, type KubeClient, KubeError } from './client.ts';

export type EventType = 'ADDED' | 'MODIFIED' | 'DELETED';

export interface ReflectorOptions<T> {
  readonly client: KubeClient;
  readonly logger: Logger;
  /** Of the list, see `resourcePath`. */
  readonly path: string;
  /** The resource as messages call it, such as `clusters.kubermatic.k8c.io`. */
  readonly resource: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** Asks for PartialObjectMetadata: no more than `metadata` of each object. */
  readonly metadataOnly?: boolean;
  /** Gives what is kept of an object; it must not keep the object itself. */
  slim(object: KubernetesObject): T;
  /** All objects that there are. */
  onReplace(items: T[]): void;
  onEvent(type: EventType, item: T): void;
  /** Once, when the first list is complete, after onReplace. */
  onSynced?(): void;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly backoff?: Backoff;
  readonly pageSize?: number;
  /** After this silence the connection counts as dead; kube-apiserver sends a bookmark about every minute. */
  readonly idleTimeoutMs?: number;
}

export interface ReflectorHealth {
  readonly synced: boolean;
  /** Since the API server last said something on the resource; Infinity before the first time. */
  readonly ageSeconds: number;
  /** Why it is not current, in one line; undefined when all is well. */
  readonly problem: string | undefined;
}

const BACKOFF: Backoff = { baseMs: 500, maxMs: 30_000 };
const PAGE_SIZE = 500;
/** client-go lets watches last 5 to 10 minutes, so that they spread over API servers again after one restarted. */
const WATCH_SECONDS = { from: 300, to: 600 };
const IDLE_TIMEOUT_MS = 150_000;
/** A watch that ends sooner than this, with nothing said, counts as failed. */
const SHORT_WATCH_MS = 1000;
const LIST_TIMEOUT_MS = 60_000;
/** After so many refusals in a row the point to go on from may be what the API server does not like (etcd was restored). */
const REFUSALS_BEFORE_LIST = 4;

/** What the API server sent is no watch event: what was missed is not known. */
class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}

export class Reflector<T> {
  readonly #options: ReflectorOptions<T>;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #stopping = new AbortController();
  #pageSize: number;
  #resourceVersion: string | undefined;
  #synced = false;
  #failures = 0;
  #heardAtMs = Number.NEGATIVE_INFINITY;
  #problem: string | undefined;
  #running: Promise<void> | undefined;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#pageSize = options.pageSize ?? PAGE_SIZE;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  health(): ReflectorHealth {
    const ageSeconds = (this.#clock.now() - this.#heardAtMs) / 1000;
    return { synced: this.#synced, ageSeconds, problem: this.#problem };
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const delayMs = await this.#listAndWatch().then(
        (delay) => delay,
        (error: unknown) => this.#fail(error),
      );
      if (delayMs > 0) await this.#clock.sleep(delayMs, signal);
    }
  }

  /** @returns how long to wait before the next time, when the watch came to its end */
  async #listAndWatch(): Promise<number> {
    if (this.#resourceVersion === undefined) this.#resourceVersion = await this.#list();
    const startMs = this.#clock.now();
    const said = await this.#watch(this.#resourceVersion);
    if (said || this.#clock.now() - startMs >= SHORT_WATCH_MS) {
      this.#failures = 0;
      return 0;
    }
    this.#failures += 1;
    return this.#backoff();
  }

  /** @returns the version to watch from */
  async #list(): Promise<string> {
    const { client, path, resource, labelSelector, fieldSelector, slim } = this.#options;
    const items: T[] = [];
    let token = '';
    for (;;) {
      const page: JsonObject = await client.request('GET', path, {
        query: { limit: this.#pageSize, continue: token, labelSelector, fieldSelector },
        accept: this.#accept('PartialObjectMetadataList'),
        signal: this.#stopping.signal,
        timeoutMs: LIST_TIMEOUT_MS,
      });
      const metadata = isJsonObject(page.metadata) ? page.metadata : {};
      if (!(Array.isArray(page.items) || page.items === null) || typeof metadata.resourceVersion !== 'string')
        throw new ProtocolError(`the answer to a list of ${resource} is no list`);
      for (const item of page.items ?? []) items.push(slim(item as KubernetesObject));
      this.#hear();
      if (typeof metadata.continue === 'string' && metadata.continue !== '') {
        token = metadata.continue;
        continue;
      }
      this.#options.onReplace(items);
      if (!this.#synced) {
        this.#synced = true;
        this.#options.onSynced?.();
      }
      return metadata.resourceVersion;
    }
  }

  /** @returns whether anything was said */
  async #watch(resourceVersion: string): Promise<boolean> {
    const { client, path, labelSelector, fieldSelector } = this.#options;
    const { from, to } = WATCH_SECONDS;
    const idleTimeoutMs = this.#options.idleTimeoutMs ?? IDLE_TIMEOUT_MS;
    let said = false;
    let open = false;
    const lines = client.lines(path, {
      query: {
        watch: true,
        allowWatchBookmarks: true,
        resourceVersion,
        timeoutSeconds: Math.round(from + (to - from) * this.#random()),
        labelSelector,
        fieldSelector,
      },
      accept: this.#accept('PartialObjectMetadata'),
      signal: this.#stopping.signal,
      idleTimeoutMs,
      onOpen: () => {
        open = true;
        this.#hear();
        this.#recover();
      },
    });
    try {
      for await (const line of lines) {
        this.#take(line);
        said = true;
        this.#failures = 0;
        this.#hear();
      }
    } catch (error) {
      // Silence is what a dead connection and a quiet resource have in common; asking again tells them apart.
      if (!(open && error instanceof KubeError && error.reason === 'Timeout')) throw error;
      this.#options.logger.debug(
        { resource: this.#options.resource, idleTimeoutMs },
        'silent watch replaced',
      );
    }
    return said;
  }

  #take(line: string): void {
    const event = parseEvent(line);
    const object = event.object;
    if (event.type === 'ERROR') {
      const code = typeof object.code === 'number' ? object.code : 0;
      const message = typeof object.message === 'string' ? object.message : 'no reason given';
      throw new KubeError(`the watch was ended: ${message}`, {
        statusCode: code,
        reason: String(object.reason),
      });
    }
    const version = isJsonObject(object.metadata) ? object.metadata.resourceVersion : undefined;
    if (typeof version !== 'string') throw new ProtocolError('a watch event has no resourceVersion');
    if (event.type === 'ADDED' || event.type === 'MODIFIED' || event.type === 'DELETED') {
      this.#options.onEvent(event.type, this.#options.slim(object as KubernetesObject));
    } else if (event.type !== 'BOOKMARK') throw new ProtocolError('a watch event is of an unknown type');
    this.#resourceVersion = version;
  }

  /** Decides how to go on after a failure. */
  #fail(error: unknown): number {
    if (this.#stopping.signal.aborted) return 0;
    this.#failures += 1;
    const refused = error instanceof KubeError && error.statusCode > 0;
    if (
      isStatus(error, 410) ||
      !(error instanceof KubeError) ||
      (refused && this.#failures % REFUSALS_BEFORE_LIST === 0)
    )
      this.#resourceVersion = undefined;
    if (error instanceof KubeError && error.reason === 'ResponseTooLarge')
      this.#pageSize = Math.max(1, Math.floor(this.#pageSize / 2));
    // That the point to go on from is too old is no problem, only a reason to list again; unless the new one is too old again.
    if (!isStatus(error, 410) || this.#failures >= REFUSALS_BEFORE_LIST) this.#tell(this.#explain(error));
    const retryAfterMs = error instanceof KubeError ? (error.retryAfterSeconds ?? 0) * 1000 : 0;
    return Math.max(retryAfterMs, this.#backoff());
  }

  #explain(error: unknown): string {
    const { resource } = this.#options;
    if (isStatus(error, 404))
      return `${resource}: the API server does not know this resource; are its CRDs installed? (${error.message})`;
    if (isStatus(error, 403)) return `${resource}: get, list and watch must be allowed: ${error.message}`;
    return `${resource}: ${error instanceof Error ? error.message : error}`;
  }

  #tell(problem: string): void {
    if (problem !== this.#problem) {
      this.#options.logger.warn(
        { resource: this.#options.resource, problem },
        'watch interrupted, trying on',
      );
    }
    this.#problem = problem;
  }

  #recover(): void {
    if (this.#problem === undefined) return;
    this.#problem = undefined;
    this.#options.logger.info({ resource: this.#options.resource }, 'watch goes on');
  }

  #hear(): void {
    this.#heardAtMs = this.#clock.now();
  }

  #backoff(): number {
    return backoffMs(this.#options.backoff ?? BACKOFF, this.#failures, this.#random);
  }

  #accept(kind: string): string {
    return this.#options.metadataOnly ? `application/json;as=${kind};g=meta.k8s.io;v=v1` : 'application/json';
  }
}

function parseEvent(line: string): { readonly type: string; readonly object: JsonObject } {
  let event: unknown;
  try {
    event = JSON.parse(line);
  } catch {
    throw new ProtocolError(`a watch event is no valid JSON, ${line.length} characters long`);
  }
  if (!isJsonObject(event) || typeof event.type !== 'string' || !isJsonObject(event.object))
    throw new ProtocolError('a watch event has no type or no object');
  return { type: event.type, object: event.object };
}
