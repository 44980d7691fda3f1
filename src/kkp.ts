/**
 * KKP's objects as far as audit logging goes, slimmed to what the hooks and the controller read (kubermatic.k8c.io/v1), and the names
 * that KKP gives to the parts of an apiserver's control plane.
 */
import type { EnvVar, KubernetesObject, ObjectMeta, ResourceRequirements } from './kubernetes.ts';

export const KKP_GROUP = 'kubermatic.k8c.io';
/** KKP's own opt-out from enforcement; only exactly "true" counts (KKP, `SkipAuditLoggingEnforcementAnnotation`). */
export const SKIP_ENFORCEMENT_ANNOTATION = 'kubermatic.k8c.io/skip-audit-logging-enforcement';
/** KKP's convention: the namespace of cluster X is cluster-X until `status.namespaceName` says otherwise. */
export const CLUSTER_NAMESPACE_PREFIX = 'cluster-';

export const POLICY_PRESETS = ['', 'metadata', 'recommended', 'minimal'] as const;
export type PolicyPreset = (typeof POLICY_PRESETS)[number];

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
  /** `spec.cloud.dc`; "" where the Cluster names none. */
  readonly datacenter: string;
  readonly auditLogging: AuditLoggingSettings | undefined;
  /** Only SKIP_ENFORCEMENT_ANNOTATION and those under CLUSTER_ANNOTATION_PREFIX. */
  readonly annotations: Readonly<Record<string, string>>;
  readonly paused: boolean;
  /** Label `worker-name`, "" where there is none. */
  readonly workerName: string;
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
 * Slims a Cluster.
 * @param cluster a Cluster as kube-apiserver or a file has it
 * @returns its view; nothing in it refers to the object given, except `auditLogging`
 */
export function viewCluster(cluster: Cluster): ClusterView {
  const meta: ObjectMeta = cluster.metadata ?? {};
  const name = meta.name ?? '';
  const annotations: Record<string, string> = Object.create(null);
  for (const [key, value] of Object.entries(meta.annotations ?? {})) {
    if (key === SKIP_ENFORCEMENT_ANNOTATION || key.startsWith(CLUSTER_ANNOTATION_PREFIX))
      annotations[key] = value;
  }
  return {
    name,
    uid: meta.uid ?? '',
    resourceVersion: meta.resourceVersion ?? '',
    namespace: cluster.status?.namespaceName || CLUSTER_NAMESPACE_PREFIX + name,
    datacenter: cluster.spec?.cloud?.dc ?? '',
    auditLogging: cluster.spec?.auditLogging ?? undefined,
    annotations,
    paused: cluster.spec?.pause === true,
    workerName: meta.labels?.['worker-name'] ?? '',
    deleting: meta.deletionTimestamp !== undefined && meta.deletionTimestamp !== null,
  };
}

/**
 * Slims a Seed.
 * @param seed a Seed as kube-apiserver or a file has it
 */
export function viewSeed(seed: Seed): SeedView {
  const datacenters = new Map<string, DatacenterView>();
  for (const [key, datacenter] of Object.entries(seed.spec?.datacenters ?? {})) {
    datacenters.set(key, {
      enforceAuditLogging: datacenter?.spec?.enforceAuditLogging === true,
      enforcedAuditWebhookSettings: datacenter?.spec?.enforcedAuditWebhookSettings ?? undefined,
    });
  }
  return {
    name: seed.metadata?.name ?? '',
    resourceVersion: seed.metadata?.resourceVersion ?? '',
    auditLogging: seed.spec?.auditLogging ?? undefined,
    datacenters,
  };
}
