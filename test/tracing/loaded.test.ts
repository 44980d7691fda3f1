/** What the server loads: nothing of OpenTelemetry's SDK where no traces are asked for. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { removeFolder, startChild, temporaryFolder } from '../support/children.ts';
import { until } from '../support/wait.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const MAIN = join(ROOT, 'src', 'main.ts');
const STATE = join(ROOT, 'examples', 'state');

const dir = temporaryFolder();
after(() => removeFolder(dir));

/** Loaded before the server: writes down every module that is loaded. */
const RECORDER = `
  import { appendFileSync } from 'node:fs';
  import { registerHooks } from 'node:module';
  registerHooks({
    load(url, context, next) {
      appendFileSync(process.env.LOADED_MODULES, url + '\\n');
      return next(url, context);
    },
  });`;
writeFileSync(join(dir, 'recorder.mjs'), RECORDER);

let starts = 0;

/** @returns what `serve` loads until it serves: packages of OpenTelemetry, and files of src/ */
async function loadedBy(args: readonly string[], env: Record<string, string> = {}) {
  const file = (suffix: string): string => join(dir, `${starts}.${suffix}`);
  starts += 1;
  writeFileSync(file('modules'), '');
  const child = startChild({
    name: 'server',
    command: process.execPath,
    args: [
      `--import=${join(dir, 'recorder.mjs')}`,
      MAIN,
      'serve',
      `--state=${STATE}`,
      '--port=0',
      '--ops-port=0',
      ...args,
    ],
    env: { ...env, LOADED_MODULES: file('modules') },
    logFile: file('log'),
  });
  await until('the server to serve', () => {
    assert.equal(child.ended, undefined, child.logTail());
    return child.logTail().includes('"serving"');
  });
  await child.stop();
  const urls = readFileSync(file('modules'), 'utf8').split('\n');
  return {
    packages: [...new Set(urls.flatMap((url) => /\/@opentelemetry\/([^/]+)\//.exec(url)?.[1] ?? []))].sort(),
    files: urls.flatMap((url) => /\/src\/(\S+)$/.exec(url)?.[1] ?? []),
  };
}

// prom-client asks OpenTelemetry's API whether a span is current; the API alone does nothing and loads nothing.
const OFF = ['api'];

test('no traces, nothing of them', async () => {
  const { packages, files } = await loadedBy([]);
  assert.ok(files.includes('server.ts'));
  assert.ok(!files.includes('tracing.ts'));
  assert.deepEqual(packages, OFF);
});

test('the environment alone switches nothing on', async () => {
  const { packages } = await loadedBy([], { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' });
  assert.deepEqual(packages, OFF);
});

test('the option does', async () => {
  const { packages, files } = await loadedBy(['--traces=http://127.0.0.1:1']);
  assert.ok(files.includes('tracing.ts'));
  assert.ok(packages.includes('sdk-trace') && packages.includes('exporter-trace-otlp-proto'));
});

for (const [args, problem] of [
  [['--traces=collector:4318'], /expected an address such as/],
  [['--traces=ftp://collector'], /expected an address such as/],
  [['--traces', '--traces-sampling-ratio=10'], /expected a number from 0 to 1/],
  [['--traces', '--traces-sampling-ratio='], /expected a number from 0 to 1/],
] as const)
  test(`refuses ${args.join(' ')}`, () => {
    const { stderr, status } = spawnSync(process.execPath, [MAIN, 'serve', `--state=${STATE}`, ...args], {
      encoding: 'utf8',
    });
    assert.equal(status, 1);
    assert.match(stderr, problem);
  });
