/** Steps that the hooks share: who writes, whose cluster it is, what to answer. */
import type { Operation } from 'fast-json-patch';
import {
  type AdmissionRequest,
  allow,
  type Decision,
  deny,
  ReviewError,
  type UserInfo,
} from '../admission.ts';
import { explainDenial, explainInvalid, mayBeEnforced, settingsOf, type Verdict } from '../audit/enforce.ts';
import type { Injected } from '../audit/inject.ts';
import { type Resolution, resolveSettings } from '../audit/settings.ts';
import type { Config } from '../config.ts';
import { CLUSTER_NAMESPACE_PREFIX, type Cluster, type ClusterView } from '../kkp.ts';
import type { KubernetesObject } from '../kubernetes.ts';
import { buildPatch } from '../patch.ts';
import { explainReason, type Reason, reason } from '../reasons.ts';
import type { State } from '../state/state.ts';

export interface HookDependencies {
  readonly state: State;
  readonly config: Config;
  /** Milliseconds since 1970, for exemptions that end. */
  readonly nowMs: () => number;
  /**
   * Whether the user holds the right to weaken audit logging (the custom verb `disable-audit-logging` on Clusters).
   * @throws where that can't be found out
   */
  readonly mayDisable: (user: UserInfo, cluster: string, signal: AbortSignal) => Promise<boolean>;
  /** Puts an attempt on record (metric, Event); never called for a dry run. */
  readonly recordAttempt?: (attempt: Attempt) => void;
}

/** What became of an attempt: refused, let through by the mode of the datacenter, or made by one who may. */
export type AttemptOutcome = 'rejected' | 'admitted' | 'permitted';

export interface Attempt {
  /** Undefined where it is about none in particular, as for a Seed. */
  readonly cluster: ClusterView | undefined;
  /** Of a Seed; "" where no Seed has it. */
  readonly datacenter: string;
  readonly subject: string;
  readonly user: string;
  readonly outcome: AttemptOutcome;
  readonly reasons: readonly Reason[];
  /** What else is worth knowing, such as the end of an exemption. */
  readonly notes: readonly Reason[];
}

/** One request on its way through a hook. */
export interface Call extends HookDependencies {
  readonly request: AdmissionRequest;
  /** Aborts when the answer would come too late. */
  readonly signal: AbortSignal;
}

export type Answer = Decision | Promise<Decision>;

export const isInClusterNamespace = ({ namespace }: AdmissionRequest): boolean =>
  namespace.startsWith(CLUSTER_NAMESPACE_PREFIX);

/** The object's name: a request that creates may be without, and one that deletes a collection asks about each object without naming it. */
export const nameOf = (request: AdmissionRequest): string =>
  request.name ||
  (request.object?.metadata?.name ??
    (request.operation === 'CREATE' ? undefined : request.oldObject()?.metadata?.name) ??
    '');

export const isWrite = ({ operation, subResource }: AdmissionRequest): boolean =>
  (operation === 'CREATE' || operation === 'UPDATE') && subResource === '';

/** Nothing under deletion is held back: finalizers must be able to go. */
export const isDeleted = (object: KubernetesObject): boolean =>
  object.metadata?.deletionTimestamp !== undefined && object.metadata.deletionTimestamp !== null;

export const isPlatformWriter = ({ config: { platform }, request: { userInfo } }: Call): boolean =>
  platform.users.includes(userInfo.username) ||
  userInfo.groups.some((group) => platform.groups.includes(group));

/**
 * Finds the Cluster of the request's namespace and its settings, then decides: at once where the Cluster is in memory, else after one look-up.
 * A namespace without a Cluster is none of ours; a Cluster under deletion is left alone.
 */
export function withCluster(
  call: Call,
  decide: (cluster: ClusterView, resolution: Resolution) => Answer,
): Answer {
  const { state, request } = call;
  const decideFor = (cluster: ClusterView | undefined): Answer => {
    if (cluster === undefined) {
      const unknown = reason('CLUSTER_NOT_FOUND', { namespace: request.namespace });
      return allow({ reasons: [unknown.code], auditAnnotations: annotate([unknown]) });
    }
    if (cluster.deleting) return allow({ log: { cluster: cluster.name } });
    return decide(cluster, resolve(call, cluster));
  };
  const known = findCluster(call);
  return known === undefined
    ? state.fetchClusterOfNamespace(request.namespace, call.signal).then(decideFor)
    : decideFor(known);
}

/**
 * The Cluster that claims the namespace by its status, or the one that it is named for. They are the same, unless somebody has written a
 * status to send the hooks elsewhere: then the one that is enforced counts.
 */
function findCluster(call: Call): ClusterView | undefined {
  const { state, request } = call;
  const claiming = state.clusterOfNamespace(request.namespace);
  const named = state.cluster(request.namespace.slice(CLUSTER_NAMESPACE_PREFIX.length));
  if (claiming === undefined || named === undefined || claiming.name === named.name) return claiming ?? named;
  return mayBeEnforced(resolve(call, claiming)) ? claiming : named;
}

export const resolve = ({ state, config, nowMs }: Call, cluster: ClusterView): Resolution =>
  resolveSettings(cluster, state.seeds(), config, nowMs());

/** @throws {ReviewError} where the request brings no such object */
export function readCluster(object: KubernetesObject | undefined): Cluster {
  const spec = (object as Cluster | undefined)?.spec;
  if (object === undefined)
    throw new ReviewError('REVIEW_INVALID', 'request.object: expected a Cluster, found none');
  if (spec !== undefined && (typeof spec !== 'object' || spec === null || Array.isArray(spec))) {
    throw new ReviewError('REVIEW_INVALID', 'request.object.spec: expected an object');
  }
  return object as Cluster;
}

/** What an injection comes to: the patch, and what a person should know. */
export function answer<T>(
  before: T,
  injected: Injected<T>,
  resolution: Resolution,
  notes: readonly Reason[],
  patch: readonly Operation[] = injected.object === before ? [] : buildPatch(before, injected.object),
): Decision {
  const unresolved = resolution.resolved ? [] : [resolution.reason];
  const shown = [...notes, ...unresolved, ...injected.problems, ...injected.remaining];
  return allow({
    patch,
    warnings: shown.map(warn),
    reasons: [...injected.done, ...shown].map(({ code }) => code),
    auditAnnotations: annotate([...injected.done, ...shown]),
    log: describe(resolution),
  });
}

/** Lets a write pass with what is to be said about it. */
export const admit = (notes: readonly Reason[], resolution: Resolution): Decision =>
  allow({
    warnings: notes.map(warn),
    reasons: notes.map(({ code }) => code),
    auditAnnotations: annotate(notes),
    log: describe(resolution),
  });

/** An attempt that a hook has found. */
export interface Found {
  /** What is written, for the message, such as `Deployment cluster-x/apiserver`. */
  readonly subject: string;
  readonly cluster: ClusterView;
  readonly verdict: Verdict;
  readonly resolution: Resolution;
  /** What else goes on record where the writer may, such as the end of an exemption. */
  readonly notes?: readonly Reason[];
  /** Where it passes, a later hook will find and record it again. */
  readonly isSeenAgain?: boolean;
}

/**
 * Refuses an attempt, unless the writer may, or the datacenter's mode lets it pass.
 * @param pass answers where it is not refused, given what to say about it
 */
export async function refuse(
  call: Call,
  found: Found,
  pass: (notes: readonly Reason[]) => Decision,
): Promise<Decision> {
  const { subject, cluster, verdict, resolution } = found;
  const { mode } = settingsOf(resolution).options;
  const { userInfo } = call.request;
  const { attempts } = verdict;
  if (await call.mayDisable(userInfo, cluster.name, call.signal)) {
    const permitted = reason('ATTEMPT_BY_OPERATOR', { user: userInfo.username });
    const decision = pass([permitted, ...(found.notes ?? []), ...attempts]);
    return onRecord(call, found, 'permitted', decision);
  }
  if (mode !== 'enforce') {
    const { datacenter } = cluster;
    const admitted = pass([reason('ATTEMPT_ADMITTED', { datacenter, mode }), ...attempts]);
    const decision = mode === 'audit' ? { ...admitted, warnings: [] } : admitted;
    return onRecord(call, found, 'admitted', decision);
  }
  const denied = deny(explainDenial(subject, attempts, resolution), 403, {
    reasons: attempts.map(({ code }) => code),
    auditAnnotations: annotate(attempts),
    log: describe(resolution),
  });
  return onRecord(call, found, 'rejected', denied);
}

/** Refuses what nobody may write, whatever the datacenter and its mode. */
export function refuseInvalid(
  call: Call,
  found: Omit<Found, 'verdict'> & { readonly faults: readonly Reason[]; readonly why: string },
): Decision {
  const { faults, why, subject, resolution } = found;
  const denied = deny(explainInvalid(subject, why, faults), 400, {
    reasons: faults.map(({ code }) => code),
    auditAnnotations: annotate(faults),
    log: describe(resolution),
  });
  return onRecord(call, { ...found, verdict: { attempts: faults, notes: [] } }, 'rejected', denied);
}

/** All reasons in full go to the log, codes to kube-apiserver's own audit log, and what is not a dry run to metric and Event. */
function onRecord(call: Call, found: Found, outcome: AttemptOutcome, decision: Decision): Decision {
  const { subject, cluster, resolution, verdict } = found;
  const { request } = call;
  const isDeferred = found.isSeenAgain === true && outcome !== 'rejected';
  if (!request.dryRun && !isDeferred) {
    const datacenter = resolution.resolved ? resolution.settings.datacenter : '';
    const user = request.userInfo.username;
    const { attempts: reasons } = verdict;
    const notes = found.notes ?? [];
    call.recordAttempt?.({ cluster, datacenter, subject, user, outcome, reasons, notes });
  }
  return {
    ...decision,
    auditAnnotations: { ...decision.auditAnnotations, attempt: outcome },
    log: {
      ...decision.log,
      attempt: outcome,
      attempts: [...verdict.attempts, ...(found.notes ?? [])].map(explainReason),
    },
  };
}

export const warn = (given: Reason): string => `${explainReason(given)} [${given.code}]`;

export const annotate = (reasons: readonly Reason[]): Record<string, string> =>
  reasons.length === 0 ? {} : { reasons: [...new Set(reasons.map(({ code }) => code))].join(',') };

function describe(resolution: Resolution): Decision['log'] {
  const { cluster, datacenter, enforced, enabled } = settingsOf(resolution);
  return {
    cluster,
    datacenter,
    enforced: resolution.resolved ? enforced : 'unknown',
    enabled: enabled.value,
    enabledBy: enabled.by,
  };
}
