import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import { SpanKind, SpanStatusCode } from '@opentelemetry/api';
import type { ReadableSpan } from '@opentelemetry/sdk-trace';
import fc from 'fast-check';
import { allow, deny, type Hook } from '../../src/admission.ts';
import { buildAuthorizer } from '../../src/kube/authorize.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { type AdmissionServer, HOOK_PATHS } from '../../src/server.ts';
import { openKubernetesState } from '../../src/state/kubernetes.ts';
import type { State } from '../../src/state/state.ts';
import type { Tracing, TracingOptions } from '../../src/tracing.ts';
import type { TestLog } from '../support/log.ts';
import { admissionRequest, deploymentObject, reviewBody, UID } from '../support/reviews.ts';
import { plainCredentials, sendJson, sendStatus, startStubApi } from '../support/stub-api.ts';
import { buildSink, openTestTracing } from '../support/traces.ts';

const PATH = HOOK_PATHS['mutate-deployments'];
const PATCH = [{ op: 'add' as const, path: '/metadata/annotations', value: { is: 'SECRET-IN-PATCH' } }];
const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const PARENT_ID = 'b7ad6b7169203331';
const SAMPLED = `00-${TRACE_ID}-${PARENT_ID}-01`;
const NOT_SAMPLED = `00-${TRACE_ID}-${PARENT_ID}-00`;

interface Harness {
  readonly app: AdmissionServer;
  readonly log: TestLog;
  readonly tracing: Tracing;
  /** Sends an AdmissionReview. */
  send(headers?: Record<string, string>, payload?: Buffer): Promise<number>;
  /** Ends tracing, and returns every span of it. */
  spans(): Promise<readonly ReadableSpan[]>;
}

const open: Harness[] = [];
afterEach(async () => {
  for (const { tracing, app } of open.splice(0)) {
    await tracing.close();
    await app.close();
  }
});

function start(hook: Hook, options: Partial<TracingOptions> = {}): Harness {
  const { exporter, spans } = buildSink();
  const { tracing, log, serve } = openTestTracing({ exporter, ...options });
  const app = serve({ 'mutate-deployments': hook });
  const harness: Harness = {
    app,
    log,
    tracing,
    async send(headers = {}, payload = reviewBody()) {
      const answer = await app.inject({
        method: 'POST',
        url: `${PATH}?timeout=5s`,
        payload,
        headers: { 'content-type': 'application/json', ...headers },
      });
      return answer.statusCode;
    },
    async spans() {
      await tracing.close();
      return spans;
    },
  };
  open.push(harness);
  return harness;
}

/** The only one. */
async function onlySpan(harness: Harness): Promise<ReadableSpan> {
  const [span, ...more] = await harness.spans();
  assert.deepEqual(more, []);
  assert.ok(span);
  return span;
}

describe('the span of a request', () => {
  test("that was patched: a child of kube-apiserver's, with what the log line says", async () => {
    const harness = start(() =>
      allow({ patch: PATCH, reasons: ['INJECTED', 'NOTE'], log: { cluster: 'abc', datacenter: 'dc' } }),
    );
    const request = admissionRequest({ object: deploymentObject({ token: 'SECRET-IN-OBJECT' }) });
    assert.equal(await harness.send({ traceparent: SAMPLED }, reviewBody(request)), 200);
    const span = await onlySpan(harness);
    assert.deepEqual(
      [span.name, span.kind, span.status.code],
      [`POST ${PATH}`, SpanKind.SERVER, SpanStatusCode.UNSET],
    );
    assert.equal(span.spanContext().traceId, TRACE_ID);
    assert.equal(span.parentSpanContext?.spanId, PARENT_ID);
    assert.deepEqual(span.attributes, {
      'http.request.method': 'POST',
      'http.route': PATH,
      'url.path': PATH,
      'url.scheme': 'https',
      'http.response.status_code': 200,
      'kkp_audit_webhook.hook': 'mutate-deployments',
      'kkp_audit_webhook.uid': UID,
      'kkp_audit_webhook.operation': 'UPDATE',
      'kkp_audit_webhook.kind': 'Deployment',
      'kkp_audit_webhook.namespace': 'cluster-abc',
      'kkp_audit_webhook.name': 'apiserver',
      'kkp_audit_webhook.dry_run': false,
      'kkp_audit_webhook.cluster': 'abc',
      'kkp_audit_webhook.datacenter': 'dc',
      'kkp_audit_webhook.outcome': 'patched',
      'kkp_audit_webhook.reason': 'INJECTED',
      'kkp_audit_webhook.patch_operations': 1,
    });
    assert.deepEqual(span.events, []);
    const [line] = harness.log.withMessage('decision');
    assert.equal(line?.traceId, TRACE_ID);
  });

  test('that was denied is no error, and says why it was denied', async () => {
    const harness = start(async () =>
      deny('No.', 403, { reasons: ['CLUSTER_AUDIT_DISABLED'], log: { attempt: 'rejected' } }),
    );
    await harness.send();
    const { status, attributes, parentSpanContext } = await onlySpan(harness);
    assert.equal(status.code, SpanStatusCode.UNSET);
    assert.equal(parentSpanContext, undefined);
    assert.equal(attributes['kkp_audit_webhook.outcome'], 'denied');
    assert.equal(attributes['kkp_audit_webhook.reason'], 'CLUSTER_AUDIT_DISABLED');
    assert.equal(attributes['kkp_audit_webhook.attempt'], 'rejected');
    assert.equal(attributes['error.type'], undefined);
  });

  test('that failed inside is an error, named by its code, without what the error says', async () => {
    const harness = start(() => {
      throw new Error('SECRET-IN-ERROR');
    });
    assert.equal(await harness.send({ traceparent: SAMPLED }), 500);
    const { status, attributes, events } = await onlySpan(harness);
    assert.deepEqual(status, { code: SpanStatusCode.ERROR });
    assert.equal(attributes['error.type'], 'HOOK_FAILED');
    assert.equal(attributes['http.response.status_code'], 500);
    assert.equal(attributes['kkp_audit_webhook.outcome'], 'failed');
    assert.equal(attributes['kkp_audit_webhook.uid'], UID);
    assert.doesNotMatch(JSON.stringify([attributes, events]), /SECRET/);
    assert.equal(harness.log.lines[0]?.traceId, TRACE_ID);
  });

  for (const [what, payload, type, status, code] of [
    ['whose body is no review', Buffer.from('{}'), 'application/json', 400, 'BODY_NOT_REVIEW'],
    ['whose body is not read', Buffer.from('x'), 'text/plain', 415, 'CONTENT_TYPE'],
  ] as const)
    test(`${what} blames the caller`, async () => {
      const harness = start(() => allow());
      assert.equal(await harness.send({ 'content-type': type, traceparent: SAMPLED }, payload), status);
      const span = await onlySpan(harness);
      assert.equal(span.status.code, SpanStatusCode.UNSET);
      assert.equal(span.attributes['http.response.status_code'], status);
      assert.equal(span.attributes['kkp_audit_webhook.reason'], code);
      assert.equal(span.attributes['error.type'], undefined);
      assert.equal(harness.log.lines[0]?.traceId, TRACE_ID);
    });

  test('names no person, and has no long values', async () => {
    const harness = start(() => allow({ log: { cluster: 'c'.repeat(5000) } }));
    await harness.send({}, reviewBody(admissionRequest({ userInfo: { username: 'alice@example.com' } })));
    const { attributes } = await onlySpan(harness);
    assert.doesNotMatch(JSON.stringify(attributes), /alice/);
    assert.equal(attributes['kkp_audit_webhook.cluster'], 'c'.repeat(512));
  });
});

describe('which requests are traced', () => {
  const isTraced = async (headers: Record<string, string>, options: Partial<TracingOptions>) => {
    const harness = start(() => allow(), options);
    assert.equal(await harness.send(headers), 200);
    const isRecorded = (await harness.spans()).length === 1;
    assert.equal(harness.log.withMessage('decision')[0]?.traceId !== undefined, isRecorded);
    return isRecorded;
  };

  // [the option, OTEL_TRACES_SAMPLER, its argument] → without a parent, with one that is sampled, with one that is not
  for (const [ratio, sampler, argument, root, sampled, notSampled] of [
    [undefined, undefined, undefined, true, true, false],
    [0, undefined, undefined, false, true, false],
    [1, undefined, undefined, true, true, false],
    [1, 'always_off', undefined, true, true, false],
    [undefined, 'always_on', undefined, true, true, true],
    [undefined, 'always_off', undefined, false, false, false],
    [undefined, 'traceidratio', '0', false, false, false],
    [undefined, 'parentbased_always_on', undefined, true, true, false],
    [undefined, 'parentbased_always_off', undefined, false, true, false],
    [undefined, 'parentbased_traceidratio', '0', false, true, false],
    [undefined, 'parentbased_traceidratio', undefined, true, true, false],
  ] as const)
    test(`ratio ${ratio}, sampler ${sampler}, argument ${argument}`, async () => {
      const options = {
        samplingRatio: ratio,
        env: { OTEL_TRACES_SAMPLER: sampler, OTEL_TRACES_SAMPLER_ARG: argument },
      };
      assert.equal(await isTraced({}, options), root);
      assert.equal(await isTraced({ traceparent: SAMPLED }, options), sampled);
      assert.equal(await isTraced({ traceparent: NOT_SAMPLED }, options), notSampled);
    });

  for (const env of [
    { OTEL_TRACES_SAMPLER: 'constructor' },
    { OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '200%' },
  ])
    test(`all, with a warning, where the environment says nonsense: ${JSON.stringify(env)}`, async () => {
      const harness = start(() => allow(), { env });
      await harness.send();
      assert.equal((await harness.spans()).length, 1);
      const [warning, ...more] = harness.log.withMessage('traces');
      assert.deepEqual(more, []);
      assert.match(String(warning?.problem), /^OTEL_TRACES_SAMPLER/);
    });
});

describe('a traceparent', () => {
  for (const [what, traceparent] of [
    ['of another version is read as far as it is known', `01-${TRACE_ID}-${PARENT_ID}-01-more`],
    ['with flags that nobody knows keeps the one that counts', `00-${TRACE_ID}-${PARENT_ID}-ff`],
  ] as const)
    test(what, async () => {
      const harness = start(() => allow());
      await harness.send({ traceparent });
      assert.equal((await onlySpan(harness)).parentSpanContext?.spanId, PARENT_ID);
    });

  for (const traceparent of [
    '',
    'x',
    `00-${TRACE_ID}-${PARENT_ID}`,
    `00-${TRACE_ID}-${PARENT_ID}-01-more`,
    `ff-${TRACE_ID}-${PARENT_ID}-01`,
    `00-${'0'.repeat(32)}-${PARENT_ID}-01`,
    `00-${TRACE_ID}-${'0'.repeat(16)}-01`,
    `00-${TRACE_ID.toUpperCase()}-${PARENT_ID}-01`,
    `${SAMPLED}, ${SAMPLED}`,
    '0'.repeat(5000),
  ])
    test(`that is none is no parent: ${JSON.stringify(traceparent.slice(0, 70))}`, async () => {
      const harness = start(() => allow());
      assert.equal(await harness.send({ traceparent, tracestate: 'a=b' }), 200);
      const span = await onlySpan(harness);
      assert.equal(span.parentSpanContext, undefined);
      assert.notEqual(span.spanContext().traceId, TRACE_ID);
    });

  test('fails no request, whatever it and what comes with it are', async () => {
    const harness = start(() => allow());
    const text = fc.string({ unit: 'binary-ascii', maxLength: 200 });
    const parent = fc.oneof(
      text,
      fc.constant(SAMPLED),
      text.map((rest) => SAMPLED + rest),
    );
    await fc.assert(
      fc.asyncProperty(parent, text, text, async (traceparent, tracestate, baggage) => {
        const span = harness.tracing.start(PATH, { traceparent, tracestate, baggage });
        span?.end({ status: 200, outcome: 'allowed', reasons: [], line: {} });
      }),
    );
    assert.equal((await harness.spans()).length, 100);
  });
});

describe('what is asked of kube-apiserver', () => {
  const user = { username: 'alice', groups: [] };
  const nobodyListens = plainCredentials(new URL('https://127.0.0.1:1'));

  test('in the course of a traced request is a span below it, and says how it failed', async (t) => {
    const client = new KubeClient(nobodyListens);
    t.after(() => client.close());
    let ask: ReturnType<typeof buildAuthorizer> | undefined;
    const harness = start(async (_request, signal) => {
      await ask?.(user, 'abc', signal);
      return allow();
    });
    ask = buildAuthorizer(harness.tracing.traceClient(client));
    assert.equal(await harness.send({ traceparent: SAMPLED }), 500);
    const [question, request, ...more] = await harness.spans();
    assert.deepEqual(more, []);
    assert.equal(question?.parentSpanContext?.spanId, request?.spanContext().spanId);
    assert.equal(question?.spanContext().traceId, TRACE_ID);
    assert.deepEqual([question?.kind, question?.status.code], [SpanKind.CLIENT, SpanStatusCode.ERROR]);
    assert.equal(question?.name, 'POST /apis/authorization.k8s.io/v1/subjectaccessreviews');
    assert.deepEqual(question?.attributes, {
      'http.request.method': 'POST',
      'url.full': 'https://127.0.0.1:1/apis/authorization.k8s.io/v1/subjectaccessreviews',
      'server.address': '127.0.0.1',
      'server.port': 1,
      'error.type': 'Unreachable',
    });
  });

  // On a stub (test/support/stub-api.ts): its watches never bring the Cluster, a real one's would.
  for (const [what, known, questions] of [
    ['that is there', 'abc', ['GET /apis/kubermatic.k8c.io/v1/clusters/{name}']],
    [
      'that is not there',
      undefined,
      ['GET /apis/kubermatic.k8c.io/v1/clusters/{name}', 'GET /api/v1/namespaces/{name}'],
    ],
  ] as const) {
    test(`of a Cluster ${what} and that the watch has not brought are named without the name`, async (t) => {
      const stub = await startStubApi(t, (_request, response, url) => {
        if (known !== undefined && url.pathname.endsWith(`/clusters/${known}`))
          return sendJson(response, { metadata: { name: known } });
        if (url.searchParams.has('watch')) return;
        return sendStatus(response, 404, 'NotFound', 'none', 'abc');
      });
      const server = new URL('/k8s/clusters/c-1', stub.url);
      const client = new KubeClient(plainCredentials(server));
      t.after(() => client.close());
      let state: State | undefined;
      const harness = start(async (request, signal) => {
        const cluster = await state?.fetchClusterOfNamespace(request.namespace, signal);
        assert.equal(cluster?.name, known);
        return allow();
      });
      state = openKubernetesState(client, {
        logger: harness.log.logger,
        asker: harness.tracing.traceClient(client),
      });
      t.after(() => state?.close());
      const payload = reviewBody(admissionRequest({ namespace: 'cluster-abc' }));
      assert.equal(await harness.send({ traceparent: SAMPLED }, payload), 200);
      const all = await harness.spans();
      const request = all.at(-1);
      const spans = all.slice(0, -1);
      assert.deepEqual(
        spans.map(({ name }) => name),
        questions,
      );
      for (const question of spans) {
        assert.equal(question.parentSpanContext?.spanId, request?.spanContext().spanId);
        assert.equal(question.status.code, SpanStatusCode.UNSET, 'that there is none is an answer');
        assert.equal(question.attributes['error.type'], undefined);
      }
      assert.equal(
        spans[0]?.attributes['url.full'],
        `${server.href}/apis/kubermatic.k8c.io/v1/clusters/abc`,
        'where it is, below the path of the API server',
      );
    });
  }

  test('otherwise is no span', async (t) => {
    const client = new KubeClient(nobodyListens);
    t.after(() => client.close());
    const harness = start(() => allow());
    const ask = buildAuthorizer(harness.tracing.traceClient(client));
    await assert.rejects(ask(user, 'abc', AbortSignal.timeout(10_000)), /can't be found out/);
    assert.deepEqual(await harness.spans(), []);
  });
});

describe('whose spans they are', () => {
  test('this software, its version and its pod', async () => {
    const env = { POD_NAME: 'audit-1', POD_NAMESPACE: 'audit' };
    const harness = start(() => allow(), { env });
    await harness.send();
    const { attributes } = (await onlySpan(harness)).resource;
    const {
      'telemetry.sdk.language': _language,
      'telemetry.sdk.name': _name,
      'telemetry.sdk.version': _version,
      ...own
    } = attributes;
    assert.deepEqual(own, {
      'service.name': 'kkp-audit-webhook',
      'service.version': '1.2.3',
      'service.instance.id': 'pod-1',
      'k8s.pod.name': 'audit-1',
      'k8s.namespace.name': 'audit',
    });
  });

  test('what the environment says has the last word', async (t) => {
    process.env.OTEL_RESOURCE_ATTRIBUTES = 'deployment.environment.name=prod,service.version=9';
    process.env.OTEL_SERVICE_NAME = 'mine';
    t.after(() => {
      delete process.env.OTEL_RESOURCE_ATTRIBUTES;
      delete process.env.OTEL_SERVICE_NAME;
    });
    const harness = start(() => allow());
    await harness.send();
    const { attributes } = (await onlySpan(harness)).resource;
    assert.equal(attributes['deployment.environment.name'], 'prod');
    assert.equal(attributes['service.version'], '9');
    assert.equal(attributes['service.name'], 'mine');
  });
});
