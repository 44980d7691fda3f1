/**
 * Builds the image where no registry can be reached: on a base made by hand of this machine's npm and shell and of the Node that the project is
 * pinned to. By buildah, as root, without any daemon; everything lies in one temporary folder.
 */
import { execFile, execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, realpathSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const runFile = promisify(execFile);
const ROOT = join(import.meta.dirname, '..', '..');
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;
const CA_BUNDLE = '/etc/ssl/certs/ca-certificates.crt';
/** What npm and the Dockerfile's RUN lines start. */
const PROGRAMS = ['sh', 'env'];

export interface ImageConfig {
  readonly User: string;
  readonly Entrypoint: readonly string[];
  readonly Cmd: readonly string[];
  readonly Env: readonly string[];
  readonly Labels: Readonly<Record<string, string>>;
}

export interface BuiltImage {
  /** The image's files, as a folder of this machine. */
  readonly rootDir: string;
  readonly config: ImageConfig;
}

/** @returns false, or why no image can be built here */
export function skipWithoutBuildah(): string | false {
  const reason =
    process.getuid?.() !== 0
      ? 'NOT TESTED: the image: buildah has to run as root'
      : find('buildah') === undefined
        ? 'NOT TESTED: the image: there is no buildah; install it (apt-get install buildah)'
        : undefined;
  if (reason === undefined) return false;
  if (process.env.CI) throw new Error(reason);
  process.stderr.write(`\n!!! ${reason}\n\n`);
  return reason;
}

/**
 * Builds the project's Dockerfile.
 * @param dir an empty folder, which the caller removes after `release`
 * @throws {Error} with the end of the build's output
 */
export async function buildImage(dir: string): Promise<BuiltImage & { release(): Promise<void> }> {
  const global = ['--root', join(dir, 'storage'), '--runroot', join(dir, 'run'), '--storage-driver', 'vfs'];
  const buildah = async (...args: string[]): Promise<string> => {
    const options = {
      cwd: ROOT,
      maxBuffer: MAX_OUTPUT_BYTES,
      env: { ...process.env, BUILDAH_ISOLATION: 'chroot' },
    };
    try {
      return (await runFile('buildah', [...global, ...args], options)).stdout.trim();
    } catch (error) {
      const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
      throw new Error(`buildah ${args[0]}:\n${(stdout + stderr).slice(-4000)}`);
    }
  };
  const base = await makeBase(buildah);
  await buildah(
    'build',
    '--build-arg',
    `BUILD_IMAGE=${base}`,
    '--build-arg',
    'VERSION=test',
    '--layers=false',
    '--tag',
    'localhost/kkp-audit-webhook',
    ...mountCache(),
    '.',
  );
  const container = await buildah('from', 'localhost/kkp-audit-webhook');
  const rootDir = await buildah('mount', container);
  const { OCIv1 } = JSON.parse(await buildah('inspect', '--type', 'image', 'localhost/kkp-audit-webhook'));
  return { rootDir, config: OCIv1.config, release: async () => void (await buildah('umount', container)) };
}

/** Packages that npm has here already need not be fetched again. */
function mountCache(): string[] {
  const cache = join(homedir(), '.npm');
  return existsSync(cache) ? ['--volume', `${cache}:/root/.npm`] : [];
}

async function makeBase(buildah: (...args: string[]) => Promise<string>): Promise<string> {
  const container = await buildah('from', 'scratch');
  const root = await buildah('mount', container);
  const copy = (from: string, to = from): void => {
    mkdirSync(join(root, dirname(to)), { recursive: true });
    cpSync(realpathSync(from), join(root, to), { recursive: true });
  };
  for (const program of PROGRAMS) {
    copy(find(program) ?? '', `/bin/${program}`);
    for (const library of librariesOf(find(program) ?? '')) copy(library);
  }
  copy('/bin/env', '/usr/bin/env');
  copy(process.execPath, '/usr/local/bin/node');
  for (const library of librariesOf(process.execPath)) copy(library);
  const npm = realpathSync(find('npm') ?? '');
  copy(join(npm, '..', '..'), '/usr/local/lib/node_modules/npm');
  writeFileSync(
    join(root, 'usr/local/bin/npm'),
    '#!/bin/sh\nexec node /usr/local/lib/node_modules/npm/bin/npm-cli.js "$@"\n',
    { mode: 0o755 },
  );
  for (const folder of ['tmp', 'root', 'proc', 'sys', 'dev', 'etc'])
    mkdirSync(join(root, folder), { recursive: true });
  if (existsSync(CA_BUNDLE)) copy(CA_BUNDLE);
  const registry = execFileSync('npm', ['config', 'get', 'registry'], {
    cwd: '/',
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await buildah(
    'config',
    '--env',
    'PATH=/usr/local/bin:/usr/bin:/bin',
    '--env',
    'HOME=/root',
    '--env',
    `npm_config_registry=${registry.trim()}`,
    ...(existsSync(CA_BUNDLE) ? ['--env', `NODE_EXTRA_CA_CERTS=${CA_BUNDLE}`] : []),
    container,
  );
  await buildah('umount', container);
  await buildah('commit', '--rm', container, 'localhost/build-base');
  return 'localhost/build-base';
}

function find(program: string): string | undefined {
  for (const folder of (process.env.PATH ?? '').split(':')) {
    const path = join(folder, program);
    if (folder !== '' && !folder.includes('node_modules') && existsSync(path)) return path;
  }
  return undefined;
}

function librariesOf(program: string): string[] {
  const output = execFileSync('ldd', [realpathSync(program)], { encoding: 'utf8' });
  return [...output.matchAll(/(\/\S+) \(0x/g)].map(([, path = '']) => path);
}
