/**
 * The server's own configuration: what KKP has no field for. Schema, defaults and look-up by datacenter.
 */
import { InputError, type InputProblem, readYamlDocuments } from './input.ts';
import type { JsonObject } from './kubernetes.ts';

/** What can be set for each datacenter. */
export interface DatacenterOptions {
  /** What happens to an attempt: rejected, admitted with a warning, admitted and recorded. */
  readonly mode: 'enforce' | 'warn' | 'audit';
  /** Where audit logging is put in: the Deployment unless its owner takes it out again, always there, or only in pods. */
  readonly injection: 'auto' | 'deployment' | 'pod';
  /** Host that replaces the one of the sidecar's image; KKP calls it overwriteRegistry. "" keeps the image's own. */
  readonly registry: string;
  readonly sidecar: {
    /** Image of the sidecar in pods; "" for the one that KKP renders. */
    readonly image: string;
    /** "" leaves it to Kubernetes. */
    readonly imagePullPolicy: '' | 'Always' | 'IfNotPresent' | 'Never';
    /** Repositories, without registry and tag, that count as fluent-bit besides that of the image. */
    readonly allowedImages: readonly string[];
  };
  /** fluent-bit's tail input: sizes such as "512k". */
  readonly input: {
    readonly bufferChunkSize: string;
    readonly bufferMaxSize: string;
    readonly skipLongLines: boolean;
    readonly readFromHead: boolean;
  };
  readonly retention: {
    readonly maxAgeDays: number;
    readonly maxBackups: number;
    readonly maxSizeMegabytes: number;
  };
  /** The policy of clusters that have none: a preset, or `text`, a Policy of audit.k8s.io/v1. */
  readonly policy: { readonly preset: string; readonly text: string };
  /** Where the sidecar's outputs and webhook backends may connect to. */
  readonly egress: readonly { readonly cidr: string; readonly port: number }[];
  /** How the controller brings clusters in line. */
  readonly rollout: {
    /** So many clusters at a time. */
    readonly maxInFlight: number;
    /** No more are begun while so many did not become healthy in time. */
    readonly maxFailures: number;
    /** After so long a cluster in flight counts as failed. */
    readonly timeoutSeconds: number;
    /** So long the owner of a Deployment has to render it by itself, before the controller sends it through the hook. */
    readonly graceSeconds: number;
  };
}

export interface Config {
  readonly platform: {
    /** KKP's own namespace, where the Seeds are. */
    readonly namespace: string;
    /** Groups and users that count as platform: completed, never rejected. */
    readonly groups: readonly string[];
    readonly users: readonly string[];
  };
  readonly defaults: DatacenterOptions;
  readonly datacenters: ReadonlyMap<string, DatacenterOptions>;
}

const object = (properties: JsonObject): JsonObject => ({
  type: 'object',
  additionalProperties: false,
  properties,
});
const oneOf = (...values: string[]): JsonObject => ({ enum: values });
const texts: JsonObject = { type: 'array', items: { type: 'string' } };
const text: JsonObject = { type: 'string' };
const count: JsonObject = { type: 'integer', minimum: 0 };
const positive: JsonObject = { type: 'integer', minimum: 1 };
const flag: JsonObject = { type: 'boolean' };
const size: JsonObject = { type: 'string', pattern: '^[0-9]+([kKmMgG][bB]?)?$' };

const OCTET = '(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])';
const HEX = '[0-9a-fA-F]{1,4}';
/** Where "::" stands for the rest: one way to write it for each number of groups before it. */
const SHORT_IPV6 = [1, 2, 3, 4, 5, 6].map((before) => `(${HEX}:){1,${before}}(:${HEX}){1,${7 - before}}`);
const IPV6 = [`(${HEX}:){7}${HEX}`, `(${HEX}:){1,7}:`, ...SHORT_IPV6, `:((:${HEX}){1,7}|:)`].join('|');
/** A range of addresses as a NetworkPolicy takes it; the chart's values are held to it too. */
export const CIDR_SCHEMA: JsonObject = {
  type: 'string',
  pattern: `^(${OCTET}(\\.${OCTET}){3}/(3[0-2]|[12]?[0-9])|(${IPV6})/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))$`,
};
const namespace: JsonObject = { type: 'string', pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$', maxLength: 63 };

/** What a text should be, where the pattern would tell a person little. */
const MEANINGS: ReadonlyMap<unknown, string> = new Map([
  [size.pattern, 'must be a size such as 512k or 8M'],
  [CIDR_SCHEMA.pattern, 'must be a range of addresses such as 10.0.0.0/8 or fd00::/8'],
  [namespace.pattern, 'must be the name of a namespace: small letters, digits and "-"'],
]);

/**
 * More is no bound on a volume of a node. kube-apiserver takes any number, but counts bytes and nanoseconds in 64 bits: from 2^43 megabytes on
 * each write fails, and from 106752 days on every rotated file is too old at once.
 */
export const RETENTION_MAXIMUMS = {
  maxAgeDays: 36_500,
  maxBackups: 10_000,
  maxSizeMegabytes: 10_000,
} as const;

const DATACENTER_SCHEMA = object({
  mode: oneOf('enforce', 'warn', 'audit'),
  injection: oneOf('auto', 'deployment', 'pod'),
  registry: text,
  sidecar: object({
    image: text,
    imagePullPolicy: oneOf('', 'Always', 'IfNotPresent', 'Never'),
    allowedImages: texts,
  }),
  input: object({ bufferChunkSize: size, bufferMaxSize: size, skipLongLines: flag, readFromHead: flag }),
  retention: object({
    maxAgeDays: { ...positive, maximum: RETENTION_MAXIMUMS.maxAgeDays },
    maxBackups: { ...positive, maximum: RETENTION_MAXIMUMS.maxBackups },
    maxSizeMegabytes: { ...positive, maximum: RETENTION_MAXIMUMS.maxSizeMegabytes },
  }),
  policy: object({ preset: oneOf('', 'metadata', 'recommended', 'minimal', 'cis'), text }),
  egress: {
    type: 'array',
    items: {
      ...object({ cidr: CIDR_SCHEMA, port: { ...positive, maximum: 65535 } }),
      required: ['cidr', 'port'],
    },
  },
  rollout: object({
    maxInFlight: positive,
    maxFailures: positive,
    timeoutSeconds: positive,
    graceSeconds: count,
  }),
});

/** JSON Schema of the file: every field may be left out. */
export const CONFIG_SCHEMA = object({
  platform: object({ namespace, groups: texts, users: texts }),
  defaults: DATACENTER_SCHEMA,
  datacenters: { type: 'object', additionalProperties: DATACENTER_SCHEMA },
});

const KUBE_SYSTEM = 'system:serviceaccount:kube-system:';

export const DEFAULT_DATACENTER_OPTIONS: DatacenterOptions = {
  mode: 'enforce',
  injection: 'auto',
  registry: '',
  sidecar: { image: '', imagePullPolicy: '', allowedImages: [] },
  // fluent-bit leaves a file for good at the first line over 32 KiB unless told otherwise; an event can be as large as two objects of etcd.
  input: { bufferChunkSize: '256k', bufferMaxSize: '8M', skipLongLines: true, readFromHead: true },
  // CIS Kubernetes Benchmark 1.2.16 to 1.2.19 (maxage 30, maxbackup 10, maxsize 100).
  retention: { maxAgeDays: 30, maxBackups: 10, maxSizeMegabytes: 100 },
  policy: { preset: 'metadata', text: '' },
  egress: [],
  rollout: { maxInFlight: 5, maxFailures: 3, timeoutSeconds: 600, graceSeconds: 15 },
};

export const DEFAULT_CONFIG: Config = {
  platform: {
    namespace: 'kubermatic',
    groups: ['system:serviceaccounts:kubermatic'],
    users: [
      'deployment-controller',
      'replicaset-controller',
      'generic-garbage-collector',
      'namespace-controller',
      'horizontal-pod-autoscaler',
      'vpa-admission-controller',
      'vpa-recommender',
      'vpa-updater',
    ].map((name) => KUBE_SYSTEM + name),
  },
  defaults: DEFAULT_DATACENTER_OPTIONS,
  datacenters: new Map(),
};

/** Plain objects are merged key by key; anything else replaces. */
function merge<T>(base: T, override: unknown): T {
  if (override === undefined) return base;
  if (typeof base !== 'object' || base === null || Array.isArray(base)) return override as T;
  const result = { ...base } as Record<string, unknown>;
  for (const [key, value] of Object.entries(override as object)) result[key] = merge(result[key], value);
  return result as T;
}

/**
 * Reads a configuration file.
 * @param content YAML or JSON; an empty one gives the defaults
 * @param file name for messages
 * @throws {InputError} with every fault: file, line, field and what is expected
 */
export async function parseConfig(content: string, file: string): Promise<Config> {
  const [document, second] = readYamlDocuments(content, file);
  if (document === undefined) return DEFAULT_CONFIG;
  if (second !== undefined)
    throw new InputError([second.problem([], 'a second document; put all settings into one')]);
  const { compileSchema } = await import('./schema.ts');
  const validate = compileSchema(CONFIG_SCHEMA);
  if (!validate(document.value)) {
    throw new InputError(
      (validate.errors ?? []).map((error): InputProblem => {
        const names = readPointer(error.instancePath, document.value);
        const extra: unknown = error.params.additionalProperty;
        if (typeof extra === 'string')
          return document.problem([...names, extra], 'no such setting; see docs/configuration.md');
        const allowed: unknown = error.params.allowedValues;
        const expected = Array.isArray(allowed)
          ? `must be one of ${JSON.stringify(allowed)}`
          : (MEANINGS.get(error.params.pattern) ?? error.message ?? 'is not valid');
        return document.problem(names, expected);
      }),
    );
  }
  const given = document.value as {
    platform?: unknown;
    defaults?: unknown;
    datacenters?: Record<string, unknown>;
  };
  const defaults = merge(DEFAULT_DATACENTER_OPTIONS, given.defaults);
  const datacenters = Object.entries(given.datacenters ?? {});
  return {
    platform: merge(DEFAULT_CONFIG.platform, given.platform),
    defaults,
    datacenters: new Map(datacenters.map(([name, options]) => [name, merge(defaults, options)])),
  };
}

/** The path of a JSON pointer, with numbers for the elements of lists. */
function readPointer(pointer: string, value: unknown): (string | number)[] {
  let node = value;
  return pointer
    .split('/')
    .slice(1)
    .map((escaped) => {
      const name = escaped.replaceAll('~1', '/').replaceAll('~0', '~');
      const key = Array.isArray(node) ? Number(name) : name;
      node = (node as Record<string | number, unknown> | undefined)?.[key];
      return key;
    });
}

/** The options that hold for a datacenter. */
export function optionsOf(config: Config, datacenter: string): DatacenterOptions {
  return config.datacenters.get(datacenter) ?? config.defaults;
}
