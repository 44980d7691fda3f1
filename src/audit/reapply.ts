/**
 * Tells a manifest that is applied again from an attempt. `kubectl apply` and server-side apply take the apiserver's arguments as one value, so a
 * manifest that never had our flags takes them out whenever it is applied, though nobody means to. Such a write is completed instead of
 * refused. Pure; what it is told can be forged, but all that a forger gains is to be completed as well.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ManagedFieldsEntry } from '../admission.ts';
import type { Container, Deployment } from '../kubernetes.ts';
import type { Reason } from '../reasons.ts';
import { findFlag, parseCommandLine } from './command-line.ts';
import { APISERVER } from './names.ts';

/** Written by `kubectl apply`: the manifest as it was applied last. */
const LAST_APPLIED_ANNOTATION = 'kubectl.kubernetes.io/last-applied-configuration';

/** What is lost with the arguments, and with nothing else. */
const OF_ARGUMENTS = new Set(['POLICY_FLAG_MISSING', 'LOG_PATH_MISSING', 'WEBHOOK_FLAG_MISSING']);

/**
 * @param old as it is stored
 * @param next as it is written
 * @param lost what the write takes out
 * @param fieldManager of the request
 * @param managedFields of the stored object; a function, because it is seldom needed
 */
export function isReapplied(
  old: Deployment | undefined,
  next: Deployment,
  lost: readonly Reason[],
  fieldManager: string,
  managedFields: () => readonly ManagedFieldsEntry[],
): boolean {
  if (old === undefined || lost.some(({ code }) => !OF_ARGUMENTS.has(code))) return false;
  return isClientSide(old, next) || isServerSide(fieldManager, managedFields());
}

/** The manifest that was applied before had no policy flag either, and the arguments are now what the manifest says. */
function isClientSide(old: Deployment, next: Deployment): boolean {
  const before = findApiserver(readLastApplied(old));
  const after = findApiserver(readLastApplied(next));
  const written = findApiserver(next);
  if (before === undefined || after === undefined || written === undefined) return false;
  if (findFlag(parseCommandLine(before), 'audit-policy-file') !== undefined) return false;
  return isDeepStrictEqual(after.args ?? [], written.args ?? []);
}

/** The manager has applied the apiserver's arguments before. */
function isServerSide(fieldManager: string, managedFields: readonly ManagedFieldsEntry[]): boolean {
  const path = ['f:spec', 'f:template', 'f:spec', 'f:containers', `k:{"name":"${APISERVER}"}`, 'f:args'];
  return managedFields.some(({ manager, operation, fieldsV1 }) => {
    if (fieldManager === '' || manager !== fieldManager || operation !== 'Apply') return false;
    let fields: unknown = fieldsV1;
    for (const key of path) {
      if (typeof fields !== 'object' || fields === null || !Object.hasOwn(fields, key)) return false;
      fields = (fields as Record<string, unknown>)[key];
    }
    return true;
  });
}

function readLastApplied(deployment: Deployment): unknown {
  try {
    return JSON.parse(deployment.metadata?.annotations?.[LAST_APPLIED_ANNOTATION] ?? 'null') as unknown;
  } catch {
    return undefined;
  }
}

/** The annotation is text that anybody may have written, so nothing about its shape is taken for granted. */
function findApiserver(object: unknown): Container | undefined {
  const containers: unknown = (object as Deployment | null | undefined)?.spec?.template?.spec?.containers;
  const isTexts = (value: unknown): boolean =>
    value === undefined || (Array.isArray(value) && value.every((item) => typeof item === 'string'));
  const isApiserver = (container: Container | null): boolean =>
    container?.name === APISERVER &&
    isTexts(container.args) &&
    isTexts(container.command) &&
    isEnvironment(container.env);
  return Array.isArray(containers) ? containers.find(isApiserver) : undefined;
}

const isEnvironment = (env: unknown): boolean =>
  env === undefined || (Array.isArray(env) && env.every((variable) => typeof variable?.name === 'string'));
