/**
 * The catalogue of docs/threat-model.md as tests: every way to switch auditing off or to blind it that admission can see, and beside it, as long,
 * what must go through. One table of each; test/api/catalogue.test.ts plays them on a real kube-apiserver, with the webhook and with the
 * backstop alone.
 */
import type { ReasonCode } from '../../src/reasons.ts';
import type { KubectlResult } from '../support/controlplane.ts';
import { renderPolicyPreset } from '../support/kkp-objects.ts';

export interface SpecContainer {
  name: string;
  image?: string;
  command?: string[];
  args?: string[];
  env?: { name: string; value?: string; valueFrom?: unknown }[];
  volumeMounts?: { name: string; mountPath: string; [field: string]: unknown }[];
  [field: string]: unknown;
}
export interface Spec {
  containers: SpecContainer[];
  initContainers: SpecContainer[];
  volumes: { name: string; [source: string]: unknown }[];
  [field: string]: unknown;
}

/**
 * - editor: edits the Clusters of a project, as in KKP's dashboard
 * - insider: the same, and writes what is in the namespace of the cluster
 * - alice: writes everything on the seed, without the operators' verb
 * - operator: alice, with it
 * - replicasets: Kubernetes' controller
 */
export type Who = 'editor' | 'insider' | 'alice' | 'operator' | 'replicasets';

/** What a row needs of the test: the namespace is that of the enforced cluster `bank`. */
export interface Stage {
  kubectl(who: Who, args: readonly string[], input?: unknown): Promise<KubectlResult>;
  /** The object as it is stored. */
  get(resource: string, name: string, namespace?: string): Promise<Record<string, unknown>>;
  /** Writes as KKP would, to set a row's scene. */
  prepare(resource: string, name: string, change: (object: Stored) => void): Promise<void>;
}

// biome-ignore lint/suspicious/noExplicitAny: objects of any kind, changed in place by the rows
export type Stored = Record<string, any>;

export interface Row {
  readonly name: string;
  readonly run: (stage: Stage) => Promise<KubectlResult>;
}

export interface AttackRow extends Row {
  /** Codes that the message names; with several, all of them. */
  readonly codes: readonly ReasonCode[];
  /** CEL can tell, so the backstop refuses it as well. */
  readonly cel?: true;
  /** Why it is refused is another than that the datacenter enforces. */
  readonly because?: RegExp;
}

export interface FineRow extends Row {
  /** What kubectl prints besides. */
  readonly warns?: RegExp;
  /** The backstop alone does not have to let it through: it needs the webhook's repair. */
  readonly needsWebhook?: true;
}

export const NAMESPACE = 'cluster-bank';
export const OPT_OUT = 'kubermatic.k8c.io/skip-audit-logging-enforcement';
const UNTIL = 'audit.kubermatic.k8c.io/exempt-until';
const WHY = 'audit.kubermatic.k8c.io/exempt-reason';
export const LABEL = 'audit.kubermatic.k8c.io/enforced';
const POLICY = 'audit-config';
const SECRET = 'audit-logs-fluentbit';
const LOG = '/var/log/kubernetes/audit/audit.log';
/** Stands in a Secret; no message and no log line may have it. */
export const PASSWORD = 'hunter2-is-not-for-logs';

const named = <T extends { name: string }>(list: readonly T[], name: string): T => {
  const found = list.find((item) => item.name === name);
  if (found === undefined) throw new Error(`nothing is named ${name}`);
  return found;
};
const apiserver = (spec: Spec): SpecContainer => named(spec.containers, 'apiserver');
const sidecar = (spec: Spec): SpecContainer => named(spec.containers, 'audit-logs');
const mountOf = (container: SpecContainer, name: string) => named(container.volumeMounts ?? [], name);
const append =
  (...more: string[]) =>
  (spec: Spec): void =>
    void apiserver(spec).args?.push(...more);
const dropFlag = (spec: Spec, flag: string): string => {
  const { args = [] } = apiserver(spec);
  const [, value = ''] = args.splice(args.indexOf(flag), 2);
  return value;
};

// Clusters.

const patchCluster =
  (body: unknown, who: Who = 'editor', type = 'merge', name = 'bank') =>
  (stage: Stage): Promise<KubectlResult> =>
    stage.kubectl(who, ['patch', 'cluster', name, `--type=${type}`, '-p', JSON.stringify(body)]);
const annotate = (annotations: Record<string, string | null>, who: Who = 'editor', name = 'bank') =>
  patchCluster({ metadata: { annotations } }, who, 'merge', name);
const sidecarOf = (config: object, rest: object = {}) =>
  patchCluster({ spec: { auditLogging: { sidecar: { config, ...rest } } } });
const filter = (entries: object) => sidecarOf({ filters: [entries] });
const output = (entries: object) => sidecarOf({ outputs: [entries] });

/** A manifest of the Cluster as somebody keeps it in Git. */
const manifest = (stage: Stage, change: (cluster: Stored) => void): Promise<Stored> =>
  stage.get('clusters.kubermatic.k8c.io', 'bank').then((stored: Stored) => {
    const {
      managedFields: _m,
      uid: _u,
      resourceVersion: _r,
      generation: _g,
      creationTimestamp: _c,
      ...metadata
    } = stored.metadata;
    const cluster = { ...stored, metadata, status: undefined };
    change(cluster);
    return cluster;
  });
const applyCluster =
  (change: (cluster: Stored) => void, ...flags: string[]) =>
  async (stage: Stage): Promise<KubectlResult> =>
    stage.kubectl('editor', ['apply', ...flags, '-f', '-'], await manifest(stage, change));
const inHours = (hours: number): string => new Date(Date.now() + hours * 3_600_000).toISOString();
const disable = (cluster: Stored): void => {
  cluster.spec.auditLogging.enabled = false;
};

const CLUSTER_ATTACKS: readonly AttackRow[] = [
  {
    name: 'Cluster: enabled to false, merge patch',
    codes: ['CLUSTER_AUDIT_DISABLED'],
    cel: true,
    run: patchCluster({ spec: { auditLogging: { enabled: false } } }),
  },
  {
    name: 'Cluster: enabled removed, merge patch',
    codes: ['CLUSTER_AUDIT_DISABLED'],
    cel: true,
    run: patchCluster({ spec: { auditLogging: { enabled: null } } }),
  },
  {
    name: 'Cluster: block to null',
    codes: ['CLUSTER_AUDIT_REMOVED'],
    cel: true,
    run: patchCluster({ spec: { auditLogging: null } }),
  },
  {
    name: 'Cluster: block removed, JSON patch',
    codes: ['CLUSTER_AUDIT_REMOVED'],
    cel: true,
    run: patchCluster([{ op: 'remove', path: '/spec/auditLogging' }], 'editor', 'json'),
  },
  {
    name: 'Cluster: enabled to false, client-side apply',
    codes: ['CLUSTER_AUDIT_DISABLED'],
    cel: true,
    run: applyCluster(disable),
  },
  {
    name: 'Cluster: enabled to false, server-side apply',
    codes: ['CLUSTER_AUDIT_DISABLED'],
    cel: true,
    run: applyCluster(disable, '--server-side', '--force-conflicts'),
  },
  {
    name: 'Cluster: replaced by one without the block',
    codes: ['CLUSTER_AUDIT_REMOVED'],
    cel: true,
    run: async (stage) =>
      stage.kubectl(
        'editor',
        ['replace', '-f', '-'],
        await manifest(stage, (cluster) => void delete cluster.spec.auditLogging),
      ),
  },
  {
    name: 'Cluster: opt-out',
    codes: ['CLUSTER_OPT_OUT'],
    cel: true,
    run: (stage) => stage.kubectl('editor', ['annotate', 'cluster', 'bank', `${OPT_OUT}=true`]),
  },
  {
    name: 'Cluster: opt-out and disabled at once',
    cel: true,
    codes: ['CLUSTER_OPT_OUT', 'CLUSTER_AUDIT_DISABLED'],
    run: patchCluster({
      metadata: { annotations: { [OPT_OUT]: 'true' } },
      spec: { auditLogging: { enabled: false } },
    }),
  },
  {
    name: 'Cluster: a whole exemption by nobody who may',
    codes: ['CLUSTER_OPT_OUT'],
    cel: true,
    run: annotate({ [OPT_OUT]: 'true', [UNTIL]: inHours(1), [WHY]: 'because' }),
  },
  {
    name: 'Cluster: exemption without a reason, by an operator',
    codes: ['EXEMPTION_INVALID'],
    because: /needs a reason/,
    run: annotate({ [OPT_OUT]: 'true', [UNTIL]: inHours(1) }, 'operator'),
  },
  {
    name: 'Cluster: exemption without an end, by an operator',
    codes: ['EXEMPTION_INVALID'],
    because: /needs an end/,
    run: annotate({ [OPT_OUT]: 'true', [WHY]: 'because' }, 'operator'),
  },
  {
    name: 'Cluster: exemption for years, by an operator',
    codes: ['EXEMPTION_INVALID'],
    because: /more than 7 days/,
    run: annotate({ [OPT_OUT]: 'true', [UNTIL]: '2099-01-01T00:00:00Z', [WHY]: 'because' }, 'operator'),
  },
  {
    name: 'Cluster: exemption until no time at all, by an operator',
    codes: ['EXEMPTION_INVALID'],
    because: /is no time/,
    run: annotate({ [OPT_OUT]: 'true', [UNTIL]: 'tomorrow', [WHY]: 'because' }, 'operator'),
  },
  {
    name: 'Cluster: exemption until yesterday, by an operator',
    codes: ['EXEMPTION_INVALID'],
    because: /is past/,
    run: annotate({ [OPT_OUT]: 'true', [UNTIL]: inHours(-24), [WHY]: 'because' }, 'operator'),
  },
  {
    name: 'Cluster: opt-out before anything enforces',
    codes: ['CLUSTER_OPT_OUT'],
    because: /from the moment that datacenter "free" enforces/,
    run: annotate({ [OPT_OUT]: 'true' }, 'editor', 'shop'),
  },
  {
    name: 'Cluster: paused and disabled',
    codes: ['CLUSTER_AUDIT_DISABLED'],
    cel: true,
    run: patchCluster({ spec: { pause: true, auditLogging: { enabled: false } } }),
  },
  {
    name: 'Cluster: moved to another datacenter',
    codes: ['CLUSTER_DATACENTER_CHANGED'],
    run: patchCluster({ spec: { cloud: { dc: 'free' } } }),
  },
  {
    name: 'Cluster: moved to no datacenter at all',
    codes: ['CLUSTER_DATACENTER_CHANGED'],
    run: patchCluster({ spec: { cloud: { dc: 'nowhere' } } }),
  },
  {
    name: 'Cluster: moved and disabled',
    codes: ['CLUSTER_DATACENTER_CHANGED', 'CLUSTER_AUDIT_DISABLED'],
    cel: true,
    run: patchCluster({ spec: { cloud: { dc: 'free' }, auditLogging: { enabled: false } } }),
  },
  {
    name: 'Cluster: preset that logs less',
    codes: ['CLUSTER_PRESET_WEAKENED'],
    run: patchCluster({ spec: { auditLogging: { policyPreset: 'minimal' } } }),
  },
  {
    name: 'Cluster: preset without bodies',
    codes: ['CLUSTER_PRESET_WEAKENED'],
    run: patchCluster({ spec: { auditLogging: { policyPreset: 'metadata' } } }),
  },
  {
    name: 'Cluster: preset minimal where there is none',
    codes: ['CLUSTER_PRESET_WEAKENED'],
    run: async (stage) => {
      await stage.prepare('clusters.kubermatic.k8c.io', 'bank', ({ spec }) => {
        spec.auditLogging.policyPreset = '';
      });
      return patchCluster({ spec: { auditLogging: { policyPreset: 'minimal' } } })(stage);
    },
  },
  {
    name: 'Cluster: filter grep',
    codes: ['FLUENTBIT_FILTER'],
    run: filter({ Name: 'grep', Match: '*', Exclude: 'log secrets' }),
  },
  {
    name: 'Cluster: filter lua',
    codes: ['FLUENTBIT_FILTER'],
    run: filter({ Name: 'LUA', Match: '*', call: 'drop', code: 'function drop() return -1 end' }),
  },
  {
    name: 'Cluster: filter takes the record away',
    codes: ['FLUENTBIT_FILTER'],
    run: filter({ Name: 'record_modifier', Match: '*', Remove_key: 'log' }),
  },
  {
    name: 'Cluster: filters that rename the record, and then take it away',
    codes: ['FLUENTBIT_FILTER'],
    run: sidecarOf({
      filters: [
        { Name: 'modify', Match: '*', Rename: 'log evil' },
        { Name: 'modify', Match: '*', Remove: 'evil' },
      ],
    }),
  },
  {
    name: 'Cluster: filter for nothing by its pattern, and for all by its expression',
    codes: ['FLUENTBIT_FILTER'],
    run: filter({ Name: 'grep', Match: 'none', Match_Regex: '.*', Exclude: 'log .' }),
  },
  {
    name: 'Cluster: output null under one name, stdout under another',
    codes: ['FLUENTBIT_OUTPUT'],
    run: output({ Name: 'null', name: 'stdout', Match: '*' }),
  },
  {
    name: 'Cluster: output for what KKP writes with an entity',
    codes: ['FLUENTBIT_OUTPUT'],
    run: output({ Name: 'stdout', Match_Regex: '.+' }),
  },
  {
    name: 'Cluster: a flush once a day',
    codes: ['FLUENTBIT_OUTPUT'],
    run: sidecarOf({ service: { Flush: '100000s' } }),
  },
  {
    name: 'Cluster: filter of an unknown kind',
    codes: ['FLUENTBIT_FILTER'],
    run: filter({ Name: 'mystery', Match: '*' }),
  },
  { name: 'Cluster: output null', codes: ['FLUENTBIT_OUTPUT'], run: output({ Name: 'null', Match: '*' }) },
  {
    name: 'Cluster: output that leads nowhere',
    codes: ['FLUENTBIT_OUTPUT'],
    run: output({ Name: 'http', Match: '*' }),
  },
  {
    name: 'Cluster: output back into the pod',
    codes: ['FLUENTBIT_OUTPUT'],
    run: output({ Name: 'loki', Match: '*', Host: '127.0.0.1' }),
  },
  {
    name: 'Cluster: output for nothing',
    codes: ['FLUENTBIT_OUTPUT'],
    run: output({ Name: 'stdout', Match: 'nothing.*' }),
  },
  {
    name: 'Cluster: output into a file',
    codes: ['FLUENTBIT_OUTPUT'],
    run: output({ Name: 'file', Match: '*', Path: '/dev', File: 'null' }),
  },
  {
    name: 'Cluster: a second section inside a value',
    codes: ['FLUENTBIT_UNREADABLE'],
    run: filter({ Name: 'nest', Match: '*\n[OUTPUT]\n    Name null' }),
  },
  {
    name: 'Cluster: tiny limits for the sidecar',
    codes: ['SIDECAR_STARVED'],
    run: sidecarOf({}, { resources: { limits: { memory: '1Mi' } } }),
  },
  {
    name: 'Cluster: another library for the sidecar',
    codes: ['SIDECAR_ENVIRONMENT'],
    run: sidecarOf({}, { extraEnvs: [{ name: 'LD_PRELOAD', value: '/x.so' }] }),
  },
  {
    name: 'Cluster: another program for the sidecar',
    codes: ['SIDECAR_ENVIRONMENT'],
    run: sidecarOf({}, { extraEnvs: [{ name: 'LUA_INIT', value: '@/x.lua' }] }),
  },
  {
    name: 'Cluster: the label off',
    codes: ['ENFORCED_LABEL_REMOVED'],
    cel: true,
    run: (stage) => stage.kubectl('editor', ['label', 'cluster', 'bank', `${LABEL}-`]),
  },
  {
    name: 'Cluster: the label to false',
    codes: ['ENFORCED_LABEL_REMOVED'],
    cel: true,
    run: (stage) => stage.kubectl('editor', ['label', '--overwrite', 'cluster', 'bank', `${LABEL}=false`]),
  },
  {
    name: 'Cluster: another namespace in its status',
    codes: ['CLUSTER_NAMESPACE_CHANGED'],
    run: (stage) =>
      stage.kubectl('alice', [
        'patch',
        'cluster',
        'bank',
        '--subresource=status',
        '--type=merge',
        '-p',
        '{"status":{"namespaceName":"cluster-elsewhere"}}',
      ]),
  },
  {
    name: 'Namespace: the label off',
    codes: ['ENFORCED_LABEL_REMOVED'],
    cel: true,
    run: (stage) => stage.kubectl('alice', ['label', 'namespace', NAMESPACE, `${LABEL}-`]),
  },
  {
    name: 'Namespace: the label off, with its status',
    codes: ['ENFORCED_LABEL_REMOVED'],
    cel: true,
    run: (stage) =>
      stage.kubectl('alice', [
        'patch',
        'namespace',
        NAMESPACE,
        '--subresource=status',
        '--type=merge',
        '-p',
        JSON.stringify({ metadata: { labels: { [LABEL]: null } } }),
      ]),
  },
  {
    name: 'Namespace: the label off, as what ends a deletion',
    codes: ['ENFORCED_LABEL_REMOVED'],
    cel: true,
    run: async (stage) => {
      const stored: Stored = await stage.get('namespaces', NAMESPACE);
      delete stored.metadata.labels[LABEL];
      const path = `/api/v1/namespaces/${NAMESPACE}/finalize`;
      return stage.kubectl('alice', ['replace', '--raw', path, '-f', '-'], stored);
    },
  },
];

// Deployment.

const replaceDeployment =
  (change: (spec: Spec, deployment: Stored) => void) =>
  async (stage: Stage): Promise<KubectlResult> => {
    const deployment: Stored = await stage.get('deployments.apps', 'apiserver', NAMESPACE);
    change(deployment.spec.template.spec, deployment);
    return stage.kubectl('insider', ['replace', '-f', '-'], deployment);
  };

const deployment = (
  name: string,
  codes: ReasonCode | readonly ReasonCode[],
  change: (spec: Spec, deployment: Stored) => void,
  cel?: true,
): AttackRow => ({
  name: `Deployment: ${name}`,
  codes: [codes].flat() as ReasonCode[],
  run: replaceDeployment(change),
  ...(cel && { cel }),
});

const DEPLOYMENT_ATTACKS: readonly AttackRow[] = [
  deployment(
    'sidecar removed',
    'SIDECAR_MISSING',
    (spec) => {
      spec.containers = spec.containers.filter(({ name }) => name !== 'audit-logs');
    },
    true,
  ),
  {
    name: 'Deployment: sidecar removed, JSON patch',
    codes: ['SIDECAR_MISSING'],
    cel: true,
    run: (stage) =>
      stage.kubectl('insider', [
        '-n',
        NAMESPACE,
        'patch',
        'deployment',
        'apiserver',
        '--type=strategic',
        '-p',
        '{"spec":{"template":{"spec":{"containers":[{"name":"audit-logs","$patch":"delete"}]}}}}',
      ]),
  },
  deployment(
    'sidecar renamed',
    'SIDECAR_MISSING',
    (spec) => {
      sidecar(spec).name = 'audit-log';
    },
    true,
  ),
  {
    name: 'Deployment: sidecar of another image, set image',
    codes: ['SIDECAR_IMAGE'],
    cel: true,
    run: (stage) =>
      stage.kubectl('insider', [
        '-n',
        NAMESPACE,
        'set',
        'image',
        'deployment/apiserver',
        'audit-logs=docker.io/library/busybox:1',
      ]),
  },
  deployment(
    'sidecar of a look-alike registry',
    'SIDECAR_IMAGE',
    (spec) => {
      sidecar(spec).image = 'docker.io.evil.example/fluent/fluent-bit:4.0.0';
    },
    true,
  ),
  deployment(
    'sidecar sleeps',
    'SIDECAR_COMMAND',
    (spec) => {
      sidecar(spec).command = ['sleep', 'infinity'];
    },
    true,
  ),
  deployment(
    'sidecar with another configuration',
    'SIDECAR_CONFIG_ELSEWHERE',
    (spec) => {
      sidecar(spec).args = ['-c', '/tmp/other.conf'];
    },
    true,
  ),
  deployment(
    'sidecar with an option that filters',
    'SIDECAR_COMMAND',
    (spec) => void sidecar(spec).args?.push('-F', 'grep'),
    true,
  ),
  deployment(
    'sidecar without the log',
    'SIDECAR_LOG_UNREADABLE',
    (spec) => {
      sidecar(spec).volumeMounts = [mountOf(sidecar(spec), SECRET)];
    },
    true,
  ),
  deployment(
    'sidecar that may not write its position',
    'SIDECAR_LOG_UNREADABLE',
    (spec) => {
      mountOf(sidecar(spec), 'audit-log').readOnly = true;
    },
    true,
  ),
  deployment(
    'sidecar as an init container that ends',
    'SIDECAR_NOT_RUNNING',
    (spec) => {
      spec.initContainers.push(sidecar(spec));
      spec.containers = spec.containers.filter(({ name }) => name !== 'audit-logs');
    },
    true,
  ),
  deployment(
    'sidecar with tiny limits',
    'SIDECAR_STARVED',
    (spec) => {
      sidecar(spec).resources = { limits: { cpu: '1m' } };
    },
    true,
  ),
  deployment(
    'sidecar with another library',
    'SIDECAR_ENVIRONMENT',
    (spec) => void sidecar(spec).env?.push({ name: 'LD_PRELOAD', value: '/x.so' }),
    true,
  ),
  deployment(
    'sidecar that ends itself',
    'SIDECAR_HANDLERS',
    (spec) => {
      sidecar(spec).lifecycle = {
        postStart: { exec: { command: ['/fluent-bit/bin/fluent-bit', '--version'] } },
      };
    },
    true,
  ),
  deployment(
    'sidecar with a probe that runs a command',
    'SIDECAR_HANDLERS',
    (spec) => {
      sidecar(spec).livenessProbe = { exec: { command: ['false'] } };
    },
    true,
  ),
  deployment(
    'sidecar as nobody',
    'SIDECAR_UNPRIVILEGED',
    (spec) => {
      sidecar(spec).securityContext = { runAsUser: 65534 };
    },
    true,
  ),
  deployment(
    'program of the sidecar covered',
    'FILE_COVERED',
    (spec) => void sidecar(spec).volumeMounts?.push({ name: 'ca-bundle', mountPath: '/fluent-bit/bin' }),
    true,
  ),
  deployment(
    'log covered by the termination message',
    'FILE_COVERED',
    (spec) => {
      sidecar(spec).terminationMessagePath = LOG;
    },
    true,
  ),
  deployment(
    'program of the apiserver covered',
    'FILE_COVERED',
    (spec) => void apiserver(spec).volumeMounts?.push({ name: 'ca-bundle', mountPath: '/usr/local/bin' }),
    true,
  ),
  deployment(
    'policy flag removed',
    'POLICY_FLAG_MISSING',
    (spec) => void dropFlag(spec, '--audit-policy-file'),
    true,
  ),
  deployment('policy flag emptied behind', 'POLICY_FLAG_MISSING', append('--audit-policy-file='), true),
  deployment(
    'policy flag again with another value',
    'POLICY_FILE_ELSEWHERE',
    append('--audit-policy-file', '/etc/kubernetes/tls/none.yaml'),
    true,
  ),
  deployment(
    'policy flag again, written with _',
    'POLICY_FILE_ELSEWHERE',
    append('--audit_policy_file=/dev/null'),
    true,
  ),
  deployment(
    'policy flag behind --',
    'POLICY_FLAG_MISSING',
    (spec) =>
      void apiserver(spec).args?.push('--', '--audit-policy-file', dropFlag(spec, '--audit-policy-file')),
    true,
  ),
  deployment(
    'policy flag in command, another value',
    'POLICY_FILE_ELSEWHERE',
    (spec) => {
      dropFlag(spec, '--audit-policy-file');
      apiserver(spec).command?.push('--audit-policy-file=/dev/null');
    },
    true,
  ),
  deployment(
    'policy flag as the value of another',
    'POLICY_FLAG_MISSING',
    (spec) => {
      const value = dropFlag(spec, '--audit-policy-file');
      apiserver(spec).args?.push('--external-hostname', `--audit-policy-file=${value}`);
    },
    true,
  ),
  deployment(
    'policy flag from a Secret',
    'POLICY_FILE_ELSEWHERE',
    (spec) => {
      apiserver(spec).env?.push({ name: 'P', valueFrom: { secretKeyRef: { name: 'tokens', key: 'a-key' } } });
      append('--audit-policy-file=$(P)')(spec);
    },
    true,
  ),
  deployment('an argument that is no flag', 'ARGUMENTS_STRAY', append('stray')),
  deployment('webhook flag removed', 'WEBHOOK_FLAG_MISSING', (spec) => {
    dropFlag(spec, '--audit-webhook-config-file');
  }),
  deployment('webhook of somebody else', 'WEBHOOK_FILE_ELSEWHERE', (spec) => {
    named(spec.volumes, 'audit-webhook-backend').secret = { secretName: 'tokens' };
  }),
  deployment(
    'any flag from a Secret',
    'ARGUMENTS_UNREADABLE',
    (spec) => {
      apiserver(spec).env?.push({ name: 'P', valueFrom: { secretKeyRef: { name: 'tokens', key: 'a-key' } } });
      append('$(P)')(spec);
    },
    true,
  ),
  deployment(
    'policy covered by a subPath',
    'POLICY_FILE_ELSEWHERE',
    (spec) =>
      void apiserver(spec).volumeMounts?.push({
        name: 'ca-bundle',
        mountPath: '/etc/kubernetes/audit/policy.yaml',
        subPath: 'a-key',
      }),
    true,
  ),
  deployment(
    'policy covered by a mount above',
    'POLICY_FILE_ELSEWHERE',
    (spec) => {
      mountOf(apiserver(spec), 'audit-config').name = 'ca-bundle';
    },
    true,
  ),
  deployment(
    'policy from another ConfigMap',
    'POLICY_FILE_ELSEWHERE',
    (spec) => {
      named(spec.volumes, 'audit-config').configMap = { name: 'ca-bundle' };
    },
    true,
  ),
  deployment(
    'policy from an empty volume',
    'POLICY_FILE_ELSEWHERE',
    (spec) => {
      const volume = named(spec.volumes, 'audit-config');
      delete volume.configMap;
      volume.emptyDir = {};
    },
    true,
  ),
  deployment(
    'policy from another key',
    'POLICY_FILE_ELSEWHERE',
    (spec) => {
      named(spec.volumes, 'audit-config').configMap = {
        name: 'audit-config',
        items: [{ key: 'none.yaml', path: 'policy.yaml' }],
      };
    },
    true,
  ),
  deployment('log to standard output', 'LOG_PATH_STDOUT', append('--audit-log-path=-'), true),
  deployment('log elsewhere', 'LOG_PATH_UNWRITABLE', append('--audit-log-path', '/tmp/audit.log'), true),
  deployment('log to /dev/null', 'LOG_PATH_UNWRITABLE', append('--audit-log-path', '/dev/null'), true),
  deployment('log flag removed', 'LOG_PATH_MISSING', (spec) => void dropFlag(spec, '--audit-log-path'), true),
  deployment(
    'log beside what the sidecar reads',
    'SIDECAR_LOG_UNREADABLE',
    append('--audit-log-path', '/var/log/kubernetes/audit/other.log'),
    true,
  ),
  deployment('log in no JSON', 'LOG_FORMAT', append('--audit-log-format=legacy'), true),
  deployment(
    'log that may not be written',
    'LOG_PATH_UNWRITABLE',
    (spec) => {
      mountOf(apiserver(spec), 'audit-log').readOnly = true;
    },
    true,
  ),
  deployment(
    'log on a device of the node',
    'LOG_VOLUME_DEVICE',
    (spec) => {
      const volume = named(spec.volumes, 'audit-log');
      delete volume.emptyDir;
      volume.hostPath = { path: '/dev' };
    },
    true,
  ),
  deployment(
    'log on a tiny volume',
    'LOG_VOLUME_TOO_SMALL',
    (spec) => {
      named(spec.volumes, 'audit-log').emptyDir = { sizeLimit: '1Ki' };
    },
    true,
  ),
  deployment(
    'log that another container may empty',
    'LOG_SHARED',
    (spec) =>
      void spec.containers.push({
        name: 'helper',
        image: 'busybox',
        volumeMounts: [{ name: 'audit-log', mountPath: '/x' }],
      }),
    true,
  ),
  deployment(
    'batches in a tiny buffer',
    'LOG_WEAKENED',
    append('--audit-log-mode=batch', '--audit-log-batch-buffer-size=1'),
    true,
  ),
  deployment(
    'batches under a throttle',
    'LOG_WEAKENED',
    append('--audit-log-mode=batch', '--audit-log-batch-throttle-enable'),
    true,
  ),
  deployment('truncation', 'LOG_WEAKENED', append('--audit-log-truncate-enabled'), true),
  deployment(
    'no retention',
    'LOG_WEAKENED',
    append('--audit-log-maxage=0', '--audit-log-maxbackup=0', '--audit-log-maxsize=0'),
    true,
  ),
  deployment(
    'files of a size beyond 64 bits',
    'LOG_WEAKENED',
    append('--audit-log-maxsize=8796093022208'),
    true,
  ),
  deployment(
    'a shell in front',
    'APISERVER_COMMAND_UNKNOWN',
    (spec) => {
      const { command = [], args = [] } = apiserver(spec);
      apiserver(spec).command = ['/bin/sh', '-c', [...command, ...args].join(' ')];
      apiserver(spec).args = [];
    },
    true,
  ),
  deployment(
    'apiserver renamed',
    'APISERVER_CONTAINER_MISSING',
    (spec) => {
      apiserver(spec).name = 'api';
    },
    true,
  ),
  deployment(
    'a second kube-apiserver',
    'APISERVER_REPEATED',
    (spec) => void spec.containers.push({ ...apiserver(spec), name: 'api', args: ['--secure-port=7443'] }),
    true,
  ),
  deployment(
    'an apiserver from elsewhere',
    'APISERVER_IMAGE_REPLACED',
    (spec) => {
      apiserver(spec).image = 'evil.example/kube-apiserver:v1.36.2';
    },
    true,
  ),
  deployment(
    'an image of another name',
    'APISERVER_IMAGE_UNKNOWN',
    (spec) => {
      apiserver(spec).image = 'docker.io/mallory/thing:v1.36.2';
    },
    true,
  ),
  deployment(
    'an apiserver from a PATH of its own',
    'APISERVER_COMMAND_UNKNOWN',
    (spec) => {
      apiserver(spec).command = ['kube-apiserver'];
      apiserver(spec).env?.push({ name: 'PATH', value: '/etc/kubernetes/tokens' });
    },
    true,
  ),
  deployment(
    'a second kube-apiserver as a probe',
    'APISERVER_HANDLERS',
    (spec) => {
      const command = ['/usr/local/bin/kube-apiserver', '--secure-port=7443'];
      apiserver(spec).livenessProbe = { exec: { command }, timeoutSeconds: 86400 };
    },
    true,
  ),
  deployment(
    'a sidecar that is kept waiting',
    'SIDECAR_KEPT_WAITING',
    (spec) => {
      apiserver(spec).lifecycle = { postStart: { httpGet: { port: 6443, path: '/' } } };
    },
    true,
  ),
  deployment(
    'processes shared',
    'PROCESSES_SHARED',
    (spec) => {
      spec.shareProcessNamespace = true;
    },
    true,
  ),
  deployment(
    'everything at once',
    ['POLICY_FLAG_MISSING', 'LOG_PATH_STDOUT', 'SIDECAR_MISSING'],
    (spec) => {
      dropFlag(spec, '--audit-policy-file');
      append('--audit-log-path=-')(spec);
      spec.containers = spec.containers.filter(({ name }) => name !== 'audit-logs');
    },
    true,
  ),
];

// Pods.

/** The pod that a ReplicaSet would make of the Deployment, changed. */
export async function renderPod(
  stage: Stage,
  change: (spec: Spec) => void,
  metadata: object = {},
): Promise<Stored> {
  const { spec }: Stored = await stage.get('deployments.apps', 'apiserver', NAMESPACE);
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'made',
      namespace: NAMESPACE,
      labels: { app: 'apiserver', cluster: 'bank' },
      ...metadata,
    },
    spec: spec.template.spec,
  };
  change(pod.spec);
  return pod;
}

const pod = (
  name: string,
  codes: ReasonCode | readonly ReasonCode[],
  change: (spec: Spec) => void,
  options: { readonly labels?: Record<string, string>; readonly who?: Who; readonly cel?: true } = {},
): AttackRow => ({
  name: `Pod: ${name}`,
  codes: [codes].flat() as ReasonCode[],
  ...(options.cel && { cel: options.cel }),
  run: async (stage) => {
    const made = await renderPod(stage, change, options.labels && { labels: options.labels });
    return stage.kubectl(options.who ?? 'insider', ['create', '-f', '-'], made);
  },
});

/** Starts kube-apiserver without a trace of auditing. */
const strip = (spec: Spec): void => {
  spec.containers = [{ ...apiserver(spec), args: ['--secure-port=6443'] }];
};
const UNLABELLED = { team: 'a' };
/** A pod of the apiserver that runs: what the rows below change. */
const RUNNING = 'apiserver-running';
const changeRunning = (change: (pod: Stored) => void) => async (stage: Stage) => {
  const running: Stored = await stage.get('pods', RUNNING, NAMESPACE);
  change(running);
  return stage.kubectl('insider', ['replace', '-f', '-'], running);
};

const patchPodPart =
  (name: string, subresource: string, body: object) =>
  (stage: Stage): Promise<KubectlResult> =>
    stage.kubectl('insider', [
      '-n',
      NAMESPACE,
      'patch',
      'pod',
      name,
      `--subresource=${subresource}`,
      '-p',
      JSON.stringify(body),
    ]);

const POD_ATTACKS: readonly AttackRow[] = [
  pod(
    'by hand, with the labels, behind a shell',
    'APISERVER_COMMAND_UNKNOWN',
    (spec) => {
      apiserver(spec).command = ['sh', '-c', 'exec kube-apiserver --secure-port=6443'];
      apiserver(spec).args = [];
    },
    { cel: true },
  ),
  pod(
    'of a ReplicaSet, behind a shell',
    'APISERVER_COMMAND_UNKNOWN',
    (spec) => {
      apiserver(spec).command = ['sh'];
    },
    { who: 'replicasets', cel: true },
  ),
  pod(
    'of a ReplicaSet, with a second kube-apiserver',
    'APISERVER_REPEATED',
    (spec) => void spec.containers.push({ ...apiserver(spec), name: 'api' }),
    { cel: true, who: 'replicasets' },
  ),
  pod('without the labels, by its command', ['POLICY_FLAG_MISSING', 'SIDECAR_MISSING'], strip, {
    labels: UNLABELLED,
    cel: true,
  }),
  pod('without the labels, of a ReplicaSet', ['POLICY_FLAG_MISSING', 'SIDECAR_MISSING'], strip, {
    labels: UNLABELLED,
    who: 'replicasets',
    cel: true,
  }),
  pod(
    'without the labels, by its image',
    'APISERVER_CONTAINER_MISSING',
    (spec) => {
      spec.containers = [{ name: 'x', image: 'registry.k8s.io/kube-apiserver:v1.36.2' }];
    },
    { labels: UNLABELLED, cel: true },
  ),
  pod(
    'without the labels, by a script',
    'APISERVER_CONTAINER_MISSING',
    (spec) => {
      spec.containers = [
        {
          name: 'x',
          image: 'example.com/tools:1',
          command: ['sh', '-c', 'cd /; exec /bin/kube-apiserver --secure-port=6443'],
        },
      ];
    },
    { labels: UNLABELLED, cel: true },
  ),
  pod(
    'without the labels, by the Secrets of an apiserver',
    'APISERVER_CONTAINER_MISSING',
    (spec) => {
      spec.containers = [{ name: 'x', image: 'example.com/tools:1', command: ['/api'] }];
    },
    { labels: UNLABELLED, cel: true },
  ),
  {
    name: 'Pod: becomes an apiserver by a label',
    cel: true,
    codes: ['APISERVER_CONTAINER_MISSING'],
    run: (stage) => stage.kubectl('insider', ['-n', NAMESPACE, 'label', 'pod', 'harmless', 'app=apiserver']),
  },
  {
    name: 'Pod: becomes an apiserver by a label of its status',
    cel: true,
    codes: ['APISERVER_CONTAINER_MISSING'],
    run: patchPodPart('harmless', 'status', { metadata: { labels: { app: 'apiserver' } } }),
  },
  {
    name: 'Pod: becomes an apiserver by a label of its binding',
    cel: true,
    codes: ['APISERVER_CONTAINER_MISSING'],
    run: (stage) =>
      stage.kubectl(
        'insider',
        ['create', '--raw', `/api/v1/namespaces/${NAMESPACE}/pods/harmless/binding`, '-f', '-'],
        {
          apiVersion: 'v1',
          kind: 'Binding',
          metadata: { name: 'harmless', labels: { app: 'apiserver' } },
          target: { kind: 'Node', name: 'somewhere' },
        },
      ),
  },
  {
    name: 'Pod: a running one gets another sidecar',
    cel: true,
    codes: ['SIDECAR_IMAGE'],
    run: (stage) =>
      stage.kubectl('insider', [
        '-n',
        NAMESPACE,
        'set',
        'image',
        `pod/${RUNNING}`,
        'audit-logs=docker.io/library/busybox:1',
      ]),
  },
  {
    name: 'Pod: a running one gets another apiserver',
    cel: true,
    codes: ['APISERVER_IMAGE_REPLACED'],
    run: changeRunning(({ spec }) => {
      apiserver(spec).image = 'evil.example/kube-apiserver:v1.36.2';
    }),
  },
  {
    name: 'Pod: a running one gets another sidecar and loses its label',
    cel: true,
    codes: ['SIDECAR_IMAGE'],
    run: changeRunning(({ metadata, spec }) => {
      metadata.labels = UNLABELLED;
      sidecar(spec).image = 'busybox';
    }),
  },
  {
    name: 'Pod: kubectl debug',
    cel: true,
    codes: ['EPHEMERAL_CONTAINER'],
    run: (stage) =>
      stage.kubectl('insider', [
        '-n',
        NAMESPACE,
        'debug',
        RUNNING,
        '--image=busybox',
        '--target=audit-logs',
        '--profile=general',
        '--attach=false',
      ]),
  },
  {
    name: 'Pod: resized to nothing',
    cel: true,
    codes: ['SIDECAR_STARVED'],
    run: patchPodPart(RUNNING, 'resize', {
      spec: {
        containers: [{ name: 'audit-logs', resources: { requests: { cpu: '1m' }, limits: { cpu: '1m' } } }],
      },
    }),
  },
];

// ConfigMap and Secret.

const policy = (...rules: object[]): string =>
  JSON.stringify({ apiVersion: 'audit.k8s.io/v1', kind: 'Policy', rules }, undefined, 2);
const patchConfigMap =
  (body: object, namespace = NAMESPACE) =>
  (stage: Stage): Promise<KubectlResult> =>
    stage.kubectl('insider', [
      '-n',
      namespace,
      'patch',
      'configmap',
      POLICY,
      '--type=merge',
      '-p',
      JSON.stringify(body),
    ]);
const writePolicy = (text: string, namespace?: string) =>
  patchConfigMap({ data: { 'policy.yaml': text } }, namespace);
const METADATA = { level: 'Metadata' };
/** kubectl itself deletes one by one. */
const deleteCollection =
  (resource: string, name: string) =>
  (stage: Stage): Promise<KubectlResult> =>
    stage.kubectl('insider', [
      'delete',
      '--raw',
      `/api/v1/namespaces/${NAMESPACE}/${resource}?fieldSelector=metadata.name%3D${name}`,
    ]);
const UNSTARTABLE = /kube-apiserver would not start/;

const CONFIGMAP_ATTACKS: readonly AttackRow[] = [
  {
    name: 'ConfigMap: deleted',
    codes: ['POLICY_DELETED'],
    cel: true,
    run: (stage) => stage.kubectl('insider', ['-n', NAMESPACE, 'delete', 'configmap', POLICY]),
  },
  {
    name: 'ConfigMap: deleted as a collection',
    codes: ['POLICY_DELETED'],
    cel: true,
    run: deleteCollection('configmaps', POLICY),
  },
  {
    name: 'ConfigMap: key renamed',
    codes: ['POLICY_KEY_MISSING'],
    cel: true,
    run: patchConfigMap({ data: { 'policy.yaml': null, 'policy.yml': policy(METADATA) } }),
  },
  {
    name: 'ConfigMap: data emptied',
    codes: ['POLICY_KEY_MISSING'],
    cel: true,
    run: patchConfigMap({ data: null }),
  },
  { name: 'ConfigMap: policy emptied', codes: ['POLICY_KEY_MISSING'], cel: true, run: writePolicy(' \n') },
  {
    name: 'ConfigMap: invalid YAML',
    codes: ['POLICY_INVALID'],
    because: UNSTARTABLE,
    run: writePolicy('apiVersion: audit.k8s.io/v1\n kind: Policy\n'),
  },
  {
    name: 'ConfigMap: invalid policy',
    codes: ['POLICY_INVALID'],
    because: /level.*level|rules\[0\].*rules\[1\]/s,
    run: writePolicy(policy({ level: 'Loud' }, { level: 'Metadata', verbs: [''], omitStages: ['Never'] })),
  },
  {
    name: 'ConfigMap: no rules',
    codes: ['POLICY_INVALID'],
    because: UNSTARTABLE,
    run: writePolicy(policy()),
  },
  {
    name: 'ConfigMap: of another version',
    codes: ['POLICY_INVALID'],
    because: UNSTARTABLE,
    run: writePolicy(policy(METADATA).replace('/v1', '/v1beta1')),
  },
  {
    name: 'ConfigMap: invalid policy where nothing is enforced',
    codes: ['POLICY_INVALID'],
    because: UNSTARTABLE,
    run: writePolicy('rules: []', 'cluster-shop'),
  },
  {
    name: 'ConfigMap: None first',
    codes: ['POLICY_LOGS_LESS'],
    run: writePolicy(policy({ level: 'None' }, METADATA)),
  },
  {
    name: 'ConfigMap: None for one user',
    codes: ['POLICY_LOGS_LESS'],
    run: writePolicy(policy({ level: 'None', users: ['mallory'] }, METADATA)),
  },
  {
    name: 'ConfigMap: None for one user in one namespace',
    codes: ['POLICY_LOGS_LESS'],
    run: writePolicy(policy({ level: 'None', users: ['mallory'], namespaces: ['payments'] }, METADATA)),
  },
  {
    name: 'ConfigMap: None for secrets',
    codes: ['POLICY_LOGS_LESS'],
    run: writePolicy(policy({ level: 'None', resources: [{ group: '', resources: ['secrets'] }] }, METADATA)),
  },
  {
    name: 'ConfigMap: rules that shadow everything',
    codes: ['POLICY_LOGS_LESS'],
    run: writePolicy(
      policy(
        {
          level: 'None',
          resources: [
            { group: '', resources: ['*'] },
            { group: 'rbac.authorization.k8s.io' },
            { group: 'apps' },
          ],
        },
        METADATA,
      ),
    ),
  },
  {
    name: 'ConfigMap: every stage left out',
    codes: ['POLICY_LOGS_LESS'],
    run: writePolicy(
      policy({
        level: 'Metadata',
        omitStages: ['RequestReceived', 'ResponseStarted', 'ResponseComplete', 'Panic'],
      }),
    ),
  },
  {
    name: 'ConfigMap: None, hidden in binaryData',
    codes: ['POLICY_LOGS_LESS'],
    run: patchConfigMap({
      data: null,
      binaryData: { 'policy.yaml': Buffer.from(policy({ level: 'None' })).toString('base64') },
    }),
  },
  {
    name: 'ConfigMap: a rule for nobody and None for the rest, as YAML',
    codes: ['POLICY_LOGS_LESS'],
    run: writePolicy(
      'apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {level: Metadata, users: ["nobody"]}\n',
    ),
  },
  {
    name: 'ConfigMap: a bad one frozen',
    codes: ['POLICY_FROZEN'],
    run: async (stage) => {
      await stage.prepare('configmaps', POLICY, (stored) => {
        stored.data = { 'policy.yaml': policy({ level: 'None' }) };
      });
      return patchConfigMap({ immutable: true })(stage);
    },
  },
];

const conf = (...sections: string[]): string => sections.join('\n');
const INPUT = `[INPUT]\n    Name tail\n    Path ${LOG}\n    DB /var/log/kubernetes/audit/fluentbit.db`;
const STDOUT = '[OUTPUT]\n    Name stdout\n    Match *';
const writeSecret =
  (text: string | null, name = SECRET) =>
  (stage: Stage): Promise<KubectlResult> =>
    stage.kubectl('insider', [
      '-n',
      NAMESPACE,
      'patch',
      'secret',
      name,
      '--type=merge',
      '-p',
      JSON.stringify({
        data: text === null ? null : { 'fluent-bit.conf': Buffer.from(text).toString('base64') },
      }),
    ]);
const secret = (name: string, codes: ReasonCode, text: string): AttackRow => ({
  name: `Secret: ${name}`,
  codes: [codes],
  run: writeSecret(text),
});

const SECRET_ATTACKS: readonly AttackRow[] = [
  {
    name: 'Secret: deleted',
    codes: ['FLUENTBIT_DELETED'],
    cel: true,
    run: (stage) => stage.kubectl('insider', ['-n', NAMESPACE, 'delete', 'secret', SECRET]),
  },
  {
    name: 'Secret: deleted as a collection',
    codes: ['FLUENTBIT_DELETED'],
    cel: true,
    run: deleteCollection('secrets', SECRET),
  },
  { name: 'Secret: emptied', codes: ['FLUENTBIT_KEY_MISSING'], cel: true, run: writeSecret(null) },
  secret(
    'filter grep',
    'FLUENTBIT_FILTER',
    conf(INPUT, '[FILTER]\n    Name grep\n    Match tail.0\n    Exclude log .', STDOUT),
  ),
  secret(
    'filter throttle',
    'FLUENTBIT_FILTER',
    conf(INPUT, '[FILTER]\n    Name throttle\n    Match *\n    Rate 1', STDOUT),
  ),
  secret(
    'filter that renames the tag',
    'FLUENTBIT_FILTER',
    conf(INPUT, '[filter]\n\tname rewrite_tag\n\tmatch_regex .*\n\trule $log .* gone false', STDOUT),
  ),
  secret('output null', 'FLUENTBIT_OUTPUT', conf(INPUT, '[OUTPUT]\n    Name null\n    Match *')),
  secret('no output', 'FLUENTBIT_OUTPUT', conf(INPUT)),
  secret(
    'output without a destination, with a password',
    'FLUENTBIT_OUTPUT',
    conf(INPUT, `[OUTPUT]\n    Name es\n    Match *\n    HTTP_Passwd ${PASSWORD}`),
  ),
  secret(
    'output that matches nothing',
    'FLUENTBIT_OUTPUT',
    conf(INPUT, '[OUTPUT]\n    Name stdout\n    Match kube.*'),
  ),
  secret('output without a match', 'FLUENTBIT_OUTPUT', conf(INPUT, '[OUTPUT]\n    Name stdout')),
  secret('tiny memory', 'FLUENTBIT_INPUT', conf(`${INPUT}\n    Mem_Buf_Limit 1k`, STDOUT)),
  secret(
    'tiny buffer',
    'FLUENTBIT_INPUT',
    conf(`${INPUT}\n    Buffer_Max_Size 1k\n    Skip_Long_Lines On`, STDOUT),
  ),
  secret('another file', 'FLUENTBIT_INPUT', conf(INPUT.replace('audit.log', 'other.log'), STDOUT)),
  secret('no input', 'FLUENTBIT_INPUT', STDOUT),
  secret('only what is new enough', 'FLUENTBIT_INPUT', conf(`${INPUT}\n    Ignore_Older 1s`, STDOUT)),
  secret('what stands elsewhere', 'FLUENTBIT_UNREADABLE', conf(INPUT, '@INCLUDE /tmp/more.conf', STDOUT)),
  secret('no configuration at all', 'FLUENTBIT_UNREADABLE', `{"password": "${PASSWORD}"}`),
  {
    name: 'Secret: the one that covers it, with a filter',
    codes: ['FLUENTBIT_FILTER'],
    run: (stage) =>
      stage.kubectl('insider', ['create', '-f', '-'], {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: `${SECRET}-tuned`, namespace: NAMESPACE },
        stringData: {
          'fluent-bit.conf': conf(INPUT, '[FILTER]\n    Name grep\n    Match *\n    Exclude log .', STDOUT),
        },
      }),
  },
];

export const ATTACKS: readonly AttackRow[] = [
  ...CLUSTER_ATTACKS,
  ...DEPLOYMENT_ATTACKS,
  ...POD_ATTACKS,
  ...CONFIGMAP_ATTACKS,
  ...SECRET_ATTACKS,
];

// What must go through.

const fine = (name: string, run: Row['run'], more: Omit<FineRow, 'name' | 'run'> = {}): FineRow => ({
  name,
  run,
  ...more,
});
const inNamespace =
  (...args: string[]) =>
  (stage: Stage): Promise<KubectlResult> =>
    stage.kubectl('insider', ['-n', NAMESPACE, ...args]);
const applyDeployment =
  (...flags: string[]) =>
  async (stage: Stage): Promise<KubectlResult> => {
    const { metadata, spec, apiVersion, kind }: Stored = await stage.get(
      'deployments.apps',
      'apiserver',
      NAMESPACE,
    );
    const { name, namespace, labels } = metadata;
    const apply = ['apply', ...flags, '-f', '-'];
    const input = { apiVersion, kind, metadata: { name, namespace, labels }, spec };
    await stage.kubectl('insider', apply, input);
    return stage.kubectl('insider', apply, input);
  };

export const FINE: readonly FineRow[] = [
  fine('scale up', inNamespace('scale', 'deployment', 'apiserver', '--replicas=3')),
  fine('scale to nothing', inNamespace('scale', 'deployment', 'apiserver', '--replicas=0')),
  fine('restart', inNamespace('rollout', 'restart', 'deployment', 'apiserver')),
  fine('pause the Deployment', inNamespace('rollout', 'pause', 'deployment', 'apiserver')),
  fine('label the Deployment', inNamespace('label', 'deployment', 'apiserver', 'team=a')),
  fine('annotate the Deployment', inNamespace('annotate', 'deployment', 'apiserver', 'note=a')),
  fine(
    'upgrade the apiserver',
    inNamespace('set', 'image', 'deployment/apiserver', 'apiserver=registry.k8s.io/kube-apiserver:v1.36.3'),
  ),
  fine(
    'pin the apiserver',
    inNamespace(
      'set',
      'image',
      'deployment/apiserver',
      `apiserver=registry.k8s.io/kube-apiserver@sha256:${'a'.repeat(64)}`,
    ),
  ),
  fine(
    'upgrade the sidecar',
    inNamespace('set', 'image', 'deployment/apiserver', 'audit-logs=docker.io/fluent/fluent-bit:4.1.0'),
  ),
  fine(
    'upgrade konnectivity',
    inNamespace(
      'set',
      'image',
      'deployment/apiserver',
      'konnectivity-server=registry.k8s.io/kas-network-proxy/proxy-server:v0.36.0',
    ),
  ),
  fine(
    'more memory for the apiserver',
    inNamespace('set', 'resources', 'deployment', 'apiserver', '-c=apiserver', '--limits=memory=8Gi'),
  ),
  fine(
    'more memory for the sidecar',
    inNamespace('set', 'resources', 'deployment', 'apiserver', '-c=audit-logs', '--limits=memory=200Mi'),
  ),
  fine(
    'a variable for the apiserver',
    inNamespace('set', 'env', 'deployment/apiserver', '-c=apiserver', 'GOGC=80'),
  ),
  fine('another flag', replaceDeployment(append('--goaway-chance=0.001'))),
  fine(
    'flags in another order and spelling',
    replaceDeployment(
      (spec) =>
        void apiserver(spec).args?.unshift(`--audit_policy_file=${dropFlag(spec, '--audit-policy-file')}`),
    ),
  ),
  fine(
    'a helper beside it',
    replaceDeployment(
      (spec) => void spec.containers.push({ name: 'helper', image: 'busybox', command: ['sleep', '1'] }),
    ),
  ),
  fine(
    'a reader of the log',
    replaceDeployment(
      (spec) =>
        void spec.containers.push({
          name: 'reader',
          image: 'busybox',
          volumeMounts: [{ name: 'audit-log', mountPath: '/x', readOnly: true }],
        }),
    ),
  ),
  fine(
    'another volume',
    replaceDeployment((spec) => void spec.volumes.push({ name: 'scratch', emptyDir: {} })),
  ),
  fine(
    'a node selector',
    replaceDeployment((spec) => {
      spec.nodeSelector = { disk: 'fast' };
    }),
  ),
  fine(
    'bounded, large log volume',
    replaceDeployment((spec) => {
      named(spec.volumes, 'audit-log').emptyDir = { sizeLimit: '2Gi' };
    }),
  ),
  fine('more retention', replaceDeployment(append('--audit-log-maxbackup=20'))),
  fine(
    'larger files, for longer',
    replaceDeployment(append('--audit-log-maxsize=1000', '--audit-log-maxage=365')),
  ),
  fine(
    'a sidecar that stays, as an init container',
    replaceDeployment((spec) => {
      spec.initContainers.push({ ...sidecar(spec), restartPolicy: 'Always' });
      spec.containers = spec.containers.filter(({ name }) => name !== 'audit-logs');
    }),
  ),
  fine('the same Deployment applied twice, client-side', applyDeployment()),
  fine(
    'the same Deployment applied twice, server-side',
    applyDeployment('--server-side', '--force-conflicts'),
  ),
  fine('a dry run', inNamespace('scale', 'deployment', 'apiserver', '--replicas=2', '--dry-run=server')),
  fine('a pod of a ReplicaSet that audits', async (stage) =>
    stage.kubectl(
      'replicasets',
      ['create', '-f', '-'],
      await renderPod(stage, () => undefined, { name: 'fine-1' }),
    ),
  ),
  fine(
    'a pod with the labels that lacks everything is completed',
    async (stage) =>
      stage.kubectl(
        'replicasets',
        ['create', '-f', '-'],
        await renderPod(
          stage,
          (spec) => {
            dropFlag(spec, '--audit-policy-file');
            spec.containers = spec.containers.filter(({ name }) => name !== 'audit-logs');
          },
          { name: 'fine-2' },
        ),
      ),
    { needsWebhook: true },
  ),
  fine('a pod that has nothing to do with it', inNamespace('run', 'shell', '--image=busybox')),
  fine('a pod that only speaks of kube-apiserver', (stage) =>
    stage.kubectl('insider', ['create', '-f', '-'], {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'prober', namespace: NAMESPACE },
      spec: {
        containers: [
          {
            name: 'prober',
            image: 'example.com/http-prober:1',
            args: [
              '--name',
              'kube-apiserver',
              '-endpoint',
              'https://apiserver-external',
              '--job=kube-apiserver',
            ],
          },
        ],
      },
    }),
  ),
  fine('label a pod of the apiserver', inNamespace('label', 'pod', RUNNING, 'team=a')),
  fine('delete a pod of the apiserver', inNamespace('delete', 'pod', RUNNING, '--wait=false')),
  fine(
    'upgrade the sidecar of a running pod',
    inNamespace('set', 'image', `pod/${RUNNING}`, 'audit-logs=docker.io/fluent/fluent-bit:4.1.0'),
  ),
  fine(
    'dashboard: save',
    patchCluster({
      spec: { auditLogging: { enabled: true, policyPreset: 'recommended', webhookBackend: null } },
    }),
  ),
  fine(
    'dashboard: rename and upgrade',
    patchCluster({ spec: { humanReadableName: 'the bank', version: '1.36.3' } }),
  ),
  fine('dashboard: labels', (stage) => stage.kubectl('editor', ['label', 'cluster', 'bank', 'team=a'])),
  fine('dashboard: annotations', annotate({ note: 'a', [OPT_OUT]: 'false' })),
  fine(
    'dashboard: a preset of its own choice, which keeps the policy',
    patchCluster({ spec: { auditLogging: { policyPreset: '' } } }),
  ),
  fine('pause and resume', async (stage) => {
    await patchCluster({ spec: { pause: true } })(stage);
    return patchCluster({ spec: { pause: false } })(stage);
  }),
  fine('sidecar: a filter that only adds', filter({ Name: 'record_modifier', Match: '*', Record: 'team a' })),
  fine(
    'sidecar: another output',
    output({ Name: 'loki', Match: '*', Host: 'loki.mla.svc', Labels: 'job=audit' }),
  ),
  fine('sidecar: Elastic in its cloud', output({ Name: 'es', Match: '*', Cloud_ID: 'audit:Y2xvdWQ=' })),
  fine(
    'sidecar: the event under another name, and more beside it',
    sidecarOf({
      filters: [
        { Name: 'modify', Match: '*', Rename: 'log message', Set: 'team a' },
        { Name: 'record_modifier', Match: '*', Record: 'cluster_name x' },
      ],
    }),
  ),
  fine(
    'sidecar: an output beside stdout',
    sidecarOf({
      outputs: [
        { Name: 'stdout', Match: '*' },
        { Name: 'null', Match: 'other.*' },
      ],
    }),
  ),
  fine('sidecar: more resources', sidecarOf({}, { resources: { limits: { memory: '200Mi', cpu: '200m' } } })),
  fine('sidecar: a variable', sidecarOf({}, { extraEnvs: [{ name: 'TEAM', value: 'a' }] })),
  fine('Cluster: the manifest applied again, client-side', async (stage) => {
    await applyCluster(() => undefined)(stage);
    return applyCluster((cluster) => {
      cluster.spec.humanReadableName = 'from git';
    })(stage);
  }),
  fine('Cluster: the manifest applied again, server-side', async (stage) => {
    const change = (cluster: Stored): void => void delete cluster.spec.auditLogging;
    await applyCluster(change, '--server-side', '--force-conflicts')(stage);
    return applyCluster(change, '--server-side', '--force-conflicts')(stage);
  }),
  fine('Cluster: replaced by itself', async (stage) =>
    stage.kubectl(
      'editor',
      ['replace', '-f', '-'],
      await manifest(stage, (cluster) => {
        cluster.spec.humanReadableName = 'again';
      }),
    ),
  ),
  fine(
    'Cluster: switched off where nothing is enforced',
    patchCluster({ spec: { auditLogging: { enabled: false } } }, 'editor', 'merge', 'shop'),
  ),
  fine('policy: a comment', writePolicy(`# kept by the team\n${renderPolicyPreset('metadata')}`)),
  fine(
    'policy: more for secrets',
    writePolicy(
      policy({ level: 'RequestResponse', resources: [{ group: 'rbac.authorization.k8s.io' }] }, METADATA),
    ),
  ),
  fine(
    'policy: without noise',
    writePolicy(
      policy(
        {
          level: 'None',
          verbs: ['get', 'update'],
          resources: [{ group: 'coordination.k8s.io', resources: ['leases'] }],
        },
        METADATA,
      ),
    ),
  ),
  fine(
    'policy: one line a request',
    writePolicy(policy({ level: 'Metadata', omitStages: ['RequestReceived'] })),
  ),
  fine('policy: frozen as it is', patchConfigMap({ immutable: true })),
  fine('policy: labelled', inNamespace('label', 'configmap', POLICY, 'team=a')),
  fine('policy: another key', patchConfigMap({ data: { README: 'read me' } })),
  fine('another ConfigMap deleted', inNamespace('delete', 'configmap', 'ca-bundle')),
  fine(
    'sidecar Secret: another output',
    writeSecret(
      conf(
        INPUT,
        STDOUT,
        `[OUTPUT]\n    Name http\n    Match *\n    Host logs.example.com\n    HTTP_Passwd ${PASSWORD}`,
      ),
    ),
  ),
  fine('sidecar Secret: a wider input', writeSecret(conf(INPUT.replace('audit.log', '*.log'), STDOUT))),
  fine('sidecar Secret: labelled', inNamespace('label', 'secret', SECRET, 'team=a')),
  fine('another Secret edited', inNamespace('patch', 'secret', 'tokens', '-p', '{"stringData":{"a":"b"}}')),
  fine('Namespace: another label', (stage) =>
    stage.kubectl('alice', ['label', 'namespace', NAMESPACE, 'team=a']),
  ),
  fine(
    'Cluster: created with false, which is ignored',
    (stage) =>
      stage.kubectl('alice', ['create', '-f', '-'], {
        apiVersion: 'kubermatic.k8c.io/v1',
        kind: 'Cluster',
        metadata: { name: 'new', labels: { 'project-id': 'x5fk9vq2lm' } },
        spec: {
          humanReadableName: 'new',
          version: '1.36.2',
          exposeStrategy: 'NodePort',
          cloud: { dc: 'enforcing', providerName: 'aws' },
          clusterNetwork: {},
          auditLogging: { enabled: false },
        },
      }),
    { warns: /FLAG_IGNORED/ },
  ),
  fine('Cluster: deleted', (stage) => stage.kubectl('editor', ['delete', 'cluster', 'new', '--wait=false'])),
  fine(
    'an operator weakens the policy',
    (stage) =>
      stage.kubectl('operator', [
        '-n',
        NAMESPACE,
        'patch',
        'configmap',
        POLICY,
        '--type=merge',
        '-p',
        JSON.stringify({ data: { 'policy.yaml': policy({ level: 'None' }) } }),
      ]),
    { warns: /ATTEMPT_BY_OPERATOR/ },
  ),
  fine('the Deployment deleted', inNamespace('delete', 'deployment', 'apiserver')),
];
