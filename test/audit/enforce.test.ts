import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { explainDenial, findIneffective, judgeCluster, judgeWorkload } from '../../src/audit/enforce.ts';
import { resolveSettings } from '../../src/audit/settings.ts';
import { DEFAULT_CONFIG } from '../../src/config.ts';
import { clusterWith, ENABLED, kkp, seedWith, specOf } from '../support/audit-generators.ts';

const NOW = Date.parse('2026-11-23T12:00:00Z');
const SKIP = 'kubermatic.k8c.io/skip-audit-logging-enforcement';
const ENFORCING = [seedWith({ enforceAuditLogging: true })];
const FREE = [seedWith()];

describe('a write of a Cluster', () => {
  type View = ReturnType<typeof clusterWith> | undefined;
  const on = clusterWith(ENABLED);
  const out = { [SKIP]: 'true' };
  const rows: [
    what: string,
    before: View,
    after: NonNullable<View>,
    seeds: typeof FREE,
    attempts: string[],
    notes?: string[],
  ][] = [
    [
      'that turns it off',
      on,
      clusterWith({ ...ENABLED, enabled: false }),
      ENFORCING,
      ['CLUSTER_AUDIT_DISABLED'],
    ],
    [
      'that leaves enabled out',
      on,
      clusterWith({ policyPreset: 'metadata' }),
      ENFORCING,
      ['CLUSTER_AUDIT_DISABLED'],
    ],
    ['that removes the block', on, clusterWith(undefined), ENFORCING, ['CLUSTER_AUDIT_REMOVED']],
    ['that makes the block something else', on, clusterWith('off'), ENFORCING, ['CLUSTER_AUDIT_REMOVED']],
    ['that opts out', on, clusterWith(ENABLED, out), ENFORCING, ['CLUSTER_OPT_OUT']],
    [
      'that does both',
      on,
      clusterWith(undefined, out),
      ENFORCING,
      ['CLUSTER_AUDIT_REMOVED', 'CLUSTER_OPT_OUT'],
    ],
    ['that sets an opt-out which is none', on, clusterWith(ENABLED, { [SKIP]: 'yes' }), ENFORCING, []],
    ['that opts out at creation', undefined, clusterWith(ENABLED, out), ENFORCING, ['CLUSTER_OPT_OUT']],
    ['that creates it off', undefined, clusterWith({ enabled: false }), ENFORCING, [], ['FLAG_IGNORED']],
    ['that creates it without a word', undefined, clusterWith(undefined), ENFORCING, []],
    ['as the dashboard saves it', on, clusterWith({ ...ENABLED, webhookBackend: null }), ENFORCING, []],
    ['that was off before', clusterWith({ enabled: false }), clusterWith(undefined), ENFORCING, []],
    ['in a free datacenter', on, clusterWith(undefined), FREE, []],
    ['where no Seed is known', on, clusterWith(undefined), [], ['CLUSTER_AUDIT_REMOVED']],
    ['that is exempt', clusterWith(ENABLED, out), clusterWith({ enabled: false }, out), ENFORCING, []],
  ];
  for (const [what, before, after, seeds, attempts, notes = []] of rows) {
    test(`${what}: ${attempts.join(', ') || 'no attempt'}`, () => {
      const verdict = judgeCluster(before, after, seeds, DEFAULT_CONFIG, NOW);
      assert.deepEqual(verdict.attempts.map(({ code }) => code).sort(), attempts);
      assert.deepEqual(
        verdict.notes.map(({ code }) => code),
        notes,
      );
    });
  }
});

describe('a write of a workload', () => {
  const resolved = (seeds: typeof FREE) => resolveSettings(clusterWith(ENABLED), seeds, DEFAULT_CONFIG, NOW);
  const good = specOf(kkp({}, ENABLED));
  const bad = specOf(kkp());
  const judged = (before: typeof good | undefined, after: typeof good, seeds = ENFORCING) =>
    judgeWorkload(() => before, findIneffective(after, resolved(seeds)), resolved(seeds)).attempts.map(
      ({ code }) => code,
    );

  test('that takes auditing out is an attempt, each way of it', () =>
    assert.deepEqual(judged(good, bad), ['POLICY_FLAG_MISSING', 'SIDECAR_MISSING']));
  test('that creates it without is one too', () =>
    assert.deepEqual(judged(undefined, bad), ['POLICY_FLAG_MISSING', 'SIDECAR_MISSING']));
  test('that leaves it as bad as it was is none', () => assert.deepEqual(judged(bad, bad), []));
  test('that is effective is none', () => assert.deepEqual(judged(bad, good), []));
  test('in a free datacenter is none', () => assert.deepEqual(judged(good, bad, FREE), []));
  test('where it is not known whether it is enforced is one', () =>
    assert.deepEqual(judged(good, bad, []).length, 2));
  test('never looks at the old object where the new one is effective', () => {
    judgeWorkload(() => assert.fail(), [], resolved(ENFORCING));
    judgeWorkload(() => assert.fail(), findIneffective(bad, resolved(ENFORCING)), resolved(FREE));
  });

  test('is refused with what, where, why, who may, the way out and the codes', () => {
    const message = explainDenial(
      'Deployment cluster-x/apiserver',
      findIneffective(bad, resolved(ENFORCING)),
      resolved(ENFORCING),
    );
    for (const part of [
      'cluster "q7x2mfk9vd"',
      'Deployment cluster-x/apiserver',
      'datacenter "lab" (Seed "kubermatic") enforces it',
      '"disable-audit-logging"',
      '[POLICY_FLAG_MISSING]',
      '[SIDECAR_MISSING]',
      'Add --audit-policy-file',
    ])
      assert.ok(message.includes(part), `${part} in ${message}`);
  });
});
