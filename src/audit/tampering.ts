/**
 * Ways to blind an audit log that looks right: what stands around kube-apiserver and the sidecar and gets between them. Flags, mounts and
 * arguments are judged in effective.ts. Pure.
 */
import { type Container, isJsonObject, type PodSpec, type Volume } from '../kubernetes.ts';
import { type Reason, reason } from '../reasons.ts';
import { parseCommandLine } from './command-line.ts';
import { splitImage } from './desired.ts';
import { cleanMounts, joinPaths, type Located } from './mounts.ts';
import * as names from './names.ts';
import { parseQuantity } from './quantity.ts';
import { rememberLast } from './remember.ts';

/** Secrets that make a pod the apiserver of a cluster: its serving certificate and its way into etcd. */
const IDENTITY_SECRETS = ['apiserver-tls', 'apiserver-etcd-client-certificate'];
/** One full log file of KKP's --audit-log-maxsize. */
const MIN_LOG_VOLUME = '100Mi';
/** Where the loader of programs and its libraries are; a mount at or above one of them changes what runs. */
const LOADER_PATHS = ['/etc/ld.so.preload', '/etc/ld.so.cache', '/lib', '/lib64', '/usr/lib', '/usr/lib64'];
const SIDECAR_PROGRAM = '/fluent-bit/bin/fluent-bit';
const APISERVER_PROGRAM = '/usr/local/bin/kube-apiserver';

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
  const command = container.command ?? [];
  if (command.length > 0 && parseCommandLine(container).isApiserver) return true;
  const argv = [...command, ...(container.args ?? [])];
  return argv.some((argument, index) => {
    if (/\s/.test(argument)) return IN_SCRIPT.test(argument);
    if (argument.endsWith('/kube-apiserver')) return true;
    // As the value of a flag it is a name, not a program.
    return argument === 'kube-apiserver' && !(argv[index - 1] ?? '').startsWith('-');
  });
});

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
  const program = apiserver.command?.[0]?.startsWith('/') ? apiserver.command[0] : APISERVER_PROGRAM;
  found.push(
    ...findCovered(apiserver, [program], [names.POLICY_PATH, log === undefined ? '' : names.LOG_PATH]),
  );
  if (log !== undefined) found.push(...judgeLogVolume(spec, apiserver, sidecar, log));
  if (sidecar !== undefined) found.push(...judgeSidecar(spec, apiserver, sidecar));
  return found;
}

/**
 * Files that something else lies over.
 * @param programs that no mount may cover
 * @param files that kubelet's file for the termination message may not cover; mounts over them are judged elsewhere
 */
function findCovered(container: Container, programs: readonly string[], files: readonly string[]): Reason[] {
  const found: Reason[] = [];
  const isAbove = (by: string, path: string): boolean =>
    path.startsWith(by) && (path.length === by.length || by === '/' || path[by.length] === '/');
  const tell = (path: string, what: string): void => {
    found.push(reason('FILE_COVERED', { container: container.name, path, found: what }));
  };
  for (const { mount, mountPath } of cleanMounts(container)) {
    for (const path of programs) if (isAbove(mountPath, path)) tell(path, `volume ${mount.name}`);
  }
  const termination = container.terminationMessagePath;
  if (termination !== undefined && termination !== null && termination !== '') {
    const at = joinPaths(termination);
    for (const path of [...programs, ...files.filter((file) => file !== '')])
      if (isAbove(at, path)) tell(path, 'the file of terminationMessagePath');
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
  for (const container of allContainers(spec)) {
    if (container === apiserver || container === sidecar) continue;
    if (container.volumeMounts?.some((mount) => mount.name === volume.name && mount.readOnly !== true))
      found.push(reason('LOG_SHARED', { container: container.name, volume: volume.name }));
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

function judgeSidecar(spec: PodSpec, apiserver: Container, sidecar: Container): Reason[] {
  const found = findCovered(
    sidecar,
    [SIDECAR_PROGRAM, names.PARSERS_PATH, ...LOADER_PATHS],
    [names.LOG_PATH, names.FLUENTBIT_PATH],
  );
  if (spec.shareProcessNamespace === true || field(spec, 'hostPID') === true)
    found.push(reason('PROCESSES_SHARED'));
  for (const { name } of sidecar.env ?? []) {
    if (names.LOADER_VARIABLE.test(name)) found.push(reason('SIDECAR_ENVIRONMENT', { name }));
  }
  const handlers: readonly (readonly [string, unknown])[] = [
    ['lifecycle.postStart', field(sidecar.lifecycle, 'postStart')],
    ['lifecycle.preStop', field(sidecar.lifecycle, 'preStop')],
    ['livenessProbe', sidecar.livenessProbe],
    ['readinessProbe', sidecar.readinessProbe],
    ['startupProbe', sidecar.startupProbe],
  ];
  for (const [name, handler] of handlers) {
    const command = field(handler, 'exec');
    if (command !== undefined && command !== null)
      found.push(reason('SIDECAR_HANDLERS', { found: `${name}.exec` }));
  }
  const [user, owner] = [userOf(spec, sidecar), userOf(spec, apiserver)];
  // kube-apiserver makes its log readable for its own user alone; 0 is the user of both images.
  if (user !== 0 && user !== owner)
    found.push(reason('SIDECAR_UNPRIVILEGED', { sidecar: user, apiserver: owner }));
  return found;
}

function userOf(spec: PodSpec, container: Container): number {
  const user = field(container.securityContext, 'runAsUser') ?? field(spec.securityContext, 'runAsUser') ?? 0;
  return typeof user === 'number' ? user : 0;
}
