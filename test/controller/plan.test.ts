import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settingsOf } from '../../src/audit/enforce.ts';
import { resolveSettings } from '../../src/audit/settings.ts';
import { DEFAULT_CONFIG, DEFAULT_DATACENTER_OPTIONS } from '../../src/config.ts';
import { fluentBitData, ownSecret } from '../../src/controller/objects.ts';
import type { Action } from '../../src/controller/plan/action.ts';
import { type Assessment, assess } from '../../src/controller/plan/assess.ts';
import { planFleet } from '../../src/controller/plan/budget.ts';
import { type ClusterFacts, ROLLOUT_ANNOTATION } from '../../src/controller/plan/facts.ts';
import { viewDeployment, viewObject, viewPod, viewPolicy } from '../../src/controller/view.ts';
import { type ClusterView, viewCluster, viewSeed } from '../../src/kkp.ts';
import type { KubernetesObject } from '../../src/kubernetes.ts';
import { PRESETS } from '../../src/policy/index.ts';
import type { AuditLogging } from '../support/fixture-types.ts';
import { renderKkp, renderKkpInto } from '../support/fixtures.ts';
import { renderPolicyPreset } from '../support/kkp-objects.ts';
import { renderCluster, renderSeed } from '../support/seed.ts';

const NOW_MS = Date.parse('2026-11-23T12:00:00Z');
const OPTIONS = {
  ...DEFAULT_DATACENTER_OPTIONS,
  egress: [{ cidr: '203.0.113.0/24', port: 3100 }],
  rollout: { maxInFlight: 2, maxFailures: 2, timeoutSeconds: 600, graceSeconds: 15 },
};
const CONFIG = { ...DEFAULT_CONFIG, defaults: OPTIONS };
const minutesAgo = (minutes: number): string => new Date(NOW_MS - minutes * 60_000).toISOString();

interface Given {
  readonly enforced?: boolean;
  readonly auditLogging?: AuditLogging;
  readonly seedBlock?: AuditLogging;
  readonly annotations?: Record<string, string>;
  readonly labels?: Record<string, string>;
  readonly pause?: boolean;
  /** What the Deployment and its pods are rendered by. */
  readonly rendered?: AuditLogging;
  /** Whether there are revision labels, as KKP writes them. */
  readonly tracked?: boolean;
  readonly podsRendered?: AuditLogging;
  readonly status?: object;
  readonly policy?: string | null;
  readonly facts?: Partial<ClusterFacts>;
}

const ENABLED = { enabled: true };
const COMPLETE = { observedGeneration: 1, replicas: 2, updatedReplicas: 2, availableReplicas: 2 };

/** A cluster as it is when all is well with it, but for what is given. */
function facts(given: Given = {}): ClusterFacts {
  const { enforced = true, auditLogging = ENABLED, rendered = ENABLED, tracked = true } = given;
  const stored = renderCluster({
    name: 'a',
    datacenter: 'dc',
    auditLogging,
    labels: { ...(enforced && { 'audit.kubermatic.k8c.io/enforced': 'true' }), ...given.labels },
    ...(given.annotations && { annotations: given.annotations }),
    ...(given.pause && { pause: true }),
  });
  const cluster = viewCluster({
    ...stored,
    metadata: { ...stored.metadata, uid: 'uid-a', resourceVersion: '7' },
  });
  const seeds = [viewSeed(renderSeed({ dc: { enforceAuditLogging: enforced } }, given.seedBlock))];
  const resolution = resolveSettings(cluster, seeds, CONFIG, NOW_MS);
  const render = (settings: AuditLogging): KubernetesObject =>
    (tracked
      ? renderKkp({ cluster: 'a' }, settings)
      : renderKkpInto(undefined, { cluster: 'a' }, settings)) as KubernetesObject;
  const deployment = render(rendered);
  const { template } = (render(given.podsRendered ?? rendered) as ReturnType<typeof renderKkp>).spec;
  const pod = (name: string): KubernetesObject =>
    ({
      metadata: { name, namespace: 'cluster-a', resourceVersion: '9', labels: template.metadata.labels },
      spec: template.spec,
      status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
    }) as KubernetesObject;
  const text = given.policy === undefined ? (PRESETS.get('metadata') ?? '') : given.policy;
  const meta = { namespace: 'cluster-a', resourceVersion: '3' };
  const base: ClusterFacts = {
    cluster,
    resolution,
    namespace: { namespace: 'cluster-a', resourceVersion: '2', labelled: enforced, terminating: false },
    deployment: viewDeployment(
      {
        ...deployment,
        metadata: { ...deployment.metadata, resourceVersion: '8', generation: 1 },
        ...{ status: given.status ?? COMPLETE },
      },
      resolution,
    ),
    pods: [viewPod(pod('one'), resolution), viewPod(pod('two'), resolution)],
    policy:
      text === null
        ? undefined
        : viewPolicy({ metadata: { ...meta, name: 'audit-config' }, ...{ data: { 'policy.yaml': text } } }),
    fluentBit: viewObject({ metadata: { ...meta, name: 'audit-logs-fluentbit' } }),
    ownSecrets: new Map(),
    backend: undefined,
    backendSource: undefined,
    networkPolicy: undefined,
    deniesEgress: false,
    unread: new Set(),
  };
  const settings = settingsOf(resolution);
  const tuned = ownSecret('audit-logs-fluentbit-tuned', fluentBitData(settings)) as KubernetesObject;
  const view = viewObject({ ...tuned, metadata: { ...tuned.metadata, ...meta } }, true);
  const ownSecrets = new Map(settings.enabled.value ? [[view.name, view]] : []);
  return { ...base, ownSecrets, ...given.facts };
}

const look = (given: Given = {}): Assessment => assess(facts(given), NOW_MS);
const bodyOf = <T>(action: Action | undefined): T => (action ?? assert.fail('nothing to do')).body as T;
const namesOf = ({ actions }: Assessment): string[] => actions.map(({ name }) => name);

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
