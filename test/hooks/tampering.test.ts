/** Pods and Deployments that look right and are not, through the hooks: the table that the backstop is held to as well, and what an update replaces. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import jsonpatch from 'fast-json-patch';
import type { KubernetesObject } from '../../src/kubernetes.ts';
import { POD_CASES, type Spec, type SpecContainer } from '../chart/pod-cases.ts';
import { clusterWith, ENABLED, kkp, seedWith, specOf } from '../support/audit-generators.ts';
import { ask, hooksOf, memoryState, OPERATOR, requestOf } from '../support/hook-requests.ts';

const CLUSTER = clusterWith(ENABLED);
const { namespace: NAMESPACE = '' } = CLUSTER;
const hooks = hooksOf(memoryState([CLUSTER], [seedWith({ enforceAuditLogging: true })]));

const render = (): KubernetesObject => structuredClone(kkp({}, ENABLED)) as unknown as KubernetesObject;
const specOfDeployment = (deployment: KubernetesObject): Spec =>
  specOf(deployment as never) as unknown as Spec;
const deploymentWith = (change: (spec: Spec) => void): KubernetesObject => {
  const deployment = render();
  change(specOfDeployment(deployment));
  return deployment;
};
const podWith = (change: (spec: Spec) => void): KubernetesObject => {
  const spec = specOfDeployment(render());
  change(spec);
  const metadata = { name: 'apiserver-x', namespace: NAMESPACE, labels: { app: 'apiserver' } };
  return { apiVersion: 'v1', kind: 'Pod', metadata, spec } as KubernetesObject;
};
const asRendered = (): void => undefined;

describe('a pod made by a person', () => {
  for (const { name, change, effective, beyondCel } of POD_CASES)
    if (!beyondCel)
      test(`${name}: ${effective ? 'may start' : 'may not'}`, async () => {
        const { allowed, message, reasons } = await ask(hooks.validate, requestOf(podWith(change)));
        assert.equal(allowed, effective, effective ? message : String(reasons));
      });
});

/** What is wrong with the sidecar or the log alone is mended in a new pod instead: the result is one that may start. */
const MENDED = new Set([
  'fluent-bit by a PATH of its own',
  'fluent-bit from the working directory',
  'the log mounted as a file for the sidecar',
  'the log mounted as a file for the apiserver',
  'a sidecar without room for what it prints',
]);

describe('a new pod is mended', () => {
  for (const { name, change } of POD_CASES)
    if (MENDED.has(name))
      test(name, async () => {
        const pod = podWith(change);
        const { patch } = await ask(hooks['mutate-pods'], requestOf(pod));
        const { newDocument: mended } = jsonpatch.applyPatch(pod, structuredClone([...patch]), false, false);
        const { allowed, message } = await ask(hooks.validate, requestOf(mended));
        assert.ok(allowed, message);
      });
});

const images = (apiserver: string, sidecar?: string) => (spec: Spec) => {
  const of = (name: string): SpecContainer | undefined => spec.containers.find((item) => item.name === name);
  Object.assign(of('apiserver') ?? {}, { image: apiserver });
  if (sidecar !== undefined) Object.assign(of('audit-logs') ?? {}, { image: sidecar });
};

const REPLACED = 'APISERVER_IMAGE_REPLACED';
const UNKNOWN = 'APISERVER_IMAGE_UNKNOWN';

/** Images, and the codes for which they are refused in an update and at creation; none where they pass. */
const IMAGES: readonly [name: string, change: (spec: Spec) => void, update: string[], create: string[]][] = [
  ['an upgrade', images('registry.k8s.io/kube-apiserver:v1.37.0'), [], []],
  ['another registry', images('evil.example/kube-apiserver:v1'), [REPLACED], []],
  ['another name', images('docker.io/mallory/thing:v1'), [UNKNOWN, REPLACED], [UNKNOWN]],
  [
    'another registry for both',
    images('evil.example/kube-apiserver:v1', 'evil.example/fluent/fluent-bit:4.0.0'),
    [REPLACED],
    [],
  ],
  [
    'another name from another registry',
    images('evil.example/mallory/thing:v1'),
    [UNKNOWN, REPLACED],
    [UNKNOWN],
  ],
];

for (const [kind, build] of [
  ['Pod', podWith],
  ['Deployment', deploymentWith],
] as const)
  describe(`images of a ${kind}`, () => {
    for (const [name, change, update, create] of IMAGES)
      for (const [what, old, codes] of [
        ['in an update', build(asRendered), update],
        ['at creation', undefined, create],
      ] as const)
        test(`${name}, ${what}: ${codes.join(', ') || 'passes'}`, async () => {
          const request = requestOf(build(change), old);
          const { allowed, reasons } = await ask(hooks.validate, request);
          assert.deepEqual([...reasons], codes);
          assert.equal(allowed, codes.length === 0);
          const byOperator = await ask(hooks.validate, { ...request, userInfo: OPERATOR });
          assert.equal(byOperator.allowed, true);
        });
  });
