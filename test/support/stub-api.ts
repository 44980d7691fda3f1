/**
 * A small HTTP server on loopback in the place of kube-apiserver, for what a real one does not do on demand: breaking off, falling silent,
 * answering nonsense. What a real one does is tested on a real one, in test/api.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { TestContext } from 'node:test';
import type { Credentials } from '../../src/kube/identity.ts';

export type Handler = (request: IncomingMessage, response: ServerResponse, url: URL) => unknown;

export interface StubApi {
  readonly url: URL;
  /** Replaces what answers. */
  handle(handler: Handler): void;
  /** `METHOD path?query` of all requests so far. */
  readonly requests: readonly string[];
  /** How many connections were opened so far. */
  readonly connections: number;
  /** Ends every connection without a word. */
  breakConnections(): void;
  /** Nobody listens any more, until `start`. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

export async function startStubApi(t: TestContext, handler: Handler): Promise<StubApi> {
  let current = handler;
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  let port = 0;
  let server: Server | undefined;
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    requests.push(`${request.method} ${request.url}`);
    const url = new URL(request.url ?? '/', 'http://stub');
    Promise.resolve(current(request, response, url)).catch((error) => response.destroy(error));
  };
  const breakConnections = () => {
    for (const socket of sockets) socket.destroy();
  };
  const start = async () => {
    const starting = createServer(answer);
    server = starting;
    starting.on('connection', (socket: Socket) => {
      connections += 1;
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
    });
    await new Promise<void>((resolve) => starting.listen(port, '127.0.0.1', resolve));
    port = (starting.address() as AddressInfo).port;
  };
  const stop = async () => {
    const stopping = server;
    server = undefined;
    if (stopping === undefined) return;
    const closed = new Promise((resolve) => stopping.close(resolve));
    breakConnections();
    await closed;
  };
  await start();
  t.after(stop);
  return {
    url: new URL(`http://127.0.0.1:${port}`),
    handle(next) {
      current = next;
    },
    requests,
    get connections() {
      return connections;
    },
    breakConnections,
    stop,
    start,
  };
}

/** Credentials without any secret. */
export function plainCredentials(url: URL): Credentials {
  return {
    server: url,
    proxyUrl: undefined,
    identity: async () => ({ tls: {}, headers: {} }),
    refresh() {},
  };
}

export function sendJson(response: ServerResponse, body: unknown, statusCode = 200): void {
  response.writeHead(statusCode, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** A Status object, as kube-apiserver sends for a failure. */
export function sendStatus(
  response: ServerResponse,
  code: number,
  reason: string,
  message = reason,
  name?: string,
): void {
  const details = name === undefined ? {} : { details: { name } };
  sendJson(
    response,
    { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, message, code, ...details },
    code,
  );
}

export async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString());
}
