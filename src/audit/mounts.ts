/**
 * Follows a path inside a container to the volume and the file in it, as kubelet mounts them: the longest mountPath wins (nested mounts
 * shadow), subPath picks a part of the volume, `items` rename keys.
 */
import type { Container, KeyToPath, Volume, VolumeMount } from '../kubernetes.ts';
import { rememberLast } from './remember.ts';

export interface Located {
  readonly mount: VolumeMount;
  readonly volume: Volume;
  /** Path inside the volume, "" for its root. */
  readonly path: string;
  /** Whether the file itself is mounted: it can't be renamed then, nor is another one seen that takes its name. */
  readonly isMountPoint: boolean;
}

/** Either where a path leads, or why that can't be told. */
export type Location =
  | { readonly located: Located }
  | { readonly located?: undefined; readonly problem: string };

/** Nearly every path is clean as it stands. */
const isClean = (path: string): boolean =>
  path !== '' && !path.includes('/.') && !path.includes('//') && !path.endsWith('/') && !path.startsWith('.');

/** Without a slash at the end, `.` and `..` resolved: as node:path does, which takes the square of the length for some paths. */
export function cleanPath(path: string): string {
  if (isClean(path)) return path;
  const isAbsolute = path.startsWith('/');
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.length > 0 && parts.at(-1) !== '..') parts.pop();
    else if (!isAbsolute) parts.push(part);
  }
  const clean = parts.join('/');
  return isAbsolute ? `/${clean}` : clean || '.';
}

/** Those parts below the root. */
export const joinPaths = (...parts: readonly string[]): string => cleanPath(`/${parts.join('/')}`);

/**
 * The path below a directory: "" for the directory itself, undefined where it is not below it.
 * @param path clean, as the directory is
 */
export function below(path: string, directory: string): string | undefined {
  if (path === directory) return '';
  if (directory === '/') return path.slice(1);
  return path.startsWith(directory) && path[directory.length] === '/'
    ? path.slice(directory.length + 1)
    : undefined;
}

interface CleanMount {
  readonly mount: VolumeMount;
  readonly mountPath: string;
}

/** The mounts of a container, their paths clean. */
export const cleanMounts = ({ volumeMounts }: Pick<Container, 'volumeMounts'>): readonly CleanMount[] =>
  cleanOnce(volumeMounts);

const cleanOnce = rememberLast((mounts: readonly VolumeMount[] | undefined): readonly CleanMount[] =>
  (mounts ?? []).map((mount) => ({
    mount,
    mountPath: cleanPath(mount.mountPath.startsWith('/') ? mount.mountPath : `/${mount.mountPath}`),
  })),
);

/**
 * The clean absolute form of a path.
 * @param path as a program is given it
 * @returns undefined for a relative one where the object does not tell the directory it starts at
 */
export function resolvePath({ workingDir }: Pick<Container, 'workingDir'>, path: string): string | undefined {
  if (path.startsWith('/')) return cleanPath(path);
  return workingDir ? cleanPath(`${workingDir}/${path}`) : undefined;
}

/**
 * Follows a path.
 * @param path as kube-apiserver or fluent-bit is given it; relative ones start at the container's workingDir
 */
export function locate(container: Container, volumes: readonly Volume[], path: string): Location {
  const target = resolvePath(container, path);
  if (target === undefined) return { problem: 'the path is not absolute' };
  let best: VolumeMount | undefined;
  let bestPath = '';
  let rest = '';
  for (const { mount, mountPath } of cleanMounts(container)) {
    if (mountPath.length < bestPath.length || mountPath.length > target.length) continue;
    const inside = below(target, mountPath);
    if (inside === undefined) continue;
    best = mount;
    bestPath = mountPath;
    rest = inside;
  }
  if (best === undefined) return { problem: 'no volume is mounted there' };
  const mount = best;
  if (mount.subPathExpr) return { problem: `mount ${bestPath} uses subPathExpr` };
  const volume = volumes.find(({ name }) => name === mount.name);
  if (volume === undefined)
    return { problem: `mount ${bestPath} names volume ${mount.name}, which does not exist` };
  const path_ = joinPaths(mount.subPath ?? '', rest).slice(1);
  return { located: { mount, volume, path: path_, isMountPoint: rest === '' } };
}

type Source = 'configMap' | 'secret';

interface KeyedSource {
  readonly kind: Source | 'other';
  readonly name: string;
  /** Undefined where every key is a file. */
  readonly items: readonly KeyToPath[] | undefined;
}

const NOUNS = { configMap: 'ConfigMap', secret: 'Secret', other: 'a source of another kind' } as const;

/** What a volume's files come from; empty for volumes of another kind. */
function keyedSources(volume: Volume): KeyedSource[] {
  const sources: KeyedSource[] = [];
  const add = (kind: Source, name: unknown, items: unknown): void => {
    if (typeof name === 'string')
      sources.push({ kind, name, items: Array.isArray(items) && items.length > 0 ? items : undefined });
  };
  if (volume.configMap) add('configMap', volume.configMap.name, volume.configMap.items);
  else if (volume.secret) add('secret', volume.secret.secretName, volume.secret.items);
  const projected = volume.projected as
    | { sources?: readonly Record<string, { name?: string; items?: unknown }>[] }
    | undefined;
  for (const source of projected?.sources ?? []) {
    for (const [kind, given] of Object.entries(source)) {
      if (kind === 'configMap' || kind === 'secret') add(kind, given?.name, given?.items);
      else sources.push({ kind: 'other', name: '', items: collectPaths(given) });
    }
  }
  return sources;
}

/** The paths that a token, the downward API or a source that is not known yet may write to. */
function collectPaths(given: unknown): KeyToPath[] {
  if (typeof given !== 'object' || given === null) return [];
  return Object.entries(given).flatMap(([key, value]) =>
    typeof value === 'string' ? (/path$/i.test(key) ? [{ key: '', path: value }] : []) : collectPaths(value),
  );
}

/**
 * Whether a path leads to a key of a ConfigMap or Secret.
 * @param names of the objects that will do
 * @returns what is there instead, or undefined where it is the wanted file
 */
export function findMismatch(
  location: Location,
  kind: Source,
  names: readonly string[],
  key: string,
): string | undefined {
  if (location.located === undefined) return location.problem;
  const { volume, path } = location.located;
  const file = path.startsWith('..data/') ? path.slice('..data/'.length) : path;
  const sources = keyedSources(volume);
  if (sources.length === 0) return `volume ${volume.name} is neither a ConfigMap nor a Secret`;
  // Several may bring the file (the last one covers the others, where it exists): each must be a wanted one.
  let isProvided = false;
  for (const { kind: found, name, items } of sources) {
    const keys =
      items === undefined
        ? [file]
        : items.filter((item) => cleanPath(item.path) === file).map((item) => item.key);
    if (keys.length === 0) continue;
    isProvided = true;
    const other = keys.find((foundKey) => foundKey !== key);
    if (found === kind && names.includes(name) && other === undefined) continue;
    return found === 'other'
      ? `volume ${volume.name} joins it with ${NOUNS.other}`
      : `it is key ${(other ?? key) || '(all of them)'} of ${NOUNS[found]} ${name}`;
  }
  return isProvided ? undefined : `volume ${volume.name} has no file ${file}`;
}

const READ_ONLY_KINDS = new Set(['configMap', 'secret', 'projected', 'downwardAPI', 'image']);

/** Whether kubelet mounts the volume so that the container can write to it. */
export function isWritable({ mount, volume }: Pick<Located, 'mount' | 'volume'>): boolean {
  if (mount.readOnly === true) return false;
  for (const kind in volume) {
    const source = volume[kind];
    if (typeof source !== 'object' || source === null) continue;
    if (READ_ONLY_KINDS.has(kind) || (source as { readOnly?: unknown }).readOnly === true) return false;
  }
  return true;
}
