/** As much of an API server as Pepr's admission controller needs to start: its store, one object that it reads, patches and watches. */
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

const STORES = '/apis/pepr.dev/v1/namespaces/pepr-system/peprstores';

let started: Promise<string> | undefined;

/**
 * Starts it in this process, once; it does not keep the process alive.
 * @param certDir with tls.crt and tls.key for 127.0.0.1
 * @returns its URL
 */
export function startPeprApi(certDir: string): Promise<string> {
  started ??= new Promise((resolve) => {
    const [cert, key] = ['tls.crt', 'tls.key'].map((name) => readFileSync(join(certDir, name)));
    const server = createServer({ cert, key }, answer).listen(0, '127.0.0.1', () => {
      resolve(`https://127.0.0.1:${(server.address() as AddressInfo).port}`);
    });
    server.unref();
    server.on('connection', (socket) => socket.unref());
  });
  return started;
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://stub');
  const send = (status: number, body: unknown): void =>
    void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  request.resume();
  if (!url.pathname.startsWith(STORES)) {
    send(404, { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'NotFound', code: 404 });
  } else if (url.searchParams.get('watch') !== null) {
    // Open, and silent: nothing changes the store.
    response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
  } else if (url.pathname === STORES) {
    const name = url.searchParams.get('fieldSelector')?.replace(/^metadata\.name=/, '') ?? '';
    const metadata = { resourceVersion: '1' };
    send(200, { kind: 'PeprStoreList', apiVersion: 'pepr.dev/v1', metadata, items: [store(name)] });
  } else {
    send(200, store(url.pathname.slice(STORES.length + 1)));
  }
}

function store(name: string): object {
  return {
    apiVersion: 'pepr.dev/v1',
    kind: 'PeprStore',
    metadata: { name, namespace: 'pepr-system', uid: name, resourceVersion: '1', labels: {} },
    data: { __pepr_do_not_delete__: 'k-thx-bye' },
  };
}
