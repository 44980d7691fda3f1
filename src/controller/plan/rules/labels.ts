/** The label by which the hooks know enforced clusters, on the Cluster and on its namespace. */
import { isGuarded, type Settings } from '../../../audit/settings.ts';
import { type ClusterView, ENFORCED_LABEL } from '../../../kkp.ts';
import { type JsonObject, resourcePath } from '../../../kubernetes.ts';
import { clusterPath } from '../action.ts';
import type { Finding } from '../drift.ts';
import type { Situation } from '../facts.ts';

/** What the label of a Cluster should become, as a merge patch of `labels`; undefined where it is as it should be. */
export function relabel(cluster: ClusterView, settings: Settings): JsonObject | undefined {
  return (cluster.labelled ?? false) === isGuarded(settings) ? undefined : labelsFor(settings);
}

const labelsFor = (settings: Settings): JsonObject => ({
  [ENFORCED_LABEL]: isGuarded(settings) ? 'true' : null,
});

export function findLabelDrift({ cluster, namespace, settings, alignment }: Situation): Finding[] {
  const findings: Finding[] = [];
  const labels = relabel(cluster, settings);
  if (labels !== undefined) {
    findings.push({ drift: 'LABEL_DIFFERS' });
    // Every write of a Cluster passes the hook, which aligns it: before its turn, it is not written to.
    if (alignment === undefined)
      findings.push({
        action: {
          name: 'labelCluster',
          method: 'PATCH',
          path: clusterPath(cluster.name),
          body: { metadata: { resourceVersion: cluster.resourceVersion, labels } },
        },
      });
  }
  const isLabelled = namespace === undefined || namespace.labelled === isGuarded(settings);
  if (isLabelled || namespace.terminating) return findings;
  const action = {
    name: 'labelNamespace',
    method: 'PATCH',
    path: resourcePath('v1', 'namespaces', { name: namespace.namespace }),
    body: { metadata: { resourceVersion: namespace.resourceVersion, labels: labelsFor(settings) } },
  } as const;
  return [...findings, { drift: 'LABEL_DIFFERS', action }];
}
