import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { Lifecycle, type ProcessLike } from '../../src/lifecycle.ts';
import { type TestLog, testLog } from '../support/log.ts';

interface Harness {
  readonly lifecycle: Lifecycle;
  readonly events: EventEmitter;
  readonly log: TestLog;
  /** What happened, in order. */
  readonly steps: string[];
  readonly exited: Promise<number>;
}

function start(shutdownDelayMs = 1, closeTimeoutMs = 60_000): Harness {
  const events = new EventEmitter();
  const steps: string[] = [];
  const log = testLog();
  const { promise, resolve } = Promise.withResolvers<number>();
  const process: ProcessLike = Object.assign(events, {
    exit(code: number) {
      steps.push(`exit ${code}`);
      resolve(code);
    },
  });
  const lifecycle = new Lifecycle({
    process,
    log: log.logger,
    flushLog: () => steps.push('flush'),
    shutdownDelayMs,
    closeTimeoutMs,
  });
  return { lifecycle, events, log, steps, exited: promise };
}

test('SIGTERM: draining at once, the last part opened closes first, the log is written, exit 0', async () => {
  const { lifecycle, events, steps, exited } = start();
  lifecycle.onClose('state', () => void steps.push('close state'));
  lifecycle.onClose('server', async () => {
    await Promise.resolve();
    steps.push('close server');
  });
  assert.equal(lifecycle.draining, false);
  events.emit('SIGTERM', 'SIGTERM');
  assert.equal(lifecycle.draining, true);
  assert.deepEqual(steps, [], 'nothing closes before the delay is over');
  assert.equal(await exited, 0);
  assert.deepEqual(steps, ['close server', 'close state', 'flush', 'exit 0']);
});

test('serving goes on during the delay; a second signal ends it at once', async () => {
  const { lifecycle, events, steps, exited } = start(3_600_000);
  lifecycle.onClose('server', () => steps.push('close server'));
  events.emit('SIGTERM', 'SIGTERM');
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(steps, []);
  events.emit('SIGTERM', 'SIGTERM');
  assert.equal(await exited, 1);
  assert.deepEqual(steps, ['flush', 'exit 1']);
});

test('Ctrl-C waits for no endpoints', async () => {
  const { events, exited } = start(3_600_000);
  events.emit('SIGINT', 'SIGINT');
  assert.equal(await exited, 0);
});

test('a part that does not close is left behind in time', async () => {
  const { lifecycle, events, log, exited } = start(1, 5);
  lifecycle.onClose('server', () => new Promise(() => undefined));
  events.emit('SIGTERM', 'SIGTERM');
  assert.equal(await exited, 0);
  assert.equal(log.lines.filter(({ level }) => level === 40).length, 1);
});

test('a part that fails to close does not keep the others open', async () => {
  const { lifecycle, events, log, steps, exited } = start();
  lifecycle.onClose('state', () => void steps.push('close state'));
  lifecycle.onClose('server', () => Promise.reject(new Error('stuck')));
  events.emit('SIGTERM', 'SIGTERM');
  assert.equal(await exited, 0);
  assert.deepEqual(steps, ['close state', 'flush', 'exit 0']);
  assert.match(JSON.stringify(log.withMessage('a part did not close')), /"part":"server".*|stuck/);
});

for (const event of ['uncaughtException', 'unhandledRejection']) {
  test(`${event}: logged with its stack, then exit 1`, async () => {
    const { events, log, steps, exited } = start();
    events.emit(event, new TypeError('nobody handled me'));
    assert.equal(await exited, 1);
    assert.deepEqual(steps, ['flush', 'exit 1']);
    assert.match(JSON.stringify(log.lines), /nobody handled me.*lifecycle\.test\.ts/);
  });
}

test('it leaves no listener behind', async () => {
  const { events, exited } = start();
  events.emit('SIGTERM', 'SIGTERM');
  await exited;
  assert.deepEqual(events.eventNames(), []);
});
