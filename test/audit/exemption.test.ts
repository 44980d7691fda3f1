/** Exemptions: when they are valid, and what of them is an attempt. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { judgeCluster } from '../../src/audit/enforce.ts';
import { exemptionAnnotations, findExemptionProblem } from '../../src/audit/exemption.ts';
import { isExempt } from '../../src/audit/settings.ts';
import { DEFAULT_CONFIG } from '../../src/config.ts';
import { viewCluster, viewSeed } from '../../src/kkp.ts';
import { renderCluster, renderSeed } from '../support/seed.ts';

const NOW = Date.parse('2026-11-23T12:00:00Z');
const HOUR = 3_600_000;
const OPT_OUT = 'kubermatic.k8c.io/skip-audit-logging-enforcement';
const UNTIL = 'audit.kubermatic.k8c.io/exempt-until';
const WHY = 'audit.kubermatic.k8c.io/exempt-reason';
const valid = exemptionAnnotations(NOW + HOUR, 'incident 7');

describe('an exemption', () => {
  for (const [name, annotations, expected] of [
    ['with a reason and an end', valid, undefined],
    ['for just seven days', exemptionAnnotations(NOW + 7 * 24 * HOUR, 'x'), undefined],
    ["KKP's own, without either", { [OPT_OUT]: 'true' }, undefined],
    ['of another time zone', { ...valid, [UNTIL]: '2026-11-23T15:00:00+02:00' }, undefined],
    ['without a reason', { [OPT_OUT]: 'true', [UNTIL]: valid[UNTIL] ?? '' }, /needs a reason/],
    ['with an empty reason', { ...valid, [WHY]: '  ' }, /needs a reason/],
    ['with a novel for a reason', { ...valid, [WHY]: 'x'.repeat(501) }, /more than 500 characters/],
    ['without an end', { [OPT_OUT]: 'true', [WHY]: 'x' }, /needs an end/],
    ['for longer than seven days', exemptionAnnotations(NOW + 8 * 24 * HOUR, 'x'), /more than 7 days/],
    ['that is over', exemptionAnnotations(NOW - 1, 'x'), /is past/],
    ['until a year', { ...valid, [UNTIL]: '2027' }, /is no time/],
    ['until a day', { ...valid, [UNTIL]: '2026-11-24' }, /is no time/],
    ['until a time without a zone', { ...valid, [UNTIL]: '2026-11-23T13:00:00' }, /is no time/],
    ['until a date that does not exist', { ...valid, [UNTIL]: '2026-13-40T13:00:00Z' }, /is no time/],
    ['until nothing', { ...valid, [UNTIL]: '' }, /is no time/],
  ] as const)
    test(name, () => {
      const problem = findExemptionProblem(annotations as Record<string, string>, NOW);
      if (expected === undefined) assert.equal(problem, undefined);
      else assert.match(problem ?? '', expected);
    });

  test('ends by the clock alone, and one that can not be read exempts from nothing', () => {
    assert.equal(isExempt(valid, NOW), true);
    assert.equal(isExempt(valid, NOW + HOUR), false);
    assert.equal(isExempt({ ...valid, [UNTIL]: '99999' }, NOW), false);
    assert.equal(isExempt({ ...valid, [OPT_OUT]: 'True' }, NOW), false);
  });
});

describe('a change of an exemption', () => {
  const seeds = [viewSeed(renderSeed({ enforcing: { enforceAuditLogging: true }, free: {} }))];
  const cluster = (annotations: Record<string, string>, datacenter = 'enforcing', enabled = true) =>
    viewCluster(renderCluster({ name: 'bank', datacenter, annotations, auditLogging: { enabled } }));
  const judge = (
    before: ReturnType<typeof cluster> | undefined,
    after: ReturnType<typeof cluster>,
  ): string[] => judgeCluster(before, after, seeds, DEFAULT_CONFIG, NOW).attempts.map(({ code }) => code);
  const bare = { [OPT_OUT]: 'true' };
  const longer = exemptionAnnotations(NOW + 2 * HOUR, 'more');
  const over = exemptionAnnotations(NOW - HOUR, 'over');

  for (const [name, before, after, expected] of [
    ['granted', {}, valid, ['CLUSTER_OPT_OUT']],
    ['granted again after its end', over, valid, ['CLUSTER_OPT_OUT']],
    ['prolonged', valid, longer, ['EXEMPTION_PROLONGED']],
    ['made endless', valid, bare, ['EXEMPTION_PROLONGED']],
    ['shortened', longer, valid, []],
    ['given an end', bare, valid, []],
    ['ended', valid, {}, []],
    ['left alone', valid, valid, []],
    ['another reason', valid, { ...valid, [WHY]: 'other' }, []],
  ] as const)
    test(name, () => assert.deepEqual(judge(cluster(before), cluster(after)), expected));

  test('at creation, and where nothing is enforced yet', () => {
    assert.deepEqual(judge(undefined, cluster(bare)), ['CLUSTER_OPT_OUT']);
    assert.deepEqual(judge(cluster({}, 'free'), cluster(bare, 'free')), ['CLUSTER_OPT_OUT']);
    assert.deepEqual(judge(cluster(bare, 'free'), cluster(bare, 'free', false)), []);
  });

  test('while it is in force the switch is free, and with the switch alone it is not', () => {
    assert.deepEqual(judge(cluster(valid), cluster(valid, 'enforcing', false)), []);
    assert.deepEqual(judge(cluster({}), cluster(valid, 'enforcing', false)), [
      'CLUSTER_OPT_OUT',
      'CLUSTER_AUDIT_DISABLED',
    ]);
    assert.deepEqual(judge(cluster(over), cluster(over, 'enforcing', false)), ['CLUSTER_AUDIT_DISABLED']);
  });
});
