/** What should exist, as data: the parts that settings ask for, in KKP's names, values and shapes. */

import type { WebhookBackend } from '../kkp.ts';
import type { Container, EnvVar, ResourceRequirements, Volume, VolumeMount } from '../kubernetes.ts';
import { type Reason, reason } from '../reasons.ts';
import * as names from './names.ts';
import { parseQuantity } from './quantity.ts';
import type { Settings } from './settings.ts';

/** Rendered by KKP since 2.28; the registry is what its overwriteRegistry replaces. */
export const SIDECAR_REPOSITORY = 'fluent/fluent-bit';
const SIDECAR_REGISTRY = 'docker.io';
const SIDECAR_TAG = '4.0.0';

const DEFAULT_RESOURCES = {
  requests: { memory: '10Mi', cpu: '5m' },
  limits: { memory: '60Mi', cpu: '50m' },
} as const;

/**
 * Below these, fluent-bit is killed or throttled into uselessness: half of what an idle one takes. What it prints counts as ephemeral storage, of
 * which kubelet keeps five files of 10 MiB; beyond the limit the pod is evicted, its log with it.
 */
export const MINIMUM_LIMITS: Readonly<Record<string, string>> = {
  memory: '20Mi',
  cpu: '5m',
  'ephemeral-storage': '50Mi',
};

/** Set by KKP's own autoscaling support on the Deployment; ranks between the defaults and the settings. */
const VPA_ANNOTATION = 'updated-by-vpa';

const MINIMUMS = Object.entries(MINIMUM_LIMITS).map(([resource, minimum]) => ({
  resource,
  minimum,
  amount: parseQuantity(minimum) ?? 0,
}));

export interface Desired {
  /** kube-apiserver gets a policy. */
  readonly policy: boolean;
  /** kube-apiserver writes a log, and this sidecar carries it away. */
  readonly sidecar: Container | undefined;
  readonly webhook: WebhookBackend | undefined;
  readonly retention: Readonly<Record<string, string>>;
  /** Repositories that count as fluent-bit, without registry. */
  readonly sidecarRepositories: readonly string[];
  /** Registries that count besides the one of the apiserver's image. */
  readonly sidecarRegistries: readonly string[];
  readonly problems: readonly Reason[];
}

export const POLICY_VOLUME: Volume = {
  name: names.POLICY_CONFIGMAP,
  configMap: { name: names.POLICY_CONFIGMAP, optional: false },
};
export const POLICY_MOUNT: VolumeMount = {
  name: names.POLICY_CONFIGMAP,
  mountPath: names.POLICY_DIRECTORY,
  readOnly: true,
};
export const LOG_VOLUME: Volume = { name: names.LOG_VOLUME, emptyDir: {} };
export const LOG_MOUNT: VolumeMount = { name: names.LOG_VOLUME, mountPath: names.LOG_DIRECTORY };
export const FLUENTBIT_VOLUME: Volume = {
  name: names.FLUENTBIT_SECRET,
  secret: { secretName: names.FLUENTBIT_SECRET },
};
export const FLUENTBIT_MOUNT: VolumeMount = {
  name: names.FLUENTBIT_SECRET,
  mountPath: names.FLUENTBIT_DIRECTORY,
  readOnly: true,
};
export const WEBHOOK_MOUNT: VolumeMount = {
  name: names.WEBHOOK_VOLUME,
  mountPath: names.WEBHOOK_DIRECTORY,
  readOnly: true,
};
export const webhookVolume = (secretName: string): Volume => ({
  name: names.WEBHOOK_VOLUME,
  secret: { secretName },
});

/**
 * Where a host replaces the registry of an image (KKP, RewriteImage).
 * @param image such as docker.io/fluent/fluent-bit:4.0.0 or fluent/fluent-bit@sha256:…
 */
export function splitImage(image: string): { registry: string; repository: string; rest: string } {
  const digest = image.indexOf('@');
  const named = digest === -1 ? image : image.slice(0, digest);
  const colon = named.lastIndexOf(':');
  const path = colon > named.lastIndexOf('/') ? named.slice(0, colon) : named;
  const rest = image.slice(path.length);
  const slash = path.indexOf('/');
  const host = path.slice(0, Math.max(slash, 0));
  // A first component without a dot, a port or "localhost" is no host (the reference grammar of distribution).
  const hasHost = host !== '' && (/[.:]/.test(host) || host === 'localhost');
  const repository = hasHost ? path.slice(slash + 1) : path;
  return {
    registry: hasHost ? (host === 'index.docker.io' ? SIDECAR_REGISTRY : host) : SIDECAR_REGISTRY,
    repository: !hasHost && slash === -1 ? `library/${repository}` : repository,
    rest,
  };
}

/**
 * Says what settings ask for.
 * @param target pods get what KKP would take out of a Deployment again: the retention and the image of the server's configuration
 * @param annotations of the Deployment
 */
export function desire(
  settings: Settings,
  target: 'deployment' | 'pod',
  annotations: Readonly<Record<string, string>> = {},
): Desired {
  if (annotations[VPA_ANNOTATION]) return build(settings, target, annotations);
  let desired = known[target].get(settings);
  if (desired === undefined) {
    desired = build(settings, target, annotations);
    known[target].set(settings, desired);
  }
  return desired;
}

/** Settings are never changed in place, and the same ones hold for many writes. */
const known = { deployment: new WeakMap<Settings, Desired>(), pod: new WeakMap<Settings, Desired>() };

function build(
  settings: Settings,
  target: 'deployment' | 'pod',
  annotations: Readonly<Record<string, string>>,
): Desired {
  const { options } = settings;
  const problems: Reason[] = [];
  const enabled = settings.enabled.value;
  const configured = options.sidecar.image;
  const standard = `${options.registry || SIDECAR_REGISTRY}/${SIDECAR_REPOSITORY}:${SIDECAR_TAG}`;
  const image =
    target === 'pod' && configured !== '' ? replaceRegistry(configured, options.registry) : standard;
  const sidecar: Container | undefined = enabled
    ? {
        name: names.SIDECAR,
        image,
        ...(target === 'pod' &&
          options.sidecar.imagePullPolicy !== '' && { imagePullPolicy: options.sidecar.imagePullPolicy }),
        command: ['/fluent-bit/bin/fluent-bit'],
        args: ['-c', names.FLUENTBIT_PATH],
        env: desireEnvironment(settings, problems),
        resources: desireResources(settings, annotations, problems),
        volumeMounts: [LOG_MOUNT, FLUENTBIT_MOUNT],
      }
    : undefined;
  return {
    policy: enabled || settings.webhookBackend.value !== undefined,
    sidecar,
    webhook: settings.webhookBackend.value,
    retention: {
      'audit-log-maxage': String(options.retention.maxAgeDays),
      'audit-log-maxbackup': String(options.retention.maxBackups),
      'audit-log-maxsize': String(options.retention.maxSizeMegabytes),
    },
    sidecarRepositories: [
      SIDECAR_REPOSITORY,
      ...(configured === '' ? [] : [splitImage(configured).repository]),
      ...options.sidecar.allowedImages,
    ],
    sidecarRegistries: [
      SIDECAR_REGISTRY,
      ...(options.registry === '' ? [] : [options.registry]),
      ...(configured === '' ? [] : [splitImage(configured).registry]),
    ],
    problems: [...settings.problems, ...problems],
  };
}

function replaceRegistry(image: string, registry: string): string {
  if (registry === '') return image;
  const { repository, rest } = splitImage(image);
  return `${registry}/${repository}${rest}`;
}

/** CLUSTER_ID first, so that the others may refer to it, then the settings' variables in their order; the last of a name counts. */
function desireEnvironment(settings: Settings, problems: Reason[]): EnvVar[] {
  const extra: unknown = settings.sidecar.value.extraEnvs ?? [];
  const variables = new Map<string, EnvVar>([
    ['CLUSTER_ID', { name: 'CLUSTER_ID', value: settings.cluster }],
  ]);
  for (const [index, variable] of (Array.isArray(extra) ? extra : []).entries()) {
    const problem = findEnvProblem(variable);
    if (problem !== undefined) {
      const where = `spec.auditLogging.sidecar.extraEnvs[${index}]`;
      problems.push(reason('SIDECAR_ENV_INVALID', { where, problem }));
      continue;
    }
    const { name, value, valueFrom } = variable as EnvVar;
    if (name === 'CLUSTER_ID') continue;
    variables.delete(name);
    // As Kubernetes stores it: an empty value is none.
    variables.set(name, { name, ...(value && { value }), ...(isGiven(valueFrom) && { valueFrom }) });
  }
  return [...variables.values()];
}

const isGiven = (value: unknown): boolean => value !== undefined && value !== null;
const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** What kube-apiserver would reject a whole Deployment for, or this software its pods; the name is any printable ASCII but "=" (Kubernetes 1.34). */
function findEnvProblem(variable: unknown): string | undefined {
  if (!isMap(variable)) return 'it is no variable';
  const { name, value, valueFrom } = variable;
  if (typeof name !== 'string' || !/^[ -<>-~]+$/.test(name))
    return `${JSON.stringify(name) ?? 'no name'} is no name`;
  if (names.LOADER_VARIABLE.test(name))
    return `${name} changes what the sidecar runs, and its pods would be refused`;
  if (isGiven(value) && typeof value !== 'string') return `the value of ${name} is no string`;
  if (!isGiven(valueFrom)) return undefined;
  if (!isMap(valueFrom)) return `valueFrom of ${name} is no object`;
  return value ? `${name} has both value and valueFrom` : undefined;
}

/** Requests and limits of the settings replace the defaults separately; what the VPA support noted counts where the settings say nothing. */
function desireResources(
  settings: Settings,
  annotations: Readonly<Record<string, string>>,
  problems: Reason[],
): ResourceRequirements {
  const given: unknown = settings.sidecar.value.resources;
  if (!isGiven(given)) return readVpaAnnotation(annotations) ?? DEFAULT_RESOURCES;
  const problem = findResourcesProblem(given);
  if (problem !== undefined) {
    problems.push(
      reason('SIDECAR_RESOURCES_INVALID', { where: 'spec.auditLogging.sidecar.resources', problem }),
    );
    return DEFAULT_RESOURCES;
  }
  const { requests, limits } = given as ResourceRequirements;
  const resources = {
    requests: requests ?? DEFAULT_RESOURCES.requests,
    limits: limits ?? DEFAULT_RESOURCES.limits,
  };
  const starved = findStarvedLimit(resources);
  if (starved === undefined) return resources;
  problems.push(starved);
  return DEFAULT_RESOURCES;
}

function findResourcesProblem(given: unknown): string | undefined {
  if (!isMap(given)) return 'it is no object';
  for (const key of ['requests', 'limits']) {
    const amounts = given[key];
    if (!isGiven(amounts)) continue;
    if (!isMap(amounts)) return `${key} is no object`;
    for (const [resource, amount] of Object.entries(amounts)) {
      if (
        (typeof amount !== 'string' && typeof amount !== 'number') ||
        !isGiven(parseQuantity(String(amount)))
      )
        return `${key}.${resource} ${JSON.stringify(amount)} is no quantity`;
    }
  }
  return undefined;
}

/** The first limit that is too small, as a reason. */
export function findStarvedLimit(resources: ResourceRequirements | undefined): Reason | undefined {
  for (const { resource, minimum, amount: least } of MINIMUMS) {
    const value = resources?.limits?.[resource];
    if (value === undefined || value === null) continue;
    const amount = parseQuantity(String(value));
    if (amount !== undefined && amount < least) {
      return reason('SIDECAR_STARVED', { resource, value, minimum });
    }
  }
  return undefined;
}

function readVpaAnnotation(annotations: Readonly<Record<string, string>>): ResourceRequirements | undefined {
  const text = annotations[VPA_ANNOTATION];
  if (!text) return undefined;
  try {
    const rows: unknown = JSON.parse(text);
    const row: unknown = Array.isArray(rows)
      ? rows.find((candidate) => candidate?.name === names.SIDECAR)
      : undefined;
    const requires: unknown = (row as { requires?: unknown } | undefined)?.requires;
    if (!isMap(requires) || findResourcesProblem(requires) !== undefined) return undefined;
    const resources = requires as ResourceRequirements;
    const isUseful = isGiven(resources.requests) || isGiven(resources.limits);
    return isUseful && findStarvedLimit(resources) === undefined ? resources : undefined;
  } catch {
    return undefined; // KKP fails its whole pass on it; auditing should not depend on that
  }
}
