/** The suites of helm-unittest in the chart's tests/: a value in, a field out, template by template. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { load } from 'js-yaml';
import type { JsonObject } from '../../src/kubernetes.ts';
import { ensureBinaries, skipWithoutControlPlane } from '../support/binaries.ts';
import { removeFolder, temporaryFolder } from '../support/children.ts';
import { CHART, CHART_PROGRAMS, HELM_VERSIONS, helm } from '../support/helm.ts';

const skip = await skipWithoutControlPlane("the chart's own tests", CHART_PROGRAMS);

interface Job {
  readonly it: string;
  readonly set?: JsonObject;
  readonly asserts: readonly JsonObject[];
}
interface Suite {
  readonly set?: JsonObject;
  readonly tests: readonly Job[];
}

/**
 * Runs helm-unittest.
 * @param files a glob of suites, from the chart
 * @returns code 1 where a test fails, and the report
 */
async function runSuites(chart: string, files: string): Promise<{ code: number; stdout: string }> {
  const { 'helm-unittest': program } = await ensureBinaries(['helm-unittest']);
  return new Promise((resolve, reject) => {
    execFile(program, ['--strict', `--file=${files}`, chart], (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== 'number') reject(error);
      else resolve({ code: error === null ? 0 : Number(error.code), stdout: stdout + stderr });
    });
  });
}

const isMap = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Paths of what values.yaml holds, as `--set` takes them; a list or an empty map is a value of its own. */
const leavesOf = (value: unknown, path: readonly string[] = []): string[] =>
  isMap(value) && Object.keys(value).length > 0
    ? Object.entries(value).flatMap(([key, child]) => leavesOf(child, [...path, key]))
    : [path.join('.')];

/** A copy of `set` without the value at that path and what is below it. */
function withoutValue(set: JsonObject, path: string): JsonObject {
  const kept: JsonObject = {};
  for (const [key, value] of Object.entries(set)) {
    if (key === path || key.startsWith(`${path}.`)) continue;
    kept[key] =
      path.startsWith(`${key}.`) && isMap(value) ? withoutValue(value, path.slice(key.length + 1)) : value;
  }
  return kept;
}

describe("the chart's own tests", { skip }, () => {
  const dir = temporaryFolder();
  const chart = join(dir, basename(CHART));
  const suites = new Map<string, Suite>();

  before(() => {
    cpSync(CHART, chart, { recursive: true }); // helm-unittest makes a folder beside the suites
    for (const file of readdirSync(join(chart, 'tests')))
      if (file.endsWith('_test.yaml'))
        suites.set(file, load(readFileSync(join(chart, 'tests', file), 'utf8')) as Suite);
  });
  after(() => removeFolder(dir));

  test('pass', async () => {
    const { code, stdout } = await runSuites(chart, 'tests/*_test.yaml');
    assert.equal(code, 0, stdout);
    assert.match(stdout, new RegExp(`Test Suites: ${suites.size} passed`));
  });

  test('are there for every template', () => {
    const special: Readonly<Record<string, string>> = { 'NOTES.txt': 'notes_test.yaml' };
    const templates = readdirSync(join(CHART, 'templates')).filter((file) => !file.endsWith('.tpl'));
    for (const file of templates) {
      const suite = special[file] ?? file.replace('.yaml', '_test.yaml');
      assert.ok(suites.has(suite), `${file} has no ${suite}`);
    }
  });

  // A template that passes over a value renders what it would without it, so a suite that notices the one notices the other.
  for (const path of leavesOf(load(readFileSync(join(CHART, 'values.yaml'), 'utf8'))))
    test(`notice that ${path} counts`, async () => {
      const folder = join(chart, 'tests', path);
      mkdirSync(folder);
      let isSet = false;
      for (const [file, suite] of suites) {
        assert.equal(suite.set, undefined, `${file}: a value is set where it is tested`);
        // That a bad value is refused does not show that a good one counts.
        const tests = suite.tests.filter(
          ({ set, asserts }) =>
            set !== undefined && asserts.every((assertion) => !('failedTemplate' in assertion)),
        );
        const changed = tests.map((job) => ({ ...job, set: withoutValue(job.set ?? {}, path) }));
        if (JSON.stringify(changed) === JSON.stringify(tests)) continue;
        isSet = true;
        writeFileSync(join(folder, file), JSON.stringify({ ...suite, tests: changed }));
      }
      assert.ok(isSet, `no suite sets ${path}: add a test of it to charts/*/tests`);
      const { code, stdout } = await runSuites(chart, `tests/${path}/*_test.yaml`);
      assert.equal(code, 1, `no suite fails without ${path}:\n${stdout}`);
      assert.match(stdout, /Tests: +[1-9]\d* failed/);
    });

  for (const version of HELM_VERSIONS)
    test(`${version}: are not packaged`, async () => {
      const destination = join(dir, version);
      const { code, stderr } = await helm(version, ['package', CHART, `--destination=${destination}`]);
      assert.equal(code, 0, stderr);
      const [archive = ''] = readdirSync(destination);
      const names = gunzipSync(readFileSync(join(destination, archive))).toString('latin1');
      assert.ok(names.includes(`${basename(CHART)}/values.schema.json\0`));
      assert.ok(!names.includes(`${basename(CHART)}/tests/`));
    });
});
