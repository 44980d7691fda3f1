/** What the seed must be: its version, KKP, and who may install. */
import { OTHER_HOOKS_CHECK } from './other-hooks.ts';
import { describeQuestion } from './rights.ts';
import { type Check, failure, ofRead, ok, some, warning } from './verdict.ts';

const group = 'cluster';
/** matchConditions and ValidatingAdmissionPolicy are stable from here on. */
const MIN_MINOR = 30;
/** The last that was tried. */
const MAX_TRIED_MINOR = 36;
const POLICY_RESOURCES = ['validatingadmissionpolicies', 'validatingadmissionpolicybindings'];

export const CLUSTER_CHECKS: readonly Check[] = [
  {
    id: 'cluster-version',
    group,
    when: 'always',
    judge: ({ version }) =>
      version.found
        ? judgeVersion(version.value)
        : failure(
            `kube-apiserver does not answer: ${version.problem}`,
            'Give the kubeconfig of the seed, and see that its API server is up.',
          ),
  },
  {
    id: 'admission-policies',
    group,
    when: 'always',
    judge: ({ admissionResources }) =>
      ofRead(admissionResources, 'what admissionregistration.k8s.io/v1 offers', (resources) =>
        POLICY_RESOURCES.every((name) => resources.includes(name))
          ? ok('the API server has ValidatingAdmissionPolicy')
          : failure(
              "the API server has no ValidatingAdmissionPolicy, so the backstop can't hold",
              `Upgrade the seed to Kubernetes 1.${MIN_MINOR} at least, and see that --runtime-config does not switch it off.`,
            ),
      ),
  },
  {
    id: 'kkp-kinds',
    group,
    when: 'always',
    judge: ({ kkpResources }) => {
      const none = failure(
        'there are no Clusters and Seeds of KKP (kubermatic.k8c.io/v1)',
        'Point to a seed cluster of KKP 2.20 or later, not to its master or to a user cluster.',
      );
      return ofRead(
        kkpResources,
        'what kubermatic.k8c.io/v1 offers',
        (resources) =>
          ['clusters', 'seeds'].every((name) => resources.includes(name))
            ? ok("KKP's Clusters and Seeds are known")
            : none,
        none,
      );
    },
  },
  {
    id: 'kkp-version',
    group,
    when: 'always',
    judge: ({ kkpController, config }) => {
      const { namespace } = config.platform;
      return ofRead(
        kkpController,
        "KKP's seed-controller-manager",
        ({ spec }) => judgeKkp(spec?.template?.spec?.containers?.[0]?.image ?? ''),
        warning(
          `KKP's seed-controller-manager is not in namespace ${namespace}`,
          'Where KKP is installed in another namespace, set config.platform.namespace and .groups of the chart to it.',
        ),
      );
    },
  },
  {
    id: 'seeds',
    group,
    when: 'always',
    judge: ({ seeds, config }) =>
      ofRead(seeds, 'Seeds', (found) => {
        if (found.length === 0)
          return failure(
            `there is no Seed in namespace ${config.platform.namespace}, so nothing says which datacenter enforces audit logging`,
            "Set config.platform.namespace of the chart to KKP's namespace; KKP copies the Seed there.",
          );
        const keys = found.flatMap(({ datacenters }) => [...datacenters.keys()]);
        const repeated = [...new Set(keys.filter((key, i) => keys.indexOf(key) !== i))];
        if (repeated.length > 0)
          return failure(
            `datacenters of several Seeds have the same name: ${some(repeated)}`,
            "Give each datacenter one Seed; until then its clusters can't be told to be enforced or not.",
          );
        const enforcing = found.flatMap(({ datacenters }) =>
          [...datacenters].filter(([, { enforceAuditLogging }]) => enforceAuditLogging),
        );
        return ok(
          `${found.length} Seed(s) with ${keys.length} datacenter(s), of which ${enforcing.length} enforce audit logging`,
        );
      }),
  },
  {
    id: 'may-install',
    group,
    when: 'pre',
    judge: ({ missingRights }) =>
      ofRead(missingRights, 'what you may do', (missing) =>
        missing.length === 0
          ? ok('you may create what the chart has')
          : failure(
              `you may not: ${some(missing.map(describeQuestion))}`,
              'Install as an administrator of the seed (cluster-admin).',
            ),
      ),
  },
  OTHER_HOOKS_CHECK,
  {
    id: 'not-installed-yet',
    group,
    when: 'pre',
    judge: ({ configurations, namespace }) =>
      ofRead(configurations, 'webhook configurations', (found) => {
        const [first] = found;
        if (first === undefined) return ok('no hooks of this software are registered yet');
        const release = first.object.metadata?.annotations?.['meta.helm.sh/release-namespace'] ?? 'unknown';
        return warning(
          `hooks are registered already, by a release in namespace ${release}`,
          release === namespace
            ? 'This is an upgrade: run check without --pre.'
            : 'A seed has this software once: upgrade or uninstall that release.',
        );
      }),
  },
];

function judgeVersion({
  major = '',
  minor = '',
  gitVersion = '',
}: {
  major?: string;
  minor?: string;
  gitVersion?: string;
}) {
  const [majorNumber, minorNumber] = [major, minor].map((text) => Number.parseInt(text, 10));
  if (majorNumber === undefined || minorNumber === undefined || Number.isNaN(majorNumber + minorNumber))
    return warning(
      `the version of Kubernetes can't be told from "${gitVersion}"`,
      `It must be 1.${MIN_MINOR} at least.`,
    );
  if (majorNumber < 1 || (majorNumber === 1 && minorNumber < MIN_MINOR))
    return failure(
      `Kubernetes ${gitVersion} is too old`,
      `Upgrade the seed to 1.${MIN_MINOR} at least: the hooks are narrowed by matchConditions.`,
    );
  if (minorNumber > MAX_TRIED_MINOR)
    return warning(
      `Kubernetes ${gitVersion} is newer than what this version was tried with (1.${MAX_TRIED_MINOR})`,
      'Look for a newer version of this software.',
    );
  return ok(`Kubernetes ${gitVersion}`);
}

/** How KKP renders audit logging, by its version; the image's tag is all that a seed says of it. */
function judgeKkp(image: string) {
  const tag = /:(v?\d+\.(\d+)(?:\.\d+)?[\w.-]*)(?:@|$)/.exec(image);
  if (tag === null)
    return warning(
      `the version of KKP can't be told from the image ${image || '(none)'}`,
      'It must be 2.20 at least; nothing else depends on it.',
    );
  const minor = Number(tag[2]);
  if (minor < 20)
    return failure(`KKP ${tag[1]} is too old: it has another API group`, 'Upgrade KKP to 2.20 at least.');
  if (minor < 30)
    return ok(`KKP ${tag[1]} renders audit logging where a Cluster asks for it; this software enforces it`);
  return ok(
    `KKP ${tag[1]} renders and enforces audit logging by itself where a Cluster or datacenter asks for it; this software completes it`,
  );
}
