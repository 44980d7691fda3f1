/**
 * Pods of the apiserver: given what their Deployment was left without, and what KKP would revert there. Nobody reconciles pods, so that here
 * no owner is fought.
 */
import { type AdmissionRequest, allow, type Decision } from '../admission.ts';
import {
  findIneffective,
  findReplacedImage,
  judgeWorkload,
  mayBeEnforced,
  settingsOf,
} from '../audit/enforce.ts';
import { injectPod } from '../audit/inject.ts';
import { APISERVER } from '../audit/names.ts';
import type { Resolution } from '../audit/settings.ts';
import { runsApiserver } from '../audit/tampering.ts';
import type { Pod } from '../kubernetes.ts';
import { type Reason, reason } from '../reasons.ts';
import { readPod } from '../workload.ts';
import {
  type Answer,
  admit,
  answer,
  type Call,
  isDeleted,
  isInClusterNamespace,
  nameOf,
  refuse,
  withCluster,
} from './steps.ts';

/** Subresources by which the containers or the labels of a running pod change. */
const SUBRESOURCES = ['', 'ephemeralcontainers', 'resize', 'status'];

const isPod = (request: AdmissionRequest): boolean =>
  request.group === '' &&
  request.kind === 'Pod' &&
  (request.operation === 'CREATE' || request.operation === 'UPDATE') &&
  SUBRESOURCES.includes(request.subResource) &&
  isInClusterNamespace(request);

/** What binds a pod to its node; its labels become the pod's. */
const isBinding = (request: AdmissionRequest): boolean =>
  request.group === '' &&
  request.kind === 'Binding' &&
  request.operation === 'CREATE' &&
  isInClusterNamespace(request);

/** By which a pod comes to be, changes or becomes an apiserver. A Binding is judged as a pod without containers: its label would be a lie. */
export const isWriteOfPod = (request: AdmissionRequest): boolean => isPod(request) || isBinding(request);

const isLabelled = (pod: Pod): boolean => pod.metadata?.labels?.app === APISERVER;
const isApiserver = (pod: Pod): boolean => isLabelled(pod) || runsApiserver(pod.spec ?? {});

export function mutatePod(call: Call): Answer {
  const { request } = call;
  if (!isPod(request) || request.operation !== 'CREATE' || request.subResource !== '') return allow();
  const pod = readPod(request.object);
  if (isDeleted(pod) || !isLabelled(pod)) return allow();
  return withCluster(call, (_cluster, resolution) =>
    answer(pod, injectPod(pod, settingsOf(resolution)), resolution, []),
  );
}

/**
 * No pod starts an apiserver that is not audited where that is enforced, whoever makes it: the ReplicaSet controller only passes on what
 * somebody else wrote. What runs is judged again where its containers change, or where it becomes an apiserver by a label.
 */
export function validatePod(call: Call): Answer {
  const { request } = call;
  const pod = readPod(request.object);
  if (isDeleted(pod)) return allow();
  const old = request.operation === 'UPDATE' ? readPod(request.oldObject()) : undefined;
  const wasApiserver = old !== undefined && isApiserver(old);
  if (!wasApiserver && !isApiserver(pod)) return allow();
  return withCluster(call, (cluster, resolution) => {
    // A spec may be null.
    const before = wasApiserver ? (old.spec ?? {}) : undefined;
    const { attempts } = judgeWorkload(() => before, findIneffective(pod.spec ?? {}, resolution), resolution);
    const replaced = before === undefined ? [] : findReplacedImage(before, pod.spec ?? {}, resolution);
    const ephemeral = findEphemeral(old, pod, resolution);
    const verdict = { attempts: [...attempts, ...replaced, ...ephemeral], notes: [] };
    if (verdict.attempts.length === 0) return admit([], resolution);
    const subject = `Pod ${request.namespace}/${nameOf(request) || `${pod.metadata?.generateName ?? ''}*`}`;
    const pass = (notes: readonly Reason[]): Decision => admit(notes, resolution);
    return refuse(call, { subject, cluster, verdict, resolution }, pass);
  });
}

/** Containers that are put into a running pod: they see the files and the processes of those that are there. */
function findEphemeral(old: Pod | undefined, pod: Pod, resolution: Resolution): Reason[] {
  if (!mayBeEnforced(resolution)) return [];
  const known = new Set(old?.spec?.ephemeralContainers?.map(({ name }) => name));
  return (pod.spec?.ephemeralContainers ?? [])
    .filter(({ name }) => !known.has(name))
    .map(({ name }) => reason('EPHEMERAL_CONTAINER', { container: name }));
}
