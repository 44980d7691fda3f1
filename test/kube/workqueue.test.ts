import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { RateLimiter, WorkQueue, type WorkQueueOptions } from '../../src/kube/workqueue.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { until } from '../support/wait.ts';

/** A queue whose work waits until the test lets it go on. */
function setUp(t: TestContext, options: Partial<WorkQueueOptions> = {}) {
  const clock = new FakeClock();
  const begun: string[] = [];
  const gates: (() => void)[] = [];
  const queue = new WorkQueue({
    clock,
    random: () => 1,
    work: (key) => {
      begun.push(key);
      return new Promise((resolve) => gates.push(resolve));
    },
    ...options,
  });
  const stopping = new AbortController();
  const running = queue.run(stopping.signal);
  t.after(() => stopping.abort());
  return { clock, begun, gates, queue, stopping, running };
}

test('a key is worked on once at a time, and again where it was added meanwhile', async (t) => {
  const { begun, gates, queue } = setUp(t);
  queue.add('a');
  queue.add('a');
  queue.add('a');
  queue.add('b');
  assert.deepEqual(begun, ['a', 'b']);
  gates[0]?.();
  await until('a again', () => begun.length === 3);
  assert.deepEqual(begun, ['a', 'b', 'a']);
  gates[2]?.();
  gates[1]?.();
  await new Promise(setImmediate);
  assert.equal(begun.length, 3);
});

test('no more keys at a time than allowed', async (t) => {
  const { begun, gates, queue } = setUp(t, { concurrency: 2 });
  for (const key of ['a', 'b', 'c']) queue.add(key);
  assert.deepEqual(begun, ['a', 'b']);
  gates[1]?.();
  await until('the third', () => begun.length === 3);
});

test('a key that fails comes again, later each time, and at once where it is added', async (t) => {
  const failures: number[] = [];
  const { clock, queue } = setUp(t, {
    work: () => Promise.reject(new Error('no')),
    onFailure: (_key, _error, count) => failures.push(count),
    backoff: { baseMs: 100, maxMs: 1000 },
  });
  queue.add('a');
  await until('the first failure', () => failures.length === 1);
  assert.equal(clock.nextMs, 100);
  clock.advance(100);
  await until('the second failure', () => failures.length === 2);
  assert.equal(clock.nextMs, 200);
  queue.add('a');
  await until('the third failure', () => failures.length === 3);
});

test('the end waits for the work under way, and begins none', async (t) => {
  const { begun, gates, queue, stopping, running } = setUp(t, { concurrency: 1 });
  queue.add('a');
  queue.add('b');
  stopping.abort();
  gates[0]?.();
  await running;
  assert.deepEqual(begun, ['a']);
});

test('the limiter lets a burst through, and then one an interval', async () => {
  const clock = new FakeClock();
  const limiter = new RateLimiter({ perSecond: 10, burst: 3, clock });
  const { signal } = new AbortController();
  let passed = 0;
  for (let i = 0; i < 5; i += 1) void limiter.take(signal).then(() => (passed += 1));
  await new Promise(setImmediate);
  assert.equal(passed, 3);
  clock.advance(100);
  await new Promise(setImmediate);
  assert.equal(passed, 4);
  clock.advance(100);
  await new Promise(setImmediate);
  assert.equal(passed, 5);
  clock.advance(10_000);
  for (let i = 0; i < 4; i += 1) void limiter.take(signal).then(() => (passed += 1));
  await new Promise(setImmediate);
  assert.equal(passed, 8, 'what was not used in the past is no more than a burst');
});
