/** The roll-out of a cluster: the writes of its Cluster that begin it, bring the settings, and end it. */
import type { JsonObject } from '../../../kubernetes.ts';
import { type Action, type ActionName, clusterPath } from '../action.ts';
import type { Finding } from '../drift.ts';
import { ROLLOUT_ANNOTATION, type Situation } from '../facts.ts';
import { relabel } from './labels.ts';

export const findSettingsDrift = ({ alignment }: Situation): Finding[] =>
  alignment === undefined ? [] : [{ drift: 'SETTINGS_DIFFER' }];

/**
 * The write that begins a roll-out: it brings the settings with it, so that either both happen, or neither.
 * @param nowMs milliseconds since 1970
 */
export const startRollout = (situation: Situation, nowMs: number): Action =>
  patchCluster('startRollout', situation, situation.alignment, {
    [ROLLOUT_ANNOTATION]: new Date(nowMs).toISOString(),
  });

/** Brings a cluster in flight forward, or to its end. */
export function advanceRollout(situation: Situation): Finding[] {
  const { flight, alignment } = situation;
  if (flight === undefined) return [];
  if (alignment !== undefined) return [{ action: patchCluster('alignCluster', situation, alignment, {}) }];
  if (!isSettled(situation)) return [];
  const action = patchCluster('finishRollout', situation, {}, { [ROLLOUT_ANNOTATION]: null });
  return [{ action: { ...action, verify: true } }];
}

/** The newest template runs, and all its pods are ready; also where there is nothing that could. */
function isSettled({ deployment, unread, isStale, livePods }: Situation): boolean {
  if (deployment === undefined) return !unread.has('deployments') && !unread.has('pods');
  return deployment.isComplete && !isStale && livePods.every(({ ready }) => ready);
}

/** Whatever is written to a Cluster brings its label along. */
function patchCluster(
  name: ActionName,
  { cluster, settings }: Situation,
  alignment: unknown,
  annotations: JsonObject,
): Action {
  const patch = (alignment ?? {}) as { metadata?: JsonObject; spec?: JsonObject };
  const labels = relabel(cluster, settings);
  return {
    name,
    method: 'PATCH',
    path: clusterPath(cluster.name),
    body: {
      ...patch,
      metadata: {
        ...patch.metadata,
        ...(labels !== undefined && { labels }),
        resourceVersion: cluster.resourceVersion,
        annotations: { ...(patch.metadata?.annotations as JsonObject | undefined), ...annotations },
      },
    },
  };
}
