/**
 * The programs of the control plane that the tests run against: those of KUBEBUILDER_ASSETS where that is set, else built from Go modules
 * (test/controlplane) once and kept in a cache, named by what goes into the build.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import * as fs from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { startChild } from './children.ts';

const run = promisify(execFile);

/** Each program: the Go module that pins it, as seen from test/controlplane, and its package. */
const PROGRAMS = {
  etcd: ['etcd', 'go.etcd.io/etcd/server/v3'],
  'kube-apiserver': ['kubernetes', 'k8s.io/kubernetes/cmd/kube-apiserver'],
  'kube-controller-manager': ['kubernetes', 'k8s.io/kubernetes/cmd/kube-controller-manager'],
  'kube-scheduler': ['kubernetes', 'k8s.io/kubernetes/cmd/kube-scheduler'],
  kubectl: ['kubernetes', 'k8s.io/kubernetes/cmd/kubectl'],
  kwok: ['kwok', 'sigs.k8s.io/kwok/cmd/kwok'],
  'helm-unittest': ['../tools/helm-unittest', 'github.com/helm-unittest/helm-unittest/cmd/helm-unittest'],
  helm3: ['../tools/helm3', 'helm.sh/helm/v3/cmd/helm'],
  helm4: ['../tools/helm4', 'helm.sh/helm/v4/cmd/helm'],
  'helm-docs': ['../tools/helm-docs', 'github.com/norwoodj/helm-docs/cmd/helm-docs'],
  toxiproxy: ['../tools/toxiproxy', 'github.com/Shopify/toxiproxy/v2/cmd/server'],
  'controller-runtime-webhook': ['../../bench/peers/controller-runtime', '.'],
  otelcol: ['../tools/otelcol', '.'],
} as const;

export type Program = keyof typeof PROGRAMS;
export type Binaries<P extends Program = Program> = Readonly<Record<P, string>>;
export type Log = (line: string) => void;

/** What every test on a control plane needs. */
export const BASE_PROGRAMS = ['etcd', 'kube-apiserver', 'kubectl'] as const satisfies Program[];
/** What makes Deployments roll out and pods turn Ready. */
export const CONTROLLER_PROGRAMS = [
  'kube-controller-manager',
  'kube-scheduler',
  'kwok',
] as const satisfies Program[];

/** What makes a network slow or silent. */
export const NETWORK_PROGRAMS = ['toxiproxy'] as const satisfies Program[];

/** The stages that make KWOK's nodes and pods ready; they lie in its module, and are kept beside its binary. */
const KWOK_STAGES = ['node/fast', 'node/heartbeat-with-lease', 'pod/fast'];

const MODULES_DIR = join(import.meta.dirname, '..', 'controlplane');
const PROGRESS_INTERVAL_MS = 15_000;
const LOCK_POLL_MS = 250;
/** No build takes longer: whoever bears the holder's process id by now is another process. */
const LOCK_MAX_AGE_MS = 30 * 60_000;
/** A lock without a process id is one of a process that died between making the file and writing it. */
const LOCK_EMPTY_MAX_AGE_MS = 10_000;

const logToStderr: Log = (line) => void process.stderr.write(`${line}\n`);

/**
 * Finds the programs, and builds those that are missing.
 * @param options.log gets one line for each step of a build, and one every 15 s while it runs
 * @returns the path of each
 * @throws {Error} where one is missing and cannot be built; the message says why and the way out
 */
export async function ensureBinaries<P extends Program>(
  programs: readonly P[],
  options: { log?: Log } = {},
): Promise<Binaries<P>> {
  const found: Partial<Record<P, string>> = {};
  for (const program of programs)
    found[program] = findAsset(program) ?? (await ensureBuilt(program, options.log ?? logToStderr));
  return found as Binaries<P>;
}

/** The file with KWOK's stages that belongs to that binary. */
export function kwokStages(kwok: string): string {
  return `${kwok}-stages.yaml`;
}

/**
 * For tests: may they run here? They may where the programs are there or Go can build them.
 * @param what names in the loud line what is not tested
 * @returns false, or the reason to skip: `test(name, { skip: await skipWithoutControlPlane('…') }, …)`
 * @throws {Error} instead of a reason where CI is set: there a skipped test is a failure
 */
export async function skipWithoutControlPlane(
  what: string,
  programs: readonly Program[] = BASE_PROGRAMS,
): Promise<string | false> {
  const missing: string[] = [];
  for (const program of programs)
    if (findAsset(program) === undefined && !isExecutable(await builtPath(program))) missing.push(program);
  if (missing.length === 0 || (await hasGo())) return false;
  const reason = `NOT TESTED: ${what}: no ${missing.join(', ')}. Install Go, or set KUBEBUILDER_ASSETS to a folder with them.`;
  if (process.env.CI) throw new Error(reason);
  process.stderr.write(`\n!!! ${reason}\n\n`);
  return reason;
}

function findAsset(program: Program): string | undefined {
  const dir = process.env.KUBEBUILDER_ASSETS;
  if (!dir || program === 'kwok') return undefined; // nobody's assets hold KWOK, and its stages must be of its version
  const path = join(dir, program);
  return isExecutable(path) ? path : undefined;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function hasGo(): Promise<boolean> {
  return run('go', ['version']).then(
    () => true,
    () => false,
  );
}

async function ensureBuilt(program: Program, log: Log): Promise<string> {
  const path = await builtPath(program);
  if (isExecutable(path)) return path;
  if (!(await hasGo()))
    throw new Error(
      `${program} is neither in KUBEBUILDER_ASSETS nor in ${path}, and Go is not there to build it: install Go`,
    );
  await fs.mkdir(join(path, '..'), { recursive: true });
  const release = await lock(`${path}.lock`, () => isExecutable(path));
  try {
    if (!isExecutable(path)) await build(program, path, log);
  } finally {
    await release();
  }
  return path;
}

/** Where the build of a program is kept: the folder is named by all that goes into it. */
async function builtPath(program: Program): Promise<string> {
  const [module] = PROGRAMS[program];
  const hash = createHash('sha256');
  const dir = join(MODULES_DIR, module);
  const sources = (await fs.readdir(dir)).filter((file) => file.endsWith('.go')).sort();
  for (const file of ['go.mod', 'go.sum', ...sources]) hash.update(await fs.readFile(join(dir, file)));
  hash.update((await buildFlags(module)).join(' '));
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
  return join(cache, 'kkp-audit-webhook', 'controlplane', hash.digest('hex').slice(0, 16), program);
}

/**
 * What the linker is told, as each project's own Makefile does, where a go.mod requires such a version. Without it Kubernetes' programs call
 * themselves v0.0.0, and clients misbehave; Helm 3 renders for Kubernetes 1.20 where it has no cluster to ask.
 */
const LINKED: readonly (readonly [requires: RegExp, settings: readonly string[]])[] = [
  [
    /\bk8s\.io\/kubernetes (v(\d+)\.(\d+)\.\d+\S*)/,
    ['gitVersion=$1', 'gitMajor=$2', 'gitMinor=$3'].map(
      (setting) => `k8s.io/component-base/version.${setting}`,
    ),
  ],
  [
    /\bhelm\.sh\/helm\/v3 [\s\S]*\bk8s\.io\/client-go v0\.(\d+)\./,
    ['chartutil', 'lint/rules'].map((name) => `helm.sh/helm/v3/pkg/${name}.k8sVersionMinor=$1`),
  ],
];

async function buildFlags(module: string): Promise<string[]> {
  const goMod = await fs.readFile(join(MODULES_DIR, module, 'go.mod'), 'utf8');
  let ldflags = '-s -w';
  for (const [requires, settings] of LINKED) {
    const version = requires.exec(goMod);
    if (version === null) continue;
    for (const setting of settings)
      ldflags += ` -X ${setting.replace(/\$(\d)/, (_, group) => version[Number(group)] ?? '')}`;
  }
  return ['-buildvcs=false', '-ldflags', ldflags];
}

async function build(program: Program, path: string, log: Log): Promise<void> {
  const [module, goPackage] = PROGRAMS[program];
  const dir = join(MODULES_DIR, module);
  const temporary = `${path}.${process.pid}.tmp`;
  const startMs = Date.now();
  const elapsed = () => `${Math.round((Date.now() - startMs) / 1000)} s`;
  log(`building ${program} from ${goPackage} (once; minutes where Go's own cache is empty)`);
  const progress = setInterval(() => log(`building ${program}: ${elapsed()}`), PROGRESS_INTERVAL_MS);
  try {
    const args = [...(await buildFlags(module)), '-o', temporary, goPackage];
    await goBuild(dir, args, program, `${temporary}.log`);
    if (program === 'kwok') await fs.writeFile(kwokStages(path), await readKwokStages(dir));
    await fs.rename(temporary, path);
  } finally {
    clearInterval(progress);
    await Promise.all([temporary, `${temporary}.log`].map((file) => fs.rm(file, { force: true })));
  }
  log(`built ${program} in ${elapsed()}: ${path}`);
}

async function goBuild(dir: string, args: string[], program: string, logFile: string): Promise<void> {
  const child = startChild({ name: 'go', command: 'go', args: ['build', ...args], cwd: dir, logFile });
  await child.closed;
  if (child.ended !== 'exit code 0')
    throw new Error(`go build of ${program} in ${dir} failed (${child.ended}):\n${child.logTail()}`);
}

async function readKwokStages(moduleDir: string): Promise<string> {
  const { stdout } = await run('go', ['list', '-m', '-f', '{{.Dir}}', 'sigs.k8s.io/kwok'], {
    cwd: moduleDir,
  });
  const documents: string[] = [];
  for (const stage of KWOK_STAGES) {
    const dir = join(stdout.trim(), 'kustomize', 'stage', stage);
    for (const file of (await fs.readdir(dir)).sort())
      if (file.endsWith('.yaml') && file !== 'kustomization.yaml')
        documents.push(await fs.readFile(join(dir, file), 'utf8'));
  }
  return documents.join('\n---\n');
}

/**
 * Two test processes that want one program build it once. The lock saves work, no more: a build goes to a name of its own and is renamed,
 * so that taking over the lock of a process that died cannot break anything.
 * @returns releases the lock; at once where `done` came true while waiting
 */
async function lock(path: string, done: () => boolean): Promise<() => Promise<void>> {
  for (;;) {
    try {
      await fs.writeFile(path, String(process.pid), { flag: 'wx' });
      return () => fs.rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    if (done()) return async () => {};
    const [holder, changedMs] = await Promise.all([
      fs.readFile(path, 'utf8').then(Number, () => 0),
      fs.stat(path).then((stat) => stat.mtimeMs, Date.now),
    ]);
    const maxAgeMs = holder > 0 ? LOCK_MAX_AGE_MS : LOCK_EMPTY_MAX_AGE_MS;
    if ((holder > 0 && !isAlive(holder)) || Date.now() - changedMs > maxAgeMs)
      await fs.rm(path, { force: true });
    else await delay(LOCK_POLL_MS);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
