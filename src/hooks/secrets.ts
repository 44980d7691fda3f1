/**
 * The Secrets with the sidecar's configuration: KKP's, and the one that covers it in pods. Nothing of their content gets into a message or a
 * log but the places of what is wrong.
 */
import { type AdmissionRequest, allow, type Decision } from '../admission.ts';
import { mayBeEnforced, settingsOf } from '../audit/enforce.ts';
import { findUnknownOptions } from '../audit/fluentbit-options.ts';
import { findLosses } from '../audit/losses.ts';
import { FLUENTBIT_KEY, FLUENTBIT_SECRET, FLUENTBIT_TUNED_SECRET } from '../audit/names.ts';
import { ownText, type Secret } from '../kubernetes.ts';
import { type Reason, reason, withoutKnown } from '../reasons.ts';
import {
  type Answer,
  admit,
  type Call,
  isDeleted,
  isInClusterNamespace,
  isPlatformWriter,
  nameOf,
  refuse,
  withCluster,
} from './steps.ts';

export const isFluentBitSecret = (request: AdmissionRequest): boolean =>
  request.group === '' &&
  request.kind === 'Secret' &&
  request.subResource === '' &&
  isInClusterNamespace(request) &&
  [FLUENTBIT_SECRET, FLUENTBIT_TUNED_SECRET].includes(nameOf(request));

export function validateSecret(call: Call): Answer {
  const { request } = call;
  const next = request.object as Secret | undefined;
  if (isPlatformWriter(call) || (next !== undefined && isDeleted(next))) return allow();
  return withCluster(call, (cluster, resolution) => {
    if (!mayBeEnforced(resolution)) return admit([], resolution);
    const old = request.operation === 'CREATE' ? undefined : (request.oldObject() as Secret | undefined);
    const attempts = judge(old, next);
    const pass = (notes: readonly Reason[]): Decision => admit(notes, resolution);
    const isOwnImage = settingsOf(resolution).options.sidecar.image !== '';
    const [before, after] = [readConfig(old), readConfig(next)];
    const notes =
      isOwnImage || after === undefined || after === before ? [] : findUnknownOptions(after, FLUENTBIT_KEY);
    if (attempts.length === 0) return pass(notes);
    const subject = `Secret ${request.namespace}/${nameOf(request)}`;
    return refuse(call, { subject, cluster, verdict: { attempts, notes }, resolution }, (more) =>
      pass([...notes, ...more]),
    );
  });
}

/**
 * @param old undefined at creation
 * @param next undefined at deletion
 * @returns what the write loses and the old one did not
 */
function judge(old: Secret | undefined, next: Secret | undefined): Reason[] {
  if (next === undefined) return [reason('FLUENTBIT_DELETED')];
  const [before, after] = [readConfig(old), readConfig(next)];
  if (old !== undefined && before === after) return [];
  if (after === undefined || after.trim() === '') return [reason('FLUENTBIT_KEY_MISSING')];
  const known = before === undefined ? [] : findLosses(before, FLUENTBIT_KEY);
  return withoutKnown(findLosses(after, FLUENTBIT_KEY), known);
}

function readConfig(secret: Secret | undefined): string | undefined {
  const plain = ownText(secret?.stringData, FLUENTBIT_KEY);
  if (plain !== undefined) return plain;
  const bytes = ownText(secret?.data, FLUENTBIT_KEY);
  return bytes === undefined ? undefined : Buffer.from(bytes, 'base64').toString('utf8');
}
