/**
 * Makes a pod spec what settings ask for, by the smallest change: `apply` puts in what is missing, `unapply` takes out what this software put
 * in. Both are functions of their arguments alone, leave their input as it is and share with it all that does not change.
 *
 * | judged effective | a part is ours | it is wanted | then                                                   |
 * |------------------|----------------|--------------|--------------------------------------------------------|
 * | yes              | no             | -            | nothing: whoever rendered it, whatever the spelling    |
 * | yes              | yes            | yes          | the part is kept as desired (settings may have changed) |
 * | no               | -              | yes          | what is missing is put in, in KKP's names and places   |
 * | -                | yes            | no           | the part is taken out                                  |
 * | -                | no             | no           | nothing: what an owner rendered is not ours            |
 */
import { isDeepStrictEqual } from 'node:util';
import type { Container, JsonValue, PodSpec, Volume, VolumeMount } from '../kubernetes.ts';
import type { Reason } from '../reasons.ts';
import type { Claims, Displaced, Part } from './claims.ts';
import {
  type CommandLine,
  type Flag,
  findFlag,
  insertArguments,
  parseCommandLine,
  placeFlag,
  removeFlag,
} from './command-line.ts';
import {
  type Desired,
  FLUENTBIT_MOUNT,
  FLUENTBIT_VOLUME,
  LOG_MOUNT,
  LOG_VOLUME,
  POLICY_MOUNT,
  POLICY_VOLUME,
  WEBHOOK_MOUNT,
  webhookVolume,
} from './desired.ts';
import {
  findPolicyMismatch,
  findSidecar,
  findWebhookMismatch,
  judge,
  LOG_FORMAT_FLAGS,
} from './effective.ts';
import { cleanPath, isWritable, locate } from './mounts.ts';
import * as names from './names.ts';
import { parseQuantity } from './quantity.ts';
import { findWeakenings } from './weakenings.ts';

export interface Applied {
  readonly spec: PodSpec;
  readonly claims: Claims;
  /** What was wrong before; empty where nothing had to be put in. */
  readonly repaired: readonly Reason[];
  /** What could not be repaired. */
  readonly remaining: readonly Reason[];
}

/** A pod spec in the making, and what is ours in it. */
interface Draft {
  spec: PodSpec;
  readonly parts: Set<Part>;
  displaced: Displaced[];
}

/**
 * Puts in what is missing and takes out what is ours and not wanted.
 * @param spec of a pod or pod template; stays as it is
 * @param claims what is ours in it
 */
export function apply(spec: PodSpec, claims: Claims, desired: Desired): Applied {
  const draft = open(spec, claims);
  takeOut(draft, listUnwanted(draft, desired));
  refresh(draft, desired);
  const { reasons } = judge(draft.spec, desired);
  if (reasons.length > 0) repair(draft, desired, new Set(reasons.map(({ code }) => code)));
  const remaining = reasons.length === 0 ? reasons : judge(draft.spec, desired).reasons;
  return { ...close(draft), repaired: reasons, remaining };
}

/**
 * Takes out all that is ours.
 * @param spec of a pod or pod template; stays as it is
 */
export function unapply(spec: PodSpec, claims: Claims): { readonly spec: PodSpec; readonly claims: Claims } {
  const draft = open(spec, claims);
  takeOut(draft, [...draft.parts]);
  return close(draft);
}

const open = (spec: PodSpec, claims: Claims): Draft => ({
  spec,
  parts: new Set([...claims.parts].filter((part) => holdsPart(spec, part))),
  displaced: [...claims.displaced],
});

const close = (draft: Draft): { spec: PodSpec; claims: Claims } => ({
  spec: draft.spec,
  claims: { parts: draft.parts, displaced: draft.displaced },
});

const findApiserver = (spec: PodSpec): Container | undefined =>
  spec.containers?.find(({ name }) => name === names.APISERVER);

/** Whether a claimed part is there and could be ours: the annotation may be stale, or a person's. */
export function holdsPart(spec: PodSpec, part: Part): boolean {
  const [kind, name] = splitPart(part);
  if (kind === 'container') return findSidecar(spec) !== undefined;
  if (kind === 'volume') {
    const volume = spec.volumes?.find((candidate) => candidate.name === name);
    if (name === names.WEBHOOK_VOLUME) return volume?.secret !== undefined;
    const ours = [POLICY_VOLUME, LOG_VOLUME, FLUENTBIT_VOLUME].find((candidate) => candidate.name === name);
    return volume !== undefined && ours !== undefined && isSameVolume(volume, ours);
  }
  const apiserver = findApiserver(spec);
  if (apiserver === undefined) return false;
  if (kind === 'mount') {
    const ours = [POLICY_MOUNT, LOG_MOUNT, WEBHOOK_MOUNT].find(({ mountPath }) => mountPath === name);
    return (
      apiserver.volumeMounts?.some((mount) => mount.mountPath === name && mount.name === ours?.name) === true
    );
  }
  const flag = findFlag(parseCommandLine(apiserver), name);
  const value = PATH_FLAGS[name];
  return flag !== undefined && name.startsWith('audit-') && (value === undefined || flag.value === value);
}

/** Flags that we only ever give one value. */
const PATH_FLAGS: Readonly<Record<string, string>> = {
  'audit-policy-file': names.POLICY_PATH,
  'audit-log-path': names.LOG_PATH,
  'audit-webhook-config-file': names.WEBHOOK_PATH,
};

function splitPart(part: Part): [kind: string, name: string] {
  const slash = part.indexOf('/');
  return [part.slice(0, slash), part.slice(slash + 1)];
}

// --- taking out

/** Our parts that the settings do not ask for. */
function listUnwanted(draft: Draft, desired: Desired): Part[] {
  if (draft.parts.size === 0) return [];
  const wanted = new Set<string>();
  if (desired.policy) {
    for (const name of ['policy-file', 'log-path', ...RETENTION, 'log-format', 'log-version'])
      wanted.add(`flag/audit-${name}`);
    for (const name of [names.POLICY_CONFIGMAP, names.LOG_VOLUME]) wanted.add(`volume/${name}`);
    for (const path of [names.POLICY_DIRECTORY, names.LOG_DIRECTORY]) wanted.add(`mount/${path}`);
  }
  if (desired.sidecar !== undefined) {
    wanted.add(`volume/${names.FLUENTBIT_SECRET}`);
    wanted.add(`container/${names.SIDECAR}`);
  }
  if (desired.webhook !== undefined) {
    wanted.add(`volume/${names.WEBHOOK_VOLUME}`);
    wanted.add(`mount/${names.WEBHOOK_DIRECTORY}`);
    wanted.add('flag/audit-webhook-config-file');
    if (desired.webhook.auditWebhookInitialBackoff) wanted.add('flag/audit-webhook-initial-backoff');
  }
  const isNeutral = (part: Part): boolean =>
    (part.startsWith('flag/audit-log-') && desired.sidecar !== undefined) ||
    (part.startsWith('flag/audit-webhook-batch-') && desired.webhook !== undefined) ||
    (part === 'flag/audit-webhook-truncate-enabled' && desired.webhook !== undefined);
  return [...draft.parts].filter((part) => !wanted.has(part) && !isNeutral(part));
}

const RETENTION = ['log-maxage', 'log-maxbackup', 'log-maxsize'];

function takeOut(draft: Draft, parts: readonly Part[]): void {
  for (const part of parts) {
    const [kind, name] = splitPart(part);
    draft.parts.delete(part);
    if (kind === 'volume') setList(draft, 'volumes', (list) => list.filter((volume) => volume.name !== name));
    else if (kind === 'container') {
      for (const list of ['containers', 'initContainers'] as const) {
        setList(draft, list, (containers) => containers.filter((container) => container.name !== name));
      }
    } else if (kind === 'mount') {
      setMounts(draft, (mounts) => mounts.filter(({ mountPath }) => mountPath !== name));
    } else {
      changeApiserver(draft, (apiserver) => {
        const flag = findFlag(parseCommandLine(apiserver), name);
        return flag === undefined ? apiserver : removeFlag(apiserver, flag);
      });
    }
    restore(draft, part);
  }
}

/** Puts back what had to make way for a part, unless something else stands there by now. */
function restore(draft: Draft, part: Part): void {
  const entries = draft.displaced.filter((entry) => entry.part === part);
  if (entries.length === 0) return;
  draft.displaced = draft.displaced.filter((entry) => entry.part !== part);
  const putBack = <T>(
    list: readonly T[],
    { index, value }: Displaced,
    key: (item: T) => unknown,
  ): readonly T[] => {
    const item = value as T;
    return list.some((other) => key(other) === key(item)) ? list : list.toSpliced(index, 0, item);
  };
  for (const entry of entries) {
    if (entry.list === 'volumeMounts')
      setMounts(draft, (mounts) => putBack(mounts, entry, ({ mountPath }) => mountPath));
    else if (entry.list === 'volumes')
      setList(draft, 'volumes', (list) => putBack(list, entry, ({ name }) => name));
    else setList(draft, entry.list, (list) => putBack(list, entry, ({ name }) => name));
  }
}

// --- putting in

/** Keeps what is ours as the settings have it by now. */
function refresh(draft: Draft, desired: Desired): void {
  if (desired.sidecar !== undefined && draft.parts.has(`container/${names.SIDECAR}`))
    ensureSidecar(draft, desired.sidecar);
  if (desired.webhook === undefined) return;
  const { auditWebhookConfig, auditWebhookInitialBackoff } = desired.webhook;
  if (draft.parts.has(`volume/${names.WEBHOOK_VOLUME}`))
    ensureVolume(draft, webhookVolume(auditWebhookConfig.name));
  if (draft.parts.has('flag/audit-webhook-initial-backoff') && auditWebhookInitialBackoff) {
    ensureFlag(draft, 'audit-webhook-initial-backoff', auditWebhookInitialBackoff);
  }
}

/** Puts in what a judgement found missing. Which parts a reason is about: one line each. */
function repair(draft: Draft, desired: Desired, codes: ReadonlySet<string>): void {
  const has = (...wanted: string[]): boolean => wanted.some((code) => codes.has(code));
  const apiserver = findApiserver(draft.spec);
  if (apiserver === undefined || has('APISERVER_CONTAINER_REPEATED', 'APISERVER_COMMAND_UNKNOWN')) return;

  for (const [name, value] of Object.entries(desired.retention)) {
    if (findFlag(commandLineOf(draft), name) === undefined) ensureFlag(draft, name, value);
  }
  if (
    has('LOG_PATH_MISSING', 'LOG_PATH_STDOUT', 'LOG_PATH_UNWRITABLE', 'SIDECAR_LOG_UNREADABLE') ||
    needsLogPath(draft, desired)
  ) {
    ensureVolume(draft, LOG_VOLUME, isWritableVolume);
    ensureMount(draft, LOG_MOUNT, names.LOG_PATH);
    ensureFlag(draft, 'audit-log-path', names.LOG_PATH);
  }
  if (has('LOG_FORMAT')) {
    for (const [name, value] of Object.entries(LOG_FORMAT_FLAGS)) {
      const flag = findFlag(commandLineOf(draft), name);
      if (flag !== undefined && flag.value !== value) ensureFlag(draft, name, value);
    }
  }
  if (has('POLICY_FLAG_MISSING', 'POLICY_FILE_ELSEWHERE')) {
    if (findPolicyMismatch(apiserver, draft.spec.volumes ?? [], names.POLICY_PATH) !== undefined) {
      ensureVolume(draft, POLICY_VOLUME);
      ensureMount(draft, POLICY_MOUNT, names.POLICY_PATH);
    }
    ensureFlag(draft, 'audit-policy-file', names.POLICY_PATH);
  }
  if (desired.webhook !== undefined && has('WEBHOOK_FLAG_MISSING', 'WEBHOOK_FILE_ELSEWHERE')) {
    const { auditWebhookConfig, auditWebhookInitialBackoff } = desired.webhook;
    if (
      findWebhookMismatch(
        apiserver,
        draft.spec.volumes ?? [],
        auditWebhookConfig.name,
        names.WEBHOOK_PATH,
      ) !== undefined
    ) {
      ensureVolume(draft, webhookVolume(auditWebhookConfig.name));
      ensureMount(draft, WEBHOOK_MOUNT, names.WEBHOOK_PATH);
    }
    ensureFlag(draft, 'audit-webhook-config-file', names.WEBHOOK_PATH);
    if (auditWebhookInitialBackoff)
      ensureFlag(draft, 'audit-webhook-initial-backoff', auditWebhookInitialBackoff);
  }
  if (has('LOG_WEAKENED')) neutralize(draft, desired);
  if (desired.sidecar !== undefined && SIDECAR_REASONS.some((code) => codes.has(code))) {
    if (has('SIDECAR_MISSING', 'SIDECAR_CONFIG_ELSEWHERE', 'SIDECAR_COMMAND'))
      ensureVolume(draft, FLUENTBIT_VOLUME);
    ensureSidecar(draft, desired.sidecar, codes);
  }
}

const SIDECAR_REASONS = [
  'SIDECAR_MISSING',
  'SIDECAR_NOT_RUNNING',
  'SIDECAR_IMAGE',
  'SIDECAR_COMMAND',
  'SIDECAR_CONFIG_ELSEWHERE',
  'SIDECAR_LOG_UNREADABLE',
  'SIDECAR_STARVED',
  // The apiserver's log may have been moved to where the sidecar does not look yet.
  'LOG_PATH_MISSING',
  'LOG_PATH_STDOUT',
  'LOG_PATH_UNWRITABLE',
];

/**
 * KKP renders the log's flag whether or not anything is enabled; and where the sidecar is put in, the log must be where that one reads.
 */
function needsLogPath(draft: Draft, desired: Desired): boolean {
  const flag = findFlag(commandLineOf(draft), 'audit-log-path');
  if (flag === undefined) return true;
  if (desired.sidecar === undefined || findSidecar(draft.spec) !== undefined) return false;
  const apiserver = findApiserver(draft.spec) ?? { name: names.APISERVER };
  const { located } = locate(apiserver, draft.spec.volumes ?? [], flag.value ?? '');
  const wanted = cleanPath(names.LOG_PATH).slice(names.LOG_DIRECTORY.length + 1);
  return located?.volume.name !== names.LOG_VOLUME || located.path !== wanted;
}

function neutralize(draft: Draft, desired: Desired): void {
  const backends = new Set<'log' | 'webhook'>(desired.sidecar === undefined ? [] : ['log']);
  if (desired.webhook !== undefined) backends.add('webhook');
  for (const { name, neutral, isBoolean } of findWeakenings(commandLineOf(draft), backends)) {
    ensureFlag(draft, name, neutral, isBoolean);
  }
}

// --- the parts themselves: each is left alone where it is as wanted

/**
 * @param accepts an existing volume of that name that will do as well
 */
function ensureVolume(
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
      ? list.toSpliced(
          names.placeByRank(
            list.map(({ name }) => name),
            volume.name,
          ),
          0,
          volume,
        )
      : list.with(index, volume),
  );
}

const isWritableVolume = (volume: Volume): boolean => isWritable({ mount: LOG_MOUNT, volume, path: '' });

/** Equal but for what Kubernetes fills in by itself. */
function isSameVolume(left: Volume, right: Volume): boolean {
  const strip = (volume: Volume): unknown => {
    const { configMap, secret } = volume;
    const { defaultMode: _mode, ...source } = (configMap ?? secret ?? {}) as { defaultMode?: number };
    return configMap || secret ? { ...volume, [configMap ? 'configMap' : 'secret']: source } : volume;
  };
  return isDeepStrictEqual(strip(left), strip(right));
}

/**
 * @param file inside the mount, which nothing mounted deeper may hide
 */
function ensureMount(draft: Draft, mount: VolumeMount, file: string): void {
  const part: Part = `mount/${mount.mountPath}`;
  const list = findApiserver(draft.spec)?.volumeMounts ?? [];
  const hiding = list.findIndex(({ mountPath }) => cleanPath(mountPath) === file);
  const hidden = list[hiding];
  if (hidden !== undefined) {
    displace(draft, part, 'volumeMounts', hiding, hidden);
    draft.parts.add(part);
    setMounts(draft, (mounts) => mounts.toSpliced(hiding, 1));
    ensureMount(draft, mount, file);
    return;
  }
  const index = list.findIndex(({ mountPath }) => cleanPath(mountPath) === mount.mountPath);
  const existing = list[index];
  if (existing !== undefined && existing.name === mount.name && !existing.subPath && !existing.subPathExpr) {
    if (mount.readOnly === true || existing.readOnly !== true) return;
  }
  if (existing !== undefined && !draft.parts.has(part))
    displace(draft, part, 'volumeMounts', index, existing);
  draft.parts.add(part);
  setMounts(draft, (mounts) =>
    existing === undefined
      ? mounts.toSpliced(
          names.placeByRank(
            mounts.map(({ name }) => name),
            mount.name,
          ),
          0,
          mount,
        )
      : mounts.with(index, mount),
  );
}

/**
 * Puts a flag behind every other occurrence of it, so that it counts and what stands there keeps its bytes.
 * @param joined as `--flag=value`, which booleans need; else two arguments, as KKP renders them
 */
function ensureFlag(draft: Draft, name: string, value: string, joined = false): void {
  const part: Part = `flag/${name}`;
  changeApiserver(draft, (given) => {
    let apiserver = given;
    let commandLine = parseCommandLine(apiserver);
    let flag: Flag | undefined = findFlag(commandLine, name);
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
    return insertArguments(
      apiserver,
      placeFlag(commandLine, name),
      joined ? [`--${name}=${value}`] : [`--${name}`, value],
    );
  });
}

/**
 * Ensures the sidecar: the whole of it where it is ours or missing; of a foreign one only what is wrong with it.
 */
function ensureSidecar(draft: Draft, wanted: Container, codes?: ReadonlySet<string>): void {
  const part: Part = `container/${names.SIDECAR}`;
  const containers = draft.spec.containers ?? [];
  const initContainers = draft.spec.initContainers ?? [];
  const index = containers.findIndex(({ name }) => name === names.SIDECAR);
  const initIndex = initContainers.findIndex(({ name }) => name === names.SIDECAR);
  const existing = containers[index] ?? initContainers[initIndex];
  if (existing === undefined) {
    draft.parts.add(part);
    setList(draft, 'containers', (list) => [...list, wanted]);
    return;
  }
  const isOurs = draft.parts.has(part);
  const isInit = index === -1;
  const mended = isOurs ? keepDefaults(existing, wanted) : mendSidecar(existing, wanted, codes ?? new Set());
  const staysInit = isInit && !isOurs && existing.restartPolicy === 'Always';
  if (isDeepStrictEqual(mended, existing) && (!isInit || staysInit)) return;
  if (!isOurs)
    displace(draft, part, isInit ? 'initContainers' : 'containers', isInit ? initIndex : index, existing);
  draft.parts.add(part);
  if (staysInit) setList(draft, 'initContainers', (list) => list.with(initIndex, mended));
  else if (isInit) {
    setList(draft, 'initContainers', (list) => list.toSpliced(initIndex, 1));
    setList(draft, 'containers', (list) => [...list, mended]);
  } else setList(draft, 'containers', (list) => list.with(index, mended));
}

/** Ours, with the fields that Kubernetes (or another hook) added to it and the quantities as Kubernetes writes them. */
function keepDefaults(existing: Container, wanted: Container): Container {
  const fields = Object.entries(wanted).filter(
    ([key, value]) => !covers(existing[key as keyof Container], value),
  );
  return fields.length === 0 ? existing : { ...existing, ...Object.fromEntries(fields) };
}

/** Whether a stored value says what a wanted one does: fields may have been added, and quantities written in another unit. */
function covers(stored: unknown, wanted: unknown): boolean {
  if (Array.isArray(wanted)) {
    return (
      Array.isArray(stored) &&
      stored.length === wanted.length &&
      wanted.every((item, index) => covers(stored[index], item))
    );
  }
  if (typeof wanted === 'object' && wanted !== null) {
    if (typeof stored !== 'object' || stored === null) return false;
    return Object.entries(wanted).every(([key, value]) =>
      covers((stored as Record<string, unknown>)[key], value),
    );
  }
  if (stored === wanted) return true;
  const amount = parseQuantity(String(wanted));
  return amount !== undefined && amount === parseQuantity(String(stored ?? ''));
}

function mendSidecar(existing: Container, wanted: Container, codes: ReadonlySet<string>): Container {
  const replaced = new Set<keyof Container>();
  if (codes.has('SIDECAR_IMAGE')) replaced.add('image');
  if (codes.has('SIDECAR_STARVED')) replaced.add('resources');
  if (codes.has('SIDECAR_COMMAND') || codes.has('SIDECAR_CONFIG_ELSEWHERE'))
    replaced.add('command').add('args');
  const fields = [...replaced].map((field) => [field, wanted[field]] as const);
  const { restartPolicy, ...rest } = existing;
  const mended: Container = {
    ...rest,
    ...(restartPolicy !== undefined && !codes.has('SIDECAR_NOT_RUNNING') && { restartPolicy }),
    ...Object.fromEntries(fields),
  };
  const needed: VolumeMount[] = [];
  if (replaced.has('command')) needed.push(FLUENTBIT_MOUNT);
  if (codes.has('SIDECAR_LOG_UNREADABLE') || [...codes].some((code) => code.startsWith('LOG_PATH_')))
    needed.push(LOG_MOUNT);
  return needed.reduce(mendMount, mended);
}

/** Mounts a volume where nothing hides it; a mount that does so already stays as it is. */
function mendMount(container: Container, mount: VolumeMount): Container {
  const hides = ({ mountPath }: VolumeMount): boolean =>
    [names.LOG_PATH, names.FLUENTBIT_PATH].includes(cleanPath(mountPath));
  const mounts = (container.volumeMounts ?? []).filter((other) => !hides(other));
  const index = mounts.findIndex(({ mountPath }) => cleanPath(mountPath) === cleanPath(mount.mountPath));
  const existing = mounts[index];
  if (existing === undefined) return { ...container, volumeMounts: [...mounts, mount] };
  const isGood = existing.name === mount.name && !existing.subPath && !existing.subPathExpr;
  const isGoodMode = existing.readOnly !== true || mount.readOnly === true;
  return { ...container, volumeMounts: isGood && isGoodMode ? mounts : mounts.with(index, mount) };
}

// --- copying down to what changes

type Item<K extends 'containers' | 'initContainers' | 'volumes'> = NonNullable<PodSpec[K]>[number];

function setList<K extends 'containers' | 'initContainers' | 'volumes'>(
  draft: Draft,
  key: K,
  change: (list: readonly Item<K>[]) => readonly Item<K>[],
): void {
  const before = (draft.spec[key] ?? []) as readonly Item<K>[];
  const after = change(before);
  if (
    after === before ||
    (after.length === before.length && after.every((item, index) => item === before[index]))
  )
    return;
  draft.spec = { ...draft.spec, [key]: after };
}

function changeApiserver(draft: Draft, change: (apiserver: Container) => Container): void {
  setList(draft, 'containers', (list) =>
    list.map((container) => (container.name === names.APISERVER ? change(container) : container)),
  );
}

function setMounts(draft: Draft, change: (mounts: readonly VolumeMount[]) => readonly VolumeMount[]): void {
  changeApiserver(draft, (apiserver) => {
    const before = apiserver.volumeMounts ?? [];
    const after = change(before);
    const isSame = after.length === before.length && after.every((mount, index) => mount === before[index]);
    return isSame ? apiserver : { ...apiserver, volumeMounts: after };
  });
}

function displace(draft: Draft, part: Part, list: Displaced['list'], index: number, value: object): void {
  draft.displaced.push({ part, list, index, value: value as JsonValue });
}

const commandLineOf = (draft: Draft): CommandLine =>
  parseCommandLine(findApiserver(draft.spec) ?? { name: names.APISERVER });
