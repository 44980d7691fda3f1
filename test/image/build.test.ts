/** What the image runs: the program with its libraries in it, tried where there is nothing else of the project. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, existsSync, globSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { build } from '../../scripts/build.ts';
import { removeFolder, startChild, temporaryFolder } from '../support/children.ts';
import { until } from '../support/wait.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const runFile = promisify(execFile);

/** Packages that are loaded by `import()`; see scripts/build.ts. */
const LOADED_LATE = /await import\(\s*'((?!\.)[^']+)'/g;

describe('the built program', () => {
  const dir = temporaryFolder();
  const dist = join(dir, 'dist');
  const run = (...args: string[]) =>
    runFile(process.execPath, [join(dist, 'main.js'), ...args], { cwd: dir });

  before(async () => {
    await build(dist);
    cpSync(join(ROOT, 'package.json'), join(dir, 'package.json'));
  });
  after(() => removeFolder(dir));

  test('has every command, with nothing beside it', async () => {
    const { stdout: all } = await run('--help');
    const commands = [...all.matchAll(/^ {2}(?!help )([a-z][a-z-]+) /gm)].map(([, name]) => String(name));
    assert.ok(commands.length >= 9, all);
    for (const command of commands) {
      const { stdout } = await run(command, '--help');
      assert.match(stdout, new RegExp(`^Usage: kkp-audit-webhook ${command}\\b`), command);
    }
  });

  test('decides as the source does', async () => {
    const config = join(dir, 'config.yaml');
    writeFileSync(config, 'defaults: { mode: warn }');
    const args = ['explain', 'bank', '--state', join(ROOT, 'examples', 'state'), '--config', config];
    const source = await runFile(process.execPath, [join(ROOT, 'src', 'main.ts'), ...args]);
    assert.ok(source.stdout.length > 100);
    assert.equal((await run(...args)).stdout, source.stdout);
  });

  test('loads late what has the same names there', () => {
    const sources = globSync(join(ROOT, 'src', '**', '*.ts')).map((file) => readFileSync(file, 'utf8'));
    const names = sources.flatMap((text) => [...text.matchAll(LOADED_LATE)].map(([, name]) => name ?? ''));
    assert.ok(names.length > 0);
    for (const name of names) {
      const [scope, rest] = name.split('/');
      const manifest = readFileSync(join(ROOT, 'node_modules', `${scope}/${rest}`, 'package.json'), 'utf8');
      assert.equal(JSON.parse(manifest).type, 'module', name);
    }
  });

  test('can run a plugin that knows the credentials of a cluster', async () => {
    const kubeconfig = join(dir, 'kubeconfig');
    const mark = join(dir, 'called');
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: 'touch', args: [mark] };
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        clusters: [{ name: 'seed', cluster: { server: 'https://127.0.0.1:1' } }],
        users: [{ name: 'me', user: { exec: { ...exec, interactiveMode: 'Never' } } }],
        contexts: [{ name: 'seed', context: { cluster: 'seed', user: 'me' } }],
        'current-context': 'seed',
      }),
    );
    const child = startChild({
      name: 'report',
      command: process.execPath,
      args: [join(dist, 'main.js'), 'report', `--kubeconfig=${kubeconfig}`],
      logFile: join(dir, 'report.log'),
    });
    await until('the plugin to be run', () => {
      if (child.ended !== undefined) throw new Error(child.logTail());
      return existsSync(mark);
    });
    await child.stop();
  });

  test('brings the licences of what is in it', () => {
    const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    const terms = readFileSync(join(dist, 'LICENSES'), 'utf8');
    for (const name of Object.keys(dependencies)) assert.match(terms, new RegExp(`^${name} \\d`, 'm'), name);
    assert.match(terms, /Permission is hereby granted/);
  });

  test('is built over an older one, and leaves folders alone', async () => {
    writeFileSync(join(dist, 'chunk-OLD.js'), '');
    cpSync(join(ROOT, 'examples'), join(dist, 'release'), { recursive: true });
    await build(dist);
    assert.ok(!readdirSync(dist).includes('chunk-OLD.js'));
    assert.ok(readdirSync(join(dist, 'release')).length > 0);
  });
});
