/** Objects through injection and back: golden patches, hostile annotations, owners, stored objects. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { INJECTED_ANNOTATION, readClaims } from '../../src/audit/claims.ts';
import { desire } from '../../src/audit/desired.ts';
import {
  INJECTION_ANNOTATION,
  injectDeployment,
  injectPod,
  uninjectDeployment,
} from '../../src/audit/inject.ts';
import type { Container, Deployment, PodSpec } from '../../src/kubernetes.ts';
import { buildPatch } from '../../src/patch.ts';
import {
  CLUSTER,
  ENABLED,
  inject,
  kkp,
  settingsWith,
  specOf,
  WEBHOOK_BACKEND,
} from '../support/audit-generators.ts';
import { matchGolden } from '../support/golden.ts';

const SETTINGS = settingsWith(ENABLED);
const clone = <T>(value: T): T => structuredClone(value);
const codes = (reasons: readonly { code: string }[]): string[] => reasons.map(({ code }) => code);

function edit(
  deployment: Deployment,
  change: (spec: Required<PodSpec>, apiserver: Container & { args: string[] }) => void,
): Deployment {
  const copy = clone(deployment);
  const spec = specOf(copy) as Required<PodSpec>;
  change(spec, (spec.containers.find(({ name }) => name === 'apiserver') ?? {}) as never);
  return copy;
}
const claim = (deployment: Deployment, claims: unknown): Deployment => ({
  ...deployment,
  metadata: {
    ...deployment.metadata,
    annotations: {
      ...deployment.metadata?.annotations,
      [INJECTED_ANNOTATION]: typeof claims === 'string' ? claims : JSON.stringify(claims),
    },
  },
});

describe('the patch', () => {
  const SETTINGS_BY_NAME: Record<string, unknown> = {
    enabled: ENABLED,
    'webhook-only': { webhookBackend: WEBHOOK_BACKEND },
    'webhook-without-backoff': {
      enabled: true,
      webhookBackend: { auditWebhookConfig: { name: 'collector' } },
    },
    sidecar: {
      enabled: true,
      sidecar: {
        resources: { limits: { memory: '128Mi' } },
        extraEnvs: [
          { name: 'B', value: '2' },
          { name: 'A', value: '' },
          { name: 'CLUSTER_ID', value: 'x' },
          { name: 'C', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
        ],
      },
    },
  };
  for (const [name, auditLogging] of Object.entries(SETTINGS_BY_NAME)) {
    test(`of ${name}`, () => {
      const before = kkp({ encryption: true });
      const { object } = inject(before, settingsWith(auditLogging));
      matchGolden(`inject/${name}.json`, `${JSON.stringify(buildPatch(before, object), null, 2)}\n`);
    });
  }

  test('of the smallest apiserver', () => {
    const before: Deployment = {
      metadata: { name: 'apiserver', namespace: 'cluster-x' },
      spec: { template: { spec: { containers: [{ name: 'apiserver', command: ['kube-apiserver'] }] } } },
    };
    const { object, remaining } = inject(before, SETTINGS);
    assert.deepEqual(remaining, []);
    matchGolden('inject/smallest.json', `${JSON.stringify(object, null, 2)}\n`);
    assert.deepStrictEqual(uninjectDeployment(clone(object)), before);
  });

  for (const [what, empty] of [
    ['lists without an element', { args: [], volumeMounts: [] }],
    ['what is missing', {}],
  ] as const) {
    test(`and its way back keep ${what}`, () => {
      const before = {
        metadata: { name: 'apiserver', ...('args' in empty && { annotations: {}, labels: {} }) },
        spec: {
          template: {
            spec: {
              containers: [{ name: 'apiserver', ...empty }],
              ...('args' in empty && { volumes: [], initContainers: [] }),
            },
          },
        },
      } as unknown as Deployment;
      const settings = settingsWith({ ...ENABLED, webhookBackend: WEBHOOK_BACKEND });
      assert.deepStrictEqual(uninjectDeployment(clone(inject(before, settings).object)), before);
      const less = inject(clone(inject(before, settings).object), SETTINGS).object;
      assert.deepStrictEqual(uninjectDeployment(clone(less)), before);
    });
  }
});

test('objects without a pod spec pass as they are', () => {
  for (const odd of [{}, { spec: {} }, { spec: { template: {} } }, { spec: { template: { spec: null } } }]) {
    assert.equal(inject(odd as Deployment, SETTINGS).object, odd);
    assert.equal(uninjectDeployment(odd as Deployment), odd);
  }
});

describe('an annotation that lies', () => {
  const off = kkp();
  const evil: [what: string, claims: unknown][] = [
    ['no JSON', '{'],
    ['null', 'null'],
    ['a number', '7'],
    ['parts of a wrong type', { parts: 'flag/audit-log-path' }],
    [
      '__proto__',
      '{"__proto__": {"parts": ["volume/tokens"]}, "parts": ["volume/__proto__", "flag/__proto__", "mount/constructor"]}',
    ],
    [
      'foreign parts',
      {
        parts: [
          'volume/tokens',
          'container/apiserver',
          'container/konnectivity-server',
          'mount/etc/kubernetes/tokens',
          'mount//etc/kubernetes/tokens',
          'flag/etcd-servers',
          'flag/',
        ],
      },
    ],
    ['a million parts', { parts: Array.from({ length: 100_000 }, (_, index) => `volume/v${index}`) }],
    [
      'displaced things without a part',
      {
        parts: [],
        displaced: [
          {
            part: 'container/audit-logs',
            list: 'containers',
            index: 0,
            value: { name: 'audit-logs', image: 'evil' },
          },
        ],
      },
    ],
    [
      'displaced things of other names',
      {
        parts: ['volume/audit-config', 'mount//etc/kubernetes/audit'],
        displaced: [
          {
            part: 'volume/audit-config',
            list: 'volumes',
            index: 0,
            value: { name: 'evil', hostPath: { path: '/' } },
          },
          {
            part: 'volume/audit-config',
            list: 'containers',
            index: 0,
            value: { name: 'audit-config', image: 'evil' },
          },
          {
            part: 'mount//etc/kubernetes/audit',
            list: 'volumeMounts',
            index: 0,
            value: { name: 'evil', mountPath: '/etc' },
          },
          { part: 'flag/audit-log-path', list: 'containers', index: 0, value: { name: 'x' } },
        ],
      },
    ],
    [
      'displaced things of no shape',
      {
        parts: ['container/audit-logs', 'volume/audit-config'],
        displaced: [
          null,
          7,
          'x',
          {},
          { part: 7 },
          { part: 'container/audit-logs', list: 'containers', index: 1e99, value: { name: 'audit-logs' } },
          {
            part: 'container/audit-logs',
            list: 'containers',
            index: 0,
            value: { name: 'audit-logs', args: 7 },
          },
          { part: 'container/audit-logs', list: '__proto__', index: 0, value: {} },
          { part: 'volume/audit-config', list: 'volumes', index: -1, value: [] },
        ],
      },
    ],
    ['empty lists', { parts: [], empty: ['args', '__proto__', 7, null] }],
  ];
  for (const [what, claims] of evil) {
    test(`by ${what} changes nothing of the injection`, () => {
      const honest = inject(off, SETTINGS).object;
      const injected = inject(claim(off, claims), SETTINGS);
      assert.deepStrictEqual(specOf(injected.object), specOf(honest));
      assert.deepStrictEqual(injected.remaining, []);
    });
    test(`by ${what} takes nothing foreign out`, () => {
      const names = (list: readonly { name: string }[] | undefined) =>
        list?.map(({ name }) => name).filter((name) => name !== 'audit-config');
      const after = specOf(uninjectDeployment(claim(off, claims)));
      assert.deepEqual(names(after.volumes), names(specOf(off).volumes));
      assert.deepEqual(names(after.containers), names(specOf(off).containers));
      assert.deepEqual(after.containers?.[1]?.args, specOf(off).containers?.[1]?.args);
      assert.deepEqual(
        after.containers?.[1]?.volumeMounts?.filter(({ name }) => name !== 'audit-config'),
        specOf(off).containers?.[1]?.volumeMounts?.filter(({ name }) => name !== 'audit-config'),
      );
    });
  }

  test('never reaches a prototype', () => {
    const claims = readClaims(
      '{"parts": ["volume/__proto__"], "displaced": [{"part": "volume/__proto__", "list": "volumes", "index": 0, "value": {"name": "__proto__"}}]}',
    );
    assert.equal(claims.displaced.length, 1);
    assert.equal(({} as { name?: string }).name, undefined);
  });
});

test('a variable that changes what the sidecar runs is left out of it, and pods are let in', () => {
  const extraEnvs = ['LUA_INIT', 'GCONV_PATH', 'LD_PRELOAD', 'LOCPATH', 'TEAM'].map((name) => ({
    name,
    value: 'x',
  }));
  const settings = settingsWith({ enabled: true, sidecar: { extraEnvs } });
  const pod = { metadata: { name: 'a', labels: { app: 'apiserver' } }, spec: specOf(kkp()) };
  const { object, remaining } = injectPod(pod, settings);
  assert.deepEqual(codes(remaining), []);
  const sidecar = object.spec?.containers?.find(({ name }) => name === 'audit-logs');
  assert.deepEqual(
    sidecar?.env?.map(({ name }) => name),
    ['CLUSTER_ID', 'TEAM'],
  );
  const problems = desire(settings, 'pod').problems.filter(({ code }) => code === 'SIDECAR_ENV_INVALID');
  assert.equal(problems.length, 4);
});

test('a pod keeps what its flags keep, as kube-apiserver reads them', () => {
  for (const [given, last] of [
    ['10', '10'],
    ['0x14', '0x14'],
    // Octal: 8.
    ['010', '10'],
    ['1000000000', '10'],
  ] as const) {
    const deployment = edit(inject(kkp(), SETTINGS).object, (_, apiserver) => {
      apiserver.args.push('--audit-log-maxbackup', given);
    });
    const pod = { metadata: { name: 'a', labels: { app: 'apiserver' } }, spec: specOf(deployment) };
    const { object, remaining } = injectPod(pod, SETTINGS);
    const args = object.spec?.containers?.find(({ name }) => name === 'apiserver')?.args ?? [];
    assert.deepEqual(codes(remaining), [], given);
    assert.equal(args[args.lastIndexOf('--audit-log-maxbackup') + 1], last, given);
  }
});

describe('our names used for something else make way, and come back', () => {
  const cases: Record<string, (spec: Required<PodSpec>, apiserver: Container & { args: string[] }) => void> =
    {
      'a volume audit-config': (spec) => {
        Object.assign(spec, {
          volumes: spec.volumes.map((v) =>
            v.name === 'audit-config' ? { name: v.name, hostPath: { path: '/' } } : v,
          ),
        });
      },
      'a volume audit-log': (spec) => {
        Object.assign(spec, {
          volumes: spec.volumes.map((v) =>
            v.name === 'audit-log' ? { name: v.name, secret: { secretName: 'x' } } : v,
          ),
        });
      },
      'a volume audit-logs-fluentbit': (spec) => {
        Object.assign(spec, { volumes: [{ name: 'audit-logs-fluentbit', emptyDir: {} }, ...spec.volumes] });
      },
      'a container audit-logs': (spec) => {
        Object.assign(spec, {
          containers: [{ name: 'audit-logs', image: 'busybox', command: ['sleep'] }, ...spec.containers],
        });
      },
      'an init container audit-logs': (spec) => {
        Object.assign(spec, { initContainers: [{ name: 'audit-logs', image: 'busybox' }] });
      },
      'mounts where ours belong': (_, apiserver) => {
        Object.assign(apiserver, {
          volumeMounts: [
            { name: 'tokens', mountPath: '/etc/kubernetes/audit/policy.yaml', subPath: 'x' },
            { name: 'tokens', mountPath: '/var/log/kubernetes/audit' },
            ...(apiserver.volumeMounts ?? []).filter(({ name }) => name !== 'audit-log'),
          ],
        });
      },
      'flags that lead elsewhere': (_, apiserver) => {
        apiserver.args.push(
          '--audit-policy-file=/x',
          '--audit_log_path',
          '-',
          '--audit-log-truncate-enabled',
        );
      },
    };
  for (const [what, change] of Object.entries(cases)) {
    test(what, () => {
      const before = edit(kkp(), change);
      const { object, remaining } = inject(before, SETTINGS);
      assert.deepEqual(codes(remaining), []);
      assert.equal(inject(object, SETTINGS).object, object);
      assert.deepStrictEqual(uninjectDeployment(clone(object)), before);
    });
  }
});

describe('a stored object', () => {
  const settings = settingsWith({
    ...ENABLED,
    webhookBackend: WEBHOOK_BACKEND,
    sidecar: {
      resources: { limits: { memory: '0.125Gi', cpu: '0.5' } },
      extraEnvs: [
        { name: 'N', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
        { name: 'E', value: '' },
      ],
    },
  });
  const stored = edit(inject(kkp(), settings).object, (spec) => {
    for (const volume of spec.volumes)
      Object.assign(volume.configMap ?? volume.secret ?? {}, { defaultMode: 420 });
    for (const container of spec.containers) {
      Object.assign(container, {
        imagePullPolicy: 'IfNotPresent',
        terminationMessagePath: '/dev/termination-log',
        terminationMessagePolicy: 'File',
      });
      for (const variable of container.env ?? []) {
        const { fieldRef } = (variable.valueFrom ?? {}) as { fieldRef?: object };
        Object.assign(fieldRef ?? {}, { apiVersion: 'v1' });
      }
      if (container.name === 'audit-logs')
        Object.assign(container, {
          resources: { requests: { cpu: '5m', memory: '10Mi' }, limits: { cpu: '500m', memory: '128Mi' } },
        });
    }
    Object.assign(spec, {
      restartPolicy: 'Always',
      dnsPolicy: 'ClusterFirst',
      schedulerName: 'default-scheduler',
      securityContext: {},
    });
  });

  test('with the defaults of Kubernetes gets no patch', () => {
    const injected = inject(stored, settings);
    assert.deepEqual(buildPatch(stored, injected.object), []);
    assert.equal(injected.object, stored);
  });

  test('follows settings that change', () => {
    const { object } = inject(
      stored,
      settingsWith({ ...ENABLED, sidecar: { resources: { limits: { memory: '256Mi' } } } }),
    );
    const sidecar = specOf(object).containers?.find(({ name }) => name === 'audit-logs');
    assert.deepEqual(sidecar?.resources?.limits, { memory: '256Mi' });
    assert.deepEqual(sidecar?.env, [{ name: 'CLUSTER_ID', value: CLUSTER }]);
    assert.equal(
      specOf(object).volumes?.some(({ name }) => name === 'audit-webhook-backend'),
      false,
    );
    assert.equal(sidecar?.imagePullPolicy, 'IfNotPresent', 'what Kubernetes added stays');
  });

  test('loses all that is ours when auditing is turned off', () => {
    const { object, done } = inject(inject(kkp(), settings).object, settingsWith({ enabled: false }));
    assert.deepStrictEqual(object, kkp());
    assert.deepEqual(codes(done), ['REMOVED']);
  });

  test('keeps a number that only looks the same', () => {
    const first = inject(
      kkp(),
      settingsWith({ enabled: true, sidecar: { extraEnvs: [{ name: 'V', value: '1.0' }] } }),
    ).object;
    const second = inject(
      first,
      settingsWith({ enabled: true, sidecar: { extraEnvs: [{ name: 'V', value: '1' }] } }),
    ).object;
    assert.deepEqual(specOf(second).containers?.at(-1)?.env?.at(-1), { name: 'V', value: '1' });
  });
});

describe('an owner', () => {
  const off = kkp();
  const stored = inject(off, SETTINGS).object;
  /** What the owner writes: its own rendering, into the stored object's annotations. */
  const written = {
    ...off,
    metadata: { ...off.metadata, annotations: { ...stored.metadata?.annotations } },
  } as Deployment;
  const write = (object: Deployment, old: Deployment | undefined, isPlatform = true, settings = SETTINGS) =>
    injectDeployment(object, () => old, settings, isPlatform);

  test('that takes the injection out is left alone, from then on', () => {
    const left = write(written, stored);
    assert.deepEqual(codes(left.done), ['LEFT_TO_OWNER']);
    assert.deepStrictEqual(specOf(left.object), specOf(off));
    assert.deepEqual(left.object.metadata?.annotations, { [INJECTION_ANNOTATION]: 'pod' });
    assert.equal(
      write(left.object, left.object).object,
      left.object,
      'and its next pass finds what it wrote',
    );
    assert.equal(write(left.object, left.object, false).object, left.object);
  });

  test('that renders it itself is no longer marked as left', () => {
    const on = kkp({}, ENABLED);
    const object = {
      ...on,
      metadata: { ...on.metadata, annotations: { [INJECTION_ANNOTATION]: 'pod' } },
    } as Deployment;
    assert.deepStrictEqual(write(object, object).object, on);
  });

  test('that creates is completed, whatever the annotation says', () => {
    assert.deepEqual(codes(write(written, undefined).done), ['INJECTED']);
  });

  test('whose part was replaced and who writes it again is left alone', () => {
    const odd = edit(off, (spec) => {
      Object.assign(spec, { containers: [...spec.containers, { name: 'audit-logs', image: 'busybox' }] });
    });
    const mended = inject(odd, SETTINGS).object;
    const again = {
      ...odd,
      metadata: { ...odd.metadata, annotations: { ...mended.metadata?.annotations } },
    } as Deployment;
    const left = write(again, mended);
    assert.deepEqual(codes(left.done), ['LEFT_TO_OWNER']);
    assert.deepStrictEqual(specOf(left.object), specOf(odd));
  });

  test('that renders in another order, effectively, keeps its rendering', () => {
    const settings = settingsWith({
      enabled: true,
      sidecar: {
        extraEnvs: [
          { name: 'A', value: '1' },
          { name: 'B', value: '2' },
        ],
      },
    });
    const injected = inject(off, settings).object;
    const shuffled = edit(injected, (spec) => {
      Object.assign(spec.containers.at(-1) ?? {}, { env: spec.containers.at(-1)?.env?.toReversed() });
    });
    const result = write(shuffled, injected, true, settings);
    assert.equal(specOf(result.object), specOf(shuffled));
    assert.deepEqual(result.done, []);
  });

  test('that changes something else keeps the injection', () => {
    const scaled = { ...stored, spec: { ...stored.spec, replicas: 5 } };
    assert.equal(write(scaled, stored).object, scaled);
  });

  test('that is a person is completed again', () => {
    const again = write(written, stored, false);
    assert.deepEqual(codes(again.done), ['INJECTED']);
    assert.deepStrictEqual(specOf(again.object), specOf(stored));
  });

  test('gets pods injected only, where that is configured', () => {
    const settings = settingsWith(ENABLED, { injection: 'pod' });
    assert.equal(write(off, undefined, false, settings).object, off);
    const left = write(stored, stored, true, settings).object;
    assert.deepStrictEqual(left, off);
    const { object, remaining } = injectPod({ metadata: {}, spec: specOf(left) }, settings);
    assert.deepEqual(remaining, []);
    assert.equal(object.spec?.containers?.at(-1)?.name, 'audit-logs');
  });

  test('never wins where the Deployment is to be injected', () => {
    const settings = settingsWith(ENABLED, { injection: 'deployment' });
    assert.deepStrictEqual(specOf(write(written, stored, true, settings).object), specOf(stored));
  });
});

test('three megabytes, unicode and keys of prototypes pass through untouched', () => {
  const before = edit(kkp(), (spec, apiserver) => {
    Object.assign(spec, { constructor: { prototype: {} } });
    Object.defineProperty(spec, '__proto__', {
      value: { x: 1 },
      enumerable: true,
      configurable: true,
      writable: true,
    });
    Object.assign(apiserver, {
      env: Array.from({ length: 30_000 }, (_, index) => ({
        name: `V${index}`,
        value: `\u{1f600}é${'x'.repeat(80)}`,
      })),
    });
    apiserver.args.push('--external-hostname', '\u202e\u{1f4a9}\u0000');
  });
  const { object, remaining } = inject(before, SETTINGS);
  assert.deepEqual(remaining, []);
  assert.ok(buildPatch(before, object).length < 10);
  assert.ok(Object.hasOwn(specOf(object), '__proto__'));
  assert.deepStrictEqual(uninjectDeployment(object), before);
});
