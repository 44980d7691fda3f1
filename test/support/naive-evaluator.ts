/**
 * Plays a pod through, the long way round, to see whether its kube-apiserver really audits: environments expanded character by character, files laid
 * out volume by volume, flags read one by one. On purpose without a line of src/: whatever the judge of src/ calls effective has to hold here.
 *
 * What the object does not tell (variables from Secrets, other ConfigMaps) is played by an adversary.
 */

// biome-ignore lint/suspicious/noExplicitAny: it reads generated objects, whose fields may be anything
type Json = any;

const POLICY = 'the policy';
const CONFIG = 'the configuration of fluent-bit';
const KUBECONFIG = 'the kubeconfig of the webhook backend';
const EVIL = 'something else';
const LOG_FILE = '/var/log/kubernetes/audit/audit.log';

/** Booleans among the flags that generated command lines use; all others take a value. */
const BOOLEANS = [
  'allow-privileged',
  'anonymous-auth',
  'audit-log-batch-throttle-enable',
  'audit-log-compress',
  'audit-log-truncate-enabled',
  'audit-webhook-batch-throttle-enable',
  'audit-webhook-truncate-enabled',
  'enable-bootstrap-token-auth',
  'profiling',
];

/** What an adversary would put into a variable. */
const ADVERSARY = ['', '--audit-policy-file=/dev/null', '--audit-log-path=/dev/null', '--', 'x', '/null'];

export interface Expected {
  readonly sidecar: boolean;
  /** Name of the Secret of the webhook backend. */
  readonly webhookSecret?: string | undefined;
  /** Registries of which the sidecar may come. */
  readonly registries?: readonly string[];
}

/** @returns why the pod does not audit, or undefined where it does, whatever the adversary plays */
export function findGap(spec: Json, expected: Expected): string | undefined {
  for (const evil of ADVERSARY) {
    const gap = play(spec, expected, evil);
    if (gap !== undefined) return gap;
  }
  return undefined;
}

function play(spec: Json, expected: Expected, evil: string): string | undefined {
  const apiserver = (spec.containers ?? []).find((container: Json) => container.name === 'apiserver');
  if (!apiserver) return 'no apiserver';
  const argv = startedWith(apiserver, evil);
  const program = last(argv.shift()?.split('/'));
  if (program === 'hyperkube') argv.shift();
  else if (program !== 'kube-apiserver') return `it starts ${program}`;
  const flags = new Map<string, string>();
  while (argv.length > 0) {
    const word = argv.shift() as string;
    if (word === '') continue;
    if (word === '--') {
      if (argv.some((rest) => rest !== '')) return 'arguments behind --';
      break;
    }
    if (!word.startsWith('-') || word === '-') return `argument ${word}`;
    if (!word.startsWith('--')) {
      if (!word.startsWith('-v')) return `short flag ${word}`;
      if (word === '-v' && argv.shift() === undefined) return 'no value of -v';
      continue;
    }
    if (/^--[-=]/.test(word)) return `bad flag ${word}`;
    const cut = word.indexOf('=');
    const name = (cut === -1 ? word.slice(2) : word.slice(2, cut)).split('_').join('-');
    if (!/^[\w.-]+$/.test(name)) return `no such flag: ${name}`;
    if (cut !== -1) flags.set(name, word.slice(cut + 1));
    else if (BOOLEANS.includes(name)) flags.set(name, 'true');
    else {
      const value = argv.shift();
      if (value === undefined) return `no value of ${name}`;
      flags.set(name, value);
    }
  }
  const files = (path: string) => contentAt(spec, apiserver, path);
  if (files(flags.get('audit-policy-file') ?? '') !== POLICY) return 'another policy';
  if (expected.webhookSecret !== undefined) {
    const content = files(flags.get('audit-webhook-config-file') ?? '');
    if (content !== `${KUBECONFIG} ${expected.webhookSecret}`) return 'another webhook backend';
    const loss = findLoss('audit-webhook-', flags, true);
    if (loss !== undefined) return loss;
  }
  if (!expected.sidecar) return undefined;
  const path = flags.get('audit-log-path') ?? '';
  if (path === '' || path === '-') return 'no log';
  if ((flags.get('audit-log-format') ?? 'json') !== 'json') return 'log format';
  if ((flags.get('audit-log-version') ?? 'audit.k8s.io/v1') !== 'audit.k8s.io/v1') return 'log version';
  const loss = findLoss('audit-log-', flags, false);
  if (loss !== undefined) return loss;
  const written = storageAt(spec, apiserver, path);
  if (written === undefined) return 'the log is not written to a volume';
  return playSidecar(spec, apiserver, written, expected, evil);
}

function findLoss(prefix: string, flags: Map<string, string>, batchByDefault: boolean): string | undefined {
  const flag = (name: string) => flags.get(prefix + name);
  const isTrue = (value: string | undefined) => /^(1|t|T|true|TRUE|True)$/.test(value ?? 'false');
  if (isTrue(flag('truncate-enabled'))) return 'truncated';
  const isBatch = (flag('mode') ?? (batchByDefault ? 'batch' : 'blocking')) === 'batch';
  if (isBatch) {
    const buffer = flag('batch-buffer-size');
    if (buffer !== undefined && goInteger(buffer) < 1000n) return 'a tiny buffer';
    if (!batchByDefault && isTrue(flag('batch-throttle-enable'))) return 'throttled';
    const qps = flag('batch-throttle-qps');
    if (batchByDefault && qps !== undefined && !(Number(qps) >= 10)) return 'throttled';
    const size = flag('batch-max-size');
    if (size !== undefined && goInteger(size) > 10_000n) return 'events are held back';
  }
  if (batchByDefault) return undefined;
  for (const name of ['maxage', 'maxbackup', 'maxsize']) {
    const value = flag(name);
    if (value === undefined) continue;
    const amount = goInteger(value);
    if (amount === 0n) return `${name} 0`;
    // lumberjack counts a file's bytes and an age's nanoseconds in 64 bits.
    const unit = { maxage: 86_400_000_000_000n, maxbackup: 1n, maxsize: 1_048_576n }[name] ?? 1n;
    if (BigInt.asIntN(64, amount * unit) !== amount * unit) return `${name} beyond 64 bits`;
  }
  return undefined;
}

/** What Go's strconv.ParseInt(text, 0, 64) makes of it; 0 for an error, with which nothing starts. */
function goInteger(text: string): bigint {
  const [, sign, digits = ''] = /^([+-]?)(.*)$/s.exec(text) ?? [];
  const plain = digits.replaceAll('_', '');
  try {
    const octal = /^0[0-7]+$/.test(plain) ? `0o${plain.slice(1)}` : plain;
    return sign === '-' ? -BigInt(octal) : BigInt(octal);
  } catch {
    return 0n;
  }
}

function playSidecar(
  spec: Json,
  apiserver: Json,
  written: string,
  expected: Expected,
  evil: string,
): string | undefined {
  const among = (list: Json, isRunning: (container: Json) => boolean) =>
    (list ?? []).find((container: Json) => container.name === 'audit-logs' && isRunning(container));
  const sidecar =
    among(spec.containers, ({ restartPolicy }) => !restartPolicy || restartPolicy === 'Always') ??
    among(spec.initContainers, ({ restartPolicy }) => restartPolicy === 'Always');
  if (!sidecar) return 'no sidecar';
  const [registry, repository] = splitImage(sidecar.image ?? '');
  if (repository !== 'fluent/fluent-bit') return `image ${sidecar.image}`;
  const [apiserverRegistry] = splitImage(apiserver.image ?? '');
  if (!['docker.io', apiserverRegistry, ...(expected.registries ?? [])].includes(registry))
    return `registry ${registry}`;
  for (const [resource, minimum] of [
    ['memory', 20 * 1024 * 1024],
    ['cpu', 0.005],
  ] as const) {
    const limit = sidecar.resources?.limits?.[resource];
    if (limit !== undefined && limit !== null && amount(String(limit)) < minimum)
      return `starved of ${resource}`;
  }
  const argv = startedWith(sidecar, evil, '/fluent-bit/bin/fluent-bit');
  if (last(argv.shift()?.split('/')) !== 'fluent-bit') return 'no fluent-bit';
  let tail = '';
  let config = '';
  for (let index = 0; index < argv.length; index += 2) {
    const [option, value = ''] = [argv[index], argv[index + 1]];
    if (option === '-q' || option === '-v' || option === '-vv' || option === '--quiet') index -= 1;
    else if (option === '-c' || option === '--config') config = value;
    else if (option?.startsWith('--config=')) {
      config = option.slice('--config='.length);
      index -= 1;
    } else if (option === '-p' || option === '--prop') {
      if (value.toLowerCase().startsWith('path=')) tail = value.slice(5);
      else if (!value.toLowerCase().startsWith('db=')) return `property ${value}`;
    } else if (option === '-i' || option === '--input') {
      if (value !== 'tail') return `input ${value}`;
    } else if (option === '-o' || option === '--output') {
      if (value !== 'stdout') return `output ${value}`;
    } else if (option === '-f' || option === '--flush') {
      const seconds = Number.parseFloat(value);
      if (!(seconds > 0 && seconds <= 60)) return `flush ${value}`;
    } else if (option === '-R' || option === '--parser') {
      if (value !== '/fluent-bit/etc/parsers.conf') return `parsers ${value}`;
    } else return `option ${option}`;
  }
  if (config !== '') {
    if (contentAt(spec, sidecar, config, sidecar.workingDir) !== CONFIG) return 'another configuration';
    tail = LOG_FILE;
  }
  if (tail === '') return 'nothing is read';
  if (storageAt(spec, sidecar, tail) !== written) return 'the sidecar reads another file';
  return undefined;
}

function splitImage(image: string): [registry: string, repository: string] {
  const name = image.split('@')[0]?.replace(/:[^:/]*$/, '') ?? '';
  const [first = '', ...rest] = name.split('/');
  const isHost = rest.length > 0 && (first.includes('.') || first.includes(':') || first === 'localhost');
  const host = first === 'index.docker.io' ? 'docker.io' : first;
  return isHost ? [host, rest.join('/')] : ['docker.io', name];
}

function amount(text: string): number {
  const [, digits, unit = ''] = /^([-+.\deE]+?)([numkMGTPE]i?|Ki)?$/.exec(text) ?? [];
  const units: Record<string, number> = { '': 1, n: 1e-9, u: 1e-6, m: 1e-3, k: 1e3, M: 1e6, G: 1e9 };
  const binary: Record<string, number> = { Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40 };
  return Number(digits) * (units[unit] ?? binary[unit] ?? 1e12);
}

// --- kubelet

function startedWith(container: Json, evil: string, entryPoint = '/usr/local/bin/kube-apiserver'): string[] {
  const values = new Map<string, string>();
  const lookUp = (name: string) => values.get(name) ?? (container.envFrom?.length > 0 ? evil : undefined);
  for (const { name, value, valueFrom } of container.env ?? [])
    values.set(name, valueFrom ? evil : expand(value ?? '', lookUp));
  const command = container.command ?? [];
  return [...(command.length > 0 ? command : [entryPoint]), ...(container.args ?? [])].map((text) =>
    expand(text, lookUp),
  );
}

function expand(text: string, lookUp: (name: string) => string | undefined): string {
  let result = '';
  let index = 0;
  while (index < text.length) {
    const close = text.indexOf(')', index + 2);
    if (text[index] !== '$') result += text[index++];
    else if (text[index + 1] === '$') {
      result += '$';
      index += 2;
    } else if (text[index + 1] === '(' && close !== -1) {
      const name = text.slice(index + 2, close);
      result += lookUp(name) ?? `$(${name})`;
      index = close + 1;
    } else result += text[index++];
  }
  return result;
}

/** The files of a volume as they lie there; undefined for storage, which starts empty. */
function filesOf(volume: Json): Map<string, string> | undefined {
  const files = new Map<string, string>();
  const addKeys = (content: (key: string) => string | undefined, items: Json) => {
    if (items?.length > 0) {
      for (const { key, path } of items) {
        const text = content(key);
        if (text !== undefined) files.set(normalize(path), text);
      }
    } else
      for (const key of ['policy.yaml', 'fluent-bit.conf', 'webhook.yaml', 'audit.log', 'other']) {
        const text = content(key);
        if (text !== undefined) files.set(key, text);
      }
  };
  const configMap = (name: string) => (key: string) => {
    if (name !== 'audit-config') return EVIL;
    return key === 'policy.yaml' ? POLICY : undefined;
  };
  const secret = (name: string) => (key: string) => {
    if (name === 'audit-logs-fluentbit' || name === 'audit-logs-fluentbit-tuned')
      return key === 'fluent-bit.conf' ? CONFIG : undefined;
    return key === 'webhook.yaml' ? `${KUBECONFIG} ${name}` : EVIL;
  };
  if (volume.configMap) addKeys(configMap(volume.configMap.name), volume.configMap.items);
  else if (volume.secret) addKeys(secret(volume.secret.secretName), volume.secret.items);
  else if (volume.projected)
    for (const source of volume.projected.sources ?? []) {
      if (source.configMap) addKeys(configMap(source.configMap.name), source.configMap.items);
      if (source.secret) addKeys(secret(source.secret.name), source.secret.items);
      for (const { path } of source.downwardAPI?.items ?? []) files.set(normalize(path), EVIL);
      if (source.serviceAccountToken) files.set(normalize(source.serviceAccountToken.path), EVIL);
    }
  else if (volume.downwardAPI) return files;
  else return undefined;
  return files;
}

function normalize(path: string): string {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}

/** The mount that covers a path: deeper ones are mounted later, equals in their order. */
function mountAt(
  spec: Json,
  container: Json,
  path: string,
): { mount: Json; volume: Json; inside: string } | undefined {
  const target = normalize(path);
  const depth = (mount: Json) => normalize(mount.mountPath).split('/').filter(Boolean).length;
  const mounts = [...(container.volumeMounts ?? [])].sort((a, b) => depth(a) - depth(b));
  const mount = mounts.findLast(({ mountPath }) =>
    `/${target}/`.startsWith(`/${normalize(mountPath)}/`.replace('//', '/')),
  );
  if (!mount || mount.subPathExpr) return undefined;
  const volume = (spec.volumes ?? []).find(({ name }: Json) => name === mount.name);
  const rest = target.slice(normalize(mount.mountPath).length);
  return volume && { mount, volume, inside: normalize(`${mount.subPath ?? ''}/${rest}`) };
}

function contentAt(spec: Json, container: Json, path: string, directory = ''): string | undefined {
  const absolute = path.startsWith('/') ? path : directory && `${directory}/${path}`;
  const found = absolute ? mountAt(spec, container, absolute) : undefined;
  return found && filesOf(found.volume)?.get(found.inside.replace(/^\.\.data\//, ''));
}

/** Where a file that is written to a path ends up: volume and path in it. */
function storageAt(spec: Json, container: Json, path: string): string | undefined {
  const absolute = path.startsWith('/') ? path : container.workingDir && `${container.workingDir}/${path}`;
  const found = absolute ? mountAt(spec, container, absolute) : undefined;
  if (!found || found.mount.readOnly === true || filesOf(found.volume) !== undefined || found.volume.image)
    return undefined;
  for (const source of Object.values(found.volume) as Json[]) if (source?.readOnly === true) return undefined;
  return `${found.volume.name}:${found.inside}`;
}

const last = (list: string[] | undefined): string | undefined => list?.at(-1);
