/** `serve`: the admission server, wired. */
import { hostname } from 'node:os';
import process from 'node:process';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { Logger } from 'pino';
import manifest from '../../package.json' with { type: 'json' };
import { buildAttemptRecorder } from '../attempts.ts';
import { withProbe } from '../certs/probe.ts';
import type { EnforcedHooks } from '../certs/publish.ts';
import { systemClock } from '../clock.ts';
import { EXAMPLE_STATE } from '../example.ts';
import { buildHooks } from '../hooks.ts';
import { CLUSTER_NAMESPACE_PREFIX } from '../kkp.ts';
import { buildAuthorizer, denyAll } from '../kube/authorize.ts';
import { DEFAULT_CLOSE_TIMEOUT_MS, DEFAULT_SHUTDOWN_DELAY_MS, Lifecycle } from '../lifecycle.ts';
import { buildLog, LOG_LEVELS, type LogLevel } from '../log.ts';
import { buildMetrics } from '../metrics.ts';
import { buildOpsServer } from '../ops-server.ts';
import {
  CERTIFICATE_SOURCES,
  type CertificateOptions,
  openCertificates,
  tickIntervalMs,
} from '../serve/certificates.ts';
import { requireClientNames } from '../serve/client-names.ts';
import { buildReadiness } from '../serve/readiness.ts';
import { type AdmissionServer, buildServer, closeServer } from '../server.ts';
import type { State } from '../state/state.ts';
import { swapTls } from '../tls.ts';
import type { Tracing } from '../tracing.ts';
import type { CliIo } from './io.ts';
import {
  loadConfig,
  openClient,
  openState,
  readInput,
  type SourceOptions,
  withSourceOptions,
} from './source.ts';
import { paintFor } from './table.ts';

interface ServeOptions extends SourceOptions, CertificateOptions {
  readonly port: number;
  readonly opsHost: string;
  readonly opsPort: number;
  readonly enforcedHooks?: string;
  readonly namespace?: string;
  readonly logLevel: LogLevel;
  readonly shutdownDelaySeconds: number;
  readonly controller: boolean;
  /** True for what the environment names. */
  readonly traces?: string | true;
  readonly tracesSamplingRatio?: number;
}

const DEFAULT_OVERLAP_SECONDS = 60;
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
    .addOption(
      new Option(
        '--certificates <source>',
        'self: of an own CA in a Secret, rotated; files: --tls-cert; temporary: made on the spot (default: files where they are given, else temporary)',
      ).choices([...CERTIFICATE_SOURCES]),
    )
    .option('--tls-cert <file>', 'server certificate, PEM')
    .option('--tls-key <file>', 'its private key, PEM')
    .option(
      '--tls-ca <file>',
      'what kube-apiserver is to trust with them, PEM: published in the webhook configurations',
    )
    .option('--tls-client-ca <file>', 'serve only clients with a certificate of these CAs, PEM (mutual TLS)')
    .option('--tls-client-name <name...>', 'and only with one of these common or alternative names')
    .option('--certificate-secret <name>', 'Secret of the own CA', 'kkp-audit-webhook-ca')
    .option(
      '--service <name>',
      'Service by which kube-apiserver calls: the name in the own certificate',
      'kkp-audit-webhook',
    )
    .option('--certificate-name <name...>', 'more DNS names and IP addresses for the own certificate', [])
    .option(
      '--certificate-overlap-seconds <seconds>',
      'how long the next CA is trusted before it signs',
      parseOverlap,
      DEFAULT_OVERLAP_SECONDS,
    )
    .option(
      '--enforced-hooks <file>',
      'entries with failurePolicy Fail, which are switched on once the hooks answer',
    )
    .addOption(new Option('--log-level <level>', 'what to log').choices([...LOG_LEVELS]).default('info'))
    .option(
      '--shutdown-delay-seconds <seconds>',
      'how long to serve on after SIGTERM, until endpoints have moved',
      parseSeconds,
      DEFAULT_SHUTDOWN_DELAY_MS / 1000,
    )
    .option(
      '--traces [endpoint]',
      'send a span a request to an OpenTelemetry collector, by OTLP over HTTP (default endpoint: of the OTEL_ variables, or http://localhost:4318/v1/traces)',
      parseEndpoint,
    )
    .option(
      '--traces-sampling-ratio <ratio>',
      'with --traces: share of the requests that kube-apiserver does not trace itself, 0 to 1 (default: of the OTEL_ variables, or 1)',
      parseRatio,
    )
    .option('--no-controller', 'only answer: change nothing in the cluster')
    .option(
      '--namespace <namespace>',
      'of this software: where the Lease and the Secret are (default: POD_NAMESPACE, or kkp-audit-webhook)',
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

function parseOverlap(value: string): number {
  const seconds = parseSeconds(value);
  if (seconds >= 1) return seconds;
  throw new InvalidArgumentError('an overlap lasts a second at least.');
}

/** A collector's address; where it names no path, the one that OTLP has for traces. */
function parseEndpoint(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol))
    throw new InvalidArgumentError('expected an address such as http://collector:4318/v1/traces.');
  if (url.pathname === '/') url.pathname = '/v1/traces';
  return url.href;
}

function parseRatio(value: string): number {
  const ratio = Number(value);
  if (value.trim() !== '' && ratio >= 0 && ratio <= 1) return ratio;
  throw new InvalidArgumentError('expected a number from 0 to 1.');
}

async function serve(options: ServeOptions, io: CliIo): Promise<void> {
  const { logger, flush } = buildLog(options.logLevel, STDOUT_FD);
  const config = await loadConfig(options.config, io);
  const enforcedHooks = await loadEnforcedHooks(options.enforcedHooks, io);
  const namespace = options.namespace ?? (io.env.POD_NAMESPACE || DEFAULT_NAMESPACE);
  const client = await openClient(options, io.env);
  const tls = await openCertificates(options, client, namespace, logger);

  const lifecycle = new Lifecycle({
    process,
    log: logger,
    flushLog: flush,
    shutdownDelayMs: options.shutdownDelaySeconds * 1000,
    closeTimeoutMs: DEFAULT_CLOSE_TIMEOUT_MS,
  });
  lifecycle.onClose('client', () => client?.close());

  const tracing = await openTraces(options, io, logger, manifest.version);
  lifecycle.onClose('traces', () => tracing?.close());
  const asker = client && (tracing?.traceClient(client) ?? client);
  const state = await openState(options, client, config, logger, asker);
  lifecycle.onClose('state', () => state.close());
  let isReady: boolean | undefined;
  const metrics = buildMetrics({
    version: manifest.version,
    ready: () => isReady,
    certificateExpiry: () => tls.current().notAfter,
    stateHealth: () => state.health(),
    processMetrics: true,
  });
  const mayDisable = asker === undefined ? denyAll : buildAuthorizer(asker);
  const events =
    client === undefined
      ? undefined
      : (await import('../kube/events.ts')).buildEventRecorder(client, { logger, instance: hostname() });
  lifecycle.onClose('events', () => events?.close());
  const recordAttempt = buildAttemptRecorder(metrics, (cluster, event) => events?.record(cluster, event));
  const { validate, ...mutate } = buildHooks({ state, config, nowMs: Date.now, mayDisable, recordAttempt });
  const server = buildServer({
    hooks: { ...mutate, validate: withProbe(validate) },
    tls: tls.current(),
    log: logger,
    metrics,
    isDraining: () => lifecycle.draining,
    tracer: tracing,
  });
  tls.onChange((material) => swapTls(server.server, material));
  lifecycle.onClose('certificate watch', () => tls.close());
  if (options.tlsClientName !== undefined) requireClientNames(server.server, options.tlsClientName, logger);

  let isLeader = (): boolean => false;
  const registrar =
    client === undefined
      ? undefined
      : new (await import('../certs/registrar.ts')).Registrar({
          client,
          logger,
          source: tls.source,
          isLeader: () => isLeader(),
          enforcedHooks,
          probeNamespace: () => findClusterNamespace(state),
          clock: systemClock,
          tickMs: tickIntervalMs(options),
        });
  const ops = buildOpsServer({
    registry: metrics.registry,
    notReady: buildReadiness({
      isDraining: () => lifecycle.draining,
      state,
      certificates: tls,
      registrar,
      address: () => server.server.address(),
      onAnswer: (ready) => {
        isReady = ready;
      },
    }),
    unhealthy: () => [],
  });
  lifecycle.onClose('ops server', () => ops.close());
  lifecycle.onClose('server', () => closeServer(server));
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
      namespace,
      identity: hostname(),
    });
    isLeader = controller.isLeader;
    lifecycle.onClose('controller', () => controller.close());
  }
  registrar?.start();
  lifecycle.onClose('registrar', () => registrar?.close());
  const { clusters, seeds } = state.health();
  logger.info({ url, opsUrl, clusters, seeds }, 'serving');
  if (client === undefined && options.state === undefined) welcome(server, opsUrl, io);
}

/** Of some cluster that is not going away: the hooks look at no other namespaces. Another one each time, in case that one is not there. */
function findClusterNamespace(state: State): string | undefined {
  const namespaces = [...state.clusters()].flatMap(({ deleting, namespace, namespaceGuessed }) =>
    deleting || namespaceGuessed || !namespace.startsWith(CLUSTER_NAMESPACE_PREFIX) ? [] : [namespace],
  );
  return namespaces[Math.floor(Math.random() * namespaces.length)];
}

/** The entries that are switched on once the hooks answer, as the chart renders them. */
async function loadEnforcedHooks(file: string | undefined, io: CliIo): Promise<EnforcedHooks | undefined> {
  if (file === undefined) return undefined;
  const { readEnforcedHooks } = await import('../serve/enforced-hooks.ts');
  return readEnforcedHooks(await readInput(file, io), file);
}

/** Nothing of OpenTelemetry is loaded where no traces are asked for. */
async function openTraces(
  { traces, tracesSamplingRatio }: ServeOptions,
  { env }: CliIo,
  logger: Logger,
  version: string,
): Promise<Tracing | undefined> {
  if (traces === undefined) return undefined;
  const { openTracing } = await import('../tracing.ts');
  return openTracing({
    endpoint: traces === true ? undefined : traces,
    samplingRatio: tracesSamplingRatio,
    env,
    logger,
    version,
    instance: hostname(),
  });
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
