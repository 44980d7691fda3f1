/**
 * The spine: which hook answers which request. A hook never throws for a reason of policy; what it throws is an internal failure, which
 * kube-apiserver gets as an HTTP error. The steps of each are in hooks/, one kind of object a file.
 */
import { type AdmissionRequest, allow, type Hook, type HookName } from './admission.ts';
import {
  isCluster,
  isClusterStatus,
  mutateCluster,
  validateCluster,
  validateClusterStatus,
} from './hooks/clusters.ts';
import { isAuditConfig, validateConfigMap } from './hooks/configmaps.ts';
import { isApiserverDeployment, mutateDeployment, validateDeployment } from './hooks/deployments.ts';
import { isClusterNamespace, validateNamespace } from './hooks/namespaces.ts';
import { isWriteOfPod, mutatePod, validatePod } from './hooks/pods.ts';
import { isFluentBitSecret, validateSecret } from './hooks/secrets.ts';
import { isSeed, validateSeed } from './hooks/seeds.ts';
import type { Answer, Call, HookDependencies } from './hooks/steps.ts';

export type { Attempt, AttemptOutcome, HookDependencies } from './hooks/steps.ts';

/** What /validate judges; anything else passes. */
const VALIDATIONS: readonly {
  readonly matches: (request: AdmissionRequest) => boolean;
  readonly validate: (call: Call) => Answer;
}[] = [
  { matches: isApiserverDeployment, validate: validateDeployment },
  { matches: isWriteOfPod, validate: validatePod },
  { matches: isCluster, validate: validateCluster },
  { matches: isClusterStatus, validate: validateClusterStatus },
  { matches: isAuditConfig, validate: validateConfigMap },
  { matches: isFluentBitSecret, validate: validateSecret },
  { matches: isClusterNamespace, validate: validateNamespace },
  { matches: isSeed, validate: validateSeed },
];

const validate = (call: Call): Answer =>
  VALIDATIONS.find(({ matches }) => matches(call.request))?.validate(call) ?? allow();

/** The hooks by name, for the server. */
export function buildHooks(dependencies: HookDependencies): Record<HookName, Hook> {
  const bind =
    (hook: (call: Call) => Answer): Hook =>
    (request, signal) =>
      hook({ ...dependencies, request, signal });
  return {
    'mutate-deployments': bind(mutateDeployment),
    'mutate-pods': bind(mutatePod),
    'mutate-clusters': bind(mutateCluster),
    validate: bind(validate),
  };
}
