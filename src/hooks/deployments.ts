/** The Deployment `apiserver` of a cluster namespace: injected on its way in, and judged as it would be stored. */
import type { Operation } from 'fast-json-patch';
import { type AdmissionRequest, allow, type Decision } from '../admission.ts';
import {
  findIneffective,
  findReplacedImage,
  judgeWorkload,
  mayBeEnforced,
  settingsOf,
  type Verdict,
} from '../audit/enforce.ts';
import { type Injected, injectDeployment, injectPod } from '../audit/inject.ts';
import { APISERVER } from '../audit/names.ts';
import { isReapplied } from '../audit/reapply.ts';
import type { Resolution, Settings } from '../audit/settings.ts';
import type { Deployment } from '../kubernetes.ts';
import { buildPatch } from '../patch.ts';
import { type Reason, reason } from '../reasons.ts';
import { keepRecent } from '../recent.ts';
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
  nameOf,
  refuse,
  withCluster,
} from './steps.ts';

/**
 * Of its subresources, `status` and `scale` leave template and labels as they were; of the annotations that `status` takes along, ours are never
 * trusted.
 */
export const isApiserverDeployment = (request: AdmissionRequest): boolean =>
  request.group === 'apps' &&
  request.kind === 'Deployment' &&
  nameOf(request) === APISERVER &&
  isWrite(request) &&
  isInClusterNamespace(request);

interface Injection {
  readonly deployment: Deployment;
  readonly settings: Settings;
  readonly isPlatform: boolean;
  readonly injected: Injected<Deployment>;
  readonly patch: readonly Operation[];
}

/** An object that comes again (readReview() keeps as many), for the same settings, has the same answer. */
const recent = keepRecent<Injection>();

function injectOnce(
  deployment: Deployment,
  old: () => Deployment | undefined,
  settings: Settings,
  isPlatform: boolean,
): Pick<Injection, 'injected' | 'patch'> {
  const known = recent.find(
    (entry) =>
      entry.deployment === deployment && entry.settings === settings && entry.isPlatform === isPlatform,
  );
  if (known !== undefined) return known;
  let isOfBoth = false;
  const readOldOnce = (): Deployment | undefined => {
    isOfBoth = true;
    return old();
  };
  const injected = injectDeployment(deployment, readOldOnce, settings, isPlatform);
  const patch = injected.object === deployment ? [] : buildPatch(deployment, injected.object);
  const injection = { deployment, settings, isPlatform, injected, patch };
  // What depends on the stored object as well is another answer each time.
  return isOfBoth ? injection : recent.add(injection);
}

export function mutateDeployment(call: Call): Answer {
  const { request } = call;
  if (!isApiserverDeployment(request)) return allow();
  const deployment = readDeployment(request.object);
  if (isDeleted(deployment)) return allow();
  return withCluster(call, (cluster, resolution) => {
    const isPlatform = isPlatformWriter(call);
    const old = (): Deployment | undefined => readOld(request);
    const { injected, patch } = injectOnce(deployment, old, settingsOf(resolution), isPlatform);
    const pass = (notes: readonly Reason[]): Decision =>
      answer(deployment, injected, resolution, notes, patch);
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

const subjectOf = ({ namespace }: AdmissionRequest): string => `Deployment ${namespace}/${APISERVER}`;
