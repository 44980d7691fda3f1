import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { request } from 'undici';
import { type BuiltImage, buildImage, skipWithoutBuildah } from '../support/build-image.ts';
import { removeFolder, temporaryFolder } from '../support/children.ts';
import { freePort } from '../support/controlplane.ts';
import { until } from '../support/wait.ts';

const skip = skipWithoutBuildah();
const EXAMPLES = join(import.meta.dirname, '..', '..', 'examples', 'state');
const MAX_MEGABYTES = 160;

describe('the image', { skip }, () => {
  const dir = temporaryFolder();
  let image: BuiltImage & { release(): Promise<void> };
  let files: string[];

  before(async () => {
    image = await buildImage(dir);
    files = readdirSync(image.rootDir, { recursive: true, encoding: 'utf8' });
  });
  after(async () => {
    await image?.release();
    removeFolder(dir);
  });

  test('has no shell, no package manager and no compiler in it', () => {
    const programs = files.filter((file) => {
      const { mode, size } = lstatSync(join(image.rootDir, file));
      return file !== 'app/dist/main.js' && (mode & 0o170111) > 0o100000 && size > 0;
    });
    const isLibrary = (file: string): boolean => /\.so(\.\d+)*$/.test(file);
    assert.deepEqual(
      programs.filter((file) => !isLibrary(file)),
      ['usr/local/bin/node'],
    );
    assert.ok(!existsSync(join(image.rootDir, 'app/node_modules')));
  });

  test('is small', (t) => {
    const bytes = files.reduce((sum, file) => sum + lstatSync(join(image.rootDir, file)).size, 0);
    const megabytes = Math.round(bytes / 2 ** 20);
    t.diagnostic(`the image has ${megabytes} MiB`);
    assert.ok(megabytes < MAX_MEGABYTES, `${megabytes} MiB`);
  });

  test('says that it is not root, by number', () => {
    assert.equal(image.config.User, '65532:65532');
    assert.deepEqual(image.config.Entrypoint, [
      '/usr/local/bin/node',
      '--heap-growing-percent=200',
      '--max-semi-space-size=8',
      '/app/dist/main.js',
    ]);
    assert.equal(image.config.Labels['org.opencontainers.image.version'], 'test');
  });

  test('serves as nobody on a root that can not be written', async () => {
    const [port, opsPort] = [await freePort(), await freePort()];
    const [entrypoint = '', ...program] = image.config.Entrypoint;
    const serve = [
      'serve',
      '--state=/tmp',
      `--port=${port}`,
      `--ops-port=${opsPort}`,
      '--shutdown-delay-seconds=0',
      // What is loaded for it alone is in the image too.
      '--traces=http://127.0.0.1:1',
    ];
    // In a mount namespace of its own, which goes with it.
    const script = `mount --bind "$0" "$0" && mount --bind "$1" "$0/tmp" && mount -o remount,ro,bind "$0" && cd "$0" && shift &&
      exec chroot --userspec=65532:65532 . "$@"`;
    const child: ChildProcess = spawn(
      'unshare',
      ['--mount', 'sh', '-c', script, image.rootDir, EXAMPLES, entrypoint, ...program, ...serve],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH ?? '' } },
    );
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk) => {
        output += chunk;
      });
    try {
      const get = async (path: string): Promise<number> => {
        assert.equal(child.exitCode, null, output);
        const answer = await request(`http://127.0.0.1:${opsPort}${path}`).catch(() => undefined);
        await answer?.body.dump();
        return answer?.statusCode ?? 0;
      };
      await until('the server to be ready', async () => (await get('/readyz')) === 200);
      assert.equal(await get('/healthz'), 200);
      assert.equal(await get('/metrics'), 200);
    } finally {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      assert.equal(await ended, 0, output);
    }
  });
});
