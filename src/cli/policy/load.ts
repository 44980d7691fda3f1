/** Policies as people hand them over: a file, standard input, a ConfigMap's manifest, or a preset by name. */
import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { InputError, type InputProblem, readYamlDocuments } from '../../input.ts';
import { isJsonObject, type JsonValue } from '../../kubernetes.ts';
import {
  type Finding,
  formatProblem,
  lint,
  type Policy,
  PRESETS,
  type Problem,
  type ReadResult,
  readPolicy,
} from '../../policy/index.ts';
import type { CliIo } from '../io.ts';

export interface PolicySource {
  /** For messages: the file, and the ConfigMap and key in it. */
  readonly name: string;
  readonly file: string;
  readonly text: string | Uint8Array;
  /** Lines and columns in the file that stand before those of the text. */
  readonly lineOffset: number;
  readonly columnOffset: number;
}

export interface LoadOptions {
  /** Minor version of the Kubernetes 1.x that will read the policy. */
  readonly kubernetesVersion?: number | undefined;
}

const PRESET_PREFIX = 'preset:';
const POLICY_KEY = 'policy.yaml';

/**
 * @param file a path, `-`, or `preset:NAME`
 * @returns the policies in it: one, or one for each ConfigMap
 * @throws {InputError} where it cannot be read, or is a manifest without a policy
 */
export async function loadSources(io: CliIo, file: string): Promise<PolicySource[]> {
  if (file.startsWith(PRESET_PREFIX)) return [presetSource(file)];
  const bytes = await readBytes(io, file);
  const name = file === '-' ? '(stdin)' : file;
  const text = bytes.toString('utf8');
  if (
    /^\s*["']?kind["']?\s*:\s*["']?(?:ConfigMap|ConfigMapList|List)\b/m.test(text) ||
    isJsonManifest(text)
  ) {
    const sources = configMapSources(text, name);
    if (sources !== undefined) return sources;
  }
  return [{ name, file: name, text: bytes, lineOffset: 0, columnOffset: 0 }];
}

async function readBytes(io: CliIo, file: string): Promise<Buffer> {
  try {
    return file === '-' ? await buffer(io.stdin) : await readFile(file);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw inputError(file, `cannot be read: ${reason}`);
  }
}

/** @throws {InputError} a single problem without a place */
export function inputError(file: string, text: string): InputError {
  return new InputError([{ file, line: 0, field: '', text }]);
}

function presetSource(file: string): PolicySource {
  const text = PRESETS.get(file.slice(PRESET_PREFIX.length));
  if (text === undefined)
    throw inputError(file, `there is no such preset; there are ${[...PRESETS.keys()].join(', ')}`);
  return { name: file, file, text, lineOffset: 0, columnOffset: 0 };
}

function isJsonManifest(text: string): boolean {
  return /^\s*\{/.test(text) && /"kind"\s*:\s*"(?:ConfigMap|ConfigMapList|List)"/.test(text);
}

/** @returns undefined where the text has no ConfigMap after all */
function configMapSources(text: string, file: string): PolicySource[] | undefined {
  const sources: PolicySource[] = [];
  const problems: InputProblem[] = [];
  let found = false;
  for (const document of readYamlDocuments(text, file)) {
    const manifest = document.value;
    if (!isJsonObject(manifest) || manifest.kind !== 'ConfigMap') continue;
    found = true;
    const data = isJsonObject(manifest.data) ? Object.entries(manifest.data) : [];
    const policies = data.filter(([key, value]) => key === POLICY_KEY || looksLikePolicy(value));
    if (policies.length === 0)
      problems.push(document.problem(['data'], `has no "${POLICY_KEY}" and no other policy`));
    for (const [key, value] of policies) {
      if (typeof value !== 'string') {
        problems.push(document.problem(['data', key], 'must be a text: write "|" behind the key'));
        continue;
      }
      const name = `${file} (${nameOf(manifest.metadata)}, ${key})`;
      sources.push({ name, file, text: value, ...offsetOf(text, document.lineOf(['data', key]), value) });
    }
  }
  if (problems.length > 0) throw new InputError(problems);
  return found ? sources : undefined;
}

function looksLikePolicy(value: JsonValue): boolean {
  return typeof value === 'string' && /^\s*["']?kind["']?\s*:\s*["']?Policy\b/m.test(value);
}

function nameOf(metadata: JsonValue | undefined): string {
  const { name, namespace } = isJsonObject(metadata) ? metadata : {};
  const parts = [namespace, name].filter((part) => typeof part === 'string' && part !== '');
  return parts.length === 0 ? 'ConfigMap' : `ConfigMap ${parts.join('/')}`;
}

/** A block text ("|") has its lines in the file one by one, further to the right; elsewhere its key's line must do. */
function offsetOf(
  text: string,
  keyLine: number,
  value: string,
): Pick<PolicySource, 'lineOffset' | 'columnOffset'> {
  const lines = text.split(/\r?\n/);
  const first = value.split('\n', 1)[0] ?? '';
  const below = lines[keyLine] ?? '';
  const isBlock = /:\s*\|/.test(lines[keyLine - 1] ?? '') && below.trim() === first.trim();
  if (!isBlock) return { lineOffset: keyLine - 1, columnOffset: 0 };
  return {
    lineOffset: keyLine,
    columnOffset: below.length - below.trimStart().length - (first.length - first.trimStart().length),
  };
}

/** What is wrong with a policy, and how much: errors are what kube-apiserver refuses. */
export interface Report {
  readonly source: PolicySource;
  readonly read: ReadResult;
  readonly problems: readonly ReportedProblem[];
}

export interface ReportedProblem extends Problem {
  readonly severity: 'error' | Finding['severity'];
}

/** Reads and lints; the places are those of the file. */
export function report(
  source: PolicySource,
  options: LoadOptions & { readonly preset?: string | undefined },
): Report {
  const read = readPolicy(source.text, { kubernetesMinor: options.kubernetesVersion });
  const text = typeof source.text === 'string' ? source.text : new TextDecoder().decode(source.text);
  const findings: Finding[] =
    read.policy === undefined ? [] : lint(read.policy, { root: read.root, text, preset: options.preset });
  const problems = [
    ...read.errors.map((problem): ReportedProblem => ({ ...problem, severity: 'error' })),
    ...read.warnings.map((problem): ReportedProblem => ({ ...problem, severity: 'warning' })),
    ...findings,
  ];
  return { source, read, problems: problems.map((problem) => placed(problem, source)) };
}

function placed<T extends Problem>(problem: T, source: PolicySource): T {
  if (problem.position === undefined) return problem;
  const { line, column } = problem.position;
  return { ...problem, position: { line: line + source.lineOffset, column: column + source.columnOffset } };
}

/** Exit code of every subcommand for a policy that kube-apiserver would refuse. */
export const EXIT_REFUSED = 2;

/**
 * One policy, or the reasons on standard error and exit code 2.
 * @throws {InputError} where the file holds several
 */
export async function loadPolicy(io: CliIo, file: string, options: LoadOptions): Promise<Policy | undefined> {
  const [source, ...more] = await loadSources(io, file);
  if (source === undefined || more.length > 0) {
    throw inputError(
      file,
      `holds ${more.length + (source === undefined ? 0 : 1)} policies, and one is needed`,
    );
  }
  const read = readPolicy(source.text, { kubernetesMinor: options.kubernetesVersion });
  if (read.policy !== undefined) return read.policy;
  io.stderr.write(`${source.name}: kube-apiserver would refuse this policy:\n`);
  for (const error of read.errors) io.stderr.write(`  ${formatProblem(placed(error, source))}\n`);
  io.setExitCode(EXIT_REFUSED);
  return undefined;
}
