import assert from 'node:assert/strict';
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import { ReviewError } from '../../src/admission.ts';
import { buildBodyReader } from '../../src/body.ts';
import { buildDeadlines, decisionTimeMs } from '../../src/deadline.ts';
import { buildLog } from '../../src/log.ts';
import { buildMetrics } from '../../src/metrics.ts';
import { buildOpsServer } from '../../src/ops-server.ts';
import type { StateHealth } from '../../src/state/state.ts';
import { until } from '../support/wait.ts';

const HEALTH: StateHealth = { synced: true, ageSeconds: 1.5, clusters: 7, seeds: 2, problems: ['p'] };

function metricsOf(health: () => StateHealth | undefined = () => HEALTH): ReturnType<typeof buildMetrics> {
  return buildMetrics({
    version: '1.2.3',
    ready: () => true,
    certificateExpiry: () => new Date(1_900_000_000_000),
    stateHealth: health,
    processMetrics: false,
  });
}

describe('deadlines', () => {
  test('are a tenth, at most half a second, before the time that kube-apiserver gives', () => {
    const times: readonly (readonly [unknown, number])[] = [
      ['5s', 4500],
      ['1s', 900],
      ['30s', 29_500],
      ['1m0s', 29_500],
      ['2.5s', 2250],
      ['1s500ms', 1350],
      [undefined, 9500],
      ['', 9500],
      ['5', 9500],
      ['-5s', 9500],
      ['0s', 9500],
      ['1e9s', 9500],
      [['5s', '1s'], 9500],
      ['99999999h', 29_500],
    ];
    for (const [value, expected] of times) assert.equal(decisionTimeMs(value), expected, String(value));
  });

  test('abort in time, and those that are close share a signal', async () => {
    let now = 1000;
    const deadlines = buildDeadlines(() => now);
    const signal = deadlines.signal(130);
    assert.equal(deadlines.signal(190), signal);
    assert.notEqual(deadlines.signal(210), signal);
    now = 1040;
    assert.equal(deadlines.signal(100), signal);
    assert.equal(signal.aborted, false);
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    assert.equal(signal.reason.name, 'TimeoutError');
    deadlines.close();
  });

  test('close() stops them', () => {
    const deadlines = buildDeadlines();
    deadlines.signal(1000);
    deadlines.close();
  });
});

describe('bodies', () => {
  const read = (
    reader: ReturnType<typeof buildBodyReader>,
    chunks: Iterable<string>,
    announced = Number.NaN,
  ) =>
    new Promise<string>((resolve, reject) => {
      const stream = Readable.from(
        Array.from(chunks, (chunk) => Buffer.from(chunk)),
        { objectMode: false },
      );
      reader(stream, announced, (error, body) => (error === null ? resolve(String(body)) : reject(error)));
    });

  test('come whole, however they are cut', async () => {
    assert.equal(await read(buildBodyReader(10, 10), ['ab', '', 'cd'], 4), 'abcd');
    assert.equal(await read(buildBodyReader(10, 10), []), '');
  });

  test('are limited by what arrives and by what is announced', async () => {
    const code = (expected: string) => (error: unknown) =>
      error instanceof ReviewError && error.code === expected;
    const reader = buildBodyReader(3, 100);
    await assert.rejects(read(reader, ['ab', 'cd']), code('BODY_TOO_LARGE'));
    await assert.rejects(read(reader, [], 4), code('BODY_TOO_LARGE'));
    assert.equal(await read(reader, ['abc'], 3), 'abc');
    const cut = new Readable({ read: () => undefined });
    const result = new Promise((_, reject) => reader(cut, 3, (error) => reject(error)));
    cut.push('a');
    cut.destroy();
    await assert.rejects(result, code('BODY_INCOMPLETE'));
  });

  test('that are finished or failed leave room for others', async () => {
    const reader = buildBodyReader(100, 10);
    for (let times = 0; times < 3; times += 1) {
      await assert.rejects(read(reader, ['x'.repeat(11)]), { code: 'OVERLOADED' });
      assert.equal(await read(reader, ['x'.repeat(10)]), 'x'.repeat(10));
    }
  });
});

describe('the ops server', () => {
  const start = (notReady: readonly string[], unhealthy: readonly string[] = []) =>
    buildOpsServer({ registry: metricsOf().registry, notReady: () => notReady, unhealthy: () => unhealthy });

  test('says ok, or why not', async () => {
    const good = start([]);
    for (const url of ['/healthz', '/readyz']) {
      const answer = await good.inject(url);
      assert.deepEqual([answer.statusCode, answer.body], [200, 'ok\n']);
    }
    const bad = start(['shutting down', 'the state is not complete yet'], ['stuck']);
    const ready = await bad.inject('/readyz');
    assert.deepEqual([ready.statusCode, ready.body], [503, 'shutting down\nthe state is not complete yet\n']);
    assert.deepEqual(
      [(await bad.inject('/healthz')).statusCode, (await bad.inject('/healthz')).body],
      [503, 'stuck\n'],
    );
    assert.equal((await good.inject('/mutate/deployments')).statusCode, 404);
  });

  test('shows the metrics, read anew each time', async () => {
    let health: StateHealth | undefined = HEALTH;
    const metrics = metricsOf(() => health);
    metrics.started();
    metrics.finished('validate', 'UPDATE', 'denied', ['CLUSTER_AUDIT_DISABLED'], 0.002);
    metrics.started();
    metrics.refused('validate', 'BODY_NOT_JSON');
    const app = buildOpsServer({ registry: metrics.registry, notReady: () => [], unhealthy: () => [] });
    const lines = async (): Promise<string[]> => {
      const answer = await app.inject('/metrics');
      assert.match(String(answer.headers['content-type']), /^text\/plain; version=0\.0\.4/);
      return answer.body.split('\n').map((line) => line.replace('kkp_audit_webhook_', ''));
    };
    const shown = await lines();
    for (const line of [
      'requests_total{hook="validate",operation="UPDATE",outcome="denied",reason="CLUSTER_AUDIT_DISABLED"} 1',
      'requests_total{hook="validate",operation="",outcome="failed",reason="BODY_NOT_JSON"} 1',
      'request_duration_seconds_bucket{le="0.0025",hook="validate"} 1',
      'requests_in_flight 1',
      'ready 1',
      'certificate_expiry_timestamp_seconds 1900000000',
      'state_synced 1',
      'state_age_seconds 1.5',
      'state_problems 1',
      'state_objects{kind="Cluster"} 7',
      'state_objects{kind="Seed"} 2',
      'build_info{version="1.2.3"} 1',
    ])
      assert.ok(shown.includes(line), `${line} is not in\n${shown.join('\n')}`);
    health = { ...HEALTH, synced: false };
    assert.ok((await lines()).includes('state_synced 0'));
    health = undefined;
    assert.ok(!(await lines()).some((line) => /^state_(synced|age_seconds|problems|objects)[ {]/.test(line)));
  });

  test('two sets of metrics share nothing', async () => {
    const [one, other] = [metricsOf(), metricsOf()];
    one.refused('validate', 'BODY_NOT_JSON');
    assert.ok(!(await other.registry.metrics()).includes('BODY_NOT_JSON'));
  });
});

describe('the log', () => {
  test('is JSON lines with level and ISO time, and hides what must not be in it', () => {
    const lines: string[] = [];
    const { logger } = buildLog('info', { write: (line: string) => void lines.push(line) });
    logger.debug('not shown');
    logger.info(
      { uid: 'u', token: 'SECRET', object: { data: 'SECRET' }, headers: { authorization: 'SECRET' } },
      'hello\n',
    );
    logger.error({ err: new Error('broke') }, 'failed');
    assert.equal(lines.length, 2);
    const [first, second] = lines.map((line) => JSON.parse(line));
    assert.deepEqual([first.level, first.uid, first.msg], ['info', 'u', 'hello\n']);
    assert.equal(new Date(first.time).toISOString(), first.time);
    assert.ok(!lines.join('').includes('SECRET'));
    assert.match(second.err.stack, /parts\.test\.ts/);
  });

  test('to a file descriptor it comes by itself, and at once when flushed', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'log-'));
    const file = join(folder, 'log');
    const { logger, flush } = buildLog('info', openSync(file, 'w'));
    logger.info('one');
    await until('the line is written', () => readFileSync(file, 'utf8').includes('one'));
    logger.info('two');
    flush();
    assert.match(readFileSync(file, 'utf8'), /one.*\n.*two/);
    rmSync(folder, { recursive: true });
  });
});
