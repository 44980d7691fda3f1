/**
 * What this software put into an object, kept in an annotation of the object itself: so that it can be taken out again, and so that what an
 * owner rendered is never mistaken for ours. The annotation may lie (people edit objects): a part is only ours where it also looks so, and
 * what is put back must be of the kind and name that the part could have displaced.
 */
import type { JsonValue } from '../kubernetes.ts';
import { isContainer, isVolume, isVolumeMount } from '../workload.ts';
import { cleanPath } from './mounts.ts';

export const INJECTED_ANNOTATION = 'audit.kubermatic.k8c.io/injected';

/**
 * `volume/<name>`, `mount/<path>` (of the apiserver), `flag/<name>` (of the apiserver, without dashes) and `container/<name>`.
 */
export type Part = `${'volume' | 'mount' | 'flag' | 'container'}/${string}`;

/** Something foreign that stood where a part had to go. */
export interface Displaced {
  readonly part: Part;
  /** The list it stood in: containers, initContainers, volumes or volumeMounts (of the apiserver). */
  readonly list: 'containers' | 'initContainers' | 'volumes' | 'volumeMounts';
  /** How many elements of the list that are not ours stood before it. */
  readonly index: number;
  readonly value: JsonValue;
}

/** Lists and maps that were there without an element, so that they stay when ours go; all others go with the last of ours. */
export const EMPTY_KEYS = ['annotations', 'args', 'volumeMounts', 'volumes'] as const;
export type EmptyKey = (typeof EMPTY_KEYS)[number];

export interface Claims {
  readonly parts: ReadonlySet<Part>;
  readonly displaced: readonly Displaced[];
  readonly empty: ReadonlySet<EmptyKey>;
}

export const NO_CLAIMS: Claims = { parts: new Set(), displaced: [], empty: new Set() };

const PART = /^(volume|mount|flag|container)\/[^\s]{1,253}$/;

/** Kind and name of a part. */
export function splitPart(part: Part): [kind: string, name: string] {
  const slash = part.indexOf('/');
  return [part.slice(0, slash), part.slice(slash + 1)];
}

/** Answers of readClaims, since nearly all Deployments of a seed bear the same text. */
const known = new Map<string, Claims>();
const MAX_KNOWN = 64;
const MAX_KNOWN_LENGTH = 4096;
/** What kube-apiserver takes of all annotations of an object together; it finds out behind the hooks. */
const MAX_TEXT_LENGTH = 256 * 1024;

/**
 * Reads the annotation.
 * @param text as it stands in the object; anything that is not as `renderClaims` writes it claims nothing
 */
export function readClaims(text: string | undefined): Claims {
  if (text === undefined || text.length > MAX_TEXT_LENGTH) return NO_CLAIMS;
  let claims = known.get(text);
  if (claims !== undefined) return claims;
  claims = parseClaims(text);
  if (text.length <= MAX_KNOWN_LENGTH) {
    if (known.size >= MAX_KNOWN) known.clear();
    known.set(text, claims);
  }
  return claims;
}

function parseClaims(text: string): Claims {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return NO_CLAIMS;
  }
  const { parts, displaced, empty } = (value ?? {}) as Record<string, unknown>;
  const list = (given: unknown): unknown[] => (Array.isArray(given) ? given : []);
  const ours = new Set(
    list(parts).filter((part): part is Part => typeof part === 'string' && PART.test(part)),
  );
  return {
    parts: ours,
    displaced: list(displaced).filter(
      (entry): entry is Displaced => isDisplaced(entry) && ours.has(entry.part),
    ),
    empty: new Set(EMPTY_KEYS.filter((key) => list(empty).includes(key))),
  };
}

/** Whether the entry is one that its part could have displaced: of the same name or place, and of the right shape. */
function isDisplaced(entry: unknown): entry is Displaced {
  const { part, list, index, value } = (entry ?? {}) as Partial<Record<keyof Displaced, unknown>>;
  if (typeof part !== 'string' || !PART.test(part)) return false;
  if (!Number.isSafeInteger(index) || (index as number) < 0) return false;
  const [kind, name] = splitPart(part as Part);
  if (kind === 'volume') return list === 'volumes' && isVolume(value) && value.name === name;
  if (kind === 'container')
    return (list === 'containers' || list === 'initContainers') && isContainer(value) && value.name === name;
  if (kind !== 'mount' || list !== 'volumeMounts' || !isVolumeMount(value)) return false;
  const path = cleanPath(value.mountPath);
  return path === cleanPath(name) || path.startsWith(`${cleanPath(name)}/`);
}

/** @returns the annotation's text, the same for the same claims, or undefined where nothing is claimed */
export function renderClaims(claims: Claims): string | undefined {
  if (claims.parts.size === 0) return undefined;
  return JSON.stringify({
    parts: [...claims.parts].sort(),
    ...(claims.displaced.length > 0 && { displaced: claims.displaced }),
    ...(claims.empty.size > 0 && { empty: [...claims.empty].sort() }),
  });
}
