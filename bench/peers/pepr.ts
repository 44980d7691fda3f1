/**
 * The peer in TypeScript: a Pepr module, built by `pepr build` in the folder of that name, with packages of its own. It is run as `pepr dev`
 * runs it (node dist/pepr-UUID.js); in a cluster one more process stands above it, which unpacks the module from a Secret. Its API server is a
 * stub.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { startChild, temporaryFolder } from '../../test/support/children.ts';
import type { Command, Log, PeerInputs } from '../command.ts';
import type { Setup } from '../setup.ts';
import { startPeprApi } from './pepr-api.ts';

const FOLDER = join(import.meta.dirname, 'pepr');
const PROGRESS_INTERVAL_MS = 5000;
const API_PATH = 'bench';

/** Pepr wants a secret in the path. */
export const PATH = `/mutate/${API_PATH}`;

interface Step {
  readonly what: string;
  /** Of npm. */
  readonly args: readonly string[];
  /** What goes into it. */
  readonly sources: readonly string[];
  /** Where what comes out of it is. */
  readonly folder: string;
}

const STEPS: readonly Step[] = [
  {
    what: 'npm ci of Pepr (once; about 200 MB)',
    args: ['ci', '--ignore-scripts', '--no-audit', '--no-fund'],
    sources: ['package.json', 'package-lock.json'],
    folder: 'node_modules',
  },
  {
    what: 'pepr build',
    args: ['run', 'build'],
    sources: [
      'package.json',
      'package-lock.json',
      'tsconfig.json',
      'pepr.ts',
      'capabilities/audit-logging.ts',
    ],
    folder: 'dist',
  },
];

/** Installs and builds the module, where that has not been done of the same sources. */
export async function prepare(log: Log): Promise<void> {
  for (const step of STEPS) {
    const stampFile = join(FOLDER, step.folder, '.built-from');
    const stamp = hashOf(step.sources);
    if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) continue;
    await runNpm(step, log);
    mkdirSync(dirname(stampFile), { recursive: true });
    writeFileSync(stampFile, stamp);
  }
}

export async function version(): Promise<string> {
  return `${readPackage().dependencies.pepr}, Node ${process.version}`;
}

export async function command(setup: Setup, port: number, inputs: PeerInputs): Promise<Command> {
  const server = await startPeprApi(setup.certDir);
  const kubeconfig = join(setup.folder, 'pepr-kubeconfig.json');
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'stub', cluster: { server, 'certificate-authority': setup.caFile } }],
      users: [{ name: 'bench', user: { token: 'none' } }],
      contexts: [{ name: 'stub', context: { cluster: 'stub', user: 'bench' } }],
      'current-context': 'stub',
    }),
  );
  return {
    argv: [process.execPath, join(FOLDER, 'dist', `pepr-${readPackage().pepr.uuid}.js`)],
    // Log level and format are those of its Deployment in a cluster.
    env: {
      KUBECONFIG: kubeconfig,
      LOG_LEVEL: 'info',
      PEPR_PRETTY_LOG: 'false',
      PEPR_WATCH_MODE: 'false',
      PEPR_API_PATH: API_PATH,
      SSL_CERT_PATH: join(setup.certDir, 'tls.crt'),
      SSL_KEY_PATH: join(setup.certDir, 'tls.key'),
      BENCH_PORT: String(port),
      BENCH_MUTATION_FILE: inputs.mutationFile,
    },
  };
}

function readPackage(): { dependencies: { pepr: string }; pepr: { uuid: string } } {
  return JSON.parse(readFileSync(join(FOLDER, 'package.json'), 'utf8'));
}

function hashOf(files: readonly string[]): string {
  const hash = createHash('sha256');
  for (const file of files) hash.update(readFileSync(join(FOLDER, file)));
  return hash.digest('hex');
}

async function runNpm({ what, args }: Step, log: Log): Promise<void> {
  const startMs = performance.now();
  const elapsed = (): string => `${Math.round((performance.now() - startMs) / 1000)} s`;
  log(what);
  const progress = setInterval(() => log(`${what}: ${elapsed()}`), PROGRESS_INTERVAL_MS);
  const child = startChild({
    name: 'npm',
    command: 'npm',
    args,
    cwd: FOLDER,
    // So that npm's scripts run on the same Node as everything here.
    env: { PATH: `${dirname(process.execPath)}:${process.env.PATH}` },
    logFile: join(temporaryFolder(), 'npm.log'),
  });
  await child.closed;
  clearInterval(progress);
  if (child.ended !== 'exit code 0') throw new Error(`${what} failed (${child.ended}):\n${child.logTail()}`);
}
