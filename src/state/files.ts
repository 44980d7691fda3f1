/**
 * State from a folder of YAML and JSON files. The folder is scanned by stat twice a second instead of watched: file notifications lose events
 * on network and container mounts, and a mounted ConfigMap changes by swapping a symbolic link above the files.
 */
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from 'pino';
import { type Clock, systemClock } from '../clock.ts';
import {
  formatProblem,
  type InputDocument,
  InputError,
  type InputProblem,
  readYamlDocuments,
} from '../input.ts';
import { type ClusterView, KKP_GROUP, type SeedView, viewCluster, viewSeed } from '../kkp.ts';
import { isJsonObject, type KubernetesObject } from '../kubernetes.ts';
import { StateIndex } from './memory.ts';
import { checkShape } from './schema.ts';
import type { State } from './state.ts';

export interface FileStateOptions {
  readonly logger: Logger;
  readonly clock?: Clock;
  /** Between scans; a folder of many files is scanned less often. */
  readonly scanIntervalMs?: number;
  /** A file counts as written once it stayed the same for this long. */
  readonly settleMs?: number;
}

/** The group of KKP's API up to 2.19. */
const OLD_KKP_GROUP = 'kubermatic.k8s.io';
const MAX_FILE_BYTES = 64 * 1024 * 1024;
const MAX_FOLDER_DEPTH = 20;

interface ParsedFile {
  readonly entries: readonly Entry[];
  readonly problems: readonly InputProblem[];
  readonly empty: boolean;
}

/** Not the document itself: it would keep the whole text's syntax tree in memory. */
type Entry = { readonly name: InputProblem } & (
  | { readonly kind: 'Cluster'; readonly view: ClusterView }
  | { readonly kind: 'Seed'; readonly view: SeedView }
);

/** File → what tells whether it changed, in the order of the names. */
type Scan = ReadonlyMap<string, string>;

/**
 * Reads the folder and keeps up with it.
 * @param folder read with its sub-folders; names that begin with a dot and those that do not end in .yaml, .yml or .json do not count
 * @throws {InputError} where the folder or a file in it cannot be used; once it runs, a bad file is a problem in `health()` instead, and what the
 *   file said before stays
 */
export async function openFileState(folder: string, options: FileStateOptions): Promise<State> {
  const state = new FileState(folder, options);
  await state.load();
  state.follow();
  return state;
}

class FileState extends StateIndex implements State {
  readonly #folder: string;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #scanIntervalMs: number;
  readonly #settleMs: number;
  readonly #stopping = new AbortController();
  #scan: Scan = new Map();
  /** The last good content of each file that is there. */
  readonly #good = new Map<string, readonly Entry[]>();
  readonly #bad = new Map<string, readonly InputProblem[]>();
  /** What is wrong with the files as they were last read. */
  #unusable: readonly InputProblem[] = [];
  /** What was last reported: that, and a folder that cannot be read. */
  #reported: readonly string[] = [];
  #following: Promise<void> = Promise.resolve();

  constructor(folder: string, options: FileStateOptions) {
    super();
    this.#folder = folder;
    this.#logger = options.logger;
    this.#clock = options.clock ?? systemClock;
    this.#scanIntervalMs = options.scanIntervalMs ?? 500;
    this.#settleMs = options.settleMs ?? 50;
  }

  async load(): Promise<void> {
    const scan = await scanFolder(this.#folder);
    await this.#read(scan);
    if (this.#unusable.length > 0) throw new InputError(this.#unusable);
    const counts = { files: scan.size, clusters: this.clusterCount, seeds: this.seeds().length };
    this.#logger.info({ folder: this.#folder, ...counts }, 'state read from files');
  }

  follow(): void {
    this.#following = this.#follow();
  }

  /** The files are the source, and they are in memory: what is not there is not there. */
  async fetchClusterOfNamespace(namespace: string): Promise<ClusterView | undefined> {
    return this.clusterOfNamespace(namespace);
  }

  health() {
    return {
      synced: true,
      ageSeconds: 0,
      clusters: this.clusterCount,
      seeds: this.seeds().length,
      problems: [...this.#reported, ...this.problems()],
    };
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#following;
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stopping;
    let pauseMs = this.#scanIntervalMs;
    while (!signal.aborted) {
      await this.#clock.sleep(pauseMs, signal);
      if (signal.aborted) return;
      const start = this.#clock.now();
      const folderProblems = await this.#refresh(signal).then(() => [], problemsOf);
      this.#report([...folderProblems, ...this.#unusable]);
      // At most a twentieth of one core, however many files there are.
      pauseMs = Math.max(this.#scanIntervalMs, (this.#clock.now() - start) * 20);
    }
  }

  async #refresh(signal: AbortSignal): Promise<void> {
    let scan = await scanFolder(this.#folder);
    while (!sameScan(scan, this.#scan)) {
      // A file that is being written is torn; it is read once nothing moves any more.
      await this.#clock.sleep(this.#settleMs, signal);
      if (signal.aborted) return;
      const later = await scanFolder(this.#folder);
      const settled = sameScan(scan, later);
      scan = later;
      if (!settled) continue;
      await this.#read(scan);
      const counts = { files: scan.size, clusters: this.clusterCount, seeds: this.seeds().length };
      this.#logger.info({ folder: this.#folder, ...counts }, 'state read again: files changed');
    }
  }

  /** Reads the files that are new in the scan and makes the state anew from all of them. */
  async #read(scan: Scan): Promise<void> {
    for (const file of [...this.#good.keys(), ...this.#bad.keys()]) {
      if (scan.has(file)) continue;
      this.#good.delete(file);
      this.#bad.delete(file);
    }
    for (const [file, signature] of scan) {
      if (this.#scan.get(file) === signature) continue;
      const parsed = await parseFile(file);
      const emptied = parsed.empty && (this.#good.get(file)?.length ?? 0) > 0;
      const problems = emptied
        ? [{ file, line: 0, field: '', text: 'it is empty now; delete the file if its objects are to go' }]
        : parsed.problems;
      if (problems.length > 0) this.#bad.set(file, problems);
      else {
        this.#bad.delete(file);
        this.#good.set(file, parsed.entries);
      }
    }
    this.#scan = scan;
    const repeated = this.#assemble(scan);
    this.#unusable = [...[...this.#bad.values()].flat(), ...repeated];
  }

  /** @returns a problem for each object that an earlier file defines already */
  #assemble(scan: Scan): InputProblem[] {
    const problems: InputProblem[] = [];
    const places = new Map<string, InputProblem>();
    const clusters: ClusterView[] = [];
    const seeds: SeedView[] = [];
    for (const file of scan.keys()) {
      for (const { kind, view, name } of this.#good.get(file) ?? []) {
        const key = `${kind} ${view.name}`;
        const first = places.get(key);
        if (first !== undefined) {
          const text = `${key} is defined already, in ${first.file}:${first.line}; keep one of them`;
          problems.push({ ...name, text });
          continue;
        }
        places.set(key, name);
        if (kind === 'Cluster') clusters.push(view);
        else seeds.push(view);
      }
    }
    this.replaceClusters(clusters);
    this.replaceSeeds(seeds);
    return problems;
  }

  /** Logs what is new among the problems, and that a problem is gone. */
  #report(problems: readonly InputProblem[]): void {
    const lines = problems.map(formatProblem);
    for (const problem of lines) {
      if (!this.#reported.includes(problem))
        this.#logger.error({ problem }, 'a file of the state cannot be used');
    }
    for (const problem of this.#reported) {
      if (!lines.includes(problem)) this.#logger.info({ problem }, 'a problem of the state is solved');
    }
    this.#reported = lines;
  }
}

function sameScan(a: Scan, b: Scan): boolean {
  return a.size === b.size && [...a].every(([file, signature]) => b.get(file) === signature);
}

/** @throws {InputError} where a folder cannot be read */
async function scanFolder(root: string): Promise<Scan> {
  const files: [string, string][] = [];
  const visited = new Set<string>();
  const visit = async (folder: string, depth: number): Promise<void> => {
    const place = await realpath(folder);
    if (visited.has(place) || depth > MAX_FOLDER_DEPTH) return;
    visited.add(place);
    for (const name of (await readdir(folder)).sort()) {
      if (name.startsWith('.')) continue;
      const file = path.join(folder, name);
      const isWanted = /\.(ya?ml|json)$/i.test(name);
      const stats = await stat(file, { bigint: true }).catch(() => undefined);
      if (stats?.isDirectory()) await visit(file, depth + 1);
      else if (isWanted && stats?.isFile()) {
        files.push([file, `${stats.ino} ${stats.size} ${stats.mtimeNs} ${stats.ctimeNs}`]);
      } else if (isWanted && stats === undefined) files.push([file, 'unreadable']);
    }
  };
  try {
    await visit(root, 0);
  } catch (error) {
    throw new InputError([
      {
        file: root,
        line: 0,
        field: '',
        text: `the folder of the state cannot be read: ${explainError(error)}`,
      },
    ]);
  }
  return new Map(files);
}

async function parseFile(file: string): Promise<ParsedFile> {
  try {
    const bytes = await readFile(file);
    if (bytes.length > MAX_FILE_BYTES) throw new Error(`it has more than ${MAX_FILE_BYTES} bytes; split it`);
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    const problems: InputProblem[] = [];
    const entries = readYamlDocuments(text, file).flatMap((document) => readEntry(document, problems));
    return { entries, problems, empty: text.trim() === '' };
  } catch (error) {
    return { entries: [], problems: problemsOf(error, file), empty: false };
  }
}

/** @returns the Cluster or Seed; nothing where the document is of another kind */
function readEntry(document: InputDocument, problems: InputProblem[]): Entry[] {
  const object = document.value;
  if (!isJsonObject(object) || typeof object.kind !== 'string' || typeof object.apiVersion !== 'string') {
    problems.push(document.problem([], 'this is no Kubernetes object: it needs apiVersion and kind'));
    return [];
  }
  const { kind } = object;
  if (kind !== 'Cluster' && kind !== 'Seed') return [];
  const group = object.apiVersion.split('/')[0];
  if (group === OLD_KKP_GROUP) {
    problems.push(document.problem(['apiVersion'], `${group} is of KKP up to 2.19; write ${KKP_GROUP}/v1`));
    return [];
  }
  if (group !== KKP_GROUP) return [];
  problems.push(...checkShape(document, kind));
  const name = document.problem(['metadata', 'name'], '');
  return kind === 'Cluster'
    ? [{ kind, name, view: viewCluster(object as KubernetesObject) }]
    : [{ kind, name, view: viewSeed(object as KubernetesObject) }];
}

function problemsOf(error: unknown, file = ''): readonly InputProblem[] {
  if (error instanceof InputError) return error.problems;
  return [{ file, line: 0, field: '', text: `the file cannot be read: ${explainError(error)}` }];
}

const ERROR_SENTENCES: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  ENOTDIR: 'it is not a folder',
  EACCES: 'permission denied',
  EISDIR: 'it is a folder',
  ERR_ENCODING_INVALID_ENCODED_DATA: 'it is not UTF-8 text',
};

function explainError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return ERROR_SENTENCES[code] ?? error.message;
}
