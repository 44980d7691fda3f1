/** The ConfigMap `audit-config`: what kube-apiserver could not start with is refused everywhere, and what logs less where auditing is enforced. */
import { type AdmissionRequest, allow, type Decision } from '../admission.ts';
import { mayBeEnforced, settingsOf } from '../audit/enforce.ts';
import { POLICY_CONFIGMAP, POLICY_KEY } from '../audit/names.ts';
import type { Resolution } from '../audit/settings.ts';
import { type ConfigMap, ownText } from '../kubernetes.ts';
import { judgePolicyChange } from '../policy/index.ts';
import { type Reason, reason } from '../reasons.ts';
import {
  type Answer,
  admit,
  type Call,
  isDeleted,
  isInClusterNamespace,
  isPlatformWriter,
  nameOf,
  refuse,
  refuseInvalid,
  withCluster,
} from './steps.ts';

export const isAuditConfig = (request: AdmissionRequest): boolean =>
  request.group === '' &&
  request.kind === 'ConfigMap' &&
  request.subResource === '' &&
  isInClusterNamespace(request) &&
  nameOf(request) === POLICY_CONFIGMAP;

export function validateConfigMap(call: Call): Answer {
  const { request } = call;
  const next = request.object as ConfigMap | undefined;
  if (isPlatformWriter(call) || (next !== undefined && isDeleted(next))) return allow();
  const old = request.operation === 'CREATE' ? undefined : (request.oldObject() as ConfigMap | undefined);
  return withCluster(call, (cluster, resolution) => {
    const subject = `ConfigMap ${request.namespace}/${POLICY_CONFIGMAP}`;
    const { faults, attempts, notes } = judge(old, next, resolution, cluster.kubernetesMinor);
    if (faults.length > 0) {
      const why = 'kube-apiserver would not start with this audit policy';
      return refuseInvalid(call, { subject, cluster, faults, why, resolution });
    }
    const pass = (more: readonly Reason[]): Decision => admit([...more, ...notes], resolution);
    if (attempts.length === 0) return pass([]);
    return refuse(call, { subject, cluster, verdict: { attempts, notes: [] }, resolution }, pass);
  });
}

interface Judged {
  /** What keeps kube-apiserver from starting. */
  readonly faults: readonly Reason[];
  readonly attempts: readonly Reason[];
  readonly notes: readonly Reason[];
}

const NOTHING: Judged = { faults: [], attempts: [], notes: [] };
const attempt = (...attempts: Reason[]): Judged => ({ ...NOTHING, attempts });

/**
 * @param old undefined at creation
 * @param next undefined at deletion
 */
function judge(
  old: ConfigMap | undefined,
  next: ConfigMap | undefined,
  resolution: Resolution,
  kubernetesMinor: number | undefined,
): Judged {
  const enforced = mayBeEnforced(resolution);
  if (next === undefined) return enforced ? attempt(reason('POLICY_DELETED')) : NOTHING;
  const [before, after] = [readPolicyText(old), readPolicyText(next)];
  const freezes = next.immutable === true && old?.immutable !== true;
  // A label or another key may change beside a policy that was bad before.
  if (old !== undefined && before === after && !freezes) return NOTHING;
  if (after === undefined || after.trim() === '')
    return enforced
      ? attempt(reason('POLICY_KEY_MISSING'))
      : { ...NOTHING, faults: [reason('POLICY_KEY_MISSING')] };
  const { value: preset, by } = settingsOf(resolution).policyPreset;
  const verdict = judgePolicyChange({
    // What is frozen is judged as if it came new: what was left alone so far would have to stay.
    oldText: freezes && before === after ? undefined : before,
    newText: after,
    enforced,
    kubernetesMinor,
    demandedPreset: by === 'seed' && preset !== '' ? preset : undefined,
  });
  const notes = verdict.warnings.map((finding) => reason('POLICY_QUESTIONABLE', { finding }));
  if (freezes && before === after) {
    const problems = [...verdict.errors, ...verdict.lessLogged];
    return enforced ? attempt(...problems.map((problem) => reason('POLICY_FROZEN', { problem }))) : NOTHING;
  }
  return {
    faults: verdict.errors.map((problem) => reason('POLICY_INVALID', { problem })),
    attempts: verdict.lessLogged.map((difference) => reason('POLICY_LOGS_LESS', { difference })),
    notes,
  };
}

/** The file that kubelet makes of the ConfigMap; what is no map of strings has none. */
function readPolicyText(configMap: ConfigMap | undefined): string | undefined {
  const text = ownText(configMap?.data, POLICY_KEY);
  if (text !== undefined) return text;
  const bytes = ownText(configMap?.binaryData, POLICY_KEY);
  return bytes === undefined ? undefined : Buffer.from(bytes, 'base64').toString('utf8');
}
