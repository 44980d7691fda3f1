import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent } from 'node:https';
import { type AddressInfo, connect as connectTcp } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { type ConnectionOptions, connect, type SecureVersion, type TLSSocket } from 'node:tls';
import { allow, type Hook } from '../../src/admission.ts';
import { buildMetrics } from '../../src/metrics.ts';
import { type AdmissionServer, buildServer, HOOK_PATHS, type ServerDeps } from '../../src/server.ts';
import { swapTls, type TlsMaterial } from '../../src/tls.ts';
import { testCa } from '../support/certificates.ts';
import { testLog } from '../support/log.ts';
import { admissionRequest, deploymentObject, post, reviewBody } from '../support/reviews.ts';
import { until } from '../support/wait.ts';

const PATH = HOOK_PATHS['mutate-deployments'];
const authority = await testCa();
const trust = { ca: authority.ca.cert };
const first = await authority.issue();

interface Running {
  readonly app: AdmissionServer;
  readonly port: number;
  draining: boolean;
}

const running: AdmissionServer[] = [];
after(() => Promise.all(running.map((app) => app.close())));

async function listen(
  limits: ServerDeps['limits'] = {},
  hook: Hook = () => allow(),
  tls: TlsMaterial = first,
): Promise<Running> {
  const metrics = buildMetrics({
    version: '',
    ready: () => undefined,
    certificateExpiry: () => undefined,
    stateHealth: () => undefined,
    processMetrics: false,
  });
  const state = { draining: false };
  const app = buildServer({
    hooks: { 'mutate-deployments': hook },
    tls,
    log: testLog().logger,
    metrics,
    isDraining: () => state.draining,
    limits,
  });
  running.push(app);
  await app.listen({ host: '127.0.0.1', port: 0 });
  return Object.assign(state, { app, port: (app.server.address() as AddressInfo).port });
}

async function handshake(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port, ...trust, ...options });
  await once(socket, 'secureConnect');
  return socket;
}

/** Resolves with all that was read once the other side has closed. */
async function readAll(socket: NodeJS.ReadWriteStream): Promise<string> {
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.on('close', resolve));
  return text;
}

const HEAD = `POST ${PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n`;

describe('TLS', () => {
  test('1.3 is preferred, 1.2 accepted with forward secrecy, older ones refused; also after a swap', async () => {
    const { app, port } = await listen();
    for (const tls of [first, await authority.issue()]) {
      swapTls(app.server, tls);
      const preferred = await handshake(port);
      assert.equal(preferred.getProtocol(), 'TLSv1.3');
      assert.equal(preferred.getPeerX509Certificate()?.toString().trim(), tls.cert.trim());
      preferred.destroy();
      const old = await handshake(port, { maxVersion: 'TLSv1.2' });
      assert.match(old.getCipher().name, /^ECDHE-.*(GCM|POLY1305)/);
      old.destroy();
      for (const version of ['TLSv1', 'TLSv1.1'] as SecureVersion[]) {
        const options = { minVersion: version, maxVersion: version, ciphers: 'DEFAULT:@SECLEVEL=0' };
        await assert.rejects(handshake(port, options), /alert|version|unsupported/i);
      }
      await assert.rejects(
        handshake(port, { maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA256:AES256-SHA' }),
        /handshake/i,
      );
    }
  });

  test('a swap keeps open connections, and new ones get the new certificate', async () => {
    const { app, port } = await listen();
    const agent = new Agent({ keepAlive: true, maxSockets: 1, ...trust });
    assert.equal((await post(port, PATH, reviewBody(), { agent })).status, 200);
    const [socket] = Object.values(agent.freeSockets).flat() as TLSSocket[];
    swapTls(app.server, await authority.issue());
    await until('the socket is free', () => Object.keys(agent.freeSockets).length > 0);
    assert.equal((await post(port, PATH, reviewBody(), { agent })).status, 200);
    await until('the socket is free again', () => Object.keys(agent.freeSockets).length > 0);
    assert.deepEqual(Object.values(agent.freeSockets).flat(), [socket]);
    const fresh = await handshake(port);
    assert.notEqual(fresh.getPeerX509Certificate()?.toString().trim(), first.cert.trim());
    fresh.destroy();
    agent.destroy();
  });
});

describe('connections', () => {
  test('are kept longer than kube-apiserver keeps them idle', async () => {
    const { app, port } = await listen();
    const agent = new Agent({ keepAlive: true, ...trust });
    const { headers } = await post(port, PATH, reviewBody(), { agent });
    assert.equal(headers.connection, 'keep-alive');
    assert.ok(app.server.keepAliveTimeout > 90_000);
    agent.destroy();
  });

  test('end with their answer while draining, and close() then waits for nothing', async () => {
    const server = await listen();
    const agent = new Agent({ keepAlive: true, ...trust });
    await post(server.port, PATH, reviewBody(), { agent });
    server.draining = true;
    const { status, headers } = await post(server.port, PATH, reviewBody(), { agent });
    assert.deepEqual([status, headers.connection], [200, 'close']);
    await until(
      'no connection is left',
      () => Object.keys(agent.sockets).length + Object.keys(agent.freeSockets).length === 0,
    );
    await server.app.close();
    agent.destroy();
  });

  test('a request in flight at close() gets its answer', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    let asked = false;
    const { app, port } = await listen({}, async () => {
      asked = true;
      await promise;
      return allow();
    });
    const answer = post(port, PATH, reviewBody(), trust);
    await until('the hook is asked', () => asked);
    const closed = app.close();
    resolve();
    assert.equal((await answer).status, 200);
    await closed;
  });

  test('a request on an open connection is judged while the server closes', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    let asked = 0;
    const { app, port } = await listen({}, async () => {
      asked += 1;
      if (asked === 1) await promise;
      return allow();
    });
    const body = reviewBody();
    const message = Buffer.concat([Buffer.from(`${HEAD}Content-Length: ${body.length}\r\n\r\n`), body]);
    const socket = await handshake(port);
    const answers = readAll(socket);
    socket.write(message);
    await until('the hook is asked', () => asked === 1);
    const closed = app.close();
    socket.write(message);
    resolve();
    const text = await answers;
    assert.ok(!text.includes('503'), text);
    assert.match(text, /^HTTP\/1\.1 200 /);
    await closed;
  });
});

describe('slow and broken clients are cut off', () => {
  const LIMITS_MS = {
    handshakeTimeoutMs: 150,
    headersTimeoutMs: 150,
    requestTimeoutMs: 300,
    timeoutCheckIntervalMs: 20,
  };
  let port = 0;
  before(async () => {
    port = (await listen(LIMITS_MS)).port;
  });

  test('half-open: no TLS handshake', async () => {
    const socket = connectTcp({ host: '127.0.0.1', port });
    await readAll(socket);
  });

  test('no request after the handshake', async () => {
    await readAll(await handshake(port));
  });

  test('headers that do not end', async () => {
    const socket = await handshake(port);
    const answer = readAll(socket);
    socket.write(HEAD);
    assert.match(await answer, /^HTTP\/1\.1 408 /);
  });

  test('a body that does not end', async () => {
    const socket = await handshake(port);
    const answer = readAll(socket);
    socket.write(`${HEAD}Content-Length: 100000\r\n\r\n{"kind":`);
    assert.match(await answer, /^(?:HTTP\/1\.1 408 |$)/);
  });

  test('headers that are too long, and what is not HTTP', async () => {
    for (const [text, status] of [
      [`${HEAD}X: ${'x'.repeat(20_000)}\r\n\r\n`, '431'],
      ['nonsense\r\n\r\n', '400'],
    ] as const) {
      const socket = await handshake(port);
      const answer = readAll(socket);
      socket.write(text);
      assert.match(await answer, new RegExp(`^HTTP/1\\.1 ${status} `));
    }
  });

  test('and the server goes on', async () => {
    assert.equal((await post(port, PATH, reviewBody(), trust)).status, 200);
  });
});

describe('large bodies', () => {
  const large = admissionRequest({
    object: deploymentObject({ pad: '<'.repeat(3_000_000) }),
    oldObject: deploymentObject({ pad: 'é'.repeat(1_500_000) }),
  });

  test('objects of 3 MB are judged, many at once', async () => {
    const { port } = await listen({}, (request) => {
      const length = (object: unknown): number => (object as { spec: { pad: string } }).spec.pad.length;
      assert.deepEqual([length(request.object), length(request.oldObject())], [3_000_000, 1_500_000]);
      return allow();
    });
    const body = reviewBody(large);
    const answers = await Promise.all(Array.from({ length: 8 }, () => post(port, PATH, body, trust)));
    assert.deepEqual(
      answers.map(({ status }) => status),
      Array(8).fill(200),
    );
  });

  test('all bodies together are limited by what has arrived, and those that are gone do not count', async () => {
    const { port } = await listen({ maxBodiesBytes: 2_000_000 });
    const body = reviewBody(admissionRequest({ object: deploymentObject({ pad: 'x'.repeat(1_500_000) }) }));
    const head = `${HEAD}Content-Length: ${body.length}\r\n\r\n`;
    const slow = await handshake(port);
    slow.on('error', () => undefined);
    await new Promise((resolve) =>
      slow.write(Buffer.concat([Buffer.from(head), body.subarray(0, 1_400_000)]), resolve),
    );
    await until('the second body is refused', async () => {
      const answer = await post(port, PATH, body, trust).catch(() => undefined);
      return answer?.status === 503;
    });
    slow.destroy();
    await until('the next one is judged', async () => (await post(port, PATH, body, trust)).status === 200);
  });
});
