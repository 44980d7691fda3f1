/**
 * A short form of `npm run bench:peers`, so that it can't rot: it says nothing of speed. Pepr is not part of it, because its packages (200 MB)
 * are not among those of the tests; the benchmark itself installs it and checks it in the same way.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { applyPatch, describeMutation, effectDifferences, readObject } from '../../bench/peers/mutation.ts';
import { setUp } from '../../bench/setup.ts';
import { skipWithoutControlPlane } from '../support/binaries.ts';

const BENCH = join(import.meta.dirname, '..', '..', 'bench');
const run = promisify(execFile);

const figures = ['requestsPerSecond', 'p50Ms', 'p99Ms', 'cpuMicrosecondsPerRequest'];

async function bench(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const quick = ['--rounds', '1', '--seconds', '0.2', '--connections', '1'];
  return run(process.execPath, [join(BENCH, 'peers.ts'), ...quick, ...args]);
}

test('this server and the bare one, as JSON', async () => {
  const { stdout } = await bench('--servers', 'bare', '--output', 'json');
  const report = JSON.parse(stdout);
  const ids = ['kkp-audit-webhook', 'bare'];
  assert.deepEqual(
    report.servers.map(({ id, sameMutation }: { id: string; sameMutation: boolean }) => [id, sameMutation]),
    ids.map((id) => [id, true]),
  );
  for (const server of report.servers) {
    assert.match(server.version, /Node v\d+/);
    for (const key of ['firstAnswerMs', 'rssMegabytes', 'peakRssMegabytes'])
      assert.ok(server[key] > 0, `${server.id}: ${key} is ${server[key]}`);
  }
  assert.deepEqual(
    report.cases.map((one: Record<string, unknown>) => [one.operation, one.connections, one.objects]),
    ['UPDATE', 'CREATE'].flatMap((operation) => ['same', 'new'].map((objects) => [operation, 1, objects])),
  );
  for (const one of report.cases) {
    assert.deepEqual(Object.keys(one.figures), ids);
    assert.deepEqual(Object.keys(one.ratios), ['bare']);
    assert.deepEqual(Object.keys(one.ratios.bare), figures);
    for (const values of Object.values(one.figures) as Record<string, number>[]) {
      assert.deepEqual(Object.keys(values), figures);
      // CPU time is counted in steps of 10 ms: so short a round may have none.
      for (const key of figures.slice(0, 3)) assert.ok((values[key] ?? 0) > 0, `${key} is ${values[key]}`);
    }
  }
});

test('the peer in Go does the same mutation; the table for a document', {
  skip: await skipWithoutControlPlane('the benchmark beside controller-runtime', [
    'controller-runtime-webhook',
  ]),
}, async () => {
  const args = ['--servers', 'controller-runtime', '--operations', 'UPDATE', '--output', 'markdown'];
  const { stdout } = await bench(...args);
  assert.match(stdout, /^\| UPDATE \| 1 \| new \| controller-runtime \| [\d.]+ \| .* \|$/m);
  assert.match(stdout, /^\| controller-runtime \| v\d+\.\d+\.\d+, Go \d\S+ \| \d+ \|/m);
  assert.match(stdout, /^\| p99 at one connection below that of controller-runtime \|/m);
});

test('options that are not understood end it with the usage', async () => {
  await assert.rejects(bench('--servers', 'nginx'), (error: { code: number; stderr: string }) => {
    assert.equal(error.code, 2);
    assert.match(error.stderr, /"nginx" is none of .*\nUsage: npm run bench:peers/);
    return true;
  });
});

test('another mutation is told from the same one', async () => {
  const object = readObject((await setUp()).bodyFiles.UPDATE);
  const pod = '/spec/template/spec';
  const [flags, volumes] = [`${pod}/containers/1/args`, `${pod}/volumes/-`];
  const add = (path: string, value: unknown) => ({ op: 'add', path, value });
  const patched = (...operations: object[]) => applyPatch(object, JSON.stringify(operations));
  const volume = add(volumes, { name: 'more', secret: { secretName: 'more' } });
  const ours = patched(add(`${flags}/-`, '--audit-policy-file'), add(`${flags}/-`, '/policy.yaml'), volume);

  // In front of the other flags instead of after them.
  const moved = patched(add(`${flags}/0`, '/policy.yaml'), add(`${flags}/0`, '--audit-policy-file'), volume);
  assert.deepEqual(effectDifferences(ours, moved), []);
  const wrongValue = patched(
    add(`${flags}/-`, '--audit-policy-file'),
    add(`${flags}/-`, '/other.yaml'),
    volume,
  );
  assert.equal(effectDifferences(ours, wrongValue).length, 1);
  const noVolume = patched(add(`${flags}/-`, '--audit-policy-file'), add(`${flags}/-`, '/policy.yaml'));
  assert.deepEqual(effectDifferences(ours, noVolume), ['spec.template.spec.volumes.19']);
  const annotated = applyPatch(ours, JSON.stringify([add('/metadata/annotations/a', 'b')]));
  assert.deepEqual(effectDifferences(annotated, ours), ['metadata.annotations.a']);
  assert.deepEqual(effectDifferences(ours, annotated), []);

  assert.deepEqual(describeMutation(object, ours), {
    annotations: {},
    container: 'apiserver',
    flags: [{ name: '--audit-policy-file', value: '/policy.yaml' }],
    volumes: [{ name: 'more', secret: { secretName: 'more' } }],
    volumeMounts: [],
    sidecars: [],
  });
});
