/** What a user cluster's apiserver Deployment is made from and of, in the tests' own words: no type of src/ is used. */

export interface EnvVar {
  name: string;
  value?: string;
  valueFrom?: unknown;
}

interface Resources {
  requests?: Record<string, string>;
  limits?: Record<string, string>;
}

export interface VolumeMount {
  name: string;
  mountPath: string;
  subPath?: string;
  readOnly?: boolean;
}

export interface Container {
  name: string;
  image: string;
  command: string[];
  args?: string[];
  env?: EnvVar[];
  resources?: Resources;
  volumeMounts?: VolumeMount[];
  [field: string]: unknown;
}

export interface Volume {
  name: string;
  secret?: { secretName: string; items?: { key: string; path: string }[]; defaultMode?: number };
  configMap?: { name: string; optional?: boolean; defaultMode?: number };
  emptyDir?: Record<string, never>;
}

interface Metadata {
  name: string;
  namespace: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  resourceVersion?: string;
  generation?: number;
  [field: string]: unknown;
}

export interface PodSpec {
  containers: Container[];
  initContainers: Container[];
  volumes: Volume[];
  [field: string]: unknown;
}

export interface Deployment {
  apiVersion: 'apps/v1';
  kind: 'Deployment';
  metadata: Metadata;
  spec: {
    replicas: number;
    template: {
      metadata: { labels: Record<string, string>; annotations: Record<string, string> };
      spec: PodSpec;
    };
    [field: string]: unknown;
  };
  status?: unknown;
}

export interface AuditLogging {
  enabled?: boolean;
  policyPreset?: string;
  sidecar?: {
    resources?: Resources;
    config?: {
      service?: Record<string, string>;
      filters?: Record<string, string>[];
      outputs?: Record<string, string>[];
    };
    extraEnvs?: EnvVar[];
  };
  webhookBackend?: {
    auditWebhookConfig: { name: string; namespace?: string };
    auditWebhookInitialBackoff?: string;
  } | null;
}

export type Provider =
  | 'aws'
  | 'azure'
  | 'bringyourown'
  | 'edge'
  | 'gcp'
  | 'hetzner'
  | 'openstack'
  | 'vsphere';

/** What differs between user clusters. Everything has a default: `renderKkp({})` is a user cluster on AWS with Konnectivity. */
export interface KkpOptions {
  cluster?: string;
  /** Default: cluster-<name>. */
  namespace?: string;
  version?: string;
  provider?: Provider;
  /** The cloud controller within Kubernetes, with its flags; default false. */
  inTreeCloudProvider?: boolean;
  /** Default true. False is the legacy shape with openvpn-client and dnat-controller. */
  konnectivity?: boolean;
  encryption?: boolean;
  authorizationWebhook?: boolean;
  /** The file replaces `--authorization-mode`. */
  authorizationConfigFile?: boolean;
  /** Default true. */
  authenticationConfig?: boolean;
  dynamicResourceAllocation?: boolean;
  httpProxy?: string;
  replicas?: number;
  tolerations?: unknown[];
  /** Registry that replaces the one of every image. */
  overwriteRegistry?: string;
  /** `command: [/hyperkube, kube-apiserver]`, as long ago. */
  hyperkube?: boolean;
  /** Value of the Deployment's annotation by which KKP takes over a VPA's recommendation: JSON of `{name, requires}`. */
  updatedByVpa?: string;
}

/** The resourceVersion of a mounted or referenced Secret or ConfigMap, which KKP writes to a label of the template. */
export type Revisions = (kind: 'secret' | 'configmap', name: string) => string;

/** Fills in the defaults of KkpOptions. */
export function complete(options: KkpOptions) {
  const cluster = options.cluster ?? 'q7x2mfk9vd';
  return {
    cluster,
    namespace: options.namespace ?? `cluster-${cluster}`,
    version: options.version ?? '1.36.2',
    provider: options.provider ?? 'aws',
    konnectivity: options.konnectivity ?? true,
    authenticationConfig: options.authenticationConfig ?? true,
    replicas: options.replicas ?? 2,
    port: 6443,
    address: '203.0.113.17',
    externalName: `${cluster}.seed.example.com`,
    options,
  };
}
export type Complete = ReturnType<typeof complete>;
