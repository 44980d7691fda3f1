import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resolveSettings } from '../../src/audit/settings.ts';
import { type Assessment, assess } from '../../src/controller/plan/assess.ts';
import { planFleet } from '../../src/controller/plan/budget.ts';
import { ROLLOUT_ANNOTATION } from '../../src/controller/plan/facts.ts';
import type { ClusterView } from '../../src/kkp.ts';
import {
  bodyOf,
  COMPLETE,
  CONFIG,
  facts,
  type Given,
  look,
  minutesAgo,
  NOW_MS,
  namesOf,
} from '../support/cluster-facts.ts';
import { renderPolicyPreset } from '../support/kkp-objects.ts';

/** What is given, and what comes of it: state, drift, actions, whether a roll-out would begin. */
const CASES: readonly (readonly [string, Given, string, string, string, boolean])[] = [
  ['all is well', {}, 'compliant', '', '', false],
  ['free and off', { enforced: false, auditLogging: {}, rendered: {} }, 'off', '', '', false],
  ['the Cluster differs', { auditLogging: {}, rendered: {} }, 'waiting', 'SETTINGS_DIFFER', '', true],
  [
    'the Cluster differs, and is paused',
    { auditLogging: {}, rendered: {}, pause: true },
    'paused',
    '',
    '',
    false,
  ],
  [
    'it is the work of another controller',
    { auditLogging: {}, rendered: {}, labels: { 'worker-name': 'canary' } },
    'paused',
    '',
    '',
    false,
  ],
  [
    'the Cluster differs, in flight',
    { auditLogging: {}, rendered: {}, annotations: { [ROLLOUT_ANNOTATION]: minutesAgo(1) } },
    'rolling',
    'SETTINGS_DIFFER',
    'alignCluster',
    false,
  ],
  ['the Deployment is bare', { rendered: {} }, 'waiting', 'DEPLOYMENT_DIFFERS', '', true],
  [
    'the Deployment is bare, its owner has time',
    { rendered: {}, annotations: { [ROLLOUT_ANNOTATION]: minutesAgo(0.1) } },
    'rolling',
    'DEPLOYMENT_DIFFERS',
    '',
    false,
  ],
  [
    'the Deployment is bare, its owner had time',
    { rendered: {}, annotations: { [ROLLOUT_ANNOTATION]: minutesAgo(1) } },
    'rolling',
    'DEPLOYMENT_DIFFERS',
    'nudgeDeployment',
    false,
  ],
  [
    'in flight for too long',
    { rendered: {}, annotations: { [ROLLOUT_ANNOTATION]: minutesAgo(11) } },
    'failing',
    'DEPLOYMENT_DIFFERS',
    'nudgeDeployment',
    false,
  ],
  [
    'in flight since nobody knows when',
    { rendered: {}, annotations: { [ROLLOUT_ANNOTATION]: '__proto__' } },
    'failing',
    'DEPLOYMENT_DIFFERS',
    'nudgeDeployment',
    false,
  ],
  ['pods without auditing', { podsRendered: {} }, 'waiting', 'PODS_INEFFECTIVE', '', true],
  [
    'pods without auditing, in flight',
    { podsRendered: {}, annotations: { [ROLLOUT_ANNOTATION]: minutesAgo(1) } },
    'rolling',
    'PODS_INEFFECTIVE',
    'restartDeployment',
    false,
  ],
  [
    'pods without auditing, while they are being replaced',
    { podsRendered: {}, status: { ...COMPLETE, replicas: 3, updatedReplicas: 1 } },
    'compliant',
    '',
    '',
    false,
  ],
  [
    'in flight, all is well',
    { annotations: { [ROLLOUT_ANNOTATION]: minutesAgo(1) } },
    'rolling',
    '',
    'finishRollout',
    false,
  ],
  [
    'in flight, not available yet',
    { annotations: { [ROLLOUT_ANNOTATION]: minutesAgo(1) }, status: { ...COMPLETE, availableReplicas: 1 } },
    'rolling',
    '',
    '',
    false,
  ],
  ['the policy is missing', { policy: null }, 'drifted', 'POLICY_MISSING', 'createPolicy', false],
  [
    'the policy is the preset in other words',
    { auditLogging: { enabled: true, policyPreset: 'minimal' }, policy: renderPolicyPreset('minimal') },
    'compliant',
    '',
    '',
    false,
  ],
  ['the policy is a person’s', { policy: 'rules: []' }, 'compliant', '', '', false],
  [
    'the policy is not the preset',
    { seedBlock: { policyPreset: 'minimal' }, auditLogging: { enabled: true, policyPreset: 'minimal' } },
    'waiting',
    'POLICY_NOT_PRESET',
    '',
    true,
  ],
  [
    'the policy is not the preset, in flight',
    {
      tracked: false,
      auditLogging: { enabled: true, policyPreset: 'minimal' },
      annotations: { [ROLLOUT_ANNOTATION]: minutesAgo(0.01) },
    },
    'rolling',
    'POLICY_NOT_PRESET',
    'replacePolicy',
    false,
  ],
  [
    'the Secret is missing',
    { facts: { fluentBit: undefined } },
    'drifted',
    'FLUENTBIT_MISSING',
    'createFluentBit',
    false,
  ],
  [
    'our Secret is missing',
    { facts: { ownSecrets: new Map() } },
    'drifted',
    'TUNING_OUTDATED',
    'writeTuning',
    false,
  ],
  [
    'secrets cannot be read',
    { facts: { fluentBit: undefined, unread: new Set(['secrets']) } },
    'compliant',
    '',
    '',
    false,
  ],
  [
    'policies cannot be read',
    { policy: null, facts: { unread: new Set(['configmaps']) } },
    'compliant',
    '',
    '',
    false,
  ],
  [
    'egress is denied',
    { facts: { deniesEgress: true } },
    'drifted',
    'EGRESS_OUTDATED',
    'writeNetworkPolicy',
    false,
  ],
  ['no Deployment yet', { facts: { deployment: undefined, pods: [] } }, 'pending', '', '', false],
  [
    'the namespace ends',
    {
      rendered: {},
      facts: {
        namespace: { namespace: 'cluster-a', resourceVersion: '2', labelled: true, terminating: true },
      },
    },
    'compliant',
    '',
    '',
    false,
  ],
];

for (const [what, given, state, drift, actions, begins] of CASES) {
  test(`${what}: ${state}${actions && `, ${actions}`}`, () => {
    const found = look(given);
    assert.equal(found.drift.join(), drift);
    assert.equal(found.state, state);
    assert.equal(namesOf(found).join(), actions);
    assert.equal(found.start !== undefined, begins);
  });
}

test('a Cluster under deletion and one whose datacenter nobody knows are left alone', () => {
  const bare = facts({ auditLogging: {}, rendered: {} });
  const deleting: ClusterView = { ...bare.cluster, deleting: true };
  assert.deepEqual(assess({ ...bare, cluster: deleting }, NOW_MS).actions, []);
  const unknown = resolveSettings(bare.cluster, [], CONFIG, NOW_MS);
  const found = assess({ ...bare, resolution: unknown }, NOW_MS);
  assert.deepEqual([found.state, found.actions, found.start], ['unresolved', [], undefined]);
});

test('the write that begins a roll-out names the version, brings the settings, and says since when', () => {
  const { start } = look({ auditLogging: {}, rendered: {}, seedBlock: { policyPreset: 'minimal' } });
  assert.deepEqual(start, {
    name: 'startRollout',
    method: 'PATCH',
    path: '/apis/kubermatic.k8c.io/v1/clusters/a',
    body: {
      spec: { auditLogging: { policyPreset: 'minimal', enabled: true } },
      metadata: {
        resourceVersion: '7',
        annotations: { [ROLLOUT_ANNOTATION]: new Date(NOW_MS).toISOString() },
      },
    },
  });
});

test('settings that go are nulled, since a merge patch keeps what it does not name', () => {
  const { start } = look({
    auditLogging: { enabled: true, sidecar: { extraEnvs: [{ name: 'A', value: 'b' }] } },
    seedBlock: { policyPreset: 'metadata' },
  });
  assert.deepEqual(bodyOf<{ spec: unknown }>(start).spec, {
    auditLogging: { policyPreset: 'metadata', sidecar: null },
  });
});

test('a policy that its owner put back is left as it is', () => {
  const given = { tracked: false, auditLogging: { enabled: true, policyPreset: 'minimal' } };
  const before = facts(given);
  const replaced = { ...before.policy, replaced: before.policy?.content ?? '' } as typeof before.policy;
  const found = assess({ ...before, policy: replaced }, NOW_MS);
  assert.deepEqual(found.drift, ['POLICY_KEPT']);
  assert.equal(found.start, undefined);
});

test('a restart says what it is for: the same again while it is under way, another one after the timeout', () => {
  const valueAfter = (minutes: number): unknown => {
    const found = look({ podsRendered: {}, annotations: { [ROLLOUT_ANNOTATION]: minutesAgo(minutes) } });
    const body = found.actions[0]?.body as { spec: { template: { metadata: { annotations: object } } } };
    return Object.values(body.spec.template.metadata.annotations)[0];
  };
  const suffix = (minutes: number) => String(valueAfter(minutes)).split('-')[1];
  assert.deepEqual([suffix(1), suffix(9), suffix(11), suffix(25)], ['0', '0', '1', '2']);
  const base = facts({ podsRendered: {}, annotations: { [ROLLOUT_ANNOTATION]: minutesAgo(1) } });
  const restarted = { ...base.deployment, restartedFor: String(valueAfter(1)) } as typeof base.deployment;
  assert.deepEqual(assess({ ...base, deployment: restarted }, NOW_MS).actions, []);
});

test('judged by settings of another day: looked at again before anything is decided', () => {
  const base = facts({ annotations: { [ROLLOUT_ANNOTATION]: minutesAgo(1) } });
  const old = { ...base.deployment, key: 'of another day' } as typeof base.deployment;
  assert.deepEqual(namesOf(assess({ ...base, deployment: old }, NOW_MS)), ['refresh']);
});

test('before its turn, nothing is written to a Cluster that the hook would align', () => {
  const found = look({
    auditLogging: {},
    rendered: {},
    labels: { 'audit.kubermatic.k8c.io/enforced': 'no' },
  });
  assert.ok(found.drift.includes('LABEL_DIFFERS'));
  assert.deepEqual(namesOf(found), []);
  assert.deepEqual(bodyOf<{ metadata: { labels: unknown } }>(found.start).metadata.labels, {
    'audit.kubermatic.k8c.io/enforced': 'true',
  });
});

test('the budget: as many as are missing, none while too many fail, each datacenter by itself', () => {
  const one = (cluster: string, state: Assessment['state'], datacenter = 'dc'): Assessment => ({
    ...look(),
    cluster,
    datacenter,
    state,
    start: state === 'waiting' ? { name: 'startRollout', method: 'PATCH', path: cluster } : undefined,
  });
  const startsOf = (assessments: Assessment[]) =>
    planFleet(assessments, () => ({ maxInFlight: 3, maxFailures: 2 })).starts.map(({ cluster }) => cluster);
  const waiting = ['c', 'a', 'b', 'd'].map((name) => one(name, 'waiting'));
  assert.deepEqual(startsOf(waiting), ['a', 'b', 'c']);
  assert.deepEqual(startsOf([...waiting, one('x', 'rolling')]), ['a', 'b']);
  assert.deepEqual(startsOf([...waiting, one('x', 'failing')]), ['a', 'b']);
  assert.deepEqual(startsOf([...waiting, one('x', 'failing'), one('y', 'failing')]), []);
  assert.deepEqual(startsOf([...waiting, one('x', 'failing', 'other'), one('y', 'failing', 'other')]), [
    'a',
    'b',
    'c',
  ]);
  const { progress } = planFleet([one('x', 'failing')], () => ({ maxInFlight: 1, maxFailures: 3 }));
  assert.equal(progress.get('dc')?.paused, true, 'as many failures as there are places');
});
