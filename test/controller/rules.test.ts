/** Every rule of the plan at its edges: what is given, what is wrong, what is done about it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Assessment } from '../../src/controller/plan/assess.ts';
import { type ClusterFacts, ROLLOUT_ANNOTATION } from '../../src/controller/plan/facts.ts';
import type { DeploymentView, ObjectView } from '../../src/controller/view.ts';
import { bodyOf, ENABLED, facts, type Given, look, minutesAgo, namesOf } from '../support/cluster-facts.ts';

const inFlight = (minutes: number) => ({ annotations: { [ROLLOUT_ANNOTATION]: minutesAgo(minutes) } });
const OFF = { enforced: false, auditLogging: {}, rendered: {} };
const UNALIGNED = { auditLogging: {}, rendered: {} };
const MINIMAL = { enabled: true, policyPreset: 'minimal' };
const HOOK = { auditWebhookConfig: { name: 'hook', namespace: 'secrets' } };
const WITH_HOOK = { enabled: true, webhookBackend: HOOK };
const BACKEND = { seedBlock: WITH_HOOK, auditLogging: WITH_HOOK, rendered: WITH_HOOK };
const MISSING = { policy: null, facts: { fluentBit: undefined, ownSecrets: new Map() } };

const object = (name: string, view: Partial<ObjectView> = {}): ObjectView => ({
  namespace: 'cluster-a',
  name,
  resourceVersion: '5',
  isOurs: true,
  content: 'old',
  ...view,
});
const HOOK_SOURCE = object('hook', { namespace: 'secrets', resourceVersion: '12' });
const OUR_EGRESS = object('kkp-audit-webhook-egress');

const deployment = (change: Partial<DeploymentView>) => (given: ClusterFacts) => ({
  deployment: { ...given.deployment, ...change } as DeploymentView,
});
const secret = (view: ObjectView) => (given: ClusterFacts) => ({
  ownSecrets: new Map([...given.ownSecrets, [view.name, view]]),
});
const namespace = (change: { labelled?: boolean; terminating?: boolean }) => ({
  namespace: {
    namespace: 'cluster-a',
    resourceVersion: '2',
    labelled: true,
    terminating: false,
    ...change,
  },
});
const pods = (change: { ending?: boolean; ready?: boolean }) => (given: ClusterFacts) => ({
  pods: given.pods.map((pod) => ({ ...pod, ...change })),
});

/** By rule: what is given, the drift, the actions. */
const CASES: Readonly<Record<string, readonly (readonly [string, Given, string, string])[]>> = {
  turns: [
    [
      'only the policy, before its turn',
      { rendered: {}, ...MISSING },
      'POLICY_MISSING,FLUENTBIT_MISSING,TUNING_OUTDATED,DEPLOYMENT_DIFFERS',
      'createPolicy',
    ],
    [
      'all of it, in its turn',
      { rendered: {}, ...MISSING, ...inFlight(0.1) },
      'POLICY_MISSING,FLUENTBIT_MISSING,TUNING_OUTDATED,DEPLOYMENT_DIFFERS',
      'createPolicy,createFluentBit,writeTuning',
    ],
    ['nothing without a namespace', { rendered: {}, facts: { namespace: undefined } }, '', ''],
    [
      'as ever, where namespaces cannot be read',
      { rendered: {}, facts: { namespace: undefined, unread: new Set(['namespaces']) } },
      'DEPLOYMENT_DIFFERS',
      '',
    ],
    ['nothing beside a cluster without auditing', { ...OFF, ...MISSING }, '', ''],
  ],
  labels: [
    ['the namespace has none', { facts: namespace({ labelled: false }) }, 'LABEL_DIFFERS', 'labelNamespace'],
    [
      'the namespace has none, and ends',
      { facts: namespace({ labelled: false, terminating: true }) },
      '',
      '',
    ],
    [
      'the Cluster has none',
      { labels: { 'audit.kubermatic.k8c.io/enforced': 'no' } },
      'LABEL_DIFFERS',
      'labelCluster',
    ],
    [
      'the Cluster has none, and is aligned by the same write',
      { ...UNALIGNED, ...inFlight(1), labels: { 'audit.kubermatic.k8c.io/enforced': 'no' } },
      'SETTINGS_DIFFER,LABEL_DIFFERS',
      'alignCluster',
    ],
  ],
  policy: [
    [
      'missing, and KKP would make the same one',
      { policy: null, facts: { deployment: undefined, pods: [] } },
      '',
      '',
    ],
    [
      'missing, and KKP would make another one',
      { auditLogging: MINIMAL, seedBlock: MINIMAL, policy: null, facts: { deployment: undefined, pods: [] } },
      'POLICY_MISSING',
      'createPolicy',
    ],
    [
      'immutable',
      {
        auditLogging: MINIMAL,
        change: ({ policy }) => ({ policy: policy && { ...policy, immutable: true } }),
      },
      'POLICY_KEPT',
      '',
    ],
    [
      'KKP replaces it by itself, and has time',
      { auditLogging: MINIMAL, ...inFlight(0.1) },
      'POLICY_NOT_PRESET',
      '',
    ],
    [
      'KKP replaces it by itself, and had time',
      { auditLogging: MINIMAL, ...inFlight(1) },
      'POLICY_NOT_PRESET',
      'replacePolicy',
    ],
    [
      'the Cluster comes first',
      { tracked: false, seedBlock: MINIMAL, ...inFlight(1) },
      'SETTINGS_DIFFER,POLICY_NOT_PRESET',
      'alignCluster',
    ],
    [
      'nobody to read it yet',
      { auditLogging: MINIMAL, facts: { deployment: undefined, pods: [] }, ...inFlight(1) },
      'POLICY_NOT_PRESET',
      '',
    ],
  ],
  'fluent-bit': [
    [
      'missing before there is a Deployment',
      { facts: { fluentBit: undefined, deployment: undefined, pods: [] } },
      '',
      '',
    ],
    [
      'ours, and outdated',
      { tracked: false, change: secret(object('audit-logs-fluentbit')), facts: deploymentNoted() },
      'FLUENTBIT_OUTDATED',
      'updateFluentBit',
    ],
    ['ours, outdated, and taken over by KKP', { change: secret(object('audit-logs-fluentbit')) }, '', ''],
    [
      'tuned, and outdated',
      { change: secret(object('audit-logs-fluentbit-tuned')) },
      'TUNING_OUTDATED',
      'writeTuning',
    ],
    [
      'a webhook alone needs none',
      {
        enforced: false,
        auditLogging: { webhookBackend: HOOK },
        rendered: { webhookBackend: HOOK },
        facts: { fluentBit: undefined },
      },
      '',
      '',
    ],
  ],
  backend: [
    ['not there', { ...BACKEND, facts: { backendSource: HOOK_SOURCE } }, 'BACKEND_MISSING', 'copyBackend'],
    [
      'a copy',
      {
        ...BACKEND,
        facts: { backendSource: HOOK_SOURCE, backend: object('hook', { content: 'secrets/hook@12' }) },
      },
      '',
      '',
    ],
    [
      'a copy of an older one',
      {
        ...BACKEND,
        facts: { backendSource: HOOK_SOURCE, backend: object('hook', { content: 'secrets/hook@11' }) },
      },
      'BACKEND_MISSING',
      'copyBackend',
    ],
    [
      'somebody else’s',
      { ...BACKEND, facts: { backendSource: HOOK_SOURCE, backend: object('hook', { isOurs: false }) } },
      '',
      '',
    ],
    ['nothing to copy from', { ...BACKEND }, 'BACKEND_MISSING', ''],
    ['nothing to copy from any more', { ...BACKEND, facts: { backend: object('hook') } }, '', ''],
    [
      'an editor of the Cluster names it',
      { ...BACKEND, enforced: false, facts: { backendSource: HOOK_SOURCE } },
      '',
      '',
    ],
    ['in the cluster’s own namespace', ownBackend(), '', ''],
  ],
  egress: [
    [
      'outdated',
      { facts: { deniesEgress: true, networkPolicy: OUR_EGRESS } },
      'EGRESS_OUTDATED',
      'writeNetworkPolicy',
    ],
    ['as it should be', { facts: { deniesEgress: true }, change: writtenEgress }, '', ''],
  ],
  deployment: [
    ['under deletion', { rendered: {}, change: deployment({ deleting: true }) }, '', ''],
    ['off, but a pod has the sidecar', { ...OFF, podsRendered: ENABLED }, 'PODS_LEFTOVER', ''],
    ['pods without auditing end', { podsRendered: {}, change: pods({ ending: true }) }, '', ''],
    ['what the pods read is not noted', { tracked: false }, '', 'noteChecksum'],
    ['what the pods read is noted', { tracked: false, facts: deploymentNoted() }, '', ''],
    ['KKP sees to it', { tracked: true }, '', ''],
    [
      'pods with an older policy',
      { tracked: false, policy: 'rules: []', facts: deploymentNoted() },
      'PODS_OUTDATED',
      '',
    ],
    [
      'pods with older settings, which rolled them',
      { tracked: false, facts: deploymentNoted({}, 'older') },
      '',
      'noteChecksum',
    ],
    [
      'pods with older settings, of a Deployment that is left to its owner',
      { tracked: false, facts: deploymentNoted({ isLeft: true }, 'older') },
      'PODS_OUTDATED',
      '',
    ],
  ],
  leftovers: [
    [
      'fluent-bit’s Secret',
      { ...OFF, change: secret(object('audit-logs-fluentbit')) },
      'LEFTOVERS',
      'removeLeftover',
    ],
    [
      'kept while the Deployment has the sidecar',
      {
        ...OFF,
        rendered: ENABLED,
        change: (given) => ({
          ...secret(object('audit-logs-fluentbit'))(given),
          ...deployment({ hookChanges: false })(given),
          pods: [],
        }),
      },
      '',
      '',
    ],
    [
      'kept while a pod that ends has the sidecar',
      {
        ...OFF,
        podsRendered: ENABLED,
        change: (given) => ({
          ...secret(object('audit-logs-fluentbit'))(given),
          ...pods({ ending: true })(given),
        }),
      },
      '',
      '',
    ],
    ['a webhook’s Secret', { change: secret(object('hook')) }, 'LEFTOVERS', 'removeLeftover'],
    [
      'a webhook’s Secret, in flight',
      {
        ...inFlight(1),
        change: (given) => ({ ...secret(object('hook'))(given), ...pods({ ready: false })(given) }),
      },
      '',
      '',
    ],
    [
      'the webhook’s Secret',
      { ...BACKEND, facts: { backend: object('hook') }, change: secret(object('hook')) },
      '',
      '',
    ],
    [
      'of a Cluster that is not aligned',
      { ...UNALIGNED, change: secret(object('hook')) },
      'SETTINGS_DIFFER',
      '',
    ],
    [
      'by the settings of another day',
      { change: (given) => ({ ...secret(object('hook'))(given), ...deployment({ key: 'older' })(given) }) },
      '',
      'refresh',
    ],
    [
      'where not all could be read',
      { facts: { unread: new Set(['pods']) }, change: secret(object('hook')) },
      '',
      '',
    ],
    [
      'a NetworkPolicy where nothing denies',
      { facts: { networkPolicy: OUR_EGRESS } },
      'LEFTOVERS',
      'removeLeftover',
    ],
    [
      'a NetworkPolicy of a cluster without auditing',
      { ...OFF, facts: { networkPolicy: OUR_EGRESS, deniesEgress: true } },
      'LEFTOVERS',
      'removeLeftover',
    ],
  ],
  'roll-out': [
    ['a pod is not ready', { ...inFlight(1), change: pods({ ready: false }) }, '', ''],
    ['no Deployment', { ...inFlight(1), facts: { deployment: undefined, pods: [] } }, '', 'finishRollout'],
    [
      'Deployments cannot be read',
      { ...inFlight(1), facts: { deployment: undefined, pods: [], unread: new Set(['deployments']) } },
      '',
      '',
    ],
  ],
};

/** The Deployment as it is once what its pods read was noted, perhaps with other settings. */
function deploymentNoted(change: Partial<DeploymentView> = {}, key?: string): Partial<ClusterFacts> {
  const [noteChecksum] = look({ tracked: false }).actions;
  const { annotations } = bodyOf<{ metadata: { annotations: Record<string, string> } }>(
    noteChecksum,
  ).metadata;
  const [content, today] = (Object.values(annotations)[0] ?? '').split('-');
  return deployment({ ...change, checksum: `${content}-${key ?? today}` })(facts({ tracked: false }));
}

function ownBackend(): Given {
  const own = {
    enabled: true,
    webhookBackend: { auditWebhookConfig: { name: 'hook', namespace: 'cluster-a' } },
  };
  return { seedBlock: own, auditLogging: own, rendered: own };
}

function writtenEgress(): Partial<ClusterFacts> {
  const [write] = look({ facts: { deniesEgress: true } }).actions;
  const { annotations } = bodyOf<{ metadata: { annotations: Record<string, string> } }>(write).metadata;
  return { networkPolicy: { ...OUR_EGRESS, content: Object.values(annotations)[0] ?? '' } };
}

for (const [rule, cases] of Object.entries(CASES)) {
  for (const [what, given, drift, actions] of cases) {
    test(`${rule}: ${what}`, () => {
      const found = look(given);
      assert.equal(found.drift.join(), drift);
      assert.equal(namesOf(found).join(), actions);
    });
  }
}

test('an object of ours is replaced in the version that was looked at', () => {
  const [action] = look({ change: secret(object('audit-logs-fluentbit-tuned')) }).actions;
  assert.equal(action?.method, 'PATCH');
  assert.equal(action?.path, '/api/v1/namespaces/cluster-a/secrets/audit-logs-fluentbit-tuned');
  const body = bodyOf<{ kind?: string; metadata: { resourceVersion: string } }>(action);
  assert.equal(body.metadata.resourceVersion, '5');
  assert.equal(body.kind, undefined);
});

test('what ends a roll-out or starts pods again is asked for by a fresh look', () => {
  const verified = (given: Given) => look(given).actions.map(({ name, verify }) => `${name} ${verify}`);
  assert.deepEqual(verified(inFlight(1)), ['finishRollout true']);
  assert.deepEqual(verified({ podsRendered: {}, ...inFlight(1) }), ['restartDeployment true']);
});

test('a restart counts no timeouts from a time that nobody knows', () => {
  const { actions } = look({ podsRendered: {}, annotations: { [ROLLOUT_ANNOTATION]: 'nonsense' } });
  const body = bodyOf<{ spec: { template: { metadata: { annotations: object } } } }>(actions[0]);
  assert.match(String(Object.values(body.spec.template.metadata.annotations)[0]), /-0$/);
});

test('states that no drift tells', () => {
  const stateOf = (given: Given): Assessment['state'] => look(given).state;
  const immutable = ({ policy }: ClusterFacts) => ({ policy: policy && { ...policy, immutable: true } });
  assert.equal(stateOf({ auditLogging: MINIMAL, change: immutable }), 'compliant');
  assert.equal(stateOf({ facts: { unread: new Set(['pods']) } }), 'pending');
  assert.equal(stateOf({ change: deployment({ key: 'older' }) }), 'pending');
  assert.equal(stateOf({ change: ({ cluster }) => ({ cluster: { ...cluster, deleting: true } }) }), 'off');
});

test('what a Deployment lacks counts, unless its pods are given it', () => {
  const given: Given = { rendered: {}, podsRendered: ENABLED };
  assert.ok(look(given).reasons.length > 0);
  assert.deepEqual(look({ ...given, change: deployment({ isLeft: true }) }).reasons, []);
});
