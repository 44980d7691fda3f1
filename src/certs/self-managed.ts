/**
 * The server's own CA, in a Secret that all replicas share, and this replica's certificate, whose key never leaves its memory. Every replica reads
 * the Secret; only the leader changes it (any may create it: of two, one fails). A replica serves what a CA signed only where kube-apiserver
 * trusts that CA already, and keeps what it has for as long as that is not so, whatever becomes of the Secret.
 */
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import { isStatus, type KubeClient } from '../kube/client.ts';
import { type KubernetesObject, resourcePath, type Secret } from '../kubernetes.ts';
import { readTls, type TlsMaterial } from '../tls.ts';
import {
  type CertificateAuthority,
  type Reading,
  readAuthorities,
  readPair,
  trustedBy,
  writeAuthorities,
} from './authority.ts';
import { applyStep, planRotation, type Step, type Timings } from './plan.ts';
import type { Published } from './publish.ts';

/** On the Secret: whoever sets it gets a new CA, by the same steps as ever. */
export const ROTATE_ANNOTATION = 'audit.kubermatic.k8c.io/rotate';

export interface SelfManagedOptions {
  readonly client: Pick<KubeClient, 'request'>;
  readonly logger: Logger;
  readonly namespace: string;
  readonly secretName: string;
  /** DNS names and IP addresses that the server is called by. */
  readonly serverNames: readonly string[];
  readonly timings: Timings;
  /** A CA counts as trusted once this replica has seen it published for so long. */
  readonly settleMs: number;
  readonly clock: Clock;
  readonly onChange: (tls: TlsMaterial) => void;
}

/** kube-apiserver's clock is asked again after this time; in between the own one goes on from there. */
const TIME_MAX_AGE_MS = 300_000;
const DAY_MS = 24 * 60 * 60 * 1000;
const HOUR_MS = 60 * 60 * 1000;
/** The certificate ends with its CA. */
const UNTIL_THE_CA_ENDS_DAYS = 36_500;
const MARGIN = 0.25;
/** The chart has one, or two during a change of it. */
const MAX_HOOK_NAMES = 8;
/** The steps after which whoever asked for a new CA has one: any other CA may be older than the reason to ask. */
const BRINGS_NEW: ReadonlySet<Step> = new Set(['create', 'replace', 'introduce']);

export class SelfManaged {
  readonly #options: SelfManagedOptions;
  readonly #secretPath: string;
  #servedCa: string | undefined;
  #servedNames: readonly string[] = [];
  #time: { readonly serverMs: number; readonly atMs: number } | undefined;
  /** What was seen trusted by all entries, and since when without a break. */
  #publishedSinceMs = new Map<string, number>();
  /** The CA that signs, and since when it was seen to. */
  #current: { readonly cert: string; readonly sinceMs: number } | undefined;
  #problem: string | undefined;

  constructor(options: SelfManagedOptions) {
    this.#options = options;
    const { namespace, secretName: name } = options;
    this.#secretPath = resourcePath('v1', 'secrets', { namespace, name });
  }

  /** Why this replica has no certificate of its own to serve yet. */
  notReady(): string | undefined {
    if (this.#servedCa !== undefined) return undefined;
    return `there is no certificate yet: ${this.#problem ?? 'the CA was not read yet'}`;
  }

  /**
   * Looks at the Secret, does the next step of a rotation where this replica leads, and serves what can be served.
   * @param signal ends the look
   * @returns what is to be published, PEM; undefined where that is not known
   * @throws {KubeError}
   */
  async tick(
    published: Published,
    isLeader: boolean,
    signal?: AbortSignal,
  ): Promise<readonly string[] | undefined> {
    this.#observe(published);
    const secret = await this.#read(signal);
    let reading = readAuthorities(secret);
    this.#report(reading);
    this.#observeCurrent(reading);
    if (isLeader || reading.state === 'missing') {
      const written = await this.#rotate(secret, reading, published, signal);
      if (written !== undefined) reading = readAuthorities(written);
      this.#observeCurrent(reading);
    }
    if (reading.state !== 'good') return undefined;
    await this.#serve(reading.authorities.current, published);
    return trustedBy(reading.authorities);
  }

  #report(reading: Reading): void {
    const { logger, namespace, secretName } = this.#options;
    const problem = reading.state === 'broken' ? reading.problem : undefined;
    if (problem !== undefined && problem !== this.#problem)
      logger.error(
        { secret: `${namespace}/${secretName}`, problem },
        'the Secret of the CA is broken; what is served stays, and the leader makes a new CA',
      );
    this.#problem = problem;
  }

  async #read(signal?: AbortSignal): Promise<Secret | undefined> {
    try {
      return await this.#options.client.request<Secret>('GET', this.#secretPath, { signal });
    } catch (error) {
      if (isStatus(error, 404)) return undefined;
      throw error;
    }
  }

  #observe({ byAll }: Published): void {
    const nowMs = this.#options.clock.now();
    const before = this.#publishedSinceMs;
    this.#publishedSinceMs = new Map((byAll ?? []).map((cert) => [cert, before.get(cert) ?? nowMs]));
  }

  #observeCurrent(reading: Reading): void {
    const cert = reading.state === 'good' ? reading.authorities.current.cert : undefined;
    if (cert === this.#current?.cert) return;
    this.#current = cert === undefined ? undefined : { cert, sinceMs: this.#options.clock.now() };
  }

  /** For how long all of these are trusted; undefined where one is not. Where no hook is registered, nobody has to trust anything. */
  #publishedForMs(certs: readonly string[], { byAll }: Published): number | undefined {
    if (byAll === undefined) return Number.POSITIVE_INFINITY;
    const since = certs.map((cert) => this.#publishedSinceMs.get(cert));
    return since.includes(undefined)
      ? undefined
      : this.#options.clock.now() - Math.max(...since.map((ms) => ms ?? 0));
  }

  /** @returns the Secret as written, or undefined where nothing was */
  async #rotate(
    secret: Secret | undefined,
    reading: Reading,
    published: Published,
    signal: AbortSignal | undefined,
  ): Promise<Secret | undefined> {
    const { timings, logger, clock } = this.#options;
    const currentForMs = this.#current === undefined ? 0 : clock.now() - this.#current.sinceMs;
    const plan = (nowMs: number) =>
      planRotation(
        {
          reading,
          requested: secret?.metadata?.annotations?.[ROTATE_ANNOTATION] !== undefined,
          nowMs,
          publishedForMs:
            reading.state === 'good'
              ? this.#publishedForMs(trustedBy(reading.authorities), published)
              : undefined,
          currentForMs,
        },
        timings,
      );
    if (plan(await this.#serverTimeMs(TIME_MAX_AGE_MS, signal)).step === 'none') return undefined;
    const nowMs = await this.#serverTimeMs(0, signal);
    const { step, why } = plan(nowMs);
    if (step === 'none') return undefined;
    const fresh = await issueAuthority(timings.lifetimeMs, nowMs);
    const after = applyStep(step, reading, fresh, published.bySome, nowMs);
    const written = await this.#write(secret, writeAuthorities(after), BRINGS_NEW.has(step), signal);
    if (written !== undefined)
      logger.info({ step, why, notAfter: new Date(after.current.notAfterMs) }, 'rotating the CA');
    return written;
  }

  /** Only in the place of what was read; another replica that was faster is no fault. */
  async #write(
    secret: Secret | undefined,
    data: Record<string, string>,
    fulfilsRequest: boolean,
    signal: AbortSignal | undefined,
  ): Promise<Secret | undefined> {
    const { client, namespace, secretName } = this.#options;
    const given = secret?.metadata?.annotations ?? {};
    const { [ROTATE_ANNOTATION]: _, ...others } = given;
    const body = {
      ...secret,
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: {
        ...secret?.metadata,
        name: secretName,
        namespace,
        annotations: fulfilsRequest ? others : given,
        labels: { ...secret?.metadata?.labels, 'app.kubernetes.io/managed-by': 'kkp-audit-webhook' },
      },
      data,
    };
    try {
      return secret === undefined
        ? await client.request<Secret>('POST', resourcePath('v1', 'secrets', { namespace }), { body, signal })
        : await client.request<Secret>('PUT', this.#secretPath, { body, signal });
    } catch (error) {
      if (isStatus(error, 409)) return undefined;
      throw error;
    }
  }

  /** kube-apiserver's own time, from the creationTimestamp of what a dry run did not create: it is the one who will judge. */
  async #serverTimeMs(maxAgeMs: number, signal: AbortSignal | undefined): Promise<number> {
    const { client, namespace, clock } = this.#options;
    const known = this.#time;
    if (known !== undefined && clock.now() - known.atMs < maxAgeMs)
      return known.serverMs + clock.now() - known.atMs;
    const answer = await client.request<KubernetesObject & { metadata?: { creationTimestamp?: string } }>(
      'POST',
      resourcePath('v1', 'configmaps', { namespace }),
      {
        query: { dryRun: 'All' },
        signal,
        body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { generateName: 'what-time-is-it-' } },
      },
    );
    const serverMs = Date.parse(answer.metadata?.creationTimestamp ?? '');
    if (Number.isNaN(serverMs)) throw new Error('kube-apiserver did not say what time it is');
    this.#time = { serverMs, atMs: clock.now() };
    return serverMs;
  }

  /** Those of the hooks too: after an upgrade they may call another Service, or a while longer the former one. */
  #namesFor({ serverNames, formerNames }: Published): string[] {
    const ofHooks = [...serverNames, ...formerNames].filter((name) => name !== '').slice(0, MAX_HOOK_NAMES);
    return [...new Set([...this.#options.serverNames, ...ofHooks])];
  }

  async #serve(ca: CertificateAuthority, published: Published): Promise<void> {
    const { settleMs, onChange, logger } = this.#options;
    const serverNames = this.#namesFor(published);
    const hasNames = serverNames.every((name) => this.#servedNames.includes(name));
    if (ca.cert === this.#servedCa && hasNames) return;
    const isFirst = this.#servedCa === undefined;
    // The first is served at once: readiness tells whether it is trusted.
    if (
      !isFirst &&
      ca.cert !== this.#servedCa &&
      (this.#publishedForMs([ca.cert], published) ?? -1) < settleMs
    )
      return;
    const { issueServerCertificate } = await import('../certificates.ts');
    // As long as its CA, so that no clock but the one by which the CA was made has a say.
    const validity = { days: UNTIL_THE_CA_ENDS_DAYS, now: new Date(ca.notBeforeMs + HOUR_MS) };
    const pair = await issueServerCertificate(ca, serverNames, validity);
    const material = readTls(pair.cert, pair.key, { certFile: 'own certificate', keyFile: 'its key' });
    this.#servedCa = ca.cert;
    this.#servedNames = serverNames;
    logger.info({ notAfter: material.notAfter }, 'serving a certificate of the own CA');
    onChange(material);
  }
}

/** Backdated, because kube-apiserver's clock may be set back, and other instances of it may be behind. */
async function issueAuthority(lifetimeMs: number, nowMs: number): Promise<CertificateAuthority> {
  const { issueCa } = await import('../certificates.ts');
  const marginMs = lifetimeMs * MARGIN;
  const pair = await issueCa({ days: (lifetimeMs + marginMs) / DAY_MS, now: new Date(nowMs - marginMs) });
  const authority = readPair(pair.cert, pair.key);
  if (typeof authority === 'string') throw new Error(`the CA that was just made is none: ${authority}`);
  return authority;
}
