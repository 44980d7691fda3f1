/**
 * The parts of Kubernetes objects that this project reads or writes, as they stand in JSON. Everything is optional, because what arrives is
 * input: a field that is missing is a case to judge, not an error of the type. Fields not named here pass through untouched.
 */

export type JsonValue = string | number | boolean | null | JsonValue[] | { [key: string]: JsonValue };
export type JsonObject = { [key: string]: JsonValue };

/** Whether the value is a mapping. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The text under a key of what should be a map of strings; never one of an object's prototype. */
export function ownText(map: unknown, key: string): string | undefined {
  const value = isJsonObject(map) && Object.hasOwn(map, key) ? map[key] : undefined;
  return typeof value === 'string' ? value : undefined;
}

/**
 * The path of a resource, or of an object where a name is given.
 * @param groupVersion such as `v1` or `apps/v1`
 * @param resource the plural, such as `pods`
 */
export function resourcePath(
  groupVersion: string,
  resource: string,
  where: { readonly namespace?: string; readonly name?: string; readonly subresource?: string } = {},
): string {
  const parts = [groupVersion.includes('/') ? `apis/${groupVersion}` : `api/${groupVersion}`];
  if (where.namespace !== undefined) parts.push('namespaces', encodeURIComponent(where.namespace));
  parts.push(resource);
  if (where.name !== undefined) parts.push(encodeURIComponent(where.name));
  if (where.subresource !== undefined) parts.push(where.subresource);
  return `/${parts.join('/')}`;
}

export interface ObjectMeta {
  readonly name?: string;
  readonly generateName?: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
}

export interface OwnerReference {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly name?: string;
  readonly uid?: string;
  readonly controller?: boolean;
}

export interface KubernetesObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: ObjectMeta;
}

export interface EnvVar {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: unknown;
}

export interface VolumeMount {
  readonly name: string;
  readonly mountPath: string;
  readonly subPath?: string;
  readonly subPathExpr?: string;
  readonly readOnly?: boolean;
}

export interface KeyToPath {
  readonly key: string;
  readonly path: string;
  readonly mode?: number;
}

export interface Volume {
  readonly name: string;
  readonly configMap?: {
    readonly name?: string;
    readonly items?: readonly KeyToPath[];
    readonly optional?: boolean;
    readonly defaultMode?: number;
  };
  readonly secret?: {
    readonly secretName?: string;
    readonly items?: readonly KeyToPath[];
    readonly optional?: boolean;
    readonly defaultMode?: number;
  };
  readonly emptyDir?: { readonly medium?: string; readonly sizeLimit?: string };
  readonly [source: string]: unknown;
}

export interface ResourceRequirements {
  readonly requests?: Readonly<Record<string, string | number>>;
  readonly limits?: Readonly<Record<string, string | number>>;
}

export interface Container {
  readonly name: string;
  readonly image?: string;
  readonly imagePullPolicy?: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly EnvVar[];
  readonly envFrom?: readonly unknown[];
  readonly resources?: ResourceRequirements;
  readonly volumeMounts?: readonly VolumeMount[];
  /** Raw storage, at the paths of devices. */
  readonly volumeDevices?: readonly { readonly name: string; readonly devicePath: string }[];
  readonly restartPolicy?: string;
  readonly workingDir?: string;
  readonly terminationMessagePath?: string;
  readonly lifecycle?: unknown;
  readonly livenessProbe?: unknown;
  readonly readinessProbe?: unknown;
  readonly startupProbe?: unknown;
  readonly securityContext?: unknown;
}

export interface PodSpec {
  readonly containers?: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly ephemeralContainers?: readonly Container[];
  readonly volumes?: readonly Volume[];
  readonly serviceAccountName?: string;
  readonly shareProcessNamespace?: boolean;
  readonly securityContext?: unknown;
}

/** A pod template of a workload; a Pod has the same two fields. */
export interface PodTemplate {
  readonly metadata?: ObjectMeta;
  readonly spec?: PodSpec;
}

export interface Pod extends KubernetesObject {
  readonly spec?: PodSpec;
}

export interface Deployment extends KubernetesObject {
  readonly spec?: {
    readonly replicas?: number;
    readonly paused?: boolean;
    readonly template?: PodTemplate;
  };
}

export interface ConfigMap extends KubernetesObject {
  readonly data?: Readonly<Record<string, string>> | null;
  /** Base64. */
  readonly binaryData?: Readonly<Record<string, string>> | null;
  readonly immutable?: boolean | null;
}

export interface Secret extends KubernetesObject {
  /** Base64. */
  readonly data?: Readonly<Record<string, string>> | null;
  /** Only in manifests: kube-apiserver moves it into `data` before a hook sees it. */
  readonly stringData?: Readonly<Record<string, string>> | null;
  readonly immutable?: boolean | null;
}
