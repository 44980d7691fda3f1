/** The server's own judgement, for tests that hold something else against it. */
import assert from 'node:assert/strict';
import { desire } from '../../src/audit/desired.ts';
import { judge } from '../../src/audit/effective.ts';
import { resolveSettings } from '../../src/audit/settings.ts';
import { DEFAULT_CONFIG } from '../../src/config.ts';
import { viewCluster, viewSeed } from '../../src/kkp.ts';
import type { PodSpec } from '../../src/kubernetes.ts';
import { renderCluster, renderSeed } from './seed.ts';

/**
 * @param datacenters of the only Seed
 * @param target whose spec it is: a Deployment is asked for less than its pods
 * @returns whether a pod spec of that cluster audits
 */
export function judgeOf(
  cluster: Parameters<typeof renderCluster>[0],
  datacenters: Parameters<typeof renderSeed>[0],
  target: 'deployment' | 'pod',
): (spec: PodSpec) => boolean {
  const seeds = [viewSeed(renderSeed(datacenters))];
  const resolution = resolveSettings(viewCluster(renderCluster(cluster)), seeds, DEFAULT_CONFIG, 0);
  assert.ok(resolution.resolved);
  const desired = desire(resolution.settings, target);
  return (spec) => judge(spec, desired).reasons.length === 0;
}
