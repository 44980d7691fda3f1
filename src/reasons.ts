/**
 * Every reason that this software ever gives, in one table: a code (for metrics, logs, audit annotations and documentation), a sentence (for
 * people) and the way out. docs/messages.md is held equal to it by a test. Codes are stable; sentences are not.
 */

/**
 * - ineffective: a way in which an apiserver does not (or not really) audit
 * - attempt: a change towards less auditing, rejected where auditing is enforced
 * - settings: what Cluster, Seed or the server's configuration say can't be followed as it stands
 * - look-up: what is needed to decide is not known
 * - note: worth saying, nothing wrong
 */
export type ReasonKind = 'ineffective' | 'attempt' | 'settings' | 'look-up' | 'note';

interface ReasonRow {
  readonly kind: ReasonKind;
  /** `{name}` stands for a parameter. */
  readonly sentence: string;
  /** What to do about it. */
  readonly repair: string;
}

export const REASONS = {
  // What a pod template can lack. Judged in src/audit/effective.ts.
  APISERVER_CONTAINER_MISSING: {
    kind: 'ineffective',
    sentence: 'there is no container named "apiserver"',
    repair: 'Name the container that runs kube-apiserver "apiserver".',
  },
  APISERVER_CONTAINER_REPEATED: {
    kind: 'ineffective',
    sentence: 'there are {count} containers named "apiserver"',
    repair: 'Keep one container named "apiserver".',
  },
  APISERVER_COMMAND_UNKNOWN: {
    kind: 'ineffective',
    sentence: 'container "apiserver" starts {command}: this is not known to be kube-apiserver',
    repair: 'Start kube-apiserver itself: command ["/usr/local/bin/kube-apiserver"] and its flags in args.',
  },
  APISERVER_IMAGE_UNKNOWN: {
    kind: 'ineffective',
    sentence: 'container "apiserver" has the image {image}, which is not called kube-apiserver',
    repair:
      'Use the image that KKP renders: registry.k8s.io/kube-apiserver, or its copy in another registry.',
  },
  ARGUMENTS_UNREADABLE: {
    kind: 'ineffective',
    sentence:
      'the argument {argument} depends on an environment variable from outside the object, so any flag may hide in it',
    repair: 'Write the argument out, or give the variable a plain value.',
  },
  ARGUMENTS_STRAY: {
    kind: 'ineffective',
    sentence:
      'kube-apiserver refuses to start with the argument {argument}: it is no flag, or lacks its value',
    repair: 'Remove the argument, or put it behind the flag it belongs to.',
  },
  POLICY_FLAG_MISSING: {
    kind: 'ineffective',
    sentence: 'kube-apiserver has no --audit-policy-file, and without a policy it records nothing',
    repair: 'Add --audit-policy-file /etc/kubernetes/audit/policy.yaml.',
  },
  POLICY_FILE_ELSEWHERE: {
    kind: 'ineffective',
    sentence: '--audit-policy-file {path} is not the file policy.yaml of ConfigMap audit-config: {found}',
    repair:
      'Mount ConfigMap audit-config at /etc/kubernetes/audit and use --audit-policy-file /etc/kubernetes/audit/policy.yaml.',
  },
  LOG_PATH_MISSING: {
    kind: 'ineffective',
    sentence: 'kube-apiserver has no --audit-log-path, so no audit event is written',
    repair: 'Add --audit-log-path /var/log/kubernetes/audit/audit.log.',
  },
  LOG_PATH_STDOUT: {
    kind: 'ineffective',
    sentence:
      "--audit-log-path - mixes audit events into the apiserver's own output, where the sidecar does not read them",
    repair: 'Use --audit-log-path /var/log/kubernetes/audit/audit.log.',
  },
  LOG_PATH_UNWRITABLE: {
    kind: 'ineffective',
    sentence: "--audit-log-path {path} can't be shared with the sidecar: {found}",
    repair: 'Mount the emptyDir audit-log at /var/log/kubernetes/audit, writable, and log there.',
  },
  LOG_FORMAT: {
    kind: 'ineffective',
    sentence: '{flag} {value} does not write audit.k8s.io/v1 events as JSON',
    repair: 'Leave --audit-log-format at json and --audit-log-version at audit.k8s.io/v1.',
  },
  LOG_WEAKENED: {
    kind: 'ineffective',
    sentence: '{flag} {value} loses audit events: {why}',
    repair: 'Remove the flag, or give it the value that docs/threat-model.md allows.',
  },
  SIDECAR_MISSING: {
    kind: 'ineffective',
    sentence: 'there is no container "audit-logs" to carry the audit events away',
    repair: 'Add the sidecar audit-logs.',
  },
  SIDECAR_NOT_RUNNING: {
    kind: 'ineffective',
    sentence: 'the sidecar "audit-logs" does not run as long as the apiserver does: it is {found}',
    repair:
      'Make it a container without a restartPolicy of its own, or an init container with restartPolicy: Always.',
  },
  SIDECAR_IMAGE: {
    kind: 'ineffective',
    sentence: 'the sidecar "audit-logs" has the image {image}, which is not fluent-bit as configured',
    repair: 'Use the image that KKP renders, or the one in the configuration of kkp-audit-webhook.',
  },
  SIDECAR_COMMAND: {
    kind: 'ineffective',
    sentence: 'the sidecar "audit-logs" does not run fluent-bit on the configuration it is given: {found}',
    repair: 'Use command ["/fluent-bit/bin/fluent-bit"] and args ["-c", "/etc/fluent-bit/fluent-bit.conf"].',
  },
  SIDECAR_CONFIG_ELSEWHERE: {
    kind: 'ineffective',
    sentence:
      "the sidecar's configuration {path} is not the file fluent-bit.conf of Secret audit-logs-fluentbit: {found}",
    repair: 'Mount Secret audit-logs-fluentbit at /etc/fluent-bit/.',
  },
  SIDECAR_LOG_UNREADABLE: {
    kind: 'ineffective',
    sentence: 'the sidecar does not see the audit log: {found}',
    repair: 'Mount the same volume as the apiserver, audit-log, at /var/log/kubernetes/audit.',
  },
  SIDECAR_STARVED: {
    kind: 'ineffective',
    sentence: "the sidecar's limit {resource} {value} is too small to keep up with an apiserver",
    repair: 'Leave the limit out, or give at least {minimum}.',
  },
  APISERVER_REPEATED: {
    kind: 'ineffective',
    sentence: 'container "{container}" runs a second kube-apiserver, whose requests nobody records',
    repair: 'Run one kube-apiserver in the pod, in the container "apiserver".',
  },
  APISERVER_HANDLERS: {
    kind: 'ineffective',
    sentence: 'container "apiserver" has {found}, which runs a command beside kube-apiserver',
    repair: 'Remove it, or use httpGet, or sleep in lifecycle.preStop.',
  },
  FILE_COVERED: {
    kind: 'ineffective',
    sentence: 'container "{container}" covers {path} with {found}',
    repair: 'Mount nothing over the program, its libraries and what it reads for audit logging.',
  },
  LOG_SHARED: {
    kind: 'ineffective',
    sentence: 'container "{container}" can write to the audit log: it mounts volume {volume}',
    repair: 'Leave the volume of the audit log to apiserver and audit-logs, or mount it read-only.',
  },
  LOG_VOLUME_TOO_SMALL: {
    kind: 'ineffective',
    sentence: 'the volume {volume} of the audit log holds {size} at most, so the pod is evicted with its log',
    repair: 'Leave sizeLimit out, or give at least {minimum}.',
  },
  LOG_VOLUME_DEVICE: {
    kind: 'ineffective',
    sentence: 'the audit log is written to {path} of the node, which keeps nothing',
    repair: 'Make audit-log an emptyDir.',
  },
  PROCESSES_SHARED: {
    kind: 'ineffective',
    sentence: 'the containers of the pod share their processes, so each can stop or change the sidecar',
    repair: 'Remove shareProcessNamespace and hostPID.',
  },
  SIDECAR_ENVIRONMENT: {
    kind: 'ineffective',
    sentence: 'the variable {name} changes what the sidecar "audit-logs" runs',
    repair: 'Remove the variable.',
  },
  SIDECAR_HANDLERS: {
    kind: 'ineffective',
    sentence: 'the sidecar "audit-logs" has {found}, which runs a command beside fluent-bit',
    repair: 'Remove it, or use httpGet or sleep.',
  },
  SIDECAR_KEPT_WAITING: {
    kind: 'ineffective',
    sentence:
      'container "{container}" has {found}, in which time kube-apiserver runs without the sidecar "audit-logs"',
    repair: 'Remove lifecycle.postStart, and let lifecycle.preStop take five minutes at most.',
  },
  SIDECAR_UNPRIVILEGED: {
    kind: 'ineffective',
    sentence:
      'the sidecar runs as user {sidecar}, the apiserver as {apiserver}, whose log no other user may read',
    repair: 'Run both containers as the same user.',
  },
  WEBHOOK_FLAG_MISSING: {
    kind: 'ineffective',
    sentence: 'kube-apiserver has no --audit-webhook-config-file, though a webhook backend is asked for',
    repair: 'Add --audit-webhook-config-file /etc/kubernetes/audit/webhook/webhook.yaml.',
  },
  WEBHOOK_FILE_ELSEWHERE: {
    kind: 'ineffective',
    sentence: '--audit-webhook-config-file {path} is not the file webhook.yaml of Secret {secret}: {found}',
    repair: 'Mount the Secret at /etc/kubernetes/audit/webhook.',
  },

  // Attempts. Judged in src/audit/enforce.ts.
  CLUSTER_AUDIT_DISABLED: {
    kind: 'attempt',
    sentence: 'spec.auditLogging.enabled is turned off',
    repair: 'Leave spec.auditLogging.enabled at true.',
  },
  CLUSTER_AUDIT_REMOVED: {
    kind: 'attempt',
    sentence: 'spec.auditLogging is removed',
    repair: 'Leave spec.auditLogging as it is.',
  },
  CLUSTER_OPT_OUT: {
    kind: 'attempt',
    sentence:
      'the annotation kubermatic.k8c.io/skip-audit-logging-enforcement: "true" takes the cluster out of the enforcement',
    repair: 'Remove the annotation, or ask an operator for an exemption.',
  },
  CLUSTER_DATACENTER_CHANGED: {
    kind: 'attempt',
    sentence: 'the cluster is moved to datacenter {datacenter}, where audit logging is not enforced',
    repair: 'Leave spec.cloud.dc as it is.',
  },
  CLUSTER_NAMESPACE_CHANGED: {
    kind: 'attempt',
    sentence: 'status.namespaceName is changed from {before} to {after}, away from where the apiserver runs',
    repair: 'Leave status.namespaceName to KKP.',
  },
  CLUSTER_PRESET_WEAKENED: {
    kind: 'attempt',
    sentence: 'policyPreset {after} logs less than {before}',
    repair: 'Keep the preset, or choose one that logs at least as much.',
  },
  EXEMPTION_PROLONGED: {
    kind: 'attempt',
    sentence: 'the exemption is prolonged from {before} to {after}',
    repair: 'Let it end, or ask an operator for another one.',
  },
  EXEMPTION_INVALID: {
    kind: 'attempt',
    sentence: "the exemption can't be granted: {problem}",
    repair: 'Use: kkp-audit-webhook exempt CLUSTER --for 4h --reason "why".',
  },
  APISERVER_IMAGE_REPLACED: {
    kind: 'attempt',
    sentence: "the apiserver's image comes from {after} instead of {before}",
    repair: 'Change the tag only.',
  },
  EPHEMERAL_CONTAINER: {
    kind: 'attempt',
    sentence:
      "container {container} is put into the apiserver's running pod, where it can change the audit log",
    repair: 'Debug a copy of the pod in another namespace, or ask an operator.',
  },
  ENFORCED_LABEL_REMOVED: {
    kind: 'attempt',
    sentence: 'the label {label} is taken off, by which hooks and backstop find what is enforced',
    repair: 'Leave the label to kkp-audit-webhook.',
  },
  POLICY_INVALID: {
    kind: 'attempt',
    sentence: '{problem}',
    repair: 'Check it with: kkp-audit-webhook policy lint FILE.',
  },
  POLICY_DELETED: {
    kind: 'attempt',
    sentence: 'the audit policy is deleted',
    repair: 'Leave ConfigMap audit-config where it is.',
  },
  POLICY_KEY_MISSING: {
    kind: 'attempt',
    sentence: 'the key policy.yaml is missing or empty, so kube-apiserver has no policy',
    repair: 'Keep the policy under the key policy.yaml.',
  },
  POLICY_LOGS_LESS: {
    kind: 'attempt',
    sentence: 'the policy logs too little: {difference}',
    repair: 'Keep what was logged; to add to it is fine.',
  },
  POLICY_FROZEN: {
    kind: 'attempt',
    sentence: 'immutable keeps a policy that logs too little: {problem}',
    repair: 'Correct the policy first.',
  },
  FLUENTBIT_DELETED: {
    kind: 'attempt',
    sentence: "the sidecar's configuration is deleted",
    repair: 'Leave the Secret where it is.',
  },
  FLUENTBIT_KEY_MISSING: {
    kind: 'attempt',
    sentence: 'the key fluent-bit.conf is missing or empty, so the sidecar has no configuration',
    repair: 'Keep the configuration under the key fluent-bit.conf.',
  },
  FLUENTBIT_UNREADABLE: {
    kind: 'attempt',
    sentence: "{where} can't be told to carry every event on: {problem}",
    repair: "Write it out in fluent-bit's classic format.",
  },
  FLUENTBIT_INPUT: {
    kind: 'attempt',
    sentence: '{where} does not read the whole audit log: {problem}',
    repair: 'Keep the input: tail of /var/log/kubernetes/audit/audit.log.',
  },
  FLUENTBIT_FILTER: {
    kind: 'attempt',
    sentence: '{where} loses events: {problem}',
    repair: 'Remove the filter, or filter behind the sidecar.',
  },
  FLUENTBIT_OUTPUT: {
    kind: 'attempt',
    sentence: '{where}: {problem}',
    repair: 'Keep an output for all events that leads to where they are kept, such as stdout.',
  },

  // Settings that can't be followed.
  POLICY_PRESET_UNKNOWN: {
    kind: 'settings',
    sentence: '{where}.policyPreset {preset} does not exist; the policy metadata is used',
    repair: 'Use metadata, recommended or minimal, or leave it empty to keep your own policy.',
  },
  WEBHOOK_BACKEND_INVALID: {
    kind: 'settings',
    sentence: "{where}.webhookBackend can't be used: {problem}",
    repair:
      'Name the Secret in auditWebhookConfig.name, and give auditWebhookInitialBackoff as a duration such as 10s.',
  },
  FLUENTBIT_SECTION_INVALID: {
    kind: 'settings',
    sentence: '{where} is left out of the fluent-bit configuration: {problem}',
    repair: 'Use keys without spaces and values of one line.',
  },
  SIDECAR_ENV_INVALID: {
    kind: 'settings',
    sentence: "{where} is left out of the sidecar's environment: {problem}",
    repair: 'Give each variable a name that kubelet takes, and a value.',
  },
  SIDECAR_RESOURCES_INVALID: {
    kind: 'settings',
    sentence: "{where} can't be used, and the sidecar gets the default resources: {problem}",
    repair: 'Give requests and limits as quantities, such as memory: 60Mi and cpu: 50m.',
  },

  // What is not known.
  CLUSTER_NOT_FOUND: {
    kind: 'look-up',
    sentence: 'namespace {namespace} belongs to no Cluster',
    repair:
      'Nothing to do, unless this is the namespace of a user cluster: then look for its Cluster object.',
  },
  DATACENTER_MISSING: {
    kind: 'look-up',
    sentence: "Cluster {cluster} names no datacenter, so it can't be told whether audit logging is enforced",
    repair: 'Set spec.cloud.dc.',
  },
  DATACENTER_UNKNOWN: {
    kind: 'look-up',
    sentence:
      "no Seed has the datacenter {datacenter} of Cluster {cluster}, so it can't be told whether audit logging is enforced",
    repair: 'Add the datacenter to the Seed, or correct spec.cloud.dc.',
  },
  DATACENTER_AMBIGUOUS: {
    kind: 'look-up',
    sentence:
      "several Seeds ({seeds}) have the datacenter {datacenter} of Cluster {cluster}, so it can't be told which one counts",
    repair: 'Keep the datacenter in one Seed.',
  },
  SEED_MISSING: {
    kind: 'look-up',
    sentence:
      "there is no Seed, so it can't be told whether datacenter {datacenter} of Cluster {cluster} enforces audit logging",
    repair:
      'Create the Seed in the namespace of KKP, or correct the namespace in the configuration of kkp-audit-webhook.',
  },

  // Notes.
  FLAG_IGNORED: {
    kind: 'note',
    sentence:
      'audit logging is enforced by datacenter {datacenter}: spec.auditLogging.enabled: false is ignored',
    repair: 'Nothing to do. Who may change the datacenter can end the enforcement.',
  },
  INJECTED: { kind: 'note', sentence: 'audit logging is put in', repair: 'Nothing to do.' },
  REMOVED: {
    kind: 'note',
    sentence: 'what was put in for audit logging is taken out again',
    repair: 'Nothing to do.',
  },
  CLUSTER_ALIGNED: {
    kind: 'note',
    sentence: 'spec.auditLogging is brought in line with the datacenter',
    repair: 'Nothing to do.',
  },
  LEFT_TO_OWNER: {
    kind: 'note',
    sentence: 'the owner of the Deployment takes audit logging out of it: its pods are injected instead',
    repair: 'Nothing to do. With a KKP that renders spec.auditLogging this does not happen.',
  },
  CLUSTER_PAUSED: {
    kind: 'note',
    sentence: 'KKP leaves the cluster alone now; audit logging stays enforced',
    repair: 'Nothing to do.',
  },
  DEPLOYMENT_PAUSED: {
    kind: 'note',
    sentence: 'while the Deployment is paused, running pods keep what they have, and miss what is put in',
    repair: 'Resume it: kubectl rollout resume deployment apiserver.',
  },
  EXEMPTION_GRANTED: {
    kind: 'note',
    sentence: 'the cluster is exempt until {until}: {why}',
    repair: 'Nothing to do; it ends by itself.',
  },
  EXEMPTION_WITHOUT_END: {
    kind: 'note',
    sentence: 'the cluster is exempt until somebody removes the annotation, for no reason given',
    repair: 'Use: kkp-audit-webhook exempt CLUSTER --for 4h --reason "why".',
  },
  FLUENTBIT_WOULD_NOT_START: {
    kind: 'note',
    sentence:
      '{where}: {problem} in fluent-bit 4.0, which would not start, so new apiservers would not become ready',
    repair: 'Correct the name of the plugin or of its options.',
  },
  POLICY_QUESTIONABLE: {
    kind: 'note',
    sentence: 'policy.yaml: {finding}',
    repair: 'See: kkp-audit-webhook policy lint FILE.',
  },
  SEED_ENFORCEMENT_ENDED: {
    kind: 'note',
    sentence: 'audit logging is no longer enforced for {count} clusters (datacenters {datacenters})',
    repair: 'Nothing to do, where this is meant; it is on record.',
  },
  ATTEMPT_ADMITTED: {
    kind: 'note',
    sentence:
      'an attempt to weaken audit logging is admitted, because the datacenter {datacenter} is in mode {mode}',
    repair: 'Set the mode of the datacenter to enforce.',
  },
  ATTEMPT_BY_OPERATOR: {
    kind: 'note',
    sentence: 'audit logging is weakened by one who may: {user}',
    repair: 'Nothing to do; the use of the right is on record.',
  },
} as const satisfies Record<string, ReasonRow>;

export type ReasonCode = keyof typeof REASONS;

/** A reason as it applies to one object. */
export interface Reason {
  readonly code: ReasonCode;
  readonly parameters: Readonly<Record<string, string>>;
}

/** Makes a Reason; values longer than 200 characters are cut, because they come from input and end up in messages. */
export function reason(code: ReasonCode, parameters: Readonly<Record<string, string | number>> = {}): Reason {
  const short: Record<string, string> = {};
  for (const [key, value] of Object.entries(parameters)) {
    const text = String(value);
    short[key] = text.length > 200 ? `${text.slice(0, 199)}…` : text;
  }
  return { code, parameters: short };
}

/** Those of some reasons that are not among others already: what a write brings. */
export function withoutKnown(found: readonly Reason[], known: readonly Reason[]): Reason[] {
  const texts = new Set(known.map((given) => JSON.stringify(given)));
  return found.filter((given) => !texts.has(JSON.stringify(given)));
}

const fill = (text: string, parameters: Readonly<Record<string, string>>): string =>
  text.replace(/\{(\w+)\}/g, (match, name: string) =>
    Object.hasOwn(parameters, name) ? (parameters[name] ?? '') : match,
  );

/** The sentence for people, without the code and without a full stop. */
export function explainReason(given: Reason): string {
  return fill(REASONS[given.code].sentence, given.parameters);
}

/** The way out. */
export function explainRepair(given: Reason): string {
  return fill(REASONS[given.code].repair, given.parameters);
}
