/** What a write of a Cluster takes out of `spec.auditLogging`: the switch itself, a preset that logs more, a sidecar that loses less. Pure. */
import type { AuditLoggingSettings, ClusterView } from '../kkp.ts';
import { logsLess, PRESETS, readPolicy } from '../policy/index.ts';
import { type Reason, reason, withoutKnown } from '../reasons.ts';
import { findStarvedLimit } from './desired.ts';
import { renderFluentBit, toEntities } from './fluentbit.ts';
import { findUnknownOptions } from './fluentbit-options.ts';
import { findLosses } from './losses.ts';
import { LOADER_VARIABLE } from './names.ts';
import type { Settings } from './settings.ts';
import { renderPolicy } from './wanted-policy.ts';

/**
 * @param before undefined at creation, which switches nothing off
 * @param settings of the Cluster as it was, enforced
 */
export function findLostSettings(
  before: ClusterView | undefined,
  after: ClusterView,
  settings: Settings,
): Reason[] {
  const lost: Reason[] = [];
  if (before?.auditLogging?.enabled === true && after.auditLogging?.enabled !== true) {
    const isRemoved = after.auditLogging === undefined;
    lost.push(reason(isRemoved ? 'CLUSTER_AUDIT_REMOVED' : 'CLUSTER_AUDIT_DISABLED'));
    // Without the block there is nothing left to compare.
    if (isRemoved) return lost;
  }
  lost.push(...judgePreset(before, after, settings));
  const [old, next] = [before, after].map((cluster) => judgeSidecar(cluster?.auditLogging, settings));
  lost.push(...withoutKnown(next ?? [], old ?? []));
  return lost;
}

/**
 * Against what is in force. A preset is: KKP replaces the policy by it. Without one, KKP leaves the policy that is there, which is the one that
 * it or this software has made, unless a preset was set before or somebody wrote another: these are held to log no less that matters.
 *
 * | in the Seed's block | before    | auditing before | compared with                                              |
 * |---------------------|-----------|-----------------|------------------------------------------------------------|
 * | a preset            | any       | any             | that preset                                                |
 * | none                | a preset  | any             | the preset before                                          |
 * | none                | no preset | on              | what is made where there is no preset: KKP's is `metadata` |
 * | none                | no preset | off, or created | nothing                                                    |
 */
function judgePreset(before: ClusterView | undefined, after: ClusterView, settings: Settings): Reason[] {
  const next = presetOf(after.auditLogging);
  const old = presetOf(before?.auditLogging);
  if (next === '' || next === old) return [];
  if (old === '' && settings.policyPreset.by !== 'seed' && !isAudited(before)) return [];
  const inForce = renderPolicy(settings);
  if (!logsLessThan(inForce.text, next)) return [];
  const preset = settings.policyPreset.value;
  return [
    reason('CLUSTER_PRESET_WEAKENED', {
      before: preset || `what holds without one (${inForce.from})`,
      after: next,
    }),
  ];
}

const presetOf = (block: AuditLoggingSettings | undefined): string =>
  typeof block?.policyPreset === 'string' ? block.policyPreset : '';

/** Either makes KKP give the policy to kube-apiserver. */
const isAudited = (cluster: ClusterView | undefined): boolean =>
  cluster?.auditLogging?.enabled === true || Boolean(cluster?.auditLogging?.webhookBackend);

/** By the policy before, which is a preset's or the configuration's: few. */
const compared = new Map<string, Map<string, boolean>>();

/** Whether a preset logs less than a policy; false where there is no such preset. */
function logsLessThan(before: string, preset: string): boolean {
  const text = PRESETS.get(preset);
  if (text === undefined) return false;
  let known = compared.get(before);
  if (known === undefined) {
    known = new Map();
    compared.set(before, known);
  }
  let isLess = known.get(preset);
  if (isLess === undefined) {
    const [a, b] = [readPolicy(before).policy, readPolicy(text).policy];
    isLess = a !== undefined && b !== undefined && logsLess(a, b).length > 0;
    known.set(preset, isLess);
  }
  return isLess;
}

/** What a Cluster's own sidecar loses, would it be rendered by itself. */
function judgeSidecar(block: AuditLoggingSettings | undefined, settings: Settings): Reason[] {
  const sidecar = sidecarOf(block);
  if (sidecar === undefined) return [];
  const losses: Reason[] = [];
  const starved = findStarvedLimit(sidecar.resources ?? undefined);
  if (starved !== undefined) losses.push(starved);
  for (const variable of Array.isArray(sidecar.extraEnvs) ? sidecar.extraEnvs : []) {
    const name: unknown = variable?.name;
    if (typeof name === 'string' && LOADER_VARIABLE.test(name))
      losses.push(reason('SIDECAR_ENVIRONMENT', { name }));
  }
  const given: Settings = { ...settings, sidecar: { value: sidecar, by: 'cluster' } };
  const { text, problems } = renderFluentBit(given);
  // KKP writes such a section as it is given, line breaks included.
  for (const { parameters } of problems) {
    const { where = '', problem = '' } = parameters;
    losses.push(reason('FLUENTBIT_UNREADABLE', { where, problem }));
  }
  const own = findLosses(text, CONFIG);
  return [...losses, ...own, ...judgeAsKkp(given, text, own)];
}

/** KKP's own Secret is what pods read where the one that this software renders is not there yet. */
function judgeAsKkp(given: Settings, text: string, own: readonly Reason[]): Reason[] {
  const written = renderFluentBit(given, toEntities).text;
  if (written === text) return [];
  return withoutKnown(findLosses(written, CONFIG), own).map(({ code, parameters }) =>
    reason(code, {
      ...parameters,
      where: `${parameters.where}, with entities for characters, as KKP writes it`,
    }),
  );
}

/**
 * What a write brings that fluent-bit would not start with: new pods would not become ready, and the old ones go on.
 * @param before undefined at creation
 */
export function findUnstartable(
  before: ClusterView | undefined,
  after: ClusterView,
  settings: Settings,
): Reason[] {
  // Another image may be of another version.
  if (settings.options.sidecar.image !== '') return [];
  const [old, next] = [before, after].map((cluster) => {
    const sidecar = sidecarOf(cluster?.auditLogging);
    return sidecar === undefined
      ? ''
      : renderFluentBit({ ...settings, sidecar: { value: sidecar, by: 'cluster' } }).text;
  });
  return next === undefined || next === old ? [] : findUnknownOptions(next, CONFIG);
}

const CONFIG = 'spec.auditLogging.sidecar.config';

function sidecarOf(block: AuditLoggingSettings | undefined): AuditLoggingSettings['sidecar'] {
  const given: unknown = block?.sidecar;
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return undefined;
  return given;
}
