/** Reads the snapshot that the checks judge. Whatever can't be read is a part of it. */
import { randomUUID } from 'node:crypto';
import {
  CONFIGURATION_KINDS,
  type Configuration,
  ENFORCED_HOOKS_NAME,
  type EnforcedHooks,
  HOOKS_NAME,
  REGISTRATION_API,
  readConfigurations,
} from '../certs/publish.ts';
import { type ProbeResult, sendProbe } from '../certs/send-probe.ts';
import { type Config, DEFAULT_CONFIG, parseConfig } from '../config.ts';
import { LEASE_NAME } from '../controller/start.ts';
import { formatProblem, InputError } from '../input.ts';
import {
  CLUSTER_NAMESPACE_PREFIX,
  type ClusterView,
  ENFORCED_LABEL,
  KKP_GROUP,
  viewCluster,
  viewSeed,
} from '../kkp.ts';
import { isStatus, type KubeClient, KubeError } from '../kube/client.ts';
import {
  type ConfigMap,
  type Deployment,
  type KubernetesObject,
  ownText,
  type Pod,
  resourcePath,
  type Secret,
} from '../kubernetes.ts';
import { readEnforcedHooks } from '../serve/enforced-hooks.ts';
import { configuredFrom, servedFrom } from './deployment.ts';
import { CA_SECRET, INSTALL_RIGHTS, type Question, questionsOf, RIGHTS } from './rights.ts';
import type { Read, RolloutStatus, Snapshot } from './snapshot.ts';

export interface GatherOptions {
  readonly namespace: string;
  /** Of the Deployment; undefined: the one with the chart's label. */
  readonly name: string | undefined;
  /** Undefined: the one in the ConfigMap of the Deployment's name. */
  readonly config: Config | undefined;
  readonly pre: boolean;
  /** By this machine's clock, for where kube-apiserver does not tell its own. */
  readonly nowMs: number;
}

type Query = Readonly<Record<string, string>>;

const KKP_API = `${KKP_GROUP}/v1`;
const APP_LABEL = 'app.kubernetes.io/name=kkp-audit-webhook';
const CONFIG_FILE = 'config.yaml';
const ENFORCED_HOOKS_FILE = 'enforced-hooks.yaml';
const PAGE_SIZE = 500;
const TIMEOUT_MS = 10_000;
const PROBES = 5;
const PROBED_NAMESPACES = 5;
const PARALLEL_QUESTIONS = 16;

export async function gather(client: KubeClient, options: GatherOptions): Promise<Snapshot> {
  const { namespace, pre } = options;
  const get = <T>(path: string, query: Query = {}): Promise<T> =>
    client.request<T>('GET', path, { query, timeoutMs: TIMEOUT_MS });
  const list = <T = KubernetesObject>(path: string, query: Query = {}): Promise<T[]> =>
    listAll<T>(client, path, query);
  const own = <T>(groupVersion: string, resource: string): Promise<Read<T[]>> =>
    attempt(() => list<T>(resourcePath(groupVersion, resource, { namespace })));

  const deployment = await attempt(() => findDeployment(client, options));
  const files = await readFiles(client, namespace, deployment);
  const { config, problems: configProblems } = await readConfig(options.config, files);
  const kkpNamespace = config.platform.namespace;
  const clusters = await attempt(async () =>
    (await list(resourcePath(KKP_API, 'clusters'))).map(viewCluster),
  );
  const resources = (groupVersion: string): Promise<Read<string[]>> =>
    attempt(
      async () =>
        (await get<{ resources?: { name: string }[] }>(`/apis/${groupVersion}`)).resources?.map(
          ({ name }) => name,
        ) ?? [],
    );
  const account = deployment.found
    ? (deployment.value.spec?.template?.spec?.serviceAccountName ?? 'default')
    : '';
  const namespaces = { own: namespace, kkp: kkpNamespace, default: 'default' };
  let { nowMs } = options;
  const onDate = (serverMs: number): void => {
    nowMs = serverMs;
  };
  // All at once: where nobody answers, each would wait for its own time to run out.
  const reads: Reads = {
    version: attempt(() => client.request('GET', '/version', { timeoutMs: TIMEOUT_MS, onDate })),
    admissionResources: resources(REGISTRATION_API),
    kkpResources: resources(KKP_API),
    kkpController: attempt(() =>
      get<Deployment>(
        resourcePath('apps/v1', 'deployments', {
          namespace: kkpNamespace,
          name: 'kubermatic-seed-controller-manager',
        }),
      ),
    ),
    seeds: attempt(async () =>
      (await list(resourcePath(KKP_API, 'seeds', { namespace: kkpNamespace }))).map(viewSeed),
    ),
    configProblems,
    clusters,
    labelledNamespaces: attempt(async () =>
      (await list(resourcePath('v1', 'namespaces'), { labelSelector: `${ENFORCED_LABEL}=true` })).map(
        ({ metadata }) => metadata?.name ?? '',
      ),
    ),
    deployment,
    disruptionBudgets: own('policy/v1', 'poddisruptionbudgets'),
    services: own('v1', 'services'),
    endpointSlices: own('discovery.k8s.io/v1', 'endpointslices'),
    networkPolicies: own('networking.k8s.io/v1', 'networkpolicies'),
    configurations: attempt(() => readConfigurations(client)),
    caSecret: attempt(() => get(resourcePath('v1', 'secrets', { namespace, name: CA_SECRET }))),
    otherHooks: pre ? attempt(() => readOthers(list)) : NOT_LOOKED_AT,
    clusterNamespaces: pre
      ? attempt(async () =>
          (await list(resourcePath('v1', 'namespaces')))
            .filter(({ metadata }) => metadata?.name?.startsWith(CLUSTER_NAMESPACE_PREFIX))
            .map(({ metadata }) => metadata?.labels ?? {}),
        )
      : NOT_LOOKED_AT,
    enforcedHooks: files.found ? attempt(async () => readEntries(files.value)) : files,
    servedCertificate: attempt(() => readServed(client, namespace, deployment)),
    lease: attempt(() =>
      get(resourcePath('coordination.k8s.io/v1', 'leases', { namespace, name: LEASE_NAME })),
    ),
    policies: attempt(() => list(resourcePath(REGISTRATION_API, 'validatingadmissionpolicies'))),
    bindings: attempt(() => list(resourcePath(REGISTRATION_API, 'validatingadmissionpolicybindings'))),
    missingRights: attempt(() =>
      pre
        ? askRights(client, questionsOf(INSTALL_RIGHTS, namespaces), undefined)
        : askRights(client, questionsOf(RIGHTS, namespaces), { namespace, name: account }),
    ),
    workloads: attempt(async () => ({
      deployments: await list<Deployment>(resourcePath('apps/v1', 'deployments'), {
        fieldSelector: 'metadata.name=apiserver',
      }),
      pods: await list<Pod>(resourcePath('v1', 'pods'), { labelSelector: 'app=apiserver' }),
    })),
  };
  const parts = await awaitAll(reads);
  // After the rest, which would be in its way.
  const probes = pre || !clusters.found ? undefined : await probe(client, clusters.value);
  return { namespace, config, nowMs, ...parts, probes };
}

type Part = Exclude<keyof Snapshot, 'namespace' | 'config' | 'nowMs' | 'probes'>;
type Reads = { readonly [Key in Part]: Snapshot[Key] | Promise<Snapshot[Key]> };

async function awaitAll(reads: Reads): Promise<Pick<Snapshot, Part>> {
  const entries = Object.entries(reads).map(async ([key, read]) => [key, await read] as const);
  return Object.fromEntries(await Promise.all(entries)) as unknown as Pick<Snapshot, Part>;
}

async function attempt<T>(read: () => Promise<T>): Promise<Read<T>> {
  try {
    return { found: true, value: await read() };
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    return { found: false, missing: isStatus(error, 404), problem };
  }
}

async function listAll<T>(client: KubeClient, path: string, query: Query): Promise<T[]> {
  const items: T[] = [];
  let next = '';
  do {
    const page = await client.request<{ items?: T[]; metadata?: { continue?: string } }>('GET', path, {
      query: { ...query, limit: PAGE_SIZE, continue: next },
      timeoutMs: TIMEOUT_MS,
    });
    items.push(...(page.items ?? []));
    next = page.metadata?.continue ?? '';
  } while (next !== '');
  return items;
}

const NOT_LOOKED_AT = { found: false, missing: false, problem: 'it was not looked at' } as const;

/** The configurations of hooks that are not ours. */
async function readOthers(list: (path: string) => Promise<KubernetesObject[]>): Promise<Configuration[]> {
  const all = CONFIGURATION_KINDS.map(async (kind) =>
    (await list(resourcePath(REGISTRATION_API, `${kind}webhookconfigurations`))).map((object) => ({
      kind,
      name: object.metadata?.name ?? '',
      object,
    })),
  );
  return (await Promise.all(all))
    .flat()
    .filter(({ name }) => name !== HOOKS_NAME && name !== ENFORCED_HOOKS_NAME);
}

type OwnDeployment = Deployment & { readonly status?: RolloutStatus };

async function findDeployment(
  client: KubeClient,
  { namespace, name }: GatherOptions,
): Promise<OwnDeployment> {
  if (name !== undefined)
    return client.request('GET', resourcePath('apps/v1', 'deployments', { namespace, name }));
  const path = resourcePath('apps/v1', 'deployments', { namespace });
  const [found] = await listAll<OwnDeployment>(client, path, { labelSelector: APP_LABEL });
  if (found === undefined)
    throw new KubeError(`namespace ${namespace} has no Deployment with the label ${APP_LABEL}`, {
      statusCode: 404,
      reason: 'NotFound',
    });
  return found;
}

/** The files that the replicas read: the data of the ConfigMap that is mounted. */
interface Files {
  /** For messages. */
  readonly place: string;
  readonly data: NonNullable<ConfigMap['data']>;
  /** Of the settings. */
  readonly key: string;
}

async function readFiles(
  client: KubeClient,
  namespace: string,
  deployment: Read<Deployment>,
): Promise<Read<Files>> {
  if (!deployment.found) return deployment;
  // As the chart has it.
  const usual = { name: deployment.value.metadata?.name ?? '', key: CONFIG_FILE };
  const { name, key } = configuredFrom(deployment.value) ?? usual;
  const path = resourcePath('v1', 'configmaps', { namespace, name });
  return attempt(async () => {
    const { data } = await client.request<ConfigMap>('GET', path, { timeoutMs: TIMEOUT_MS });
    return { place: `ConfigMap ${namespace}/${name}`, data: data ?? {}, key };
  });
}

/** What the replicas go by; the defaults where that can't be had, or is nothing to go by. */
async function readConfig(
  given: Config | undefined,
  files: Read<Files>,
): Promise<{ readonly config: Config; readonly problems: Snapshot['configProblems'] }> {
  if (given !== undefined) return { config: given, problems: { found: true, value: [] } };
  if (!files.found) return { config: DEFAULT_CONFIG, problems: files };
  const { place, data, key } = files.value;
  const text = ownText(data, key);
  try {
    if (text === undefined) throw new InputError([{ file: place, line: 0, field: key, text: 'is missing' }]);
    return { config: await parseConfig(text, place), problems: { found: true, value: [] } };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { config: DEFAULT_CONFIG, problems: { found: true, value: error.problems.map(formatProblem) } };
  }
}

function readEntries({ place, data }: Files): EnforcedHooks {
  const text = ownText(data, ENFORCED_HOOKS_FILE);
  if (text === undefined) throw new Error(`${place} has no ${ENFORCED_HOOKS_FILE}`);
  return readEnforcedHooks(text, place);
}

async function readServed(
  client: KubeClient,
  namespace: string,
  deployment: Read<Deployment>,
): Promise<string> {
  const from = deployment.found ? servedFrom(deployment.value) : undefined;
  if (from === undefined) throw new Error('it is mounted from no Secret');
  const path = resourcePath('v1', 'secrets', { namespace, name: from.name });
  const { data } = await client.request<Secret>('GET', path, { timeoutMs: TIMEOUT_MS });
  return Buffer.from(ownText(data, from.key) ?? '', 'base64').toString();
}

/** @returns the questions that were answered with no */
async function askRights(
  client: KubeClient,
  questions: readonly Question[],
  account: { readonly namespace: string; readonly name: string } | undefined,
): Promise<Question[]> {
  const kind = account === undefined ? 'SelfSubjectAccessReview' : 'SubjectAccessReview';
  const subject = account === undefined ? {} : asServiceAccount(account);
  const ask = async (question: Question): Promise<boolean> => {
    const body = {
      apiVersion: 'authorization.k8s.io/v1',
      kind,
      spec: { ...subject, resourceAttributes: { version: '*', ...question } },
    };
    const path = `/apis/authorization.k8s.io/v1/${kind.toLowerCase()}s`;
    const answer = await client.request<{ status?: { allowed?: boolean } }>('POST', path, { body });
    return answer.status?.allowed === true;
  };
  const missing: Question[] = [];
  for (let i = 0; i < questions.length; i += PARALLEL_QUESTIONS) {
    const some = questions.slice(i, i + PARALLEL_QUESTIONS);
    const answers = await Promise.all(some.map(ask));
    missing.push(...some.filter((_, index) => answers[index] === false));
  }
  return missing;
}

const asServiceAccount = ({ namespace, name }: { readonly namespace: string; readonly name: string }) => ({
  user: `system:serviceaccount:${namespace}:${name}`,
  groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
});

/** Tries the hooks, in the first namespace in which that can be done: those of some Clusters are not there (yet, or any more). */
async function probe(
  client: KubeClient,
  clusters: readonly ClusterView[],
): Promise<ProbeResult[] | undefined> {
  const namespaces = clusters
    .filter(
      ({ deleting, namespace, namespaceGuessed }) =>
        !deleting && !namespaceGuessed && namespace.startsWith(CLUSTER_NAMESPACE_PREFIX),
    )
    .map(({ namespace }) => namespace);
  const send = (namespace: string): Promise<ProbeResult> =>
    sendProbe(client, namespace, randomUUID(), () => performance.now());
  let results: ProbeResult[] | undefined;
  for (const namespace of namespaces.slice(0, PROBED_NAMESPACES)) {
    const first = await send(namespace);
    if (!first.answered && first.untried) {
      results ??= [first];
      continue;
    }
    results = [first];
    while (results.length < PROBES) results.push(await send(namespace));
    break;
  }
  return results;
}
