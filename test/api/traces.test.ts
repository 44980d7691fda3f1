/** One trace through kube-apiserver, the server and back: a real kube-apiserver and the server send their spans to a real collector. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { HOOK_PATHS } from '../../src/server.ts';
import { BASE_PROGRAMS, skipWithoutControlPlane } from '../support/binaries.ts';
import { removeFolder, temporaryFolder } from '../support/children.ts';
import { type CollectedSpan, type Collector, startCollector } from '../support/collector.ts';
import { type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import { renderKkp } from '../support/fixtures.ts';
import { IDENTITIES } from '../support/identities.ts';
import { CLUSTERS_PATH, createCluster, prepareSeed, renderSeed, SEEDS_PATH } from '../support/seed.ts';
import { until } from '../support/wait.ts';
import { startWebhookServer, type WebhookServer } from '../support/webhook-server.ts';
import { registerWebhooks } from '../support/webhooks.ts';

const SERVER = 2;
const CLIENT = 3;
const UNSET = 0;

describe('a trace', {
  skip: await skipWithoutControlPlane('traces from a real kube-apiserver', [...BASE_PROGRAMS, 'otelcol']),
}, () => {
  const dir = temporaryFolder();
  let collector: Collector;
  let seed: ControlPlane;
  let server: WebhookServer;

  before(async () => {
    collector = await startCollector(dir);
    const tracing = join(dir, 'tracing.yaml');
    writeFileSync(
      tracing,
      JSON.stringify({
        apiVersion: 'apiserver.config.k8s.io/v1',
        kind: 'TracingConfiguration',
        endpoint: collector.grpcAddress,
        samplingRatePerMillion: 1_000_000,
      }),
    );
    seed = await startControlPlane({ extraArgs: [`--tracing-config-file=${tracing}`] });
    await prepareSeed(seed.client);
    await seed.client.request('POST', SEEDS_PATH, renderSeed({ enforcing: { enforceAuditLogging: true } }));
    // No request of its own is traced: what arrives is there because kube-apiserver said so.
    const args = [`--traces=${new URL(collector.httpUrl).origin}`, '--traces-sampling-ratio=0'];
    server = await startWebhookServer(seed, { args });
    await registerWebhooks(seed.client, server);
    await createCluster(seed.client, { name: 'traced', datacenter: 'enforcing' });
  });
  after(async () => {
    await server?.stop();
    await seed?.stop();
    await collector?.stop();
    removeFolder(dir);
  });

  /** The first span of that kind that has arrived. */
  async function collected(what: string, matches: (span: CollectedSpan) => boolean): Promise<CollectedSpan> {
    let found: CollectedSpan | undefined;
    await until(`${what} to arrive`, () => {
      found = collector.spans.find(matches);
      return found !== undefined;
    });
    return found as CollectedSpan;
  }

  const ofDecision = (route: string, outcome: string): Promise<CollectedSpan> =>
    collected(
      `a span of ${route}`,
      ({ service, name, attributes }) =>
        service === 'kkp-audit-webhook' &&
        name === `POST ${route}` &&
        attributes['kkp_audit_webhook.outcome'] === outcome,
    );

  const lineOf = (uid: unknown): Record<string, unknown> => {
    const lines = readFileSync(server.child.logFile, 'utf8').split('\n').filter(Boolean);
    const found = lines
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .find((line) => line.uid === uid);
    assert.ok(found, `no line of ${uid}`);
    return found;
  };

  /** @returns the span of kube-apiserver that the given one is a child of */
  async function parentOf({ traceId, parentSpanId }: CollectedSpan): Promise<CollectedSpan> {
    const parent = await collected("kube-apiserver's span", ({ spanId }) => spanId === parentSpanId);
    assert.deepEqual([parent.service, parent.traceId], ['apiserver', traceId]);
    return parent;
  }

  test("a decision's span is below the one of kube-apiserver that asked for it", async () => {
    const input = JSON.stringify(renderKkp({ cluster: 'traced' }));
    const { code, stderr } = await seed.kubectl(['create', '-f', '-'], { as: IDENTITIES.alice, input });
    assert.equal(code, 0, stderr);
    const span = await ofDecision(HOOK_PATHS['mutate-deployments'], 'patched');
    const parent = await parentOf(span);
    assert.equal(parent.kind, CLIENT);
    assert.deepEqual([span.kind, span.status], [SERVER, UNSET]);
    const { 'kkp_audit_webhook.uid': uid, ...attributes } = span.attributes;
    const line = lineOf(uid);
    assert.equal(line.traceId, span.traceId);
    assert.deepEqual(attributes, {
      'http.request.method': 'POST',
      'http.route': '/mutate/deployments',
      'url.path': '/mutate/deployments',
      'url.scheme': 'https',
      'http.response.status_code': 200,
      'kkp_audit_webhook.hook': 'mutate-deployments',
      'kkp_audit_webhook.operation': 'CREATE',
      'kkp_audit_webhook.kind': 'Deployment',
      'kkp_audit_webhook.namespace': 'cluster-traced',
      'kkp_audit_webhook.name': 'apiserver',
      'kkp_audit_webhook.dry_run': false,
      'kkp_audit_webhook.cluster': 'traced',
      'kkp_audit_webhook.datacenter': 'enforcing',
      'kkp_audit_webhook.outcome': 'patched',
      'kkp_audit_webhook.reason': (line.reasons as string[])[0],
      'kkp_audit_webhook.patch_operations': line.operations,
    });
    assert.doesNotMatch(JSON.stringify(collector.spans), /audit-log-path/, 'nothing of the object');
  });

  test("a refusal's span has the question to kube-apiserver below it", async () => {
    const clusters = seed.client.as(IDENTITIES.alice);
    const disabled = { spec: { auditLogging: { enabled: false } } };
    await assert.rejects(
      clusters.request('PATCH', `${CLUSTERS_PATH}/traced`, disabled),
      /CLUSTER_AUDIT_DISABLED/,
    );
    const span = await ofDecision(HOOK_PATHS['mutate-clusters'], 'denied');
    await parentOf(span);
    // A refusal is an answer, not an error.
    assert.deepEqual([span.status, span.attributes['http.response.status_code']], [UNSET, 200]);
    assert.equal(span.attributes['kkp_audit_webhook.reason'], 'CLUSTER_AUDIT_DISABLED');
    assert.equal(span.attributes['kkp_audit_webhook.attempt'], 'rejected');

    const question = await collected(
      'the span of the SubjectAccessReview',
      ({ parentSpanId }) => parentSpanId === span.spanId,
    );
    assert.deepEqual([question.service, question.traceId], ['kkp-audit-webhook', span.traceId]);
    assert.deepEqual([question.kind, question.status], [CLIENT, UNSET]);
    const path = '/apis/authorization.k8s.io/v1/subjectaccessreviews';
    assert.equal(question.name, `POST ${path}`);
    assert.equal(question.attributes['url.full'], seed.url + path);
  });

  test('a namespace of no Cluster that is known is asked after below the request', async () => {
    await seed.client.request('POST', '/api/v1/namespaces', { metadata: { name: 'cluster-nobodys' } });
    const input = JSON.stringify(renderKkp({ cluster: 'nobodys' }));
    const { code, stderr } = await seed.kubectl(['create', '-f', '-'], { as: IDENTITIES.alice, input });
    assert.equal(code, 0, stderr);
    const path = '/apis/kubermatic.k8c.io/v1/clusters';
    const question = await collected(
      "the question after the namespace's Cluster",
      ({ name }) => name === `GET ${path}/{name}`,
    );
    assert.equal(question.attributes['url.full'], `${seed.url}${path}/nobodys`);
    const request = await collected('its request', ({ spanId }) => spanId === question.parentSpanId);
    assert.equal(request.attributes['kkp_audit_webhook.namespace'], 'cluster-nobodys');
  });

  test('what waits is sent before the server ends', async () => {
    const isNew = ({ attributes }: CollectedSpan): boolean =>
      attributes['kkp_audit_webhook.name'] === 'at-the-end';
    await createCluster(seed.client, { name: 'at-the-end', datacenter: 'enforcing' });
    await server.child.stop('SIGINT');
    assert.equal(server.child.ended, 'exit code 0', server.child.logTail());
    await collected('the last span', isNew);
  });
});
