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

/** Below these, fluent-bit is killed or throttled into uselessness: half of what an idle one takes. */
export const MINIMUM_LIMITS: Readonly<Record<string, string>> = { memory: '20Mi', cpu: '5m' };

/** Set by KKP's own autoscaling support on the Deployment; ranks between the defaults and the settings. */
const VPA_ANNOTATION = 'updated-by-vpa';

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
  const [, path = '', rest = ''] = /^([^@]*?)((?::[^:/@]*)?(?:@.*)?)$/s.exec(image) ?? [];
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
    const name: unknown = variable?.name;
    const where = `spec.auditLogging.sidecar.extraEnvs[${index}]`;
    if (typeof name !== 'string' || name === '' || name.includes('=')) {
      problems.push(
        reason('SIDECAR_ENV_INVALID', { where, problem: `${JSON.stringify(name) ?? 'no name'} is no name` }),
      );
    } else if (name !== 'CLUSTER_ID') {
      variables.delete(name);
      variables.set(name, variable);
    }
  }
  return [...variables.values()];
}

/** Requests and limits of the settings replace the defaults separately; what the VPA support noted counts where the settings say nothing. */
function desireResources(
  settings: Settings,
  annotations: Readonly<Record<string, string>>,
  problems: Reason[],
): ResourceRequirements {
  const given = settings.sidecar.value.resources;
  if (typeof given !== 'object' || given === null) return readVpaAnnotation(annotations) ?? DEFAULT_RESOURCES;
  const resources = {
    ...given,
    requests: given.requests ?? DEFAULT_RESOURCES.requests,
    limits: given.limits ?? DEFAULT_RESOURCES.limits,
  };
  const starved = findStarvedLimit(resources);
  if (starved === undefined) return resources;
  problems.push(starved);
  return { ...resources, requests: DEFAULT_RESOURCES.requests, limits: DEFAULT_RESOURCES.limits };
}

/** The first limit that is too small, as a reason. */
export function findStarvedLimit(resources: ResourceRequirements | undefined): Reason | undefined {
  for (const [resource, minimum] of Object.entries(MINIMUM_LIMITS)) {
    const value = resources?.limits?.[resource];
    if (value === undefined || value === null) continue;
    const amount = parseQuantity(String(value));
    if (amount !== undefined && amount < (parseQuantity(minimum) ?? 0)) {
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
    const requires = (row as { requires?: ResourceRequirements } | undefined)?.requires;
    return requires?.requests !== undefined || requires?.limits !== undefined ? requires : undefined;
  } catch {
    return undefined; // KKP fails its whole pass on it; auditing should not depend on that
  }
}
