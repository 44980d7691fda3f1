/** The table of ways not to audit: what a pod spec is changed by, and the codes that say so. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { desire } from '../../src/audit/desired.ts';
import { judge } from '../../src/audit/effective.ts';
import type { Container, PodSpec, Volume, VolumeMount } from '../../src/kubernetes.ts';
import { explainReason } from '../../src/reasons.ts';
import {
  ENABLED,
  inject,
  kkp,
  settingsWith,
  specOf,
  WEBHOOK_BACKEND,
  withSpec,
} from '../support/audit-generators.ts';

type Draft<T> = { -readonly [K in keyof T]: T[K] };
type Change = (
  apiserver: Draft<Container> & { args: string[]; volumeMounts: VolumeMount[] },
  sidecar: Draft<Container> & { args: string[]; volumeMounts: VolumeMount[] },
  spec: Draft<PodSpec> & { containers: Container[]; volumes: Volume[] },
) => void;

const SETTINGS = settingsWith({ ...ENABLED, webhookBackend: WEBHOOK_BACKEND });
const DESIRED = desire(SETTINGS, 'deployment');

function changed(change: Change): PodSpec {
  const spec = structuredClone(specOf(kkp({}, { ...ENABLED, webhookBackend: WEBHOOK_BACKEND })));
  const find = (name: string) => spec.containers?.find((container) => container.name === name) as never;
  change(find('apiserver'), find('audit-logs'), spec as never);
  return spec;
}

const codes = (spec: PodSpec): string[] => [...new Set(judge(spec, DESIRED).reasons.map(({ code }) => code))];
const env = [{ name: 'X', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } }];
const without = (args: string[], flag: string): string[] => args.toSpliced(args.indexOf(flag), 2);
const volume = (spec: { volumes: Volume[] }, name: string): Draft<Volume> => {
  const found = spec.volumes.find((candidate) => candidate.name === name);
  assert.ok(found);
  return found;
};
const setMount = (list: VolumeMount[], name: string, fields: object): void =>
  void Object.assign(list.find((mount) => mount.name === name) ?? assert.fail(), fields);

const INEFFECTIVE: Record<string, [Change, ...string[]]> = {
  'no apiserver': [
    (apiserver) => {
      apiserver.name = 'kube';
    },
    'APISERVER_CONTAINER_MISSING',
  ],
  'two apiservers': [
    (apiserver, _, spec) => {
      spec.containers.push({ ...apiserver });
    },
    'APISERVER_CONTAINER_REPEATED',
  ],
  'no containers': [
    (_a, _s, spec) => {
      delete (spec as PodSpec & { containers?: unknown }).containers;
    },
    'APISERVER_CONTAINER_MISSING',
  ],
  'a shell': [
    (apiserver) => {
      apiserver.command = ['/bin/sh', '-c'];
    },
    'APISERVER_COMMAND_UNKNOWN',
  ],
  'arguments from a Secret': [
    (apiserver) => {
      Object.assign(apiserver, { env });
      apiserver.args.push('$(X)');
    },
    'ARGUMENTS_UNREADABLE',
  ],
  'a stray argument': [
    (apiserver) => {
      apiserver.args.push('x');
    },
    'ARGUMENTS_STRAY',
  ],
  'no policy flag': [
    (apiserver) => {
      apiserver.args = without(apiserver.args, '--audit-policy-file');
    },
    'POLICY_FLAG_MISSING',
  ],
  'an empty policy flag': [
    (apiserver) => {
      apiserver.args.push('--audit-policy-file=');
    },
    'POLICY_FLAG_MISSING',
  ],
  'a later policy': [
    (apiserver) => {
      apiserver.args.push('--audit_policy_file=/dev/null');
    },
    'POLICY_FILE_ELSEWHERE',
  ],
  'a policy from a variable': [
    (apiserver) => {
      Object.assign(apiserver, { env });
      apiserver.args.push('--audit-policy-file=$(X)');
    },
    'POLICY_FILE_ELSEWHERE',
  ],
  'flags behind --': [
    (apiserver) => {
      apiserver.args = ['--', ...apiserver.args];
    },
    'ARGUMENTS_STRAY',
    'LOG_PATH_MISSING',
    'POLICY_FLAG_MISSING',
    'WEBHOOK_FLAG_MISSING',
  ],
  'another ConfigMap': [
    (_a, _s, spec) => {
      Object.assign(volume(spec, 'audit-config'), { configMap: { name: 'mine' } });
    },
    'POLICY_FILE_ELSEWHERE',
  ],
  'a Secret of that name': [
    (_a, _s, spec) => {
      spec.volumes = spec.volumes.map((v) =>
        v.name === 'audit-config' ? { name: v.name, secret: { secretName: 'audit-config' } } : v,
      );
    },
    'POLICY_FILE_ELSEWHERE',
  ],
  'another key': [
    (_a, _s, spec) => {
      Object.assign(volume(spec, 'audit-config').configMap ?? {}, {
        items: [{ key: 'none.yaml', path: 'policy.yaml' }],
      });
    },
    'POLICY_FILE_ELSEWHERE',
  ],
  'a key that covers another': [
    (_a, _s, spec) => {
      Object.assign(volume(spec, 'audit-config').configMap ?? {}, {
        items: [
          { key: 'policy.yaml', path: 'policy.yaml' },
          { key: 'none', path: './policy.yaml' },
        ],
      });
    },
    'POLICY_FILE_ELSEWHERE',
  ],
  'a key under another name': [
    (_a, _s, spec) => {
      Object.assign(volume(spec, 'audit-config').configMap ?? {}, {
        items: [{ key: 'policy.yaml', path: 'p.yaml' }],
      });
    },
    'POLICY_FILE_ELSEWHERE',
  ],
  'a projected volume with another ConfigMap': [
    (_a, _s, spec) => {
      spec.volumes = spec.volumes.map((v) =>
        v.name === 'audit-config'
          ? {
              name: v.name,
              projected: {
                sources: [
                  {
                    configMap: { name: 'audit-config', items: [{ key: 'policy.yaml', path: 'policy.yaml' }] },
                  },
                  { configMap: { name: 'mine' } },
                ],
              },
            }
          : v,
      );
    },
    'POLICY_FILE_ELSEWHERE',
  ],
  'a projected volume with the downward API': [
    (_a, _s, spec) => {
      spec.volumes = spec.volumes.map((v) =>
        v.name === 'audit-config'
          ? {
              name: v.name,
              projected: {
                sources: [
                  { configMap: { name: 'audit-config' } },
                  {
                    downwardAPI: {
                      items: [{ path: 'policy.yaml', fieldRef: { fieldPath: 'metadata.name' } }],
                    },
                  },
                ],
              },
            }
          : v,
      );
    },
    'POLICY_FILE_ELSEWHERE',
  ],
  'no policy volume': [
    (_a, _s, spec) => {
      spec.volumes = spec.volumes.filter(({ name }) => name !== 'audit-config');
    },
    'POLICY_FILE_ELSEWHERE',
  ],
  'no policy mount': [
    (apiserver) => {
      apiserver.volumeMounts = apiserver.volumeMounts.filter(({ name }) => name !== 'audit-config');
    },
    'POLICY_FILE_ELSEWHERE',
  ],
  'a subPath': [
    (apiserver) => {
      setMount(apiserver.volumeMounts, 'audit-config', { subPath: 'x' });
    },
    'POLICY_FILE_ELSEWHERE',
  ],
  'a subPathExpr': [
    (apiserver) => {
      setMount(apiserver.volumeMounts, 'audit-config', { subPathExpr: '$(X)' });
    },
    'POLICY_FILE_ELSEWHERE',
  ],
  'a file mounted over the policy': [
    (apiserver) => {
      apiserver.volumeMounts.push({
        name: 'tokens',
        mountPath: '/etc/kubernetes//audit/./policy.yaml',
        subPath: 'tokens.csv',
      });
    },
    'POLICY_FILE_ELSEWHERE',
  ],
  'no log path': [
    (apiserver) => {
      apiserver.args = without(apiserver.args, '--audit-log-path');
    },
    'LOG_PATH_MISSING',
  ],
  'a log to standard output': [
    (apiserver) => {
      apiserver.args.push('--audit-log-path', '-');
    },
    'LOG_PATH_STDOUT',
  ],
  'a log outside of any volume': [
    (apiserver) => {
      apiserver.args.push('--audit-log-path=/tmp/audit.log');
    },
    'LOG_PATH_UNWRITABLE',
  ],
  'a log that is not absolute': [
    (apiserver) => {
      apiserver.args.push('--audit-log-path=audit.log');
    },
    'LOG_PATH_UNWRITABLE',
  ],
  'a log that is read-only': [
    (apiserver) => {
      setMount(apiserver.volumeMounts, 'audit-log', { readOnly: true });
    },
    'LOG_PATH_UNWRITABLE',
  ],
  'a log in a ConfigMap': [
    (apiserver) => {
      apiserver.args.push('--audit-log-path=/etc/kubernetes/audit/audit.log');
    },
    'LOG_PATH_UNWRITABLE',
  ],
  'a log in a claim that is read-only': [
    (_a, _s, spec) => {
      spec.volumes = spec.volumes.map((v) =>
        v.name === 'audit-log'
          ? { name: v.name, persistentVolumeClaim: { claimName: 'x', readOnly: true } }
          : v,
      );
    },
    'LOG_PATH_UNWRITABLE',
    'SIDECAR_LOG_UNREADABLE',
  ],
  'the old format': [
    (apiserver) => {
      apiserver.args.push('--audit-log-format', 'legacy');
    },
    'LOG_FORMAT',
  ],
  'another version': [
    (apiserver) => {
      apiserver.args.push('--audit-log-version=audit.k8s.io/v1beta1');
    },
    'LOG_FORMAT',
  ],
  'no sidecar': [
    (_a, sidecar) => {
      Object.assign(sidecar, { name: 'logs', volumeMounts: [] });
    },
    'SIDECAR_MISSING',
  ],
  'a sidecar that ends': [
    (_a, sidecar, spec) => {
      spec.containers = spec.containers.filter((c) => c !== sidecar);
      spec.initContainers = [sidecar];
    },
    'SIDECAR_NOT_RUNNING',
  ],
  'a sidecar that does not come back': [
    (_a, sidecar) => {
      sidecar.restartPolicy = 'Never';
    },
    'SIDECAR_NOT_RUNNING',
  ],
  'another image': [
    (_a, sidecar) => {
      sidecar.image = 'busybox';
    },
    'SIDECAR_IMAGE',
  ],
  'another registry': [
    (_a, sidecar) => {
      sidecar.image = 'evil.example.com/fluent/fluent-bit:4.0.0';
    },
    'SIDECAR_IMAGE',
  ],
  'no image': [
    (_a, sidecar) => {
      delete (sidecar as { image?: string }).image;
    },
    'SIDECAR_IMAGE',
  ],
  'another program': [
    (_a, sidecar) => {
      sidecar.command = ['/bin/sleep', 'inf'];
    },
    'SIDECAR_COMMAND',
  ],
  'an output beside the configuration': [
    (_a, sidecar) => {
      sidecar.args.push('-o', 'null');
    },
    'SIDECAR_COMMAND',
  ],
  'an option that is not known': [
    (_a, sidecar) => {
      sidecar.args.push('--dry-run');
    },
    'SIDECAR_COMMAND',
  ],
  'a configuration from a variable': [
    (_a, sidecar) => {
      Object.assign(sidecar, { env });
      sidecar.args = ['-c', '/etc/fluent-bit/fluent-bit.conf$(X)'];
    },
    'SIDECAR_COMMAND',
  ],
  'no arguments': [
    (_a, sidecar) => {
      sidecar.args = [];
    },
    'SIDECAR_COMMAND',
  ],
  'another configuration': [
    (_a, sidecar) => {
      sidecar.args.push('-c', '/tmp/x.conf');
    },
    'SIDECAR_CONFIG_ELSEWHERE',
  ],
  'another Secret': [
    (_a, _s, spec) => {
      Object.assign(volume(spec, 'audit-logs-fluentbit').secret ?? {}, { secretName: 'mine' });
    },
    'SIDECAR_CONFIG_ELSEWHERE',
  ],
  'the log not mounted': [
    (_a, sidecar) => {
      sidecar.volumeMounts = sidecar.volumeMounts.filter(({ name }) => name !== 'audit-log');
    },
    'SIDECAR_LOG_UNREADABLE',
  ],
  'another volume for the log': [
    (_a, sidecar, spec) => {
      spec.volumes.push({ name: 'other', emptyDir: {} });
      setMount(sidecar.volumeMounts, 'audit-log', { name: 'other' });
    },
    'SIDECAR_LOG_UNREADABLE',
  ],
  'another folder of the volume': [
    (_a, sidecar) => {
      setMount(sidecar.volumeMounts, 'audit-log', { subPath: 'x' });
    },
    'SIDECAR_LOG_UNREADABLE',
  ],
  'no place for the position': [
    (_a, sidecar) => {
      setMount(sidecar.volumeMounts, 'audit-log', { readOnly: true });
    },
    'SIDECAR_LOG_UNREADABLE',
  ],
  'tiny memory': [
    (_a, sidecar) => {
      sidecar.resources = { limits: { memory: '1Mi' } };
    },
    'SIDECAR_STARVED',
  ],
  'tiny cpu': [
    (_a, sidecar) => {
      sidecar.resources = { limits: { cpu: 0.001 } };
    },
    'SIDECAR_STARVED',
  ],
  'no webhook flag': [
    (apiserver) => {
      apiserver.args = without(apiserver.args, '--audit-webhook-config-file');
    },
    'WEBHOOK_FLAG_MISSING',
  ],
  'another webhook Secret': [
    (_a, _s, spec) => {
      Object.assign(volume(spec, 'audit-webhook-backend').secret ?? {}, { secretName: 'mine' });
    },
    'WEBHOOK_FILE_ELSEWHERE',
  ],
};
for (const flag of [
  'log-mode=batch --audit-log-batch-buffer-size=1',
  'log-mode=batch --audit-log-batch-buffer-size=0b1',
  'log-mode=batch --audit-log-batch-buffer-size=0o10',
  'log-mode=batch --audit-log-batch-throttle-enable',
  'log-mode=batch --audit-log-batch-max-size=100000',
  'log-mode=batch --audit-log-batch-max-wait=24h',
  'log-truncate-enabled',
  'log-truncate-enabled=T',
  'log-maxage=0',
  'log-maxbackup=0x0',
  'log-maxsize=00',
  // From 2^43 megabytes on each write of kube-apiserver's log fails; before that, there is no bound.
  'log-maxsize=8796093022208',
  'log-maxsize=0x100000000000',
  'log-maxsize=10001',
  'log-maxage=106752',
  'log-maxage=36501',
  'log-maxbackup=1000000000',
  'webhook-batch-buffer-size=1_0',
  'webhook-batch-throttle-qps=0x1p-2',
  'webhook-truncate-enabled=1',
])
  INEFFECTIVE[`--audit-${flag}`] = [
    (apiserver) => {
      apiserver.args.push(...`--audit-${flag}`.split(' '));
    },
    'LOG_WEAKENED',
  ];

const EFFECTIVE: Record<string, Change> = {
  'what KKP renders': () => {},
  'other spellings': (apiserver) => {
    apiserver.args = [
      '--audit_policy_file=/etc/kubernetes/audit//policy.yaml',
      ...without(apiserver.args, '--audit-policy-file'),
    ];
  },
  'the last of repeated flags': (apiserver) => {
    apiserver.args = ['--audit-log-path=-', ...apiserver.args];
  },
  'a sidecar of Kubernetes 1.29': (_a, sidecar, spec) => {
    spec.containers = spec.containers.filter((c) => c !== sidecar);
    spec.initContainers = [{ ...sidecar, restartPolicy: 'Always' }];
  },
  'the sidecar of KKP 2.20': (_a, sidecar, spec) => {
    sidecar.args = [
      '-i',
      'tail',
      '-p',
      'path=/var/log/kubernetes/audit/audit.log',
      '-p',
      'db=/var/log/kubernetes/audit/f.db',
      '-o',
      'stdout',
    ];
    spec.volumes = spec.volumes.filter(({ name }) => name !== 'audit-logs-fluentbit');
    sidecar.volumeMounts = sidecar.volumeMounts.filter(({ name }) => name !== 'audit-logs-fluentbit');
  },
  'the policy as a single file': (apiserver) => {
    setMount(apiserver.volumeMounts, 'audit-config', {
      mountPath: '/etc/kubernetes/audit/policy.yaml',
      subPath: 'policy.yaml',
    });
  },
  'a projected volume': (_a, _s, spec) => {
    spec.volumes = spec.volumes.map((v) =>
      v.name === 'audit-config'
        ? {
            name: v.name,
            projected: {
              sources: [{ configMap: { name: 'audit-config' } }, { serviceAccountToken: { path: 'token' } }],
            },
          }
        : v,
    );
  },
  'a key under another name that the flag follows': (apiserver, _s, spec) => {
    Object.assign(volume(spec, 'audit-config').configMap ?? {}, {
      items: [{ key: 'policy.yaml', path: 'sub/p.yaml' }],
    });
    apiserver.args.push('--audit-policy-file=/etc/kubernetes/audit/sub/p.yaml');
  },
  'variables with plain values': (apiserver) => {
    Object.assign(apiserver, { env: [{ name: 'D', value: '/etc/kubernetes/audit' }] });
    apiserver.args.push('--audit-policy-file=$(D)/policy.yaml');
  },
  'the log elsewhere, and the sidecar of KKP 2.20 after it': (apiserver, sidecar) => {
    apiserver.args.push('--audit-log-path=/var/log/kubernetes/audit/x.log');
    sidecar.args = ['-i', 'tail', '-p', 'path=/var/log/kubernetes/audit/x.log', '-o', 'stdout'];
  },
  'an image by digest': (_a, sidecar) => {
    sidecar.image = `fluent/fluent-bit@sha256:${'0'.repeat(64)}`;
  },
  'the registry of the apiserver': (apiserver, sidecar) => {
    apiserver.image = 'localhost:5000/kube-apiserver:v1.36.2';
    sidecar.image = 'localhost:5000/fluent/fluent-bit:3';
  },
  'no limits': (_a, sidecar) => {
    delete (sidecar as { resources?: unknown }).resources;
  },
  'retention that keeps more': (apiserver) => {
    apiserver.args.push('--audit-log-maxbackup=100');
  },
  'a large buffer': (apiserver) => {
    apiserver.args.push('--audit-log-mode', 'batch', '--audit-log-batch-buffer-size=0x10000');
  },
};

describe('ineffective is', () => {
  for (const [what, [change, ...expected]] of Object.entries(INEFFECTIVE))
    test(what, () => assert.deepEqual(codes(changed(change)).sort(), expected));
});

describe('effective is', () => {
  for (const [what, change] of Object.entries(EFFECTIVE))
    test(what, () => assert.deepEqual(judge(changed(change), DESIRED).reasons.map(explainReason), []));
});

describe('each of those is mended, but for those that nobody can mend', () => {
  const HOPELESS = [
    'APISERVER_CONTAINER_MISSING',
    'APISERVER_CONTAINER_REPEATED',
    'APISERVER_COMMAND_UNKNOWN',
    'ARGUMENTS_UNREADABLE',
    'ARGUMENTS_STRAY',
  ];
  for (const [what, [change, ...expected]] of Object.entries(INEFFECTIVE)) {
    test(what, () => {
      const { remaining } = inject(withSpec(kkp(), changed(change)), SETTINGS);
      assert.deepEqual(
        [...new Set(remaining.map(({ code }) => code))],
        expected.filter((code) => HOPELESS.includes(code)),
      );
    });
  }
});

test('nothing is asked for that settings do not ask for', () => {
  const off = desire(settingsWith(undefined), 'deployment');
  assert.deepEqual(judge({}, off).reasons, []);
  const webhookOnly = desire(settingsWith({ webhookBackend: WEBHOOK_BACKEND }), 'deployment');
  assert.deepEqual(judge(specOf(kkp({}, { webhookBackend: WEBHOOK_BACKEND })), webhookOnly).reasons, []);
});
