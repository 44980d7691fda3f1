/**
 * From start to exit. A replica that goes away must not fail a write, so the order on SIGTERM is: not ready, serve on while endpoints move
 * (each answer ends its connection), close, let what is in flight finish, exit 0. Faults that nobody handled end the process with 1: what it
 * holds in memory can't be trusted any more.
 */
import { setTimeout } from 'node:timers/promises';
import type { Logger } from 'pino';

/** What the life cycle needs of `process`. */
export interface ProcessLike {
  on(event: string, listener: (value: unknown) => void): unknown;
  off(event: string, listener: (value: unknown) => void): unknown;
  exit(code: number): unknown;
}

export interface LifecycleOptions {
  readonly process: ProcessLike;
  readonly log: Logger;
  /** Writes what the log still holds; called last. */
  readonly flushLog: () => void;
  /** How long serving goes on after SIGTERM: kube-proxy and the endpoints need seconds to forget a pod. */
  readonly shutdownDelayMs: number;
  /** After so long, counted from the end of the delay, the process ends without waiting for what is still open. */
  readonly closeTimeoutMs: number;
}

export const DEFAULT_SHUTDOWN_DELAY_MS = 10_000;
/** With the delay, 5 s below Kubernetes' terminationGracePeriodSeconds of 30. */
export const DEFAULT_CLOSE_TIMEOUT_MS = 15_000;

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
const FAULT_EVENTS = ['uncaughtException', 'unhandledRejection'] as const;

/** One per process, or per test. */
export class Lifecycle {
  readonly #options: LifecycleOptions;
  readonly #closers: { readonly name: string; readonly close: () => unknown }[] = [];
  readonly #listeners: [string, (value: unknown) => void][];
  readonly #over = new AbortController();
  #draining = false;
  #exited = false;

  /** Listens to signals and unhandled faults from here on. */
  constructor(options: LifecycleOptions) {
    this.#options = options;
    this.#listeners = [
      ...SIGNALS.map((signal): [string, () => void] => [signal, () => this.#onSignal(signal)]),
      ...FAULT_EVENTS.map((event): [string, (error: unknown) => void] => [
        event,
        (error) => this.#onFault(event, error),
      ]),
    ];
    for (const [event, listener] of this.#listeners) options.process.on(event, listener);
  }

  /** True from the first signal on: the readiness probe fails, and every answer ends its connection. */
  get draining(): boolean {
    return this.#draining;
  }

  /**
   * Adds what is closed at the end; the last one added is closed first.
   * @param close may take its time; an error is logged
   */
  onClose(name: string, close: () => unknown): void {
    this.#closers.push({ name, close });
  }

  /**
   * Goes through the whole shutdown. Resolves when `exit` was called.
   * @param reason for the log
   * @param delayMs how long serving goes on
   */
  async stop(reason: string, delayMs = this.#options.shutdownDelayMs): Promise<void> {
    const { log, closeTimeoutMs } = this.#options;
    this.#draining = true;
    log.info(
      { reason, delayMs },
      'shutting down: not ready any more, serving on until the endpoints have moved',
    );
    await setTimeout(delayMs, undefined, { signal: this.#over.signal }).catch(() => undefined);
    if (this.#exited) return;
    const late = globalThis.setTimeout(() => {
      log.warn({ closeTimeoutMs }, 'some requests did not end in time; ending without them');
      this.#exit(0);
    }, closeTimeoutMs);
    for (const { name, close } of this.#closers.toReversed()) {
      try {
        await close();
      } catch (error) {
        log.error({ err: error, part: name }, 'a part did not close');
      }
    }
    clearTimeout(late);
    log.info('stopped');
    this.#exit(0);
  }

  #onSignal(signal: string): void {
    // Ctrl-C comes from a terminal, where nothing routes requests elsewhere.
    if (!this.#draining) void this.stop(signal, signal === 'SIGINT' ? 0 : undefined);
    else {
      this.#options.log.warn({ signal }, 'second signal: ending at once');
      this.#exit(1);
    }
  }

  #onFault(event: string, error: unknown): void {
    this.#options.log.fatal({ err: error, event }, 'a fault that nobody handled; the process ends');
    this.#exit(1);
  }

  #exit(code: number): void {
    if (this.#exited) return;
    this.#exited = true;
    this.#over.abort();
    for (const [event, listener] of this.#listeners) this.#options.process.off(event, listener);
    this.#options.flushLog();
    this.#options.process.exit(code);
  }
}
