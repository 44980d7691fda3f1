/**
 * The admission server: fastify over HTTPS, without listen(). It knows the protocol and its limits, and nothing of audit: a hook is
 * `(request, signal) → Decision`. A verdict is HTTP 200; everything else is an HTTP error with one plain sentence (faults.ts), so that
 * kube-apiserver applies the failurePolicy.
 */
import type { Server } from 'node:https';
import { setImmediate } from 'node:timers/promises';
import fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type onRequestHookHandler,
} from 'fastify';
import type { Logger } from 'pino';
import { type AdmissionRequest, type Decision, type Hook, type HookName, ReviewError } from './admission.ts';
import { buildBodyReader } from './body.ts';
import { buildDeadlines, type Deadlines, decisionTimeMs } from './deadline.ts';
import { FAULTS, type FaultCode } from './faults.ts';
import type { Metrics } from './metrics.ts';
import { NO_SCHEMAS } from './no-schemas.ts';
import { readReview, writeReview } from './review.ts';
import { serverTlsOptions, type TlsMaterial } from './tls.ts';
import type { RequestSpan, RequestTracer } from './tracing.ts';

/** Where each hook is served. */
export const HOOK_PATHS: Readonly<Record<HookName, string>> = {
  'mutate-deployments': '/mutate/deployments',
  'mutate-pods': '/mutate/pods',
  'mutate-clusters': '/mutate/clusters',
  validate: '/validate',
};

export const LIMITS = {
  /**
   * kube-apiserver takes objects of up to 3 MiB. In an AdmissionReview there can be two of them, and it writes some characters (`<`, `>`,
   * `&`, controls) as six bytes: 2 × 6 × 3 MiB, and 1 MiB for the rest. A body that is refused would be judged by the failurePolicy, which
   * may be Ignore, so no body that kube-apiserver can send may be refused.
   */
  maxBodyBytes: (2 * 6 * 3 + 1) * 1024 * 1024,
  /** Bodies that are announced or arriving at once; two of the largest and thousands of the usual 40 KB fit. */
  maxBodiesBytes: 128 * 1024 * 1024,
  /** kube-apiserver keeps idle connections for 90 s. The server must keep them longer, or it closes one as a request arrives on it. */
  keepAliveTimeoutMs: 120_000,
  /** A whole request must have arrived by then: the longest that kube-apiserver waits for a webhook. */
  requestTimeoutMs: 30_000,
  /** The TLS handshake, and the head of a request: the bytes of a client that is alive come at once. */
  handshakeTimeoutMs: 10_000,
  headersTimeoutMs: 10_000,
  timeoutCheckIntervalMs: 2000,
  /** kube-apiserver sends six headers and a traceparent, under 1 KiB. */
  maxHeaderBytes: 8 * 1024,
  /** Each kube-apiserver has at most a few hundred requests in flight (--max-mutating-requests-inflight 200). */
  maxConnections: 2000,
} as const;

/** Longer values of a request are cut in the log. Names have at most 253 characters. */
const MAX_LOG_VALUE_LENGTH = 300;
const NO_BODY = Buffer.alloc(0);

export interface ServerDeps {
  /** Hooks that are not given are not served (404). */
  readonly hooks: Readonly<Partial<Record<HookName, Hook>>>;
  readonly tls: TlsMaterial;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** True once the server is on its way out: every answer then ends its connection. */
  readonly isDraining: () => boolean;
  /** Undefined where nothing is traced, which then costs nothing. */
  readonly tracer?: RequestTracer | undefined;
  readonly limits?: Partial<{ readonly [Key in keyof typeof LIMITS]: number }>;
}

export type AdmissionServer = FastifyInstance<Server>;

/**
 * Builds the server.
 * @returns a fastify instance: `listen()` it, or try it with `inject()`; `close()` waits for requests in flight
 */
export function buildServer(deps: ServerDeps): AdmissionServer {
  const limits = { ...LIMITS, ...deps.limits };
  const deadlines = buildDeadlines();
  const app: AdmissionServer = fastify({
    https: {
      ...serverTlsOptions(deps.tls),
      handshakeTimeout: limits.handshakeTimeoutMs,
      headersTimeout: limits.headersTimeoutMs,
      connectionsCheckingInterval: limits.timeoutCheckIntervalMs,
      maxHeaderSize: limits.maxHeaderBytes,
      noDelay: true,
    },
    bodyLimit: limits.maxBodyBytes,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    // A request on an open connection is as good as any other while closing.
    return503OnClosing: false,
    // The line a decision is written below; fastify's own two lines a request say less.
    logger: false,
    exposeHeadRoutes: false,
    routerOptions: { ignoreTrailingSlash: false },
    schemaController: NO_SCHEMAS,
  });
  app.server.maxConnections = limits.maxConnections;

  app.addHook('onRequest', (_request, reply, done) => {
    if (deps.isDraining()) reply.header('connection', 'close');
    done();
  });
  app.addHook('onClose', (_app, done) => {
    deadlines.close();
    done();
  });

  // fastify's own parser refuses bodies with a key `__proto__`, which is a legal key of a ConfigMap.
  app.removeAllContentTypeParsers();
  const readBody = buildBodyReader(limits.maxBodyBytes, limits.maxBodiesBytes);
  app.addContentTypeParser('application/json', (request, payload, done) => {
    const encoding = request.headers['content-encoding'];
    if (encoding === undefined || encoding === 'identity') {
      readBody(payload, Number(request.headers['content-length']), done);
    } else done(new ReviewError('CONTENT_TYPE', FAULTS.CONTENT_TYPE.text));
  });

  for (const [name, hook] of Object.entries(deps.hooks) as [HookName, Hook | undefined][]) {
    if (hook === undefined) continue;
    const url = HOOK_PATHS[name];
    const judge = buildJudge(name, hook, deps, deadlines);
    app.post(url, { ...judge.hooks, handler: judge.handle, errorHandler: judge.refuse });
    app.route({
      method: app.supportedMethods.filter((method) => method !== 'POST'),
      url,
      onRequest: (_request, reply) => {
        reply.header('allow', 'POST');
        sendFault(reply, 'METHOD_NOT_ALLOWED');
      },
      handler: () => undefined,
    });
  }
  app.all('*', {
    onRequest: (_request, reply) => sendFault(reply, 'NOT_FOUND'),
    handler: () => undefined,
  });
  return app;
}

/**
 * Stops serving: ends connections on which nothing has come, and waits for what is in flight. Bytes that have arrived are read first (the poll
 * phase of the event loop comes before setImmediate), or a request that lies there unread would be cut off as if there were none.
 */
export async function closeServer(app: AdmissionServer): Promise<void> {
  await setImmediate();
  app.server.closeIdleConnections();
  await app.close();
}

interface Judge {
  /** Starts the span of a request whose head has arrived; no hook where nothing is traced. */
  readonly hooks: { readonly onRequest?: onRequestHookHandler };
  /** Judges a request whose body has arrived. */
  readonly handle: (request: FastifyRequest, reply: FastifyReply) => void;
  /** Answers one whose body could not be read. */
  readonly refuse: (error: Error, request: FastifyRequest, reply: FastifyReply) => void;
}

function buildJudge(name: HookName, hook: Hook, deps: ServerDeps, deadlines: Deadlines): Judge {
  const { log, metrics, tracer } = deps;
  const spans = new WeakMap<FastifyRequest, RequestSpan>();
  const spanOf = (request: FastifyRequest): RequestSpan | undefined =>
    tracer === undefined ? undefined : spans.get(request);
  const startSpan: onRequestHookHandler = (request, _reply, done) => {
    const span = tracer?.start(HOOK_PATHS[name], request.headers);
    if (span !== undefined) spans.set(request, span);
    done();
  };
  const fail = (
    error: unknown,
    request: FastifyRequest,
    reply: FastifyReply,
    review?: AdmissionRequest,
  ): FaultCode => {
    const code = faultOf(error);
    const span = spanOf(request);
    const context = {
      hook: name,
      code,
      client: request.ip,
      ...(review && describeRequest(review)),
      ...(span && { traceId: span.traceId }),
    };
    if (FAULTS[code].status >= 500) log.error({ ...context, err: error }, FAULTS[code].text);
    else log.warn(context, error instanceof ReviewError ? error.message : FAULTS[code].text);
    sendFault(reply, code, error instanceof ReviewError ? error.message : undefined);
    span?.end({ status: FAULTS[code].status, outcome: 'failed', reasons: [code], line: context });
    return code;
  };

  return {
    hooks: tracer === undefined ? {} : { onRequest: startSpan },
    handle(request, reply) {
      const startedMs = performance.now();
      const span = spanOf(request);
      metrics.started();
      let review: AdmissionRequest | undefined;
      const finish = (decision: Decision): void => {
        const { allowed, reasons, patch } = decision;
        const text = writeReview(review as AdmissionRequest, decision);
        reply.header('content-type', 'application/json').send(text);
        const ms = performance.now() - startedMs;
        const outcome = !allowed ? 'denied' : patch.length > 0 ? 'patched' : 'allowed';
        metrics.finished(name, (review as AdmissionRequest).operation, outcome, reasons, ms / 1000);
        const line = {
          ...decision.log,
          hook: name,
          ...describeRequest(review as AdmissionRequest),
          allowed,
          reasons,
          operations: patch.length,
          ms: Math.round(ms * 1000) / 1000,
          ...(span && { traceId: span.traceId }),
        };
        log.info(line, 'decision');
        span?.end({ status: 200, outcome, reasons, line });
      };
      const giveUp = (error: unknown): void => {
        const code = fail(error, request, reply, review);
        metrics.finished(
          name,
          review?.operation ?? '',
          'failed',
          [code],
          (performance.now() - startedMs) / 1000,
        );
      };
      try {
        // fastify reads no body where neither type nor length is given.
        review = readReview(request.body instanceof Buffer ? request.body : NO_BODY);
        const { timeout } = request.query as { timeout?: unknown };
        const signal = deadlines.signal(decisionTimeMs(timeout));
        const decision = span === undefined ? hook(review, signal) : span.run(hook, review, signal);
        if (decision instanceof Promise) inTime(decision, signal).then(finish).catch(giveUp);
        else finish(decision);
      } catch (error) {
        giveUp(error);
      }
    },
    refuse(error, request, reply) {
      metrics.refused(name, fail(error, request, reply));
    },
  };
}

class HookTooSlowError extends Error {
  override readonly name = 'HookTooSlowError';
}

/** The decision, unless the signal comes first. */
function inTime(decision: Promise<Decision>, signal: AbortSignal): Promise<Decision> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void =>
      reject(new HookTooSlowError('the decision took longer than kube-apiserver waits'));
    signal.addEventListener('abort', onAbort);
    decision.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

function faultOf(error: unknown): FaultCode {
  if (error instanceof ReviewError) return error.code;
  if (error instanceof HookTooSlowError) return 'HOOK_TOO_SLOW';
  const isMediaType =
    error instanceof Error && 'code' in error && error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE';
  return isMediaType ? 'CONTENT_TYPE' : 'HOOK_FAILED';
}

function sendFault(reply: FastifyReply, code: FaultCode, detail?: string): void {
  const { status, text } = FAULTS[code];
  reply
    .code(status)
    .header('content-type', 'text/plain; charset=utf-8')
    .send(`${detail ?? text}\n`);
}

/** What the log says of a request: never an object, which may hold secrets. */
function describeRequest(review: AdmissionRequest): Record<string, string | boolean> {
  return {
    uid: short(review.uid),
    operation: review.operation,
    kind: short(review.kind),
    namespace: short(review.namespace),
    name: short(review.name),
    user: short(review.userInfo.username),
    dryRun: review.dryRun,
  };
}

function short(text: string): string {
  return text.length > MAX_LOG_VALUE_LENGTH ? `${text.slice(0, MAX_LOG_VALUE_LENGTH)}…` : text;
}
