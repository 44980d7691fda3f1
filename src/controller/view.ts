/**
 * What the controller keeps of the objects in a cluster's namespace: no more than its decisions need. Pod templates are judged as they arrive,
 * by the settings of that moment, and only the judgement is kept; `key` says which settings those were.
 */
import { createHash } from 'node:crypto';
import { desire } from '../audit/desired.ts';
import { findSidecar } from '../audit/effective.ts';
import { findIneffective, settingsOf } from '../audit/enforce.ts';
import { INJECTION_ANNOTATION, injectDeployment } from '../audit/inject.ts';
import { POLICY_CONFIGMAP, POLICY_KEY } from '../audit/names.ts';
import type { Resolution } from '../audit/settings.ts';
import { ENFORCED_LABEL } from '../kkp.ts';
import type { ConfigMap, Deployment, KubernetesObject, Pod, Secret } from '../kubernetes.ts';
import { readPolicy } from '../policy/index.ts';
import type { ReasonCode } from '../reasons.ts';
import { isEnding, podSpecOf, readDeployment, readPod } from '../workload.ts';

/** On the template: a new value rolls the pods. */
export const RESTARTED_ANNOTATION = 'audit.kubermatic.k8c.io/restarted-for';
/** On the Deployment: of what the running pods have read, and nobody else rolls them for. */
export const CHECKSUM_ANNOTATION = 'audit.kubermatic.k8c.io/policy-checksum';
/** On what this software writes entirely: of its content. */
export const CONTENT_ANNOTATION = 'audit.kubermatic.k8c.io/content';
export const MANAGED_BY_LABEL = 'app.kubernetes.io/managed-by';
export const MANAGER = 'kkp-audit-webhook';
/** KKP's revision label: its value changes with the ConfigMap, so that KKP rolls the pods by itself. */
const REVISION_LABEL = `${POLICY_CONFIGMAP}-configmap-revision`;

/** A judgement and the settings that it was made by. */
export interface Judged {
  readonly key: string;
  /** Ways in which it is not effective. */
  readonly codes: readonly ReasonCode[];
}

export interface DeploymentView extends Judged {
  readonly namespace: string;
  readonly resourceVersion: string;
  readonly generation: number;
  /** The hook would change it. */
  readonly hookChanges: boolean;
  /** What is still missing goes into the pods. */
  readonly isLeft: boolean;
  readonly hasSidecar: boolean;
  /** The owner rolls the pods where a ConfigMap or Secret changes, as KKP does. */
  readonly tracksRevisions: boolean;
  readonly checksum: string;
  readonly restartedFor: string;
  readonly paused: boolean;
  readonly deleting: boolean;
  /** The newest template runs, everywhere, and is available. */
  readonly isComplete: boolean;
}

export interface PodView extends Judged {
  readonly namespace: string;
  readonly name: string;
  readonly resourceVersion: string;
  readonly hasSidecar: boolean;
  readonly ready: boolean;
  /** It ends, or has ended. */
  readonly ending: boolean;
}

export interface NamespaceView {
  readonly namespace: string;
  readonly resourceVersion: string;
  readonly labelled: boolean;
  readonly terminating: boolean;
}

export interface PolicyView {
  readonly namespace: string;
  readonly resourceVersion: string;
  /** Of what it means, so that another spelling is the same; of the text where it means nothing. */
  readonly meaning: string;
  /** Of the text, to the byte. */
  readonly content: string;
  /** The content that this software replaced last. */
  readonly replaced: string;
  readonly immutable: boolean;
}

/** A Secret, or another object that this software writes entirely. */
export interface ObjectView {
  readonly namespace: string;
  readonly name: string;
  readonly resourceVersion: string;
  readonly isOurs: boolean;
  /** Hash of what it holds, where that is read; else what its annotation says. */
  readonly content: string;
}

/** On `audit-config`: the content that a preset replaced, so that an owner who puts it back is not fought. */
export const REPLACED_ANNOTATION = 'audit.kubermatic.k8c.io/replaced';

export const hash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);

const NOTHING_WANTED = 'off';
/** Judgements are many and alike. */
const NO_CODES: readonly ReasonCode[] = [];

/** Says which settings an injection depends on: the same key, the same judgement. */
export function keyOf(resolution: Resolution): string {
  const settings = settingsOf(resolution);
  const { policy, sidecar, webhook } = desire(settings, 'deployment');
  if (!policy) return NOTHING_WANTED;
  return hash(JSON.stringify([sidecar ?? null, webhook ?? null, settings.options.injection]));
}

const metaOf = ({ metadata }: KubernetesObject) => ({
  namespace: metadata?.namespace ?? '',
  name: metadata?.name ?? '',
  resourceVersion: metadata?.resourceVersion ?? '',
});

/** The status as far as it tells that a roll-out is over (as `kubectl rollout status` judges). */
interface RolloutStatus {
  readonly observedGeneration?: number;
  readonly replicas?: number;
  readonly updatedReplicas?: number;
  readonly availableReplicas?: number;
}

function isComplete(deployment: Deployment): boolean {
  const status = (deployment as { status?: RolloutStatus }).status ?? {};
  const wanted = deployment.spec?.replicas ?? 1;
  return (
    (status.observedGeneration ?? 0) >= (deployment.metadata?.generation ?? 0) &&
    (status.updatedReplicas ?? 0) >= wanted &&
    (status.replicas ?? 0) <= (status.updatedReplicas ?? 0) &&
    (status.availableReplicas ?? 0) >= wanted
  );
}

/**
 * Judges a Deployment.
 * @param resolution undefined where its Cluster is not known
 */
export function viewDeployment(object: KubernetesObject, resolution: Resolution | undefined): DeploymentView {
  const meta = metaOf(object);
  const annotations = object.metadata?.annotations ?? {};
  const template = (object as Deployment).spec?.template;
  const judged = judgeSafely(resolution, () => {
    const deployment = readDeployment(object);
    const known = resolution as Resolution;
    const injected = injectDeployment(deployment, () => deployment, settingsOf(known), false);
    return {
      codes: findIneffective(podSpecOf(deployment), known).map(({ code }) => code),
      hookChanges: injected.object !== deployment,
    };
  });
  return {
    ...meta,
    key: judged.key,
    codes: judged.codes,
    generation: object.metadata?.generation ?? 0,
    hookChanges: judged.hookChanges ?? false,
    isLeft: annotations[INJECTION_ANNOTATION] === 'pod',
    hasSidecar: hasSidecar(template?.spec),
    tracksRevisions: template?.metadata?.labels?.[REVISION_LABEL] !== undefined,
    checksum: annotations[CHECKSUM_ANNOTATION] ?? '',
    restartedFor: template?.metadata?.annotations?.[RESTARTED_ANNOTATION] ?? '',
    paused: (object as Deployment).spec?.paused === true,
    deleting: isDeleting(object),
    isComplete: isComplete(object as Deployment),
  };
}

/** Judges a Pod; `resolution` as for a Deployment. */
export function viewPod(object: KubernetesObject, resolution: Resolution | undefined): PodView {
  const judged = judgeSafely(resolution, () => ({
    codes: findIneffective(readPod(object).spec ?? {}, resolution as Resolution).map(({ code }) => code),
  }));
  const { conditions } = (object as { status?: PodStatus }).status ?? {};
  return {
    ...metaOf(object),
    key: judged.key,
    codes: judged.codes,
    hasSidecar: hasSidecar((object as Pod).spec),
    ready: conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false,
    ending: isEnding(object),
  };
}

interface PodStatus {
  readonly conditions?: readonly { readonly type?: string; readonly status?: string }[];
}

/** An object that can't be read must not stop the others; it counts as judged by no settings. */
function judgeSafely<T extends { readonly codes: readonly ReasonCode[] }>(
  resolution: Resolution | undefined,
  judge: () => T,
): Partial<T> & Judged {
  const unknown = { key: '', codes: NO_CODES } as Partial<T> & Judged;
  if (resolution === undefined) return unknown;
  try {
    const judged = judge();
    return { ...judged, key: keyOf(resolution), codes: judged.codes.length === 0 ? NO_CODES : judged.codes };
  } catch {
    // kube-apiserver stores nothing that can't be read; if it did, that would not count as audited.
    return { ...unknown, key: keyOf(resolution), codes: ['ARGUMENTS_UNREADABLE'] };
  }
}

const hasSidecar = (spec: Pod['spec'] | undefined): boolean => {
  try {
    return findSidecar(spec ?? {}) !== undefined;
  } catch {
    return false;
  }
};

const isDeleting = ({ metadata }: KubernetesObject): boolean => Boolean(metadata?.deletionTimestamp);

export function viewNamespace(object: KubernetesObject): NamespaceView {
  const { name, resourceVersion } = metaOf(object);
  return {
    namespace: name,
    resourceVersion,
    labelled: object.metadata?.labels?.[ENFORCED_LABEL] === 'true',
    terminating: isDeleting(object),
  };
}

const MAX_MEANINGS = 64;
/** By text: most clusters of a seed have one of few. */
const meanings = new Map<string, string>();

/** What a policy means, as one short text. */
export function meaningOf(text: string): string {
  let meaning = meanings.get(text);
  if (meaning === undefined) {
    meaning = readMeaning(text);
    if (meanings.size >= MAX_MEANINGS) meanings.clear();
    meanings.set(text, meaning);
  }
  return meaning;
}

function readMeaning(text: string): string {
  try {
    const { policy } = readPolicy(text);
    if (policy !== undefined) return `policy:${hash(JSON.stringify(policy))}`;
  } catch {
    // Judged by its text below.
  }
  return `text:${hash(text)}`;
}

export function viewPolicy(object: KubernetesObject): PolicyView {
  const { data, binaryData, immutable } = object as ConfigMap;
  const value: unknown = data?.[POLICY_KEY];
  const text = typeof value === 'string' ? value : '';
  const { namespace, resourceVersion } = metaOf(object);
  return {
    namespace,
    resourceVersion,
    meaning: meaningOf(text),
    content: hash(JSON.stringify([text, binaryData ?? null])),
    replaced: object.metadata?.annotations?.[REPLACED_ANNOTATION] ?? '',
    immutable: immutable === true,
  };
}

/** The hash of a Secret's data, however its keys are ordered. */
export function hashData(data: Readonly<Record<string, string>>): string {
  return hash(JSON.stringify(Object.entries(data).sort(([a], [b]) => (a < b ? -1 : Number(a > b)))));
}

/** @param readsData whether the content is the data itself; else what the annotation says, as where only metadata is watched */
export function viewObject(object: KubernetesObject, readsData = false): ObjectView {
  const { labels, annotations } = object.metadata ?? {};
  return {
    ...metaOf(object),
    isOurs: labels?.[MANAGED_BY_LABEL] === MANAGER,
    content: readsData ? hashData((object as Secret).data ?? {}) : (annotations?.[CONTENT_ANNOTATION] ?? ''),
  };
}
