/**
 * Optional traces: one span an admission request, sent by OTLP over HTTP to an OpenTelemetry collector. Only `serve --traces` loads this file.
 * A collector that is slow, broken or away costs spans and never a decision: they wait in a bounded queue, and are dropped where it is full.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { IncomingHttpHeaders } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import {
  type Attributes,
  DiagLogLevel,
  defaultTextMapGetter,
  diag,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import {
  type ExportResult,
  ExportResultCode,
  loggingErrorHandler,
  setGlobalErrorHandler,
  W3CTraceContextPropagator,
} from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import {
  defaultResource,
  detectResources,
  type Resource,
  resourceAttributesEnvDetector,
  resourceFromAttributes,
  serviceNameEnvDetector,
} from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type ReadableSpan,
  type Sampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { Logger } from 'pino';
import type { KubeClient } from './kube/client.ts';
import type { Outcome } from './metrics.ts';

/** What the server needs of traces. */
export interface RequestTracer {
  /**
   * Starts the span of a request whose head has arrived.
   * @param route path of the hook
   * @param headers of the request; a valid `traceparent` makes the span a child of kube-apiserver's
   * @returns undefined where the request is not sampled
   */
  start(route: string, headers: IncomingHttpHeaders): RequestSpan | undefined;
}

export interface RequestSpan {
  /** 32 hexadecimal digits, for the log. */
  readonly traceId: string;
  /** Does the work of the request; what it asks of kube-apiserver becomes spans below this one. */
  run<A extends readonly unknown[], T>(work: (...given: A) => T, ...given: A): T;
  /** Ends the span; called once. */
  end(result: RequestResult): void;
}

export interface RequestResult {
  /** HTTP status of the answer. */
  readonly status: number;
  readonly outcome: Outcome;
  /** Codes of reasons.ts or faults.ts; the first counts. */
  readonly reasons: readonly string[];
  /** What the log line says of the request; SPAN_FIELDS are taken from it. */
  readonly line: Readonly<Record<string, unknown>>;
}

/**
 * What a span takes from the log line, by its name there. Not the user, who is a person: the log line with the trace's ID says who. Never an
 * object, which may hold secrets.
 */
export const SPAN_FIELDS: Readonly<Record<string, string>> = {
  'kkp_audit_webhook.hook': 'hook',
  'kkp_audit_webhook.uid': 'uid',
  'kkp_audit_webhook.operation': 'operation',
  'kkp_audit_webhook.kind': 'kind',
  'kkp_audit_webhook.namespace': 'namespace',
  'kkp_audit_webhook.name': 'name',
  'kkp_audit_webhook.dry_run': 'dryRun',
  'kkp_audit_webhook.cluster': 'cluster',
  'kkp_audit_webhook.datacenter': 'datacenter',
  'kkp_audit_webhook.attempt': 'attempt',
  'kkp_audit_webhook.patch_operations': 'operations',
};

const traceAll = (): Sampler => new ParentBasedSampler({ root: new AlwaysOnSampler() });
const traceShare = (ratio: number): Sampler =>
  new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(ratio) });

/** The samplers of the OpenTelemetry specification (`OTEL_TRACES_SAMPLER`). */
const SAMPLERS: Readonly<Record<string, (ratio: number) => Sampler>> = {
  always_on: () => new AlwaysOnSampler(),
  always_off: () => new AlwaysOffSampler(),
  traceidratio: (ratio) => new TraceIdRatioBasedSampler(ratio),
  parentbased_always_on: traceAll,
  parentbased_always_off: () => new ParentBasedSampler({ root: new AlwaysOffSampler() }),
  parentbased_traceidratio: traceShare,
};

/** Above what a second brings at the highest rates, at about 2 KB a span. */
const MAX_QUEUED_SPANS = 2048;
/** A batch is encoded in one go, about a millisecond in which no decision is made; each larger one would be a longer pause. */
const MAX_BATCH_SPANS = 64;
const MAX_BATCH_DELAY_MS = 5000;
/** From when on nobody waits for the collector. The HTTP exporter gives up before that, unless its answer trickles in. */
const EXPORT_TIMEOUT_MS = 30_000;
/** At the end of the process; well below the time that it has to close. */
const FLUSH_TIMEOUT_MS = 3000;
/** Longer values are cut; names of Kubernetes' objects have at most 253 characters. */
const MAX_VALUE_LENGTH = 512;
/** What the libraries warn of is told once a text; this bounds what is remembered. */
const MAX_WARNINGS = 50;

type Env = Readonly<Record<string, string | undefined>>;

export interface TracingOptions {
  /** Where spans go, such as http://collector:4318/v1/traces; undefined for what the environment names, or else localhost. */
  readonly endpoint: string | undefined;
  /** Share of the requests without a parent that is traced, 0 to 1; undefined for what the environment names, or else all. */
  readonly samplingRatio: number | undefined;
  /** The process's environment. The libraries read its variables for the exporter and the resource by themselves. */
  readonly env: Env;
  readonly logger: Logger;
  /** Of this software. */
  readonly version: string;
  /** Of this replica, such as the name of its pod. */
  readonly instance: string;
  /** Takes the place of OTLP over HTTP. */
  readonly exporter?: SpanExporter;
}

export interface Tracing extends RequestTracer {
  /** A client whose requests, where they are made in the course of a traced one, are spans of their own. */
  traceClient(client: Pick<KubeClient, 'request' | 'urlOf'>): Pick<KubeClient, 'request'>;
  /** Sends what waits, for 3 s at most. */
  close(): Promise<void>;
}

/** Starts tracing. There is at most one in a process: the libraries have one place for errors and warnings. */
export function openTracing(options: TracingOptions): Tracing {
  const { logger } = options;
  const outage = new Outage(logger);
  setGlobalErrorHandler((error) => outage.begin(error));
  const warn = warnOnce(logger);
  const ignore = (): void => undefined;
  diag.setLogger(
    { error: warn, warn, info: ignore, debug: ignore, verbose: ignore },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );

  const exporter =
    options.exporter ??
    new OTLPTraceExporter(options.endpoint === undefined ? {} : { url: options.endpoint });
  const provider = new TracerProvider({
    sampler: chooseSampler(options.samplingRatio, options.env, warn),
    resource: describeProcess(options),
    spanLimits: { attributeValueLengthLimit: MAX_VALUE_LENGTH },
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: watchExporter(exporter, outage),
        maxQueueSize: MAX_QUEUED_SPANS,
        maxExportBatchSize: MAX_BATCH_SPANS,
        scheduledDelayMillis: MAX_BATCH_DELAY_MS,
        exportTimeoutMillis: EXPORT_TIMEOUT_MS,
      }),
    ],
  });
  const tracer = provider.getTracer('kkp-audit-webhook', options.version);
  const propagator = new W3CTraceContextPropagator();
  const current = new AsyncLocalStorage<Span>();

  return {
    start(route, headers) {
      const context =
        headers.traceparent === undefined
          ? ROOT_CONTEXT
          : propagator.extract(ROOT_CONTEXT, headers, defaultTextMapGetter);
      const attributes = {
        'http.request.method': 'POST',
        'http.route': route,
        'url.path': route,
        'url.scheme': 'https',
      };
      const span = tracer.startSpan(`POST ${route}`, { kind: SpanKind.SERVER, attributes }, context);
      if (!span.isRecording()) return undefined;
      return {
        traceId: span.spanContext().traceId,
        run: (work, ...given) => current.run(span, work, ...given),
        end: (result) => endSpan(span, result),
      };
    },

    traceClient: (client) => ({
      async request(method, path, requestOptions) {
        const parent = current.getStore();
        if (parent === undefined) return client.request(method, path, requestOptions);
        const { href, hostname, port } = client.urlOf(path);
        const attributes = {
          'http.request.method': method,
          'url.full': href,
          'server.address': hostname,
          'server.port': Number(port || 443),
        };
        const context = trace.setSpan(ROOT_CONTEXT, parent);
        const span = tracer.startSpan(
          nameQuestion(method, path),
          { kind: SpanKind.CLIENT, attributes },
          context,
        );
        try {
          return await client.request(method, path, requestOptions);
        } catch (error) {
          const { reason, statusCode } = error as { reason?: unknown; statusCode?: unknown };
          // "There is none" is an answer.
          if (method === 'GET' && statusCode === 404) throw error;
          span.setAttribute('error.type', typeof reason === 'string' ? reason : (error as Error).name);
          span.setStatus({ code: SpanStatusCode.ERROR });
          throw error;
        } finally {
          span.end();
        }
      },
    }),

    async close() {
      const sent = provider.shutdown().catch((error: unknown) => outage.begin(error));
      await Promise.race([sent, setTimeout(FLUSH_TIMEOUT_MS, undefined, { ref: false })]);
      setGlobalErrorHandler(loggingErrorHandler());
      diag.disable();
    },
  };
}

/** Names of spans are few (https://opentelemetry.io/docs/specs/semconv/http/http-spans/#name): the name of an object stands in `url.full`. */
const nameQuestion = (method: string, path: string): string =>
  `${method} ${method === 'GET' ? path.replace(/[^/]+$/, '{name}') : path}`;

function endSpan(span: Span, { status, outcome, reasons, line }: RequestResult): void {
  const attributes: Attributes = {
    'http.response.status_code': status,
    'kkp_audit_webhook.outcome': outcome,
  };
  const [first] = reasons;
  if (first !== undefined) attributes['kkp_audit_webhook.reason'] = first;
  for (const [attribute, field] of Object.entries(SPAN_FIELDS)) {
    const value = line[field];
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
      attributes[attribute] = value;
    }
  }
  // A 4xx is the caller's fault (https://opentelemetry.io/docs/specs/semconv/http/http-spans/#status).
  if (status >= 500) {
    attributes['error.type'] = first ?? String(status);
    span.setStatus({ code: SpanStatusCode.ERROR });
  }
  span.setAttributes(attributes).end();
}

/** Whose spans these are. `OTEL_RESOURCE_ATTRIBUTES` and, before it, `OTEL_SERVICE_NAME` have the last word. */
function describeProcess({ version, instance, env }: TracingOptions): Resource {
  const own: Attributes = {
    'service.name': 'kkp-audit-webhook',
    'service.version': version,
    'service.instance.id': instance,
  };
  if (env.POD_NAME) own['k8s.pod.name'] = env.POD_NAME;
  if (env.POD_NAMESPACE) own['k8s.namespace.name'] = env.POD_NAMESPACE;
  const detectors = [resourceAttributesEnvDetector, serviceNameEnvDetector];
  return defaultResource().merge(resourceFromAttributes(own)).merge(detectResources({ detectors }));
}

/** The option, else the environment, else every request; kube-apiserver's decision counts in all but three of the samplers. */
function chooseSampler(ratio: number | undefined, env: Env, warn: (message: string) => void): Sampler {
  if (ratio !== undefined) return traceShare(ratio);
  const name = env.OTEL_TRACES_SAMPLER || 'parentbased_always_on';
  const build = Object.hasOwn(SAMPLERS, name) ? SAMPLERS[name] : undefined;
  if (build === undefined) warn(`OTEL_TRACES_SAMPLER: there is no sampler "${name}"`);
  const argument = env.OTEL_TRACES_SAMPLER_ARG || '1';
  const share = Number(argument);
  const isShare = share >= 0 && share <= 1;
  if (!isShare) warn(`OTEL_TRACES_SAMPLER_ARG: "${argument}" is no number from 0 to 1`);
  return (build ?? traceAll)(isShare ? share : 1);
}

/** A collector that takes no spans: told when it begins and when it ends, not with each batch. */
class Outage {
  readonly #logger: Logger;
  #lostSpans = 0;
  #lasts = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  begin(error: unknown): void {
    if (this.#lasts) return;
    this.#lasts = true;
    // The message alone: with some errors comes the whole answer of the collector.
    const { message, code, name } = error as NodeJS.ErrnoException;
    const problem = message || code || name;
    this.#logger.warn({ problem, code }, 'spans can not be sent; they are lost, and decisions go on');
  }

  lose(spans: number): void {
    this.#lostSpans += spans;
  }

  end(): void {
    if (this.#lasts) this.#logger.info({ lostSpans: this.#lostSpans }, 'spans are sent again');
    this.#lasts = false;
    this.#lostSpans = 0;
  }
}

function watchExporter(exporter: SpanExporter, outage: Outage): SpanExporter {
  return {
    export(spans: ReadableSpan[], done: (result: ExportResult) => void) {
      exporter.export(spans, (result) => {
        if (result.code === ExportResultCode.SUCCESS) outage.end();
        else {
          outage.lose(spans.length);
          outage.begin(result.error ?? new Error('the collector takes no spans'));
        }
        done(result);
      });
    },
    forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve(),
    shutdown: () => exporter.shutdown(),
  };
}

/** Texts that differ in numbers alone are the same; passwords in addresses are left out. */
function warnOnce(logger: Logger): (message: string) => void {
  const told = new Set<string>();
  return (message) => {
    const kind = message.replace(/\d+/g, '#');
    if (told.has(kind) || told.size >= MAX_WARNINGS) return;
    told.add(kind);
    logger.warn({ problem: message.replace(/\/\/[^/@\s]*@/g, '//[not logged]@') }, 'traces');
  };
}
