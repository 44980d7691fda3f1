/** The parts themselves, put in in KKP's names, values and places: each is left alone where it is as wanted. */
import { isEqualJson } from '../equal.ts';
import type { Container, Volume, VolumeMount } from '../kubernetes.ts';
import type { Part } from './claims.ts';
import { findFlag, insertArguments, parseCommandLine, placeFlag, removeFlag } from './command-line.ts';
import { FLUENTBIT_MOUNT, LOG_MOUNT } from './desired.ts';
import {
  changeApiserver,
  type Draft,
  displace,
  displaceMounts,
  findApiserver,
  isSameVolume,
  noteEmpty,
  setList,
  setMounts,
} from './draft.ts';
import { cleanPath } from './mounts.ts';
import * as names from './names.ts';
import { parseQuantity } from './quantity.ts';

/**
 * @param accepts an existing volume of that name that will do as well
 */
export function ensureVolume(
  draft: Draft,
  volume: Volume,
  accepts: (existing: Volume) => boolean = () => false,
): void {
  const part: Part = `volume/${volume.name}`;
  const list = draft.spec.volumes ?? [];
  const index = list.findIndex(({ name }) => name === volume.name);
  const existing = list[index];
  if (existing !== undefined && (isSameVolume(existing, volume) || accepts(existing))) return;
  if (existing !== undefined && !draft.parts.has(part)) displace(draft, part, 'volumes', index, existing);
  draft.parts.add(part);
  setList(draft, 'volumes', () =>
    existing === undefined
      ? list.toSpliced(names.placeByRank(list, volume.name), 0, volume)
      : list.with(index, volume),
  );
}

/**
 * Mounts a volume into the apiserver.
 * @param file inside the mount, which nothing mounted deeper may hide
 */
export function ensureMount(draft: Draft, mount: VolumeMount, file: string): void {
  const part: Part = `mount/${mount.mountPath}`;
  const isOurs = draft.parts.has(part);
  const isHiding = ({ mountPath }: VolumeMount): boolean => hides(mountPath, mount.mountPath, file);
  const isAlone = !displaceMounts(draft, part, isHiding);
  const mounts = findApiserver(draft.spec)?.volumeMounts ?? [];
  const index = mounts.findIndex(({ mountPath }) => cleanPath(mountPath) === mount.mountPath);
  const existing = mounts[index];
  if (existing !== undefined && isAlone && mountsWhole(existing, mount)) return;
  if (existing !== undefined && !isOurs) displace(draft, part, 'volumeMounts', index, existing);
  draft.parts.add(part);
  setMounts(draft, (list) =>
    existing === undefined
      ? list.toSpliced(names.placeByRank(list, mount.name), 0, mount)
      : list.with(index, mount),
  );
}

/** Whether something is mounted between a directory and a file in it. */
function hides(mountPath: string, directory: string, file: string): boolean {
  const path = cleanPath(mountPath);
  return path === file || (path.startsWith(`${cleanPath(directory)}/`) && file.startsWith(`${path}/`));
}

/** Whether a mount shows the whole volume, and lets write where that is wanted. */
const mountsWhole = (existing: VolumeMount, wanted: VolumeMount): boolean =>
  existing.name === wanted.name &&
  !existing.subPath &&
  !existing.subPathExpr &&
  (existing.readOnly !== true || wanted.readOnly === true);

/**
 * Puts a flag behind every other occurrence of it, so that it counts and what stands there keeps its bytes.
 * @param joined as `--flag=value`, which booleans need; else two arguments, as KKP renders them
 */
export function ensureFlag(draft: Draft, name: string, value: string, joined = false): void {
  const part: Part = `flag/${name}`;
  changeApiserver(draft, (given) => {
    let apiserver = given;
    let commandLine = parseCommandLine(apiserver);
    let flag = findFlag(commandLine, name);
    if (flag?.value === value) return apiserver;
    if (flag !== undefined && draft.parts.has(part)) {
      apiserver = removeFlag(apiserver, flag);
      commandLine = parseCommandLine(apiserver);
      flag = findFlag(commandLine, name);
      if (flag?.value === value) {
        draft.parts.delete(part);
        return apiserver;
      }
    }
    draft.parts.add(part);
    if (given.args?.length === 0) noteEmpty(draft, 'args');
    const values = joined ? [`--${name}=${value}`] : [`--${name}`, value];
    return insertArguments(apiserver, placeFlag(commandLine, name), values);
  });
}

const SIDECAR_PART: Part = `container/${names.SIDECAR}`;

/** Whether the sidecar is an owner's that was mended, not ours as a whole. */
const isMended = (draft: Draft): boolean => draft.displaced.some(({ part }) => part === SIDECAR_PART);

/** Keeps the sidecar as wanted where the whole of it is ours. */
export function refreshSidecar(draft: Draft, wanted: Container): void {
  if (!draft.parts.has(SIDECAR_PART) || isMended(draft)) return;
  const keep = (list: readonly Container[]): readonly Container[] =>
    list.map((container) => (container.name === names.SIDECAR ? keepDefaults(container, wanted) : container));
  if (draft.spec.containers?.some(({ name }) => name === names.SIDECAR)) setList(draft, 'containers', keep);
  else {
    setList(draft, 'initContainers', (list) => list.filter(({ name }) => name !== names.SIDECAR));
    setList(draft, 'containers', (list) => [...list, wanted]);
  }
}

/**
 * Puts the sidecar in where it is missing, and corrects of an owner's only what is wrong with it.
 * @param codes what is wrong
 */
export function ensureSidecar(draft: Draft, wanted: Container, codes: ReadonlySet<string>): void {
  const isSidecar = ({ name }: Container): boolean => name === names.SIDECAR;
  const key = draft.spec.containers?.some(isSidecar) ? 'containers' : 'initContainers';
  const index = draft.spec[key]?.findIndex(isSidecar) ?? -1;
  const existing = draft.spec[key]?.[index];
  if (existing === undefined) {
    draft.parts.add(SIDECAR_PART);
    setList(draft, 'containers', (list) => [...list, wanted]);
    return;
  }
  const mended = mendSidecar(existing, wanted, codes);
  const moves = key === 'initContainers' && codes.has('SIDECAR_NOT_RUNNING');
  if (!moves && isEqualJson(mended, existing)) return;
  if (!draft.parts.has(SIDECAR_PART)) displace(draft, SIDECAR_PART, key, index, existing);
  draft.parts.add(SIDECAR_PART);
  if (!moves) setList(draft, key, (list) => list.with(index, mended));
  else {
    setList(draft, key, (list) => list.toSpliced(index, 1));
    setList(draft, 'containers', (list) => [...list, mended]);
  }
}

/** Ours, with the fields that Kubernetes (or another hook) added to it and the quantities as Kubernetes writes them. */
function keepDefaults(existing: Container, wanted: Container): Container {
  const fields = Object.entries(wanted).filter(
    ([key, value]) => !covers(existing[key as keyof Container], value, key),
  );
  return fields.length === 0 ? existing : { ...existing, ...Object.fromEntries(fields) };
}

/**
 * Whether a stored value says what a wanted one does: fields may have been added, mounts too, and quantities written in another unit.
 * @param key of the field, which says what kind of value it is
 */
function covers(stored: unknown, wanted: unknown, key: string): boolean {
  if (stored === wanted) return true;
  if (Array.isArray(wanted)) {
    if (!Array.isArray(stored)) return false;
    if (key === 'volumeMounts')
      return wanted.every((item) => stored.some((candidate) => covers(candidate, item, '')));
    return stored.length === wanted.length && wanted.every((item, index) => covers(stored[index], item, ''));
  }
  if (typeof wanted === 'object' && wanted !== null) {
    if (typeof stored !== 'object' || stored === null) return false;
    for (const [name, value] of Object.entries(wanted)) {
      const isQuantity = key === 'requests' || key === 'limits';
      const found = Object.hasOwn(stored, name) ? (stored as Record<string, unknown>)[name] : undefined;
      if (!covers(found, value, isQuantity ? 'quantity' : name)) return false;
    }
    return true;
  }
  if (key !== 'quantity') return false;
  const amount = parseQuantity(String(wanted));
  return amount !== undefined && amount === parseQuantity(String(stored ?? ''));
}

function mendSidecar(existing: Container, wanted: Container, codes: ReadonlySet<string>): Container {
  const replaced: (keyof Container)[] = [];
  if (codes.has('SIDECAR_IMAGE')) replaced.push('image');
  if (codes.has('SIDECAR_STARVED')) replaced.push('resources');
  const isRedirected = codes.has('SIDECAR_COMMAND') || codes.has('SIDECAR_CONFIG_ELSEWHERE');
  if (isRedirected) replaced.push('command', 'args');
  const mended: Container = { ...existing };
  if (codes.has('SIDECAR_NOT_RUNNING')) delete (mended as { restartPolicy?: string }).restartPolicy;
  for (const field of replaced) Object.assign(mended, { [field]: wanted[field] });
  const isLogAffected =
    codes.has('SIDECAR_LOG_UNREADABLE') || [...codes].some((code) => code.startsWith('LOG_PATH_'));
  const withConfig = isRedirected ? mendMount(mended, FLUENTBIT_MOUNT, names.FLUENTBIT_PATH) : mended;
  return isLogAffected ? mendMount(withConfig, LOG_MOUNT, names.LOG_PATH) : withConfig;
}

/** Mounts a volume where nothing hides the file in it; a mount that does so already stays as it is. */
function mendMount(container: Container, mount: VolumeMount, file: string): Container {
  const given = container.volumeMounts ?? [];
  const mounts = given.filter(({ mountPath }) => !hides(mountPath, mount.mountPath, file));
  const index = mounts.findIndex(({ mountPath }) => cleanPath(mountPath) === cleanPath(mount.mountPath));
  const existing = mounts[index];
  if (existing === undefined) return { ...container, volumeMounts: [...mounts, mount] };
  return { ...container, volumeMounts: mountsWhole(existing, mount) ? mounts : mounts.with(index, mount) };
}
