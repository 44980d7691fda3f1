/** What `spec.auditLogging` of a Cluster should say. Pure. */
import type { AuditLoggingSettings, Cluster } from '../kkp.ts';
import { SKIP_ENFORCEMENT_ANNOTATION } from '../kkp.ts';
import { reason } from '../reasons.ts';
import type { Injected } from './inject.ts';
import { EXEMPT_REASON_ANNOTATION, EXEMPT_UNTIL_ANNOTATION, isExempt, type Resolution } from './settings.ts';

/**
 * Brings a Cluster in line with its datacenter: its settings where they are enforced, and an exemption that has ended goes.
 * @param cluster as it arrives; stays as it is
 * @param nowMs milliseconds since 1970
 */
export function injectCluster(cluster: Cluster, resolution: Resolution, nowMs: number): Injected<Cluster> {
  const nothing: Injected<Cluster> = { object: cluster, found: [], done: [], remaining: [], problems: [] };
  if (!resolution.resolved) return nothing;
  const { settings } = resolution;
  const { problems } = settings;
  let object = cluster;
  if (settings.enforced && !isSameBlock(cluster.spec?.auditLogging, settings.auditLogging)) {
    object = { ...object, spec: { ...object.spec, auditLogging: settings.auditLogging ?? null } };
  }
  object = dropEndedExemption(object, nowMs);
  return object === cluster
    ? { ...nothing, problems }
    : { ...nothing, object, done: [reason('CLUSTER_ALIGNED')], problems };
}

/** KKP knows no end of its opt-out, so one that has ended must go for KKP to enforce again. */
function dropEndedExemption(cluster: Cluster, nowMs: number): Cluster {
  const annotations = cluster.metadata?.annotations ?? {};
  const hasEnd = annotations[EXEMPT_UNTIL_ANNOTATION] !== undefined;
  if (!hasEnd || annotations[SKIP_ENFORCEMENT_ANNOTATION] !== 'true' || isExempt(annotations, nowMs))
    return cluster;
  const {
    [SKIP_ENFORCEMENT_ANNOTATION]: _skip,
    [EXEMPT_UNTIL_ANNOTATION]: _until,
    [EXEMPT_REASON_ANNOTATION]: _reason,
    ...others
  } = annotations;
  return { ...cluster, metadata: { ...cluster.metadata, annotations: others } };
}

/** Equal as KKP reads them: null, "", false and an empty list or map are the same as nothing (`omitempty`). */
export function isSameBlock(
  left: AuditLoggingSettings | null | undefined,
  right: AuditLoggingSettings | null | undefined,
): boolean {
  return isSame(left ?? {}, right ?? {});
}

const isEmpty = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === '' ||
  value === false ||
  (typeof value === 'object' && Object.values(value).every(isEmpty));

function isSame(left: unknown, right: unknown): boolean {
  if (left === right || (isEmpty(left) && isEmpty(right))) return true;
  if (typeof left !== 'object' || typeof right !== 'object' || left === null || right === null) return false;
  if (Array.isArray(left) !== Array.isArray(right)) return false;
  const a = left as Record<string, unknown>;
  const b = right as Record<string, unknown>;
  // A map may have a key `__proto__` or `valueOf`.
  const own = (map: Record<string, unknown>, key: string): unknown =>
    Object.hasOwn(map, key) ? map[key] : undefined;
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].every((key) =>
    isSame(own(a, key), own(b, key)),
  );
}
