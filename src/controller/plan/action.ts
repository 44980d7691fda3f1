/** What the controller does: a write to the API, or a fresh look. The plan says it, the controller does it. */
import { KKP_GROUP } from '../../kkp.ts';
import { type JsonObject, resourcePath } from '../../kubernetes.ts';
import type { ObjectView } from '../view.ts';

/**
 * - anyTime: harmless, and what a cluster that waits for its turn is given before it
 * - inTurn: not while the cluster waits for its turn. What rolls an apiserver mends something disruptive, so it is done in flight only
 * - atRest: once nothing disruptive is to be done
 * - toBegin: when the budget allows
 */
type Timing = 'anyTime' | 'inTurn' | 'atRest' | 'toBegin';

/** Every action, and when it may be done. */
const ACTIONS = {
  startRollout: 'toBegin',
  alignCluster: 'inTurn',
  finishRollout: 'atRest',
  labelCluster: 'inTurn',
  labelNamespace: 'inTurn',
  // The pods can't start without it.
  createPolicy: 'anyTime',
  replacePolicy: 'inTurn',
  createFluentBit: 'inTurn',
  updateFluentBit: 'inTurn',
  writeTuning: 'inTurn',
  copyBackend: 'inTurn',
  writeNetworkPolicy: 'inTurn',
  noteChecksum: 'atRest',
  nudgeDeployment: 'inTurn',
  restartDeployment: 'inTurn',
  removeLeftover: 'inTurn',
  refresh: 'anyTime',
} as const satisfies Readonly<Record<string, Timing>>;
export type ActionName = keyof typeof ACTIONS;

/** The truth table of `assess`, by columns. */
const IS_DUE: Readonly<Record<Timing, (isInFlight: boolean, isDisrupted: boolean) => boolean>> = {
  anyTime: () => true,
  inTurn: (isInFlight, isDisrupted) => isInFlight || !isDisrupted,
  atRest: (_isInFlight, isDisrupted) => !isDisrupted,
  toBegin: (isInFlight, isDisrupted) => !isInFlight && isDisrupted,
};

/**
 * Whether an action may be done now.
 * @param isDisrupted something disruptive is to be done about the cluster
 */
export const isDue = (name: ActionName, isInFlight: boolean, isDisrupted: boolean): boolean =>
  IS_DUE[ACTIONS[name]](isInFlight, isDisrupted);

export interface Action {
  readonly name: ActionName;
  /** refresh: reads the Deployment and the pods again and judges them by today's settings; copy: from `path` to the body's place. */
  readonly method: 'POST' | 'PATCH' | 'DELETE' | 'REFRESH' | 'COPY';
  readonly path: string;
  /** A write names the resourceVersion that it changes, except where it creates. */
  readonly body?: JsonObject;
  /** Done only where a fresh look still asks for it: what the watches say may be moments old. */
  readonly verify?: true;
  /** What it is for: where it did not help, it is not done again for the same at once. */
  readonly occasion?: string;
}

export const clusterPath = (name: string): string => resourcePath(`${KKP_GROUP}/v1`, 'clusters', { name });
export const secretsPath = (namespace: string): string => resourcePath('v1', 'secrets', { namespace });
export const networkPoliciesPath = (namespace: string): string =>
  resourcePath('networking.k8s.io/v1', 'networkpolicies', { namespace });

/**
 * Writes an object of ours: makes it, or replaces content and marks of the one that is there.
 * @param path of all objects of that kind in the namespace
 */
export function writeOwn(
  name: ActionName,
  path: string,
  old: ObjectView | undefined,
  wanted: JsonObject,
): Action {
  if (old === undefined) return { name, method: 'POST', path, body: wanted };
  const { metadata, apiVersion: _api, kind: _kind, type: _type, ...rest } = wanted;
  return {
    name,
    method: 'PATCH',
    path: `${path}/${old.name}`,
    body: {
      metadata: { ...(metadata as JsonObject), resourceVersion: old.resourceVersion },
      ...rest,
    },
  };
}
