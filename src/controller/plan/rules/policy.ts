/**
 * The ConfigMap `audit-config`: made where it is missing, replaced only where a preset is set.
 *
 * | there is        | preset is set | then                                                                              |
 * |-----------------|---------------|-----------------------------------------------------------------------------------|
 * | none            | -             | made; where KKP would make the same one, it is left to KKP until the Deployment is there |
 * | what was set    | -             | nothing                                                                           |
 * | something else  | no            | nothing: the text is whoever's wrote it                                            |
 * | something else  | yes           | replaced, in its turn, unless it is immutable or its owner put it back             |
 */
import * as names from '../../../audit/names.ts';
import { renderPolicy } from '../../../audit/wanted-policy.ts';
import { resourcePath } from '../../../kubernetes.ts';
import { PRESETS } from '../../../policy/index.ts';
import { policyConfigMap } from '../../objects.ts';
import { meaningOf, REPLACED_ANNOTATION } from '../../view.ts';
import type { Action } from '../action.ts';
import type { Finding } from '../drift.ts';
import type { Situation } from '../facts.ts';

/** What KKP puts into an `audit-config` that it makes. */
const KKP_DEFAULT = 'preset metadata';

export function findPolicyDrift(situation: Situation): Finding[] {
  const { policy, cluster, deployment, settings } = situation;
  const wanted = renderPolicy(settings);
  const path = resourcePath('v1', 'configmaps', { namespace: cluster.namespace });
  if (policy === undefined) {
    // KKP makes it before the Deployment: being there first is only worth a conflict where KKP would make another one.
    if (deployment === undefined && wanted.from === KKP_DEFAULT) return [];
    const body = policyConfigMap(wanted);
    return [{ drift: 'POLICY_MISSING', action: { name: 'createPolicy', method: 'POST', path, body } }];
  }
  const preset = settings.policyPreset.value;
  if (preset === '' || !PRESETS.has(preset) || policy.meaning === meaningOf(wanted.text)) return [];
  if (policy.content === policy.replaced || policy.immutable) return [{ drift: 'POLICY_KEPT' }];
  if (!isOurTurn(situation)) return [{ drift: 'POLICY_NOT_PRESET' }];
  const action: Action = {
    name: 'replacePolicy',
    method: 'PATCH',
    path: `${path}/${names.POLICY_CONFIGMAP}`,
    body: {
      metadata: {
        resourceVersion: policy.resourceVersion,
        annotations: { [REPLACED_ANNOTATION]: policy.content },
      },
      data: { [names.POLICY_KEY]: wanted.text },
    },
  };
  return [{ drift: 'POLICY_NOT_PRESET', action }];
}

/** A KKP that writes revision labels replaces it by itself, once the Cluster says so. */
function isOurTurn({ deployment, alignment, flight }: Situation): boolean {
  if (deployment === undefined || alignment !== undefined) return false;
  return !deployment.tracksRevisions || flight?.isGraceOver === true;
}
