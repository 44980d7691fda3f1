/** Tells the Deployment of an apiserver among manifests, for every command that reads them. */
import { APISERVER } from '../audit/names.ts';
import type { JsonValue } from '../kubernetes.ts';

/** KKP's own renderings leave kind and apiVersion out; a Deployment of that name is meant all the same. */
export function isApiserverManifest(value: JsonValue): boolean {
  const object = value as {
    kind?: unknown;
    metadata?: { name?: unknown };
    spec?: { template?: unknown };
  } | null;
  if (typeof object !== 'object' || object === null || object.metadata?.name !== APISERVER) return false;
  return object.kind === 'Deployment' || (object.kind === undefined && object.spec?.template !== undefined);
}
