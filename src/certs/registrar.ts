/**
 * The loop around the certificates: reads our webhook configurations, has the source say what is to be trusted, publishes it, and switches Fail on.
 * Every replica reads; only the leader writes, but that a replica of which nobody trusts the certificate adds its CA.
 */
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import { isStatus, type KubeClient } from '../kube/client.ts';
import {
  type Configuration,
  type ConfigurationPatch,
  type EnforcedHooks,
  type Published,
  planBundles,
  planEnforced,
  publishedIn,
  readConfigurations,
  sendPatch,
} from './publish.ts';
import { sendProbe } from './send-probe.ts';

/** Says what kube-apiserver is to trust. */
export interface BundleSource {
  /**
   * @param signal ends it
   * @returns PEM certificates, first the one that signs now; undefined where it is not for us to publish any
   * @throws where that can't be found out; what is published stays
   */
  tick(published: Published, isLeader: boolean, signal?: AbortSignal): Promise<readonly string[] | undefined>;
}

export interface RegistrarOptions {
  readonly client: Pick<KubeClient, 'request'>;
  readonly logger: Logger;
  readonly source: BundleSource;
  readonly isLeader: () => boolean;
  /** Undefined where Fail is not ours to switch on. */
  readonly enforcedHooks: EnforcedHooks | undefined;
  /** The namespace of some cluster, for the probe; undefined while there is none, and so nothing to enforce. */
  readonly probeNamespace: () => string | undefined;
  readonly clock: Clock;
  readonly tickMs: number;
}

/** After a start there is most to do: something to publish, Fail to switch on. For that long it is looked more often. */
const FIRST_LOOKS = 12;
const FIRST_INTERVAL_MS = 10_000;
/** The most that the roll-out of another source of certificates takes. */
const CHANGE_MS = 3_600_000;

export class Registrar {
  readonly #options: RegistrarOptions;
  readonly #stopping = new AbortController();
  #published: Published | undefined;
  #problem: string | undefined;
  #running: Promise<void> | undefined;
  readonly #startedMs: number;
  /** All that it ever wanted published. */
  readonly #own = new Set<string>();
  readonly #foreignSinceMs = new Map<string, number>();

  constructor(options: RegistrarOptions) {
    this.#options = options;
    this.#startedMs = options.clock.now();
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** As last seen; undefined before the configurations were first read. */
  published(): Published | undefined {
    return this.#published;
  }

  /** Why the last look failed, in one line. */
  problem(): string | undefined {
    return this.#problem;
  }

  /** One look, and the writes that follow from it. */
  async tick(): Promise<void> {
    try {
      await this.#look();
      this.#problem = undefined;
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      if (problem !== this.#problem && !this.#stopping.signal.aborted)
        this.#options.logger.warn(
          { problem },
          "certificates and hooks can't be looked after now; what is served stays",
        );
      this.#problem = problem;
    }
  }

  async #run(): Promise<void> {
    const { clock, tickMs } = this.#options;
    const { signal } = this.#stopping;
    for (let looks = 1; !signal.aborted; looks += 1) {
      await this.tick();
      await clock.sleep(looks < FIRST_LOOKS ? Math.min(tickMs, FIRST_INTERVAL_MS) : tickMs, signal);
    }
  }

  async #look(): Promise<void> {
    const { client, source, isLeader } = this.#options;
    const { signal } = this.#stopping;
    let configurations = await readConfigurations(client, signal);
    this.#published = publishedIn(configurations);
    const wanted = (await source.tick(this.#published, isLeader(), signal)) ?? [];
    if (signal.aborted) return;
    const foreign = this.#foreignTo(wanted, this.#published);
    if (isLeader()) {
      if (wanted.length > 0)
        configurations = await this.#send(
          planBundles(configurations, [...wanted, ...foreign]),
          configurations,
          isLeader,
        );
      await this.#enforce(configurations);
    } else if (this.#isUntrusted(wanted, this.#published)) {
      const certs = [...new Set([...this.#published.bySome, ...wanted])];
      configurations = await this.#send(planBundles(configurations, certs), configurations, () => true);
    }
    this.#published = publishedIn(configurations);
  }

  /**
   * What is published besides, and was never published by this replica: during a change of where certificates come from, what the others serve. It stays
   * for as long as a roll-out may take.
   */
  #foreignTo(wanted: readonly string[], { bySome }: Published): string[] {
    const nowMs = this.#options.clock.now();
    for (const cert of wanted) this.#own.add(cert);
    const foreign = bySome.filter((cert) => !this.#own.has(cert));
    for (const cert of foreign) if (!this.#foreignSinceMs.has(cert)) this.#foreignSinceMs.set(cert, nowMs);
    return foreign.filter((cert) => nowMs - (this.#foreignSinceMs.get(cert) ?? nowMs) < CHANGE_MS);
  }

  /**
   * Whether the CA that signs for this replica is trusted by nobody: then the leader gets its certificates from somewhere else, and would never be replaced by
   * replicas that are not ready because nobody trusts them. Only for a time, lest two that disagree write in turns for ever.
   */
  #isUntrusted([signer]: readonly string[], { byAll }: Published): boolean {
    const isYoung = this.#options.clock.now() - this.#startedMs < CHANGE_MS;
    return isYoung && signer !== undefined && byAll !== undefined && !byAll.includes(signer);
  }

  /** @returns the configurations as they are then */
  async #send(
    patches: readonly ConfigurationPatch[],
    configurations: readonly Configuration[],
    mayWrite: () => boolean,
  ): Promise<Configuration[]> {
    const { client, logger } = this.#options;
    let now = [...configurations];
    for (const patch of patches) {
      if (!mayWrite()) return now;
      try {
        const written = await sendPatch(client, patch, this.#stopping.signal);
        now = now.map((old) => (old.kind === patch.kind && old.name === patch.name ? written : old));
        logger.info({ configuration: patch.name, kind: patch.kind }, 'webhook configuration written');
      } catch (error) {
        // Somebody else wrote at the same time; the next look sees what.
        if (!isStatus(error, 409)) throw error;
      }
    }
    return now;
  }

  async #enforce(configurations: Configuration[]): Promise<void> {
    const { client, logger, enforcedHooks, probeNamespace, clock } = this.#options;
    if (enforcedHooks === undefined) return;
    const patches = planEnforced(configurations, enforcedHooks);
    const namespace = probeNamespace();
    if (patches.length === 0 || namespace === undefined) return;
    const probe = await sendProbe(client, namespace, randomUUID(), () => clock.now(), this.#stopping.signal);
    if (!probe.answered) {
      const why = probe.untried ? "whether the hooks answer can't be tried" : 'the hooks do not answer';
      throw new Error(`failurePolicy Fail stays off, ${why}: ${probe.problem}`);
    }
    logger.info(
      { namespace, tookMs: Math.round(probe.tookMs) },
      'the hooks answer; switching failurePolicy Fail on',
    );
    await this.#send(patches, configurations, this.#options.isLeader);
  }
}
