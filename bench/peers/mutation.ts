/** What this server's patch adds, as data that the peers can read, and whether a peer's patch has the same effect. */
import { readFileSync } from 'node:fs';
import jsonpatch, { type Operation as PatchOperation } from 'fast-json-patch';
import { semanticDifferences } from '../../test/support/semantic.ts';

/** The container that gets the flags and the volume mounts. */
const CONTAINER = 'apiserver';

interface Named {
  readonly name: string;
}

interface Container extends Named {
  args?: string[];
  readonly volumeMounts?: readonly { readonly mountPath: string }[];
}

interface Deployment {
  readonly metadata: { readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: {
    readonly template: {
      readonly spec: { readonly containers: readonly Container[]; readonly volumes: readonly Named[] };
    };
  };
}

/** What is set, each item in the place of the one with its name, or path, or at the end. */
export interface Mutation {
  /** Of the Deployment. */
  readonly annotations: Readonly<Record<string, string>>;
  readonly container: string;
  readonly flags: readonly { readonly name: string; readonly value: string }[];
  readonly volumes: readonly Named[];
  readonly volumeMounts: readonly { readonly mountPath: string }[];
  readonly sidecars: readonly Container[];
}

export function readObject(bodyFile: string): Deployment {
  return JSON.parse(readFileSync(bodyFile, 'utf8')).request.object;
}

/** @param patch a JSON Patch as text @throws {Error} where it does not fit the object */
export function applyPatch(object: Deployment, patch: string): Deployment {
  const operations = JSON.parse(patch) as PatchOperation[];
  return jsonpatch.applyPatch(structuredClone(object), operations, true).newDocument;
}

/** Describes what a patch has added. Where it did more than can be described, the peers do less, and effectDifferences tells. */
export function describeMutation(before: Deployment, after: Deployment): Mutation {
  const [oldSpec, newSpec] = [before.spec.template.spec, after.spec.template.spec];
  const [oldContainer, newContainer] = [containerOf(before), containerOf(after)];
  return {
    annotations: Object.fromEntries(
      Object.entries(after.metadata.annotations ?? {}).filter(
        ([key, value]) => before.metadata.annotations?.[key] !== value,
      ),
    ),
    container: CONTAINER,
    flags: changedFlags(oldContainer.args ?? [], newContainer.args ?? []),
    volumes: added(oldSpec.volumes, newSpec.volumes),
    volumeMounts: added(oldContainer.volumeMounts ?? [], newContainer.volumeMounts ?? []),
    sidecars: added(oldSpec.containers, newSpec.containers).filter(({ name }) => name !== CONTAINER),
  };
}

/**
 * Lists where two patched objects differ in what a mutation is about: the whole spec, as Kubernetes compares, and the annotations that ours
 * has. The order of kube-apiserver's flags does not count, and a peer may have annotations of its own.
 */
export function effectDifferences(ours: Deployment, theirs: Deployment): string[] {
  const annotations = Object.entries(ours.metadata.annotations ?? {})
    .filter(([key, value]) => theirs.metadata.annotations?.[key] !== value)
    .map(([key]) => `metadata.annotations.${key}`);
  const [one, other] = [sortFlags(ours), sortFlags(theirs)];
  return [...annotations, ...semanticDifferences(one.spec, other.spec).map((path) => `spec.${path}`)];
}

/** A copy with the container's arguments in order of their flags, each with its value. */
function sortFlags(deployment: Deployment): Deployment {
  const copy = structuredClone(deployment);
  const container = containerOf(copy);
  const flags = (container.args ?? []).reduce<string[][]>((groups, argument) => {
    if (argument.startsWith('--')) groups.push([argument]);
    else groups.at(-1)?.push(argument);
    return groups;
  }, []);
  container.args = flags.map((group) => group.join(' ')).sort();
  return copy;
}

function containerOf(deployment: Deployment): Container {
  const found = deployment.spec.template.spec.containers.find(({ name }) => name === CONTAINER);
  if (found === undefined) throw new Error(`there is no container ${CONTAINER}`);
  return found;
}

function added<T>(before: readonly T[], after: readonly T[]): T[] {
  const known = new Set(before.map((item) => JSON.stringify(item)));
  return after.filter((item) => !known.has(JSON.stringify(item)));
}

/** The flags whose value, in the argument after them, is another one or new. */
function changedFlags(before: readonly string[], after: readonly string[]): Mutation['flags'] {
  return after.flatMap((name, index) => {
    const value = after[index + 1];
    if (!name.startsWith('--') || value === undefined || value.startsWith('--')) return [];
    const at = before.indexOf(name);
    return at >= 0 && before[at + 1] === value ? [] : [{ name, value }];
  });
}
