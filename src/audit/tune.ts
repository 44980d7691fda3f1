/**
 * What the server's configuration asks for and an owner would revert in its Deployment: put into pods alone, which nobody reconciles
 * (docs/adr/0006-tuning-in-pods.md). Pure.
 *
 * - retention: a flag behind the owner's, where the owner keeps less; what keeps more stays;
 * - image and pull policy of the sidecar;
 * - input of fluent-bit: the volume of KKP's Secret becomes a projected one, in which the Secret that this software renders covers KKP's file.
 *   It is optional there, so that a pod starts without it, with KKP's configuration.
 */
import type { Container, PodSpec, Volume } from '../kubernetes.ts';
import { findFlag, insertArguments, parseCommandLine, placeFlag } from './command-line.ts';
import type { Desired } from './desired.ts';
import { findSidecar } from './effective.ts';
import * as names from './names.ts';
import type { Settings } from './settings.ts';
import { keepsEnough } from './weakenings.ts';

/**
 * @param spec of a pod that already has what settings ask for; stays as it is
 * @param desired for pods
 */
export function tunePod(spec: PodSpec, desired: Desired, settings: Settings): PodSpec {
  const sidecar = findSidecar(spec);
  if (desired.sidecar === undefined || sidecar === undefined) return spec;
  const { options } = settings;
  const isImageConfigured = options.sidecar.image !== '' || options.registry !== '';
  const image = isImageConfigured ? desired.sidecar.image : sidecar.image;
  const imagePullPolicy = options.sidecar.imagePullPolicy || sidecar.imagePullPolicy;
  const isImageTuned = image !== sidecar.image || imagePullPolicy !== sidecar.imagePullPolicy;
  const tune = (container: Container): Container => {
    if (container.name === names.APISERVER) return tuneRetention(container, desired);
    if (container !== sidecar || !isImageTuned) return container;
    return { ...container, ...(image && { image }), ...(imagePullPolicy && { imagePullPolicy }) };
  };
  const containers = mapShared(spec.containers ?? [], tune);
  const initContainers = mapShared(spec.initContainers ?? [], (container) =>
    container === sidecar ? tune(container) : container,
  );
  const volumes = mapShared(spec.volumes ?? [], coverFluentBit);
  let tuned = spec;
  if (containers !== spec.containers && containers.length > 0) tuned = { ...tuned, containers };
  if (initContainers !== spec.initContainers && initContainers.length > 0)
    tuned = { ...tuned, initContainers };
  if (volumes !== spec.volumes && volumes.length > 0) tuned = { ...tuned, volumes };
  return tuned;
}

/** The list itself where nothing in it changes. */
function mapShared<T>(list: readonly T[], change: (item: T) => T): readonly T[] {
  const changed = list.map(change);
  return changed.every((item, index) => item === list[index]) ? list : changed;
}

function tuneRetention(apiserver: Container, desired: Desired): Container {
  let tuned = apiserver;
  for (const [name, wanted] of Object.entries(desired.retention)) {
    const commandLine = parseCommandLine(tuned);
    if (!commandLine.isApiserver) return apiserver;
    const flag = findFlag(commandLine, name);
    if (flag === undefined || (flag.value !== undefined && keepsEnough(name, flag.value, wanted))) continue;
    tuned = insertArguments(tuned, placeFlag(commandLine, name), [`--${name}`, wanted]);
  }
  return tuned;
}

function coverFluentBit(volume: Volume): Volume {
  const { secret } = volume;
  if (secret?.secretName !== names.FLUENTBIT_SECRET || (secret.items?.length ?? 0) > 0) return volume;
  const { secretName: name, defaultMode } = secret;
  const cover = {
    name: names.FLUENTBIT_TUNED_SECRET,
    optional: true,
    items: [{ key: names.FLUENTBIT_KEY, path: names.FLUENTBIT_KEY }],
  };
  return {
    name: volume.name,
    projected: {
      ...(defaultMode !== undefined && { defaultMode }),
      sources: [{ secret: { name } }, { secret: cover }],
    },
  };
}
