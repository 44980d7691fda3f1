/**
 * KKP's objects as far as audit logging goes, slimmed to what the hooks and the controller read (kubermatic.k8c.io/v1), and the names
 * that KKP gives to the parts of an apiserver's control plane.
 */
import { type EnvVar, isJsonObject, type KubernetesObject, type ResourceRequirements } from './kubernetes.ts';

export const KKP_GROUP = 'kubermatic.k8c.io';
/** KKP's own opt-out from enforcement; only exactly "true" counts (KKP, `SkipAuditLoggingEnforcementAnnotation`). */
export const SKIP_ENFORCEMENT_ANNOTATION = 'kubermatic.k8c.io/skip-audit-logging-enforcement';
/** Set to "true" by the controller on the namespaces and Clusters where audit logging is enforced, so that selectors find them. */
export const ENFORCED_LABEL = 'audit.kubermatic.k8c.io/enforced';
/** KKP's convention: the namespace of cluster X is cluster-X until `status.namespaceName` says otherwise. */
export const CLUSTER_NAMESPACE_PREFIX = 'cluster-';

export const POLICY_PRESETS = ['', 'metadata', 'recommended', 'minimal'] as const;

/** A section of fluent-bit's configuration. KKP's API has maps of strings; a list of values repeats the key. */
export type FluentBitSection = Readonly<Record<string, string | readonly string[]>>;

export interface SidecarSettings {
  readonly resources?: ResourceRequirements;
  readonly config?: {
    readonly service?: FluentBitSection;
    readonly filters?: readonly FluentBitSection[];
    readonly outputs?: readonly FluentBitSection[];
  };
  readonly extraEnvs?: readonly EnvVar[];
}

export interface WebhookBackend {
  readonly auditWebhookConfig: { readonly name: string; readonly namespace?: string };
  /** A Go duration; KKP's CRD defaults it to "10s". */
  readonly auditWebhookInitialBackoff?: string;
}

/** `spec.auditLogging` of a Cluster and of a Seed: the same type. */
export interface AuditLoggingSettings {
  readonly enabled?: boolean;
  readonly policyPreset?: string;
  readonly sidecar?: SidecarSettings;
  readonly webhookBackend?: WebhookBackend | null;
}

/** Annotations that the audit settings depend on; others are dropped from the cached view. */
export const CLUSTER_ANNOTATION_PREFIX = 'audit.kubermatic.k8c.io/';

/** A Cluster as the caches hold it: no more than the decisions need. */
export interface ClusterView {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  /** `status.namespaceName`, or `cluster-<name>` where KKP has not written it (yet, or any more). */
  readonly namespace: string;
  /** True where the namespace is no more than the name rule's guess. */
  readonly namespaceGuessed?: true;
  /** `spec.cloud.dc`; "" where the Cluster names none. */
  readonly datacenter: string;
  readonly auditLogging: AuditLoggingSettings | undefined;
  /** Only SKIP_ENFORCEMENT_ANNOTATION and those under CLUSTER_ANNOTATION_PREFIX. */
  readonly annotations: Readonly<Record<string, string>>;
  readonly paused: boolean;
  /** Label `worker-name`, "" where there is none. */
  readonly workerName: string;
  /** Whether ENFORCED_LABEL is set. */
  readonly labelled?: true;
  /** Of the Kubernetes 1.x that the apiserver runs, where the Cluster says. */
  readonly kubernetesMinor?: number;
  readonly deleting: boolean;
}

export interface DatacenterView {
  readonly enforceAuditLogging: boolean;
  readonly enforcedAuditWebhookSettings: WebhookBackend | undefined;
}

/** A Seed as the caches hold it. `datacenters` is a Map, so that no key of an object's prototype can be mistaken for one. */
export interface SeedView {
  readonly name: string;
  readonly resourceVersion: string;
  readonly auditLogging: AuditLoggingSettings | undefined;
  readonly datacenters: ReadonlyMap<string, DatacenterView>;
}

export interface Cluster extends KubernetesObject {
  readonly spec?: {
    readonly cloud?: { readonly dc?: string };
    readonly auditLogging?: AuditLoggingSettings | null;
    readonly pause?: boolean;
  };
  readonly status?: { readonly namespaceName?: string };
}

export interface Seed extends KubernetesObject {
  readonly spec?: {
    readonly auditLogging?: AuditLoggingSettings | null;
    readonly datacenters?: Readonly<
      Record<
        string,
        {
          readonly spec?: {
            readonly enforceAuditLogging?: boolean;
            readonly enforcedAuditWebhookSettings?: WebhookBackend | null;
          };
        }
      >
    > | null;
  };
}

/**
 * Slims a Cluster. Fields of a wrong type count as missing: the source is input, and one odd object must not stop the others.
 * @param cluster a Cluster as kube-apiserver or a file has it
 * @returns its view; nothing in it refers to the object given, except `auditLogging`
 */
export function viewCluster(cluster: KubernetesObject): ClusterView {
  const meta = field(cluster, 'metadata');
  const spec = field(cluster, 'spec');
  const name = text(field(meta, 'name'));
  const annotations: Record<string, string> = Object.create(null);
  for (const [key, value] of Object.entries(mapping(field(meta, 'annotations')) ?? {})) {
    if (key === SKIP_ENFORCEMENT_ANNOTATION || key.startsWith(CLUSTER_ANNOTATION_PREFIX))
      annotations[key] = text(value);
  }
  const namespace = text(field(field(cluster, 'status'), 'namespaceName'));
  return {
    name,
    uid: text(field(meta, 'uid')),
    resourceVersion: text(field(meta, 'resourceVersion')),
    namespace: namespace || CLUSTER_NAMESPACE_PREFIX + name,
    ...(namespace === '' ? { namespaceGuessed: true } : {}),
    datacenter: text(field(field(spec, 'cloud'), 'dc')),
    auditLogging: mapping<AuditLoggingSettings>(field(spec, 'auditLogging')),
    annotations,
    paused: field(spec, 'pause') === true,
    workerName: text(field(field(meta, 'labels'), 'worker-name')),
    ...(field(field(meta, 'labels'), ENFORCED_LABEL) === 'true' ? { labelled: true } : {}),
    deleting: text(field(meta, 'deletionTimestamp')) !== '',
    ...readMinor(
      text(field(field(field(cluster, 'status'), 'versions'), 'apiserver')) || text(field(spec, 'version')),
    ),
  };
}

/**
 * Slims a Seed; wrong types count as missing, as in viewCluster.
 * @param seed a Seed as kube-apiserver or a file has it
 */
export function viewSeed(seed: KubernetesObject): SeedView {
  const spec = field(seed, 'spec');
  const datacenters = new Map<string, DatacenterView>();
  for (const [key, datacenter] of Object.entries(mapping(field(spec, 'datacenters')) ?? {})) {
    const datacenterSpec = field(datacenter, 'spec');
    datacenters.set(key, {
      enforceAuditLogging: field(datacenterSpec, 'enforceAuditLogging') === true,
      enforcedAuditWebhookSettings: mapping<WebhookBackend>(
        field(datacenterSpec, 'enforcedAuditWebhookSettings'),
      ),
    });
  }
  return {
    name: text(field(field(seed, 'metadata'), 'name')),
    resourceVersion: text(field(field(seed, 'metadata'), 'resourceVersion')),
    auditLogging: mapping<AuditLoggingSettings>(field(spec, 'auditLogging')),
    datacenters,
  };
}

/** `1.36.2` → 36; nothing where it is no version of Kubernetes 1. */
function readMinor(version: string): { kubernetesMinor?: number } {
  const minor = /^v?1\.(\d{1,4})(\.|$)/.exec(version)?.[1];
  return minor === undefined ? {} : { kubernetesMinor: Number(minor) };
}

/** The object's own field, never one of its prototype. */
function field(object: unknown, key: string): unknown {
  return isJsonObject(object) && Object.hasOwn(object, key) ? object[key] : undefined;
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** What is in the mapping is the reader's to judge; that it is one is checked here. */
function mapping<T extends object = Record<string, unknown>>(value: unknown): T | undefined {
  return isJsonObject(value) ? (value as unknown as T) : undefined;
}
