/** A cluster as the plan of the controller sees it. */
import assert from 'node:assert/strict';
import { settingsOf } from '../../src/audit/enforce.ts';
import { resolveSettings } from '../../src/audit/settings.ts';
import { DEFAULT_CONFIG, DEFAULT_DATACENTER_OPTIONS } from '../../src/config.ts';
import { fluentBitData, ownSecret } from '../../src/controller/objects.ts';
import type { Action } from '../../src/controller/plan/action.ts';
import { type Assessment, assess } from '../../src/controller/plan/assess.ts';
import type { ClusterFacts } from '../../src/controller/plan/facts.ts';
import { viewDeployment, viewObject, viewPod, viewPolicy } from '../../src/controller/view.ts';
import { viewCluster, viewSeed } from '../../src/kkp.ts';
import type { KubernetesObject } from '../../src/kubernetes.ts';
import { PRESETS } from '../../src/policy/index.ts';
import type { AuditLogging } from './fixture-types.ts';
import { renderKkp, renderKkpInto } from './fixtures.ts';
import { renderCluster, renderSeed } from './seed.ts';

export const NOW_MS = Date.parse('2026-11-23T12:00:00Z');
const OPTIONS = {
  ...DEFAULT_DATACENTER_OPTIONS,
  egress: [{ cidr: '203.0.113.0/24', port: 3100 }],
  rollout: { maxInFlight: 2, maxFailures: 2, timeoutSeconds: 600, graceSeconds: 15 },
};
export const CONFIG = { ...DEFAULT_CONFIG, defaults: OPTIONS };
export const minutesAgo = (minutes: number): string => new Date(NOW_MS - minutes * 60_000).toISOString();

export interface Given {
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
  /** What is otherwise than it would be by the rest. */
  readonly change?: (facts: ClusterFacts) => Partial<ClusterFacts>;
}

export const ENABLED = { enabled: true };
export const COMPLETE = { observedGeneration: 1, replicas: 2, updatedReplicas: 2, availableReplicas: 2 };

/** A cluster as it is when all is well with it, but for what is given. */
export function facts(given: Given = {}): ClusterFacts {
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
  const found = { ...base, ownSecrets, ...given.facts };
  return { ...found, ...given.change?.(found) };
}

export const look = (given: Given = {}): Assessment => assess(facts(given), NOW_MS);
export const bodyOf = <T>(action: Action | undefined): T =>
  (action ?? assert.fail('nothing to do')).body as T;
export const namesOf = ({ actions }: Assessment): string[] => actions.map(({ name }) => name);
