/** Generated input for the tests of the audit core: KKP's Deployments, settings, and mutations that know what auditing hangs on. */
import fc from 'fast-check';
import { settingsOf } from '../../src/audit/enforce.ts';
import { injectDeployment } from '../../src/audit/inject.ts';
import { type Resolution, resolveSettings, type Settings } from '../../src/audit/settings.ts';
import { type Config, type DatacenterOptions, DEFAULT_CONFIG } from '../../src/config.ts';
import { type ClusterView, type SeedView, viewCluster, viewSeed } from '../../src/kkp.ts';
import type { Container, Deployment, JsonValue, KubernetesObject, PodSpec } from '../../src/kubernetes.ts';
import type { AuditLogging, KkpOptions } from './fixture-types.ts';
import { renderKkp } from './fixtures.ts';

export const CLUSTER = 'q7x2mfk9vd';

/** A Cluster in the datacenter `lab`. */
export const clusterWith = (auditLogging: unknown, annotations: Record<string, string> = {}): ClusterView =>
  viewCluster({
    metadata: { name: CLUSTER, annotations },
    spec: { cloud: { dc: 'lab' }, auditLogging },
  } as KubernetesObject);

/** A Seed with the datacenter `lab`. */
export const seedWith = (datacenter: object = {}, auditLogging?: unknown): SeedView =>
  viewSeed({
    metadata: { name: 'kubermatic' },
    spec: { auditLogging, datacenters: { lab: { spec: datacenter } } },
  } as KubernetesObject);

export const configWith = (options: Partial<DatacenterOptions> = {}): Config => ({
  ...DEFAULT_CONFIG,
  defaults: { ...DEFAULT_CONFIG.defaults, ...options },
});

export function resolve(auditLogging: unknown, options: Partial<DatacenterOptions> = {}): Resolution {
  return resolveSettings(clusterWith(auditLogging), [seedWith()], configWith(options), 0);
}

export const settingsWith = (auditLogging: unknown, options: Partial<DatacenterOptions> = {}): Settings =>
  settingsOf(resolve(auditLogging, options));

export const ENABLED = { enabled: true, policyPreset: 'metadata' };
export const WEBHOOK_BACKEND = {
  auditWebhookConfig: { name: 'collector', namespace: 'kubermatic' },
  auditWebhookInitialBackoff: '10s',
};

/** KKP's Deployment, in the types of src/. */
export const kkp = (options: KkpOptions = {}, auditLogging?: unknown): Deployment =>
  renderKkp(options, auditLogging as AuditLogging | undefined) as unknown as Deployment;

export const specOf = (deployment: Deployment): PodSpec => deployment.spec?.template?.spec ?? {};

export const withSpec = (deployment: Deployment, spec: unknown): Deployment =>
  ({
    ...deployment,
    spec: { ...deployment.spec, template: { ...deployment.spec?.template, spec } },
  }) as Deployment;

/** Injects as for a person's write of a new object. */
export const inject = (deployment: Deployment, settings: Settings) =>
  injectDeployment(deployment, () => undefined, settings, false);

export const kkpOptions: fc.Arbitrary<KkpOptions> = fc.record(
  {
    provider: fc.constantFrom('aws', 'bringyourown', 'gcp', 'openstack'),
    konnectivity: fc.boolean(),
    encryption: fc.boolean(),
    authorizationWebhook: fc.boolean(),
    authorizationConfigFile: fc.boolean(),
    authenticationConfig: fc.boolean(),
    overwriteRegistry: fc.constantFrom('registry.example.com', 'localhost:5000'),
    hyperkube: fc.boolean(),
  },
  { requiredKeys: [] },
);

const resources = fc.record(
  {
    requests: fc.constantFrom({ cpu: '10m' }, { memory: '20Mi', cpu: '0.01' }),
    limits: fc.constantFrom({ memory: '128Mi' }, { memory: '0.125Gi', cpu: '100m' }),
  },
  { requiredKeys: [] },
);

/** `spec.auditLogging`: anything that Kubernetes would admit. */
export const auditLoggings: fc.Arbitrary<AuditLogging> = fc.record(
  {
    enabled: fc.boolean(),
    policyPreset: fc.constantFrom('', 'metadata', 'recommended', 'minimal'),
    sidecar: fc.record(
      {
        resources,
        extraEnvs: fc.uniqueArray(
          fc.record({
            name: fc.constantFrom('A', 'B', 'CLUSTER_ID'),
            value: fc.constantFrom('', '1', 'x y'),
          }),
          { selector: ({ name }) => name },
        ),
      },
      { requiredKeys: [] },
    ),
    webhookBackend: fc.constantFrom(WEBHOOK_BACKEND, { auditWebhookConfig: { name: 'other' } }),
  },
  { requiredKeys: [] },
) as fc.Arbitrary<AuditLogging>;

/** A change of a JSON value somewhere in it. */
export interface Mutation {
  readonly kind: 'delete' | 'replace' | 'insert' | 'swap' | 'duplicate' | 'move';
  /** Chooses the places: taken modulo what there is. */
  readonly at: number;
  readonly to: number;
  readonly value: JsonValue;
}

/** What hostile or careless people write into pod specs: flags, paths, names and parts that auditing hangs on. */
const STRINGS = [
  ...['--audit-policy-file', '--audit_policy_file', '--audit-log-path', '--audit-log-path=-', '--'],
  ...['--audit-policy-file=/dev/null', '--audit_policy_file=/tmp/x', '--audit-log-path=/tmp/audit.log'],
  ...[
    '--audit-policy-file=$(EVIL)',
    '$(EVIL)',
    '$(A)$(A)',
    '$$(EVIL)',
    '--$(EVIL)',
    '--audit-log-mode=batch',
  ],
  ...[
    '--audit-log-batch-buffer-size=1',
    '--audit-log-batch-buffer-size=0x10',
    '--audit-log-batch-buffer-size=0b1',
  ],
  ...['--audit-log-batch-buffer-size=010000', '--audit-log-batch-buffer-size', '--audit-log-mode', 'batch'],
  ...['--audit-log-batch-throttle-enable', '--audit-log-truncate-enabled', '--audit-log-truncate-enabled=T'],
  ...[
    '--audit-log-maxage=0',
    '--audit-log-maxbackup=00',
    '--audit-log-maxsize=0x0',
    '--audit-log-maxsize=8796093022208',
    '--audit-log-maxage=106752',
    '--audit-log-maxbackup=1000000000',
    '--audit-log-format=legacy',
  ],
  ...[
    '--audit-log-version=audit.k8s.io/v1beta1',
    '--allow-privileged',
    '--secure-port',
    '--profiling',
    '-v',
    '-v=2',
  ],
  ...[
    '--audit-log-batch-max-size=100000',
    '--audit-webhook-batch-buffer-size=0o7',
    '--audit-webhook-mode=batch',
  ],
  ...[
    '--audit-webhook-batch-throttle-qps=0x1p-2',
    '--audit-webhook-batch-throttle-qps=1',
    '---audit',
    '--=x',
    '-',
  ],
  ...[
    '',
    'audit-config',
    'audit-log',
    'audit-logs',
    'audit-logs-fluentbit',
    'audit-webhook-backend',
    'apiserver',
  ],
  ...[
    'policy.yaml',
    'fluent-bit.conf',
    'audit.log',
    'webhook.yaml',
    'other',
    '..',
    '.',
    './policy.yaml',
    'tokens',
  ],
  ...[
    '/etc/kubernetes/audit',
    '/etc/kubernetes/audit/',
    '/etc/kubernetes',
    '/etc/kubernetes/audit/policy.yaml',
  ],
  ...[
    '/var/log/kubernetes/audit',
    '/var/log/kubernetes/audit/audit.log',
    '/var/log',
    '/',
    '/dev/null',
    '/tmp',
  ],
  ...[
    '/etc/fluent-bit/',
    '/etc/fluent-bit',
    '/etc/fluent-bit/fluent-bit.conf',
    '-c',
    '-i',
    '-o',
    'null',
    'tail',
    '-q',
  ],
  ...[
    '/bin/sh',
    'kube-apiserver',
    'fluent-bit',
    'Always',
    'Never',
    'OnFailure',
    '1Ki',
    '1m',
    '60Mi',
    '\u{1f600}',
  ],
  ...[
    'docker.io/fluent/fluent-bit:4.0.0',
    'fluent/fluent-bit',
    'evil.example.com/fluent/fluent-bit',
    'busybox',
  ],
];

const PARTS: JsonValue[] = [
  { name: 'EVIL', valueFrom: { secretKeyRef: { name: 'tokens', key: 'x' } } },
  { name: 'A', value: '$(EVIL)' },
  { secretRef: { name: 'tokens' } },
  { name: 'audit-logs', image: 'busybox' },
  { name: 'audit-log', mountPath: '/etc/kubernetes/audit/policy.yaml' },
  { name: 'tokens', mountPath: '/etc/kubernetes/audit/policy.yaml', subPath: 'policy.yaml' },
  { name: 'audit-config', mountPath: '/etc/kubernetes/audit/', subPath: 'other' },
  { name: 'audit-log', mountPath: '/var/log/kubernetes/audit/', readOnly: true },
  { name: 'tokens', mountPath: '/etc/fluent-bit/fluent-bit.conf', subPath: 'x' },
  { name: 'audit-config', mountPath: '/var/log/kubernetes' },
  { name: 'tokens', mountPath: '/var/log/kubernetes/audit/audit.log', subPathExpr: '$(EVIL)' },
  { name: 'audit-log', hostPath: { path: '/tmp' } },
  { name: 'audit-log', persistentVolumeClaim: { claimName: 'x', readOnly: true } },
  { name: 'audit-config', secret: { secretName: 'tokens' } },
  {
    name: 'audit-config',
    configMap: { name: 'audit-config', items: [{ key: 'policy.yaml', path: 'policy.yaml' }] },
  },
  {
    name: 'audit-config',
    configMap: {
      name: 'audit-config',
      items: [
        { key: 'policy.yaml', path: 'policy.yaml' },
        { key: 'other', path: './policy.yaml' },
      ],
    },
  },
  {
    name: 'audit-config',
    projected: { sources: [{ configMap: { name: 'audit-config' } }, { configMap: { name: 'other' } }] },
  },
  {
    name: 'audit-config',
    projected: {
      sources: [
        { configMap: { name: 'audit-config' } },
        { downwardAPI: { items: [{ path: 'policy.yaml', fieldRef: { fieldPath: 'metadata.name' } }] } },
      ],
    },
  },
  { name: 'audit-logs-fluentbit', projected: { sources: [{ secret: { name: 'audit-logs-fluentbit' } }] } },
  { configMap: { name: 'other', items: [{ key: 'other', path: 'policy.yaml' }] } },
  { key: 'other', path: 'policy.yaml' },
  { key: 'policy.yaml', path: 'policy.yaml' },
];

export const mutations: fc.Arbitrary<Mutation> = fc.record({
  kind: fc.constantFrom('delete', 'replace', 'insert', 'insert', 'swap', 'duplicate', 'move'),
  at: fc.nat(),
  to: fc.nat(),
  value: fc.oneof(fc.constantFrom<JsonValue>(...STRINGS), fc.constantFrom<JsonValue>(...PARTS)),
});

/** The containers and volumes that auditing hangs on, so that mutations do not waste themselves on the others. */
const CONCERNED = new Set(['apiserver', 'audit-logs', 'audit-config', 'audit-log', 'audit-logs-fluentbit']);

interface Place {
  readonly parent: Record<string, JsonValue> | JsonValue[];
  readonly key: string | number;
}

function placesIn(spec: PodSpec): Place[] {
  const places: Place[] = [];
  const walk = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    for (const [key, item] of Object.entries(value)) {
      places.push({ parent: value as JsonValue[], key: Array.isArray(value) ? Number(key) : key });
      walk(item);
    }
  };
  const lists = [spec.containers, spec.initContainers, spec.volumes];
  for (const list of lists) {
    for (const [index, item] of (list ?? []).entries()) {
      if (!CONCERNED.has(item?.name)) continue;
      places.push({ parent: list as unknown as JsonValue[], key: index });
      walk(item);
    }
  }
  return places;
}

/** Whether a value may stand there: Kubernetes' own types are kept, as kube-apiserver would see to. */
function fits(place: Place, value: JsonValue): boolean {
  const old = Array.isArray(place.parent)
    ? (place.parent.find((item) => item !== null) ?? value)
    : place.parent[place.key];
  if (typeof old !== typeof value || Array.isArray(old) !== Array.isArray(value)) return false;
  if (typeof value !== 'object' || value === null || old === null) return true;
  const identity = ['mountPath', 'path', 'image', 'name'].find((key) => Object.hasOwn(old as object, key));
  return identity !== undefined && Object.hasOwn(value as object, identity);
}

/** Applies mutations; a name or a mount path twice, which kube-apiserver does not admit, stays once. */
export const mutate = (spec: PodSpec, changes: readonly Mutation[]): PodSpec =>
  withoutRepetitions(mutateFreely(spec, changes));

function withoutRepetitions(spec: PodSpec): PodSpec {
  const once = <T>(list: readonly T[], key: (item: T) => string): T[] =>
    [...new Map(list.toReversed().map((item) => [key(item), item])).values()].reverse();
  const isInit = new Set(spec.containers?.map(({ name }) => name));
  const mend = (container: Container): Container => ({
    ...container,
    ...(container.volumeMounts && {
      volumeMounts: once(container.volumeMounts, ({ mountPath }) => mountPath),
    }),
  });
  return {
    ...spec,
    ...(spec.containers && { containers: once(spec.containers, ({ name }) => name).map(mend) }),
    ...(spec.initContainers && {
      initContainers: once(spec.initContainers, ({ name }) => name)
        .filter(({ name }) => !isInit.has(name))
        .map(mend),
    }),
    ...(spec.volumes && { volumes: once(spec.volumes, ({ name }) => name) }),
  };
}

/** Applies mutations, one after the other; one that does not fit anywhere does nothing. */
export function mutateFreely(spec: PodSpec, changes: readonly Mutation[]): PodSpec {
  const copy = structuredClone(spec);
  for (const { kind, at, to, value } of changes) {
    const places = placesIn(copy);
    const place = places[at % places.length];
    const other = places[to % places.length];
    if (place === undefined || other === undefined) continue;
    const { parent, key } = place;
    if (kind === 'delete') {
      if (!Array.isArray(parent) && (key === 'name' || key === 'mountPath' || key === 'path')) continue;
      if (Array.isArray(parent)) parent.splice(Number(key), 1);
      else delete parent[key];
    } else if (kind === 'replace') {
      if (fits(place, value)) (parent as Record<string | number, JsonValue>)[key] = structuredClone(value);
    } else if (!Array.isArray(parent)) {
      if (kind === 'insert' && (key === 'command' || key === 'name') && typeof value === 'string')
        Object.assign(parent, { restartPolicy: value });
    } else if (kind === 'insert' || kind === 'duplicate') {
      const item = kind === 'insert' ? value : (parent[Number(key)] ?? value);
      if (fits(place, item)) parent.splice(to % (parent.length + 1), 0, structuredClone(item));
    } else if (kind === 'swap') {
      const index = to % parent.length;
      [parent[Number(key)], parent[index]] = [parent[index] as JsonValue, parent[Number(key)] as JsonValue];
    } else if (Array.isArray(other.parent) && fits(other, parent[Number(key)] as JsonValue)) {
      const [item] = parent.splice(Number(key), 1);
      other.parent.splice(Number(other.key), 0, item as JsonValue);
    }
  }
  return copy;
}
