/**
 * Who decides what: Cluster, its datacenter (in a Seed) and the server's own configuration become one answer that also names the decider
 * of each part. Pure; the time is an argument, because an exemption ends by the clock.
 *
 * | datacenter enforces | exemption | enabled        | preset, sidecar          | webhook backend                     |
 * |---------------------|-----------|----------------|--------------------------|-------------------------------------|
 * | no                  | any       | Cluster        | Cluster                  | Cluster                             |
 * | yes                 | in force  | Cluster        | Cluster                  | Cluster                             |
 * | yes                 | none      | true           | Seed's block, where it   | datacenter's, else the Seed's block |
 * |                     |           |                | has one, else Cluster    | where it has one, else Cluster      |
 *
 * The same as KKP decides (2.30 and later: its mutating hook for Clusters, and its enforcement controller).
 */
import type { Config, DatacenterOptions } from '../config.ts';
import { optionsOf } from '../config.ts';
import {
  type AuditLoggingSettings,
  type ClusterView,
  type DatacenterView,
  POLICY_PRESETS,
  type SeedView,
  type SidecarSettings,
  SKIP_ENFORCEMENT_ANNOTATION,
  type WebhookBackend,
} from '../kkp.ts';
import { type Reason, reason } from '../reasons.ts';
import { parseGoDurationMs } from './go-literals.ts';

/** RFC 3339 time at which an exemption ends; without it KKP's opt-out holds until it is removed. */
export const EXEMPT_UNTIL_ANNOTATION = 'audit.kubermatic.k8c.io/exempt-until';
export const EXEMPT_REASON_ANNOTATION = 'audit.kubermatic.k8c.io/exempt-reason';

/** default: nobody said anything; server: the configuration of this software. */
export type Decider = 'default' | 'cluster' | 'seed' | 'datacenter' | 'server';

export interface Decided<T> {
  readonly value: T;
  readonly by: Decider;
}

export interface Settings {
  readonly cluster: string;
  readonly namespace: string;
  readonly datacenter: string;
  readonly seed: string;
  /** The datacenter enforces, and no exemption is in force. */
  readonly enforced: boolean;
  /** The datacenter enforces, but the Cluster is exempt. */
  readonly exempt: boolean;
  readonly enabled: Decided<boolean>;
  readonly policyPreset: Decided<string>;
  readonly sidecar: Decided<SidecarSettings>;
  readonly webhookBackend: Decided<WebhookBackend | undefined>;
  /** What `spec.auditLogging` of the Cluster should be: as it is where nothing is enforced. */
  readonly auditLogging: AuditLoggingSettings | undefined;
  readonly options: DatacenterOptions;
  /** What in the settings can't be followed, and is left out. */
  readonly problems: readonly Reason[];
}

/** Whether attempts are refused, so that the label may call in those who refuse by it alone: the backstop, and hooks that must answer. */
export const isGuarded = ({ enforced, options }: Settings): boolean => enforced && options.mode === 'enforce';

/** Whether auditing is enforced can't be told: never the same as "it is not". */
export interface Unresolved {
  readonly reason: Reason;
  /** What the Cluster asks for by itself: it holds, whatever the datacenter says. */
  readonly own: Settings;
}

export type Resolution =
  | { readonly resolved: true; readonly settings: Settings }
  | ({ readonly resolved: false } & Unresolved);

/**
 * Resolves the settings of a Cluster.
 * @param cluster the Cluster
 * @param seeds every Seed of the seed cluster
 * @param nowMs milliseconds since 1970, for exemptions that end
 */
export function resolveSettings(
  cluster: ClusterView,
  seeds: readonly SeedView[],
  config: Config,
  nowMs: number,
): Resolution {
  // Only an exemption that ends makes the answer depend on the time.
  if (cluster.annotations[EXEMPT_UNTIL_ANNOTATION] !== undefined)
    return resolve(cluster, seeds, config, nowMs);
  const last = known.get(cluster);
  if (last?.seeds === seeds && last.config === config) return last.resolution;
  const resolution = resolve(cluster, seeds, config, nowMs);
  known.set(cluster, { seeds, config, resolution });
  return resolution;
}

/** Views, Seeds and configuration are never changed in place, so that what was resolved of them holds until one is replaced. */
const known = new WeakMap<
  ClusterView,
  { readonly seeds: readonly SeedView[]; readonly config: Config; readonly resolution: Resolution }
>();

function resolve(
  cluster: ClusterView,
  seeds: readonly SeedView[],
  config: Config,
  nowMs: number,
): Resolution {
  const holders = seeds.filter((seed) => seed.datacenters.has(cluster.datacenter));
  const seed = holders[0];
  const datacenter = seed?.datacenters.get(cluster.datacenter);
  if (cluster.datacenter !== '' && seed !== undefined && datacenter !== undefined && holders.length === 1) {
    return { resolved: true, settings: decide(cluster, seed, datacenter, config, nowMs) };
  }
  const own = decide(cluster, undefined, undefined, config, nowMs);
  const parameters = {
    cluster: cluster.name,
    datacenter: cluster.datacenter,
    seeds: holders.map(({ name }) => name).join(', '),
  };
  if (cluster.datacenter === '')
    return { resolved: false, reason: reason('DATACENTER_MISSING', parameters), own };
  if (holders.length > 1) return { resolved: false, reason: reason('DATACENTER_AMBIGUOUS', parameters), own };
  return {
    resolved: false,
    reason: reason(seeds.length === 0 ? 'SEED_MISSING' : 'DATACENTER_UNKNOWN', parameters),
    own,
  };
}

/** Date.parse takes a lot more, such as "99999" for a year. */
const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i;

/** @returns milliseconds since 1970, NaN for what is no time of RFC 3339 */
export const parseTime = (text: string): number => (RFC_3339.test(text) ? Date.parse(text) : Number.NaN);

/**
 * Whether KKP's opt-out is set and has not ended.
 * An end that is no time counts as past: an exemption that can't be read exempts from nothing.
 */
export function isExempt(annotations: Readonly<Record<string, string>>, nowMs: number): boolean {
  if (annotations[SKIP_ENFORCEMENT_ANNOTATION] !== 'true') return false;
  const until = annotations[EXEMPT_UNTIL_ANNOTATION];
  return until === undefined || nowMs < parseTime(until);
}

function decide(
  cluster: ClusterView,
  seed: SeedView | undefined,
  datacenter: DatacenterView | undefined,
  config: Config,
  nowMs: number,
): Settings {
  const wanted = datacenter?.enforceAuditLogging === true;
  const exempt = wanted && isExempt(cluster.annotations, nowMs);
  const enforced = wanted && !exempt;
  const problems: Reason[] = [];
  const own = asBlock(cluster.auditLogging);
  const seedBlock = enforced ? seed?.auditLogging : undefined;
  const block = seedBlock === undefined ? own : asBlock(seedBlock);
  const by: Decider = seedBlock !== undefined ? 'seed' : 'cluster';
  const where =
    by === 'seed' ? `Seed ${seed?.name}: spec.auditLogging` : `Cluster ${cluster.name}: spec.auditLogging`;
  const imposed = enforced ? datacenter?.enforcedAuditWebhookSettings : undefined;
  const decided = <T>(value: T, isSet: boolean): Decided<T> => ({ value, by: isSet ? by : 'default' });
  return {
    cluster: cluster.name,
    namespace: cluster.namespace,
    datacenter: cluster.datacenter,
    seed: seed?.name ?? '',
    enforced,
    exempt,
    enabled: enforced
      ? { value: true, by: 'datacenter' }
      : decided(own.enabled === true, typeof own.enabled === 'boolean'),
    policyPreset: decided(readPreset(block.policyPreset, where, problems), Boolean(block.policyPreset)),
    sidecar: decided(asBlock(block.sidecar), Boolean(block.sidecar)),
    webhookBackend:
      imposed === undefined
        ? decided(readBackend(block.webhookBackend, where, problems), Boolean(block.webhookBackend))
        : { value: readBackend(imposed, `datacenter ${cluster.datacenter}`, problems), by: 'datacenter' },
    auditLogging: enforced ? impose(block, imposed) : cluster.auditLogging,
    options: optionsOf(config, cluster.datacenter),
    problems,
  };
}

/** What should be a map, but comes from input: anything else counts as empty. */
function asBlock<T extends object>(
  value: T | null | undefined,
): Partial<T> & AuditLoggingSettings & SidecarSettings {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : ({} as Partial<T>);
}

function readPreset(preset: unknown, where: string, problems: Reason[]): string {
  if (preset === undefined || preset === null) return '';
  if (POLICY_PRESETS.some((known) => known === preset)) return preset as string;
  problems.push(reason('POLICY_PRESET_UNKNOWN', { where, preset: JSON.stringify(preset) }));
  return 'metadata';
}

/** RFC 1123 subdomain, which a Secret's name is. */
const OBJECT_NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

function readBackend(backend: unknown, where: string, problems: Reason[]): WebhookBackend | undefined {
  if (backend === undefined || backend === null) return undefined;
  const given = asBlock(backend as Partial<WebhookBackend>);
  const name: unknown = given.auditWebhookConfig?.name;
  const backoff: unknown = given.auditWebhookInitialBackoff ?? '';
  const fail = (problem: string): undefined => {
    problems.push(reason('WEBHOOK_BACKEND_INVALID', { where, problem }));
  };
  if (typeof name !== 'string' || !OBJECT_NAME.test(name)) {
    return fail(
      `auditWebhookConfig.name ${JSON.stringify(name) ?? 'is missing and'} is not the name of a Secret`,
    );
  }
  if (typeof backoff !== 'string' || (backoff !== '' && !(parseGoDurationMs(backoff) >= 0))) {
    return fail(`auditWebhookInitialBackoff ${JSON.stringify(backoff)} is not a duration`);
  }
  return { ...(given as WebhookBackend), auditWebhookInitialBackoff: backoff };
}

/** As KKP's own mutating hook and its enforcement controller write it. */
function impose(block: AuditLoggingSettings, imposed: WebhookBackend | undefined): AuditLoggingSettings {
  const { webhookBackend: own, ...rest } = block;
  const backend = imposed ?? own ?? undefined;
  return { ...rest, enabled: true, ...(backend !== undefined && { webhookBackend: backend }) };
}
