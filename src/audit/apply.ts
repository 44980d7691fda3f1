/**
 * Makes a pod spec what settings ask for, by the smallest change: `apply` puts in what is missing, `unapply` takes out what this software put
 * in. Both are functions of their arguments alone, leave their input as it is and share with it all that does not change.
 *
 * | judged effective | a part is ours | it is wanted | then                                                   |
 * |------------------|----------------|--------------|--------------------------------------------------------|
 * | yes              | no             | -            | nothing: whoever rendered it, whatever the spelling    |
 * | yes              | yes            | yes          | the part is kept as desired (settings may have changed) |
 * | no               | -              | yes          | what is missing is put in, in KKP's names and places   |
 * | -                | yes            | no           | the part is taken out                                  |
 * | -                | no             | no           | nothing: what an owner rendered is not ours            |
 */
import type { PodSpec, Volume } from '../kubernetes.ts';
import type { Reason } from '../reasons.ts';
import type { Claims, Part } from './claims.ts';
import { findFlag } from './command-line.ts';
import {
  type Desired,
  FLUENTBIT_VOLUME,
  LOG_MOUNT,
  LOG_VOLUME,
  POLICY_MOUNT,
  POLICY_VOLUME,
  WEBHOOK_MOUNT,
  webhookVolume,
} from './desired.ts';
import { closeDraft, commandLineOf, type Draft, findApiserver, openDraft, takeOut } from './draft.ts';
import {
  findPolicyMismatch,
  findSidecar,
  findWebhookMismatch,
  judge,
  LOG_FORMAT_FLAGS,
} from './effective.ts';
import { ensureFlag, ensureMount, ensureSidecar, ensureVolume, refreshSidecar } from './ensure.ts';
import { isWritable, locate } from './mounts.ts';
import * as names from './names.ts';
import { findWeakenings } from './weakenings.ts';

export interface Applied {
  readonly spec: PodSpec;
  readonly claims: Claims;
  /** Whether something of ours was taken out. */
  readonly removed: boolean;
  /** What was wrong before; empty where nothing had to be put in. */
  readonly repaired: readonly Reason[];
  /** What could not be repaired. */
  readonly remaining: readonly Reason[];
}

/** One repair may bring to light what was hidden behind it; a reason that is still there after that has no repair. */
const MAX_ROUNDS = 4;

/**
 * Puts in what is missing and takes out what is ours and not wanted.
 * @param spec of a pod or pod template; stays as it is
 * @param claims what is ours in it
 */
export function apply(spec: PodSpec, claims: Claims, desired: Desired): Applied {
  const draft = openDraft(spec, claims);
  const unwanted = listUnwanted(draft, desired);
  takeOut(draft, unwanted);
  refresh(draft, desired);
  const { reasons } = judge(draft.spec, desired);
  let remaining = reasons;
  for (let round = 0; remaining.length > 0 && round < MAX_ROUNDS; round += 1) {
    const before = draft.spec;
    repair(draft, desired, new Set(remaining.map(({ code }) => code)));
    if (draft.spec === before) break;
    remaining = judge(draft.spec, desired).reasons;
  }
  return { ...closeDraft(draft, claims), removed: unwanted.length > 0, repaired: reasons, remaining };
}

/**
 * Takes out all that is ours.
 * @param spec of a pod or pod template; stays as it is
 */
export function unapply(spec: PodSpec, claims: Claims): PodSpec {
  const draft = openDraft(spec, claims);
  takeOut(draft, [...draft.parts]);
  return draft.spec;
}

/** Our parts that the settings do not ask for. */
function listUnwanted(draft: Draft, desired: Desired): Part[] {
  if (draft.parts.size === 0) return [];
  let wanted = wantedParts.get(desired);
  if (wanted === undefined) {
    wanted = listWanted(desired);
    wantedParts.set(desired, wanted);
  }
  const isNeutral = (part: Part): boolean =>
    (part.startsWith('flag/audit-log-') && desired.sidecar !== undefined) ||
    (part.startsWith('flag/audit-webhook-batch-') && desired.webhook !== undefined) ||
    (part === 'flag/audit-webhook-truncate-enabled' && desired.webhook !== undefined);
  const unwanted: Part[] = [];
  for (const part of draft.parts) if (!wanted.has(part) && !isNeutral(part)) unwanted.push(part);
  return unwanted;
}

const wantedParts = new WeakMap<Desired, ReadonlySet<string>>();

function listWanted(desired: Desired): ReadonlySet<string> {
  const wanted = new Set<string>();
  if (desired.policy) {
    for (const name of ['policy-file', 'log-path', ...RETENTION, 'log-format', 'log-version'])
      wanted.add(`flag/audit-${name}`);
    for (const name of [names.POLICY_CONFIGMAP, names.LOG_VOLUME]) wanted.add(`volume/${name}`);
    for (const path of [names.POLICY_DIRECTORY, names.LOG_DIRECTORY]) wanted.add(`mount/${path}`);
  }
  if (desired.sidecar !== undefined) {
    wanted.add(`volume/${names.FLUENTBIT_SECRET}`);
    wanted.add(`container/${names.SIDECAR}`);
  }
  if (desired.webhook !== undefined) {
    wanted.add(`volume/${names.WEBHOOK_VOLUME}`);
    wanted.add(`mount/${names.WEBHOOK_DIRECTORY}`);
    wanted.add('flag/audit-webhook-config-file');
    if (desired.webhook.auditWebhookInitialBackoff) wanted.add('flag/audit-webhook-initial-backoff');
  }
  return wanted;
}

const RETENTION = ['log-maxage', 'log-maxbackup', 'log-maxsize'];

/** Keeps what is ours as the settings have it by now. */
function refresh(draft: Draft, desired: Desired): void {
  if (draft.parts.size === 0) return;
  if (desired.sidecar !== undefined) refreshSidecar(draft, desired.sidecar);
  if (desired.webhook === undefined) return;
  const { auditWebhookConfig, auditWebhookInitialBackoff } = desired.webhook;
  if (draft.parts.has(`volume/${names.WEBHOOK_VOLUME}`))
    ensureVolume(draft, webhookVolume(auditWebhookConfig.name));
  if (draft.parts.has('flag/audit-webhook-config-file') && auditWebhookInitialBackoff)
    ensureFlag(draft, 'audit-webhook-initial-backoff', auditWebhookInitialBackoff);
}

/** Puts in what a judgement found missing. Which parts a reason is about: one line each. */
function repair(draft: Draft, desired: Desired, codes: ReadonlySet<string>): void {
  const has = (...wanted: string[]): boolean => wanted.some((code) => codes.has(code));
  const apiserver = findApiserver(draft.spec);
  if (apiserver === undefined || has('APISERVER_CONTAINER_REPEATED', 'APISERVER_COMMAND_UNKNOWN')) return;

  for (const [name, value] of Object.entries(desired.retention)) {
    if (findFlag(commandLineOf(draft), name) === undefined) ensureFlag(draft, name, value);
  }
  if (
    has('LOG_PATH_MISSING', 'LOG_PATH_STDOUT', 'LOG_PATH_UNWRITABLE', 'SIDECAR_LOG_UNREADABLE') ||
    needsLogPath(draft, desired)
  ) {
    ensureVolume(draft, LOG_VOLUME, isWritableVolume);
    ensureMount(draft, LOG_MOUNT, names.LOG_PATH);
    ensureFlag(draft, 'audit-log-path', names.LOG_PATH);
  }
  if (has('LOG_FORMAT')) {
    for (const [name, value] of Object.entries(LOG_FORMAT_FLAGS)) {
      const flag = findFlag(commandLineOf(draft), name);
      if (flag !== undefined && flag.value !== value) ensureFlag(draft, name, value);
    }
  }
  if (has('POLICY_FLAG_MISSING', 'POLICY_FILE_ELSEWHERE')) {
    if (findPolicyMismatch(apiserver, draft.spec.volumes ?? [], names.POLICY_PATH) !== undefined) {
      ensureVolume(draft, POLICY_VOLUME);
      ensureMount(draft, POLICY_MOUNT, names.POLICY_PATH);
    }
    ensureFlag(draft, 'audit-policy-file', names.POLICY_PATH);
  }
  if (desired.webhook !== undefined && has('WEBHOOK_FLAG_MISSING', 'WEBHOOK_FILE_ELSEWHERE')) {
    const { auditWebhookConfig, auditWebhookInitialBackoff } = desired.webhook;
    if (
      findWebhookMismatch(
        apiserver,
        draft.spec.volumes ?? [],
        auditWebhookConfig.name,
        names.WEBHOOK_PATH,
      ) !== undefined
    ) {
      ensureVolume(draft, webhookVolume(auditWebhookConfig.name));
      ensureMount(draft, WEBHOOK_MOUNT, names.WEBHOOK_PATH);
    }
    ensureFlag(draft, 'audit-webhook-config-file', names.WEBHOOK_PATH);
    if (auditWebhookInitialBackoff)
      ensureFlag(draft, 'audit-webhook-initial-backoff', auditWebhookInitialBackoff);
  }
  if (has('LOG_WEAKENED')) neutralize(draft, desired);
  if (desired.sidecar !== undefined && SIDECAR_REASONS.some((code) => codes.has(code))) {
    if (has('SIDECAR_MISSING', 'SIDECAR_CONFIG_ELSEWHERE', 'SIDECAR_COMMAND'))
      ensureVolume(draft, FLUENTBIT_VOLUME);
    ensureSidecar(draft, desired.sidecar, codes);
  }
}

const SIDECAR_REASONS = [
  'SIDECAR_MISSING',
  'SIDECAR_NOT_RUNNING',
  'SIDECAR_IMAGE',
  'SIDECAR_COMMAND',
  'SIDECAR_CONFIG_ELSEWHERE',
  'SIDECAR_LOG_UNREADABLE',
  'SIDECAR_STARVED',
  // The apiserver's log may have been moved to where the sidecar does not look yet.
  'LOG_PATH_MISSING',
  'LOG_PATH_STDOUT',
  'LOG_PATH_UNWRITABLE',
];

/**
 * KKP renders the log's flag whether or not anything is enabled; and where the sidecar is put in, the log must be where that one reads.
 */
function needsLogPath(draft: Draft, desired: Desired): boolean {
  const flag = findFlag(commandLineOf(draft), 'audit-log-path');
  if (flag === undefined) return true;
  if (desired.sidecar === undefined || findSidecar(draft.spec) !== undefined) return false;
  const apiserver = findApiserver(draft.spec) ?? { name: names.APISERVER };
  const { located } = locate(apiserver, draft.spec.volumes ?? [], flag.value ?? '');
  const wanted = names.LOG_PATH.slice(names.LOG_DIRECTORY.length + 1);
  return located?.volume.name !== names.LOG_VOLUME || located.path !== wanted;
}

function neutralize(draft: Draft, desired: Desired): void {
  const backends = new Set<'log' | 'webhook'>(desired.sidecar === undefined ? [] : ['log']);
  if (desired.webhook !== undefined) backends.add('webhook');
  for (const { name, neutral, isBoolean } of findWeakenings(commandLineOf(draft), backends)) {
    ensureFlag(draft, name, neutral, isBoolean);
  }
}

const isWritableVolume = (volume: Volume): boolean => isWritable({ mount: LOG_MOUNT, volume });
