/** What runs: replicas, their rights, their Lease, and whether anything keeps requests from them. */
import { isSelfManaged, type OwnDeployment, ofDeployment } from './deployment.ts';
import { CA_SECRET, describeQuestion } from './rights.ts';
import { type Labels, type Selector, selects } from './selector.ts';
import type { Lease, NetworkPolicy, NetworkPolicyRule } from './snapshot.ts';
import { type Check, failure, ofRead, ok, some, type Verdict, warning } from './verdict.ts';

const group = 'installation';
const HTTPS_PORT = 8443;
const HTTPS_PORT_NAME = 'https';
/** The clock of kube-apiserver may differ from the leader's. */
const CLOCK_TOLERANCE_MS = 60_000;
const DEFAULT_LEASE_SECONDS = 15;

export const INSTALLATION_CHECKS: readonly Check[] = [
  {
    id: 'replicas',
    group,
    when: 'post',
    judge: ({ deployment, namespace }) =>
      ofRead(
        deployment,
        'the Deployment of this software',
        (found) => judgeReplicas(found, namespace),
        failure(
          `the Deployment of this software is not there${deployment.found ? '' : `: ${deployment.problem}`}`,
          'Give --namespace and --name of the release, or install the chart.',
        ),
      ),
  },
  {
    id: 'configuration',
    group,
    when: 'post',
    judge: (snapshot) =>
      ofDeployment(snapshot, 'by which settings it runs', () =>
        ofRead(
          snapshot.configProblems,
          'the settings of the installation, for which the defaults are taken here,',
          (problems) =>
            problems.length === 0
              ? ok('the settings are valid')
              : failure(
                  `the settings are not valid: ${some(problems)}; the other lines go by the defaults`,
                  'Correct config in the values of the chart, and upgrade the release: until then no replica starts.',
                ),
          failure(
            'the ConfigMap with the settings is not there, without which no replica starts',
            'Upgrade the release: the chart makes it.',
          ),
        ),
      ),
  },
  {
    id: 'disruption-budget',
    group,
    when: 'post',
    judge: (snapshot) =>
      ofDeployment(snapshot, 'what is to be kept up', (deployment) =>
        ofRead(snapshot.disruptionBudgets, 'PodDisruptionBudgets', (budgets) => {
          const labels = templateLabels(deployment);
          const isOurs = (budget: unknown): boolean =>
            selects(labels, (budget as { spec?: { selector?: Selector } }).spec?.selector);
          return budgets.some(isOurs)
            ? ok('a PodDisruptionBudget keeps replicas up while nodes are drained')
            : warning(
                'no PodDisruptionBudget covers the replicas: draining nodes may end all at once',
                'Set podDisruptionBudget.enabled of the chart.',
              );
        }),
      ),
  },
  {
    id: 'rights',
    group,
    when: 'post',
    judge: (snapshot) =>
      ofDeployment(snapshot, 'whose rights are to be looked at', (deployment) =>
        ofRead(snapshot.missingRights, 'the rights of the service account', (lacking) => {
          // Granted only where the server has a CA of its own.
          const missing = lacking.filter(({ name }) => name !== CA_SECRET || isSelfManaged(deployment));
          return missing.length === 0
            ? ok('the service account has all the rights of docs/rbac.md')
            : failure(
                `the service account may not: ${some(missing.map(describeQuestion))}`,
                'Upgrade the release with rbac.create, or bind the roles of docs/rbac.md.',
              );
        }),
      ),
  },
  {
    id: 'leader',
    group,
    when: 'post',
    judge: ({ lease, nowMs }) =>
      ofRead(
        lease,
        'the Lease',
        (found) => judgeLeader(found, nowMs),
        failure(
          'there is no Lease: no replica has ever led',
          'See the logs of the replicas, and that serve runs without --no-controller.',
        ),
      ),
  },
  {
    id: 'network-policies',
    group,
    when: 'post',
    judge: (snapshot) =>
      ofDeployment(snapshot, 'which NetworkPolicies count', (deployment) =>
        ofRead(snapshot.networkPolicies, 'NetworkPolicies', (policies) =>
          judgeNetwork(policies, templateLabels(deployment)),
        ),
      ),
  },
];

function judgeLeader({ spec }: Lease, nowMs: number): Verdict {
  const wayOut =
    'See the logs of the replicas for "the Lease cannot be used"; without a leader nothing is labelled, repaired or rotated.';
  const holder = (spec?.holderIdentity ?? '').replace(/_[0-9a-f-]{36}$/, '');
  if (holder === '') return failure('no replica leads', wayOut);
  const agoMs = nowMs - Date.parse(spec?.renewTime ?? '');
  if (Number.isNaN(agoMs)) return failure(`${holder} has the Lease, which says no time of renewal`, wayOut);
  if (agoMs < -CLOCK_TOLERANCE_MS)
    return warning(
      `the clock of ${holder}, which leads, is ${Math.round(-agoMs / 1000)} s ahead, so that whether it still does can't be told`,
      'Set the clocks of the nodes right.',
    );
  const limitMs = (spec?.leaseDurationSeconds ?? DEFAULT_LEASE_SECONDS) * 1000 + CLOCK_TOLERANCE_MS;
  return agoMs <= limitMs
    ? ok(`${holder} leads`)
    : failure(`the last leader was heard of ${Math.round(agoMs / 1000)} s ago`, wayOut);
}

function judgeReplicas({ spec, status }: OwnDeployment, namespace: string): Verdict {
  const [wanted, ready, updated] = [
    spec?.replicas ?? 1,
    status?.readyReplicas ?? 0,
    status?.updatedReplicas ?? 0,
  ];
  const look = `See kubectl --namespace ${namespace} describe pods, and the answer of /readyz in their logs.`;
  if (ready === 0) return failure(`none of ${wanted} replica(s) is ready`, look);
  if (ready < wanted || updated < wanted)
    return warning(`${ready} of ${wanted} replicas are ready, ${updated} are of the newest version`, look);
  if (wanted < 2)
    return warning(
      'there is one replica only: while its node is drained, or it has crashed, nobody answers',
      'Set replicaCount to 2 at least.',
    );
  return ok(`${ready} of ${wanted} replicas are ready`);
}

function judgeNetwork(policies: readonly NetworkPolicy[], labels: Labels): Verdict {
  const ours = policies.filter(({ spec }) => selects(labels, spec?.podSelector ?? {}));
  for (const { type, rules, port, problem } of DIRECTIONS) {
    const restricting = ours.filter((policy) => typesOf(policy).includes(type));
    if (
      restricting.length === 0 ||
      restricting.some((policy) => rules(policy).some((rule) => allows(rule, port)))
    )
      continue;
    return failure(
      `NetworkPolicies keep ${problem}: ${some(restricting.map(({ metadata }) => metadata?.name ?? ''))}`,
      `Add a rule that allows it, or set networkPolicy.enabled of the chart, which makes one.`,
    );
  }
  return ok('no NetworkPolicy is in the way');
}

const DIRECTIONS: readonly {
  readonly type: string;
  readonly rules: (policy: NetworkPolicy) => readonly NetworkPolicyRule[];
  /** Undefined: any will do. */
  readonly port: number | undefined;
  readonly problem: string;
}[] = [
  {
    type: 'Ingress',
    rules: ({ spec }) => spec?.ingress ?? [],
    port: HTTPS_PORT,
    problem: `kube-apiserver from port ${HTTPS_PORT} of the replicas`,
  },
  {
    type: 'Egress',
    rules: ({ spec }) => spec?.egress ?? [],
    port: undefined,
    problem: 'the replicas from kube-apiserver',
  },
];

/** Without policyTypes, Ingress counts always and Egress where there are such rules (as the API server defaults it). */
const typesOf = ({ spec }: NetworkPolicy): readonly string[] =>
  spec?.policyTypes ?? (spec?.egress === undefined ? ['Ingress'] : ['Ingress', 'Egress']);

function allows({ ports }: NetworkPolicyRule, wanted: number | undefined): boolean {
  if (wanted === undefined || ports === undefined || ports.length === 0) return true;
  return ports.some(({ port, endPort, protocol = 'TCP' }) => {
    if (protocol !== 'TCP') return false;
    if (port === undefined || port === HTTPS_PORT_NAME) return true;
    return typeof port === 'number' && port <= wanted && wanted <= (endPort ?? port);
  });
}

const templateLabels = ({ spec }: OwnDeployment): Labels => spec?.template?.metadata?.labels ?? {};
