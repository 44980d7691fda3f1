/**
 * As long-texts.test.ts, for lists: each here is as long as what kube-apiserver takes, and whoever compared each element with each other, or copied
 * the list for each, would run into the time limit many times over.
 */
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import type { HookName } from '../../src/admission.ts';
import type { KubernetesObject } from '../../src/kubernetes.ts';
import type { Spec, SpecContainer } from '../chart/pod-cases.ts';
import { clusterWith, ENABLED, kkp, seedWith, specOf } from '../support/audit-generators.ts';
import { ask, hooksOf, KKP, memoryState, PERSON, requestOf } from '../support/hook-requests.ts';

const LENGTH = 40_000;
/** What grows with the length takes a second, on a machine that others use too. */
const TIME_LIMIT_MS = 10_000;
const CLUSTER = clusterWith(ENABLED);
const { namespace: NAMESPACE = '' } = CLUSTER;
const hooks = hooksOf(memoryState([CLUSTER], [seedWith({ enforceAuditLogging: true })]));

const many = <T>(make: (index: number) => T): T[] =>
  Array.from({ length: LENGTH }, (_, index) => make(index));
const of = (spec: Spec, name: string): SpecContainer => {
  const found = spec.containers.find((container) => container.name === name);
  if (found === undefined) throw new Error(`nothing is named ${name}`);
  return found;
};
const mounts = (make: (index: number) => string, name = 'audit-log') =>
  many((index) => ({ name, mountPath: make(index) }));

const limited = { timeout: TIME_LIMIT_MS * 2 };
async function measure(t: TestContext, run: () => Promise<void>): Promise<void> {
  const start = performance.now();
  await run();
  const ms = Math.round(performance.now() - start);
  t.diagnostic(`${ms} ms`);
  assert.ok(ms < TIME_LIMIT_MS, `it took ${ms} ms`);
}

/** Lists of one container. */
const OF_CONTAINER: readonly (readonly [what: string, fields: () => Partial<SpecContainer>])[] = [
  ['mounts over the policy', () => ({ volumeMounts: mounts(() => '/etc/kubernetes/audit/policy.yaml') })],
  ['mounts over the log', () => ({ volumeMounts: mounts(() => '/var/log/kubernetes/audit/audit.log') })],
  [
    'mounts over the configuration',
    () => ({ volumeMounts: mounts(() => '/etc/fluent-bit/fluent-bit.conf') }),
  ],
  [
    'mounts where the policy belongs',
    () => ({ volumeMounts: mounts(() => '/etc/kubernetes/audit', 'more') }),
  ],
  [
    'mounts below each other',
    () => ({ volumeMounts: mounts((index) => `/var/log/kubernetes/audit/${index}`) }),
  ],
  ['mounts over the libraries', () => ({ volumeMounts: mounts((index) => `/usr/lib/${index}`, `more`) })],
  ['variables', () => ({ env: many((index) => ({ name: `V${index}`, value: `$(V${index - 1})` })) })],
  [
    'variables of one name',
    () => ({ env: many(() => ({ name: 'PATH', value: 'x' })), command: ['kube-apiserver'] }),
  ],
  ['sources of variables', () => ({ envFrom: many(() => ({ configMapRef: { name: 'x' } })) })],
  ['arguments', () => ({ args: many((index) => `--a${index}=$(V)`) })],
  ['flags of the policy', () => ({ args: many(() => '--audit-policy-file=/x') })],
  ['arguments that are no flags', () => ({ args: many(() => 'x') })],
  [
    'arguments in command',
    () => ({ command: ['/usr/local/bin/kube-apiserver', ...many(() => '--audit-log-path=-')] }),
  ],
  ['a handler of many arguments', () => ({ livenessProbe: { exec: { command: many(() => 'x') } } })],
  ['capabilities', () => ({ securityContext: { capabilities: { drop: many((index) => `C${index}`) } } })],
];

/** Lists of the pod. */
const OF_POD: readonly (readonly [what: string, change: (spec: Spec) => void])[] = [
  ...(['apiserver', 'audit-logs'] as const).flatMap((name) =>
    OF_CONTAINER.map(
      ([what, fields]) =>
        [`${what} of ${name}`, (spec: Spec) => void Object.assign(of(spec, name), fields())] as const,
    ),
  ),
  ['volumes', (spec) => void spec.volumes?.push(...many((index) => ({ name: `v${index}`, emptyDir: {} })))],
  [
    'volumes of one name, before the right ones',
    (spec) => void spec.volumes?.unshift(...many(() => ({ name: 'audit-config', emptyDir: {} }))),
  ],
  [
    'volumes of one storage, each mounted',
    (spec) => {
      spec.volumes = [
        ...many((index) => ({ name: `v${index}`, hostPath: { path: `/srv/${index}` } })),
        { name: 'audit-log', hostPath: { path: '/srv' } },
      ];
      spec.containers.push({
        name: 'other',
        image: 'x',
        volumeMounts: many((index) => ({ name: `v${index}`, mountPath: `/${index}` })),
      });
    },
  ],
  [
    'mounts inside of a volume of somebody else',
    (spec) => {
      spec.volumes?.push({ name: 'links', hostPath: { path: '/srv' } });
      const inside = mounts((index) => `/a${'/a'.repeat(index % 50)}/${index}`, 'links');
      of(spec, 'apiserver').volumeMounts?.push({ name: 'links', mountPath: '/a' }, ...inside);
    },
  ],
  [
    'items of the policy',
    (spec) => {
      const items = many((index) => ({ key: `k${index}`, path: `p${index}` }));
      spec.volumes = [{ name: 'audit-config', configMap: { name: 'audit-config', items } }];
    },
  ],
  [
    'sources of the policy',
    (spec) => {
      spec.volumes = [
        { name: 'audit-config', projected: { sources: many(() => ({ configMap: { name: 'x' } })) } },
      ];
    },
  ],
  ...(['containers', 'initContainers', 'ephemeralContainers'] as const).map(
    (key) =>
      [
        key,
        (spec: Spec) => {
          const more = many((index) => ({
            name: `c${index}`,
            image: 'registry.k8s.io/kube-apiserver:v1',
            volumeMounts: [{ name: 'audit-log', mountPath: '/x' }],
            lifecycle: { postStart: { sleep: { seconds: 1 } } },
          }));
          spec[key] = [
            ...(key === 'containers' ? [of(spec, 'apiserver')] : []),
            ...more,
            ...(key === 'containers' ? [of(spec, 'audit-logs')] : []),
          ];
        },
      ] as const,
  ),
  ['apiservers', (spec) => void spec.containers.push(...many(() => of(spec, 'apiserver')))],
  ['sidecars', (spec) => void spec.containers.push(...many(() => of(spec, 'audit-logs')))],
];

const INJECTED = 'audit.kubermatic.k8c.io/injected';
/** As many as an annotation of the length that is read has room for. */
const readable = <T>(make: (index: number) => T, length = 9000): T[] =>
  Array.from({ length }, (_, index) => make(index));
/** What somebody may claim to be this software's own. */
const CLAIMS: readonly (readonly [what: string, claims: () => object, change: (spec: Spec) => void])[] = [
  [
    'mounts that had to make way',
    () => ({
      parts: ['mount//etc/kubernetes/audit'],
      displaced: many((index) => ({
        part: 'mount//etc/kubernetes/audit',
        list: 'volumeMounts',
        index,
        value: { name: 'x', mountPath: `/etc/kubernetes/audit/${index}` },
      })),
    }),
    (spec) => void of(spec, 'apiserver').volumeMounts?.push(...mounts((index) => `/m${index}`)),
  ],
  [
    'a few mounts that had to make way, among many',
    () => ({
      parts: ['mount//etc/kubernetes/audit'],
      displaced: readable(
        (index) => ({
          part: 'mount//etc/kubernetes/audit',
          list: 'volumeMounts',
          index: LENGTH,
          value: { name: 'x', mountPath: `/etc/kubernetes/audit/${index}` },
        }),
        1500,
      ),
    }),
    (spec) => void of(spec, 'apiserver').volumeMounts?.push(...mounts((index) => `/m${index}`)),
  ],
  [
    'parts that are nowhere',
    () => ({ parts: readable((index) => `${index % 2 === 0 ? 'volume' : 'mount'}//v${index}`) }),
    (spec) => {
      of(spec, 'apiserver').volumeMounts?.push(...mounts((index) => `/m${index}`));
      spec.volumes?.push(...many((index) => ({ name: `x${index}`, emptyDir: {} })));
    },
  ],
  [
    'flags',
    () => ({ parts: readable((index) => `flag/audit-x${index}`) }),
    (spec) => void of(spec, 'apiserver').args?.push(...many((index) => `--audit-x${index}=1`)),
  ],
];

describe('a long list of claims', () => {
  const CLUSTERS = [ENABLED, { enabled: false }];
  for (const [what, claims, change] of CLAIMS)
    for (const auditLogging of CLUSTERS)
      test(`${what}, audit logging ${auditLogging.enabled ? 'on' : 'off'}`, limited, async (t) => {
        const own = hooksOf(memoryState([clusterWith(auditLogging)], [seedWith({})]));
        const deployment = structuredClone(kkp({}, ENABLED)) as unknown as KubernetesObject;
        change(specOf(deployment as never) as unknown as Spec);
        const annotations = { [INJECTED]: JSON.stringify(claims()) };
        const claiming = { ...deployment, metadata: { ...deployment.metadata, annotations } };
        await measure(t, async () => {
          for (const old of [undefined, claiming])
            await ask(own['mutate-deployments'], requestOf(claiming, old, { userInfo: PERSON }));
        });
      });
});

const podOf = (deployment: KubernetesObject): KubernetesObject =>
  ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'apiserver-x', namespace: NAMESPACE, labels: { app: 'apiserver' } },
    spec: specOf(deployment as never),
  }) as KubernetesObject;

const KINDS: readonly {
  readonly what: string;
  readonly hooks: readonly HookName[];
  readonly make: (deployment: KubernetesObject) => KubernetesObject;
}[] = [
  { what: 'a Deployment', hooks: ['mutate-deployments', 'validate'], make: (deployment) => deployment },
  { what: 'a pod', hooks: ['mutate-pods', 'validate'], make: podOf },
];

for (const { what, hooks: names, make } of KINDS)
  describe(`a long list in ${what}`, () => {
    for (const [list, change] of OF_POD)
      test(list, limited, async (t) => {
        const rendered = structuredClone(kkp({}, ENABLED)) as unknown as KubernetesObject;
        const changed = structuredClone(rendered);
        change(specOf(changed as never) as unknown as Spec);
        await measure(t, async () => {
          for (const name of names)
            for (const old of [undefined, make(rendered), make(changed)])
              for (const userInfo of [PERSON, KKP])
                await ask(hooks[name], requestOf(make(changed), old, { userInfo }));
        });
      });
  });
