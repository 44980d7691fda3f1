/**
 * Events on a Cluster (events.k8s.io/v1), as `kubectl describe cluster` shows them. The same Event is one object that counts: its name is made
 * of what it says, so that replicas and restarts add to it. Recording never blocks and never throws; what is too much is dropped and counted.
 */
import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import { type Clock, systemClock } from '../clock.ts';
import { KKP_GROUP } from '../kkp.ts';
import { resourcePath } from '../kubernetes.ts';
import { isStatus, type KubeClient } from './client.ts';

export interface EventSubject {
  readonly name: string;
  readonly uid: string;
}

export interface EventContent {
  readonly type: 'Normal' | 'Warning';
  /** Why, in CamelCase, such as AuditLoggingAttemptRejected. */
  readonly reason: string;
  /** For people; cut at 1024 bytes, which is what the API takes. */
  readonly message: string;
  /** What was done, in CamelCase, such as Reject. */
  readonly action: string;
}

export interface EventRecorder {
  /** Notes an Event; it is sent later, in the background. */
  record(cluster: EventSubject, event: EventContent): void;
  /** How many were dropped, because there were too many at once or the API refused them. */
  readonly dropped: number;
  /** Ends the sending; what was not sent is lost. */
  close(): Promise<void>;
}

export interface EventRecorderOptions {
  readonly logger: Logger;
  /** Which replica it is: the name of its pod. */
  readonly instance: string;
  readonly clock?: Clock;
  /** Milliseconds since 1970. */
  readonly nowMs?: () => number;
}

/** Where there is no cluster to write to. */
export const NO_EVENTS: EventRecorder = { record() {}, dropped: 0, close: async () => {} };

const CONTROLLER = 'audit.kubermatic.k8c.io/kkp-audit-webhook';
const EVENTS_API = 'events.k8s.io/v1';
/** Events of what has no namespace are kept there (Kubernetes' own rule for all of them). */
const NAMESPACE = 'default';
const MAX_MESSAGE_BYTES = 1024;
const MAX_WAITING = 1000;
/** The most that a flood of attempts may cost the API server: ten a second, after a burst. */
const INTERVAL_MS = 100;
const BURST = 50;
/** How often the count of one Event is brought up to date at most. */
const REPEAT_INTERVAL_MS = 30_000;
const MAX_REMEMBERED = 5000;
const TIMEOUT_MS = 10_000;

interface Pending {
  readonly cluster: EventSubject;
  readonly event: EventContent;
  count: number;
  lastMs: number;
}

/** Makes the recorder of a cluster. */
export function buildEventRecorder(
  client: Pick<KubeClient, 'request'>,
  options: EventRecorderOptions,
): EventRecorder {
  return new Recorder(client, options);
}

class Recorder implements EventRecorder {
  readonly #client: Pick<KubeClient, 'request'>;
  readonly #options: EventRecorderOptions;
  readonly #clock: Clock;
  readonly #stopping = new AbortController();
  /** By the name of the Event. */
  readonly #waiting = new Map<string, Pending>();
  /** When the Event of that name was sent last. */
  readonly #sentAtMs = new Map<string, number>();
  #sending: Promise<void> | undefined;
  #tokens = BURST;
  #refilledMs: number;
  dropped = 0;

  constructor(client: Pick<KubeClient, 'request'>, options: EventRecorderOptions) {
    this.#client = client;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#refilledMs = this.#clock.now();
  }

  record(cluster: EventSubject, event: EventContent): void {
    if (this.#stopping.signal.aborted) return;
    const name = nameOf(cluster, event);
    const waiting = this.#waiting.get(name);
    const lastMs = (this.#options.nowMs ?? Date.now)();
    if (waiting !== undefined) {
      waiting.count += 1;
      waiting.lastMs = lastMs;
      return;
    }
    if (this.#waiting.size >= MAX_WAITING) {
      this.dropped += 1;
      return;
    }
    this.#waiting.set(name, { cluster, event, count: 1, lastMs });
    this.#start();
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#sending;
  }

  #start(): void {
    this.#sending ??= this.#run().finally(() => {
      this.#sending = undefined;
      if (this.#waiting.size > 0 && !this.#stopping.signal.aborted) this.#start();
    });
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    // What comes in one go is sent as one, and the recording itself does no work.
    await Promise.resolve();
    while (this.#waiting.size > 0 && !signal.aborted) {
      const [due, waitMs] = this.#next();
      if (due === undefined) {
        await this.#clock.sleep(waitMs, signal);
        continue;
      }
      const pending = this.#waiting.get(due);
      this.#waiting.delete(due);
      if (pending === undefined) continue;
      await this.#takeToken();
      if (signal.aborted) return;
      if (this.#sentAtMs.size >= MAX_REMEMBERED) this.#sentAtMs.clear();
      this.#sentAtMs.set(due, this.#clock.now());
      try {
        await this.#send(due, pending);
      } catch (error) {
        this.dropped += pending.count;
        if (!signal.aborted)
          this.#options.logger.warn(
            { cluster: pending.cluster.name, reason: pending.event.reason, err: error },
            'an Event could not be written',
          );
      }
    }
  }

  /** The name of one that may be sent now, or how long to wait for the first. */
  #next(): [name: string | undefined, waitMs: number] {
    let waitMs = REPEAT_INTERVAL_MS;
    for (const name of this.#waiting.keys()) {
      const dueMs = (this.#sentAtMs.get(name) ?? Number.NEGATIVE_INFINITY) + REPEAT_INTERVAL_MS;
      const leftMs = dueMs - this.#clock.now();
      if (leftMs <= 0) return [name, 0];
      waitMs = Math.min(waitMs, leftMs);
    }
    // A new one may come while this waits.
    return [undefined, Math.min(waitMs, 1000)];
  }

  async #takeToken(): Promise<void> {
    const nowMs = this.#clock.now();
    this.#tokens = Math.min(BURST, this.#tokens + (nowMs - this.#refilledMs) / INTERVAL_MS);
    this.#refilledMs = nowMs;
    if (this.#tokens < 1) await this.#clock.sleep(INTERVAL_MS, this.#stopping.signal);
    this.#tokens -= 1;
  }

  async #send(name: string, pending: Pending): Promise<void> {
    const common = { signal: this.#stopping.signal, timeoutMs: TIMEOUT_MS };
    try {
      const body = render(name, pending, this.#options.instance);
      await this.#client.request('POST', resourcePath(EVENTS_API, 'events', { namespace: NAMESPACE }), {
        ...common,
        body,
      });
    } catch (error) {
      if (!isStatus(error, 409)) throw error;
      const path = resourcePath(EVENTS_API, 'events', { namespace: NAMESPACE, name });
      const stored = await this.#client.request<{ series?: { count?: number } | null }>('GET', path, common);
      // An Event without a series has happened once.
      const count = (stored.series?.count ?? 1) + pending.count;
      const series = { count, lastObservedTime: microTime(pending.lastMs) };
      await this.#client.request('PATCH', path, { ...common, body: { series } });
    }
  }
}

function nameOf(cluster: EventSubject, event: EventContent): string {
  const content = JSON.stringify([cluster.uid, event.type, event.reason, event.action, event.message]);
  // A Cluster's name has at most 36 characters; an object's name 253.
  return `${cluster.name.slice(0, 200)}.${createHash('sha256').update(content).digest('hex').slice(0, 16)}`;
}

const microTime = (timeMs: number): string => new Date(timeMs).toISOString().replace('Z', '000Z');

function render(name: string, { cluster, event, count, lastMs }: Pending, instance: string): object {
  return {
    apiVersion: EVENTS_API,
    kind: 'Event',
    metadata: { name, namespace: NAMESPACE },
    eventTime: microTime(lastMs),
    reportingController: CONTROLLER,
    reportingInstance: instance.slice(0, 128) || 'unknown',
    action: event.action,
    reason: event.reason,
    type: event.type,
    note: cut(event.message),
    regarding: { apiVersion: `${KKP_GROUP}/v1`, kind: 'Cluster', name: cluster.name, uid: cluster.uid },
    // The API takes a series from two on only.
    ...(count > 1 && { series: { count, lastObservedTime: microTime(lastMs) } }),
  };
}

function cut(message: string): string {
  if (Buffer.byteLength(message) <= MAX_MESSAGE_BYTES) return message;
  let text = message.slice(0, MAX_MESSAGE_BYTES);
  while (Buffer.byteLength(text) > MAX_MESSAGE_BYTES - 3) text = text.slice(0, -1);
  // Not in the middle of a character of two code units.
  return `${text.toWellFormed().replace(/\ufffd$/, '')}…`;
}
