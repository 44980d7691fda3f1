/** A collector that is away, slow, broken or nosy: a stand-in over real HTTP, because the real one does none of this on demand. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { type ExportResult, ExportResultCode } from '@opentelemetry/core';
import type { ReadableSpan } from '@opentelemetry/sdk-trace';
import { allow } from '../../src/admission.ts';
import { HOOK_PATHS } from '../../src/server.ts';
import type { Tracing } from '../../src/tracing.ts';
import { freePort } from '../support/controlplane.ts';
import { reviewBody } from '../support/reviews.ts';
import { openTestTracing } from '../support/traces.ts';
import { until } from '../support/wait.ts';

const PATH = HOOK_PATHS.validate;
const AWAY = 'spans can not be sent; they are lost, and decisions go on';
const BACK = 'spans are sent again';
/** More than one batch, so that more than one export fails. */
const MANY = 200;

const collectors: Server[] = [];
after(() => {
  for (const collector of collectors) {
    collector.closeAllConnections();
    collector.close();
  }
});

/** @returns the address of traces */
async function listen(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  port = 0,
): Promise<string> {
  const collector = createServer(answer);
  collectors.push(collector);
  collector.listen(port, '127.0.0.1');
  await once(collector, 'listening');
  return `http://127.0.0.1:${(collector.address() as AddressInfo).port}/v1/traces`;
}

function trace(tracing: Tracing, requests: number): void {
  for (let request = 0; request < requests; request += 1)
    tracing.start(PATH, {})?.end({ status: 200, outcome: 'allowed', reasons: [], line: {} });
}

/** The libraries read the process's own environment. */
function setEnv(variables: Readonly<Record<string, string>>): void {
  Object.assign(process.env, variables);
  after(() => {
    for (const name of Object.keys(variables)) delete process.env[name];
  });
}

setEnv({ OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20SECRET-TOKEN' });

test('away: decisions are made, and it is told once, until it is back', async () => {
  // So that a try is not repeated for ten seconds.
  process.env.OTEL_EXPORTER_OTLP_TIMEOUT = '500';
  const port = await freePort();
  const { tracing, log, serve } = openTestTracing({ endpoint: `http://127.0.0.1:${port}/v1/traces` });
  delete process.env.OTEL_EXPORTER_OTLP_TIMEOUT;
  const app = serve({ validate: () => allow() });
  const decide = async (): Promise<void> => {
    const headers = { 'content-type': 'application/json' };
    const answer = await app.inject({ method: 'POST', url: PATH, payload: reviewBody(), headers });
    assert.equal(answer.json().response.allowed, true);
  };
  trace(tracing, MANY);
  await decide();
  await until('the first failure', () => log.withMessage(AWAY).length > 0);
  await decide();

  let batches = 0;
  await listen((request, response) => {
    request.resume().on('end', () => {
      batches += 1;
      response.end();
    });
  }, port);
  await until('spans to be sent again', async () => {
    await decide();
    trace(tracing, MANY);
    return batches > 1;
  });
  await tracing.close();
  await app.close();
  const [warning, ...more] = log.withMessage(AWAY);
  assert.deepEqual(more, []);
  assert.match(String(warning?.problem), /ECONNREFUSED/);
  const [back] = log.withMessage(BACK);
  assert.ok(Number(back?.lostSpans) > 0);
});

test('refusing, with its answer full of what it was sent: one line, and no secret in it', async () => {
  const tokens = new Set<unknown>();
  let batches = 0;
  const endpoint = await listen((request, response) => {
    request.resume().on('end', () => {
      tokens.add(request.headers.authorization);
      batches += 1;
      response.writeHead(401, 'Unauthorized').end(`your token is ${request.headers.authorization}`);
    });
  });
  const { tracing, log } = openTestTracing({ endpoint });
  trace(tracing, MANY);
  await until('a batch', () => batches > 0);
  trace(tracing, MANY);
  await tracing.close();
  assert.ok(batches > 1);
  assert.deepEqual([...tokens], ['Bearer SECRET-TOKEN']);
  const [warning, ...more] = log.lines;
  assert.deepEqual(more, []);
  assert.deepEqual([warning?.msg, warning?.problem, warning?.code], [AWAY, 'Unauthorized', 401]);
  assert.doesNotMatch(JSON.stringify(log.lines), /SECRET/);
});

test('never answering: nobody waits for it at the end', async () => {
  let hanging = 0;
  const endpoint = await listen((request) => {
    hanging += 1;
    request.resume();
  });
  const { tracing, log } = openTestTracing({ endpoint });
  trace(tracing, 1);
  await tracing.close();
  await until('the batch to arrive', () => hanging > 0);
  // Were the exporter waited for, until it gives up after 10 s, that would be told.
  assert.deepEqual(log.lines, []);
});

test('slow: what does not fit into the queue is dropped, and that is told once', async () => {
  const taken: number[] = [];
  const held: ((result: ExportResult) => void)[] = [];
  const exporter = {
    export(spans: ReadableSpan[], done: (result: ExportResult) => void) {
      taken.push(spans.length);
      held.push(done);
    },
    shutdown: () => Promise.resolve(),
  };
  const { tracing, log } = openTestTracing({ exporter });
  const release = async (): Promise<void> => {
    for (const done of held.splice(0)) done({ code: ExportResultCode.SUCCESS });
    await until('the next batch', () => held.length > 0);
  };
  for (const round of [1, 2]) {
    trace(tracing, 10_000);
    await until('a batch to be under way', () => held.length > 0);
    assert.ok(Math.max(...taken) <= 64, `round ${round}`);
    await release();
    trace(tracing, 1);
  }
  let isClosed = false;
  void tracing.close().then(() => {
    isClosed = true;
  });
  await until('the rest to be handed over', () => {
    for (const done of held.splice(0)) done({ code: ExportResultCode.SUCCESS });
    return isClosed;
  });
  const sum = taken.reduce((total, spans) => total + spans, 0);
  assert.ok(sum >= 2048 && sum < 2 * 2048 + 3 * 64, `${sum} of 20,002 spans`);
  const [warning, ...more] = log.withMessage('traces');
  assert.deepEqual(more, []);
  assert.match(String(warning?.problem), /Dropped \d+ spans/);
});

test('named by an address that is none: told without the password in it', async () => {
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = 'http://me:SECRET@[collector:4318';
  const { tracing, log } = openTestTracing({});
  delete process.env.OTEL_EXPORTER_OTLP_ENDPOINT;
  await tracing.close();
  const [warning, ...more] = log.withMessage('traces');
  assert.deepEqual(more, []);
  assert.match(String(warning?.problem), /Could not parse .*http:\/\/\[not logged\]@\[collector:4318/);
  assert.doesNotMatch(JSON.stringify(log.lines), /SECRET/);
});

test('named by the environment', async () => {
  let path: string | undefined;
  const endpoint = await listen((request, response) => {
    path = request.url;
    request.resume().on('end', () => response.end());
  });
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = new URL(endpoint).origin;
  const { tracing } = openTestTracing({});
  delete process.env.OTEL_EXPORTER_OTLP_ENDPOINT;
  trace(tracing, 1);
  await tracing.close();
  assert.equal(path, '/v1/traces');
});
