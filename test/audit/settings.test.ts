import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseGoDurationMs, parseGoInteger } from '../../src/audit/go-literals.ts';
import { isExempt, resolveSettings } from '../../src/audit/settings.ts';
import { type Config, DEFAULT_CONFIG } from '../../src/config.ts';
import { viewCluster, viewSeed } from '../../src/kkp.ts';
import type { KubernetesObject } from '../../src/kubernetes.ts';

const NOW = Date.parse('2026-11-23T12:00:00Z');
const SKIP = 'kubermatic.k8c.io/skip-audit-logging-enforcement';
const UNTIL = 'audit.kubermatic.k8c.io/exempt-until';
const BACKEND = { auditWebhookConfig: { name: 'own', namespace: 'x' }, auditWebhookInitialBackoff: '10s' };
const IMPOSED = { auditWebhookConfig: { name: 'imposed', namespace: 'x' }, auditWebhookInitialBackoff: '5s' };

const cluster = (auditLogging: unknown, dc: unknown = 'dc', annotations: object = {}) =>
  viewCluster({
    metadata: { name: 'c', annotations },
    spec: { cloud: { dc }, auditLogging },
  } as KubernetesObject);
const seed = (datacenters: unknown, auditLogging?: unknown, name = 's') =>
  viewSeed({ metadata: { name }, spec: { datacenters, auditLogging } } as KubernetesObject);
const resolve = (
  ...[given, seeds, config = DEFAULT_CONFIG]: [
    Parameters<typeof resolveSettings>[0],
    Parameters<typeof resolveSettings>[1],
    Config?,
  ]
) => resolveSettings(given, seeds, config, NOW);
const settled = (...given: Parameters<typeof resolve>) => {
  const resolution = resolve(...given);
  assert.ok(resolution.resolved);
  return resolution.settings;
};

const FREE = { dc: { spec: {} } };
const ENFORCING = { dc: { spec: { enforceAuditLogging: true } } };
const IMPOSING = { dc: { spec: { enforceAuditLogging: true, enforcedAuditWebhookSettings: IMPOSED } } };
const OWN = { enabled: false, policyPreset: 'minimal', webhookBackend: BACKEND, sidecar: { extraEnvs: [] } };
const SEEDS_BLOCK = { enabled: false, policyPreset: 'recommended', sidecar: { resources: {} } };

describe('who decides', () => {
  type Row = [
    what: string,
    own: unknown,
    datacenters: object,
    seedBlock: unknown,
    annotations: object,
    expected: string[],
  ];
  // enabled/by, preset/by, webhook/by, enforced
  const rows: Row[] = [
    ['nobody', undefined, FREE, undefined, {}, ['false/default', '/default', '-/default', 'false']],
    [
      'the Cluster',
      { ...OWN, enabled: true },
      FREE,
      SEEDS_BLOCK,
      {},
      ['true/cluster', 'minimal/cluster', 'own/cluster', 'false'],
    ],
    [
      'the Cluster, that it is off',
      OWN,
      FREE,
      undefined,
      {},
      ['false/cluster', 'minimal/cluster', 'own/cluster', 'false'],
    ],
    [
      'a free datacenter does not impose a webhook',
      undefined,
      { dc: { spec: { enforcedAuditWebhookSettings: IMPOSED } } },
      undefined,
      {},
      ['false/default', '/default', '-/default', 'false'],
    ],
    [
      'the datacenter, with the Cluster where the Seed says nothing',
      OWN,
      ENFORCING,
      undefined,
      {},
      ['true/datacenter', 'minimal/cluster', 'own/cluster', 'true'],
    ],
    [
      'the datacenter and the Seed',
      OWN,
      ENFORCING,
      SEEDS_BLOCK,
      {},
      ['true/datacenter', 'recommended/seed', '-/default', 'true'],
    ],
    [
      'the datacenter, its webhook too',
      OWN,
      IMPOSING,
      SEEDS_BLOCK,
      {},
      ['true/datacenter', 'recommended/seed', 'imposed/datacenter', 'true'],
    ],
    [
      'the Cluster, where it is exempt',
      OWN,
      IMPOSING,
      SEEDS_BLOCK,
      { [SKIP]: 'true' },
      ['false/cluster', 'minimal/cluster', 'own/cluster', 'false'],
    ],
    [
      'an exemption that is no "true"',
      undefined,
      ENFORCING,
      undefined,
      { [SKIP]: 'True' },
      ['true/datacenter', '/default', '-/default', 'true'],
    ],
    [
      'an exemption that is over',
      undefined,
      ENFORCING,
      undefined,
      { [SKIP]: 'true', [UNTIL]: '2026-11-23T12:00:00Z' },
      ['true/datacenter', '/default', '-/default', 'true'],
    ],
    [
      'an exemption that lasts',
      undefined,
      ENFORCING,
      undefined,
      { [SKIP]: 'true', [UNTIL]: '2026-11-23T13:00:00+00:00' },
      ['false/default', '/default', '-/default', 'false'],
    ],
  ];
  for (const [what, own, datacenters, block, annotations, expected] of rows) {
    test(what, () => {
      const { enabled, policyPreset, webhookBackend, enforced } = settled(cluster(own, 'dc', annotations), [
        seed(datacenters, block),
      ]);
      const name = webhookBackend.value?.auditWebhookConfig.name ?? '-';
      assert.deepEqual(
        [
          `${enabled.value}/${enabled.by}`,
          `${policyPreset.value}/${policyPreset.by}`,
          `${name}/${webhookBackend.by}`,
          String(enforced),
        ],
        expected,
      );
    });
  }

  test('the Cluster becomes what KKP makes of it', () => {
    assert.deepEqual(settled(cluster(OWN), [seed(IMPOSING, SEEDS_BLOCK)]).auditLogging, {
      ...SEEDS_BLOCK,
      enabled: true,
      webhookBackend: IMPOSED,
    });
    assert.deepEqual(settled(cluster(OWN), [seed(ENFORCING)]).auditLogging, { ...OWN, enabled: true });
    assert.deepEqual(settled(cluster(OWN), [seed(FREE, SEEDS_BLOCK)]).auditLogging, OWN);
    assert.deepEqual(settled(cluster(null), [seed(ENFORCING)]).auditLogging, { enabled: true });
  });

  test('an exemption is read by the clock each time', () => {
    const given = cluster({}, 'dc', { [SKIP]: 'true', [UNTIL]: '2026-11-23T13:00:00Z' });
    const seeds = [seed(ENFORCING)];
    const enforced = (nowMs: number) => {
      const resolution = resolveSettings(given, seeds, DEFAULT_CONFIG, nowMs);
      return resolution.resolved && resolution.settings.enforced;
    };
    assert.deepEqual([enforced(NOW), enforced(NOW + 3_600_000), enforced(NOW)], [false, true, false]);
  });

  for (const until of ['', 'never', '99999', '2026', '2030-01-01', 'Dec 1 2030', '2030-13-01T00:00:00Z'])
    test(`an exemption until ${JSON.stringify(until)} has ended`, () =>
      assert.equal(isExempt({ [SKIP]: 'true', [UNTIL]: until }, NOW), false));
});

describe('where it is not known whether auditing is enforced', () => {
  const both = { enabled: true };
  const rows: [what: string, dc: unknown, seeds: ReturnType<typeof seed>[], code: string][] = [
    ['no datacenter', '', [seed({ '': { spec: {} } })], 'DATACENTER_MISSING'],
    ['a datacenter of a wrong type', 7, [seed(FREE)], 'DATACENTER_MISSING'],
    ['no Seed', 'dc', [], 'SEED_MISSING'],
    ['a Seed without datacenters', 'dc', [seed(null), seed('x')], 'DATACENTER_UNKNOWN'],
    ['a datacenter that no Seed has', 'other', [seed(FREE)], 'DATACENTER_UNKNOWN'],
    ['two Seeds that have it', 'dc', [seed(FREE), seed(ENFORCING, undefined, 't')], 'DATACENTER_AMBIGUOUS'],
    ['a name of every object', '__proto__', [seed(FREE)], 'DATACENTER_UNKNOWN'],
    ['another such name', 'constructor', [seed(FREE)], 'DATACENTER_UNKNOWN'],
  ];
  for (const [what, dc, seeds, code] of rows) {
    test(what, () => {
      const resolution = resolve(cluster(both, dc), seeds);
      assert.ok(!resolution.resolved);
      assert.equal(resolution.reason.code, code);
      assert.equal(resolution.own.enabled.value, true, 'what the Cluster asks for by itself holds');
    });
  }

  test('a datacenter called __proto__ is one like any other', () => {
    const datacenters = JSON.parse('{"__proto__": {"spec": {"enforceAuditLogging": true}}}');
    assert.equal(settled(cluster({}, '__proto__'), [seed(datacenters)]).enforced, true);
    assert.equal(
      settled(viewCluster({ metadata: { name: '__proto__' }, spec: { cloud: { dc: 'dc' } } } as never), [
        seed(FREE),
      ]).cluster,
      '__proto__',
    );
  });
});

describe('settings that cannot be followed are left out, and said', () => {
  const rows: [what: string, block: unknown, code: string][] = [
    ['an unknown preset', { policyPreset: 'none' }, 'POLICY_PRESET_UNKNOWN'],
    ['a preset of a wrong type', { policyPreset: { a: 1 } }, 'POLICY_PRESET_UNKNOWN'],
    ['a webhook without a name', { webhookBackend: {} }, 'WEBHOOK_BACKEND_INVALID'],
    ['a webhook that is text', { webhookBackend: 'x' }, 'WEBHOOK_BACKEND_INVALID'],
    [
      'a webhook with an impossible name',
      { webhookBackend: { auditWebhookConfig: { name: '../x' } } },
      'WEBHOOK_BACKEND_INVALID',
    ],
    [
      'a backoff that is no duration',
      { webhookBackend: { ...BACKEND, auditWebhookInitialBackoff: 'soon' } },
      'WEBHOOK_BACKEND_INVALID',
    ],
    [
      'a negative backoff',
      { webhookBackend: { ...BACKEND, auditWebhookInitialBackoff: '-1s' } },
      'WEBHOOK_BACKEND_INVALID',
    ],
    [
      'a backoff that is a number',
      { webhookBackend: { ...BACKEND, auditWebhookInitialBackoff: 10 } },
      'WEBHOOK_BACKEND_INVALID',
    ],
  ];
  for (const [what, block, code] of rows) {
    test(what, () => {
      const { problems, webhookBackend } = settled(cluster(block), [seed(FREE)]);
      assert.deepEqual(
        problems.map((problem) => problem.code),
        [code],
      );
      assert.equal(webhookBackend.value, undefined);
    });
  }
  for (const block of [
    [],
    'x',
    7,
    true,
    null,
    { enabled: 'true' },
    { sidecar: [] },
    { sidecar: 'x', policyPreset: null, webhookBackend: null },
  ])
    test(`${JSON.stringify(block)} turns nothing on`, () =>
      assert.equal(settled(cluster(block), [seed(FREE)]).enabled.value, false));
});

test("the server's own configuration holds by datacenter", () => {
  const own = { ...DEFAULT_CONFIG.defaults, mode: 'warn' as const };
  const config: Config = { ...DEFAULT_CONFIG, datacenters: new Map([['dc', own]]) };
  assert.equal(settled(cluster({}), [seed(FREE)], config).options, own);
  assert.equal(
    settled(cluster({}, 'b'), [seed({ b: { spec: {} } })], config).options,
    DEFAULT_CONFIG.defaults,
  );
});

describe('numbers as Go reads them', () => {
  const integers: [string, number][] = [
    ['0', 0],
    ['-0', -0],
    ['10', 10],
    ['+7', 7],
    ['010', 8],
    ['0o17', 15],
    ['0b11', 3],
    ['0x1F', 31],
    ['1_000', 1000],
    ['0x_f', 15],
    ['', Number.NaN],
    ['1.5', Number.NaN],
    ['08', Number.NaN],
    ['_1', Number.NaN],
    ['1__0', Number.NaN],
    ['x', Number.NaN],
  ];
  for (const [text, amount] of integers)
    test(`integer ${JSON.stringify(text)}`, () => assert.equal(parseGoInteger(text), amount));
  const durations: [string, number][] = [
    ['0', 0],
    ['10s', 10_000],
    ['1h30m', 5_400_000],
    ['1.5s', 1500],
    ['.5ms', 0.5],
    ['-1m', -60_000],
    ['1µs', 0.001],
    ['', Number.NaN],
    ['10', Number.NaN],
    ['s', Number.NaN],
    ['1d', Number.NaN],
    ['1 s', Number.NaN],
  ];
  for (const [text, ms] of durations)
    test(`duration ${JSON.stringify(text)}`, () => assert.equal(parseGoDurationMs(text), ms));
});
