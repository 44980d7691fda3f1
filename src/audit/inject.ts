/**
 * One object in, one object out: what admission, the command line and the controller all do with a Deployment or a Pod. Pure.
 *
 * Where the owner of a Deployment takes an injection out again, the Deployment is left to it and its pods are injected instead: KKP's
 * reconciler waits for its own Update to change what is stored, and would wait in vain (docs/adr/0003-never-fight-the-owner.md).
 *
 * | `injection` | writer, and what it does                               | Deployment           | pods      |
 * |-------------|--------------------------------------------------------|----------------------|-----------|
 * | deployment  | any                                                    | injected             | completed |
 * | pod         | any                                                    | as the owner wrote it | injected  |
 * | auto        | platform, takes out what this software had put in       | left from now on     | injected  |
 * | auto        | any, the Deployment was left before and is not effective | as the owner wrote it | injected  |
 * | auto        | anyone else                                            | injected             | completed |
 */
import { isEqualJson } from '../equal.ts';
import type { Deployment, Pod, PodSpec } from '../kubernetes.ts';
import { type Reason, reason } from '../reasons.ts';
import { apply, unapply } from './apply.ts';
import {
  type Claims,
  INJECTED_ANNOTATION,
  NO_CLAIMS,
  type Part,
  readClaims,
  renderClaims,
} from './claims.ts';
import { desire } from './desired.ts';
import { findPart } from './draft.ts';
import { judge } from './effective.ts';
import type { Settings } from './settings.ts';
import { tunePod } from './tune.ts';

/** Set to "pod" on a Deployment that is left to its owner. */
export const INJECTION_ANNOTATION = 'audit.kubermatic.k8c.io/injection';

export interface Injected<T> {
  /** Shares with the input all that did not change; the input itself where nothing did. */
  readonly object: T;
  /** Ways in which the object as it arrived does not do what settings ask for. */
  readonly found: readonly Reason[];
  /** What was done about it; empty where nothing was. */
  readonly done: readonly Reason[];
  /** Ways in which the result still does not do what settings ask for. */
  readonly remaining: readonly Reason[];
  /** Settings that can't be followed. */
  readonly problems: readonly Reason[];
}

/**
 * Puts into a Deployment what settings ask for.
 * @param deployment as it arrives; stays as it is
 * @param old as it is stored, undefined at creation and for objects from a file; a function, because it is seldom needed
 * @param isPlatform whether the writer is one of the platform's own controllers
 */
export function injectDeployment(
  deployment: Deployment,
  old: () => Deployment | undefined,
  settings: Settings,
  isPlatform: boolean,
): Injected<Deployment> {
  const spec = deployment.spec?.template?.spec;
  if (spec === undefined || spec === null)
    return { object: deployment, found: [], done: [], remaining: [], problems: [] };
  const annotations = deployment.metadata?.annotations ?? {};
  const desired = desire(settings, 'deployment', annotations);
  const claimed = readClaims(annotations[INJECTED_ANNOTATION]);
  const finish = (
    result: PodSpec,
    kept: Claims,
    isLeft: boolean,
    outcome: Omit<Injected<Deployment>, 'object' | 'problems'>,
  ): Injected<Deployment> => ({
    object: rebuild(deployment, claimed, result, kept, isLeft),
    problems: desired.problems,
    ...outcome,
  });
  /** Nothing is put in, and what is still ours goes, so that the owner finds just what it wrote. */
  const leave = (found: readonly Reason[], claims: Claims, done: readonly Reason[]): Injected<Deployment> => {
    const own = unapply(spec, claims);
    const remaining = own === spec ? found : judge(own, desired).reasons;
    const isLeft = injection === 'auto' && remaining.length > 0;
    return finish(own, NO_CLAIMS, isLeft, { found, done, remaining });
  };

  const { injection } = settings.options;
  const isLeft = injection === 'pod' || (injection === 'auto' && annotations[INJECTION_ANNOTATION] === 'pod');
  if (isLeft) {
    const found = judge(spec, desired).reasons;
    if (isPlatform || found.length > 0)
      return leave(found, dropRendered(claimed, spec, old(), isPlatform).claims, []);
  }
  let applied = apply(spec, claimed, desired);
  if (claimed.parts.size > 0 && applied.spec !== spec) {
    const { claims, rendered } = dropRendered(claimed, spec, old(), isPlatform);
    if (injection === 'auto' && isPlatform && rendered) {
      const found = judge(spec, desired).reasons;
      if (found.length > 0) return leave(found, claims, [reason('LEFT_TO_OWNER')]);
    }
    applied = apply(spec, claims, desired);
  }
  const done = [
    ...(applied.repaired.length > 0 && applied.spec !== spec ? [reason('INJECTED')] : []),
    ...(applied.removed ? [reason('REMOVED')] : []),
  ];
  return finish(applied.spec, applied.claims, false, {
    found: applied.repaired,
    done,
    remaining: applied.remaining,
  });
}

/**
 * Puts into a Pod what settings ask for, and what an owner of its Deployment would revert there. A pod is injected once, at its creation, and
 * nothing is ever taken out of it, so that no claims are kept.
 * @param pod as it arrives; stays as it is
 */
export function injectPod(pod: Pod, settings: Settings): Injected<Pod> {
  const { spec } = pod;
  if (spec === undefined || spec === null)
    return { object: pod, found: [], done: [], remaining: [], problems: [] };
  const desired = desire(settings, 'pod');
  const applied = apply(spec, NO_CLAIMS, desired);
  const isComplete = applied.remaining.length === 0;
  const tuned = isComplete ? tunePod(applied.spec, desired, settings) : applied.spec;
  return {
    object: tuned === spec ? pod : { ...pod, spec: tuned },
    found: applied.repaired,
    done: applied.repaired.length > 0 ? [reason('INJECTED')] : [],
    remaining: applied.remaining,
    problems: desired.problems,
  };
}

/** Takes out of a Deployment all that this software put in, and its annotations. */
export function uninjectDeployment(deployment: Deployment): Deployment {
  const spec = deployment.spec?.template?.spec;
  if (spec === undefined || spec === null) return deployment;
  const claims = readClaims(deployment.metadata?.annotations?.[INJECTED_ANNOTATION]);
  return rebuild(deployment, claims, unapply(spec, claims), NO_CLAIMS, false);
}

/**
 * Gives up the claims to what this very write brings, whatever the annotation says: a part that the stored object does not have, and, where
 * the platform writes, one that it has otherwise.
 * @returns `rendered`: the writer took out or replaced something that was ours
 */
function dropRendered(
  claims: Claims,
  spec: PodSpec,
  old: Deployment | undefined,
  isPlatform: boolean,
): { claims: Claims; rendered: boolean } {
  const oldSpec = old?.spec?.template?.spec;
  if (claims.parts.size === 0 || oldSpec === undefined || oldSpec === null)
    return { claims, rendered: false };
  const parts = new Set<Part>();
  let rendered = false;
  for (const part of claims.parts) {
    const before = findPart(oldSpec, part);
    if (before === undefined) continue;
    const isChanged = isPlatform && !isEqualJson(before, findPart(spec, part));
    if (isChanged) rendered = true;
    else parts.add(part);
  }
  return { claims: { ...claims, parts }, rendered };
}

function rebuild(
  deployment: Deployment,
  claimed: Claims,
  spec: PodSpec,
  claims: Claims,
  isLeft: boolean,
): Deployment {
  const { annotations } = deployment.metadata ?? {};
  const hadEmpty =
    claimed.empty.has('annotations') || (annotations && Object.keys(annotations).length === 0) === true;
  const isMarked = hadEmpty && claims.parts.size > 0;
  const kept: Claims = isMarked ? { ...claims, empty: new Set([...claims.empty, 'annotations']) } : claims;
  let object = deployment;
  if (spec !== deployment.spec?.template?.spec) {
    object = { ...object, spec: { ...object.spec, template: { ...object.spec?.template, spec } } };
  }
  const isSame = kept === claimed && kept.parts.size > 0;
  const noted = isSame ? annotations?.[INJECTED_ANNOTATION] : renderClaims(kept);
  object = annotate(object, INJECTED_ANNOTATION, noted, hadEmpty);
  return annotate(object, INJECTION_ANNOTATION, isLeft ? 'pod' : undefined, hadEmpty);
}

/**
 * Sets an annotation, or removes it where the value is undefined.
 * @param keepsEmpty whether the map stays when its last annotation goes
 */
function annotate(
  object: Deployment,
  key: string,
  value: string | undefined,
  keepsEmpty: boolean,
): Deployment {
  const annotations = object.metadata?.annotations;
  if (annotations?.[key] === value) return object;
  const { [key]: _removed, ...others } = annotations ?? {};
  const next = value === undefined ? others : { ...others, [key]: value };
  const { annotations: _old, ...metadata } = object.metadata ?? {};
  const isGone = Object.keys(next).length === 0 && !keepsEmpty;
  return { ...object, metadata: isGone ? metadata : { ...metadata, annotations: next } };
}
