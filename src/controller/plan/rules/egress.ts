/** The NetworkPolicy for the destinations of the configuration: only where KKP's denies all egress, else ours would be the first to deny any. */
import { contentOf, networkPolicy } from '../../objects.ts';
import { networkPoliciesPath, writeOwn } from '../action.ts';
import type { Finding } from '../drift.ts';
import type { Situation } from '../facts.ts';

export function findEgressDrift({
  networkPolicy: own,
  deniesEgress,
  cluster,
  settings,
}: Situation): Finding[] {
  const wanted = networkPolicy(settings);
  if (wanted === undefined || !deniesEgress || own?.content === contentOf(wanted)) return [];
  const action = writeOwn('writeNetworkPolicy', networkPoliciesPath(cluster.namespace), own, wanted);
  return [{ drift: 'EGRESS_OUTDATED', action }];
}
