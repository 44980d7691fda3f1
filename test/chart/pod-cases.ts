/**
 * Ways to run an apiserver, and whether it audits: one table that the server's own judgement and the chart's ValidatingAdmissionPolicies must
 * agree on.
 */

export interface Mount {
  name: string;
  mountPath: string;
  [field: string]: unknown;
}
export interface SpecContainer {
  name: string;
  image?: string;
  command?: string[];
  args?: string[];
  volumeMounts?: Mount[];
  [field: string]: unknown;
}
export interface Spec {
  containers: SpecContainer[];
  initContainers?: SpecContainer[];
  volumes?: { name: string; [source: string]: unknown }[];
  [field: string]: unknown;
}

interface PodCase {
  readonly name: string;
  /** Changes what KKP renders with audit logging on. */
  readonly change: (spec: Spec) => void;
  readonly effective: boolean;
  /** The server knows better, because it sees what CEL can't: see the comment at the case. */
  readonly beyondCel?: true;
}

const named = <T extends { name: string }>(list: readonly T[] | undefined, name: string): T => {
  const found = list?.find((item) => item.name === name);
  if (found === undefined) throw new Error(`nothing is named ${name}`);
  return found;
};
const apiserver = (spec: Spec): SpecContainer => named(spec.containers, 'apiserver');
const sidecar = (spec: Spec): SpecContainer => named(spec.containers, 'audit-logs');
const without = <T extends { name: string }>(list: readonly T[] | undefined, name: string): T[] =>
  (list ?? []).filter((item) => item.name !== name);

/** Changes the arguments of kube-apiserver. */
const args =
  (change: (args: string[]) => string[]) =>
  (spec: Spec): void => {
    const container = apiserver(spec);
    container.args = change(container.args ?? []);
  };
const append = (...more: string[]) => args((all) => [...all, ...more]);
const removeFlag = (flag: string) => args((all) => all.toSpliced(all.indexOf(flag), 2));
/** Writes `--flag value` as the given arguments. */
const rewrite = (flag: string, render: (value: string) => string[]) =>
  args((all) => {
    const at = all.indexOf(flag);
    return all.toSpliced(at, 2, ...render(all[at + 1] ?? ''));
  });
const mount =
  (container: (spec: Spec) => SpecContainer, name: string, change: Partial<Mount>) => (spec: Spec) =>
    void Object.assign(named(container(spec).volumeMounts, name), change);
const volume = (name: string, source: object) => (spec: Spec) => {
  spec.volumes = (spec.volumes ?? []).map((item) => (item.name === name ? { name, ...source } : item));
};
const both =
  (...changes: ((spec: Spec) => void)[]) =>
  (spec: Spec): void => {
    for (const change of changes) change(spec);
  };
const sidecarWith = (fields: Partial<SpecContainer>) => (spec: Spec) =>
  void Object.assign(sidecar(spec), fields);

const apiserverWith = (fields: Partial<SpecContainer>) => (spec: Spec) =>
  void Object.assign(apiserver(spec), fields);
const unmount = (container: (spec: Spec) => SpecContainer, name: string) => (spec: Spec) =>
  void Object.assign(container(spec), { volumeMounts: without(container(spec).volumeMounts, name) });
const removeSidecar = (spec: Spec): void => {
  spec.containers = without(spec.containers, 'audit-logs');
};

const addContainer = (fields: Partial<SpecContainer>) => (spec: Spec) =>
  void spec.containers.push({ name: 'other', image: 'other', ...fields });
const addMount = (container: (spec: Spec) => SpecContainer, mountPath: string) => (spec: Spec) => {
  spec.volumes?.push({ name: 'more', emptyDir: {} });
  container(spec).volumeMounts?.push({ name: 'more', mountPath });
};

const POLICY = '--audit-policy-file';
const POLICY_PATH = '/etc/kubernetes/audit/policy.yaml';
const LOG = '--audit-log-path';
const LOG_PATH = '/var/log/kubernetes/audit/audit.log';

export const POD_CASES: readonly PodCase[] = [
  // What keeps auditing.
  { name: 'as KKP renders it', change: () => undefined, effective: true },
  { name: '--flag=value', change: rewrite(POLICY, (value) => [`${POLICY}=${value}`]), effective: true },
  { name: '_ for -', change: rewrite(POLICY, (value) => ['--audit_policy_file', value]), effective: true },
  {
    name: 'a flag given twice, the last one right',
    change: args((all) => [POLICY, '/dev/null', ...all]),
    effective: true,
  },
  {
    name: 'flags of the future',
    change: append('--some-new-flag', 'value', '--another=value'),
    effective: true,
  },
  {
    name: 'flags in command',
    change: (spec) => {
      const container = apiserver(spec);
      container.command = [...(container.command ?? []), ...(container.args ?? [])];
      container.args = [];
    },
    effective: true,
  },
  {
    name: 'no command, the image starts it',
    change: (spec) => void delete apiserver(spec).command,
    effective: true,
  },
  {
    name: 'hyperkube',
    change: (spec) => {
      apiserver(spec).command = ['/hyperkube', 'kube-apiserver'];
    },
    effective: true,
  },
  {
    name: 'a variable as the value of another flag',
    change: append('--external-hostname', '$(HOST)'),
    effective: true,
  },
  {
    name: 'another image of the apiserver',
    change: apiserverWith({ image: 'registry.k8s.io/kube-apiserver:v1.35.9' }),
    effective: true,
  },
  {
    name: 'the sidecar from the registry of the apiserver',
    change: both(
      apiserverWith({ image: 'mirror.example:5000/kube-apiserver:v1' }),
      sidecarWith({ image: 'mirror.example:5000/fluent/fluent-bit:4.1' }),
    ),
    effective: true,
  },
  {
    name: 'the sidecar by digest',
    change: sidecarWith({ image: `fluent/fluent-bit@sha256:${'0'.repeat(64)}` }),
    effective: true,
  },
  {
    name: 'the sidecar before the apiserver',
    change: (spec) => void spec.containers.reverse(),
    effective: true,
  },
  {
    name: 'the sidecar as an init container that stays',
    change: (spec) => {
      spec.initContainers = [...(spec.initContainers ?? []), { ...sidecar(spec), restartPolicy: 'Always' }];
      removeSidecar(spec);
    },
    effective: true,
  },
  {
    name: 'more resources for the sidecar',
    change: sidecarWith({ resources: { limits: { memory: '1Gi', cpu: '1' } } }),
    effective: true,
  },
  { name: 'no limits for the sidecar', change: sidecarWith({ resources: {} }), effective: true },
  {
    name: 'the sidecar as KKP rendered it up to 2.20',
    change: sidecarWith({
      args: [
        '-i',
        'tail',
        '-p',
        `path=${LOG_PATH}`,
        '-p',
        'db=/var/log/kubernetes/audit/fluentbit.db',
        '-o',
        'stdout',
      ],
    }),
    effective: true,
  },
  {
    name: 'the sidecar with --config=',
    change: sidecarWith({ args: ['--config=/etc/fluent-bit/fluent-bit.conf', '-q'] }),
    effective: true,
  },
  {
    name: 'the sidecar with a flush of its own, and the parsers of its image',
    change: sidecarWith({
      args: [
        ...['-f', '60', '-R', '/fluent-bit/etc/parsers.conf'],
        ...['-c', '/etc/fluent-bit/fluent-bit.conf', '--flush=0.5', '-vv'],
      ],
    }),
    effective: true,
  },
  {
    name: 'the policy by items',
    change: volume('audit-config', {
      configMap: { name: 'audit-config', items: [{ key: 'policy.yaml', path: 'policy.yaml' }] },
    }),
    effective: true,
  },
  {
    name: 'the policy under another name',
    change: both(
      volume('audit-config', {
        configMap: { name: 'audit-config', items: [{ key: 'policy.yaml', path: 'p' }] },
      }),
      append(POLICY, '/etc/kubernetes/audit/p'),
    ),
    effective: true,
  },
  {
    name: 'the policy by subPath',
    change: mount(apiserver, 'audit-config', { mountPath: POLICY_PATH, subPath: 'policy.yaml' }),
    effective: true,
  },
  {
    name: 'the policy by a projected volume',
    change: volume('audit-config', { projected: { sources: [{ configMap: { name: 'audit-config' } }] } }),
    effective: true,
  },
  {
    name: 'a slash behind the mountPath',
    change: mount(apiserver, 'audit-config', { mountPath: '/etc/kubernetes/audit/' }),
    effective: true,
  },
  {
    name: 'the log on a volume of another kind',
    change: volume('audit-log', { hostPath: { path: '/srv/audit' } }),
    effective: true,
  },
  {
    name: 'a mount beside, whose path begins alike',
    change: (spec) =>
      void apiserver(spec).volumeMounts?.push({ name: 'audit-log', mountPath: '/etc/kubernetes/auditor' }),
    effective: true,
  },
  { name: 'a retention of its own', change: append('--audit-log-maxage', '365'), effective: true },
  {
    name: 'the largest retention',
    change: append('--audit-log-maxage=36500', '--audit-log-maxbackup=+10000', '--audit-log-maxsize=10000'),
    effective: true,
  },
  { name: 'files of a gigabyte', change: append('--audit-log-maxsize', '1000'), effective: true },
  {
    name: 'batch mode with a large buffer',
    change: append('--audit-log-mode', 'batch', '--audit-log-batch-buffer-size', '20000'),
    effective: true,
  },
  {
    name: 'a small buffer that counts for nothing',
    change: append('--audit-log-batch-buffer-size', '1'),
    effective: true,
  },
  {
    name: 'JSON, said aloud',
    change: append('--audit-log-format=json', '--audit-log-version', 'audit.k8s.io/v1'),
    effective: true,
  },
  {
    name: 'truncation, said to be off',
    change: append('--audit-log-truncate-enabled=false'),
    effective: true,
  },

  // The apiserver.
  { name: 'no container apiserver', change: apiserverWith({ name: 'api' }), effective: false },
  {
    name: 'a shell around it',
    change: apiserverWith({ command: ['/bin/sh', '-c', 'exec kube-apiserver "$@"', '--'] }),
    effective: false,
  },
  {
    name: 'a program of another name',
    change: apiserverWith({ command: ['/tmp/not-kube-apiserver-at-all'] }),
    effective: false,
  },

  // The policy.
  { name: 'no policy flag', change: removeFlag(POLICY), effective: false },
  { name: 'an empty policy flag', change: append(`${POLICY}=`), effective: false },
  { name: 'another policy behind it', change: append(POLICY, '/dev/null'), effective: false },
  {
    name: 'another policy behind it, with _',
    change: append('--audit_policy_file=/dev/null'),
    effective: false,
  },
  {
    name: 'the policy flag swallowed by one before it',
    change: args((all) => all.toSpliced(all.indexOf(POLICY), 0, '--service-cluster-ip-range')),
    effective: false,
  },
  {
    name: 'the policy flag behind --',
    change: args((all) => {
      const at = all.indexOf(POLICY);
      return [...all.toSpliced(at, 2), '--', ...all.slice(at, at + 2)];
    }),
    effective: false,
  },
  {
    name: 'the policy flag inside another argument',
    change: rewrite(POLICY, (value) => [`--external-hostname=x\n${POLICY}\n${value}`]),
    effective: false,
  },
  {
    name: 'a policy outside of the volume',
    change: append(POLICY, '/etc/kubernetes/policy.yaml'),
    effective: false,
  },
  {
    name: 'a way up in the policy path',
    change: append(POLICY, '/etc/kubernetes/audit/../pki/x'),
    effective: false,
  },
  { name: 'another key', change: append(POLICY, '/etc/kubernetes/audit/other.yaml'), effective: false },
  {
    name: 'another ConfigMap',
    change: volume('audit-config', { configMap: { name: 'my-policy' } }),
    effective: false,
  },
  {
    name: 'a Secret instead',
    change: volume('audit-config', { secret: { secretName: 'audit-config' } }),
    effective: false,
  },
  {
    name: 'another key by items',
    change: volume('audit-config', {
      configMap: { name: 'audit-config', items: [{ key: 'empty', path: 'policy.yaml' }] },
    }),
    effective: false,
  },
  { name: 'an empty volume', change: volume('audit-config', { emptyDir: {} }), effective: false },
  {
    name: 'another subPath',
    change: mount(apiserver, 'audit-config', { mountPath: POLICY_PATH, subPath: 'none.yaml' }),
    effective: false,
  },
  {
    name: 'a mount over the policy',
    change: (spec) =>
      void apiserver(spec).volumeMounts?.push({
        name: 'audit-log',
        mountPath: POLICY_PATH,
        subPath: 'policy.yaml',
      }),
    effective: false,
  },
  {
    name: 'no mount of the policy',
    change: unmount(apiserver, 'audit-config'),
    effective: false,
  },
  {
    name: 'a projected volume with something else on top',
    change: volume('audit-config', {
      projected: {
        sources: [
          { configMap: { name: 'audit-config' } },
          { configMap: { name: 'mine', items: [{ key: 'k', path: 'policy.yaml' }] } },
        ],
      },
    }),
    effective: false,
  },

  // The log.
  { name: 'no log', change: removeFlag(LOG), effective: false },
  { name: 'the log to standard output', change: append(LOG, '-'), effective: false },
  { name: 'the log where nobody reads', change: append(LOG, '/tmp/audit.log'), effective: false },
  {
    name: 'the log in another file',
    change: append(LOG, '/var/log/kubernetes/audit/other.log'),
    effective: false,
  },
  {
    name: 'a log that can not be written',
    change: mount(apiserver, 'audit-log', { readOnly: true }),
    effective: false,
  },
  {
    name: 'a log on a ConfigMap',
    change: volume('audit-log', { configMap: { name: 'audit-config' } }),
    effective: false,
  },
  { name: 'the log in the legacy format', change: append('--audit-log-format', 'legacy'), effective: false },
  {
    name: 'the log on a volume that the sidecar does not have',
    change: both(
      (spec) => void spec.volumes?.push({ name: 'elsewhere', emptyDir: {} }),
      mount(apiserver, 'audit-log', { name: 'elsewhere' }),
    ),
    effective: false,
  },
  { name: 'no age limit', change: append('--audit-log-maxage=0'), effective: false },
  { name: 'an age beyond 64 bits', change: append('--audit-log-maxage=106752'), effective: false },
  { name: 'an age of more than 36500 days', change: append('--audit-log-maxage=36501'), effective: false },
  { name: 'a size beyond 64 bits', change: append('--audit-log-maxsize', '8796093022208'), effective: false },
  { name: 'a size without a bound', change: append('--audit-log-maxsize', '10001'), effective: false },
  {
    name: 'backups without a bound',
    change: append('--audit-log-maxbackup', '1000000000'),
    effective: false,
  },
  { name: 'truncation', change: append('--audit-log-truncate-enabled'), effective: false },
  {
    name: 'batch mode with a tiny buffer',
    change: append('--audit-log-mode', 'batch', '--audit-log-batch-buffer-size', '1'),
    effective: false,
  },
  {
    name: 'batch mode with a throttle',
    change: append('--audit-log-mode=batch', '--audit-log-batch-throttle-enable'),
    effective: false,
  },

  // The sidecar.
  {
    name: 'no sidecar',
    change: removeSidecar,
    effective: false,
  },
  { name: 'a sidecar of another name', change: sidecarWith({ name: 'audit-log' }), effective: false },
  { name: 'a sidecar of another image', change: sidecarWith({ image: 'busybox' }), effective: false },
  {
    name: 'a sidecar from elsewhere',
    change: sidecarWith({ image: 'evil.example/fluent/fluent-bit:4.0.0' }),
    effective: false,
  },
  {
    name: 'an image that only ends alike',
    change: sidecarWith({ image: 'docker.io/evil/fluent/fluent-bit:4.0.0' }),
    effective: false,
  },
  {
    name: 'a sidecar that sleeps',
    change: sidecarWith({ command: ['sleep', 'infinity'], args: [] }),
    effective: false,
  },
  ...[
    ['-f', '999999'],
    ['--flush=61'],
    ['--flush', '0'],
    ['-f', '6e9'],
    ['-f', ''],
    ['-R', '/etc/fluent-bit/parsers.conf'],
    ['--parser=/fluent-bit/etc/../../tmp/x.conf'],
  ].map((more) => ({
    name: `a sidecar with ${more.join(' ')}`,
    change: sidecarWith({ args: ['-c', '/etc/fluent-bit/fluent-bit.conf', ...more] }),
    effective: false,
  })),
  { name: 'a sidecar without configuration', change: sidecarWith({ args: [] }), effective: false },
  {
    name: 'a sidecar with another configuration',
    change: sidecarWith({ args: ['-c', '/tmp/fluent-bit.conf'] }),
    effective: false,
  },
  {
    name: 'a sidecar with an output of its own',
    change: sidecarWith({ args: ['-c', '/etc/fluent-bit/fluent-bit.conf', '-o', 'null'] }),
    effective: false,
  },
  {
    name: 'a dry run of the sidecar',
    change: sidecarWith({ args: ['-c', '/etc/fluent-bit/fluent-bit.conf', '--dry-run'] }),
    effective: false,
  },
  {
    name: 'another Secret',
    change: volume('audit-logs-fluentbit', { secret: { secretName: 'mine' } }),
    effective: false,
  },
  {
    name: 'a ConfigMap instead of the Secret',
    change: volume('audit-logs-fluentbit', { configMap: { name: 'audit-logs-fluentbit' } }),
    effective: false,
  },
  {
    name: 'no mount of the log',
    change: unmount(sidecar, 'audit-log'),
    effective: false,
  },
  {
    name: 'the log at another place of the sidecar',
    change: mount(sidecar, 'audit-log', { mountPath: '/var/log/other' }),
    effective: false,
  },
  {
    name: 'another part of the volume',
    change: mount(sidecar, 'audit-log', { subPath: 'x' }),
    effective: false,
  },
  {
    name: 'a sidecar that can not keep its position',
    change: mount(sidecar, 'audit-log', { readOnly: true }),
    effective: false,
  },
  {
    name: 'a sidecar without memory',
    change: sidecarWith({ resources: { limits: { memory: '1Mi' } } }),
    effective: false,
  },
  {
    name: 'a sidecar without time',
    change: sidecarWith({ resources: { limits: { cpu: '1m' } } }),
    effective: false,
  },
  {
    name: 'a sidecar that ends before the apiserver starts',
    change: (spec) => {
      spec.initContainers = [...(spec.initContainers ?? []), sidecar(spec)];
      removeSidecar(spec);
    },
    effective: false,
  },

  // What gets between the two.
  {
    name: 'another container that reads the log',
    change: addContainer({ volumeMounts: [{ name: 'audit-log', mountPath: '/log', readOnly: true }] }),
    effective: true,
  },
  {
    name: 'another container that writes the log',
    change: addContainer({ volumeMounts: [{ name: 'audit-log', mountPath: '/log' }] }),
    effective: false,
  },
  {
    name: 'an apiserver beside',
    change: addContainer({ image: 'registry.k8s.io/kube-apiserver:v1.36.2' }),
    effective: false,
  },
  {
    name: 'an apiserver beside, by a script',
    change: addContainer({ command: ['sh', '-c', 'exec kube-apiserver --x'] }),
    effective: false,
  },
  {
    name: 'an apiserver beside, by its path',
    change: addContainer({ args: ['/usr/local/bin/kube-apiserver'] }),
    effective: false,
  },
  {
    name: 'the name of the apiserver as a value',
    change: addContainer({ args: ['--component', 'kube-apiserver'] }),
    effective: true,
  },
  {
    name: 'shared processes',
    change: (spec) => void Object.assign(spec, { shareProcessNamespace: true }),
    effective: false,
  },
  { name: 'a mount over the apiserver', change: addMount(apiserver, '/usr/local/bin'), effective: false },
  {
    name: 'a mount over fluent-bit',
    change: addMount(sidecar, '/fluent-bit/bin/fluent-bit'),
    effective: false,
  },
  { name: 'a mount over the parsers', change: addMount(sidecar, '/fluent-bit/etc'), effective: false },
  { name: 'a mount over the libraries', change: addMount(sidecar, '/usr/lib/'), effective: false },
  { name: 'a mount beside the libraries', change: addMount(sidecar, '/usr/libexec'), effective: true },
  {
    name: 'a termination message over the policy',
    change: apiserverWith({ terminationMessagePath: POLICY_PATH }),
    effective: false,
  },
  {
    name: 'a termination message over the log',
    change: sidecarWith({ terminationMessagePath: LOG_PATH }),
    effective: false,
  },
  {
    name: 'a termination message elsewhere',
    change: sidecarWith({ terminationMessagePath: '/dev/other' }),
    effective: true,
  },
  {
    name: 'a tiny volume for the log',
    change: volume('audit-log', { emptyDir: { sizeLimit: '1Mi' } }),
    effective: false,
  },
  {
    name: 'a large volume for the log',
    change: volume('audit-log', { emptyDir: { sizeLimit: '1Gi' } }),
    effective: true,
  },
  {
    name: 'the log on a device',
    change: volume('audit-log', { hostPath: { path: '/dev' } }),
    effective: false,
  },
  {
    name: 'another program by the environment',
    change: sidecarWith({ env: [{ name: 'LD_PRELOAD', value: '/x.so' }] }),
    effective: false,
  },
  {
    name: 'a variable of its own',
    change: sidecarWith({ env: [{ name: 'HOST', value: 'x' }] }),
    effective: true,
  },
  {
    name: 'a command at the start',
    change: sidecarWith({ lifecycle: { postStart: { exec: { command: ['sh'] } } } }),
    effective: false,
  },
  {
    name: 'a command as a probe',
    change: sidecarWith({ livenessProbe: { exec: { command: ['sh'] } } }),
    effective: false,
  },
  {
    name: 'a probe over HTTP',
    change: sidecarWith({ livenessProbe: { httpGet: { port: 2020, path: '/' } } }),
    effective: true,
  },
  {
    name: 'a user who can not read the log',
    change: sidecarWith({ securityContext: { runAsUser: 1000 } }),
    effective: false,
  },
  {
    name: 'one user for both',
    change: (spec) => void Object.assign(spec, { securityContext: { runAsUser: 1000 } }),
    effective: true,
  },
  {
    name: 'batches held back for long',
    change: append('--audit-log-mode', 'batch', '--audit-log-batch-max-wait', '1h'),
    effective: false,
  },
  {
    name: 'batches of moderate size',
    change: append(
      '--audit-log-mode',
      'batch',
      '--audit-log-batch-max-wait',
      '1m30s',
      '--audit-log-batch-max-size',
      '400',
    ),
    effective: true,
  },
  {
    name: 'batches that never fill',
    change: append('--audit-log-mode', 'batch', '--audit-log-batch-max-size', '100000'),
    effective: false,
  },

  // Another program than the image's.
  {
    name: 'kube-apiserver without its path',
    change: apiserverWith({ command: ['kube-apiserver'] }),
    effective: true,
  },
  {
    name: 'kube-apiserver from a volume',
    change: both(apiserverWith({ command: ['/evil/kube-apiserver'] }), addMount(apiserver, '/evil')),
    effective: false,
  },
  {
    name: 'kube-apiserver from a volume, with two slashes',
    change: both(apiserverWith({ command: ['//evil/kube-apiserver'] }), addMount(apiserver, '/evil')),
    effective: false,
  },
  {
    name: 'kube-apiserver from a volume, there and back',
    change: both(apiserverWith({ command: ['/x/../evil/kube-apiserver'] }), addMount(apiserver, '/evil')),
    effective: false,
  },
  {
    name: 'kube-apiserver from a volume, by a variable',
    change: both(
      apiserverWith({ command: ['$(B)'], env: [{ name: 'B', value: '/evil/kube-apiserver' }] }),
      addMount(apiserver, '/evil'),
    ),
    effective: false,
  },
  {
    name: 'kube-apiserver from a directory that a Secret names',
    change: apiserverWith({
      command: ['$(D)/kube-apiserver'],
      env: [{ name: 'D', valueFrom: { secretKeyRef: { name: 'tokens', key: 'd' } } }],
    }),
    effective: false,
  },
  {
    name: 'kube-apiserver by a PATH of its own',
    change: both(
      apiserverWith({ command: ['kube-apiserver'], env: [{ name: 'PATH', value: '/evil' }] }),
      addMount(apiserver, '/evil'),
    ),
    effective: false,
  },
  {
    name: 'kube-apiserver by a PATH from a ConfigMap',
    change: apiserverWith({
      command: ['kube-apiserver'],
      envFrom: [{ configMapRef: { name: 'ca-bundle' } }],
    }),
    effective: false,
  },
  {
    name: 'a PATH that counts for nothing',
    change: both(
      apiserverWith({ env: [{ name: 'PATH', value: '/bin' }] }),
      sidecarWith({ env: [{ name: 'PATH', value: '/bin' }] }),
    ),
    effective: true,
  },
  {
    name: 'kube-apiserver from the working directory',
    change: both(
      apiserverWith({ command: ['./kube-apiserver'], workingDir: '/evil' }),
      addMount(apiserver, '/evil'),
    ),
    effective: false,
  },
  {
    name: 'kube-apiserver by a link of the kernel',
    change: both(
      apiserverWith({ command: ['/proc/self/root/evil/kube-apiserver'] }),
      addMount(apiserver, '/evil'),
    ),
    effective: false,
  },
  {
    name: 'kube-apiserver at the other name of its directory',
    change: both(
      apiserverWith({ command: ['/bin/kube-apiserver'] }),
      addMount(apiserver, '/usr/bin/kube-apiserver'),
    ),
    effective: false,
  },
  {
    name: 'a mount over where kube-apiserver is looked for first',
    change: both(apiserverWith({ command: ['kube-apiserver'] }), addMount(apiserver, '/usr/local/sbin')),
    effective: false,
  },
  {
    name: 'a mount beside kube-apiserver',
    change: addMount(apiserver, '/usr/local/bin/helper'),
    effective: true,
  },
  {
    name: 'fluent-bit from a volume',
    change: both(sidecarWith({ command: ['/evil/fluent-bit'] }), addMount(sidecar, '/evil')),
    effective: false,
  },
  {
    name: 'fluent-bit by a PATH of its own',
    change: both(
      sidecarWith({ command: ['fluent-bit'], env: [{ name: 'PATH', value: '/evil' }] }),
      addMount(sidecar, '/evil'),
    ),
    effective: false,
  },
  {
    name: 'fluent-bit from the working directory',
    change: both(sidecarWith({ command: ['./fluent-bit'], workingDir: '/evil' }), addMount(sidecar, '/evil')),
    effective: false,
  },
  {
    name: 'fluent-bit without its path',
    change: sidecarWith({ command: ['fluent-bit'] }),
    effective: true,
  },
  {
    name: 'fluent-bit elsewhere in its image',
    change: sidecarWith({ command: ['/opt/bitnami/fluent-bit/bin/fluent-bit'] }),
    effective: true,
  },
  {
    name: 'variables of the sidecar from a ConfigMap',
    change: sidecarWith({ envFrom: [{ configMapRef: { name: 'ca-bundle' } }] }),
    effective: false,
  },
  {
    name: 'variables of the sidecar from a Secret, with a prefix',
    change: sidecarWith({ envFrom: [{ prefix: 'BUCKET_', secretRef: { name: 'tokens' } }] }),
    effective: true,
  },
  {
    name: 'variables of the sidecar, with the beginning of a name',
    change: sidecarWith({ envFrom: [{ prefix: 'LD', secretRef: { name: 'tokens' } }] }),
    effective: false,
  },
  {
    name: 'a mount over a directory of the libraries',
    change: addMount(sidecar, '/usr/lib/x86_64-linux-gnu'),
    effective: false,
  },
  {
    name: 'a mount over one library',
    change: (spec) => {
      spec.volumes?.push({ name: 'more', configMap: { name: 'ca-bundle' } });
      const mountPath = '/usr/lib/x86_64-linux-gnu/libc.so.6';
      sidecar(spec).volumeMounts?.push({ name: 'more', mountPath, subPath: 'l' });
    },
    effective: false,
  },
  {
    name: 'a mount over one library, by its link',
    change: addMount(sidecar, '/lib/x86_64-linux-gnu/libc.so.6'),
    effective: false,
  },
  {
    name: 'a termination message over one library',
    change: sidecarWith({ terminationMessagePath: '/lib64/ld-linux-x86-64.so.2' }),
    effective: false,
  },
  {
    name: 'certificates for the sidecar',
    change: addMount(sidecar, '/etc/ssl/certs'),
    effective: true,
  },

  {
    name: 'a mount that a link of another container leads over fluent-bit',
    change: both(addMount(sidecar, '/a/link'), (spec) => {
      spec.volumes?.push({ name: 'links', emptyDir: {} });
      sidecar(spec).volumeMounts?.push({ name: 'links', mountPath: '/a' });
      const volumeMounts = [{ name: 'links', mountPath: '/a' }];
      spec.initContainers?.push({ name: 'linker', image: 'other', volumeMounts });
    }),
    effective: false,
  },
  {
    name: 'a mount that a link on the node leads over kube-apiserver',
    change: both(addMount(apiserver, '/run/a/link'), (spec) => {
      spec.volumes?.push({ name: 'links', hostPath: { path: '/srv' } });
      apiserver(spec).volumeMounts?.push({ name: 'links', mountPath: '/var/run/a' });
    }),
    effective: false,
  },
  {
    name: 'a mount inside a volume that only the apiserver has',
    change: both(addMount(apiserver, '/a/b'), (spec) => {
      spec.volumes?.push({ name: 'own', emptyDir: {} });
      apiserver(spec).volumeMounts?.push({ name: 'own', mountPath: '/a' });
    }),
    effective: true,
  },
  {
    name: 'a mount inside the volume of the policy',
    change: addMount(apiserver, '/etc/kubernetes/audit/more'),
    effective: true,
  },

  // What kubelet runs besides.
  {
    name: 'an apiserver beside, after the start',
    change: apiserverWith({
      lifecycle: {
        postStart: { exec: { command: ['/usr/local/bin/kube-apiserver', '--secure-port', '6444'] } },
      },
    }),
    effective: false,
  },
  {
    name: 'an apiserver beside, as a probe',
    change: apiserverWith({
      livenessProbe: { exec: { command: ['/usr/local/bin/kube-apiserver'] }, timeoutSeconds: 86400 },
    }),
    effective: false,
  },
  {
    name: 'an apiserver beside, as a probe of another container',
    change: addContainer({ readinessProbe: { exec: { command: ['/usr/local/bin/kube-apiserver'] } } }),
    effective: false,
  },
  {
    name: 'an apiserver beside, by a variable',
    change: addContainer({
      command: ['sh', '-c', '$(C)'],
      env: [{ name: 'C', value: 'exec /usr/local/bin/kube-apiserver' }],
    }),
    effective: false,
  },
  {
    name: 'a command in a probe of another container',
    change: addContainer({ readinessProbe: { exec: { command: ['/bin/true'] } } }),
    effective: true,
  },
  {
    name: 'a command that may empty the log',
    change: apiserverWith({ readinessProbe: { exec: { command: ['sh', '-c', ': > /log'] } } }),
    effective: false,
  },
  {
    name: 'a wait before the sidecar starts',
    change: apiserverWith({ lifecycle: { postStart: { sleep: { seconds: 20 } } } }),
    effective: false,
  },
  {
    name: 'a wait of another container before the sidecar starts',
    change: (spec) => {
      const lifecycle = { postStart: { httpGet: { port: 1, path: '/' } } };
      spec.containers.splice(spec.containers.indexOf(apiserver(spec)) + 1, 0, {
        name: 'other',
        image: 'other',
        lifecycle,
      });
    },
    effective: false,
  },
  {
    name: 'a wait of another container behind the sidecar',
    change: addContainer({ lifecycle: { postStart: { exec: { command: ['/bin/true'] } } } }),
    effective: true,
  },
  {
    name: 'a wait of the apiserver that an init container does not see',
    change: (spec) => {
      spec.initContainers = [...(spec.initContainers ?? []), { ...sidecar(spec), restartPolicy: 'Always' }];
      removeSidecar(spec);
      Object.assign(apiserver(spec), { lifecycle: { postStart: { sleep: { seconds: 20 } } } });
    },
    effective: true,
  },
  {
    name: 'a wait for load balancers at the end',
    change: apiserverWith({ lifecycle: { preStop: { sleep: { seconds: 20 } } } }),
    effective: true,
  },
  {
    name: 'a day without the sidecar at the end',
    change: both(
      (spec) => void Object.assign(spec, { terminationGracePeriodSeconds: 86400 }),
      apiserverWith({ lifecycle: { preStop: { sleep: { seconds: 86400 } } } }),
    ),
    effective: false,
  },
  {
    name: 'a request at the end, that may take a day',
    change: both(
      (spec) => void Object.assign(spec, { terminationGracePeriodSeconds: 86400 }),
      apiserverWith({ lifecycle: { preStop: { httpGet: { port: 1, path: '/' } } } }),
    ),
    effective: false,
  },

  // Files as they are really called.
  {
    name: 'a termination message over the log elsewhere',
    change: both(
      mount(apiserver, 'audit-log', { mountPath: '/logs' }),
      append(LOG, '/logs/audit.log'),
      apiserverWith({ terminationMessagePath: '/logs/audit.log' }),
    ),
    effective: false,
  },
  {
    name: 'the log elsewhere',
    change: both(mount(apiserver, 'audit-log', { mountPath: '/logs' }), append(LOG, '/logs/audit.log')),
    effective: true,
  },
  {
    name: 'a termination message over the policy elsewhere',
    change: both(
      mount(apiserver, 'audit-config', { mountPath: '/p' }),
      append(POLICY, '/p/policy.yaml'),
      apiserverWith({ terminationMessagePath: '/p/policy.yaml' }),
    ),
    effective: false,
  },
  {
    name: 'a termination message over the configuration elsewhere',
    change: both(
      mount(sidecar, 'audit-logs-fluentbit', { mountPath: '/c' }),
      sidecarWith({ args: ['-c', '/c/fluent-bit.conf'], terminationMessagePath: '/c/fluent-bit.conf' }),
    ),
    effective: false,
  },
  {
    name: 'a device over the configuration',
    change: (spec) => {
      spec.volumes?.push({ name: 'raw', persistentVolumeClaim: { claimName: 'raw' } });
      const volumeDevices = [{ name: 'raw', devicePath: '/etc/fluent-bit/fluent-bit.conf' }];
      Object.assign(sidecar(spec), { volumeDevices });
    },
    effective: false,
  },
  {
    name: 'a device elsewhere',
    change: (spec) => {
      spec.volumes?.push({ name: 'raw', persistentVolumeClaim: { claimName: 'raw' } });
      Object.assign(sidecar(spec), { volumeDevices: [{ name: 'raw', devicePath: '/dev/raw' }] });
    },
    effective: true,
  },
  {
    name: 'the log mounted as a file for the sidecar',
    change: mount(sidecar, 'audit-log', { mountPath: LOG_PATH, subPath: 'audit.log' }),
    effective: false,
  },
  {
    name: 'the log mounted as a file for the apiserver',
    change: mount(apiserver, 'audit-log', { mountPath: LOG_PATH, subPath: 'audit.log' }),
    effective: false,
  },
  {
    name: 'the log in a directory of the volume',
    change: both(
      mount(apiserver, 'audit-log', { subPath: 'x' }),
      mount(sidecar, 'audit-log', { subPath: 'x' }),
    ),
    effective: true,
  },

  // Storage under two names, users, limits, images.
  ...(
    [
      ['the same directory of the node', { hostPath: { path: '/srv/a' } }, false],
      ['a directory above on the node', { hostPath: { path: '/srv/' } }, false],
      ['a directory below on the node', { hostPath: { path: '/srv/a/b', type: 'Directory' } }, false],
      ['another directory of the node', { hostPath: { path: '/srv/ab' } }, true],
      ['the same claim', { persistentVolumeClaim: { claimName: 'logs' } }, false],
      ['another claim', { persistentVolumeClaim: { claimName: 'other' } }, true],
    ] as const
  ).map(([name, source, effective]) => ({
    name: `another container that writes to ${name}`,
    change: both(
      volume(
        'audit-log',
        'hostPath' in source
          ? { hostPath: { path: '/srv/a' } }
          : { persistentVolumeClaim: { claimName: 'logs' } },
      ),
      (spec: Spec) => void spec.volumes?.push({ name: 'other', ...source }),
      addContainer({ volumeMounts: [{ name: 'other', mountPath: '/x' }] }),
    ),
    effective,
  })),
  ...(
    [
      ['all capabilities dropped', { drop: ['ALL'] }, false],
      ['the one capability dropped', { drop: ['DAC_OVERRIDE'] }, false],
      ['the one capability kept', { drop: ['ALL'], add: ['DAC_OVERRIDE'] }, true],
      ['another capability dropped', { drop: ['NET_RAW'] }, true],
    ] as const
  ).map(([name, capabilities, effective]) => ({
    name: `the apiserver as somebody, the sidecar as root with ${name}`,
    change: both(
      apiserverWith({ securityContext: { runAsUser: 1000 } }),
      sidecarWith({ securityContext: { runAsUser: 0, capabilities } }),
    ),
    effective,
  })),
  {
    name: 'both as root, without capabilities',
    change: sidecarWith({ securityContext: { capabilities: { drop: ['ALL'] } } }),
    effective: true,
  },
  {
    name: 'a sidecar without room for what it prints',
    change: sidecarWith({ resources: { limits: { 'ephemeral-storage': '1Ki' } } }),
    effective: false,
  },
  {
    name: 'a sidecar with room for what it prints',
    change: sidecarWith({ resources: { limits: { 'ephemeral-storage': '100Mi' } } }),
    effective: true,
  },
  {
    name: 'an image of another name',
    change: apiserverWith({ image: 'docker.io/mallory/thing:v1' }),
    effective: false,
  },
  {
    name: 'an image of the right name by digest, from another registry',
    change: apiserverWith({
      image: `mirror.example:5000/k8s/kube-apiserver-amd64:v1@sha256:${'0'.repeat(64)}`,
    }),
    effective: true,
  },

  // What CEL can't follow, it does not let pass: the values of variables, and paths that have to be resolved first.
  {
    name: 'a flag from the environment',
    change: both(apiserverWith({ env: [{ name: 'FLAG', value: `${POLICY}=/dev/null` }] }), append('$(FLAG)')),
    effective: false,
  },
  {
    name: 'a harmless flag from the environment',
    change: both(apiserverWith({ env: [{ name: 'FLAG', value: '--v=2' }] }), append('$(FLAG)')),
    effective: false,
    beyondCel: true,
  },
  {
    name: 'a path that goes nowhere and back',
    change: append(POLICY, '/etc/kubernetes/audit/./policy.yaml'),
    effective: false,
    beyondCel: true,
  },
];
