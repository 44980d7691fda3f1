// On a stub server: see test/support/stub-api.ts. The same client on a real kube-apiserver is in test/api.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { isStatus, KubeClient, KubeError } from '../../src/kube/client.ts';
import type { Credentials } from '../../src/kube/identity.ts';
import { resourcePath } from '../../src/kubernetes.ts';
import {
  type Handler,
  plainCredentials,
  readJson,
  type StubApi,
  sendJson,
  sendStatus,
  startStubApi,
} from '../support/stub-api.ts';
import { until } from '../support/wait.ts';

const SECRET = 'very-secret-token';

async function clientOf(t: TestContext, handler: Handler, credentials?: (stub: StubApi) => Credentials) {
  const stub = await startStubApi(t, handler);
  const client = new KubeClient((credentials ?? ((api) => plainCredentials(api.url)))(stub));
  t.after(() => client.close());
  return { stub, client };
}

async function failure(promise: Promise<unknown>): Promise<KubeError> {
  const error = await promise.then(
    () => assert.fail('it succeeded'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof KubeError, String(error));
  assert.ok(!`${error.message}${error.stack}`.includes(SECRET), 'no secret in an error');
  return error;
}

async function collect(lines: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = [];
  for await (const line of lines) all.push(line);
  return all;
}

test('requests carry query, body and content type, and give the answer as JSON', async (t) => {
  const seen: unknown[] = [];
  const { client, stub } = await clientOf(t, async (request, response) => {
    const { 'content-type': type, accept } = request.headers;
    seen.push({ type, accept, body: request.method === 'GET' ? undefined : await readJson(request) });
    sendJson(response, { ok: true, ['__proto__']: { x: 1 } });
  });
  assert.deepEqual(
    Object.keys(
      await client.request('GET', '/a', { query: { limit: 5, empty: '', none: undefined, f: 'a=b,c' } }),
    ),
    ['ok', '__proto__'],
  );
  await client.request('PATCH', '/b', { body: {} });
  await client.request('PATCH', '/b', { body: [], contentType: 'application/json-patch+json' });
  await client.request('POST', '/c', { body: { a: 'ü' } });
  assert.deepEqual(stub.requests, ['GET /a?limit=5&f=a%3Db%2Cc', 'PATCH /b', 'PATCH /b', 'POST /c']);
  assert.deepEqual(seen, [
    { type: undefined, accept: 'application/json', body: undefined },
    { type: 'application/merge-patch+json', accept: 'application/json', body: {} },
    { type: 'application/json-patch+json', accept: 'application/json', body: [] },
    { type: 'application/json', accept: 'application/json', body: { a: 'ü' } },
  ]);
});

test('requests that follow one another share their connections', async (t) => {
  const { client, stub } = await clientOf(t, (_request, response) => sendJson(response, {}));
  for (let i = 0; i < 100; i += 1) await client.request('GET', '/');
  assert.ok(
    stub.connections <= 2,
    `${stub.connections} connections; undici opens a second where the first has not quite ended`,
  );
});

test('a refusal says what the API server said', async (t) => {
  const { client, stub } = await clientOf(t, (_request, response) =>
    sendStatus(response, 404, 'NotFound', 'clusters "x" not found', 'x'),
  );
  const error = await failure(client.request('GET', '/apis/g/v1/clusters/x'));
  assert.equal(error.message, 'GET /apis/g/v1/clusters/x: 404 NotFound: clusters "x" not found');
  assert.deepEqual(
    [error.statusCode, error.reason, error.objectName, isStatus(error, 404)],
    [404, 'NotFound', 'x', true],
  );
  stub.handle((_request, response) => response.writeHead(404).end('404 page not found\n'));
  assert.equal((await failure(client.request('GET', '/x'))).message, 'GET /x: 404: 404 page not found');
  stub.handle((_request, response) => response.writeHead(429, { 'retry-after': '7' }).end());
  assert.equal((await failure(client.request('GET', '/x'))).retryAfterSeconds, 7);
  stub.handle((_request, response) => response.writeHead(302, { location: 'http://elsewhere/' }).end());
  assert.equal(
    (await failure(client.request('GET', '/x'))).statusCode,
    302,
    'credentials follow no redirection',
  );
  stub.handle((_request, response) => sendJson(response, ['no', 'status'], 500));
  assert.equal((await failure(client.request('GET', '/x'))).statusCode, 500);
});

test('nonsense for an answer is an error', async (t) => {
  const { client } = await clientOf(t, (_request, response) =>
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"a":'),
  );
  assert.equal((await failure(client.request('GET', '/x'))).reason, 'InvalidResponse');
});

test('nobody there, silence, and giving up are told apart', async (t) => {
  const { client, stub } = await clientOf(t, () => {});
  const silent = await failure(client.request('GET', '/x', { timeoutMs: 50 }));
  assert.equal(silent.reason, 'Timeout');
  assert.match(silent.message, /^GET \/x: no answer from http:\/\/127\.0\.0\.1:\d+ within 50 ms$/);
  const controller = new AbortController();
  const given = failure(client.request('GET', '/x', { signal: controller.signal }));
  await until('the request', () => stub.requests.length === 2);
  controller.abort();
  assert.equal((await given).reason, 'Aborted');
  assert.equal(
    (await failure(client.request('GET', '/x', { signal: AbortSignal.abort() }))).reason,
    'Aborted',
  );
  await stub.stop();
  const away = await failure(client.request('GET', '/x'));
  assert.equal(away.reason, 'Unreachable');
  assert.match(away.message, /ECONNREFUSED/);
});

test('a read on a connection that the server just closed is tried again; a write is not', async (t) => {
  let broken = 0;
  const { client } = await clientOf(t, (request, response) => {
    if (broken > 0) {
      broken -= 1;
      request.socket.destroy();
    } else sendJson(response, {});
  });
  broken = 1;
  await client.request('GET', '/x');
  broken = 2;
  assert.equal((await failure(client.request('GET', '/x'))).reason, 'Unreachable');
  broken = 1;
  assert.equal((await failure(client.request('PUT', '/x', { body: {} }))).reason, 'Unreachable');
});

test('an answer without end is cut off', async (t) => {
  let closed = false;
  const { client } = await clientOf(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    const feed = () => {
      while (!response.destroyed && response.write('x'.repeat(10_000)));
    };
    response.on('drain', feed).on('close', () => {
      closed = true;
    });
    feed();
  });
  assert.equal(
    (await failure(client.request('GET', '/x', { maxBodyBytes: 100_000 }))).reason,
    'ResponseTooLarge',
  );
  assert.equal(
    (await failure(collect(client.lines('/x', { idleTimeoutMs: 1000, maxLineBytes: 100_000 })))).reason,
    'ResponseTooLarge',
  );
  await until('the connection to close', () => closed);
});

test('lines come as they are sent, however they are cut', async (t) => {
  const text = 'first\n{"ü":"€"}\n\nlast without end';
  const bytes = Buffer.from(text);
  const { client } = await clientOf(t, async (_request, response) => {
    for (const byte of bytes) {
      response.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    response.end();
  });
  assert.deepEqual(await collect(client.lines('/x', { idleTimeoutMs: 5000 })), [
    'first',
    '{"ü":"€"}',
    'last without end',
  ]);
});

test('a stream that falls silent ends with an error, one that goes on does not', async (t) => {
  const { client, stub } = await clientOf(t, (_request, response) => void response.write('one\n'));
  const lines: string[] = [];
  const error = await failure(
    (async () => {
      for await (const line of client.lines('/x', { idleTimeoutMs: 60 })) lines.push(line);
    })(),
  );
  assert.equal(error.reason, 'Timeout');
  assert.deepEqual(lines, ['one']);
  stub.handle((_request, response) => {
    let count = 0;
    const timer = setInterval(() => {
      count += 1;
      response.write(`${count}\n`);
      if (count < 8) return;
      clearInterval(timer);
      response.end();
    }, 20);
  });
  assert.equal((await collect(client.lines('/x', { idleTimeoutMs: 120 }))).length, 8);
});

test('leaving the loop, and aborting, close the stream', async (t) => {
  let open = 0;
  const { client } = await clientOf(t, (_request, response) => {
    open += 1;
    response.on('close', () => {
      open -= 1;
    });
    response.write('a\nb\n');
  });
  for await (const _line of client.lines('/x', { idleTimeoutMs: 5000 })) break;
  await until('the stream to close', () => open === 0);
  const controller = new AbortController();
  const reading = failure(collect(client.lines('/x', { idleTimeoutMs: 5000, signal: controller.signal })));
  await until('the second stream', () => open === 1);
  controller.abort();
  assert.equal((await reading).reason, 'Aborted');
  await until('the second stream to close', () => open === 0);
});

test('a refused token is replaced once, and neither is in an error', async (t) => {
  let valid = `${SECRET}-2`;
  let refreshed = 0;
  const { client } = await clientOf(
    t,
    (request, response) => {
      if (request.headers.authorization === `Bearer ${valid}`) sendJson(response, {});
      else sendStatus(response, 401, 'Unauthorized');
    },
    (stub) => ({
      ...plainCredentials(stub.url),
      identity: async () => ({ tls: {}, headers: { authorization: `Bearer ${SECRET}-${refreshed + 1}` } }),
      refresh() {
        refreshed += 1;
      },
    }),
  );
  await client.request('POST', '/x', { body: {} });
  assert.equal(refreshed, 1);
  valid = 'other';
  assert.equal((await failure(client.request('GET', '/x'))).statusCode, 401);
});

test('credentials that cannot be had, or never come, are an error of the request', async (t) => {
  const { client } = await clientOf(
    t,
    () => {},
    (stub) => ({
      ...plainCredentials(stub.url),
      identity: async () => {
        throw new Error('the plugin failed');
      },
    }),
  );
  const error = await failure(client.request('GET', '/x'));
  assert.deepEqual([error.reason, error.message], ['NoCredentials', 'the plugin failed']);
  const hanging = await clientOf(
    t,
    () => {},
    (stub) => ({ ...plainCredentials(stub.url), identity: () => new Promise(() => {}) }),
  );
  assert.equal((await failure(hanging.client.request('GET', '/x', { timeoutMs: 30 }))).reason, 'Timeout');
});

test('a path in the address of the server goes before all paths', async (t) => {
  const { client, stub } = await clientOf(
    t,
    (_request, response) => sendJson(response, {}),
    (api) => plainCredentials(new URL('/k8s/c-1/', api.url)),
  );
  await client.request('GET', '/api/v1/nodes');
  assert.deepEqual(stub.requests, ['GET /k8s/c-1/api/v1/nodes']);
});

test('paths of resources', () => {
  assert.equal(resourcePath('v1', 'nodes'), '/api/v1/nodes');
  assert.equal(
    resourcePath('apps/v1', 'deployments', { namespace: 'a', name: 'b', subresource: 'scale' }),
    '/apis/apps/v1/namespaces/a/deployments/b/scale',
  );
  assert.equal(
    resourcePath('v1', 'pods', { namespace: '../x', name: 'a/b?c' }),
    '/api/v1/namespaces/..%2Fx/pods/a%2Fb%3Fc',
  );
});
