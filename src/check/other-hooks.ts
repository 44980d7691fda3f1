/**
 * Admission hooks of others that stand before the apiservers of user clusters: where one with failurePolicy Fail is away, no apiserver can be
 * started or changed, and nothing can be put into it.
 *
 * matchConditions are not judged, so that a hook that has some may be named without need.
 */
import type { Configuration } from '../certs/publish.ts';
import { type Labels, type Selector, selects } from './selector.ts';
import { type Check, ofRead, ok, some, type Verdict, warning } from './verdict.ts';

/** The parts of an entry that say what it is asked about. */
interface Entry {
  readonly name: string;
  readonly failurePolicy?: string;
  readonly namespaceSelector?: Selector;
  readonly objectSelector?: Selector;
  readonly rules?: readonly {
    readonly apiGroups?: readonly string[];
    readonly resources?: readonly string[];
    readonly operations?: readonly string[];
    readonly scope?: string;
  }[];
}

/** What is injected into, and when. */
const TARGETS = [
  { group: 'apps', resource: 'deployments', operations: ['CREATE', 'UPDATE'] },
  { group: '', resource: 'pods', operations: ['CREATE'] },
];
/** Of both, by KKP. */
const APISERVER_LABELS: Labels = { app: 'apiserver' };
/** A namespace of a cluster that is still to come; kube-apiserver sets this label itself. */
const COMING: Labels = { 'kubernetes.io/metadata.name': 'cluster-x' };

export const OTHER_HOOKS_CHECK: Check = {
  id: 'other-hooks',
  group: 'cluster',
  when: 'pre',
  judge: ({ otherHooks, clusterNamespaces }) =>
    ofRead(otherHooks, 'webhook configurations', (configurations) =>
      ofRead(clusterNamespaces, 'namespaces', (namespaces) => judgeOthers(configurations, namespaces)),
    ),
};

function judgeOthers(configurations: readonly Configuration[], namespaces: readonly Labels[]): Verdict {
  const known = namespaces.length === 0 ? [COMING] : namespaces;
  const inTheWay = configurations
    .flatMap(({ object }) => (object.webhooks ?? []) as readonly Entry[])
    .filter((entry) => isInTheWay(entry, known));
  return inTheWay.length === 0
    ? ok('no other hook with failurePolicy Fail is asked about apiservers')
    : warning(
        `other hooks with failurePolicy Fail are asked about apiservers of user clusters: ${some(inTheWay.map(({ name }) => name))}`,
        'While one of them is away, no apiserver can be started or changed. Have it leave out the namespaces cluster-*, or be sure that it answers.',
      );
}

function isInTheWay(entry: Entry, namespaces: readonly Labels[]): boolean {
  const { failurePolicy = 'Fail', namespaceSelector = {}, objectSelector = {}, rules = [] } = entry;
  return (
    failurePolicy === 'Fail' &&
    rules.some(isAsked) &&
    selects(APISERVER_LABELS, objectSelector) &&
    namespaces.some((labels) => selects(labels, namespaceSelector))
  );
}

function isAsked({
  apiGroups = [],
  resources = [],
  operations = [],
  scope = '*',
}: NonNullable<Entry['rules']>[number]): boolean {
  const has = (list: readonly string[], ...wanted: readonly string[]): boolean =>
    ['*', ...wanted].some((each) => list.includes(each));
  return (
    scope !== 'Cluster' &&
    TARGETS.some(
      (target) =>
        has(apiGroups, target.group) &&
        has(resources, target.resource, '*/*') &&
        has(operations, ...target.operations),
    )
  );
}
