/** `serve`: the admission server, wired. */
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import process from 'node:process';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { Logger } from 'pino';
import { buildAttemptRecorder } from '../attempts.ts';
import { buildHooks } from '../hooks.ts';
import { denyAll } from '../kube/authorize.ts';
import { DEFAULT_CLOSE_TIMEOUT_MS, DEFAULT_SHUTDOWN_DELAY_MS, Lifecycle } from '../lifecycle.ts';
import { buildLog, LOG_LEVELS, type LogLevel } from '../log.ts';
import { buildMetrics } from '../metrics.ts';
import { buildOpsServer } from '../ops-server.ts';
import { type AdmissionServer, buildServer } from '../server.ts';
import { loadTls, readTls, swapTls, type TlsFiles, type TlsMaterial, watchTls } from '../tls.ts';
import type { CliIo } from './io.ts';
import {
  EXAMPLE_STATE,
  loadConfig,
  openClient,
  openState,
  type SourceOptions,
  withSourceOptions,
} from './source.ts';
import { paintFor } from './table.ts';

interface ServeOptions extends SourceOptions {
  readonly host: string;
  readonly port: number;
  readonly opsHost: string;
  readonly opsPort: number;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly logLevel: LogLevel;
  readonly shutdownDelaySeconds: number;
  readonly controller: boolean;
  readonly leaseNamespace?: string;
}

const TLS_CHECK_INTERVAL_MS = 10_000;
const DEVELOPMENT_CERTIFICATE_DAYS = 30;
const STDOUT_FD = 1;
/** Of this software, as the chart's README installs it. */
const DEFAULT_NAMESPACE = 'kkp-audit-webhook';

export function serveCommand(io: CliIo): Command {
  const command = new Command('serve')
    .description(
      'Serve the hooks over HTTPS. Without --state and --kubeconfig: the cluster around this pod, or else the examples that ship with it.',
    )
    .option('--host <address>', 'address to serve on', '127.0.0.1')
    .option('--port <port>', 'port of the hooks (HTTPS); 0 picks a free one', parsePort, 8443)
    .option('--ops-host <address>', 'address for health and metrics', '127.0.0.1')
    .option(
      '--ops-port <port>',
      'port of /healthz, /readyz and /metrics (HTTP); 0 picks a free one',
      parsePort,
      8080,
    )
    .option('--tls-cert <file>', 'server certificate, PEM; without it, one is made on the spot')
    .option('--tls-key <file>', 'its private key, PEM')
    .addOption(new Option('--log-level <level>', 'what to log').choices([...LOG_LEVELS]).default('info'))
    .option(
      '--shutdown-delay-seconds <seconds>',
      'how long to serve on after SIGTERM, until endpoints have moved',
      parseSeconds,
      DEFAULT_SHUTDOWN_DELAY_MS / 1000,
    )
    .option('--no-controller', 'only answer: change nothing in the cluster')
    .option(
      '--lease-namespace <namespace>',
      "where the controller's Lease is (default: POD_NAMESPACE, or kkp-audit-webhook)",
    );
  return withSourceOptions(command).action((options: ServeOptions) => serve(options, io));
}

function parsePort(value: string): number {
  const port = Number(value);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new InvalidArgumentError('a port is a whole number from 0 to 65535.');
}

function parseSeconds(value: string): number {
  const seconds = Number(value);
  if (value.trim() !== '' && Number.isFinite(seconds) && seconds >= 0 && seconds <= 3600) return seconds;
  throw new InvalidArgumentError('expected a number of seconds from 0 to 3600.');
}

async function serve(options: ServeOptions, io: CliIo): Promise<void> {
  const { logger, flush } = buildLog(options.logLevel, STDOUT_FD);
  const config = await loadConfig(options.config, io);
  const tls = await openTls(options, logger);
  const client = await openClient(options, io.env);
  const state = await openState(options, client, config, logger);

  const lifecycle = new Lifecycle({
    process,
    log: logger,
    flushLog: flush,
    shutdownDelayMs: options.shutdownDelaySeconds * 1000,
    closeTimeoutMs: DEFAULT_CLOSE_TIMEOUT_MS,
  });
  lifecycle.onClose('client', () => client?.close());
  lifecycle.onClose('state', () => state.close());

  const metrics = buildMetrics({
    version: await readVersion(),
    certificateExpiry: () => tls.current().notAfter,
    stateHealth: () => state.health(),
    processMetrics: true,
  });
  const mayDisable =
    client === undefined ? denyAll : (await import('../kube/authorize.ts')).buildAuthorizer(client);
  const events =
    client === undefined
      ? undefined
      : (await import('../kube/events.ts')).buildEventRecorder(client, { logger, instance: hostname() });
  lifecycle.onClose('events', () => events?.close());
  const recordAttempt = buildAttemptRecorder(metrics, (cluster, event) => events?.record(cluster, event));
  const hooks = buildHooks({ state, config, nowMs: Date.now, mayDisable, recordAttempt });
  const server = buildServer({
    hooks,
    tls: tls.current(),
    log: logger,
    metrics,
    isDraining: () => lifecycle.draining,
  });
  tls.onChange((material) => swapTls(server.server, material));
  lifecycle.onClose('certificate watch', () => tls.stop());

  const ops = buildOpsServer({
    registry: metrics.registry,
    notReady: () => [
      ...(lifecycle.draining ? ['shutting down'] : []),
      ...(state.health().synced ? [] : ['the state is not complete yet', ...state.health().problems]),
    ],
    unhealthy: () => [],
  });
  lifecycle.onClose('ops server', () => ops.close());
  lifecycle.onClose('server', () => server.close());
  const opsUrl = await ops.listen({ host: options.opsHost, port: options.opsPort });
  const url = await server.listen({ host: options.host, port: options.port });
  if (client !== undefined && events !== undefined && options.controller) {
    const { startController } = await import('../controller/start.ts');
    const controller = startController({
      client,
      state,
      config,
      logger,
      events,
      registry: metrics.registry,
      namespace: options.leaseNamespace ?? (io.env.POD_NAMESPACE || DEFAULT_NAMESPACE),
      identity: hostname(),
    });
    lifecycle.onClose('controller', () => controller.close());
  }
  const { clusters, seeds } = state.health();
  logger.info({ url, opsUrl, clusters, seeds }, 'serving');
  if (client === undefined && options.state === undefined) welcome(server, opsUrl, io);
}

interface ServedTls {
  current(): TlsMaterial;
  onChange(listener: (material: TlsMaterial) => void): void;
  stop(): void;
}

/** The certificate from files, watched, or one made on the spot for a first try. */
async function openTls({ tlsCert, tlsKey, host }: ServeOptions, logger: Logger): Promise<ServedTls> {
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    const { InputError } = await import('../input.ts');
    const text = 'give --tls-cert and --tls-key together, or neither of them';
    throw new InputError([{ file: 'command line', line: 0, field: '', text }]);
  }
  if (tlsCert === undefined || tlsKey === undefined) {
    const material = await makeCertificate(host);
    return { current: () => material, onChange: () => undefined, stop: () => undefined };
  }
  const files: TlsFiles = { certFile: tlsCert, keyFile: tlsKey };
  let material = await loadTls(files);
  const listeners: ((material: TlsMaterial) => void)[] = [];
  const watch = watchTls(files, material, {
    intervalMs: TLS_CHECK_INTERVAL_MS,
    onChange: (changed) => {
      material = changed;
      logger.info({ notAfter: changed.notAfter }, 'serving a new certificate');
      for (const listener of listeners) listener(changed);
    },
    onProblem: (problem) => logger.error({ problem }, 'the new certificate is not served; the old one stays'),
  });
  return {
    current: () => material,
    onChange: (listener) => listeners.push(listener),
    stop: () => watch.stop(),
  };
}

async function makeCertificate(host: string): Promise<TlsMaterial> {
  const { issueCa, issueServerCertificate } = await import('../certificates.ts');
  const validity = { days: DEVELOPMENT_CERTIFICATE_DAYS, now: new Date() };
  const isAnyAddress = host === '0.0.0.0' || host === '::';
  const names = ['localhost', '127.0.0.1', '::1', isAnyAddress ? hostname() : host];
  const pair = await issueServerCertificate(await issueCa(validity), [...new Set(names)], validity);
  return readTls(pair.cert, pair.key, { certFile: 'certificate made on the spot', keyFile: 'its key' });
}

async function readVersion(): Promise<string> {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8');
  return String((JSON.parse(text) as { version?: unknown }).version ?? 'unknown');
}

/** For whoever runs it for the first time; logs go to standard output, this does not. */
function welcome(server: AdmissionServer, opsUrl: string, io: CliIo): void {
  const paint = paintFor(io.stderr, io.env);
  const address = server.server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  io.stderr.write(
    `\n${paint('bold', 'kkp-audit-webhook')} serves the hooks with the Clusters and Seeds of ${EXAMPLE_STATE}\n` +
      'and a certificate made on the spot. Try it from another terminal, in the same folder:\n\n' +
      `  curl -sk https://127.0.0.1:${port}/mutate/deployments -H 'content-type: application/json' \\\n` +
      '    -d @examples/reviews/create-deployment.json\n' +
      `  curl -sk https://127.0.0.1:${port}/validate -H 'content-type: application/json' \\\n` +
      '    -d @examples/reviews/disable-audit-logging.json\n' +
      `  curl -s ${opsUrl}/metrics\n\n` +
      'Press Ctrl-C to end it.\n\n',
  );
}
