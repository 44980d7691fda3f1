/**
 * Whoever may write one Deployment or Cluster must not be able to hold up the hooks of all others: a text of any content is read in a time that
 * grows with its length. Each text here is so long that one of which the square is taken would run into the time limit many times over.
 */
import assert from 'node:assert/strict';
import { posix } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { HookName } from '../../src/admission.ts';
import { cleanPath } from '../../src/audit/mounts.ts';
import { parseQuantity } from '../../src/audit/quantity.ts';
import type { JsonObject, JsonValue, KubernetesObject } from '../../src/kubernetes.ts';
import { clusterWith, ENABLED, kkp, seedWith } from '../support/audit-generators.ts';
import { ask, hooksOf, memoryState, requestOf } from '../support/hook-requests.ts';

const LENGTH = 400_000;
const TIME_LIMIT_MS = 60_000;
const CLUSTER = clusterWith(ENABLED);
const { namespace: NAMESPACE = '' } = CLUSTER;
const hooks = hooksOf(memoryState([CLUSTER], [seedWith({ enforceAuditLogging: true })]));

/** What is repeated, and what comes last, so that a pattern that would match is tried to the end and fails. */
const REPEATED = [
  '$(',
  '$$',
  '$(A)',
  ' ',
  '\t',
  '\n',
  '"',
  "'",
  '\\',
  '/',
  '../',
  'a/',
  '//',
  'a ',
  'a\n',
  '[INPUT]\n',
  '[',
  '{',
  '- ',
  '0',
  '9',
  '1_',
  '.5',
  '1h',
  ':',
  'a: ',
  '@',
  '=',
  '--a',
  '# x\n',
  '&a ',
  '*',
  '*a ',
  '? ',
  '! ',
  '|\n',
  ' kube-apiserver',
  ';',
  '`',
  '\r',
  '\u2028',
  ',',
];
const LAST = ['', '!'];

const deployment = kkp({}, ENABLED) as unknown as JsonObject;
const cluster: JsonObject = {
  apiVersion: 'kubermatic.k8c.io/v1',
  kind: 'Cluster',
  metadata: {
    name: CLUSTER.name,
    annotations: {
      'kubermatic.k8c.io/skip-audit-logging-enforcement': 'true',
      'audit.kubermatic.k8c.io/exemption-reason': 'a reason',
      'audit.kubermatic.k8c.io/exemption-until': '2026-11-24T12:00:00Z',
    },
  },
  spec: {
    cloud: { dc: CLUSTER.datacenter },
    auditLogging: {
      enabled: true,
      policyPreset: 'metadata',
      webhookBackend: {
        auditWebhookConfig: { name: 'backend', namespace: 'kubermatic' },
        auditWebhookInitialBackoff: '10s',
      },
      sidecar: {
        resources: { limits: { cpu: '50m', memory: '60Mi' } },
        extraEnvs: [{ name: 'A', value: 'a' }],
        config: {
          service: { Flush: '1' },
          filters: [{ Name: 'grep', Match: '*' }],
          outputs: [{ Name: 'stdout', Match: '*' }],
        },
      },
    },
  },
};
const keyed = (kind: string, name: string, key: string): JsonObject => ({
  apiVersion: 'v1',
  kind,
  metadata: { name, namespace: NAMESPACE },
  data: { [key]: '' },
});
const encode = (text: string): string => Buffer.from(text).toString('base64');

type Path = readonly (string | number)[];
const container = (index: number, ...path: Path): Path => [
  'spec',
  'template',
  'spec',
  'containers',
  index,
  ...path,
];

/** Objects, the hooks that see them, and where a person may write any text. */
const PLACES: readonly {
  readonly what: string;
  readonly object: JsonObject;
  readonly hooks: readonly HookName[];
  readonly paths: readonly Path[];
  readonly encode?: (text: string) => string;
}[] = [
  {
    what: 'a Deployment',
    object: deployment,
    hooks: ['mutate-deployments', 'validate'],
    paths: [
      container(1, 'image'),
      container(1, 'command', 0),
      container(1, 'args', 0),
      container(1, 'args', 1),
      container(1, 'volumeMounts', 0, 'mountPath'),
      container(1, 'terminationMessagePath'),
      container(2, 'image'),
      container(2, 'args', 1),
      container(2, 'volumeMounts', 0, 'mountPath'),
      ['spec', 'template', 'spec', 'volumes', 0, 'name'],
      ['metadata', 'annotations', 'audit.kubermatic.k8c.io/injected'],
      ['metadata', 'annotations', 'updated-by-vpa'],
    ],
  },
  { what: 'a Cluster', object: cluster, hooks: ['mutate-clusters', 'validate'], paths: [...leaves(cluster)] },
  {
    what: 'the policy',
    object: keyed('ConfigMap', 'audit-config', 'policy.yaml'),
    hooks: ['validate'],
    paths: [['data', 'policy.yaml']],
  },
  {
    what: "fluent-bit's configuration",
    object: keyed('Secret', 'audit-logs-fluentbit', 'fluent-bit.conf'),
    hooks: ['validate'],
    paths: [['data', 'fluent-bit.conf']],
    encode,
  },
];

/** Where texts are, but for what says which object it is. */
function* leaves(value: JsonValue | undefined, path: Path = []): Generator<Path> {
  if (typeof value === 'string') {
    if (!['apiVersion', 'kind', 'name', 'dc'].includes(String(path.at(-1))) || path.length > 3) yield path;
  } else if (typeof value === 'object' && value !== null)
    for (const [key, child] of Object.entries(value)) yield* leaves(child, [...path, key]);
}

function withText(object: JsonObject, path: Path, text: string): KubernetesObject {
  const copy = structuredClone(object);
  let node = copy as Record<string | number, JsonValue>;
  for (const key of path.slice(0, -1)) {
    const child = (node[key] ?? {}) as Record<string | number, JsonValue>;
    node[key] = child;
    node = child;
  }
  node[path.at(-1) ?? ''] = text;
  return copy as KubernetesObject;
}

for (const { what, object, hooks: names, paths, encode: written = (text: string) => text } of PLACES)
  describe(`a long text in ${what}`, () => {
    for (const path of paths)
      test(path.join('.'), { timeout: TIME_LIMIT_MS }, async () => {
        for (const repeated of REPEATED)
          for (const last of LAST) {
            const text = repeated.repeat(LENGTH / repeated.length) + last;
            const changed = withText(object, path, written(text));
            for (const name of names)
              for (const old of [undefined, object as KubernetesObject]) {
                const decision = await ask(hooks[name], requestOf(changed, old)).catch(
                  (error: Error) => error,
                );
                // An error is one that names what is wrong with the object.
                if (decision instanceof Error) assert.equal(decision.name, 'ReviewError', decision.message);
              }
          }
      });
  });

test('a path is cleaned as node:path cleans it', () => {
  const path = fc
    .array(fc.constantFrom('a', 'b', '..', '.', '', '...', '..data'))
    .map((parts) => parts.join('/'));
  fc.assert(
    fc.property(path, (text) => {
      const expected = posix.normalize(text);
      assert.equal(
        cleanPath(text),
        expected.length > 1 && expected.endsWith('/') ? expected.slice(0, -1) : expected,
      );
    }),
  );
});

test('a quantity of many digits is read', { timeout: TIME_LIMIT_MS }, () => {
  assert.equal(parseQuantity(`${'9'.repeat(LENGTH)}!`), undefined);
  assert.equal(parseQuantity('1.5Gi'), 1.5 * 2 ** 30);
  assert.equal(parseQuantity('1.'), 1);
});
