/**
 * `npm test`: runs the tests of test/**, made for two cores. Arguments narrow them down: a path (`npm test -- test/audit`, also a file) chooses files,
 * anything else is a pattern of test names, and what starts with `-` goes to node's test runner as it is.
 */
import { spawn } from 'node:child_process';
import { existsSync, globSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { ensureBinaries, NETWORK_PROGRAMS, type Program, skipWithoutControlPlane } from './binaries.ts';
import { ALL_PROGRAMS } from './controlplane.ts';
import { CHART_PROGRAMS } from './helm.ts';

/** Files at once: one more than cores, because a third of the time a file waits for some controller. A soak needs both cores for its own rate. */
const CONCURRENCY = process.env.SOAK ? 1 : 3;
/** Far above what any test takes; one that hangs fails, instead of holding up all that come after it. */
const TEST_TIMEOUT_MS = process.env.SOAK ? 3_600_000 : 900_000;
const ROOT = join(import.meta.dirname, '..', '..');

const paths: string[] = [];
const options: string[] = [];
for (const argument of process.argv.slice(2)) {
  if (argument.startsWith('-')) options.push(argument);
  else if (existsSync(argument)) paths.push(argument);
  else options.push(`--test-name-pattern=${argument}`);
}

function testFiles(path: string): string[] {
  return statSync(path).isDirectory() ? globSync(join(path, '**', '*.test.ts')) : [path];
}
const files = (paths.length > 0 ? paths : [join(ROOT, 'test')])
  .flatMap(testFiles)
  .map((file) => relative(process.cwd(), file))
  .sort();
if (files.length === 0) {
  process.stderr.write(`no *.test.ts in ${paths.join(', ')}\n`);
  process.exit(1);
}

// Before any test, so that the minutes which a first build takes are seen as such and count as no test's time.
const programs: Program[] = [
  ...ALL_PROGRAMS,
  ...CHART_PROGRAMS,
  ...NETWORK_PROGRAMS,
  'otelcol',
  'controller-runtime-webhook',
];
if (!(await skipWithoutControlPlane('everything that needs a real kube-apiserver', programs)))
  await ensureBinaries(programs);

const runner = spawn(
  process.execPath,
  [
    '--test',
    '--test-reporter=spec',
    `--test-concurrency=${CONCURRENCY}`,
    `--test-timeout=${TEST_TIMEOUT_MS}`,
    ...options,
    ...files,
  ],
  { stdio: 'inherit' },
);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => runner.kill(signal));
runner.on('close', (code, signal) => {
  process.exitCode = code ?? (signal === 'SIGINT' ? 130 : 1);
});
