import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { allow, deny, type Hook, ReviewError } from '../../src/admission.ts';
import { issueCa, issueServerCertificate } from '../../src/certificates.ts';
import { FAULTS } from '../../src/faults.ts';
import { buildMetrics, type Metrics } from '../../src/metrics.ts';
import { type AdmissionServer, buildServer, HOOK_PATHS, LIMITS } from '../../src/server.ts';
import { readTls } from '../../src/tls.ts';
import { type TestLog, testLog } from '../support/log.ts';
import { admissionRequest, deploymentObject, reviewBody, UID } from '../support/reviews.ts';

const validity = { days: 1, now: new Date() };
const pair = await issueServerCertificate(await issueCa(validity), ['127.0.0.1'], validity);
const tls = readTls(pair.cert, pair.key, { certFile: 'tls.crt', keyFile: 'tls.key' });

const PATH = HOOK_PATHS['mutate-deployments'];
const PATCH = [{ op: 'add' as const, path: '/metadata/annotations', value: {} }];

interface Harness {
  readonly app: AdmissionServer;
  readonly log: TestLog;
  readonly metrics: Metrics;
  /** Values of the metric that counts requests, by its labels. */
  counted(): Promise<Record<string, number>>;
}

function start(
  hook: Hook,
  options: { readonly draining?: boolean; readonly maxBodyBytes?: number } = {},
): Harness {
  const log = testLog();
  const metrics = buildMetrics({
    version: '1.2.3',
    ready: () => undefined,
    certificateExpiry: () => tls.notAfter,
    stateHealth: () => undefined,
    processMetrics: false,
  });
  const { draining = false, ...limits } = options;
  const app = buildServer({
    hooks: { 'mutate-deployments': hook },
    tls,
    log: log.logger,
    metrics,
    isDraining: () => draining,
    limits,
  });
  return {
    app,
    log,
    metrics,
    async counted() {
      const { values } = await metrics.registry.getSingleMetric('kkp_audit_webhook_requests_total')!.get();
      return Object.fromEntries(
        values.map(({ labels: { hook, operation, outcome, reason }, value }) => [
          [hook, operation, outcome, reason].join(' '),
          value,
        ]),
      );
    },
  };
}

const json = { 'content-type': 'application/json' };
const review = (parts: Record<string, unknown> = {}): Buffer => reviewBody(admissionRequest(parts));

describe('a verdict', () => {
  test('is an AdmissionReview with HTTP 200, one line in the log and one count', async () => {
    const { app, log, counted } = start(() =>
      allow({
        patch: PATCH,
        reasons: ['INJECTED', 'NOTE'],
        warnings: ['w'],
        log: { cluster: 'abc', datacenter: 'dc' },
      }),
    );
    const answer = await app.inject({
      method: 'POST',
      url: `${PATH}?timeout=5s`,
      payload: review(),
      headers: json,
    });
    assert.equal(answer.statusCode, 200);
    assert.match(String(answer.headers['content-type']), /^application\/json/);
    const { response } = answer.json();
    assert.deepEqual([response.uid, response.allowed, response.warnings], [UID, true, ['w']]);
    assert.deepEqual(JSON.parse(Buffer.from(response.patch, 'base64').toString()), PATCH);
    const [line, ...more] = log.withMessage('decision');
    assert.deepEqual(more, []);
    const { ms, time: _time, level: _level, pid: _pid, hostname: _hostname, ...rest } = line!;
    assert.ok(typeof ms === 'number' && ms > 0);
    assert.deepEqual(rest, {
      msg: 'decision',
      cluster: 'abc',
      datacenter: 'dc',
      hook: 'mutate-deployments',
      uid: UID,
      operation: 'UPDATE',
      kind: 'Deployment',
      namespace: 'cluster-abc',
      name: 'apiserver',
      user: 'alice',
      dryRun: false,
      allowed: true,
      reasons: ['INJECTED', 'NOTE'],
      operations: 1,
    });
    assert.deepEqual(await counted(), { 'mutate-deployments UPDATE patched INJECTED': 1 });
  });

  test('a denial is a verdict, and so is what comes later', async () => {
    const { app, counted } = start(async () => deny('No.', 403, { reasons: ['CLUSTER_AUDIT_DISABLED'] }));
    const answer = await app.inject({
      method: 'POST',
      url: PATH,
      payload: review({ dryRun: true }),
      headers: json,
    });
    assert.equal(answer.statusCode, 200);
    assert.equal(answer.json().response.allowed, false);
    assert.deepEqual(await counted(), { 'mutate-deployments UPDATE denied CLUSTER_AUDIT_DISABLED': 1 });
  });

  test('odd reason codes become no labels', async () => {
    const { app, counted } = start(() => allow({ reasons: ['made of "input"\n'] }));
    await app.inject({ method: 'POST', url: PATH, payload: review(), headers: json });
    assert.deepEqual(await counted(), { 'mutate-deployments UPDATE allowed OTHER': 1 });
  });

  test('nothing of an object reaches the log, and long names are cut', async () => {
    const { app, log } = start(() => allow({ patch: [{ op: 'add', path: '/x', value: 'SECRET-IN-PATCH' }] }));
    const payload = review({
      object: deploymentObject({ token: 'SECRET-IN-OBJECT' }),
      userInfo: { username: 'u'.repeat(5000) },
    });
    await app.inject({
      method: 'POST',
      url: PATH,
      payload,
      headers: { ...json, authorization: 'Bearer SECRET' },
    });
    const text = JSON.stringify(log.lines);
    assert.ok(!text.includes('SECRET'));
    assert.ok(text.length < 1000);
  });
});

describe('what fails is never a verdict', () => {
  const failing: readonly (readonly [string, Hook])[] = [
    [
      'throws',
      () => {
        throw new TypeError('hook broke');
      },
    ],
    ['rejects', () => Promise.reject(new TypeError('hook broke'))],
    [
      'throws what is no error',
      () => {
        throw 'hook broke';
      },
    ],
    ['decides something that is no JSON', () => allow({ patch: [{ op: 'add', path: '/x', value: 1n }] })],
  ];
  for (const [name, hook] of failing) {
    test(`a hook that ${name} is HTTP 500, and the log says why`, async () => {
      const { app, log, counted } = start(hook);
      const answer = await app.inject({ method: 'POST', url: PATH, payload: review(), headers: json });
      assert.equal(answer.statusCode, 500);
      assert.match(String(answer.headers['content-type']), /^text\/plain/);
      assert.equal(answer.body, `${FAULTS.HOOK_FAILED.text}\n`);
      const [line] = log.withMessage(FAULTS.HOOK_FAILED.text);
      assert.equal(line?.uid, UID);
      assert.match(JSON.stringify(line?.err), /hook broke|BigInt/);
      if (!name.includes('no error')) assert.match(JSON.stringify(line?.err), /server\.test\.ts|review\.ts/);
      assert.deepEqual(await counted(), { 'mutate-deployments UPDATE failed HOOK_FAILED': 1 });
      assert.deepEqual(log.withMessage('decision'), []);
    });
  }

  test('a hook that is not done when the time is over is HTTP 504', async () => {
    let aborted = false;
    const { app, counted } = start(
      (_request, signal) =>
        new Promise(() =>
          signal.addEventListener('abort', () => {
            aborted = true;
          }),
        ),
    );
    const answer = await app.inject({
      method: 'POST',
      url: `${PATH}?timeout=200ms`,
      payload: review(),
      headers: json,
    });
    assert.equal(answer.statusCode, 504);
    assert.ok(aborted);
    assert.deepEqual(await counted(), { 'mutate-deployments UPDATE failed HOOK_TOO_SLOW': 1 });
  });

  test('a hook that finds the object unreadable is HTTP 400 with its words', async () => {
    const { app } = start(() => {
      throw new ReviewError('REVIEW_INVALID', 'request.object.spec: expected an object');
    });
    const answer = await app.inject({ method: 'POST', url: PATH, payload: review(), headers: json });
    assert.deepEqual([answer.statusCode, answer.body], [400, 'request.object.spec: expected an object\n']);
  });

  test('an unreadable old object is HTTP 400, also once a hook asks for it', async () => {
    const { app } = start((request) => {
      request.oldObject();
      return allow();
    });
    const answer = await app.inject({
      method: 'POST',
      url: PATH,
      payload: review({ oldObject: [] }),
      headers: json,
    });
    assert.equal(answer.statusCode, 400);
  });
});

describe('what is refused', () => {
  const never: Hook = () => assert.fail('the hook was asked');

  test('bodies that are no review, each with its code', async () => {
    const { app, counted, log } = start(never);
    const bodies = {
      BODY_NOT_JSON: '{',
      BODY_NOT_REVIEW: '{}',
      REVIEW_VERSION: '{"kind":"AdmissionReview"}',
      REVIEW_INVALID: reviewBody({}),
    };
    for (const [code, payload] of Object.entries(bodies)) {
      const answer = await app.inject({ method: 'POST', url: PATH, payload, headers: json });
      assert.equal(answer.statusCode, 400);
      assert.match(String(answer.headers['content-type']), /^text\/plain/);
      assert.equal((await counted())[`mutate-deployments  failed ${code}`], 1);
    }
    assert.equal(log.lines.length, 4);
  });

  test('other types, encodings, none at all', async () => {
    const { app, counted } = start(never);
    for (const headers of [
      { 'content-type': 'application/yaml' },
      { 'content-type': 'x' },
      { ...json, 'content-encoding': 'gzip' },
    ]) {
      const answer = await app.inject({ method: 'POST', url: PATH, payload: review(), headers });
      assert.deepEqual([answer.statusCode, answer.body], [415, `${FAULTS.CONTENT_TYPE.text}\n`]);
    }
    assert.deepEqual(await counted(), { 'mutate-deployments  failed CONTENT_TYPE': 3 });
    for (const headers of [{}, json]) {
      assert.equal((await app.inject({ method: 'POST', url: PATH, headers })).statusCode, 400);
    }
  });

  test('the parameter of a content type changes nothing', async () => {
    const { app } = start(() => allow());
    const headers = { 'content-type': 'Application/JSON; charset=utf-8' };
    assert.equal(
      (await app.inject({ method: 'POST', url: PATH, payload: review(), headers })).statusCode,
      200,
    );
  });

  test('other paths and methods', async () => {
    const { app } = start(never);
    for (const url of [
      '/',
      '/mutate',
      '/mutate/pods',
      `${PATH}/`,
      `${PATH}/x`,
      '/%2e%2e/',
      '/__proto__',
      '/validate',
    ]) {
      for (const method of ['GET', 'POST', 'DELETE'] as const) {
        assert.equal((await app.inject({ method, url, payload: 'x' })).statusCode, 404, `${method} ${url}`);
      }
    }
    for (const method of ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const) {
      const answer = await app.inject({ method, url: PATH, headers: { 'content-type': 'text/plain' } });
      assert.deepEqual([answer.statusCode, answer.headers.allow], [405, 'POST'], method);
    }
  });

  test('bodies over the limit, announced or not', async () => {
    const { app, counted } = start(never, { maxBodyBytes: 1000 });
    const body = reviewBody({ pad: 'x'.repeat(2000) });
    for (const payload of [body, Readable.from([body.subarray(0, 900), body.subarray(900)])]) {
      const answer = await app.inject({ method: 'POST', url: PATH, payload, headers: json });
      assert.deepEqual([answer.statusCode, answer.headers.connection], [413, 'close']);
    }
    assert.deepEqual(await counted(), { 'mutate-deployments  failed BODY_TOO_LARGE': 2 });
  });

  test('no body that kube-apiserver can send is over the limit', () => {
    const largestObjectBytes = 3 * 1024 * 1024;
    const worst = Buffer.byteLength('\\u003c'.repeat(largestObjectBytes)) * 2;
    assert.ok(LIMITS.maxBodyBytes > worst);
    assert.ok(LIMITS.maxBodiesBytes > LIMITS.maxBodyBytes);
    assert.ok(LIMITS.keepAliveTimeoutMs > 90_000);
  });
});

test('keys of prototypes are read, not refused', async () => {
  let seen: unknown;
  const { app } = start((request) => {
    seen = Object.keys((request.object as unknown as { data: object }).data);
    return allow();
  });
  const payload = review({ object: 'HERE' })
    .toString()
    .replace('"HERE"', '{"data":{"__proto__":"x","constructor":{"prototype":1}}}');
  const answer = await app.inject({ method: 'POST', url: PATH, payload, headers: json });
  assert.equal(answer.statusCode, 200);
  assert.deepEqual(seen, ['__proto__', 'constructor']);
});

test('while draining, every answer ends its connection', async () => {
  const { app } = start(() => allow(), { draining: true });
  for (const [method, url, payload] of [
    ['POST', PATH, review()],
    ['POST', PATH, '{'],
    ['GET', PATH, ''],
    ['GET', '/', ''],
  ] as const) {
    const answer = await app.inject({ method, url, payload, headers: method === 'POST' ? json : {} });
    assert.equal(answer.headers.connection, 'close', `${method} ${url}`);
  }
});

test('every generated body gets a well-formed answer', async () => {
  const { app } = start((request) =>
    request.oldObject() === undefined ? allow({ patch: PATCH }) : deny('no', 403),
  );
  const body = fc.oneof(
    fc.json().map((text) => Buffer.from(text)),
    fc
      .dictionary(fc.constantFrom(...Object.keys(admissionRequest())), fc.jsonValue())
      .map((parts) => review(parts)),
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  );
  await fc.assert(
    fc.asyncProperty(body, async (payload) => {
      const answer = await app.inject({ method: 'POST', url: PATH, payload, headers: json });
      if (answer.statusCode === 200) assert.equal(typeof answer.json().response.allowed, 'boolean');
      else assert.deepEqual([answer.statusCode, answer.body.endsWith('\n')], [400, true], answer.body);
    }),
    { numRuns: 500 },
  );
});
