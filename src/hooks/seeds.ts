/** Seeds: who may edit them may end the enforcement. It is never refused, but said and put on record, with the number of clusters that it frees. */
import { type AdmissionRequest, allow } from '../admission.ts';
import { resolveSettings } from '../audit/settings.ts';
import { KKP_GROUP, type Seed, type SeedView, viewSeed } from '../kkp.ts';
import { explainReason, reason } from '../reasons.ts';
import { type Answer, annotate, type Call, nameOf, warn } from './steps.ts';

export const isSeed = ({ group, kind, namespace, subResource, operation }: AdmissionRequest): boolean =>
  group === KKP_GROUP &&
  kind === 'Seed' &&
  namespace !== '' &&
  subResource === '' &&
  (operation === 'UPDATE' || operation === 'DELETE' || operation === 'CREATE');

export function validateSeed(call: Call): Answer {
  const { request, config } = call;
  if (request.namespace !== config.platform.namespace) return allow();
  const freed = countFreed(call);
  if (freed.size === 0) return allow();
  const datacenters = [...freed.keys()].sort();
  let count = 0;
  for (const clusters of freed.values()) count += clusters;
  const note = reason('SEED_ENFORCEMENT_ENDED', { count, datacenters: datacenters.join(', ') });
  if (!request.dryRun) {
    const user = request.userInfo.username;
    const subject = `Seed ${request.namespace}/${nameOf(request)}`;
    for (const datacenter of datacenters)
      call.recordAttempt?.({
        cluster: undefined,
        datacenter,
        subject,
        user,
        outcome: 'permitted',
        reasons: [note],
        notes: [],
      });
  }
  return allow({
    warnings: [warn(note)],
    reasons: [note.code],
    auditAnnotations: { ...annotate([note]), attempt: 'permitted' },
    log: {
      seed: nameOf(request),
      datacenters,
      clusters: count,
      attempt: 'permitted',
      attempts: [explainReason(note)],
    },
  });
}

/** How many clusters are enforced with the Seed as it was, and no longer with the Seed as it is written, by datacenter. */
function countFreed(call: Call): ReadonlyMap<string, number> {
  const { request, state, config } = call;
  const written = nameOf(request);
  const others = state.seeds().filter(({ name }) => name !== written);
  const withSeed = (seed: SeedView | undefined): readonly SeedView[] =>
    seed === undefined ? others : [...others, seed];
  const old = request.operation === 'CREATE' ? undefined : request.oldObject();
  const before = withSeed(old === undefined ? undefined : viewSeed(old as Seed));
  const after = withSeed(request.object === undefined ? undefined : viewSeed(request.object as Seed));
  const freed = new Map<string, number>();
  if (!before.some(({ datacenters }) => [...datacenters.values()].some((dc) => dc.enforceAuditLogging)))
    return freed;
  const nowMs = call.nowMs();
  const isEnforced = (
    cluster: Parameters<typeof resolveSettings>[0],
    seeds: readonly SeedView[],
  ): boolean => {
    const resolution = resolveSettings(cluster, seeds, config, nowMs);
    return resolution.resolved && resolution.settings.enforced;
  };
  for (const cluster of state.clusters()) {
    if (cluster.deleting || !isEnforced(cluster, before) || isEnforced(cluster, after)) continue;
    freed.set(cluster.datacenter, (freed.get(cluster.datacenter) ?? 0) + 1);
  }
  // A datacenter without clusters is freed as well: of none, so far.
  const enforcing = listEnforcing(after);
  for (const datacenter of listEnforcing(before)) {
    if (!enforcing.has(datacenter) && !freed.has(datacenter)) freed.set(datacenter, 0);
  }
  return freed;
}

const listEnforcing = (seeds: readonly SeedView[]): Set<string> =>
  new Set(
    seeds.flatMap(({ datacenters }) =>
      [...datacenters].filter(([, { enforceAuditLogging }]) => enforceAuditLogging).map(([name]) => name),
    ),
  );
