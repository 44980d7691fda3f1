// On a stub server that keeps one Lease as kube-apiserver does; on a real one the same election is in test/api.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { KubeClient } from '../../src/kube/client.ts';
import { LeaderElection, type LeaderElectionOptions } from '../../src/kube/lease.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testLog } from '../support/log.ts';
import {
  type Handler,
  plainCredentials,
  readJson,
  sendJson,
  sendStatus,
  startStubApi,
} from '../support/stub-api.ts';
import { until } from '../support/wait.ts';

interface StoredLease {
  metadata: { name: string; resourceVersion: string; labels?: object };
  spec: Record<string, unknown>;
}

/** One Lease, with kube-apiserver's rules for versions and conflicts. */
class LeaseStore {
  lease: StoredLease | undefined;
  version = 0;
  /** Replicas that cannot reach the API server. */
  readonly cut = new Set<string>();
  /** Answers in the place of the next requests; the write happens all the same where it says so. */
  readonly faults: ('lost answer' | Handler)[] = [];
  inFlight = 0;

  readonly handle: Handler = async (request, response, url) => {
    this.inFlight += 1;
    response.on('close', () => {
      this.inFlight -= 1;
    });
    if (this.cut.has(String(request.headers['user-agent']))) return request.socket.destroy();
    const fault = this.faults.shift();
    if (typeof fault === 'function') return fault(request, response, url);
    const body = request.method === 'GET' ? undefined : ((await readJson(request)) as StoredLease);
    if (fault === 'lost answer') {
      this.#apply(request.method, body);
      return request.socket.destroy();
    }
    const [status, reason] = this.#apply(request.method, body);
    return status >= 400
      ? sendStatus(response, status, reason, reason, 'election')
      : sendJson(response, this.lease);
  };

  #apply(method: string | undefined, body: StoredLease | undefined): [number, string] {
    if (method === 'POST' && this.lease !== undefined) return [409, 'AlreadyExists'];
    if (method !== 'POST' && this.lease === undefined) return [404, 'NotFound'];
    if (body === undefined) return [200, ''];
    if (method === 'PUT' && body.metadata.resourceVersion !== this.lease?.metadata.resourceVersion)
      return [409, 'Conflict'];
    this.version += 1;
    this.lease = { ...body, metadata: { ...body.metadata, resourceVersion: String(this.version) } };
    return [200, ''];
  }
}

async function setUp(t: TestContext) {
  const store = new LeaseStore();
  const stub = await startStubApi(t, store.handle);
  const log = testLog();
  const elections: LeaderElection[] = [];
  const clients: KubeClient[] = [];
  const join = (identity: string, clock: FakeClock, options: Partial<LeaderElectionOptions> = {}) => {
    const client = new KubeClient(plainCredentials(stub.url), { userAgent: identity });
    const election = new LeaderElection({
      client,
      logger: log.logger,
      namespace: 'ns',
      name: 'election',
      identity,
      clock,
      random: () => 0,
      wallTime: () => new Date('2026-01-02T03:04:05.678Z'),
      lead: untilAborted,
      ...options,
    });
    elections.push(election);
    clients.push(client);
    election.start();
    return election;
  };
  const end = async () => {
    await Promise.all(elections.map((election) => election.close()));
    await Promise.all(clients.map((client) => client.close()));
  };
  t.after(end);
  return { store, stub, log, join };
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve());
  });
}

/** Moves a clock on, each time that somebody waits for it, until the condition holds. */
async function pass(clock: FakeClock, what: string, condition: () => boolean, stepMs = 500): Promise<void> {
  await until(what, async () => {
    if (condition()) return true;
    for (let i = 0; i < 5; i += 1) await turn();
    if (clock.sleeping > 0) clock.advance(stepMs);
    return condition();
  });
}

test('the first replica makes the Lease and leads; it renews; another waits', async (t) => {
  const { store, join } = await setUp(t);
  const clock = new FakeClock();
  const a = join('a', clock);
  await until('a to lead', () => a.isLeader());
  assert.match(String(store.lease?.spec.holderIdentity), /^a_[0-9a-f-]{36}$/);
  const { holderIdentity: _, ...spec } = store.lease?.spec ?? {};
  assert.deepEqual(spec, {
    leaseDurationSeconds: 15,
    acquireTime: '2026-01-02T03:04:05.678000Z',
    renewTime: '2026-01-02T03:04:05.678000Z',
    leaseTransitions: 0,
  });
  const otherClock = new FakeClock();
  const b = join('b', otherClock);
  await until('b to see a', () => b.holder() === a.identity);
  for (let i = 0; i < 20; i += 1) {
    const { version } = store;
    await pass(clock, 'a renewal', () => store.version > version);
    await pass(otherClock, 'b to look', () => otherClock.sleeping > 0, 2000);
    otherClock.advance(2000);
  }
  assert.ok(a.isLeader() && !b.isLeader());
});

test('a leader that stops ends its work first, then lets go, and the next leads at once', async (t) => {
  const { store, join } = await setUp(t);
  const clock = new FakeClock();
  let finish = () => {};
  let aborted = false;
  const a = join('a', clock, {
    lead: async (signal) => {
      await untilAborted(signal);
      aborted = true;
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
    },
  });
  await until('a to lead', () => a.isLeader());
  const closing = a.close();
  await until('the signal', () => aborted);
  assert.equal(store.lease?.spec.holderIdentity, a.identity, 'still held while the work ends');
  finish();
  await closing;
  assert.equal(store.lease?.spec.holderIdentity, '');
  assert.equal(a.isLeader(), false);
  const b = join('b', new FakeClock());
  await until('b to lead', () => b.isLeader());
  assert.equal(store.lease?.spec.leaseTransitions, 1);
});

test('work that does not end in time lets the Lease expire instead of letting go of it', async (t) => {
  const { store, join } = await setUp(t);
  const clock = new FakeClock();
  let finish = () => {};
  const a = join('a', clock, {
    lead: () =>
      new Promise<void>((resolve) => {
        finish = resolve;
      }),
  });
  await until('a to lead', () => a.isLeader());
  const closing = a.close();
  await pass(clock, 'the end of its time', () => !a.isLeader());
  finish();
  await closing;
  assert.equal(store.lease?.spec.holderIdentity, a.identity);
});

test('a leader without the API server steps down in time; another takes over only later', async (t) => {
  const { store, join } = await setUp(t);
  const clock = new FakeClock();
  let signal: AbortSignal | undefined;
  const a = join('a', clock, {
    lead: (given) => {
      signal = given;
      return untilAborted(given);
    },
  });
  await until('a to lead', () => a.isLeader());
  const b = join('b', clock);
  await until('b to see a', () => b.holder() === a.identity);
  const start = clock.now();
  store.cut.add('a');
  await pass(clock, 'a to step down', () => !a.isLeader());
  assert.ok(clock.now() - start <= 10_000, 'within the deadline for a renewal');
  assert.ok(!b.isLeader());
  await pass(clock, 'the work to be told', () => signal?.aborted === true);
  await pass(clock, 'b to lead', () => b.isLeader());
  assert.ok(clock.now() - start >= 13_000);
  store.cut.clear();
  await pass(clock, 'a to see b', () => a.holder() === b.identity);
  assert.ok(!a.isLeader());
});

test('the work is told when the time is over, not at the next attempt; no other run begins before it ended', async (t) => {
  const { store, join } = await setUp(t);
  const clock = new FakeClock();
  const runs: { signal: AbortSignal; finish: () => void }[] = [];
  const a = join('a', clock, {
    retryPeriodMs: 4000,
    lead: (signal) => new Promise((resolve) => runs.push({ signal, finish: resolve })),
  });
  await until('a to lead', () => a.isLeader());
  const start = clock.now();
  store.cut.add('a');
  await pass(clock, 'the work to be told', () => runs[0]?.signal.aborted === true);
  assert.ok(clock.now() - start <= 10_500, `told after ${clock.now() - start} ms`);
  store.cut.clear();
  await turn();
  assert.equal(clock.sleeping, 0, 'nothing is tried while the work goes on');
  runs[0]?.finish();
  await pass(clock, 'a to lead again', () => a.isLeader());
  assert.equal(runs.length, 2);
  runs[1]?.finish();
});

test('a leader survives failures that end in time', async (t) => {
  const { store, join, log } = await setUp(t);
  const clock = new FakeClock();
  const a = join('a', clock);
  await until('a to lead', () => a.isLeader());
  const { version } = store;
  store.faults.push(
    (_request, response) => sendStatus(response, 500, 'InternalError'),
    (_request, response) => sendStatus(response, 500, 'InternalError'),
  );
  await pass(clock, 'the problem', () => a.problem() !== undefined);
  await pass(clock, 'a renewal', () => store.version > version && a.problem() === undefined);
  assert.ok(a.isLeader());
  assert.equal(log.withMessage('the Lease cannot be used').length, 1, 'the same problem is told once');
});

test('a renewal whose answer was lost is found to have arrived', async (t) => {
  const { store, join } = await setUp(t);
  const clock = new FakeClock();
  const a = join('a', clock);
  await until('a to lead', () => a.isLeader());
  const { version } = store;
  store.faults.push('lost answer');
  await pass(clock, 'two renewals', () => store.version >= version + 2);
  assert.ok(a.isLeader());
});

test('an acquisition whose answer was lost is found to have arrived', async (t) => {
  const { store, join } = await setUp(t);
  const clock = new FakeClock();
  store.faults.push(
    (_request, response) => sendStatus(response, 404, 'NotFound', 'none', 'election'),
    'lost answer',
  );
  const a = join('a', clock);
  await pass(clock, 'a to lead', () => a.isLeader());
  assert.equal(store.lease?.spec.holderIdentity, a.identity);
});

test('a process that was held up does not take itself for the leader when it wakes', async (t) => {
  const { join } = await setUp(t);
  const clock = new FakeClock();
  const a = join('a', clock);
  await until('a to lead', () => a.isLeader());
  clock.advance(10_000);
  assert.equal(a.isLeader(), false, 'before any timer ran');
});

test('a Lease that another took, or that is gone, is lost at once', async (t) => {
  const { store, join, log } = await setUp(t);
  const clock = new FakeClock();
  const a = join('a', clock);
  await until('a to lead', () => a.isLeader());
  const { lease } = store;
  assert.ok(lease !== undefined);
  store.lease = {
    ...lease,
    metadata: { ...lease.metadata, resourceVersion: '999' },
    spec: { ...lease.spec, holderIdentity: 'thief' },
  };
  await pass(clock, 'a to step down', () => !a.isLeader());
  assert.equal(log.withMessage('leadership lost')[0]?.reason, 'it is held by thief');
  await pass(clock, 'a to lead again, after the thief’s time', () => a.isLeader());
  store.lease = undefined;
  await pass(clock, 'a to step down again', () => log.withMessage('leadership lost').length === 2);
  await pass(clock, 'a to make it anew', () => a.isLeader());
});

test('one who saw the leader waits for its time also where the Lease was deleted', async (t) => {
  const { store, join } = await setUp(t);
  const clock = new FakeClock();
  const a = join('a', clock);
  await until('a to lead', () => a.isLeader());
  const otherClock = new FakeClock();
  const b = join('b', otherClock);
  await until('b to see a', () => b.holder() === a.identity);
  store.lease = undefined;
  const start = otherClock.now();
  await pass(otherClock, 'b to lead', () => b.isLeader());
  assert.ok(otherClock.now() - start >= 13_000);
});

test('what others keep in the Lease stays', async (t) => {
  const { store, join } = await setUp(t);
  store.lease = {
    metadata: { name: 'election', resourceVersion: '0', labels: { team: 'x' } },
    spec: { holderIdentity: '', strategy: 'y' },
  };
  const a = join('a', new FakeClock());
  await until('a to lead', () => a.isLeader());
  assert.deepEqual([store.lease?.metadata.labels, store.lease?.spec.strategy], [{ team: 'x' }, 'y']);
});

test('a Lease with nonsense in it neither crashes nor blocks for ever', async (t) => {
  const { store, join } = await setUp(t);
  store.lease = {
    metadata: { name: 'election', resourceVersion: '0' },
    spec: { holderIdentity: 'ghost', leaseDurationSeconds: 1e12, leaseTransitions: null },
  };
  const clock = new FakeClock();
  const a = join('a', clock);
  await pass(clock, 'a to lead', () => a.isLeader(), 20_000);
});

test('work that fails is told, and the Lease is for whoever comes', async (t) => {
  const { store, join, log } = await setUp(t);
  const clock = new FakeClock();
  let runs = 0;
  join('a', clock, {
    lead: async (signal) => {
      runs += 1;
      if (runs === 1) throw new Error('a bug');
      await untilAborted(signal);
    },
  });
  await until('that it let go', () => store.lease?.spec.holderIdentity === '');
  assert.equal(log.withMessage('the work of the leader failed').length, 1);
  await pass(clock, 'the next run', () => runs === 2);
});

test('durations that leave room for two leaders are refused', async (t) => {
  const { join } = await setUp(t);
  const clock = new FakeClock();
  assert.throws(() => join('a', clock, { renewDeadlineMs: 15_000 }), RangeError);
  assert.throws(() => join('a', clock, { retryPeriodMs: 10_000 }), RangeError);
  assert.throws(() => join('a', clock, { leaseDurationMs: 15_500 }), RangeError);
});

test('never two leaders, whatever breaks and however the clocks stand', async (t) => {
  const step = fc.record({
    advanceMs: fc.constantFrom(100, 1000, 2400, 9000),
    cut: fc.option(fc.constantFrom('a', 'b', 'c'), { freq: 3 }),
    mend: fc.boolean(),
    lose: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
      const { store, join } = await setUp(t);
      const clock = new FakeClock();
      const work = { running: 0 };
      const lead = async (signal: AbortSignal) => {
        work.running += 1;
        await untilAborted(signal);
        work.running -= 1;
      };
      const replicas = ['a', 'b', 'c'].map((name) => join(name, clock, { lead }));
      const settle = async () => {
        // Nobody asks the API server any more: all wait for the clock.
        for (let quiet = 0; quiet < 8; quiet = store.inFlight === 0 ? quiet + 1 : 0) await turn();
        assert.ok(replicas.filter((replica) => replica.isLeader()).length <= 1, 'two leaders');
        assert.ok(work.running <= 1, 'two at work');
      };
      await settle();
      for (const { advanceMs, cut, mend, lose } of steps) {
        if (mend) store.cut.clear();
        if (cut !== null) store.cut.add(cut);
        if (lose) store.faults.push('lost answer');
        for (let passed = 0; passed < advanceMs; passed += 500) {
          clock.advance(Math.min(500, advanceMs - passed));
          await settle();
        }
      }
      store.cut.clear();
      store.faults.length = 0;
      await pass(clock, 'one to lead in the end', () => replicas.some((replica) => replica.isLeader()));
      await Promise.all(replicas.map((replica) => replica.close()));
    }),
    { numRuns: 15 },
  );
});
