/** What `check` looks at, read once: each part is there, or why it could not be read. The checks judge it without talking to anybody. */

import type { Configuration, EnforcedHooks } from '../certs/publish.ts';
import type { ProbeResult } from '../certs/send-probe.ts';
import type { Config } from '../config.ts';
import type { ClusterView, SeedView } from '../kkp.ts';
import type { Deployment, JsonObject, KubernetesObject, Pod, Secret } from '../kubernetes.ts';
import type { Question } from './rights.ts';
import type { Labels, Selector } from './selector.ts';

/** A part of the cluster, or why it could not be read; `missing` where the API server says that there is none. */
export type Read<T> =
  | { readonly found: true; readonly value: T }
  | { readonly found: false; readonly missing: boolean; readonly problem: string };

export interface RolloutStatus {
  readonly replicas?: number;
  readonly readyReplicas?: number;
  readonly updatedReplicas?: number;
}

export interface Service extends KubernetesObject {
  readonly spec?: {
    readonly ports?: readonly { readonly port?: number }[];
    readonly selector?: Readonly<Record<string, string>>;
  };
}

export interface EndpointSlice extends KubernetesObject {
  readonly endpoints?: readonly { readonly conditions?: { readonly ready?: boolean } }[];
}

export interface Lease extends KubernetesObject {
  readonly spec?: {
    readonly holderIdentity?: string | null;
    readonly renewTime?: string | null;
    readonly leaseDurationSeconds?: number | null;
  };
}

export interface NetworkPolicyRule {
  readonly ports?: readonly {
    readonly port?: string | number;
    readonly endPort?: number;
    readonly protocol?: string;
  }[];
}

export interface NetworkPolicy extends KubernetesObject {
  readonly spec?: {
    readonly podSelector?: Selector;
    readonly policyTypes?: readonly string[];
    readonly ingress?: readonly NetworkPolicyRule[];
    readonly egress?: readonly NetworkPolicyRule[];
  };
}

export interface AdmissionPolicy extends KubernetesObject {
  readonly status?: {
    readonly typeChecking?: { readonly expressionWarnings?: readonly { readonly warning?: string }[] };
  };
}

export interface PolicyBinding extends KubernetesObject {
  readonly spec?: { readonly policyName?: string; readonly validationActions?: readonly string[] };
}

/** What stands in a cluster's namespace. */
export interface Workloads {
  readonly deployments: readonly Deployment[];
  readonly pods: readonly Pod[];
}

export interface Snapshot {
  /** Where this software is, or is to be. */
  readonly namespace: string;
  /** The defaults where what the installation goes by can't be read or is not valid. */
  readonly config: Config;
  /** Each place in the settings of the installation that is not valid, and what is expected there. */
  readonly configProblems: Read<readonly string[]>;
  /** By kube-apiserver's clock; by this machine's where it does not answer. */
  readonly nowMs: number;
  readonly version: Read<{ readonly major?: string; readonly minor?: string; readonly gitVersion?: string }>;
  /** Resources of admissionregistration.k8s.io/v1 and kubermatic.k8c.io/v1. */
  readonly admissionResources: Read<readonly string[]>;
  readonly kkpResources: Read<readonly string[]>;
  readonly kkpController: Read<Deployment>;
  readonly seeds: Read<readonly SeedView[]>;
  readonly clusters: Read<readonly ClusterView[]>;
  /** Names of namespaces with the label of what is enforced. */
  readonly labelledNamespaces: Read<readonly string[]>;
  readonly deployment: Read<Deployment & { readonly status?: RolloutStatus }>;
  readonly disruptionBudgets: Read<readonly JsonObject[]>;
  readonly services: Read<readonly Service[]>;
  readonly endpointSlices: Read<readonly EndpointSlice[]>;
  readonly networkPolicies: Read<readonly NetworkPolicy[]>;
  readonly configurations: Read<readonly Configuration[]>;
  /** Those that are not ours; only for `--pre`. */
  readonly otherHooks: Read<readonly Configuration[]>;
  /** Labels of the namespaces of clusters; only for `--pre`. */
  readonly clusterNamespaces: Read<readonly Labels[]>;
  /** What the leader is to put into the configurations for what is enforced. */
  readonly enforcedHooks: Read<EnforcedHooks>;
  /** Of the own CA; it may be there although it is no longer used. */
  readonly caSecret: Read<Secret>;
  /** PEM, where it is mounted: not where each replica makes its own. */
  readonly servedCertificate: Read<string>;
  readonly lease: Read<Lease>;
  readonly policies: Read<readonly AdmissionPolicy[]>;
  readonly bindings: Read<readonly PolicyBinding[]>;
  /** What the server's service account lacks; for `--pre`, what whoever asks lacks. */
  readonly missingRights: Read<readonly Question[]>;
  /** Undefined where there is no cluster to try it with. */
  readonly probes: readonly ProbeResult[] | undefined;
  readonly workloads: Read<Workloads>;
}
