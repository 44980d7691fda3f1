/**
 * Clusters: an attempt is refused before KKP's own hook would repair it in silence, and otherwise `spec.auditLogging` becomes what KKP's hook
 * and controller would make of it, so that a KKP that renders audit logging by itself does.
 */
import { type AdmissionRequest, allow, type Decision } from '../admission.ts';
import { judgeCluster } from '../audit/enforce.ts';
import { injectCluster } from '../audit/inject-cluster.ts';
import { KKP_GROUP, viewCluster } from '../kkp.ts';
import type { Reason } from '../reasons.ts';
import {
  type Answer,
  admit,
  answer,
  type Call,
  isDeleted,
  isPlatformWriter,
  isWrite,
  readCluster,
  refuse,
  resolve,
} from './steps.ts';

export const isCluster = (request: AdmissionRequest): boolean =>
  request.group === KKP_GROUP && request.kind === 'Cluster' && isWrite(request);

export function mutateCluster(call: Call): Answer {
  const { request } = call;
  if (!isCluster(request)) return allow();
  const cluster = readCluster(request.object);
  if (isDeleted(cluster)) return allow();
  // Beyond an attempt's refusal the hook goes by the Cluster as it arrives: an opt-out that gets so far is admitted.
  const resolution = resolve(call, viewCluster(cluster));
  const injected = injectCluster(cluster, resolution, call.nowMs());
  return judge(call, (notes) => answer(cluster, injected, resolution, notes));
}

export function validateCluster(call: Call): Answer {
  const cluster = readCluster(call.request.object);
  if (isDeleted(cluster)) return allow();
  const resolution = resolve(call, viewCluster(cluster));
  return judge(call, (notes) => admit(notes, resolution));
}

function judge(call: Call, pass: (notes: readonly Reason[]) => Decision): Answer {
  const { request, state, config } = call;
  if (isPlatformWriter(call)) return pass([]);
  const after = viewCluster(readCluster(request.object));
  const before = request.operation === 'UPDATE' ? viewCluster(readCluster(request.oldObject())) : undefined;
  const verdict = judgeCluster(before, after, state.seeds(), config, call.nowMs());
  if (verdict.attempts.length === 0) return pass(verdict.notes);
  const resolution = resolve(call, { ...(before ?? after), annotations: before?.annotations ?? {} });
  return refuse(call, `Cluster "${after.name}"`, after, verdict, resolution, (notes) =>
    pass([...verdict.notes, ...notes]),
  );
}
