/** Helm, in both of its current major versions, and what it renders of the chart. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { loadAll } from 'js-yaml';
import type { JsonObject, KubernetesObject } from '../../src/kubernetes.ts';
import { ensureBinaries, type Program, skipWithoutControlPlane } from './binaries.ts';
import { removeFolder, temporaryFolder } from './children.ts';

export const CHART = join(import.meta.dirname, '..', '..', 'charts', 'kkp-audit-webhook');
export const HELM_VERSIONS = ['helm3', 'helm4'] as const satisfies Program[];
/** What the tests of the chart need. */
export const CHART_PROGRAMS: readonly Program[] = [...HELM_VERSIONS, 'helm-docs', 'helm-unittest'];
export type HelmVersion = (typeof HELM_VERSIONS)[number];

/** An object of a manifest; what is in it depends on its kind. */
export type Manifest = KubernetesObject & JsonObject;

export interface HelmResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;
const runFile = promisify(execFile);

/** `{ skip: await skipWithoutHelm('…') }`: as skipWithoutControlPlane, for Helm and what else the tests need. */
export const skipWithoutHelm = (what: string, programs: readonly Program[] = []): Promise<string | false> =>
  skipWithoutControlPlane(what, [...programs, ...HELM_VERSIONS]);

/** Runs Helm; what it keeps about itself goes to a folder that is removed again. */
export async function helm(
  version: HelmVersion,
  args: readonly string[],
  options: { readonly kubeconfig?: string; readonly values?: JsonObject } = {},
): Promise<HelmResult> {
  const binaries = await ensureBinaries([version]);
  const dir = temporaryFolder();
  try {
    const values = join(dir, 'values.json');
    writeFileSync(values, JSON.stringify(options.values ?? {}));
    const all = options.values === undefined ? args : [...args, `--values=${values}`];
    const env = { ...process.env, HOME: dir, KUBECONFIG: options.kubeconfig ?? join(dir, 'none') };
    const { stdout, stderr } = await runFile(binaries[version], all, {
      env,
      maxBuffer: MAX_OUTPUT_BYTES,
    });
    return { code: 0, stdout, stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: unknown; stdout?: string; stderr?: string };
    if (typeof code !== 'number') throw error;
    return { code, stdout: stdout ?? '', stderr: stderr ?? '' };
  } finally {
    removeFolder(dir);
  }
}

export const RELEASE = { name: 'audit', namespace: 'kkp-audit-webhook' } as const;
/** What the chart calls the objects of RELEASE. */
export const FULL_NAME = 'audit-kkp-audit-webhook';

/**
 * Renders the chart as the text that Kubernetes gets to read.
 * @throws {Error} with what Helm says
 */
export async function renderChartText(
  values: JsonObject = {},
  options: { readonly version?: HelmVersion; readonly namespace?: string } = {},
): Promise<string> {
  const { version = 'helm3', namespace = RELEASE.namespace } = options;
  const args = ['template', RELEASE.name, CHART, '--namespace', namespace];
  const { code, stdout, stderr } = await helm(version, args, { values });
  if (code !== 0) throw new Error(`helm template: ${stderr}`);
  return stdout;
}

/**
 * Renders the chart.
 * @throws {Error} with what Helm says
 */
export async function renderChart(
  values: JsonObject = {},
  version: HelmVersion = 'helm3',
): Promise<Manifest[]> {
  const manifests = loadAll(await renderChartText(values, { version }));
  return manifests.filter((manifest) => manifest !== null && manifest !== undefined) as Manifest[];
}

/** The only object of a kind and name. */
export function find(manifests: readonly Manifest[], kind: string, name: string): Manifest {
  const found = manifests.filter((manifest) => manifest.kind === kind && manifest.metadata?.name === name);
  if (found.length !== 1 || found[0] === undefined)
    throw new Error(`${found.length} objects ${kind}/${name}`);
  return found[0];
}
