/** Requests to a kube-apiserver in anybody's name: thin, so that a test sees what the API says and nothing else. */
import { type Dispatcher, request as undiciRequest } from 'undici';
import type { JsonObject } from '../../src/kubernetes.ts';
import { IDENTITIES, type Identity, tokenOf } from './identities.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export interface RequestOptions {
  /** Default: application/json, and a merge patch for PATCH. */
  readonly contentType?: string;
  readonly signal?: AbortSignal;
}

export interface Answer<T> {
  readonly status: number;
  readonly body: T;
  /** The texts of the Warning headers, as kubectl prints them. */
  readonly warnings: readonly string[];
}

/** The API refused: `status` is the HTTP status, `message` what kubectl would print. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly body: JsonObject;

  constructor(method: string, path: string, status: number, body: JsonObject) {
    super(`${method} ${path}: ${status} ${typeof body.message === 'string' ? body.message : ''}`);
    this.status = status;
    this.body = body;
  }
}

export class ApiClient {
  readonly #url: string;
  readonly #dispatcher: Dispatcher;
  readonly #headers: Readonly<Record<string, string | string[]>>;

  constructor(url: string, dispatcher: Dispatcher, identity: Identity = IDENTITIES.admin) {
    this.#url = url;
    this.#dispatcher = dispatcher;
    const token = tokenOf(identity);
    this.#headers = {
      'user-agent': identity.user, // names the manager in managedFields
      ...(token === undefined
        ? {
            authorization: `Bearer ${tokenOf(IDENTITIES.admin)}`,
            'impersonate-user': identity.user,
            ...(identity.groups === undefined ? {} : { 'impersonate-group': [...identity.groups] }),
          }
        : { authorization: `Bearer ${token}` }),
    };
  }

  /** The same API in the name of that identity. */
  as(identity: Identity): ApiClient {
    return new ApiClient(this.#url, this.#dispatcher, identity);
  }

  /** Sends a request; the answer may be an error of the API. */
  async send<T = JsonObject>(
    method: Method,
    path: string,
    body?: unknown,
    options: RequestOptions = {},
  ): Promise<Answer<T>> {
    const { contentType, ...answer } = await this.#send(method, path, body, options);
    const isJson = contentType.startsWith('application/json');
    return { ...answer, body: (isJson ? JSON.parse(answer.body) : answer.body) as T };
  }

  /** Sends a request, and leaves the answer as it came. */
  async sendForText(method: Method, path: string, body?: unknown): Promise<Answer<string>> {
    return this.#send(method, path, body, {});
  }

  async #send(
    method: Method,
    path: string,
    body: unknown,
    options: RequestOptions,
  ): Promise<Answer<string> & { readonly contentType: string }> {
    const defaultType = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
    const response = await undiciRequest(this.#url + path, {
      method,
      dispatcher: this.#dispatcher,
      headers: { ...this.#headers, 'content-type': options.contentType ?? defaultType },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    return {
      status: response.statusCode,
      body: await response.body.text(),
      warnings: parseWarnings(response.headers.warning),
      contentType: String(response.headers['content-type']),
    };
  }

  /**
   * Sends a request and returns the object in the answer.
   * @throws {ApiError} where the API refuses
   */
  async request<T = JsonObject>(
    method: Method,
    path: string,
    body?: unknown,
    options?: RequestOptions,
  ): Promise<T> {
    const answer = await this.send<T>(method, path, body, options);
    if (answer.status >= 400) throw new ApiError(method, path, answer.status, answer.body as JsonObject);
    return answer.body;
  }

  /** Gets an object, or undefined where there is none. */
  async find<T = JsonObject>(path: string): Promise<T | undefined> {
    const answer = await this.send<T>('GET', path);
    if (answer.status === 404) return undefined;
    if (answer.status >= 400) throw new ApiError('GET', path, answer.status, answer.body as JsonObject);
    return answer.body;
  }
}

/** A Warning header is `299 - "text"`, with `\"` and `\\` in the text. */
function parseWarnings(header: string | string[] | undefined): string[] {
  const all = [header ?? []].flat().join(', ');
  return [...all.matchAll(/299 \S+ "((?:[^"\\]|\\.)*)"/g)].map((match) =>
    (match[1] ?? '').replace(/\\(.)/g, '$1'),
  );
}
