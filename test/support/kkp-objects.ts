/** What KKP keeps beside the Deployment for audit logging: the policy in `audit-config` and the configuration in `audit-logs-fluentbit`. */
import type { AuditLogging } from './fixture-types.ts';

const CHANGES = {
  verbs: ['create', 'delete', 'update', 'patch'],
  resources: [
    { group: '', resources: ['pods'] },
    { group: 'apps', resources: ['deployments', 'statefulsets', 'daemonsets', 'replicasets'] },
    { group: 'cluster.k8s.io', resources: ['machines', 'machinesets', 'machinedeployments'] },
    { group: 'templates.gatekeeper.sh' },
    { group: '', resources: ['secrets'], resourceNames: ['usersshkeys'] },
  ],
};
const ACCESS = [{ group: '', resources: ['pods/exec', 'pods/portforward', 'pods/proxy', 'services/proxy'] }];
const OMIT = { omitStages: ['RequestReceived'] };

const PRESETS: Readonly<Record<string, object>> = {
  metadata: { rules: [{ level: 'Metadata' }] },
  recommended: {
    ...OMIT,
    rules: [
      { level: 'RequestResponse', ...CHANGES },
      { level: 'RequestResponse', resources: ACCESS },
      { level: 'Metadata', ...OMIT },
    ],
  },
  minimal: {
    ...OMIT,
    rules: [
      { level: 'RequestResponse', ...CHANGES },
      { level: 'Request', resources: ACCESS },
      {
        level: 'Metadata',
        resources: [
          { group: '', resources: ['pods/log'] },
          { group: '', resources: ['secrets', 'configmaps'] },
        ],
      },
    ],
  },
};

/** The policy of one of KKP's presets, as a document that kube-apiserver reads: JSON is YAML. */
export function renderPolicyPreset(preset: string): string {
  const policy = PRESETS[preset];
  if (policy === undefined) throw new Error(`there is no preset ${JSON.stringify(preset)}`);
  const document = { apiVersion: 'audit.k8s.io/v1', kind: 'Policy', ...policy };
  return `# policyPreset: ${preset}\n${JSON.stringify(document, undefined, 2)}\n`;
}

/**
 * The data that KKP writes to the ConfigMap `audit-config` on a pass.
 * @param stored what the ConfigMap holds now
 * @returns undefined where KKP leaves it alone
 */
export function renderAuditConfig(
  auditLogging: AuditLogging | undefined,
  stored: Readonly<Record<string, string>> | undefined,
): Record<string, string> | undefined {
  const inUse = auditLogging?.enabled || auditLogging?.webhookBackend;
  const preset = inUse ? auditLogging?.policyPreset : undefined;
  if (preset) return { 'policy.yaml': renderPolicyPreset(preset) };
  return stored === undefined ? { 'policy.yaml': renderPolicyPreset('metadata') } : undefined;
}

/** fluent-bit's configuration as KKP renders it, its HTML entities included. */
export function renderFluentBitConf(cluster: string, auditLogging: AuditLogging): string {
  const config = auditLogging.sidecar?.config ?? {};
  const variables = new Map(auditLogging.sidecar?.extraEnvs?.map((env) => [env.name, env.value ?? '']));
  variables.set('CLUSTER_ID', cluster);
  const expand = (value: string) =>
    value.replace(/\$\{(\w+)\}/g, (all, name: string) => variables.get(name) ?? all);
  const section = (title: string, entries: Record<string, string>, value = (text: string) => text) => [
    `[${title}]`,
    ...Object.keys(entries)
      .sort()
      .map((key) => `    ${key}      ${toHtml(value(entries[key] ?? ''))}`),
  ];
  const outputs = config.outputs ?? [];
  return [
    ...(config.service ? section('SERVICE', config.service) : []),
    '',
    '[INPUT]',
    '    Name    tail',
    '    Path    /var/log/kubernetes/audit/audit.log',
    '    DB      /var/log/kubernetes/audit/fluentbit.db',
    ...(config.filters ?? []).flatMap((filter) => section('FILTER', filter, expand)),
    ...(outputs.length > 0 ? outputs : [{ Name: 'stdout', Match: '*' }]).flatMap((output) =>
      section('OUTPUT', output),
    ),
    '',
  ].join('\n');
}

const ENTITIES: Readonly<Record<string, string>> = {
  '"': '&#34;',
  "'": '&#39;',
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '+': '&#43;',
};

function toHtml(text: string): string {
  return text.replace(/["'&<>+]/g, (character) => ENTITIES[character] ?? character);
}
