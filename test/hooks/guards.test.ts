/** The hooks that guard what is around the apiserver: ConfigMap, Secrets, Namespace, status, Seeds; and what they put on record. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Decision } from '../../src/admission.ts';
import { type Attempt, buildHooks } from '../../src/hooks.ts';
import { type ClusterView, viewCluster, viewSeed } from '../../src/kkp.ts';
import type { KubernetesObject } from '../../src/kubernetes.ts';
import { CLUSTER, configWith, kkp, specOf, withSpec } from '../support/audit-generators.ts';
import { ask, KKP, memoryState, NOW, OPERATOR, PERSON, requestOf } from '../support/hook-requests.ts';
import { renderCluster, renderSeed } from '../support/seed.ts';

const SEED = renderSeed({ enforcing: { enforceAuditLogging: true }, free: {} });
const cluster = (name: string, datacenter: string, namespace = `cluster-${name}`): ClusterView =>
  viewCluster({
    ...renderCluster({ name, datacenter, auditLogging: { enabled: true } }),
    status: { namespaceName: namespace },
  } as KubernetesObject);

function world(
  options: {
    readonly clusters?: readonly ClusterView[];
    readonly mode?: 'enforce' | 'warn' | 'audit';
    readonly mayDisable?: () => Promise<boolean>;
  } = {},
) {
  const attempts: Attempt[] = [];
  const clusters = options.clusters ?? [cluster('bank', 'enforcing'), cluster('shop', 'free')];
  const hooks = buildHooks({
    state: memoryState(clusters, [viewSeed(SEED as KubernetesObject)]),
    config: configWith({ mode: options.mode ?? 'enforce' }),
    nowMs: () => NOW,
    mayDisable: options.mayDisable ?? (async ({ username }) => username === OPERATOR.username),
    recordAttempt: (attempt) => void attempts.push(attempt),
  });
  return { hooks, attempts };
}

const policy = (...rules: object[]): string =>
  JSON.stringify({ apiVersion: 'audit.k8s.io/v1', kind: 'Policy', rules });
const object = (kind: string, name: string, fields: object, namespace = 'cluster-bank') =>
  ({ apiVersion: 'v1', kind, metadata: { name, namespace }, ...fields }) as KubernetesObject;
const configMap = (data: unknown, fields: object = {}, namespace?: string) =>
  object('ConfigMap', 'audit-config', { data, ...fields }, namespace);
const secret = (text: string, name = 'audit-logs-fluentbit') =>
  object('Secret', name, { data: { 'fluent-bit.conf': Buffer.from(text).toString('base64') } });
const GOOD = configMap({ 'policy.yaml': policy({ level: 'Metadata' }) });
const NONE = configMap({ 'policy.yaml': policy({ level: 'None' }) });
const codesOf = ({ reasons }: Decision): readonly string[] => reasons;

describe('ConfigMap audit-config', () => {
  const { hooks } = world();
  const judge = (next: KubernetesObject | undefined, old?: KubernetesObject, fields = {}) =>
    ask(hooks.validate, requestOf(next, old, fields));

  for (const [name, next, old, allowed, code, fields] of [
    ['created with a good policy', GOOD, undefined, true, ''],
    ['created with None', NONE, undefined, false, 'POLICY_LOGS_LESS'],
    ['created empty', configMap(undefined), undefined, false, 'POLICY_KEY_MISSING'],
    ['created with null', configMap(null), undefined, false, 'POLICY_KEY_MISSING'],
    ['weakened', NONE, GOOD, false, 'POLICY_LOGS_LESS'],
    [
      'a bad one left as it is, with a label',
      { ...NONE, metadata: { ...NONE.metadata, labels: { a: 'b' } } },
      NONE,
      true,
      '',
    ],
    ['a bad one frozen', { ...NONE, immutable: true } as KubernetesObject, NONE, false, 'POLICY_FROZEN'],
    ['a good one frozen', { ...GOOD, immutable: true } as KubernetesObject, GOOD, true, ''],
    ['deleted', undefined, GOOD, false, 'POLICY_DELETED'],
    ['another one deleted', undefined, object('ConfigMap', 'ca-bundle', {}), true, ''],
    ['deleted with a collection, which names none', undefined, GOOD, false, 'POLICY_DELETED', { name: '' }],
    [
      'another one deleted with a collection',
      undefined,
      object('ConfigMap', 'ca-bundle', {}),
      true,
      '',
      { name: '' },
    ],
    ['where nothing is enforced: deleted', undefined, configMap({}, {}, 'cluster-shop'), true, ''],
    [
      'where nothing is enforced: invalid',
      configMap({ 'policy.yaml': 'x' }, {}, 'cluster-shop'),
      undefined,
      false,
      'POLICY_INVALID',
    ],
  ] as readonly (readonly [
    name: string,
    next: KubernetesObject | undefined,
    old: KubernetesObject | undefined,
    allowed: boolean,
    code: string,
    fields?: { readonly name: string },
  ])[])
    test(name, async () => {
      const decision = await judge(next, old, fields);
      assert.equal(decision.allowed, allowed, decision.message);
      if (code !== '') assert.ok(codesOf(decision).includes(code), String(decision.reasons));
    });

  test('the platform is never rejected, nor is what is under deletion', async () => {
    assert.equal((await judge(NONE, GOOD, { userInfo: KKP })).allowed, true);
    const dying = { ...NONE, metadata: { ...NONE.metadata, deletionTimestamp: '2026-11-23T11:00:00Z' } };
    assert.equal((await judge(dying, GOOD)).allowed, true);
  });

  test('all errors of an invalid policy are in one answer, with HTTP 400', async () => {
    const decision = await judge(configMap({ 'policy.yaml': policy({ level: 'A' }, { level: 'B' }) }), GOOD);
    assert.equal(decision.statusCode, 400);
    assert.match(decision.message, /rules\[0\].*rules\[1\]/s);
  });

  test('data of any shape is judged without an exception', async () => {
    const anything = fc.anything({ withBigInt: false });
    await fc.assert(
      fc.asyncProperty(anything, anything, anything, async (data, binaryData, immutable) => {
        const decision = await judge(configMap(data, { binaryData, immutable }), GOOD);
        assert.equal(typeof decision.allowed, 'boolean');
      }),
      { numRuns: 500 },
    );
    const hostile = JSON.parse('{"__proto__": {"policy.yaml": "x"}, "constructor": "x"}') as object;
    assert.equal((await judge(configMap(hostile), GOOD)).allowed, false);
  });
});

describe('the Secrets of the sidecar', () => {
  const { hooks } = world();
  const INPUT = '[INPUT]\n    Name tail\n    Path /var/log/kubernetes/audit/audit.log\n';
  const fine = secret(`${INPUT}[OUTPUT]\n    Name stdout\n    Match *\n`);
  const lossy = secret(`${INPUT}[OUTPUT]\n    Name null\n    Match *\n`);

  test('one that loses events may be edited where it lost the same before', async () => {
    assert.equal((await ask(hooks.validate, requestOf(lossy, fine))).allowed, false);
    const labelled = { ...lossy, metadata: { ...lossy.metadata, labels: { a: 'b' } } };
    assert.equal((await ask(hooks.validate, requestOf(labelled, lossy))).allowed, true);
    assert.equal((await ask(hooks.validate, requestOf(fine, lossy))).allowed, true);
  });

  test('nothing of its content is in the answer, in the log or on record', async () => {
    const password = 'hunter2hunter2';
    const { hooks, attempts } = world();
    const bad = secret(`${INPUT}[OUTPUT]\n    Name ${password}\n    Match *\n    HTTP_Passwd ${password}\n`);
    const decision = await ask(hooks.validate, requestOf(bad, fine));
    assert.equal(decision.allowed, false);
    const everything = JSON.stringify([decision, attempts]);
    assert.ok(!everything.includes(password));
    assert.ok(!everything.includes(Buffer.from(password).toString('base64').slice(0, 12)));
  });

  test('one with which fluent-bit would not start is let in with a warning', async () => {
    const odd = secret(`${INPUT}[OUTPUT]\n    Name stdout\n    Match *\n    Nonsense yes\n`);
    const decision = await ask(hooks.validate, requestOf(odd, fine));
    assert.equal(decision.allowed, true);
    assert.deepEqual(codesOf(decision), ['FLUENTBIT_WOULD_NOT_START']);
    assert.match(decision.warnings.join(), /fluent-bit\.conf, output 1: stdout has no such option/);
    assert.deepEqual(codesOf(await ask(hooks.validate, requestOf(odd, odd))), []);
  });

  test('the one that covers it in pods is guarded alike', async () => {
    const tuned = secret('', 'audit-logs-fluentbit-tuned');
    assert.deepEqual(codesOf(await ask(hooks.validate, requestOf(tuned))), ['FLUENTBIT_KEY_MISSING']);
    assert.deepEqual(codesOf(await ask(hooks.validate, requestOf(undefined, tuned))), ['FLUENTBIT_DELETED']);
  });

  test('are guarded in a collection, whose requests name none', async () => {
    for (const held of [fine, secret('', 'audit-logs-fluentbit-tuned')]) {
      const decision = await ask(hooks.validate, requestOf(undefined, held, { name: '' }));
      assert.deepEqual(codesOf(decision), ['FLUENTBIT_DELETED']);
      assert.match(decision.message, new RegExp(`Secret cluster-bank/${held.metadata?.name}:`));
    }
    const other = await ask(hooks.validate, requestOf(undefined, secret('', 'ca'), { name: '' }));
    assert.equal(other.allowed, true);
  });

  test('data of any shape is judged without an exception', async () => {
    await fc.assert(
      fc.asyncProperty(fc.anything({ withBigInt: false }), async (data) => {
        const decision = await ask(
          hooks.validate,
          requestOf(object('Secret', 'audit-logs-fluentbit', { data }), fine),
        );
        assert.equal(typeof decision.allowed, 'boolean');
      }),
      { numRuns: 500 },
    );
  });
});

describe('the namespace of a cluster', () => {
  test('belongs to the enforced Cluster, whatever another one says in its status', async () => {
    const thief = cluster('aaa', 'free', 'cluster-bank');
    const { hooks } = world({ clusters: [cluster('bank', 'enforcing'), thief] });
    assert.equal((await ask(hooks.validate, requestOf(undefined, GOOD))).allowed, false);
  });

  test('belongs to the Cluster that it is named for, where its status was led astray', async () => {
    const { hooks } = world({ clusters: [cluster('bank', 'enforcing', 'cluster-elsewhere')] });
    assert.equal((await ask(hooks.validate, requestOf(undefined, GOOD))).allowed, false);
  });

  test('keeps its label as long as the cluster is enforced', async () => {
    const labels = { 'audit.kubermatic.k8c.io/enforced': 'true' };
    const namespace = (name: string, more: object) =>
      ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, ...more } }) as KubernetesObject;
    const { hooks } = world();
    for (const [name, allowed] of [
      ['cluster-bank', false],
      ['cluster-shop', true],
      ['default', true],
    ] as const) {
      for (const subResource of ['', 'status', 'finalize']) {
        const fields = { namespace: name, subResource };
        const request = requestOf(namespace(name, {}), namespace(name, { labels }), fields);
        assert.equal((await ask(hooks.validate, request)).allowed, allowed, `${name} ${subResource}`);
      }
    }
  });
});

describe('a Deployment that lacks something', () => {
  const { hooks } = world({ clusters: [cluster(CLUSTER, 'enforcing')] });
  const lacking = kkp();
  const withArgs = (...args: string[]) => {
    const spec = structuredClone(specOf(lacking));
    const apiserver = spec.containers?.find(({ name }) => name === 'apiserver') as unknown as {
      args: string[];
    };
    apiserver.args.push(...args);
    return withSpec(lacking, spec);
  };

  test('may be worked on without being mended, and may not lack more', async () => {
    const fine = await ask(hooks.validate, requestOf(withArgs('--goaway-chance=0.001'), lacking));
    assert.deepEqual([fine.allowed, fine.message], [true, '']);
    const worse = await ask(hooks.validate, requestOf(withArgs('--audit-log-maxage=0'), lacking));
    assert.equal(worse.allowed, false);
    assert.deepEqual(worse.reasons, ['LOG_WEAKENED']);
    const same = await ask(
      hooks.validate,
      requestOf(withArgs('--audit-log-maxage=0'), withArgs('--audit-log-maxage=0')),
    );
    assert.equal(same.allowed, true);
  });
});

describe('a pod that runs', () => {
  const { hooks } = world();
  const pod = (labels: object) =>
    ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'quiet', namespace: 'cluster-bank', labels },
      spec: { containers: [{ name: 'x', image: 'x' }] },
    }) as unknown as KubernetesObject;

  test('does not become the apiserver by a label, whatever the label comes with', async () => {
    for (const subResource of ['', 'status']) {
      const write = (labels: object) =>
        ask(hooks.validate, requestOf(pod(labels), pod({ a: 'b' }), { subResource }));
      assert.deepEqual(codesOf(await write({ app: 'apiserver' })), ['APISERVER_CONTAINER_MISSING']);
      assert.equal((await write({ app: 'other' })).allowed, true);
    }
    for (const [resource, subResource] of [
      ['pods', 'binding'],
      ['bindings', ''],
    ] as const) {
      const bind = (labels: object) => {
        const metadata = { name: 'quiet', namespace: 'cluster-bank', labels };
        const binding = { apiVersion: 'v1', kind: 'Binding', metadata, target: { kind: 'Node', name: 'n' } };
        return ask(
          hooks.validate,
          requestOf(binding as KubernetesObject, undefined, { resource, subResource }),
        );
      };
      const refused = await bind({ app: 'apiserver' });
      assert.deepEqual(codesOf(refused), ['APISERVER_CONTAINER_MISSING']);
      assert.match(refused.message, /Pod cluster-bank\/quiet:/);
      assert.equal((await bind({ zone: 'a' })).allowed, true);
    }
  });

  test('has a status, which is nothing to judge, even where the pod lacks something', async () => {
    const lacking = pod({ app: 'apiserver' });
    const ready = { ...lacking, status: { phase: 'Running' } } as KubernetesObject;
    const decision = await ask(hooks.validate, requestOf(ready, lacking, { subResource: 'status' }));
    assert.equal(decision.allowed, true);
  });
});

describe('on record', () => {
  const off = {
    ...renderCluster({ name: 'bank', datacenter: 'enforcing', auditLogging: { enabled: false } }),
  } as KubernetesObject;
  const on = {
    ...renderCluster({ name: 'bank', datacenter: 'enforcing', auditLogging: { enabled: true } }),
  } as KubernetesObject;
  const optOut = {
    ...on,
    metadata: { ...on.metadata, annotations: { 'kubermatic.k8c.io/skip-audit-logging-enforcement': 'true' } },
  };

  for (const [name, mode, next, user, hooks, expected] of [
    [
      'refused by the first hook',
      'enforce',
      off,
      PERSON,
      ['mutate-clusters'],
      ['rejected CLUSTER_AUDIT_DISABLED'],
    ],
    [
      'admitted and repaired: by the hook that repairs',
      'warn',
      off,
      PERSON,
      ['mutate-clusters'],
      ['admitted CLUSTER_AUDIT_DISABLED'],
    ],
    [
      'admitted as it is: once, by the last hook',
      'audit',
      optOut,
      PERSON,
      ['mutate-clusters', 'validate'],
      ['admitted CLUSTER_OPT_OUT'],
    ],
    [
      'permitted: once, by the last hook',
      'enforce',
      optOut,
      OPERATOR,
      ['mutate-clusters', 'validate'],
      ['permitted CLUSTER_OPT_OUT'],
    ],
    ['the platform: nothing', 'enforce', off, KKP, ['mutate-clusters', 'validate'], []],
  ] as const)
    test(name, async () => {
      const { hooks: all, attempts } = world({ mode });
      for (const hook of hooks) await ask(all[hook], requestOf(next, on, { userInfo: user }));
      assert.deepEqual(
        attempts.map(({ outcome, reasons }) => [outcome, ...reasons.map(({ code }) => code)].join(' ')),
        expected,
      );
      for (const attempt of attempts) {
        assert.equal(attempt.datacenter, 'enforcing');
        assert.equal(attempt.subject, 'Cluster "bank"');
      }
    });

  test('a dry run: nothing', async () => {
    const { hooks, attempts } = world();
    const decision = await ask(hooks['mutate-clusters'], requestOf(off, on, { dryRun: true }));
    assert.equal(decision.allowed, false);
    assert.deepEqual(attempts, []);
  });

  test('where it can not be found out who may, it is an error and not a verdict', async () => {
    const { hooks } = world({ mayDisable: () => Promise.reject(new Error('no answer')) });
    await assert.rejects(ask(hooks['mutate-clusters'], requestOf(off, on)), /no answer/);
  });

  test('audit annotations carry the codes and what became of it', async () => {
    const { hooks } = world();
    const { auditAnnotations } = await ask(hooks['mutate-clusters'], requestOf(off, on));
    assert.deepEqual(auditAnnotations, { reasons: 'CLUSTER_AUDIT_DISABLED', attempt: 'rejected' });
  });
});

describe('Seeds', () => {
  const judge = async (next: object | undefined, old: object | undefined, fields: object = {}) => {
    const { hooks, attempts } = world();
    const request = requestOf(next as KubernetesObject, old as KubernetesObject, fields);
    const decision = await ask(hooks.validate, request);
    return { decision, attempts };
  };
  const off = renderSeed({ enforcing: {}, free: {} });

  for (const [name, next, old, freed, fields] of [
    ['enforcement switched off', off, SEED, /no longer enforced for 1 clusters \(datacenters enforcing\)/],
    ['the datacenter removed', renderSeed({ free: {} }), SEED, /for 1 clusters/],
    ['the Seed deleted', undefined, SEED, /for 1 clusters/],
    ['the Seed deleted with a collection', undefined, SEED, /for 1 clusters/, { name: '' }],
    [
      'a second Seed with the same datacenter',
      renderSeed({ enforcing: {} }, undefined, 'other'),
      undefined,
      /for 1 clusters/,
    ],
    ['enforcement switched on', SEED, off, undefined],
    ['something else', { ...SEED, metadata: { ...SEED.metadata, labels: { a: 'b' } } }, SEED, undefined],
  ] as readonly (readonly [string, object | undefined, object | undefined, RegExp | undefined, object?])[])
    test(name, async () => {
      const { decision, attempts } = await judge(next, old, fields);
      assert.equal(decision.allowed, true);
      if (freed === undefined) assert.deepEqual([decision.warnings, attempts], [[], []]);
      else {
        assert.match(decision.warnings.join(), freed);
        assert.deepEqual(
          attempts.map(({ outcome, datacenter }) => [outcome, datacenter]),
          [['permitted', 'enforcing']],
        );
      }
    });
});
