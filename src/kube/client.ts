/**
 * A thin REST client of a kube-apiserver. All requests share one pool of kept-alive connections: client-node opens a new TLS connection
 * for each request, which at 10,000 clusters is what would cost most.
 */
import { isDeepStrictEqual } from 'node:util';
import { Agent, type Dispatcher, ProxyAgent } from 'undici';
import { isJsonObject, type JsonObject } from '../kubernetes.ts';
import { type Deadline, startDeadline, untilAborted } from './deadline.ts';
import type { Credentials, Headers, TlsOptions } from './identity.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface RequestOptions {
  readonly query?: Query;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Of the body; by default a merge patch for PATCH, else JSON. */
  readonly contentType?: string;
  readonly accept?: string;
  readonly signal?: AbortSignal | undefined;
  /** For the whole exchange; 30 s by default. */
  readonly timeoutMs?: number;
  /** A longer answer is an error (`ResponseTooLarge`) and is not read to its end; 32 MiB by default. */
  readonly maxBodyBytes?: number;
  /** Called with the API server's clock as the answer has it, to the second. */
  readonly onDate?: (serverMs: number) => void;
}

export interface LinesOptions {
  readonly query?: Query;
  readonly accept?: string;
  readonly signal?: AbortSignal;
  /** Until the answer begins; 30 s by default. */
  readonly timeoutMs?: number;
  /** The longest silence; after it the connection counts as dead. */
  readonly idleTimeoutMs: number;
  /** Called once the server begins to answer. */
  readonly onOpen?: () => void;
  /** 16 MiB by default: an object in etcd has at most 1.5 MiB. */
  readonly maxLineBytes?: number;
}

/** The API server refused, or there was no answer. Neither headers nor bodies sent are ever in the message. */
export class KubeError extends Error {
  override readonly name = 'KubeError';
  /** HTTP status; 0 where there was no answer. */
  readonly statusCode: number;
  /**
   * The `reason` of the Status object, such as "NotFound"; where it was not the API server that said so: Aborted, Timeout, Unreachable, NoCredentials,
   * ResponseTooLarge or InvalidResponse.
   */
  readonly reason: string;
  /** When the server asks to come again, if it does. */
  readonly retryAfterSeconds: number | undefined;
  /** The name of the object that the Status is about; "" where it is about none, as for an API that is not installed. */
  readonly objectName: string;

  constructor(
    message: string,
    details: {
      readonly statusCode?: number;
      readonly reason: string;
      readonly retryAfterSeconds?: number | undefined;
      readonly objectName?: string;
      readonly cause?: unknown;
    },
  ) {
    super(message, details.cause === undefined ? {} : { cause: details.cause });
    this.statusCode = details.statusCode ?? 0;
    this.reason = details.reason;
    this.retryAfterSeconds = details.retryAfterSeconds;
    this.objectName = details.objectName ?? '';
  }
}

/** Whether the error is a KubeError with that HTTP status, such as 404, 409 or 410. */
export function isStatus(error: unknown, statusCode: number): error is KubeError {
  return error instanceof KubeError && error.statusCode === statusCode;
}

const DEFAULT_TIMEOUT_MS = 30_000;
const MAX_BODY_BYTES = 32 * 1024 * 1024;
const MAX_LINE_BYTES = 16 * 1024 * 1024;
const MAX_ERROR_BYTES = 64 * 1024;
/** Shorter than the 60 s after which common load balancers forget an idle connection without a word. */
const KEEP_ALIVE_MS = 30_000;
/** Watches hold one each; the rest are short. */
const MAX_CONNECTIONS = 64;

export class KubeClient {
  readonly #credentials: Credentials;
  readonly #userAgent: string;
  #dispatcher: Dispatcher | undefined;
  #tls: TlsOptions | undefined;
  #closed = false;

  constructor(credentials: Credentials, options: { readonly userAgent?: string } = {}) {
    this.#credentials = credentials;
    this.#userAgent = options.userAgent ?? 'kkp-audit-webhook';
  }

  /** The API server's address, for messages. */
  get server(): string {
    return this.#credentials.server.origin;
  }

  /**
   * Where a path is asked for: the API server's own path may come before it.
   * @param path from the root, see `resourcePath`
   */
  urlOf(path: string): URL {
    return new URL(this.#pathOf(path), this.#credentials.server);
  }

  #pathOf(path: string): string {
    return this.#credentials.server.pathname.replace(/\/+$/, '') + path;
  }

  /**
   * Sends a request.
   * @param path from the root, see `resourcePath`
   * @returns the answer's JSON, or its text where it is none
   * @throws {KubeError} where the API server refuses, or does not answer in time
   */
  async request<T = JsonObject>(method: Method, path: string, options: RequestOptions = {}): Promise<T> {
    const deadline = startDeadline(options.signal, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    const what = `${method} ${path}`;
    try {
      const answer = await this.#send(method, path, options, deadline.signal);
      const serverMs = Date.parse(String(answer.headers.date));
      if (!Number.isNaN(serverMs)) options.onDate?.(serverMs);
      const body = await readAll(what, answer.body, options.maxBodyBytes ?? MAX_BODY_BYTES);
      return parseBody(what, answer, body) as T;
    } catch (error) {
      throw this.#explain(what, error, deadline);
    } finally {
      deadline.end();
    }
  }

  /**
   * Gets an answer line by line, as a watch or a log sends it; ends when the server ends it. Leaving the loop closes the connection.
   * @throws {KubeError} also where the server falls silent
   */
  async *lines(path: string, options: LinesOptions): AsyncGenerator<string, void, undefined> {
    const deadline = startDeadline(options.signal, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    const what = `GET ${path}`;
    const maxLineBytes = options.maxLineBytes ?? MAX_LINE_BYTES;
    try {
      const { body } = await this.#send('GET', path, options, deadline.signal);
      deadline.restart(options.idleTimeoutMs);
      options.onOpen?.();
      let parts: Buffer[] = [];
      let partBytes = 0;
      for await (const chunk of body as AsyncIterable<Buffer>) {
        deadline.restart(options.idleTimeoutMs);
        let start = 0;
        for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
          parts.push(chunk.subarray(start, end));
          const line = Buffer.concat(parts).toString('utf8');
          parts = [];
          partBytes = 0;
          start = end + 1;
          if (line !== '') yield line;
        }
        parts.push(chunk.subarray(start));
        partBytes += chunk.length - start;
        if (partBytes > maxLineBytes) throw tooLarge(what, maxLineBytes);
      }
      const rest = Buffer.concat(parts).toString('utf8');
      if (rest !== '') yield rest;
    } catch (error) {
      throw this.#explain(what, error, deadline);
    } finally {
      deadline.end();
    }
  }

  /** Ends what is under way and closes the connections. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#dispatcher?.destroy();
  }

  /** Sends, and once more where that is safe: with fresh credentials, or on a fresh connection. */
  async #send(
    method: Method,
    path: string,
    options: RequestOptions,
    signal: AbortSignal,
  ): Promise<Dispatcher.ResponseData> {
    const once = () => this.#sendOnce(method, path, options, signal);
    let answer = await once().catch((error: unknown) => {
      // The server closed a kept-alive connection at the moment when it was used.
      if (method === 'GET' && isStaleConnection(error) && !signal.aborted) return once();
      throw error;
    });
    if (answer.statusCode === 401) {
      await answer.body.dump();
      this.#credentials.refresh();
      answer = await once();
    }
    if (answer.statusCode >= 200 && answer.statusCode < 300) return answer;
    const text = await readAll('', answer.body, MAX_ERROR_BYTES).catch(() => Buffer.of());
    throw statusError(`${method} ${path}`, answer, text.toString('utf8'));
  }

  async #sendOnce(
    method: Method,
    path: string,
    options: RequestOptions,
    signal: AbortSignal,
  ): Promise<Dispatcher.ResponseData> {
    const { server } = this.#credentials;
    const identity = await untilAborted(
      this.#credentials.identity().catch((error: Error) => {
        throw new KubeError(error.message, { reason: 'NoCredentials', cause: error });
      }),
      signal,
      () => new Error('aborted'),
    );
    const headers: Headers = {
      ...identity.headers,
      accept: options.accept ?? 'application/json',
      'user-agent': this.#userAgent,
      ...(options.body === undefined
        ? {}
        : { 'content-type': options.contentType ?? defaultContentType(method) }),
    };
    return this.#connect(identity.tls).request({
      origin: server.origin,
      path: this.#pathOf(path) + formatQuery(options.query),
      method,
      headers,
      body: options.body === undefined ? null : JSON.stringify(options.body),
      signal,
      // The deadline of the whole exchange stands for both.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  /** The pool; a new one where the certificates were replaced. What runs on the old one runs on to its end. */
  #connect(tls: TlsOptions): Dispatcher {
    if (this.#closed) throw new KubeError('the client is closed', { reason: 'Aborted' });
    if (this.#dispatcher !== undefined && isDeepStrictEqual(tls, this.#tls)) return this.#dispatcher;
    void this.#dispatcher?.close();
    this.#tls = tls;
    const pool = {
      connections: MAX_CONNECTIONS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      // One HTTP/2 connection for all would make one loss of it a loss of all watches at once.
      allowH2: false,
    };
    const { proxyUrl } = this.#credentials;
    this.#dispatcher =
      proxyUrl === undefined
        ? new Agent({ ...pool, connect: { ...tls, timeout: 10_000 } })
        : new ProxyAgent({ ...pool, uri: proxyUrl, requestTls: tls });
    return this.#dispatcher;
  }

  #explain(what: string, error: unknown, deadline: Deadline): KubeError {
    if (deadline.timedOut) {
      const message = `${what}: no answer from ${this.server} within ${deadline.timeoutMs} ms`;
      return new KubeError(message, { reason: 'Timeout', cause: error });
    }
    if (deadline.signal.aborted)
      return new KubeError(`${what}: given up`, { reason: 'Aborted', cause: error });
    if (error instanceof KubeError) return error;
    const message = `${what}: no answer from ${this.server}: ${explainNetworkError(error)}`;
    return new KubeError(message, { reason: 'Unreachable', cause: error });
  }
}

function defaultContentType(method: Method): string {
  return method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
}

function formatQuery(query: Query = {}): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') parameters.set(key, String(value));
  }
  const text = parameters.toString();
  return text === '' ? '' : `?${text}`;
}

async function readAll(
  what: string,
  body: Dispatcher.ResponseData['body'],
  maxBytes: number,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    // Leaving the loop closes the connection.
    if (bytes > maxBytes) throw tooLarge(what, maxBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function tooLarge(what: string, maxBytes: number): KubeError {
  return new KubeError(`${what}: the answer is longer than ${maxBytes} bytes`, {
    reason: 'ResponseTooLarge',
  });
}

function parseBody(what: string, answer: Dispatcher.ResponseData, body: Buffer): unknown {
  const text = body.toString('utf8');
  if (!String(answer.headers['content-type']).startsWith('application/json')) return text;
  try {
    return JSON.parse(text);
  } catch {
    const message = `${what}: the answer is no valid JSON, ${body.length} bytes long`;
    throw new KubeError(message, { statusCode: answer.statusCode, reason: 'InvalidResponse' });
  }
}

function statusError(what: string, answer: Dispatcher.ResponseData, text: string): KubeError {
  const { statusCode } = answer;
  const status = parseStatus(text);
  const details = isJsonObject(status?.details) ? status.details : {};
  const reason = typeof status?.reason === 'string' ? status.reason : '';
  const message = typeof status?.message === 'string' ? status.message : text.trim().slice(0, 200);
  const retryAfter = Number(answer.headers['retry-after'] ?? details.retryAfterSeconds);
  return new KubeError(`${what}: ${[statusCode, reason].filter(Boolean).join(' ')}: ${message}`, {
    statusCode,
    reason,
    retryAfterSeconds: Number.isFinite(retryAfter) && retryAfter > 0 ? retryAfter : undefined,
    objectName: typeof details.name === 'string' ? details.name : '',
  });
}

function parseStatus(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) && value.kind === 'Status' ? value : undefined;
  } catch {
    return undefined;
  }
}

function isStaleConnection(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE';
}

function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

/** Node hides the reasons of a failed connection in an AggregateError without a message of its own. */
function explainNetworkError(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(explainNetworkError).join(', ');
  return error instanceof Error && error.message !== '' ? error.message : errorCode(error) || String(error);
}
