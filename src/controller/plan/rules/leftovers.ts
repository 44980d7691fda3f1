/** Objects of ours that nobody needs any more: Secrets, and the NetworkPolicy. */
import * as names from '../../../audit/names.ts';
import type { ObjectView } from '../../view.ts';
import { networkPoliciesPath, secretsPath } from '../action.ts';
import type { Finding } from '../drift.ts';
import type { Situation } from '../facts.ts';

export function findLeftovers(situation: Situation): Finding[] {
  const { ownSecrets, networkPolicy, alignment, isStale, cluster } = situation;
  // Who needs them is not known before the Cluster is aligned, nor by the settings of another day.
  if (alignment !== undefined || isStale) return [];
  const secrets = [...ownSecrets.values()].filter((secret) => !isSecretNeeded(secret, situation));
  const policies = networkPolicy === undefined || isNetworkPolicyNeeded(situation) ? [] : [networkPolicy];
  return [
    ...secrets.map((secret) => remove(secretsPath(cluster.namespace), secret)),
    ...policies.map((policy) => remove(networkPoliciesPath(cluster.namespace), policy)),
  ];
}

function isSecretNeeded({ name }: ObjectView, situation: Situation): boolean {
  const { wantsSidecar, settings, deployment, pods, flight } = situation;
  if (name === names.FLUENTBIT_SECRET || name === names.FLUENTBIT_TUNED_SECRET)
    return wantsSidecar || deployment?.hasSidecar === true || pods.some(({ hasSidecar }) => hasSidecar);
  // Pods that start while the cluster is in flight may still be of the old settings.
  return name === settings.webhookBackend.value?.auditWebhookConfig.name || flight !== undefined;
}

/** Where nothing denies egress any more, ours would be what does. */
const isNetworkPolicyNeeded = ({ isWanted, settings, deniesEgress }: Situation): boolean =>
  isWanted && settings.options.egress.length > 0 && deniesEgress;

const remove = (path: string, { name, resourceVersion }: ObjectView): Finding => ({
  drift: 'LEFTOVERS',
  action: {
    name: 'removeLeftover',
    method: 'DELETE',
    path: `${path}/${name}`,
    body: { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { resourceVersion } },
  },
});
