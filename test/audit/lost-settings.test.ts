/** What a write of a Cluster takes out of its audit settings. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { explainDenial, judgeCluster } from '../../src/audit/enforce.ts';
import { parseFluentBit, renderFluentBit, toEntities } from '../../src/audit/fluentbit.ts';
import { resolveSettings } from '../../src/audit/settings.ts';
import { DEFAULT_CONFIG } from '../../src/config.ts';
import { type AuditLoggingSettings, viewCluster, viewSeed } from '../../src/kkp.ts';
import type { KubernetesObject } from '../../src/kubernetes.ts';
import { PRESETS } from '../../src/policy/index.ts';
import { explainReason } from '../../src/reasons.ts';
import { configWith } from '../support/audit-generators.ts';
import { renderFluentBitConf } from '../support/kkp-objects.ts';
import { renderCluster, renderSeed } from '../support/seed.ts';

const DATACENTERS = { enforcing: { enforceAuditLogging: true }, free: {} };
const view = (auditLogging: unknown, datacenter = 'enforcing') =>
  viewCluster({
    metadata: { name: 'bank' },
    spec: { ...renderCluster({ name: 'bank', datacenter }).spec, auditLogging },
  } as KubernetesObject);
function judge(before: unknown, after: unknown, seedBlock?: AuditLoggingSettings): string[] {
  const seeds = [viewSeed(renderSeed(DATACENTERS, seedBlock as never) as KubernetesObject)];
  const { attempts } = judgeCluster(view(before), view(after), seeds, DEFAULT_CONFIG, 0);
  return attempts.map(({ code }) => code);
}
const on = (more: object = {}) => ({ enabled: true, ...more });
const filters = (...list: unknown[]) => on({ sidecar: { config: { filters: list } } });
const GREP = { Name: 'grep', Match: '*', Exclude: 'log .' };

describe('a write of a Cluster', () => {
  for (const [name, before, after, expected] of [
    ['off', on(), { enabled: false }, ['CLUSTER_AUDIT_DISABLED']],
    ['off, by leaving it out', on(), {}, ['CLUSTER_AUDIT_DISABLED']],
    ['the block away', on(), undefined, ['CLUSTER_AUDIT_REMOVED']],
    ['the block to null', on(), null, ['CLUSTER_AUDIT_REMOVED']],
    ['the block to what is none', on(), 'off', ['CLUSTER_AUDIT_REMOVED']],
    ['off before and after', { enabled: false }, undefined, []],
    [
      'a lesser preset',
      on({ policyPreset: 'recommended' }),
      on({ policyPreset: 'metadata' }),
      ['CLUSTER_PRESET_WEAKENED'],
    ],
    ['a better preset', on({ policyPreset: 'minimal' }), on({ policyPreset: 'recommended' }), []],
    ['a preset instead of none', on(), on({ policyPreset: 'metadata' }), []],
    ['a better preset instead of none', on({ policyPreset: '' }), on({ policyPreset: 'recommended' }), []],
    [
      'a preset that logs less than what KKP makes without one',
      on(),
      on({ policyPreset: 'minimal' }),
      ['CLUSTER_PRESET_WEAKENED'],
    ],
    [
      'the same, where the preset was cleared before',
      on({ policyPreset: '' }),
      on({ policyPreset: 'minimal' }),
      ['CLUSTER_PRESET_WEAKENED'],
    ],
    [
      'the same, where a backend alone makes it audit',
      { webhookBackend: { auditWebhookConfig: { name: 'a' } } },
      on({ policyPreset: 'minimal' }),
      ['CLUSTER_PRESET_WEAKENED'],
    ],
    ['any preset, with the switch', { enabled: false }, on({ policyPreset: 'minimal' }), []],
    [
      'no preset any more, which keeps the text',
      on({ policyPreset: 'recommended' }),
      on({ policyPreset: '' }),
      [],
    ],
    ['a filter that drops', on(), filters(GREP), ['FLUENTBIT_FILTER']],
    ['a filter that dropped before', filters(GREP), filters(GREP, { Name: 'nest', Match: '*' }), []],
    [
      'one more that drops',
      filters(GREP),
      filters(GREP, { Name: 'throttle', Match: '*' }),
      ['FLUENTBIT_FILTER'],
    ],
    ...['LD_PRELOAD', 'LUA_INIT', 'LUA_INIT_5_1', 'GCONV_PATH', 'LOCPATH'].map(
      (variable) =>
        [
          `a variable ${variable}, with which no pod would be let in`,
          on(),
          on({ sidecar: { extraEnvs: [{ name: variable, value: 'x' }] } }),
          ['SIDECAR_ENVIRONMENT'],
        ] as const,
    ),
    ['a variable', on(), on({ sidecar: { extraEnvs: [{ name: 'LUA', value: 'x' }] } }), []],
    [
      'a backend away',
      on({ webhookBackend: { auditWebhookConfig: { name: 'a' } } }),
      on({ webhookBackend: null }),
      [],
    ],
  ] as const)
    test(name, () => assert.deepEqual(judge(before, after), expected));

  test('may choose any preset at creation', () => {
    const seeds = [viewSeed(renderSeed(DATACENTERS) as KubernetesObject)];
    const after = view(on({ policyPreset: 'minimal' }));
    assert.deepEqual(judgeCluster(undefined, after, seeds, DEFAULT_CONFIG, 0).attempts, []);
  });

  test('is held against the policy of the configuration, where there is no preset', () => {
    const seeds = [viewSeed(renderSeed(DATACENTERS) as KubernetesObject)];
    const text = PRESETS.get('recommended') ?? '';
    for (const [policy, preset, expected] of [
      [{ preset: 'minimal', text: '' }, 'minimal', []],
      [{ preset: 'recommended', text: '' }, 'metadata', ['preset recommended']],
      [{ preset: 'minimal', text }, 'metadata', ['the policy of the configuration']],
      [{ preset: 'minimal', text }, 'recommended', []],
    ] as const) {
      const after = view(on({ policyPreset: preset }));
      const { attempts } = judgeCluster(view(on()), after, seeds, configWith({ policy }), 0);
      assert.deepEqual(
        attempts.map(explainReason),
        expected.map((from) => `policyPreset ${preset} logs less than what holds without one (${from})`),
      );
    }
  });

  test("is held against the preset of the Seed's block, where that is enforced", () => {
    const seedBlock = { enabled: true, policyPreset: 'recommended' };
    const before = on({ policyPreset: 'recommended' });
    assert.deepEqual(judge(before, on({ policyPreset: 'minimal' }), seedBlock), ['CLUSTER_PRESET_WEAKENED']);
    // Not aligned yet: what counts is the Seed's, not what was there.
    assert.deepEqual(judge(on({ policyPreset: 'minimal' }), on({ policyPreset: 'metadata' }), seedBlock), [
      'CLUSTER_PRESET_WEAKENED',
    ]);
  });

  test('settings of any shape are judged without an exception', () => {
    const value = fc.anything({ withBigInt: false });
    const sidecar = fc.oneof(
      value,
      fc.record({ resources: value, extraEnvs: fc.oneof(value, fc.array(value)), config: value }),
      fc.record({
        config: fc.record({ service: value, filters: fc.array(value), outputs: fc.array(value) }),
      }),
    );
    fc.assert(
      fc.property(value, sidecar, value, (enabled, given, policyPreset) =>
        Array.isArray(judge(on(), { enabled, sidecar: given, policyPreset })),
      ),
      { numRuns: 2000 },
    );
  });
});

describe('as KKP writes it, with entities', () => {
  const outputs = (...list: unknown[]) => on({ sidecar: { config: { outputs: list } } });
  for (const [name, after, expected] of [
    ['a match by one or more', outputs({ Name: 'stdout', Match_Regex: '.+' }), ['FLUENTBIT_OUTPUT']],
    ['a match by any number', outputs({ Name: 'stdout', Match_Regex: '.*' }), []],
    [
      'quotes and more where they decide nothing',
      outputs({ Name: 'http', Match: '*', Host: 'a', Header: `x "y" & 'z'` }),
      [],
    ],
    [
      'what is lost anyway, said once',
      outputs({ Name: 'null', Match: '*', Alias: 'a&b' }),
      ['FLUENTBIT_OUTPUT'],
    ],
  ] as const)
    test(name, () => assert.deepEqual(judge(on(), after), expected));
});

test('what is judged as written by KKP is what KKP writes', () => {
  const block = {
    enabled: true,
    sidecar: {
      extraEnvs: [{ name: 'TEAM', value: `a&"b"` }],
      config: {
        service: { Log_File: `/a'b` },
        filters: [{ Name: 'record_modifier', Match: '*', Record: `x <1>+$` + '{TEAM}+$' + '{CLUSTER_ID}' }],
        outputs: [{ Match_Regex: '.+', Name: 'http', Header: `a "b" & 'c' <d>+` }],
      },
    },
  };
  const resolution = resolveSettings(view(block), [], DEFAULT_CONFIG, 0);
  assert.ok(!resolution.resolved);
  const read = (text: string) =>
    parseFluentBit(text)
      .filter(({ name }) => name !== 'INPUT')
      .map(({ name, entries }) => [name, Object.fromEntries(entries)]);
  const written = renderFluentBit(resolution.own, toEntities).text;
  assert.deepEqual(read(written), read(renderFluentBitConf('bank', block)));
});

describe('what fluent-bit would not start with is said', () => {
  const notes = (before: unknown, after: unknown, change: object = {}): string[] => {
    const seeds = [viewSeed(renderSeed(DATACENTERS) as KubernetesObject)];
    const config = { ...DEFAULT_CONFIG, defaults: { ...DEFAULT_CONFIG.defaults, ...change } };
    const verdict = judgeCluster(view(before), view(after), seeds, config, 0);
    assert.deepEqual(verdict.attempts, []);
    return verdict.notes.map(explainReason);
  };
  const outputs = (...list: unknown[]) => on({ sidecar: { config: { outputs: list } } });
  const nonsense = outputs({ Name: 'stdout', Match: '*', Nonsense: 'hunter2' });

  test('an option that an output does not have, without what stands there', () => {
    const [note, ...more] = notes(on(), nonsense);
    assert.match(
      note ?? '',
      /^spec\.auditLogging\.sidecar\.config, output 1: stdout has no such option in fluent-bit 4\.0/,
    );
    assert.doesNotMatch(note ?? '', /hunter2|Nonsense/);
    assert.deepEqual(more, []);
  });
  test('an output, and a filter with an option, that do not exist', () => {
    const all = on({
      sidecar: {
        config: {
          filters: [{ Name: 'stdout', Match: '*', Format: 'json' }],
          outputs: [
            { Name: 'stdout', Match: '*' },
            { Name: 'newrelic', Match: '*' },
          ],
        },
      },
    });
    assert.equal(notes(on(), all).length, 2);
  });
  test('not again, where nothing of it changes, nor for an image of its own', () => {
    assert.deepEqual(notes(nonsense, nonsense), []);
    assert.deepEqual(
      notes(on(), nonsense, { sidecar: { ...DEFAULT_CONFIG.defaults.sidecar, image: 'a/b:5' } }),
      [],
    );
  });
  test('nothing of what is right, in any capitals', () => {
    const right = on({
      sidecar: {
        config: {
          service: { Flush: '1' },
          filters: [
            { Name: 'record_modifier', Match: '*', Record: 'a b' },
            { Name: 'kubernetes', Match: '*', Merge_Log: 'On', 'K8S-Logging.Parser': 'On' },
          ],
          outputs: [
            {
              NAME: 'es',
              match: '*',
              Host: 'a',
              Port: '9200',
              TLS: 'On',
              'tls.verify': 'Off',
              'net.keepalive': 'on',
            },
            {
              Name: 'http',
              Match: '*',
              Host: 'a',
              AWS_Region: 'x',
              Header: 'a b',
              Retry_Limit: 'False',
              Workers: '2',
            },
            { Name: 'kafka', Match: '*', Brokers: 'a:9092', Topics: 't', 'rdkafka.acks': '1' },
            { Name: 'pgsql', Match: '*', Host: 'a', Anything: 'x' },
          ],
        },
      },
    });
    assert.deepEqual(notes(on(), right), []);
  });
});

test('a denial shows four reasons in full, and the codes of all', () => {
  const seeds = [viewSeed(renderSeed(DATACENTERS) as KubernetesObject)];
  const before = view(on({ policyPreset: 'recommended' }));
  const after = view({
    policyPreset: 'minimal',
    sidecar: {
      resources: { limits: { cpu: '1m' } },
      config: { filters: [GREP, GREP], outputs: [{ Name: 'null', Match: '*' }] },
    },
  });
  const { attempts } = judgeCluster(before, after, seeds, DEFAULT_CONFIG, 0);
  assert.equal(attempts.length, 6);
  const message = explainDenial(
    'Cluster "bank"',
    attempts,
    resolveSettings(before, seeds, DEFAULT_CONFIG, 0),
  );
  assert.match(message, /; and 2 more \[FLUENTBIT_FILTER, FLUENTBIT_OUTPUT\]\. /);
});
