/**
 * Ways to blind an audit log that looks right: what stands around kube-apiserver and the sidecar and gets between them. Flags, mounts and
 * arguments are judged in effective.ts. Pure.
 */
import { isEqualJson } from '../equal.ts';
import { type Container, isJsonObject, type PodSpec, type Volume } from '../kubernetes.ts';
import { type Reason, reason } from '../reasons.ts';
import { expandArguments, findFlag, parseCommandLine } from './command-line.ts';
import { splitImage } from './desired.ts';
import { below, cleanMounts, joinPaths, type Located, resolvePath } from './mounts.ts';
import * as names from './names.ts';
import { APISERVER_PROGRAM, findProgram, followLinks, SIDECAR_PROGRAM } from './programs.ts';
import { parseQuantity } from './quantity.ts';
import { rememberLast } from './remember.ts';
import { readSidecarArguments } from './sidecar-arguments.ts';

/** Secrets that make a pod the apiserver of a cluster: its serving certificate and its way into etcd. */
const IDENTITY_SECRETS = ['apiserver-tls', 'apiserver-etcd-client-certificate'];
/** One full log file of KKP's --audit-log-maxsize. */
const MIN_LOG_VOLUME = '100Mi';
/** A path, and the one that links lead it to. */
interface Followed {
  readonly path: string;
  readonly real: string;
}
const follow = (path: string): Followed => ({ path, real: followLinks(path) });

/** Where the loader of programs and its libraries are; a mount at, above or below one of them changes what runs. */
const LOADER_PATHS = [
  '/etc/ld.so.preload',
  '/etc/ld.so.cache',
  '/lib',
  '/lib64',
  '/usr/lib',
  '/usr/lib64',
].map(follow);
/** Load balancers need less to learn that an apiserver goes away; the sidecar is stopped at the start of that time. */
const MAX_STOP_SECONDS = 300;
/** Kubernetes' own for a pod that says nothing. */
const DEFAULT_GRACE_SECONDS = 30;

/** A field of what the API has checked and this software does not otherwise read. */
const field = (value: unknown, name: string): unknown =>
  isJsonObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;

const allContainers = (spec: PodSpec): readonly Container[] => [
  ...(spec.containers ?? []),
  ...(spec.initContainers ?? []),
  ...(spec.ephemeralContainers ?? []),
];

/**
 * Whether a pod is an apiserver, whatever it and its containers are called: by a program, a script or an image, or by the Secrets that only
 * an apiserver has.
 */
export function runsApiserver(spec: PodSpec): boolean {
  if (allContainers(spec).some(startsApiserver)) return true;
  const secrets = new Set((spec.volumes ?? []).flatMap(listSecrets));
  return IDENTITY_SECRETS.every((name) => secrets.has(name));
}

function listSecrets(volume: Volume): unknown[] {
  const sources = field(volume.projected, 'sources');
  return [
    volume.secret?.secretName,
    ...(Array.isArray(sources)
      ? sources.map((source: unknown) => field(field(source, 'secret'), 'name'))
      : []),
  ];
}

/** A word of a script: `exec /usr/local/bin/kube-apiserver --x`. */
const IN_SCRIPT = /(^|[\s'"`;&|(/])kube-apiserver(?=$|[\s'"`;&|)])/;

const startsApiserver = rememberLast((container: Container): boolean => {
  const { repository } = splitImage(container.image ?? '');
  if (/(^|\/)kube-apiserver(-[a-z0-9]+)?$/.test(repository)) return true;
  if ((container.command?.length ?? 0) > 0 && parseCommandLine(container).isApiserver) return true;
  return [expandArguments(container), ...listHandlers(container).map(commandOf)].some(namesApiserver);
});

/** @param argv a program and its arguments, or the latter alone */
const namesApiserver = (argv: readonly string[]): boolean =>
  argv.some((argument, index) => {
    if (/\s/.test(argument)) return IN_SCRIPT.test(argument);
    if (argument.endsWith('/kube-apiserver')) return true;
    // As the value of a flag it is a name, not a program.
    return argument === 'kube-apiserver' && !(argv[index - 1] ?? '').startsWith('-');
  });

interface Handler {
  /** Where it stands in the container. */
  readonly name: string;
  readonly action: unknown;
}

/** What kubelet does for a container besides running it. */
function listHandlers({ lifecycle, livenessProbe, readinessProbe, startupProbe }: Container): Handler[] {
  return [
    { name: 'lifecycle.postStart', action: field(lifecycle, 'postStart') },
    { name: 'lifecycle.preStop', action: field(lifecycle, 'preStop') },
    { name: 'livenessProbe', action: livenessProbe },
    { name: 'readinessProbe', action: readinessProbe },
    { name: 'startupProbe', action: startupProbe },
  ].filter(({ action }) => action !== undefined && action !== null);
}

const runsCommand = ({ action }: Handler): boolean => isJsonObject(field(action, 'exec'));

/** What a handler runs: as it is written, because kubelet expands no variables in it. */
function commandOf({ action }: Handler): string[] {
  const command = field(field(action, 'exec'), 'command');
  return Array.isArray(command) ? command.map(String) : [];
}

/**
 * Finds what blinds a pod's audit log from beside it.
 * @param sidecar undefined where none is there, or none is asked for
 * @param log where the apiserver writes to, where that is known
 */
export function findTampering(
  spec: PodSpec,
  apiserver: Container,
  sidecar: Container | undefined,
  log: Located | undefined,
): Reason[] {
  const found: Reason[] = [];
  for (const container of allContainers(spec)) {
    if (container !== apiserver && container !== sidecar && startsApiserver(container))
      found.push(reason('APISERVER_REPEATED', { container: container.name }));
  }
  found.push(...findCovered(apiserver, guardApiserver(apiserver, log !== undefined)));
  const nested = [apiserver, sidecar].filter((given) => given && listNested(given.volumeMounts).length > 0);
  const isForeign = nested.length > 0 ? findForeignVolumes(spec, apiserver, sidecar) : () => false;
  for (const container of nested) if (container) found.push(...findMisled(container, isForeign));
  for (const handler of listHandlers(apiserver)) {
    if (runsCommand(handler)) found.push(reason('APISERVER_HANDLERS', { found: `${handler.name}.exec` }));
  }
  if (log !== undefined) found.push(...judgeLogVolume(spec, apiserver, sidecar, log));
  if (sidecar !== undefined) {
    found.push(...judgeSidecar(spec, apiserver, sidecar), ...findDelays(spec, apiserver, sidecar));
  }
  return found;
}

/** Files of a container that nothing may lie over. */
interface Guarded {
  readonly programs: readonly string[];
  /** Nothing may lie in them either. */
  readonly directories: readonly Followed[];
  /** Not even kubelet's file for the termination message; mounts over them are judged elsewhere. */
  readonly files: readonly string[];
}

function guardApiserver(apiserver: Container, hasLog: boolean): Guarded {
  const program = findProgram(apiserver, APISERVER_PROGRAM);
  const commandLine = parseCommandLine(apiserver);
  const valueOfFlag = (flag: string): string | undefined => findFlag(commandLine, flag)?.value;
  return {
    programs: 'paths' in program ? program.paths : [],
    directories: [],
    files: resolveAll(apiserver, [
      names.POLICY_PATH,
      valueOfFlag('audit-policy-file'),
      valueOfFlag('audit-webhook-config-file'),
      ...(hasLog ? [names.LOG_PATH, valueOfFlag('audit-log-path')] : []),
    ]),
  };
}

function guardSidecar(sidecar: Container): Guarded {
  const program = findProgram(sidecar, SIDECAR_PROGRAM);
  const read = readSidecarArguments(sidecar);
  const { configPath, tailPath } = 'problem' in read ? {} : read;
  return {
    programs: [SIDECAR_PROGRAM, names.PARSERS_PATH, ...('paths' in program ? program.paths : [])],
    directories: LOADER_PATHS,
    files: resolveAll(sidecar, [names.LOG_PATH, names.FLUENTBIT_PATH, configPath, tailPath]),
  };
}

/** Those that are known, each once. */
function resolveAll(container: Container, paths: readonly (string | undefined)[]): string[] {
  const resolved = paths.map((path) => (path ? resolvePath(container, path) : undefined));
  return [...new Set(resolved.filter((path) => path !== undefined))];
}

/** Guarded files and directories that something else lies over, each told once. */
function findCovered(container: Container, { programs, directories, files }: Guarded): Reason[] {
  const found = new Map<string, string>();
  const realPrograms = programs.map(follow);
  const isOver = (by: string, path: string): boolean => below(path, by) !== undefined;
  const search = (what: string, at: string, targets: readonly Followed[]): void => {
    for (const { path, real } of targets) if (!found.has(path) && isOver(at, real)) found.set(path, what);
    for (const { path, real } of directories)
      if (!found.has(path) && (isOver(at, real) || isOver(real, at))) found.set(path, what);
  };
  for (const { mount, mountPath } of cleanMounts(container))
    search(`volume ${mount.name}`, followLinks(mountPath), realPrograms);
  const { terminationMessagePath: path, volumeDevices } = container;
  const all = [...realPrograms, ...files.map(follow)];
  for (const { name, devicePath } of volumeDevices ?? [])
    search(`the device of volume ${name}`, followLinks(joinPaths(devicePath)), all);
  if (path) {
    const at = followLinks(joinPaths(path));
    search('the file of terminationMessagePath', at, all);
  }
  return [...found].map(([path, what]) =>
    reason('FILE_COVERED', { container: container.name, path, found: what }),
  );
}

/** What is in volumes of these kinds, Kubernetes alone decides. */
const KEYED_SOURCES = ['configMap', 'secret', 'projected', 'downwardAPI'] as const;

/** Tells volumes in which somebody else may have put a link: what was there before the pod, and what other containers write. */
function findForeignVolumes(
  spec: PodSpec,
  apiserver: Container,
  sidecar: Container | undefined,
): (name: string) => boolean {
  const written = new Set<string>();
  for (const container of allContainers(spec)) {
    if (container === apiserver || container === sidecar) continue;
    for (const { name, readOnly } of container.volumeMounts ?? []) if (readOnly !== true) written.add(name);
  }
  const foreign = new Set<string>();
  for (const volume of spec.volumes ?? []) {
    if (KEYED_SOURCES.some((kind) => isJsonObject(volume[kind]))) continue;
    if (!isJsonObject(volume.emptyDir) || written.has(volume.name)) foreign.add(volume.name);
  }
  return (name) => foreign.has(name);
}

interface Place {
  readonly volume: string;
  /** With a slash at the end, so that /a/ does not contain /ab/. */
  readonly at: string;
}

/** The mounts of a container by their paths, each behind those that it is inside of; empty where none is inside of another. */
const listNested = rememberLast((volumeMounts: Container['volumeMounts']): readonly Place[] => {
  const places = cleanMounts({ ...(volumeMounts && { volumeMounts }) })
    .map(({ mount, mountPath }) => {
      const real = followLinks(mountPath);
      return { volume: mount.name, at: real === '/' ? real : `${real}/` };
    })
    .sort((left, right) => (left.at < right.at ? -1 : Number(left.at > right.at)));
  const isInside = (place: Place, index: number): boolean =>
    place.at.startsWith(places[index - 1]?.at ?? '-');
  return places.some(isInside) ? places : [];
});

/** A mount inside of a volume that may hold links: the runtime follows them, to the program as well. */
function findMisled(container: Container, isForeign: (volume: string) => boolean): Reason[] {
  let outer: Place | undefined;
  for (const inner of listNested(container.volumeMounts)) {
    if (outer === undefined || !inner.at.startsWith(outer.at)) {
      outer = isForeign(inner.volume) ? inner : undefined;
    } else if (inner.at !== outer.at) {
      const found = `volume ${inner.volume}, unless a link in volume ${outer.volume} leads it elsewhere`;
      return [reason('FILE_COVERED', { container: container.name, path: inner.at.slice(0, -1), found })];
    }
  }
  return [];
}

/**
 * What lets kube-apiserver run without the sidecar for long. Kubelet starts containers in their order and waits for the end of each `postStart`,
 * and it stops all at once, while `preStop` holds up the end of one. A sidecar among the init containers starts before and ends after.
 */
function findDelays(spec: PodSpec, apiserver: Container, sidecar: Container): Reason[] {
  const containers = spec.containers ?? [];
  const end = containers.indexOf(sidecar);
  if (end === -1) return [];
  const found: Reason[] = [];
  for (const container of containers.slice(containers.indexOf(apiserver), end)) {
    if (isJsonObject(field(container.lifecycle, 'postStart'))) {
      const parameters = { container: container.name, found: 'lifecycle.postStart' };
      found.push(reason('SIDECAR_KEPT_WAITING', parameters));
    }
  }
  const preStop = field(apiserver.lifecycle, 'preStop');
  if (isJsonObject(preStop)) {
    const grace = field(spec, 'terminationGracePeriodSeconds') ?? DEFAULT_GRACE_SECONDS;
    const seconds = Number(isJsonObject(preStop.sleep) ? (field(preStop.sleep, 'seconds') ?? 0) : grace);
    if (seconds > MAX_STOP_SECONDS) {
      const parameters = { container: apiserver.name, found: `lifecycle.preStop of up to ${seconds} s` };
      found.push(reason('SIDECAR_KEPT_WAITING', parameters));
    }
  }
  return found;
}

function judgeLogVolume(
  spec: PodSpec,
  apiserver: Container,
  sidecar: Container | undefined,
  { volume, path }: Located,
): Reason[] {
  const found: Reason[] = [];
  const shared = new Set([volume.name]);
  for (const other of spec.volumes ?? []) if (sharesStorage(other, volume)) shared.add(other.name);
  for (const container of allContainers(spec)) {
    if (container === apiserver || container === sidecar) continue;
    const mount = container.volumeMounts?.find(({ name, readOnly }) => shared.has(name) && readOnly !== true);
    if (mount !== undefined)
      found.push(reason('LOG_SHARED', { container: container.name, volume: mount.name }));
  }
  const size = field(volume.emptyDir, 'sizeLimit');
  if (size !== undefined && size !== null) {
    const bytes = parseQuantity(String(size));
    if (bytes !== undefined && bytes > 0 && bytes < (parseQuantity(MIN_LOG_VOLUME) ?? 0)) {
      const parameters = { volume: volume.name, size: String(size), minimum: MIN_LOG_VOLUME };
      found.push(reason('LOG_VOLUME_TOO_SMALL', parameters));
    }
  }
  const host = field(volume.hostPath, 'path');
  if (typeof host === 'string') {
    const full = joinPaths(host, path);
    if (/^\/(dev|proc|sys)(\/|$)/.test(full)) found.push(reason('LOG_VOLUME_DEVICE', { path: full }));
  }
  return found;
}

/** Sources whose volumes never are the same storage as another one's, or that nobody can write to. */
const PRIVATE_SOURCES: ReadonlySet<string> = new Set(['emptyDir', 'ephemeral', 'image', ...KEYED_SOURCES]);

/** Whether two volumes come from the same storage: of the same source, one path at or below the other. */
function sharesStorage(left: Volume, right: Volume): boolean {
  for (const kind in right) {
    if (PRIVATE_SOURCES.has(kind)) continue;
    const [a, b] = [field(left, kind), right[kind]];
    if (!isJsonObject(a) || !isJsonObject(b)) continue;
    const { path: pathA, readOnly: _readOnlyA, type: _typeA, ...restA } = a;
    const { path: pathB, readOnly: _readOnlyB, type: _typeB, ...restB } = b;
    if (!isEqualJson(restA, restB)) continue;
    if (typeof pathA !== 'string' || typeof pathB !== 'string') return true;
    const [cleanA, cleanB] = [joinPaths(pathA), joinPaths(pathB)];
    if (below(cleanA, cleanB) !== undefined || below(cleanB, cleanA) !== undefined) return true;
  }
  return false;
}

function judgeSidecar(spec: PodSpec, apiserver: Container, sidecar: Container): Reason[] {
  const found = findCovered(sidecar, guardSidecar(sidecar));
  if (spec.shareProcessNamespace === true || field(spec, 'hostPID') === true)
    found.push(reason('PROCESSES_SHARED'));
  for (const { name } of sidecar.env ?? [])
    if (names.LOADER_VARIABLE.test(name)) found.push(reason('SIDECAR_ENVIRONMENT', { name }));
  for (const source of sidecar.envFrom ?? []) {
    const prefix = field(source, 'prefix') ?? '';
    if (names.LOADER_PREFIX.test(String(prefix)))
      found.push(reason('SIDECAR_ENVIRONMENT', { name: `${prefix}… of envFrom` }));
  }
  for (const handler of listHandlers(sidecar)) {
    if (runsCommand(handler)) found.push(reason('SIDECAR_HANDLERS', { found: `${handler.name}.exec` }));
  }
  const [user, owner] = [userOf(spec, sidecar), userOf(spec, apiserver)];
  // kube-apiserver makes its log readable for its own user alone; 0 is the user of both images.
  if (user === owner || (user === 0 && readsAnyFile(sidecar))) return found;
  const parameters = { sidecar: user === 0 ? '0 without DAC_OVERRIDE' : user, apiserver: owner };
  found.push(reason('SIDECAR_UNPRIVILEGED', parameters));
  return found;
}

/** Whether root in a container has the capability that sets it above the modes of files; `drop` counts before `add`, but a name before ALL. */
function readsAnyFile({ securityContext }: Container): boolean {
  if (field(securityContext, 'privileged') === true) return true;
  const capabilities = field(securityContext, 'capabilities');
  const has = (list: 'add' | 'drop', name: string): boolean => {
    const given = field(capabilities, list);
    return Array.isArray(given) && given.some((item) => String(item).toUpperCase() === name);
  };
  if (has('drop', 'DAC_OVERRIDE')) return false;
  return has('add', 'DAC_OVERRIDE') || !has('drop', 'ALL');
}

function userOf(spec: PodSpec, container: Container): number {
  const user = field(container.securityContext, 'runAsUser') ?? field(spec.securityContext, 'runAsUser') ?? 0;
  return typeof user === 'number' ? user : 0;
}
