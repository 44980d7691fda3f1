/**
 * What this software put into an object, kept in an annotation of the object itself: so that it can be taken out again, and so that what an
 * owner rendered is never mistaken for ours. The annotation may lie (people edit objects): a part is only ours where it also looks so.
 */
import type { JsonValue } from '../kubernetes.ts';

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
  readonly index: number;
  readonly value: JsonValue;
}

export interface Claims {
  readonly parts: ReadonlySet<Part>;
  readonly displaced: readonly Displaced[];
}

export const NO_CLAIMS: Claims = { parts: new Set(), displaced: [] };

const PART = /^(volume|mount|flag|container)\/[^\s]{1,253}$/;
const LISTS = new Set(['containers', 'initContainers', 'volumes', 'volumeMounts']);

/**
 * Reads the annotation.
 * @param text as it stands in the object; anything that is not as `renderClaims` writes it claims nothing
 */
export function readClaims(text: string | undefined): Claims {
  if (text === undefined) return NO_CLAIMS;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return NO_CLAIMS;
  }
  const { parts, displaced } = (value ?? {}) as { parts?: unknown; displaced?: unknown };
  const isPart = (part: unknown): part is Part => typeof part === 'string' && PART.test(part);
  return {
    parts: new Set(Array.isArray(parts) ? parts.filter(isPart) : []),
    displaced: (Array.isArray(displaced) ? displaced : []).filter(
      (entry): entry is Displaced =>
        isPart(entry?.part) &&
        LISTS.has(entry.list) &&
        Number.isSafeInteger(entry.index) &&
        entry.index >= 0 &&
        typeof entry.value === 'object' &&
        entry.value !== null &&
        !Array.isArray(entry.value),
    ),
  };
}

/** @returns the annotation's text, the same for the same claims, or undefined where nothing is claimed */
export function renderClaims(claims: Claims): string | undefined {
  if (claims.parts.size === 0 && claims.displaced.length === 0) return undefined;
  return JSON.stringify({
    parts: [...claims.parts].sort(),
    ...(claims.displaced.length > 0 && { displaced: claims.displaced }),
  });
}
