/** Whatever stands in a Cluster or a Seed: the plan answers, and the write that it asks for leaves nothing to ask for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { resolveSettings } from '../../src/audit/settings.ts';
import { DEFAULT_CONFIG } from '../../src/config.ts';
import { mergePatch } from '../../src/controller/objects.ts';
import { type Assessment, assess } from '../../src/controller/plan/assess.ts';
import { viewDeployment, viewPod, viewPolicy } from '../../src/controller/view.ts';
import { viewCluster, viewSeed } from '../../src/kkp.ts';
import {
  isJsonObject,
  type JsonObject,
  type JsonValue,
  type KubernetesObject,
} from '../../src/kubernetes.ts';
import { hasBackslashKey } from '../support/json.ts';

const json = fc
  .jsonValue({ maxDepth: 4 })
  .filter((value) => !hasBackslashKey(value)) as fc.Arbitrary<JsonValue>;
const section = fc.dictionary(
  fc.constantFrom('Name', 'Match', 'Host', '__proto__', 'k'),
  fc.oneof(fc.string(), json),
);
const block = fc.oneof(
  json,
  fc.record(
    {
      enabled: fc.oneof(fc.boolean(), json),
      policyPreset: fc.oneof(fc.constantFrom('', 'metadata', 'minimal', 'nonsense'), json),
      sidecar: fc.oneof(
        json,
        fc.record(
          {
            config: fc.record({ filters: fc.array(section), outputs: fc.oneof(fc.array(section), json) }),
            extraEnvs: fc.oneof(fc.array(fc.record({ name: fc.string(), value: fc.string() })), json),
            resources: json,
          },
          { requiredKeys: [] },
        ),
      ),
      webhookBackend: fc.oneof(
        json,
        fc.record({
          auditWebhookConfig: fc.oneof(fc.record({ name: fc.string(), namespace: fc.string() }), json),
        }),
      ),
    },
    { requiredKeys: [] },
  ),
) as fc.Arbitrary<JsonValue>;

/** RFC 7386, from the text of the RFC. */
function applyMergePatch(target: unknown, patch: unknown): unknown {
  if (!isJsonObject(patch)) return patch;
  const result = new Map(isJsonObject(target) ? Object.entries<unknown>(target) : []);
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) result.delete(key);
    else result.set(key, applyMergePatch(result.get(key), value));
  }
  return Object.fromEntries(result);
}

function look(cluster: KubernetesObject, seedBlock: JsonValue): Assessment {
  const view = viewCluster(cluster);
  const datacenters = { dc: { spec: { enforceAuditLogging: true } } };
  const seeds = [
    viewSeed({ metadata: { name: 's' }, spec: { auditLogging: seedBlock, datacenters } } as KubernetesObject),
  ];
  const resolution = resolveSettings(view, seeds, DEFAULT_CONFIG, 0);
  return assess(
    {
      cluster: view,
      resolution,
      namespace: { namespace: 'cluster-a', resourceVersion: '1', labelled: true, terminating: false },
      deployment: viewDeployment({ metadata: { name: 'apiserver', namespace: 'cluster-a' } }, resolution),
      pods: [viewPod({ metadata: { name: 'one', namespace: 'cluster-a' } }, resolution)],
      policy: viewPolicy({ metadata: { name: 'audit-config', namespace: 'cluster-a' } }),
      fluentBit: undefined,
      ownSecrets: new Map(),
      backend: undefined,
      backendSource: undefined,
      networkPolicy: undefined,
      deniesEgress: false,
      unread: new Set(),
    },
    0,
  );
}

test('the write that begins a roll-out brings the Cluster in line, whatever it and the Seed say', () => {
  fc.assert(
    fc.property(block, block, (own, seedBlock) => {
      const cluster = {
        metadata: { name: 'a', uid: 'u', resourceVersion: '7' },
        spec: { cloud: { dc: 'dc' }, auditLogging: own },
      } as KubernetesObject & JsonObject;
      const { start, drift } = look(cluster, seedBlock);
      if (!drift.includes('SETTINGS_DIFFER')) return;
      const after = applyMergePatch(cluster, JSON.parse(JSON.stringify(start?.body))) as KubernetesObject;
      assert.ok(!look(after, seedBlock).drift.includes('SETTINGS_DIFFER'), JSON.stringify(start?.body));
    }),
    { numRuns: 2000 },
  );
});

test('a merge patch makes the one into the other', () => {
  const withoutNull = (value: JsonValue): JsonValue =>
    Array.isArray(value) || !isJsonObject(value)
      ? value
      : Object.fromEntries(
          Object.entries(value).flatMap(([key, item]) => (item === null ? [] : [[key, withoutNull(item)]])),
        );
  const map = fc
    .dictionary(fc.constantFrom('a', 'b', 'c'), json)
    .map((value) => withoutNull(value as JsonObject));
  fc.assert(
    fc.property(map, map, (before, after) => {
      const patch = mergePatch(before, after);
      const made = patch === undefined ? before : applyMergePatch(before, JSON.parse(JSON.stringify(patch)));
      assert.deepEqual(JSON.parse(JSON.stringify(made)), JSON.parse(JSON.stringify(after)));
    }),
  );
});
