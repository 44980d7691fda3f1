/** Whether kube-apiserver asks the hooks, believes them, and has a backstop for when they are away. */
import {
  CONFIGURATION_KINDS,
  type Configuration,
  ENFORCED_HOOKS_NAME,
  type EnforcedHooks,
  HOOKS_NAME,
  planEnforced,
  type WebhookEntry,
} from '../certs/publish.ts';
import { HOOK_PATHS } from '../server.ts';
import { CERTIFICATE_CHECKS } from './certificates.ts';
import { entriesOf, ofHooks, REPAIR_CHART } from './registered.ts';
import type { Snapshot } from './snapshot.ts';
import { type Check, failure, ofRead, ok, some, type Verdict, warning } from './verdict.ts';

const group = 'hooks';
const MAX_TIMEOUT_SECONDS = 5;
const SLOW_MS = 250;
const TOO_SLOW_MS = 2500;
/** The kinds that the backstop judges; `deployments` is not there where a datacenter injects into pods only. */
const BACKSTOP = ['pods', 'clusters', 'namespaces', 'configmaps', 'secrets'].map(
  (kind) => `${kind}.${HOOKS_NAME}`,
);
const OPTIONAL_BACKSTOP = [`deployments.${HOOKS_NAME}`];

const pathOf = ({ clientConfig }: WebhookEntry): string =>
  clientConfig?.service?.path ?? URL.parse(clientConfig?.url ?? '')?.pathname ?? '';

export const HOOK_CHECKS: readonly Check[] = [
  {
    id: 'hooks-registered',
    group,
    when: 'post',
    judge: ofHooks((configurations) => {
      const paths = entriesOf(configurations, HOOKS_NAME).map(pathOf);
      const missing = Object.values(HOOK_PATHS).filter(
        (path) => !paths.some((found) => found.endsWith(path)),
      );
      return missing.length === 0
        ? ok(`all hooks are registered (${entriesOf(configurations).length} entries)`)
        : failure(
            `no hook is registered for ${some(missing)}`,
            `${REPAIR_CHART} See that webhooks.enabled is true.`,
          );
    }),
  },
  { id: 'hooks-point-here', group, when: 'post', judge: ofHooks(judgeTargets) },
  { id: 'endpoints', group, when: 'post', judge: ofHooks(judgeEndpoints) },
  {
    id: 'hook-timeouts',
    group,
    when: 'post',
    judge: ofHooks((configurations) => {
      const slow = entriesOf(configurations).filter(
        ({ timeoutSeconds = 10 }) => timeoutSeconds > MAX_TIMEOUT_SECONDS,
      );
      return slow.length === 0
        ? ok(`kube-apiserver waits ${MAX_TIMEOUT_SECONDS} s at most`)
        : warning(
            `kube-apiserver waits longer than ${MAX_TIMEOUT_SECONDS} s for ${some(slow.map(({ name }) => name))}`,
            'Set webhooks.timeoutSeconds of the chart to 5.',
          );
    }),
  },
  {
    id: 'hook-failure-policies',
    group,
    when: 'post',
    judge: ofHooks((configurations) => {
      const wide = entriesOf(configurations, HOOKS_NAME).filter(
        ({ failurePolicy = 'Fail' }) => failurePolicy === 'Fail',
      );
      return wide.length === 0
        ? ok('outside of what is enforced no write waits for the hooks in vain')
        : failure(
            `failurePolicy Fail for every cluster: ${some(wide.map(({ name }) => name))}`,
            `Fail belongs to ${ENFORCED_HOOKS_NAME} alone. ${REPAIR_CHART}`,
          );
    }),
  },
  ...CERTIFICATE_CHECKS,
  {
    id: 'dry-run',
    group,
    when: 'post',
    judge: ({ probes, clusters }) => {
      if (probes === undefined)
        return ofRead(clusters, 'Clusters, in the namespace of one of which a dry run is tried,', () =>
          ok('there is no cluster yet to try a dry run with'),
        );
      const failed = probes.find(({ answered }) => !answered);
      if (failed === undefined || failed.answered)
        return ok('a dry run through kube-apiserver is judged by the hooks');
      return failed.untried
        ? warning(
            `whether the hooks answer could not be tried: ${failed.problem}`,
            'Run this as somebody who may create ConfigMaps in the namespaces of clusters, and see that these are there; nothing is stored.',
          )
        : failure(
            `the hooks do not answer: ${failed.problem}`,
            'See the lines above, and the log of kube-apiserver for "failed calling webhook".',
          );
    },
  },
  {
    id: 'latency',
    group,
    when: 'post',
    judge: ({ probes = [] }) => {
      const times = probes.flatMap((probe) => (probe.answered ? [probe.tookMs] : [])).sort((a, b) => a - b);
      const median = times[Math.floor(times.length / 2)];
      if (median === undefined) return ok('there is no dry run to measure');
      const text = `a dry run takes ${Math.round(median)} ms from here`;
      const wayOut =
        'See the latency of the hooks in the metrics, the CPU of the replicas, and how far kube-apiserver is from them.';
      if (median > TOO_SLOW_MS) return failure(text, wayOut);
      return median > SLOW_MS ? warning(text, wayOut) : ok(text);
    },
  },
  { id: 'enforced-hooks', group, when: 'post', judge: ofHooks(judgeEnforced) },
  { id: 'backstop', group, when: 'post', judge: judgeBackstop },
  {
    id: 'backstop-types',
    group,
    when: 'post',
    judge: ({ policies }) =>
      ofRead(policies, 'ValidatingAdmissionPolicies', (all) => {
        const odd = all.filter(
          ({ metadata, status }) =>
            [...BACKSTOP, ...OPTIONAL_BACKSTOP].includes(metadata?.name ?? '') &&
            (status?.typeChecking?.expressionWarnings ?? []).length > 0,
        );
        return odd.length === 0
          ? ok('kube-apiserver finds nothing wrong with the expressions of the backstop')
          : warning(
              `kube-apiserver doubts expressions of ${some(odd.map(({ metadata }) => metadata?.name ?? ''))}`,
              'See status.typeChecking of the policy, and report it with the version of Kubernetes.',
            );
      }),
  },
];

function judgeTargets(configurations: readonly Configuration[], { services, namespace }: Snapshot): Verdict {
  const entries = entriesOf(configurations);
  const urls = [
    ...new Set(entries.flatMap(({ clientConfig }) => URL.parse(clientConfig?.url ?? '')?.origin ?? [])),
  ];
  const targets = [
    ...new Set(
      entries.flatMap(({ clientConfig: { service } = {} }) =>
        service ? [`${service.namespace}/${service.name}:${service.port ?? 443}`] : [],
      ),
    ),
  ];
  if (targets.length === 0)
    return urls.length === 0
      ? failure('the hooks point nowhere', REPAIR_CHART)
      : ok(`the hooks point to ${some(urls)}, outside of this cluster`);
  const foreign = targets.filter((target) => !target.startsWith(`${namespace}/`));
  if (foreign.length > 0)
    return failure(
      `hooks point to ${some(foreign)}, not to namespace ${namespace}`,
      'Give the --namespace of the release, or uninstall the other release.',
    );
  return ofRead(services, 'Services', (found) => {
    const known = found.flatMap(({ metadata, spec }) =>
      (spec?.ports ?? []).map(({ port }) => `${namespace}/${metadata?.name}:${port}`),
    );
    const lost = targets.filter((target) => !known.includes(target));
    return lost.length === 0
      ? ok(`the hooks point to ${some(targets)}`)
      : failure(`hooks point to ${some(lost)}, where no Service is`, REPAIR_CHART);
  });
}

function judgeEndpoints(configurations: readonly Configuration[], { endpointSlices }: Snapshot): Verdict {
  const names = [
    ...new Set(
      entriesOf(configurations).flatMap(({ clientConfig: { service } = {} }) => service?.name ?? []),
    ),
  ];
  if (names.length === 0) return ok('the hooks are not reached by a Service');
  return ofRead(endpointSlices, 'EndpointSlices', (slices) => {
    const isReady = (name: string): boolean =>
      slices.some(
        ({ metadata, endpoints }) =>
          metadata?.labels?.['kubernetes.io/service-name'] === name &&
          (endpoints ?? []).some(({ conditions }) => conditions?.ready !== false),
      );
    const dead = names.filter((name) => !isReady(name));
    return dead.length === 0
      ? ok('the Service has ready endpoints')
      : failure(
          `Service ${some(dead)} has no ready endpoint`,
          'See that its selector finds the pods, and that they are ready.',
        );
  });
}

function judgeEnforced(
  configurations: readonly Configuration[],
  { seeds, enforcedHooks }: Snapshot,
): Verdict {
  const kinds = configurations.filter(({ name }) => name === ENFORCED_HOOKS_NAME);
  if (kinds.length < 2)
    return failure(`the configurations ${ENFORCED_HOOKS_NAME} are not both there`, REPAIR_CHART);
  const entries = entriesOf(kinds);
  const enforces =
    seeds.found &&
    seeds.value.some(({ datacenters }) =>
      [...datacenters.values()].some(({ enforceAuditLogging }) => enforceAuditLogging),
    );
  const soft = entries.filter(({ failurePolicy }) => failurePolicy !== 'Fail');
  if (soft.length > 0)
    return failure(
      `${some(soft.map(({ name }) => name))} should have failurePolicy Fail`,
      "The leader puts it back where the entry differs from the chart's; see its log.",
    );
  // With the backstop there are no mutating ones: pods do not wait for an answer.
  if (kinds.some(({ kind, object }) => kind === 'validating' && (object.webhooks ?? []).length > 0))
    return ofRead(enforcedHooks, 'the entries for which Fail is to be on', (wanted) =>
      compareEnforced(configurations, wanted),
    );
  if (!enforces) return ok('no datacenter enforces audit logging, so Fail need not be on');
  return warning(
    'Fail is not on yet: while no replica answers, only the backstop holds',
    'The leader switches it on once a dry run was rejected: see its log for "failurePolicy Fail stays off", and that serve has --enforced-hooks.',
  );
}

/** What is on, and what the leader would put there. */
function compareEnforced(configurations: readonly Configuration[], wanted: EnforcedHooks): Verdict {
  const entries = entriesOf(configurations, ENFORCED_HOOKS_NAME);
  const names = entries.map(({ name }) => name);
  const lost = CONFIGURATION_KINDS.flatMap((kind) => wanted[kind].map(({ name }) => String(name))).filter(
    (name) => !names.includes(name),
  );
  const unlike = planEnforced(configurations, wanted).map(({ kind }) => kind);
  if (lost.length + unlike.length === 0)
    return ok(`Fail is on for what is enforced (${entries.length} entries)`);
  return warning(
    lost.length > 0
      ? `Fail is not on in ${some(lost)}`
      : `the ${unlike.join(' and ')} entries with Fail are not those of the chart`,
    'The leader puts them back within a minute: see its log, and who else writes that configuration.',
  );
}

function judgeBackstop({ policies, bindings }: Snapshot): Verdict {
  return ofRead(policies, 'ValidatingAdmissionPolicies', (allPolicies) =>
    ofRead(bindings, 'ValidatingAdmissionPolicyBindings', (allBindings) => {
      const wayOut = 'Set backstop.enabled of the chart and upgrade the release.';
      const names = allPolicies.map(({ metadata }) => metadata?.name ?? '');
      const lost = BACKSTOP.filter((name) => !names.includes(name));
      if (lost.length > 0) return failure(`the backstop is not there: ${some(lost)}`, wayOut);
      const wanted = [...BACKSTOP, ...OPTIONAL_BACKSTOP.filter((name) => names.includes(name))];
      const actions = (name: string): readonly string[] =>
        allBindings
          .filter(({ spec }) => spec?.policyName === name)
          .flatMap(({ spec }) => spec?.validationActions ?? []);
      const unbound = wanted.filter((name) => actions(name).length === 0);
      if (unbound.length > 0) return failure(`the backstop is not bound: ${some(unbound)}`, wayOut);
      const soft = wanted.filter((name) => !actions(name).includes('Deny'));
      return soft.length === 0
        ? ok(`the backstop denies (${wanted.length} policies)`)
        : warning(
            `the backstop only warns: ${some(soft)}`,
            'Set backstop.actions of the chart to [Deny] when the trial is over.',
          );
    }),
  );
}
