/**
 * Whether a pod really audits: kube-apiserver gets the right policy and writes every event to a file, and the sidecar really reads that file
 * with the right configuration. Judged as kubelet, kube-apiserver and fluent-bit would judge, whatever the spelling. Pure.
 */
import type { Container, PodSpec, Volume } from '../kubernetes.ts';
import { type Reason, reason } from '../reasons.ts';
import { type CommandLine, findFlag, parseCommandLine } from './command-line.ts';
import { type Desired, findStarvedLimit, splitImage } from './desired.ts';
import { findMismatch, isWritable, type Located, locate } from './mounts.ts';
import * as names from './names.ts';
import { APISERVER_PROGRAM, findProgram } from './programs.ts';
import { readSidecarArguments } from './sidecar-arguments.ts';
import { findTampering } from './tampering.ts';
import { findWeakenings } from './weakenings.ts';

/** What was read of a pod spec on the way to a judgement; repairs start from it. */
export interface Reading {
  readonly apiserver: Container | undefined;
  readonly commandLine: CommandLine | undefined;
  readonly sidecar: Container | undefined;
  /** Every way in which the pod does not do what is desired; empty when it does. */
  readonly reasons: readonly Reason[];
}

/** Behind a misplaced `--` all of them are astray; a few say it. */
const MAX_ARGUMENTS = 2;

/**
 * Judges a pod spec.
 * @param spec of a pod or a pod template
 * @param desired what settings ask for; parts that they do not ask for are not judged
 */
export function judge(spec: PodSpec, desired: Desired): Reading {
  const apiservers = (spec.containers ?? []).filter(({ name }) => name === names.APISERVER);
  const [apiserver] = apiservers;
  const sidecar = findSidecar(spec);
  const reasons: Reason[] = [];
  if (!desired.policy) return { apiserver, commandLine: undefined, sidecar, reasons };
  if (apiserver === undefined) {
    return { apiserver, commandLine: undefined, sidecar, reasons: [reason('APISERVER_CONTAINER_MISSING')] };
  }
  if (apiservers.length > 1) {
    reasons.push(reason('APISERVER_CONTAINER_REPEATED', { count: apiservers.length }));
    return { apiserver, commandLine: undefined, sidecar, reasons };
  }
  const commandLine = parseCommandLine(apiserver);
  const program = findProgram(apiserver, APISERVER_PROGRAM);
  if (!commandLine.isApiserver || 'problem' in program) {
    const isOther = !commandLine.isApiserver || !('problem' in program);
    const command = isOther ? JSON.stringify((apiserver.command ?? []).slice(0, 3)) : program.problem;
    return { apiserver, commandLine, sidecar, reasons: [reason('APISERVER_COMMAND_UNKNOWN', { command })] };
  }
  if (apiserver.image && !isApiserverImage(apiserver.image))
    reasons.push(reason('APISERVER_IMAGE_UNKNOWN', { image: apiserver.image }));
  const volumes = spec.volumes ?? [];
  for (const argument of commandLine.unknown.slice(0, MAX_ARGUMENTS))
    reasons.push(reason('ARGUMENTS_UNREADABLE', { argument }));
  for (const argument of commandLine.strays.slice(0, MAX_ARGUMENTS))
    reasons.push(reason('ARGUMENTS_STRAY', { argument }));
  judgePolicy(apiserver, commandLine, volumes, reasons);
  if (desired.webhook !== undefined) {
    judgeWebhook(apiserver, commandLine, volumes, desired.webhook.auditWebhookConfig.name, reasons);
  }
  let log: Located | undefined;
  if (desired.sidecar !== undefined) {
    log = judgeLog(apiserver, commandLine, volumes, reasons);
    judgeSidecar(spec, sidecar, apiserver, log, desired, reasons);
  }
  reasons.push(...findTampering(spec, apiserver, desired.sidecar && sidecar, log));
  const backends = new Set<'log' | 'webhook'>();
  if (desired.sidecar !== undefined) backends.add('log');
  if (desired.webhook !== undefined) backends.add('webhook');
  for (const { name, value, why } of findWeakenings(commandLine, backends)) {
    reasons.push(reason('LOG_WEAKENED', { flag: `--${name}`, value, why }));
  }
  return { apiserver, commandLine, sidecar, reasons };
}

const FLUENTBIT_SECRETS = [names.FLUENTBIT_SECRET, names.FLUENTBIT_TUNED_SECRET];

/** The sidecar, among the containers or the init containers. */
export function findSidecar(spec: PodSpec): Container | undefined {
  const isSidecar = ({ name }: Container): boolean => name === names.SIDECAR;
  return spec.containers?.find(isSidecar) ?? spec.initContainers?.find(isSidecar);
}

function judgePolicy(
  apiserver: Container,
  commandLine: CommandLine,
  volumes: readonly Volume[],
  reasons: Reason[],
): void {
  const flag = findFlag(commandLine, 'audit-policy-file');
  if (flag === undefined || flag.value === '') {
    reasons.push(reason('POLICY_FLAG_MISSING'));
    return;
  }
  const found = findPolicyMismatch(apiserver, volumes, flag.value);
  if (found !== undefined)
    reasons.push(reason('POLICY_FILE_ELSEWHERE', { path: flag.value ?? '(unknown)', found }));
}

/** What a path leads to instead of the policy, or undefined where it leads there. */
export function findPolicyMismatch(
  apiserver: Container,
  volumes: readonly Volume[],
  path: string | undefined,
): string | undefined {
  if (path === undefined) return 'its value comes from outside the object';
  return findMismatch(
    locate(apiserver, volumes, path),
    'configMap',
    [names.POLICY_CONFIGMAP],
    names.POLICY_KEY,
  );
}

function judgeWebhook(
  apiserver: Container,
  commandLine: CommandLine,
  volumes: readonly Volume[],
  secret: string,
  reasons: Reason[],
): void {
  const flag = findFlag(commandLine, 'audit-webhook-config-file');
  if (flag === undefined || flag.value === '') {
    reasons.push(reason('WEBHOOK_FLAG_MISSING'));
    return;
  }
  const found = findWebhookMismatch(apiserver, volumes, secret, flag.value);
  if (found !== undefined) {
    reasons.push(reason('WEBHOOK_FILE_ELSEWHERE', { path: flag.value ?? '(unknown)', secret, found }));
  }
}

/** What a path leads to instead of the webhook backend's kubeconfig, or undefined where it leads there. */
export function findWebhookMismatch(
  apiserver: Container,
  volumes: readonly Volume[],
  secret: string,
  path: string | undefined,
): string | undefined {
  if (path === undefined) return 'its value comes from outside the object';
  return findMismatch(locate(apiserver, volumes, path), 'secret', [secret], names.WEBHOOK_KEY);
}

/** Flags that change what is written; the value is the only one that leaves events as JSON of audit.k8s.io/v1. */
export const LOG_FORMAT_FLAGS: Readonly<Record<string, string>> = {
  'audit-log-format': 'json',
  'audit-log-version': 'audit.k8s.io/v1',
};

/** @returns where the log is written, or undefined where that is nowhere a sidecar could read it */
function judgeLog(
  apiserver: Container,
  commandLine: CommandLine,
  volumes: readonly Volume[],
  reasons: Reason[],
): Located | undefined {
  for (const [name, wanted] of Object.entries(LOG_FORMAT_FLAGS)) {
    const flag = findFlag(commandLine, name);
    if (flag === undefined || flag.value === wanted) continue;
    reasons.push(reason('LOG_FORMAT', { flag: `--${name}`, value: flag.value ?? '(unknown)' }));
  }
  const flag = findFlag(commandLine, 'audit-log-path');
  if (flag === undefined || flag.value === '') {
    reasons.push(reason('LOG_PATH_MISSING'));
    return undefined;
  }
  const path = flag.value ?? '(unknown)';
  if (path === '-') {
    reasons.push(reason('LOG_PATH_STDOUT'));
    return undefined;
  }
  const location = flag.value === undefined ? undefined : locate(apiserver, volumes, flag.value);
  const located = location?.located;
  if (located !== undefined && isWritable(located) && !located.isMountPoint) return located;
  const found =
    location === undefined
      ? 'its value comes from outside the object'
      : located === undefined
        ? (location as { problem: string }).problem
        : located.isMountPoint
          ? `volume ${located.volume.name} is mounted as that file alone, which can't be rotated`
          : `volume ${located.volume.name} is not writable there`;
  reasons.push(reason('LOG_PATH_UNWRITABLE', { path, found }));
  return undefined;
}

function judgeSidecar(
  spec: PodSpec,
  sidecar: Container | undefined,
  apiserver: Container,
  log: Located | undefined,
  desired: Desired,
  reasons: Reason[],
): void {
  if (sidecar === undefined) {
    reasons.push(reason('SIDECAR_MISSING'));
    return;
  }
  const volumes = spec.volumes ?? [];
  const isInit = spec.containers?.includes(sidecar) !== true;
  const { restartPolicy = null } = sidecar;
  if (restartPolicy !== 'Always' && (isInit || restartPolicy !== null)) {
    const found = isInit
      ? 'an init container without restartPolicy: Always'
      : `of restartPolicy ${restartPolicy}`;
    reasons.push(reason('SIDECAR_NOT_RUNNING', { found }));
  }
  if (!isKnownImage(sidecar.image ?? '', apiserver.image ?? '', desired)) {
    reasons.push(reason('SIDECAR_IMAGE', { image: sidecar.image ?? '(none)' }));
  }
  const starved = findStarvedLimit(sidecar.resources);
  if (starved !== undefined) reasons.push(starved);
  const read = readSidecarArguments(sidecar);
  if ('problem' in read) {
    reasons.push(reason('SIDECAR_COMMAND', { found: read.problem }));
    return;
  }
  if (read.configPath !== undefined) {
    const location = locate(sidecar, volumes, read.configPath);
    const found = findMismatch(location, 'secret', FLUENTBIT_SECRETS, names.FLUENTBIT_KEY);
    if (found !== undefined)
      reasons.push(reason('SIDECAR_CONFIG_ELSEWHERE', { path: read.configPath, found }));
  }
  const location = locate(sidecar, volumes, read.tailPath ?? names.LOG_PATH);
  if (location.located === undefined) {
    reasons.push(reason('SIDECAR_LOG_UNREADABLE', { found: location.problem }));
  } else if (location.located.isMountPoint) {
    const found = 'it has the file alone, so that it never sees the next one when the log is rotated';
    reasons.push(reason('SIDECAR_LOG_UNREADABLE', { found }));
  } else if (log !== undefined && !isSameFile(location.located, log)) {
    const found = `it reads ${describe(location.located)}, the apiserver writes ${describe(log)}`;
    reasons.push(reason('SIDECAR_LOG_UNREADABLE', { found }));
  } else if (!isWritable(location.located)) {
    // The position in the log is kept beside it; without it every restart reads nothing or everything again.
    reasons.push(
      reason('SIDECAR_LOG_UNREADABLE', { found: "its position can't be kept, the mount is not writable" }),
    );
  }
}

const isSameFile = (left: Located, right: Located): boolean =>
  left.volume.name === right.volume.name && left.path === right.path;

const describe = ({ volume, path }: Located): string => `${path} of volume ${volume.name}`;

/** Images of one platform have its name at the end; until Kubernetes 1.17, hyperkube was all programs in one. */
const isApiserverImage = (image: string): boolean =>
  /(^|\/)(kube-apiserver|hyperkube)(-[a-z0-9]+)?$/.test(splitImage(image).repository);

/** fluent-bit's repository, from a registry that the platform uses: a known one, or the one that the apiserver's image comes from. */
function isKnownImage(image: string, apiserverImage: string, desired: Desired): boolean {
  const { registry, repository } = splitImage(image);
  if (!desired.sidecarRepositories.includes(repository)) return false;
  if (desired.sidecarRegistries.includes(registry)) return true;
  return apiserverImage !== '' && registry === splitImage(apiserverImage).registry;
}
