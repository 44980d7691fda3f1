/**
 * Reads a container's `command` and `args` as kubelet and kube-apiserver read them, and says where a flag may be put in, so that every
 * argument that is not ours keeps its bytes and its order.
 *
 * - kubelet expands `$(NAME)` from the container's environment; `$$` is a `$` (Kubernetes, "Define dependent environment variables").
 * - kube-apiserver parses with pflag: `--flag value` (the next argument, whatever it looks like), `--flag=value`, bare booleans, `_` for `-`
 *   in names, the last of repeated flags wins, and `--` ends the flags.
 */
import type { Container } from '../kubernetes.ts';
import { BOOLEAN_FLAGS, VALUE_FLAGS } from './kube-apiserver-flags.ts';
import { rememberLast } from './remember.ts';

export interface Flag {
  /** Without dashes, `_` written as `-`. */
  readonly name: string;
  /** As kube-apiserver gets it; "true" for a bare boolean; undefined where it can't be known (see `UNKNOWN`). */
  readonly value: string | undefined;
  /** Index of its first argument in `command` followed by `args`. */
  readonly start: number;
  /** Index after its last argument. */
  readonly end: number;
}

interface Anchor {
  readonly rank: number;
  /** Index after its last argument. */
  readonly end: number;
}

export interface CommandLine {
  /** False where `command` starts something that is not known to be kube-apiserver (a shell, a wrapper): its arguments mean nothing here. */
  readonly isApiserver: boolean;
  /** Those of audit logging: of repeated ones the last, which is the one that counts. */
  readonly auditFlags: ReadonlyMap<string, Flag>;
  /** Where flags that KKP renders end, by their rank among them: what is put in goes behind one of these. */
  readonly anchors: readonly Anchor[];
  /** Arguments that are no flags, or flags cut off before their value: kube-apiserver refuses to start with them. */
  readonly strays: readonly string[];
  /** Arguments whose text depends on an environment variable that is not in the object, so that any flag may hide in them. */
  readonly unknown: readonly string[];
  /** Where flags end: index of `--`, of a flag that lacks its value, or the number of arguments. */
  readonly end: number;
  /** How many of the arguments stand in `command`. */
  readonly commandLength: number;
}

/** Stands, inside an expanded text, for what an unreadable environment variable holds; no argument in JSON from Kubernetes has it. */
const UNKNOWN = '\u0000';

/** No flag of any Kubernetes program has another name; such an argument keeps kube-apiserver from starting. */
const FLAG_NAME = /^[A-Za-z0-9][A-Za-z0-9.-]*$/;

const APISERVER_PROGRAMS = new Set(['kube-apiserver', 'apiserver']);

/**
 * So much text at most is made of the variables of one container. Values that refer to others twice grow to any size (and what Linux starts has
 * 128 KiB an argument, execve(2)), so that whatever is longer is as good as unknown.
 */
const MAX_EXPANDED_LENGTH = 256 * 1024;

/** What of a container says what it starts. */
type Started = { readonly [Key in 'command' | 'args' | 'env' | 'envFrom']?: Container[Key] | undefined };

/** Expands the texts of one container. */
class Expansion {
  readonly #environment = new Map<string, string>();
  /** Stands for a variable that is not there; undefined where such a one stays as it is written. */
  readonly #missing: string | undefined;
  #length = 0;

  /** Reads its environment as far as the object tells it; a variable sees those before it. */
  constructor({ env, envFrom }: Started) {
    this.#missing = (envFrom?.length ?? 0) > 0 ? UNKNOWN : undefined;
    for (const { name, value, valueFrom } of env ?? []) {
      const isReference = valueFrom !== undefined && valueFrom !== null;
      this.#environment.set(name, isReference ? UNKNOWN : this.expand(value ?? ''));
    }
  }

  /**
   * Expands `$(NAME)` as kubelet does.
   * @param text one element of `command` or `args`, or the value of a variable
   * @returns a text that is not known (`isKnown`) where it depends on something that the object does not tell
   */
  expand(text: string): string {
    if (!text.includes('$')) return text;
    // Behind the last `)` no variable ends, and to look for it from every `$(` would take the square of the length.
    const end = text.lastIndexOf(')') + 1;
    const head = text.slice(0, end).replace(/\$\$|\$\(([^)]*)\)/g, (match, name: string | undefined) => {
      const value = name === undefined ? '$' : (this.#environment.get(name) ?? this.#missing ?? match);
      this.#length += value.length;
      return this.#length > MAX_EXPANDED_LENGTH ? '' : value;
    });
    return this.#length > MAX_EXPANDED_LENGTH ? UNKNOWN : head + text.slice(end).replaceAll('$$', '$');
  }
}

/**
 * What kubelet starts: `command` and `args`, with variables expanded as far as the object tells their values.
 * @returns the arguments; `isKnown` tells those that depend on nothing else
 */
export function expandArguments(container: Started): string[] {
  const raw = [...(container.command ?? []), ...(container.args ?? [])];
  if (!raw.some((argument) => argument.includes('$'))) return raw;
  const expansion = new Expansion(container);
  return raw.map((argument) => expansion.expand(argument));
}

export const isKnown = (text: string): boolean => !text.includes(UNKNOWN);

/**
 * Skips the program itself.
 * @returns index of the first argument after it, or -1 where the program is not known to be kube-apiserver
 */
function skipProgram(argv: readonly string[], commandLength: number): number {
  if (commandLength === 0) return 0; // the image's entry point, which in Kubernetes' own image is kube-apiserver
  const base = (path = ''): string => (isKnown(path) ? path.slice(path.lastIndexOf('/') + 1) : '');
  if (base(argv[0]) === 'hyperkube') return APISERVER_PROGRAMS.has(base(argv[1])) ? 2 : -1;
  return base(argv[0]) === 'kube-apiserver' ? 1 : -1;
}

/**
 * Parses the command line of a container.
 * @param container the container that should run kube-apiserver
 */
export const parseCommandLine = ({ command, args, env, envFrom }: Container): CommandLine =>
  parseOnce(command, args, env, envFrom);

const parseOnce = rememberLast(
  (
    command: Started['command'],
    args: Started['args'],
    env: Started['env'],
    envFrom: Started['envFrom'],
  ): CommandLine => parse({ command, args, env, envFrom }, false).commandLine,
);

/** Every flag of a command line, in order; `parseCommandLine` keeps those that decisions ask for. */
export const listFlags = (container: Container): readonly Flag[] => parse(container, true).flags;

/**
 * @param keepsAll whether known flags of other things than audit logging are kept as well
 */
function parse(container: Started, keepsAll: boolean): { commandLine: CommandLine; flags: Flag[] } {
  const command = container.command ?? [];
  const raw = [...command, ...(container.args ?? [])];
  const argv = expandArguments(container);

  const flags: Flag[] = [];
  const anchors: Anchor[] = [];
  const strays: string[] = [];
  const unknown: string[] = [];
  const known = (value: string): string | undefined => (isKnown(value) ? value : undefined);
  let isAmbiguous = false;
  const first = skipProgram(argv, command.length);
  let end = argv.length;
  let index = first === -1 ? argv.length : first;
  while (index < argv.length) {
    const argument = argv[index] ?? '';
    const start = index;
    index += 1;
    const plain = PLAIN_FLAGS.get(argument);
    if (plain !== undefined && !isAmbiguous && (plain.isBoolean || index < argv.length)) {
      if (!plain.isBoolean) index += 1;
      if (plain.rank !== undefined) anchors.push({ rank: plain.rank, end: index });
      if (keepsAll || plain.isAudit) {
        const value = plain.isBoolean ? 'true' : known(argv[index - 1] ?? '');
        flags.push({ name: plain.name, value, start, end: index });
      }
      continue;
    }
    if (argument === '--') {
      end = start;
      strays.push(...argv.slice(index).filter((stray) => stray !== ''));
      break;
    }
    const equals = argument.indexOf('=');
    const name = argument.slice(2, equals === -1 ? undefined : equals).replaceAll('_', '-');
    if (!argument.startsWith('--')) {
      if (!isKnown(argument)) unknown.push(raw[start] ?? '');
      else if (/^-v\d*$|^-v=/.test(argument) && (argument !== '-v' || index < argv.length)) {
        if (argument === '-v') index += 1;
      } else if (argument !== '' && argument !== '-h') strays.push(raw[start] ?? '');
    } else if (!isKnown(name)) {
      unknown.push(raw[start] ?? '');
    } else if (!FLAG_NAME.test(name)) {
      strays.push(raw[start] ?? '');
    } else if (equals !== -1) {
      flags.push({ name, value: known(argument.slice(equals + 1)), start, end: index });
      const rank = FLAG_RANK.get(name);
      if (rank !== undefined) anchors.push({ rank, end: index });
    } else if (takesNext(name, argv[index])) {
      if (index >= argv.length) {
        end = start;
        strays.push(raw[start] ?? '');
        break;
      }
      // Whether a flag that no list knows took the argument before decides whether this is a value or a flag of its own.
      if (isAmbiguous && /^--audit[-_]/.test(argv[index] ?? '')) unknown.push(raw[index] ?? '');
      flags.push({ name, value: known(argv[index] ?? ''), start, end: index + 1 });
      index += 1;
    } else {
      if (!BOOLEAN_FLAGS.has(name)) isAmbiguous = true;
      flags.push({ name, value: 'true', start, end: index });
    }
  }
  const auditFlags = new Map<string, Flag>();
  for (const flag of flags) if (flag.name.startsWith('audit-')) auditFlags.set(flag.name, flag);
  const isApiserver = first !== -1;
  const commandLine = {
    isApiserver,
    auditFlags,
    anchors,
    strays,
    unknown,
    end,
    commandLength: command.length,
  };
  return { commandLine, flags };
}

/**
 * The order in which KKP renders the flags around those of audit logging (seed, pkg/resources/apiserver). A flag that is put in goes behind
 * the nearest one that precedes it here.
 */
const FLAG_RANK: ReadonlyMap<string, number> = new Map(
  [
    'advertise-address',
    'secure-port',
    'etcd-servers',
    'etcd-cafile',
    'etcd-certfile',
    'etcd-keyfile',
    'storage-backend',
    'enable-admission-plugins',
    'admission-control-config-file',
    'external-hostname',
    'token-auth-file',
    'enable-bootstrap-token-auth',
    'service-account-key-file',
    'service-cluster-ip-range',
    'service-node-port-range',
    'allow-privileged',
    'audit-log-maxage',
    'audit-log-maxbackup',
    'audit-log-maxsize',
    'audit-log-path',
    'tls-cert-file',
    'tls-cipher-suites',
    'tls-private-key-file',
    'proxy-client-cert-file',
    'proxy-client-key-file',
    'client-ca-file',
    'kubelet-client-certificate',
    'kubelet-client-key',
    'authorization-mode',
    'kubelet-certificate-authority',
    'requestheader-client-ca-file',
    'requestheader-allowed-names',
    'requestheader-extra-headers-prefix',
    'requestheader-group-headers',
    'requestheader-username-headers',
    'endpoint-reconciler-type',
    'profiling',
    'audit-policy-file',
    'audit-webhook-config-file',
  ].map((name, rank) => [name, rank]),
);

interface PlainFlag {
  readonly name: string;
  readonly rank: number | undefined;
  readonly isBoolean: boolean;
  readonly isAudit: boolean;
}

/** What nearly every argument is: a flag that is known, as it is written there, without "=". */
const PLAIN_FLAGS: ReadonlyMap<string, PlainFlag> = new Map(
  [...BOOLEAN_FLAGS, ...VALUE_FLAGS].map((name) => [
    `--${name}`,
    {
      name,
      rank: FLAG_RANK.get(name),
      isBoolean: BOOLEAN_FLAGS.has(name),
      isAudit: name.startsWith('audit-'),
    },
  ]),
);

/**
 * Whether a flag without `=` takes the next argument. A flag that no list knows is taken for a boolean where a flag follows it, but never
 * where that would let it swallow an audit flag unseen.
 */
function takesNext(name: string, next: string | undefined): boolean {
  if (BOOLEAN_FLAGS.has(name)) return false;
  if (VALUE_FLAGS.has(name)) return true;
  return next !== undefined && (!next.startsWith('-') || /^--audit[-_]/.test(next));
}

/**
 * The occurrence that counts: the last one.
 * @param name of a flag of audit logging
 */
export function findFlag(commandLine: CommandLine, name: string): Flag | undefined {
  return commandLine.auditFlags.get(name);
}

/**
 * Where a flag goes in: behind every other occurrence of itself (the last wins, so what stands there keeps its bytes), else where KKP
 * renders it, else at the end.
 * @returns an index into `command` followed by `args`
 */
export function placeFlag(commandLine: CommandLine, name: string): number {
  const occurrence = findFlag(commandLine, name);
  if (occurrence !== undefined) return occurrence.end;
  const rank = FLAG_RANK.get(name) ?? -1;
  let best: Anchor | undefined;
  for (const anchor of commandLine.anchors) {
    if (anchor.rank < rank && anchor.rank >= (best?.rank ?? -1)) best = anchor;
  }
  return best?.end ?? commandLine.end;
}

/**
 * Puts arguments into a container.
 * @param container stays as it is
 * @param index as `placeFlag` gives it
 * @returns a copy with the arguments in `args`, or in `command` where the place is inside it
 */
export function insertArguments(container: Container, index: number, values: readonly string[]): Container {
  const commandLength = container.command?.length ?? 0;
  if (index < commandLength)
    return { ...container, command: (container.command ?? []).toSpliced(index, 0, ...values) };
  return { ...container, args: (container.args ?? []).toSpliced(index - commandLength, 0, ...values) };
}

/**
 * Takes a flag out again.
 * @param flag of the parsed command line of this very container
 */
export function removeFlag(container: Container, flag: Flag): Container {
  const commandLength = container.command?.length ?? 0;
  const inCommand = Math.max(0, Math.min(flag.end, commandLength) - flag.start);
  const copy: { -readonly [K in keyof Container]: Container[K] } = { ...container };
  if (inCommand > 0) copy.command = (container.command ?? []).toSpliced(flag.start, inCommand);
  const inArgs = flag.end - flag.start - inCommand;
  if (inArgs > 0)
    copy.args = (container.args ?? []).toSpliced(Math.max(0, flag.start - commandLength), inArgs);
  return copy;
}
