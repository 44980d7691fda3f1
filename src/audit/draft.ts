/**
 * A pod spec in the making: what is ours in it, how a part is found and taken out, and how foreign things come back to the place that they
 * had. Every change copies down to what changes and shares the rest.
 */
import { isEqualJson } from '../equal.ts';
import type { Container, JsonValue, PodSpec, Volume, VolumeMount } from '../kubernetes.ts';
import {
  type Claims,
  type Displaced,
  EMPTY_KEYS,
  type EmptyKey,
  NO_CLAIMS,
  type Part,
  splitPart,
} from './claims.ts';
import { type CommandLine, findFlag, parseCommandLine, removeFlag } from './command-line.ts';
import {
  FLUENTBIT_VOLUME,
  LOG_MOUNT,
  LOG_VOLUME,
  POLICY_MOUNT,
  POLICY_VOLUME,
  WEBHOOK_MOUNT,
} from './desired.ts';
import { findSidecar } from './effective.ts';
import { BOOLEAN_FLAGS, VALUE_FLAGS } from './kube-apiserver-flags.ts';
import * as names from './names.ts';

export interface Draft {
  spec: PodSpec;
  readonly parts: Set<Part>;
  displaced: Displaced[];
  readonly empty: Set<EmptyKey>;
}

/** Starts from what is claimed and also looks ours. */
export function openDraft(spec: PodSpec, claims: Claims): Draft {
  const parts = new Set<Part>();
  for (const part of claims.parts) if (holdsPart(spec, part)) parts.add(part);
  const displaced = claims.displaced.filter(({ part }) => parts.has(part));
  return { spec, parts, displaced, empty: new Set(claims.empty) };
}

/**
 * @param claimed what the draft started from
 * @returns the claims as they are by now: the same object where they are the same
 */
export function closeDraft(
  { spec, parts, displaced, empty }: Draft,
  claimed: Claims,
): { spec: PodSpec; claims: Claims } {
  if (parts.size === 0) return { spec, claims: NO_CLAIMS };
  const isSame =
    parts.size === claimed.parts.size &&
    displaced.length === claimed.displaced.length &&
    empty.size === claimed.empty.size &&
    [...parts].every((part) => claimed.parts.has(part)) &&
    displaced.every((entry, index) => entry === claimed.displaced[index]);
  return { spec, claims: isSame ? claimed : { parts, displaced, empty } };
}

export const findApiserver = (spec: PodSpec): Container | undefined =>
  spec.containers?.find(({ name }) => name === names.APISERVER);

export const commandLineOf = (draft: Draft): CommandLine =>
  parseCommandLine(findApiserver(draft.spec) ?? { name: names.APISERVER });

/** We give none that kube-apiserver does not have, so that there are few, whatever somebody claims. */
const isAuditFlag = (name: string): boolean =>
  name.startsWith('audit-') && (VALUE_FLAGS.has(name) || BOOLEAN_FLAGS.has(name));

/** Flags that we only ever give one value. */
const PATH_FLAGS: ReadonlyMap<string, string> = new Map([
  ['audit-policy-file', names.POLICY_PATH],
  ['audit-log-path', names.LOG_PATH],
  ['audit-webhook-config-file', names.WEBHOOK_PATH],
]);

const OUR_VOLUMES: ReadonlyMap<string, Volume> = new Map(
  [POLICY_VOLUME, LOG_VOLUME, FLUENTBIT_VOLUME].map((volume) => [volume.name, volume]),
);
/** Names of volumes by where the apiserver has them. */
const OUR_MOUNTS: ReadonlyMap<string, string> = new Map(
  [POLICY_MOUNT, LOG_MOUNT, WEBHOOK_MOUNT].map(({ mountPath, name }) => [mountPath, name]),
);

/**
 * What stands where a part belongs, if it could be ours: an annotation that claims it may be stale, or a person's.
 * @returns the volume, mount, container, or the flag's value; undefined where there is nothing that could be ours
 */
export function findPart(spec: PodSpec, part: Part): object | string | undefined {
  const [kind, name] = splitPart(part);
  if (kind === 'container') return name === names.SIDECAR ? findSidecar(spec) : undefined;
  if (kind === 'volume') {
    const ours = OUR_VOLUMES.get(name);
    if (ours === undefined && name !== names.WEBHOOK_VOLUME) return undefined;
    const volume = spec.volumes?.find((candidate) => candidate.name === name);
    if (volume === undefined) return undefined;
    if (ours === undefined) return volume.secret ? volume : undefined;
    return isSameVolume(volume, ours) ? volume : undefined;
  }
  const apiserver = findApiserver(spec);
  if (apiserver === undefined) return undefined;
  if (kind === 'mount') {
    const ours = OUR_MOUNTS.get(name);
    if (ours === undefined) return undefined;
    return apiserver.volumeMounts?.find((mount) => mount.mountPath === name && mount.name === ours);
  }
  if (!isAuditFlag(name)) return undefined;
  const flag = findFlag(parseCommandLine(apiserver), name);
  const value = PATH_FLAGS.get(name);
  return flag === undefined || (value !== undefined && flag.value !== value) ? undefined : (flag.value ?? '');
}

export const holdsPart = (spec: PodSpec, part: Part): boolean => findPart(spec, part) !== undefined;

/** Equal but for what Kubernetes fills in by itself. */
export function isSameVolume(left: Volume, right: Volume): boolean {
  if (left === right) return true;
  const { configMap, secret } = left;
  if (configMap?.defaultMode === undefined && secret?.defaultMode === undefined)
    return isEqualJson(left, right);
  return isEqualJson(withoutMode(left), withoutMode(right));
}

function withoutMode({ configMap, secret, ...volume }: Volume): object {
  const { defaultMode: _mode, ...source } = configMap ?? secret ?? {};
  return { ...volume, ...(configMap && { configMap: source }), ...(secret && { secret: source }) };
}

/** Remembers something foreign that has to make way for a part. */
export function displace(
  draft: Draft,
  part: Part,
  list: Displaced['list'],
  index: number,
  value: object,
): void {
  const before = listOf(draft, list).slice(0, index);
  const foreign = before.filter((item) => !draft.parts.has(partOf(list, item)));
  draft.displaced.push({ part, list, index: foreign.length, value: value as JsonValue });
}

/**
 * Takes mounts of the apiserver out that have to make way for a part: all in one pass, because there may be any number of them.
 * @returns whether there were any
 */
export function displaceMounts(draft: Draft, part: Part, matches: (mount: VolumeMount) => boolean): boolean {
  const kept: VolumeMount[] = [];
  let index = 0;
  const given = findApiserver(draft.spec)?.volumeMounts ?? [];
  for (const mount of given) {
    if (matches(mount)) {
      draft.displaced.push({ part, list: 'volumeMounts', index, value: mount as unknown as JsonValue });
      continue;
    }
    kept.push(mount);
    if (!draft.parts.has(partOf('volumeMounts', mount))) index += 1;
  }
  if (kept.length < given.length) setMounts(draft, () => kept);
  return kept.length < given.length;
}

type ListItem = Container | Volume | VolumeMount;

const listOf = (draft: Draft, list: Displaced['list']): readonly ListItem[] =>
  (list === 'volumeMounts' ? findApiserver(draft.spec)?.volumeMounts : draft.spec[list]) ?? [];

/** The part that an element of a list would be, were it ours. */
const partOf = (list: Displaced['list'], item: ListItem): Part =>
  list === 'volumeMounts'
    ? `mount/${(item as VolumeMount).mountPath}`
    : `${list === 'volumes' ? 'volume' : 'container'}/${item.name}`;

/** Takes parts out, and puts back what had to make way for them. */
export function takeOut(draft: Draft, parts: readonly Part[]): void {
  for (const part of parts) {
    if (!draft.parts.delete(part)) continue;
    const [kind, name] = splitPart(part);
    if (kind === 'volume')
      setList(draft, 'volumes', (list) => withoutFirst(list, (item) => item.name === name));
    else if (kind === 'container') {
      const isSidecar = (container: Container): boolean => container.name === name;
      const list = draft.spec.containers?.some(isSidecar) ? 'containers' : 'initContainers';
      setList(draft, list, (containers) => withoutFirst(containers, isSidecar));
    } else if (kind === 'mount') {
      setMounts(draft, (mounts) => withoutFirst(mounts, ({ mountPath }) => mountPath === name));
    } else takeOutFlag(draft, name);
  }
  const entries = draft.displaced.filter(({ part }) => parts.includes(part));
  if (entries.length === 0) return;
  draft.displaced = draft.displaced.filter((entry) => !entries.includes(entry));
  // The last one displaced comes back first: its index was counted without those before it.
  entries.reverse();
  for (const list of RESTORED)
    restore(
      draft,
      list,
      entries.filter((entry) => entry.list === list),
    );
}

const RESTORED = ['containers', 'initContainers', 'volumes', 'volumeMounts'] as const;

function takeOutFlag(draft: Draft, name: string): void {
  changeApiserver(draft, (apiserver) => {
    const flag = findFlag(parseCommandLine(apiserver), name);
    if (flag === undefined) return apiserver;
    const without = removeFlag(apiserver, flag);
    if (without.args === apiserver.args || without.args?.length !== 0 || draft.empty.has('args'))
      return without;
    const { args: _empty, ...rest } = without;
    return rest;
  });
}

const withoutFirst = <T>(list: readonly T[], matches: (item: T) => boolean): readonly T[] => {
  const index = list.findIndex(matches);
  return index === -1 ? list : list.toSpliced(index, 1);
};

/**
 * Puts things back, each behind as many foreign elements as it had before it, unless something else stands there by now. The list is copied
 * once, because there may be many.
 */
function restore(draft: Draft, list: Displaced['list'], entries: readonly Displaced[]): void {
  if (entries.length === 0) return;
  const putBack = <T extends ListItem>(given: readonly T[]): readonly T[] => {
    const items = [...given];
    const present = new Set(items.map((item) => partOf(list, item)));
    const foreign = items.map((item) => !draft.parts.has(partOf(list, item)));
    for (const { index, value } of entries) {
      const item = value as unknown as T;
      const part = partOf(list, item);
      if (present.has(part)) continue;
      let position = 0;
      for (let count = 0; position < items.length && count < index; position += 1)
        if (foreign[position]) count += 1;
      items.splice(position, 0, item);
      foreign.splice(position, 0, !draft.parts.has(part));
      present.add(part);
    }
    return items;
  };
  if (list === 'volumeMounts') setMounts(draft, putBack);
  else setList(draft, list, putBack);
}

// --- copying down to what changes

type Lists = { containers: Container; initContainers: Container; volumes: Volume };

export function setList<K extends keyof Lists>(
  draft: Draft,
  key: K,
  change: (list: readonly Lists[K][]) => readonly Lists[K][],
): void {
  const given = draft.spec[key] as readonly Lists[K][] | undefined;
  const after = changeList(draft, key, given, change);
  if (after === given) return;
  const { [key]: _before, ...rest } = draft.spec;
  draft.spec = after === undefined ? rest : { ...draft.spec, [key]: after };
}

/** @returns the list itself where nothing changes, undefined where it should not be there any more */
function changeList<T>(
  draft: Draft,
  key: string,
  given: readonly T[] | undefined,
  change: (list: readonly T[]) => readonly T[],
): readonly T[] | undefined {
  const before = given ?? [];
  const after = change(before);
  if (after.length === before.length && after.every((item, index) => item === before[index])) return given;
  if (after.length === 0)
    return EMPTY_KEYS.some((known) => known === key && draft.empty.has(known)) ? after : undefined;
  if (before.length === 0 && given) noteEmpty(draft, key);
  return after;
}

/** Remembers a list without elements that gets its first from us. */
export function noteEmpty(draft: Draft, key: string): void {
  const known = EMPTY_KEYS.find((candidate) => candidate === key);
  if (known !== undefined) draft.empty.add(known);
}

export function changeApiserver(draft: Draft, change: (apiserver: Container) => Container): void {
  setList(draft, 'containers', (list) => {
    const index = list.findIndex(({ name }) => name === names.APISERVER);
    const apiserver = list[index];
    if (apiserver === undefined) return list;
    const changed = change(apiserver);
    return changed === apiserver ? list : list.with(index, changed);
  });
}

export function setMounts(
  draft: Draft,
  change: (mounts: readonly VolumeMount[]) => readonly VolumeMount[],
): void {
  changeApiserver(draft, (apiserver) => {
    const after = changeList(draft, 'volumeMounts', apiserver.volumeMounts, change);
    if (after === apiserver.volumeMounts) return apiserver;
    const { volumeMounts: _before, ...rest } = apiserver;
    return after === undefined ? rest : { ...apiserver, volumeMounts: after };
  });
}
