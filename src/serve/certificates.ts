/**
 * What `serve` serves: a certificate from files, of its own CA, or made on the spot for a first try; and what kube-apiserver is to trust. All parts are
 * swapped without a restart.
 */
import { hostname } from 'node:os';
import type { Logger } from 'pino';
import { splitCertificates } from '../certs/authority.ts';
import type { BundleSource } from '../certs/registrar.ts';
import type { SelfManaged } from '../certs/self-managed.ts';
import { type Clock, systemClock } from '../clock.ts';
import { InputError } from '../input.ts';
import type { KubeClient } from '../kube/client.ts';
import { describe, loadTls, readPem, readTls, TlsError, type TlsMaterial, watchTls } from '../tls.ts';

export const CERTIFICATE_SOURCES = ['self', 'files', 'temporary'] as const;

export interface CertificateOptions {
  readonly host: string;
  /** Default: files where they are given, else temporary. */
  readonly certificates?: (typeof CERTIFICATE_SOURCES)[number];
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsCa?: string;
  readonly tlsClientCa?: string;
  readonly tlsClientName?: readonly string[];
  readonly certificateSecret: string;
  readonly certificateName: readonly string[];
  readonly certificateOverlapSeconds: number;
  readonly service: string;
}

export interface ServedCertificates {
  current(): TlsMaterial;
  onChange(listener: (material: TlsMaterial) => void): void;
  readonly source: BundleSource;
  /** True where the server makes and publishes them itself. */
  readonly selfManaged: boolean;
  notReady(): readonly string[];
  close(): void;
}

const CHECK_INTERVAL_MS = 10_000;
/** Four requests each time: eight a minute at rest. */
const LOOK_INTERVAL_MS = 30_000;
const DEVELOPMENT_CERTIFICATE_DAYS = 30;
const SETTLE_MS = 5000;
/** In terms of the overlap: how often the Secret is looked at, and how long a replaced CA stays trusted. */
const TICKS_PER_OVERLAP = 2;
const OVERLAPS_UNTIL_RETIRED = 10;

/** How often certificates and hooks are looked after. */
export const tickIntervalMs = ({ certificateOverlapSeconds }: CertificateOptions): number =>
  Math.min(LOOK_INTERVAL_MS, (certificateOverlapSeconds * 1000) / TICKS_PER_OVERLAP);

/**
 * Opens what the options ask for.
 * @param client needed for `self`
 * @throws {InputError} where the options contradict each other
 * @throws {TlsError} where files can't be used
 */
export async function openCertificates(
  options: CertificateOptions,
  client: KubeClient | undefined,
  namespace: string,
  logger: Logger,
  clock: Clock = systemClock,
): Promise<ServedCertificates> {
  const listeners: ((material: TlsMaterial) => void)[] = [];
  const watches: { stop(): void }[] = [];
  const serve = (changed: Partial<TlsMaterial>): void => {
    const next = { ...material, ...changed };
    for (const listener of listeners) listener(next);
    material = next;
  };
  const kind = checkOptions(options, client);
  const clientCa =
    options.tlsClientCa === undefined ? undefined : await readCertificates(options.tlsClientCa);
  let material: TlsMaterial;
  let source: BundleSource = { tick: async () => undefined };
  let selfManaged: SelfManaged | undefined;
  if (kind === 'files') {
    const files = { certFile: options.tlsCert ?? '', keyFile: options.tlsKey ?? '' };
    material = await loadTls(files);
    const onChange = (changed: TlsMaterial): void => {
      serve(changed);
      logger.info({ notAfter: changed.notAfter }, 'serving a new certificate');
    };
    const onProblem = (problem: string): void =>
      logger.error({ problem }, 'the new certificate is not served; the old one stays');
    watches.push(watchTls(files, material, { intervalMs: CHECK_INTERVAL_MS, onChange, onProblem }));
    const { tlsCa } = options;
    if (tlsCa !== undefined) source = { tick: async () => splitCertificates(await readCertificates(tlsCa)) };
  } else material = await makeCertificate(options.host);
  if (kind === 'self' && client !== undefined) {
    const { SelfManaged } = await import('../certs/self-managed.ts');
    selfManaged = new SelfManaged({
      client,
      logger,
      namespace,
      secretName: options.certificateSecret,
      serverNames: namesOf(options, namespace),
      timings: await timingsOf(options),
      settleMs: Math.min(SETTLE_MS, options.certificateOverlapSeconds * 1000),
      clock,
      onChange: serve,
    });
    source = selfManaged;
  }
  if (clientCa !== undefined && options.tlsClientCa !== undefined) {
    material = { ...material, clientCa };
    watches.push(
      watchClientCa(options.tlsClientCa, clientCa, logger, (changed) => serve({ clientCa: changed })),
    );
  }
  return {
    current: () => material,
    onChange: (listener) => listeners.push(listener),
    source,
    selfManaged: selfManaged !== undefined,
    notReady: () => [selfManaged?.notReady() ?? []].flat(),
    close: () => {
      for (const watch of watches) watch.stop();
    },
  };
}

function checkOptions(
  options: CertificateOptions,
  client: KubeClient | undefined,
): (typeof CERTIFICATE_SOURCES)[number] {
  const fail = (text: string): never => {
    throw new InputError([{ file: 'command line', line: 0, field: '', text }]);
  };
  const { tlsCert, tlsKey, certificates } = options;
  const kind = certificates ?? (tlsCert === undefined && tlsKey === undefined ? 'temporary' : 'files');
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    fail('give --tls-cert and --tls-key together, or neither of them');
  if (kind === 'files' && tlsCert === undefined) fail('--certificates files needs --tls-cert and --tls-key');
  if (kind !== 'files' && tlsCert !== undefined)
    fail(`--certificates ${kind} and --tls-cert exclude each other`);
  if (kind !== 'files' && options.tlsCa !== undefined) fail('--tls-ca needs --tls-cert and --tls-key');
  if (options.tlsClientName !== undefined && options.tlsClientCa === undefined)
    fail('--tls-client-name needs --tls-client-ca');
  if (kind === 'self' && client === undefined)
    fail('--certificates self keeps its CA in a Secret, so it needs a cluster: give --kubeconfig');
  return kind;
}

async function timingsOf({ certificateOverlapSeconds }: CertificateOptions) {
  const { DEFAULT_TIMINGS } = await import('../certs/plan.ts');
  const overlapMs = certificateOverlapSeconds * 1000;
  return { ...DEFAULT_TIMINGS, overlapMs, retireAfterMs: overlapMs * OVERLAPS_UNTIL_RETIRED };
}

function namesOf({ service, certificateName, host }: CertificateOptions, namespace: string): string[] {
  const inCluster = [service, `${service}.${namespace}`, `${service}.${namespace}.svc`];
  return [
    ...new Set([
      ...inCluster,
      `${service}.${namespace}.svc.cluster.local`,
      ...ownNames(host),
      ...certificateName,
    ]),
  ];
}

function ownNames(host: string): string[] {
  const isAnyAddress = host === '0.0.0.0' || host === '::';
  return ['localhost', '127.0.0.1', '::1', isAnyAddress ? hostname() : host];
}

async function makeCertificate(host: string): Promise<TlsMaterial> {
  const { issueCa, issueServerCertificate } = await import('../certificates.ts');
  const validity = { days: DEVELOPMENT_CERTIFICATE_DAYS, now: new Date() };
  const pair = await issueServerCertificate(await issueCa(validity), [...new Set(ownNames(host))], validity);
  return readTls(pair.cert, pair.key, { certFile: 'certificate made on the spot', keyFile: 'its key' });
}

/** @throws {TlsError} where no certificate is in the file */
async function readCertificates(file: string): Promise<string> {
  const certs = splitCertificates(await readPem(file));
  if (certs.length === 0) throw new TlsError(`${file}: there is no certificate in PEM form in it`);
  return certs.join('');
}

function watchClientCa(
  file: string,
  current: string,
  logger: Logger,
  onChange: (certs: string) => void,
): { stop(): void } {
  let served = current;
  let problem = '';
  const look = async (): Promise<void> => {
    try {
      const found = await readCertificates(file);
      problem = '';
      if (found === served) return;
      onChange(found);
      served = found;
      logger.info({ file }, 'client certificates are checked against a new CA');
    } catch (error) {
      const message = describe(error);
      if (message !== problem)
        logger.error({ problem: message }, 'the new CA for clients is not used; the old one stays');
      problem = message;
    }
  };
  const timer = setInterval(() => void look(), CHECK_INTERVAL_MS);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}
