/**
 * Pods of the apiserver: given what their Deployment was left without, and what KKP would revert there. Nobody reconciles pods, so that here
 * no owner is fought.
 */
import { type AdmissionRequest, allow, type Decision } from '../admission.ts';
import { findIneffective, judgeWorkload, settingsOf } from '../audit/enforce.ts';
import { injectPod } from '../audit/inject.ts';
import { APISERVER } from '../audit/names.ts';
import { runsApiserver } from '../audit/tampering.ts';
import type { Pod } from '../kubernetes.ts';
import type { Reason } from '../reasons.ts';
import { readPod } from '../workload.ts';
import {
  type Answer,
  admit,
  answer,
  type Call,
  isDeleted,
  isInClusterNamespace,
  isWrite,
  refuse,
  withCluster,
} from './steps.ts';

export const isPod = (request: AdmissionRequest): boolean =>
  request.group === '' && request.kind === 'Pod' && isWrite(request) && isInClusterNamespace(request);

const isLabelled = (pod: Pod): boolean => pod.metadata?.labels?.app === APISERVER;

export function mutatePod(call: Call): Answer {
  const { request } = call;
  if (!isPod(request) || request.operation !== 'CREATE') return allow();
  const pod = readPod(request.object);
  if (isDeleted(pod) || !isLabelled(pod)) return allow();
  return withCluster(call, (_cluster, resolution) =>
    answer(pod, injectPod(pod, settingsOf(resolution)), resolution, []),
  );
}

/**
 * No pod starts an apiserver that is not audited where that is enforced, whoever makes it: the ReplicaSet controller only passes on what
 * somebody else wrote. What already runs is not judged again.
 */
export function validatePod(call: Call): Answer {
  const { request } = call;
  const pod = readPod(request.object);
  if (request.operation !== 'CREATE' || isDeleted(pod)) return allow();
  if (!isLabelled(pod) && !runsApiserver(pod.spec ?? {})) return allow();
  return withCluster(call, (cluster, resolution) => {
    const verdict = judgeWorkload(() => undefined, findIneffective(pod.spec ?? {}, resolution), resolution);
    if (verdict.attempts.length === 0) return admit([], resolution);
    const name = request.name || `${pod.metadata?.generateName ?? ''}*`;
    const pass = (notes: readonly Reason[]): Decision => admit(notes, resolution);
    return refuse(call, `Pod ${request.namespace}/${name}`, cluster, verdict, resolution, pass);
  });
}
