/**
 * The spine: each hook is one page, its steps in the order in which data flows. A hook never throws for a reason of policy; what it throws
 * is an internal failure, which kube-apiserver gets as an HTTP error.
 */
import {
  type AdmissionRequest,
  allow,
  type Decision,
  deny,
  type Hook,
  type HookName,
  ReviewError,
  type UserInfo,
} from './admission.ts';
import {
  explainDenial,
  findIneffective,
  judgeCluster,
  judgeWorkload,
  settingsOf,
  type Verdict,
} from './audit/enforce.ts';
import { type Injected, injectDeployment } from './audit/inject.ts';
import { APISERVER } from './audit/names.ts';
import { type Resolution, resolveSettings } from './audit/settings.ts';
import type { Config } from './config.ts';
import { CLUSTER_NAMESPACE_PREFIX, type Cluster, type ClusterView, KKP_GROUP, viewCluster } from './kkp.ts';
import type { Deployment } from './kubernetes.ts';
import { buildPatch } from './patch.ts';
import { explainReason, type Reason, reason } from './reasons.ts';
import type { State } from './state/state.ts';
import { podSpecOf, readDeployment } from './workload.ts';

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
}

/** The hooks by name, for the server. */
export function buildHooks(dependencies: HookDependencies): Partial<Record<HookName, Hook>> {
  return {
    'mutate-deployments': (request, signal) => mutateDeployment(dependencies, request, signal),
    validate: (request, signal) => validate(dependencies, request, signal),
  };
}

// --- Deployments

function mutateDeployment(
  dependencies: HookDependencies,
  request: AdmissionRequest,
  signal: AbortSignal,
): Decision | Promise<Decision> {
  if (!isApiserverDeployment(request)) return allow();
  const deployment = readDeployment(request.object);
  if (isDeleted(deployment)) return allow();
  return withCluster(dependencies, request, signal, (cluster, resolution) => {
    const isPlatform = isPlatformWriter(dependencies.config, request.userInfo);
    const old = (): Deployment | undefined => (request.operation === 'UPDATE' ? readOld(request) : undefined);
    const injected = injectDeployment(deployment, old, settingsOf(resolution), isPlatform);
    const admit = (notes: readonly Reason[]): Decision => answer(deployment, injected, resolution, notes);
    if (isPlatform || request.operation === 'CREATE') return admit([]); // completed, never rejected here
    const verdict = judgeWorkload(() => podSpecOf(old()), injected.found, resolution);
    if (verdict.attempts.length === 0) return admit([]);
    return refuse(
      dependencies,
      request,
      signal,
      `Deployment ${request.namespace}/${request.name}`,
      cluster,
      verdict,
      resolution,
      admit,
    );
  });
}

const isApiserverDeployment = (request: AdmissionRequest): boolean =>
  request.group === 'apps' &&
  request.kind === 'Deployment' &&
  request.subResource === '' &&
  request.name === APISERVER &&
  request.namespace.startsWith(CLUSTER_NAMESPACE_PREFIX) &&
  (request.operation === 'CREATE' || request.operation === 'UPDATE');

/** What an injection comes to: the patch, and what a person should know. */
function answer<T>(
  before: T,
  injected: Injected<T>,
  resolution: Resolution,
  notes: readonly Reason[],
): Decision {
  const unresolved = resolution.resolved ? [] : [resolution.reason];
  const shown = [...notes, ...unresolved, ...injected.problems, ...injected.remaining];
  return allow({
    patch: injected.object === before ? [] : buildPatch(before, injected.object),
    warnings: shown.map(warn),
    reasons: [...injected.done, ...shown].map(({ code }) => code),
    auditAnnotations: annotate([...injected.done, ...shown]),
    log: describe(resolution),
  });
}

// --- validation

function validate(
  dependencies: HookDependencies,
  request: AdmissionRequest,
  signal: AbortSignal,
): Decision | Promise<Decision> {
  if (request.operation !== 'CREATE' && request.operation !== 'UPDATE') return allow();
  if (request.subResource !== '') return allow();
  if (isApiserverDeployment(request)) return validateDeployment(dependencies, request, signal);
  if (request.group === KKP_GROUP && request.kind === 'Cluster')
    return validateCluster(dependencies, request, signal);
  return allow();
}

function validateDeployment(
  dependencies: HookDependencies,
  request: AdmissionRequest,
  signal: AbortSignal,
): Decision | Promise<Decision> {
  const deployment = readDeployment(request.object);
  if (isDeleted(deployment) || isPlatformWriter(dependencies.config, request.userInfo)) return allow();
  return withCluster(dependencies, request, signal, (cluster, resolution) => {
    const before = () => (request.operation === 'UPDATE' ? podSpecOf(readOld(request)) : undefined);
    const verdict = judgeWorkload(before, findIneffective(podSpecOf(deployment), resolution), resolution);
    const admit = (notes: readonly Reason[]): Decision => admitWith(notes, resolution);
    if (verdict.attempts.length === 0) return admit([]);
    return refuse(
      dependencies,
      request,
      signal,
      `Deployment ${request.namespace}/${request.name}`,
      cluster,
      verdict,
      resolution,
      admit,
    );
  });
}

function validateCluster(
  dependencies: HookDependencies,
  request: AdmissionRequest,
  signal: AbortSignal,
): Decision | Promise<Decision> {
  const { state, config, nowMs } = dependencies;
  const object = readCluster(request.object);
  if (isDeleted(object) || isPlatformWriter(config, request.userInfo)) return allow();
  const after = viewCluster(object);
  const before = request.operation === 'UPDATE' ? viewCluster(readCluster(request.oldObject())) : undefined;
  const resolution = resolveSettings(before ?? after, state.seeds(), config, nowMs());
  const verdict = judgeCluster(before, after, state.seeds(), config, nowMs());
  const admit = (notes: readonly Reason[]): Decision => admitWith([...verdict.notes, ...notes], resolution);
  if (verdict.attempts.length === 0) return admit([]);
  return refuse(dependencies, request, signal, `Cluster "${after.name}"`, after, verdict, resolution, admit);
}

// --- steps that hooks share

/** Finds the Cluster of the request's namespace and its settings, then decides; at once where the Cluster is in memory. */
function withCluster(
  { state, config, nowMs }: HookDependencies,
  request: AdmissionRequest,
  signal: AbortSignal,
  decide: (cluster: ClusterView, resolution: Resolution) => Decision | Promise<Decision>,
): Decision | Promise<Decision> {
  const decideFor = (cluster: ClusterView | undefined): Decision | Promise<Decision> => {
    if (cluster === undefined) {
      const unknown = reason('CLUSTER_NOT_FOUND', { namespace: request.namespace });
      return allow({ reasons: [unknown.code], auditAnnotations: annotate([unknown]) });
    }
    if (cluster.deleting) return allow({ log: { cluster: cluster.name } });
    return decide(cluster, resolveSettings(cluster, state.seeds(), config, nowMs()));
  };
  const known = state.clusterOfNamespace(request.namespace);
  return known === undefined
    ? state.fetchClusterOfNamespace(request.namespace, signal).then(decideFor)
    : decideFor(known);
}

/** Refuses an attempt, unless the writer may, or the datacenter's mode lets it pass. */
async function refuse(
  dependencies: HookDependencies,
  request: AdmissionRequest,
  signal: AbortSignal,
  subject: string,
  cluster: ClusterView,
  verdict: Verdict,
  resolution: Resolution,
  admit: (notes: readonly Reason[]) => Decision,
): Promise<Decision> {
  const { mode } = settingsOf(resolution).options;
  if (await dependencies.mayDisable(request.userInfo, cluster.name, signal)) {
    return admit([...verdict.attempts, reason('ATTEMPT_BY_OPERATOR', { user: request.userInfo.username })]);
  }
  if (mode !== 'enforce') {
    const admitted = admit([
      ...verdict.attempts,
      reason('ATTEMPT_ADMITTED', { datacenter: cluster.datacenter, mode }),
    ]);
    return mode === 'audit' ? { ...admitted, warnings: [] } : admitted;
  }
  return deny(explainDenial(subject, verdict.attempts, resolution), 403, {
    reasons: verdict.attempts.map(({ code }) => code),
    auditAnnotations: annotate(verdict.attempts),
    log: describe(resolution),
  });
}

const admitWith = (notes: readonly Reason[], resolution: Resolution): Decision =>
  allow({
    warnings: notes.map(warn),
    reasons: notes.map(({ code }) => code),
    auditAnnotations: annotate(notes),
    log: describe(resolution),
  });

const warn = (given: Reason): string => `${explainReason(given)} [${given.code}]`;

const annotate = (reasons: readonly Reason[]): Record<string, string> =>
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

const isDeleted = (object: Deployment | Cluster): boolean =>
  object.metadata?.deletionTimestamp !== undefined && object.metadata.deletionTimestamp !== null;

const isPlatformWriter = ({ platform }: Config, user: UserInfo): boolean =>
  platform.users.includes(user.username) || user.groups.some((group) => platform.groups.includes(group));

const readOld = (request: AdmissionRequest): Deployment => readDeployment(request.oldObject());

function readCluster(object: AdmissionRequest['object']): Cluster {
  if (object === undefined)
    throw new ReviewError('REVIEW_INVALID', 'request.object: expected a Cluster, found none');
  return object as Cluster;
}
