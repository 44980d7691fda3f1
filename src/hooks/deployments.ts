/** The Deployment `apiserver` of a cluster namespace: injected on its way in, and judged as it would be stored. */
import { type AdmissionRequest, allow, type Decision } from '../admission.ts';
import {
  findIneffective,
  findReplacedImage,
  judgeWorkload,
  mayBeEnforced,
  settingsOf,
  type Verdict,
} from '../audit/enforce.ts';
import { injectDeployment, injectPod } from '../audit/inject.ts';
import { APISERVER } from '../audit/names.ts';
import { isReapplied } from '../audit/reapply.ts';
import type { Resolution } from '../audit/settings.ts';
import type { Deployment } from '../kubernetes.ts';
import { type Reason, reason } from '../reasons.ts';
import { podSpecOf, readDeployment } from '../workload.ts';
import {
  type Answer,
  admit,
  answer,
  type Call,
  isDeleted,
  isInClusterNamespace,
  isPlatformWriter,
  isWrite,
  refuse,
  withCluster,
} from './steps.ts';

export const isApiserverDeployment = (request: AdmissionRequest): boolean =>
  request.group === 'apps' &&
  request.kind === 'Deployment' &&
  request.name === APISERVER &&
  isWrite(request) &&
  isInClusterNamespace(request);

export function mutateDeployment(call: Call): Answer {
  const { request } = call;
  if (!isApiserverDeployment(request)) return allow();
  const deployment = readDeployment(request.object);
  if (isDeleted(deployment)) return allow();
  return withCluster(call, (cluster, resolution) => {
    const isPlatform = isPlatformWriter(call);
    const old = (): Deployment | undefined => readOld(request);
    const injected = injectDeployment(deployment, old, settingsOf(resolution), isPlatform);
    const pass = (notes: readonly Reason[]): Decision => answer(deployment, injected, resolution, notes);
    // A platform's writer and a new Deployment are completed. Taking auditing out of one that has it is an attempt, repaired or not.
    if (isPlatform || request.operation === 'CREATE') return pass([]);
    const verdict = judgeWorkload(() => podSpecOf(old()), injected.found, resolution);
    if (verdict.attempts.length === 0) return pass([]);
    const { fieldManager, oldManagedFields } = request;
    if (isReapplied(old(), deployment, verdict.attempts, fieldManager, oldManagedFields)) return pass([]);
    const remaining = judgeWorkload(() => podSpecOf(old()), injected.remaining, resolution);
    const isSeenAgain = remaining.attempts.length > 0;
    return refuse(call, { subject: subjectOf(request), cluster, verdict, resolution, isSeenAgain }, pass);
  });
}

export function validateDeployment(call: Call): Answer {
  const { request } = call;
  const deployment = readDeployment(request.object);
  if (isDeleted(deployment) || isPlatformWriter(call)) return allow();
  return withCluster(call, (cluster, resolution) => {
    const old = readOld(request);
    const before = old === undefined ? undefined : podSpecOf(old);
    const { attempts } = judgeWorkload(() => before, findRemaining(deployment, resolution), resolution);
    const replaced = before === undefined ? [] : findReplacedImage(before, podSpecOf(deployment), resolution);
    const verdict: Verdict = { attempts: [...attempts, ...replaced], notes: [] };
    const isPaused = deployment.spec?.paused === true && old?.spec?.paused !== true;
    const notes = isPaused && mayBeEnforced(resolution) ? [reason('DEPLOYMENT_PAUSED')] : [];
    const pass = (more: readonly Reason[]): Decision => admit([...notes, ...more], resolution);
    if (verdict.attempts.length === 0) return pass([]);
    return refuse(call, { subject: subjectOf(request), cluster, verdict, resolution }, pass);
  });
}

/** A Deployment that is left to its owner may lack what its pods will be given; what even they could not be given remains. */
function findRemaining(deployment: Deployment, resolution: Resolution): readonly Reason[] {
  const found = findIneffective(podSpecOf(deployment), resolution);
  if (found.length === 0) return found;
  const settings = settingsOf(resolution);
  const injected = injectDeployment(deployment, () => undefined, settings, false);
  return injected.done.length === 0 ? injectPod({ spec: podSpecOf(deployment) }, settings).remaining : found;
}

const readOld = (request: AdmissionRequest): Deployment | undefined =>
  request.operation === 'UPDATE' ? readDeployment(request.oldObject()) : undefined;

const subjectOf = ({ namespace, name }: AdmissionRequest): string => `Deployment ${namespace}/${name}`;
