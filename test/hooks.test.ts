/** The hooks, called as the server calls them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import jsonpatch, { type Operation } from 'fast-json-patch';
import {
  type AdmissionRequest,
  type Decision,
  type HookName,
  OPERATIONS,
  ReviewError,
} from '../src/admission.ts';
import type { DatacenterOptions } from '../src/config.ts';
import type { Deployment, KubernetesObject, Pod } from '../src/kubernetes.ts';
import { REASONS } from '../src/reasons.ts';
import { StateError } from '../src/state/state.ts';
import {
  CLUSTER,
  clusterWith,
  configWith,
  ENABLED,
  kkp,
  mutateFreely,
  mutations,
  seedWith,
  specOf,
  withSpec,
} from './support/audit-generators.ts';
import {
  ask,
  hooksOf,
  KKP,
  memoryState,
  OPERATOR,
  PERSON,
  requestOf,
  unreachable,
} from './support/hook-requests.ts';

const ENFORCING = [seedWith({ enforceAuditLogging: true })];
const FREE = [seedWith()];
const enforced = (options: Partial<DatacenterOptions> = {}) =>
  hooksOf(memoryState([clusterWith(ENABLED)], ENFORCING), { config: configWith(options) });
const free = hooksOf(memoryState([clusterWith(ENABLED)], FREE));

const off = kkp();
const on = kkp({}, ENABLED);
const patched = <T extends object>(object: T, decision: Decision): T =>
  jsonpatch.applyPatch(structuredClone(object), structuredClone(decision.patch) as Operation[], true)
    .newDocument;
const has = (decision: Decision, ...codes: string[]): void => {
  for (const code of codes) assert.ok(decision.reasons.includes(code), `${code} in ${decision.reasons}`);
};
const untouched = (decision: Decision): void =>
  assert.deepEqual([decision.allowed, decision.patch, decision.warnings], [true, [], []]);
const marked = (object: Deployment, fields: object): Deployment => ({
  ...object,
  metadata: { ...object.metadata, ...fields },
});

describe('/mutate/deployments', () => {
  const mutate = (request: AdmissionRequest, hooks = free) => ask(hooks['mutate-deployments'], request);

  test('injects, and says so in the log and the audit annotations', async () => {
    const decision = await mutate(requestOf(off));
    assert.deepEqual(
      specOf(patched(off, decision)).containers?.map(({ name }) => name),
      ['konnectivity-server', 'apiserver', 'audit-logs'],
    );
    assert.deepEqual([decision.allowed, decision.warnings, decision.reasons], [true, [], ['INJECTED']]);
    assert.deepEqual(decision.auditAnnotations, { reasons: 'INJECTED' });
    assert.deepEqual(
      [decision.log.cluster, decision.log.datacenter, decision.log.enabledBy],
      [CLUSTER, 'lab', 'cluster'],
    );
  });

  test('has nothing to do a second time, nor for what KKP renders itself', async () => {
    const injected = patched(off, await mutate(requestOf(off)));
    untouched(await mutate(requestOf(injected, injected)));
    untouched(await mutate(requestOf(on)));
  });

  test('answers a dry run alike', async () => {
    assert.deepEqual(await mutate(requestOf(off, undefined, { dryRun: true })), await mutate(requestOf(off)));
  });

  test('puts in where auditing is enforced, though the Cluster says no', async () => {
    const hooks = hooksOf(memoryState([clusterWith({ enabled: false })], ENFORCING));
    has(await mutate(requestOf(off), hooks), 'INJECTED');
    untouched(await mutate(requestOf(off), hooksOf(memoryState([clusterWith({ enabled: false })], FREE))));
  });

  describe('leaves alone', () => {
    const rows: [what: string, request: AdmissionRequest][] = [
      ['other names', requestOf(marked(off, { name: 'scheduler' }))],
      ['other namespaces', requestOf(marked(off, { namespace: 'kubermatic' }))],
      ['other kinds', requestOf({ ...off, kind: 'StatefulSet' })],
      ['other groups', requestOf(off, undefined, { group: 'extensions' })],
      ['deletions', requestOf(undefined, off)],
      ['subresources', requestOf(off, on, { subResource: 'scale' })],
      ['what is under deletion', requestOf(marked(off, { deletionTimestamp: '2026-11-23T00:00:00Z' }), on)],
    ];
    for (const [what, request] of rows) test(what, async () => untouched(await mutate(request, enforced())));

    test('Clusters under deletion', async () => {
      untouched(
        await mutate(
          requestOf(off, on),
          hooksOf(memoryState([{ ...clusterWith(ENABLED), deleting: true }], ENFORCING)),
        ),
      );
    });
  });

  test('a namespace of no Cluster passes, with the reason', async () => {
    const decision = await mutate(requestOf(off), hooksOf(memoryState([], FREE)));
    untouched(decision);
    has(decision, 'CLUSTER_NOT_FOUND');
  });

  test('a Cluster that is not in memory yet is looked up', async () => {
    has(await mutate(requestOf(off), hooksOf(memoryState([], FREE, () => clusterWith(ENABLED)))), 'INJECTED');
  });

  test('a look-up that fails is an error, never a verdict', async () => {
    await assert.rejects(
      async () => mutate(requestOf(off), hooksOf(memoryState([], FREE, unreachable))),
      StateError,
    );
  });

  test('an unknown datacenter is said, and what the Cluster asks for is done', async () => {
    const decision = await mutate(requestOf(off), hooksOf(memoryState([clusterWith(ENABLED)], [])));
    has(decision, 'INJECTED', 'SEED_MISSING');
    assert.equal(decision.warnings.length, 1);
    assert.equal(decision.log.enforced, 'unknown');
  });

  test('settings that cannot be followed are a warning', async () => {
    const hooks = hooksOf(memoryState([clusterWith({ enabled: true, policyPreset: 'none' })], FREE));
    assert.match(
      (await mutate(requestOf(on), hooks)).warnings[0] ?? '',
      /policyPreset "none" does not exist.*\[POLICY_PRESET_UNKNOWN\]$/,
    );
  });

  describe('an attempt', () => {
    test('is refused, with every reason and who may', async () => {
      const decision = await mutate(requestOf(off, on), enforced());
      assert.deepEqual([decision.allowed, decision.statusCode, decision.patch], [false, 403, []]);
      assert.match(
        decision.message,
        /"lab".*Deployment cluster-q7x2mfk9vd\/apiserver.*\[POLICY_FLAG_MISSING\].*\[SIDECAR_MISSING\].*disable-audit-logging/s,
      );
      assert.equal(decision.auditAnnotations.reasons, 'POLICY_FLAG_MISSING,SIDECAR_MISSING');
    });

    test('in a free datacenter is repaired', async () => has(await mutate(requestOf(off, on)), 'INJECTED'));

    test('of one who may is admitted, and on record', async () => {
      has(
        await mutate(requestOf(off, on, { userInfo: OPERATOR }), enforced()),
        'ATTEMPT_BY_OPERATOR',
        'SIDECAR_MISSING',
      );
    });

    test('in mode warn is admitted with warnings, in mode audit without', async () => {
      const warned = await mutate(requestOf(off, on), enforced({ mode: 'warn' }));
      has(warned, 'ATTEMPT_ADMITTED', 'SIDECAR_MISSING');
      assert.ok(warned.allowed && warned.warnings.length >= 3);
      const recorded = await mutate(requestOf(off, on), enforced({ mode: 'audit' }));
      has(recorded, 'ATTEMPT_ADMITTED', 'SIDECAR_MISSING');
      assert.deepEqual([recorded.allowed, recorded.warnings], [true, []]);
    });

    test('is no verdict while nobody knows who may', async () => {
      const mayDisable = async () => {
        throw new Error('no answer');
      };
      const hooks = hooksOf(memoryState([clusterWith(ENABLED)], ENFORCING), { mayDisable });
      await assert.rejects(async () => mutate(requestOf(off, on), hooks), /no answer/);
    });

    test('of the platform is its right: the Deployment is left to it', async () => {
      const injected = patched(off, await mutate(requestOf(off), enforced()));
      const rendered = marked(off, { annotations: { ...injected.metadata?.annotations } });
      const decision = await mutate(requestOf(rendered, injected, { userInfo: KKP }), enforced());
      has(decision, 'LEFT_TO_OWNER');
      const left = patched(rendered, decision);
      assert.deepEqual(specOf(left), specOf(off));
      assert.deepEqual((await mutate(requestOf(left, left, { userInfo: KKP }), enforced())).patch, []);
    });
  });

  test('what is no Deployment is told so', async () => {
    for (const object of [
      undefined,
      withSpec(off, 7),
      withSpec(off, { containers: [null] }),
      withSpec(off, { containers: [{ name: 7 }] }),
      withSpec(off, { volumes: {} }),
      { ...off, spec: 'x' },
    ] as (KubernetesObject | undefined)[])
      await assert.rejects(
        async () => mutate({ ...requestOf(off), object }),
        (error: Error) => error instanceof ReviewError && /^request\.object/.test(error.message),
      );
  });
});

describe('/validate', () => {
  const validate = (request: AdmissionRequest, hooks = enforced()) => ask(hooks.validate, request);

  test('refuses a Deployment that loses auditing, and passes one that keeps it', async () => {
    assert.equal((await validate(requestOf(off, on))).statusCode, 403);
    assert.equal((await validate(requestOf(on, on))).allowed, true);
    assert.equal((await validate(requestOf(off, on, { userInfo: KKP }))).allowed, true);
    assert.equal((await validate(requestOf(off, on), free)).allowed, true);
  });

  test('refuses a Cluster that turns auditing off', async () => {
    const cluster = (auditLogging: unknown) =>
      ({
        apiVersion: 'kubermatic.k8c.io/v1',
        kind: 'Cluster',
        metadata: { name: CLUSTER },
        spec: { cloud: { dc: 'lab' }, auditLogging },
      }) as KubernetesObject;
    const decision = await validate(requestOf(cluster({ enabled: false }), cluster(ENABLED)));
    assert.equal(decision.statusCode, 403);
    assert.match(decision.message, /Cluster "q7x2mfk9vd".*\[CLUSTER_AUDIT_DISABLED\]/s);
    assert.equal(
      (await validate(requestOf(cluster({ enabled: false }), cluster(ENABLED)), free)).allowed,
      true,
    );
    has(await validate(requestOf(cluster({ enabled: false }))), 'FLAG_IGNORED');
  });

  test('refuses an unaudited pod of the apiserver, whoever makes it', async () => {
    const pod = (deployment: Deployment): Pod => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { generateName: 'apiserver-', namespace: `cluster-${CLUSTER}`, labels: { app: 'apiserver' } },
      spec: specOf(deployment),
    });
    const request = (deployment: Deployment) => requestOf(pod(deployment), undefined, { userInfo: KKP });
    assert.equal((await validate(request(off))).statusCode, 403);
    const injected = patched(pod(off), await ask(enforced()['mutate-pods'], request(off)));
    assert.equal((await validate(requestOf(injected))).allowed, true);
  });
});

describe('every request', () => {
  const odd = fc.oneof(
    fc
      .anything({ withNullPrototype: false, maxDepth: 3 })
      .map((value) => JSON.parse(JSON.stringify(value) ?? 'null') as unknown),
    fc.constantFrom<unknown>(
      null,
      undefined,
      [],
      {},
      '',
      7,
      true,
      JSON.parse('{"__proto__": {"name": "x"}, "constructor": 1}'),
    ),
  );
  const objects: fc.Arbitrary<unknown> = fc.oneof(
    fc.array(mutations, { maxLength: 4 }).map((changes) => withSpec(off, mutateFreely(specOf(on), changes))),
    odd.map((spec) => withSpec(off, spec)),
    fc
      .tuple(fc.constantFrom('containers', 'initContainers', 'volumes'), odd)
      .map(([key, value]) => withSpec(off, { ...specOf(on), [key]: value })),
    fc
      .tuple(fc.constantFrom('args', 'command', 'env', 'volumeMounts', 'resources', 'image', 'name'), odd)
      .map(([key, value]) =>
        withSpec(off, {
          ...specOf(on),
          containers: specOf(on).containers?.map((container) => ({ ...container, [key]: value })),
        }),
      ),
    odd.map((spec) => ({
      apiVersion: 'kubermatic.k8c.io/v1',
      kind: 'Cluster',
      metadata: { name: CLUSTER },
      spec,
    })),
    odd.map((auditLogging) => ({
      apiVersion: 'kubermatic.k8c.io/v1',
      kind: 'Cluster',
      metadata: { name: CLUSTER },
      spec: { cloud: { dc: 'lab' }, auditLogging },
    })),
    odd.map((data) => ({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'audit-config', namespace: `cluster-${CLUSTER}` },
      data,
    })),
    odd.map((data) => ({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'audit-logs-fluentbit', namespace: `cluster-${CLUSTER}` },
      data,
    })),
    odd.map((spec) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'x', namespace: `cluster-${CLUSTER}`, labels: { app: 'apiserver' } },
      spec,
    })),
    odd.map((spec) => ({
      apiVersion: 'kubermatic.k8c.io/v1',
      kind: 'Seed',
      metadata: { name: 's', namespace: 'kubermatic' },
      spec,
    })),
  );

  /** As they come over the wire. */
  const written = objects.map((object) => JSON.parse(JSON.stringify(object)) as KubernetesObject);

  const check = (decision: Decision, object: unknown): void => {
    assert.ok(
      decision.allowed
        ? decision.statusCode === 200 && decision.message === ''
        : [403, 400].includes(decision.statusCode) && decision.message !== '',
    );
    for (const code of decision.reasons) assert.ok(Object.hasOwn(REASONS, code), code);
    for (const text of [...decision.warnings, ...Object.values(decision.auditAnnotations)])
      assert.equal(typeof text, 'string');
    assert.doesNotMatch([decision.message, ...decision.warnings].join(), /undefined|\[object|\{\w+\}/);
    if (decision.patch.length > 0) patched(object as object, decision);
  };

  /** The value, with any one value in it replaced by one of another type. */
  function* withOneWrong(value: unknown): Generator<unknown> {
    if (typeof value !== 'object' || value === null) return;
    for (const [key, inner] of Object.entries(value))
      for (const changed of [null, 7, '', [], {}, ...withOneWrong(inner)])
        yield Array.isArray(value) ? value.with(Number(key), changed) : { ...value, [key]: changed };
  }

  const inCluster = { namespace: `cluster-${CLUSTER}`, annotations: { a: 'b' } };
  const sound: Readonly<Record<string, object>> = {
    Deployment: on,
    Pod: {
      apiVersion: 'v1',
      metadata: { ...inCluster, name: 'x', labels: { app: 'apiserver' } },
      spec: { ...specOf(on), ephemeralContainers: [{ name: 'debug', image: 'busybox', command: ['sh'] }] },
    },
    Cluster: {
      apiVersion: 'kubermatic.k8c.io/v1',
      metadata: { name: CLUSTER, annotations: { a: 'b' } },
      spec: { cloud: { dc: 'lab' }, auditLogging: ENABLED },
    },
    Seed: {
      apiVersion: 'kubermatic.k8c.io/v1',
      metadata: { name: 'kubermatic', namespace: 'kubermatic' },
      spec: { auditLogging: ENABLED, datacenters: { lab: { spec: { enforceAuditLogging: true } } } },
    },
    ConfigMap: {
      apiVersion: 'v1',
      metadata: { ...inCluster, name: 'audit-config' },
      data: { 'policy.yaml': 'rules: [{ level: Metadata }]' },
    },
    Secret: {
      apiVersion: 'v1',
      metadata: { ...inCluster, name: 'audit-logs-fluentbit' },
      data: { 'fluent-bit.conf': 'W0lOUFVUXQo=' },
    },
  };

  for (const [kind, object] of Object.entries(sound))
    test(`is answered, or refused as unreadable, whatever is of a wrong type in a ${kind}`, async () => {
      const hooks = Object.values(enforced());
      const broken = [...withOneWrong(object)] as KubernetesObject[];
      assert.ok(broken.length >= 40, String(broken.length));
      for (const one of broken)
        for (const [written, old] of [[one], [one, object], [object, one], [one, one], [undefined, one]] as [
          KubernetesObject | undefined,
          KubernetesObject?,
        ][])
          for (const hook of hooks)
            try {
              const operation = written === undefined ? 'DELETE' : old === undefined ? 'CREATE' : 'UPDATE';
              const request = requestOf({ ...object, kind }, old, { operation, object: written });
              check(await ask(hook, request), written);
            } catch (error) {
              if (!(error instanceof ReviewError)) throw error;
            }
    });

  test('gets a well-formed answer, or is told what is wrong with it', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom<HookName>('mutate-deployments', 'mutate-pods', 'mutate-clusters', 'validate'),
        written,
        fc.option(written, { nil: undefined }),
        fc.constantFrom(...OPERATIONS),
        fc.constantFrom(PERSON, OPERATOR, KKP),
        fc.constantFrom(
          enforced(),
          free,
          enforced({ mode: 'warn' }),
          hooksOf(memoryState([clusterWith('x')], [])),
        ),
        async (hook, object, old, operation, userInfo, hooks) => {
          const request = requestOf(object, old, {
            operation,
            userInfo,
          });
          try {
            check(await ask(hooks[hook], request), object);
          } catch (error) {
            if (!(error instanceof ReviewError)) throw error;
          }
        },
      ),
      { numRuns: process.env.SOAK === '1' ? 100_000 : 2000 },
    );
  });
});
