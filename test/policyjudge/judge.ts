/**
 * Kubernetes' own judgement of audit policies, for tests: builds the Go program beside this file (once for each minor version, kept in a cache
 * folder under the hash of its sources) and talks with it over its standard streams.
 */
import { type ChildProcessWithoutNullStreams, execFile, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import type { RequestAttributes } from '../../src/policy/index.ts';

const FOLDER = import.meta.dirname;

export interface JudgeVerdict {
  readonly level: string;
  /** Sorted by name. */
  readonly omitStages: readonly string[];
  readonly omitManagedFields: boolean;
}

type Strings = readonly string[] | null;

export interface JudgeRule {
  readonly Level: string;
  readonly Users: Strings;
  readonly UserGroups: Strings;
  readonly Verbs: Strings;
  readonly Resources:
    | readonly { readonly Group: string; readonly Resources: Strings; readonly ResourceNames: Strings }[]
    | null;
  readonly Namespaces: Strings;
  readonly NonResourceURLs: Strings;
  readonly OmitStages: Strings;
  readonly OmitManagedFields: boolean | null;
}

export interface JudgeAnswer {
  /** Empty for a policy that kube-apiserver starts with. */
  readonly error: string;
  /** Go's own names for the fields; null for a missing list. */
  readonly rules?: readonly JudgeRule[];
  readonly omitStages?: readonly string[] | null;
  readonly panicked?: boolean;
  readonly verdicts?: readonly JudgeVerdict[];
  readonly nanosecondsPerEvaluation?: number;
}

export class Judge {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #waiting: ((answer: JudgeAnswer) => void)[] = [];

  constructor(binary: string) {
    this.#process = spawn(binary, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#process.stderr.pipe(process.stderr);
    createInterface({ input: this.#process.stdout }).on('line', (line) => {
      this.#waiting.shift()?.(JSON.parse(line));
    });
  }

  ask(
    policy: string | Uint8Array,
    requests: readonly RequestAttributes[] = [],
    rounds = 0,
  ): Promise<JudgeAnswer> {
    const question = { policy: Buffer.from(policy as string).toString('base64'), requests, rounds };
    this.#process.stdin.write(`${JSON.stringify(question)}\n`);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  close(): void {
    this.#process.stdin.end();
  }
}

/** Why there is no judge here; undefined where there is one. Tests skip loudly then, and fail where CI is set. */
export function missingGo(): string | undefined {
  try {
    execFileSync('go', ['version'], { stdio: 'pipe' });
    return undefined;
  } catch {
    const reason =
      'NO JUDGEMENT BY KUBERNETES: Go is not installed, so these tests cannot compare with its code';
    if (process.env.CI) throw new Error(reason);
    return reason;
  }
}

/**
 * @param minor of Kubernetes 1.x: a folder of that name holds its go.mod
 * @returns the path of the program, built where the cache has none of these sources
 */
export async function buildJudge(minor: number): Promise<string> {
  const sources = [
    join(FOLDER, 'main.go'),
    ...['go.mod', 'go.sum'].map((name) => join(FOLDER, `1.${minor}`, name)),
  ];
  const hash = createHash('sha256');
  for (const source of sources) hash.update(await readFile(source));
  const cache = join(
    process.env.XDG_CACHE_HOME || join(homedir(), '.cache'),
    'kkp-audit-webhook',
    'policyjudge',
  );
  const key = `1.${minor}-${hash.digest('hex').slice(0, 16)}`;
  const binary = join(cache, key);
  if (await exists(binary)) return binary;

  // Built aside and renamed, so that two test files at once cannot see half a program.
  const build = join(cache, `${key}.build-${process.pid}`);
  await mkdir(build, { recursive: true });
  for (const source of sources) await cp(source, join(build, source.slice(source.lastIndexOf('/') + 1)));
  await promisify(execFile)('go', ['build', '-o', 'judge', '.'], { cwd: build });
  await rename(join(build, 'judge'), binary);
  await rm(build, { recursive: true });
  return binary;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
