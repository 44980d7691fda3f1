/** The user clusters: what is enforced is labelled, audits, and nobody fights over it. */
import { findIneffective, settingsOf } from '../audit/enforce.ts';
import { INJECTION_ANNOTATION } from '../audit/inject.ts';
import { EXEMPT_UNTIL_ANNOTATION, isGuarded, type Resolution, resolveSettings } from '../audit/settings.ts';
import type { ClusterView } from '../kkp.ts';
import type { KubernetesObject, PodSpec } from '../kubernetes.ts';
import { explainReason } from '../reasons.ts';
import { isEnding, podSpecOf, readDeployment, readPod } from '../workload.ts';
import type { Snapshot, Workloads } from './snapshot.ts';
import { type Check, failure, ofRead, ok, some, type Verdict, warning } from './verdict.ts';

const group = 'clusters';

interface Member {
  readonly cluster: ClusterView;
  readonly resolution: Resolution;
}

const ofFleet =
  (judge: (members: readonly Member[], snapshot: Snapshot) => Verdict) =>
  (snapshot: Snapshot): Verdict =>
    ofRead(snapshot.clusters, 'Clusters', (clusters) =>
      ofRead(snapshot.seeds, 'Seeds', (seeds) => {
        const members = clusters
          .filter(({ deleting }) => !deleting)
          .map((cluster) => ({
            cluster,
            resolution: resolveSettings(cluster, seeds, snapshot.config, snapshot.nowMs),
          }));
        return judge(members, snapshot);
      }),
    );

const isEnforced = ({ resolution }: Member): boolean => resolution.resolved && resolution.settings.enforced;
const isEnabled = ({ resolution }: Member): boolean => settingsOf(resolution).enabled.value;
const nameOf = ({ cluster }: Member): string => cluster.name;

export const FLEET_CHECKS: readonly Check[] = [
  {
    id: 'datacenters-known',
    group,
    when: 'always',
    judge: ofFleet((members) => {
      const lost = members.filter(({ resolution }) => !resolution.resolved);
      const [first] = lost;
      if (first === undefined || first.resolution.resolved)
        return ok(`the datacenters of all ${members.length} cluster(s) are known`);
      return warning(
        `it can't be told whether ${some(lost.map(nameOf))} must audit: ${explainReason(first.resolution.reason)}`,
        'Put the datacenter into a Seed, or see that the Seed is copied to this cluster.',
      );
    }),
  },
  {
    id: 'labels',
    group,
    when: 'post',
    judge: ofFleet((members, { labelledNamespaces }) =>
      ofRead(labelledNamespaces, 'namespaces', (labelled) => {
        const bare = members
          .filter(({ resolution }) => resolution.resolved && isGuarded(resolution.settings))
          .filter(({ cluster }) => !cluster.labelled || !labelled.includes(cluster.namespace));
        return bare.length === 0
          ? ok('what is enforced is labelled, so that Fail and the backstop hold for it')
          : warning(
              `enforced, but without its label: ${some(bare.map(nameOf))}`,
              'The leader labels Clusters and namespaces as the roll-out comes to them; see kkp-audit-webhook report, and its log.',
            );
      }),
    ),
  },
  {
    id: 'exemptions',
    group,
    when: 'post',
    judge: ofFleet((members) => {
      const exempt = members.filter(({ resolution }) => resolution.resolved && resolution.settings.exempt);
      const endless = exempt.filter(
        ({ cluster }) => cluster.annotations[EXEMPT_UNTIL_ANNOTATION] === undefined,
      );
      if (endless.length > 0)
        return warning(
          `exempt from the enforcement without an end: ${some(endless.map(nameOf))}`,
          'Give the exemption an end with kkp-audit-webhook exempt CLUSTER --for 4h --reason …, or end it with --end.',
        );
      return ok(
        exempt.length === 0 ? 'no cluster is exempt' : `exempt for a time: ${some(exempt.map(nameOf))}`,
      );
    }),
  },
  {
    id: 'owner-fights',
    group,
    when: 'post',
    judge: ofFleet((members, { workloads }) =>
      ofRead(workloads, 'apiserver Deployments', ({ deployments }) => {
        const auto = new Map(
          members
            .filter(({ resolution }) => settingsOf(resolution).options.injection === 'auto')
            .map(({ cluster }) => [cluster.namespace, cluster.name]),
        );
        const left = deployments
          .filter(({ metadata }) => metadata?.annotations?.[INJECTION_ANNOTATION] === 'pod')
          .flatMap(({ metadata }) => auto.get(metadata?.namespace ?? '') ?? []);
        return left.length === 0
          ? ok('no owner takes out what is injected')
          : warning(
              `the owner of the Deployment takes out what is injected, so it goes into the pods: ${some(left)}`,
              'It holds as it is. To end the fight, have the owner render it: see that spec.auditLogging of the Cluster is enabled and that KKP is not paused; or set injection: pod for the datacenter.',
            );
      }),
    ),
  },
  {
    id: 'drift',
    group,
    when: 'post',
    judge: ofFleet((members, { workloads }) =>
      ofRead(workloads, 'apiserver Deployments and pods', (found) => judgeDrift(members, found)),
    ),
  },
];

/** Pods are what counts: a Deployment may be right to leave it to them. */
function judgeDrift(members: readonly Member[], { deployments, pods }: Workloads): Verdict {
  const wanted = members.filter(isEnabled);
  const faults = new Map<string, string>();
  let isPodAtFault = false;
  for (const member of wanted) {
    const { namespace } = member.cluster;
    const isHere = (object: KubernetesObject): boolean =>
      object.metadata?.namespace === namespace && !isEnding(object);
    for (const pod of pods.filter(isHere)) {
      const fault = faultOf(() => readPod(pod).spec ?? {}, member.resolution);
      if (fault === undefined) continue;
      faults.set(member.cluster.name, `pod ${pod.metadata?.name}: ${fault}`);
      isPodAtFault ||= isEnforced(member);
    }
    if (faults.has(member.cluster.name)) continue;
    for (const deployment of deployments.filter(isHere)) {
      if (
        deployment.metadata?.annotations?.[INJECTION_ANNOTATION] === 'pod' ||
        settingsOf(member.resolution).options.injection === 'pod'
      )
        continue;
      const fault = faultOf(() => podSpecOf(readDeployment(deployment)), member.resolution);
      if (fault !== undefined) faults.set(member.cluster.name, fault);
    }
  }
  const [first] = faults;
  if (first === undefined) return ok(`${wanted.length} cluster(s) with audit logging, all as they should be`);
  const text = `audit logging does not work as it should in ${some([...faults.keys()])} (${first[0]}: ${first[1]})`;
  const wayOut = `Run kkp-audit-webhook explain ${first[0]} for what is missing; the leader repairs it in the order of the roll-out (kkp-audit-webhook report).`;
  return isPodAtFault ? failure(text, wayOut) : warning(text, wayOut);
}

function faultOf(read: () => PodSpec, resolution: Resolution): string | undefined {
  try {
    const [reason] = findIneffective(read(), resolution);
    return reason === undefined ? undefined : explainReason(reason);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
