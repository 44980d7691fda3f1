/** What the controller writes beside the Deployment, rendered from settings. Pure. */
import { renderFluentBit } from '../audit/fluentbit.ts';
import * as names from '../audit/names.ts';
import type { Settings } from '../audit/settings.ts';
import type { WantedPolicy } from '../audit/wanted-policy.ts';
import type { JsonObject } from '../kubernetes.ts';
import { CONTENT_ANNOTATION, hash, hashData, MANAGED_BY_LABEL, MANAGER } from './view.ts';

/** Lets the apiserver's pods reach what the server's configuration lists. */
export const NETWORK_POLICY = 'kkp-audit-webhook-egress';
/** KKP's; without it nothing is blocked, and a policy of ours would be the first to block. */
export const DENY_EGRESS_POLICY = 'default-deny-all-egress';

const metadata = (name: string, content: string): JsonObject => ({
  name,
  labels: { [MANAGED_BY_LABEL]: MANAGER },
  annotations: { [CONTENT_ANNOTATION]: content },
});

/** `audit-config`; it is the namespace's from the moment it exists, so it carries no mark of ours. */
export const policyConfigMap = (policy: WantedPolicy): JsonObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: names.POLICY_CONFIGMAP },
  data: { [names.POLICY_KEY]: policy.text },
});

const encode = (text: string): string => Buffer.from(text).toString('base64');

/** A Secret of ours with that data, in base64. */
export const ownSecret = (name: string, data: Readonly<Record<string, string>>): JsonObject => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: metadata(name, hashData(data)),
  type: 'Opaque',
  data: { ...data },
});

/** The data of both Secrets of fluent-bit. */
export const fluentBitData = (settings: Settings): Record<string, string> => ({
  [names.FLUENTBIT_KEY]: encode(renderFluentBit(settings).text),
});

/** @returns undefined where the configuration lists no destination */
export function networkPolicy(settings: Settings): JsonObject | undefined {
  const { egress } = settings.options;
  if (egress.length === 0) return undefined;
  const spec = {
    podSelector: { matchLabels: { app: names.APISERVER } },
    policyTypes: ['Egress'],
    egress: egress.map(({ cidr, port }) => ({
      to: [{ ipBlock: { cidr } }],
      ports: [{ protocol: 'TCP', port }],
    })),
  };
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: metadata(NETWORK_POLICY, hash(JSON.stringify(spec))),
    spec,
  };
}

/** The content that an object of ours says it has. */
export const contentOf = (object: JsonObject): string =>
  ((object.metadata as JsonObject).annotations as Record<string, string>)[CONTENT_ANNOTATION] ?? '';

/**
 * The merge patch (RFC 7386) that makes `before` into `after`.
 * @returns undefined where nothing differs
 */
export function mergePatch(before: unknown, after: unknown): unknown {
  if (!isMap(before) || !isMap(after)) {
    return JSON.stringify(before) === JSON.stringify(after) ? undefined : (after ?? null);
  }
  const changes: [string, unknown][] = [];
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [old, wanted] = [ownValue(before, key), ownValue(after, key)];
    if (wanted === undefined || wanted === null) {
      if (old !== undefined && old !== null) changes.push([key, null]);
      continue;
    }
    const change = mergePatch(old, wanted);
    if (change !== undefined) changes.push([key, change]);
  }
  // Not by assignment: `__proto__` is a legal key.
  return changes.length === 0 ? undefined : Object.fromEntries(changes);
}

const ownValue = (map: Record<string, unknown>, key: string): unknown =>
  Object.hasOwn(map, key) ? map[key] : undefined;

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
