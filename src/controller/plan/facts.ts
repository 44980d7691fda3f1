/** What is known of one cluster, and what several rules draw from it. */
import { settingsOf } from '../../audit/enforce.ts';
import { injectCluster } from '../../audit/inject-cluster.ts';
import type { Resolution, Settings } from '../../audit/settings.ts';
import type { Cluster, ClusterView } from '../../kkp.ts';
import { mergePatch } from '../objects.ts';
import {
  type DeploymentView,
  keyOf,
  type NamespaceView,
  type ObjectView,
  type PodView,
  type PolicyView,
} from '../view.ts';

/** On the Cluster while it is in flight: when its roll-out began, RFC 3339. */
export const ROLLOUT_ANNOTATION = 'audit.kubermatic.k8c.io/rollout';

/** Resources that are watched. */
export const KINDS = [
  'namespaces',
  'deployments',
  'pods',
  'configmaps',
  'secrets',
  'networkpolicies',
] as const;
export type Kind = (typeof KINDS)[number];

/** All that is known of one cluster. */
export interface ClusterFacts {
  readonly cluster: ClusterView;
  readonly resolution: Resolution;
  readonly namespace: NamespaceView | undefined;
  readonly deployment: DeploymentView | undefined;
  readonly pods: readonly PodView[];
  readonly policy: PolicyView | undefined;
  readonly fluentBit: ObjectView | undefined;
  /** Secrets that carry our label, by name. */
  readonly ownSecrets: ReadonlyMap<string, ObjectView>;
  /** The Secret of the webhook backend in the cluster's namespace, and the one that it is copied from. */
  readonly backend: ObjectView | undefined;
  readonly backendSource: ObjectView | undefined;
  readonly networkPolicy: ObjectView | undefined;
  /** KKP's policy that denies all egress is there. */
  readonly deniesEgress: boolean;
  /** What could not be read (yet): that it seems to be missing means nothing. */
  readonly unread: ReadonlySet<Kind>;
}

/** How far the roll-out of a cluster in flight is. */
export interface Flight {
  /** Milliseconds since 1970; 0 where the annotation can't be read. */
  readonly sinceMs: number;
  /** The owner has had its time to act. */
  readonly isGraceOver: boolean;
  /** It takes longer than it may. */
  readonly isLate: boolean;
  /** How often the time that it may take has passed. */
  readonly timeouts: number;
}

/** What the rules judge by. */
export interface Situation extends ClusterFacts {
  readonly settings: Settings;
  /** Audit logging is asked for: by a log file, a webhook backend or both. */
  readonly isWanted: boolean;
  /** It is asked for by a log file, which the sidecar reads. */
  readonly wantsSidecar: boolean;
  /** Undefined where the cluster is not in flight. */
  readonly flight: Flight | undefined;
  /** What the Cluster hook would change about the Cluster, as a merge patch; undefined where nothing. */
  readonly alignment: unknown;
  /** Says by which settings Deployment and pods are to be judged. */
  readonly key: string;
  /** Pods that do not end. */
  readonly livePods: readonly PodView[];
  /** The Deployment or a pod was judged by settings of another day. */
  readonly isStale: boolean;
  /** What the Deployment lacks goes into its pods. */
  readonly isLeft: boolean;
}

/**
 * Draws from the facts what several rules go by.
 * @param nowMs milliseconds since 1970
 */
export function situationOf(facts: ClusterFacts, nowMs: number): Situation {
  const { cluster, resolution, deployment, pods } = facts;
  const settings = settingsOf(resolution);
  const { injection } = settings.options;
  const key = keyOf(resolution);
  const livePods = pods.filter(({ ending }) => !ending);
  return {
    ...facts,
    settings,
    isWanted: isWanted(settings),
    wantsSidecar: settings.enabled.value,
    flight: flightOf(cluster, settings, nowMs),
    alignment: alignmentOf(cluster, resolution, nowMs),
    key,
    livePods,
    isStale: deployment !== undefined && [deployment, ...livePods].some((judged) => judged.key !== key),
    isLeft: injection === 'pod' || (injection === 'auto' && deployment?.isLeft === true),
  };
}

/** Whether audit logging is asked for, into a file or to a webhook. */
export function isWanted({ enabled, webhookBackend }: Settings): boolean {
  return enabled.value || webhookBackend.value !== undefined;
}

/**
 * When the roll-out of a cluster began.
 * @returns milliseconds since 1970; undefined where it is not in flight, 0 where that can't be read, so that it counts as late
 */
export function readRollout(cluster: ClusterView): number | undefined {
  const text = cluster.annotations[ROLLOUT_ANNOTATION];
  if (text === undefined) return undefined;
  const time = Date.parse(text);
  return Number.isNaN(time) ? 0 : time;
}

function flightOf(cluster: ClusterView, settings: Settings, nowMs: number): Flight | undefined {
  const sinceMs = readRollout(cluster);
  if (sinceMs === undefined) return undefined;
  const { timeoutSeconds, graceSeconds } = settings.options.rollout;
  const elapsedMs = Math.max(0, nowMs - sinceMs);
  return {
    sinceMs,
    isGraceOver: elapsedMs >= graceSeconds * 1000,
    isLate: elapsedMs > timeoutSeconds * 1000,
    // Nothing can be counted from a time that nobody knows.
    timeouts: sinceMs === 0 ? 0 : Math.floor(elapsedMs / (timeoutSeconds * 1000)),
  };
}

function alignmentOf(cluster: ClusterView, resolution: Resolution, nowMs: number): unknown {
  const stored: Cluster = {
    metadata: { annotations: cluster.annotations },
    spec: { auditLogging: cluster.auditLogging ?? null },
  };
  const { object } = injectCluster(stored, resolution, nowMs);
  return object === stored ? undefined : mergePatch(stored, object);
}
