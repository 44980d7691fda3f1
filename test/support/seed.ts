/** Makes a bare control plane a seed: KKP's kinds, its namespace, who may do what, and user clusters with all that their apiserver mounts. */
import type { JsonObject } from '../../src/kubernetes.ts';
import type { ApiClient } from './api-client.ts';
import { installCrds } from './crds.ts';
import type { AuditLogging, KkpOptions } from './fixture-types.ts';
import { relatedObjects, renderKkp } from './fixtures.ts';
import { IDENTITIES } from './identities.ts';
import { renderPolicyPreset } from './kkp-objects.ts';

const RBAC = '/apis/rbac.authorization.k8s.io/v1';
export const CLUSTERS_PATH = '/apis/kubermatic.k8c.io/v1/clusters';
export const SEEDS_PATH = '/apis/kubermatic.k8c.io/v1/namespaces/kubermatic/seeds';

const READ = ['get', 'list', 'watch'];
const WRITE = ['create', 'update', 'patch', 'delete', 'deletecollection'];

/**
 * What each identity may do. The verbs of people are spelled out: `*` would contain the operators' own.
 * [name, subject (a group, or a service account by its user name), rules]
 */
const ROLES: readonly (readonly [string, string, readonly JsonObject[]])[] = [
  // KKP makes it cluster-admin, so that it has the operators' verb as well, without being meant.
  ['kubermatic-seed', IDENTITIES.seedControllerManager.user, [anything('*')]],
  ['seed-users', 'seed-users', [anything(...READ, ...WRITE)]],
  [
    'audit-operators',
    'audit-operators',
    [{ apiGroups: ['kubermatic.k8c.io'], resources: ['clusters'], verbs: ['disable-audit-logging'] }],
  ],
  [
    'editors-x5fk9vq2lm',
    'editors-x5fk9vq2lm',
    [
      {
        apiGroups: ['kubermatic.k8c.io'],
        resources: ['clusters'],
        verbs: ['get', 'update', 'patch', 'delete'],
      },
    ],
  ],
  // More than the chart grants: a test of the chart's own role takes this binding away.
  [
    'kkp-audit-webhook',
    IDENTITIES.webhook.user,
    [
      anything(...READ, ...WRITE),
      { apiGroups: ['authorization.k8s.io'], resources: ['subjectaccessreviews'], verbs: ['create'] },
    ],
  ],
];

function anything(...verbs: string[]): JsonObject {
  return { apiGroups: ['*'], resources: ['*'], verbs };
}

/** Installs KKP's CRDs, its namespace and the roles of IDENTITIES. */
export async function prepareSeed(client: ApiClient): Promise<void> {
  await installCrds(client);
  for (const name of ['kubermatic', 'kkp-audit-webhook'])
    await client.request('POST', '/api/v1/namespaces', namespace(name));
  for (const [name, subject, rules] of ROLES) {
    const metadata = { name: `test:${name}` };
    await client.request('POST', `${RBAC}/clusterroles`, { metadata, rules });
    const kind = subject.startsWith('system:serviceaccount:') ? 'User' : 'Group';
    await client.request('POST', `${RBAC}/clusterrolebindings`, {
      metadata,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: metadata.name },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind, name: subject }],
    });
  }
}

function namespace(name: string): JsonObject {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name } };
}

export interface DatacenterOptions {
  readonly enforceAuditLogging?: boolean;
  readonly enforcedAuditWebhookSettings?: AuditLogging['webhookBackend'];
}

/** A Seed with those datacenters. */
export function renderSeed(
  datacenters: Readonly<Record<string, DatacenterOptions>>,
  auditLogging?: AuditLogging,
  name = 'kubermatic',
) {
  return {
    apiVersion: 'kubermatic.k8c.io/v1',
    kind: 'Seed',
    metadata: { name, namespace: 'kubermatic' },
    spec: {
      country: 'DE',
      location: 'Hamburg',
      kubeconfig: { name: 'kubeconfig-seed', namespace: 'kubermatic' },
      datacenters: Object.fromEntries(
        Object.entries(datacenters).map(([key, spec]) => [
          key,
          { country: 'DE', location: key, spec: { aws: { region: 'eu-central-1' }, ...spec } },
        ]),
      ),
      ...(auditLogging === undefined ? {} : { auditLogging }),
    },
  };
}

export interface ClusterOptions {
  readonly name: string;
  readonly datacenter: string;
  readonly auditLogging?: AuditLogging;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly pause?: boolean;
}

/** A Cluster as KKP's dashboard creates it. */
export function renderCluster(options: ClusterOptions) {
  return {
    apiVersion: 'kubermatic.k8c.io/v1',
    kind: 'Cluster',
    metadata: {
      name: options.name,
      labels: { 'project-id': 'x5fk9vq2lm', ...options.labels },
      ...(options.annotations === undefined ? {} : { annotations: options.annotations }),
    },
    spec: {
      humanReadableName: `the cluster ${options.name}`,
      version: '1.36.2',
      exposeStrategy: 'NodePort',
      cloud: { dc: options.datacenter, providerName: 'aws', aws: { vpcId: 'vpc-0a1b2c3d' } },
      clusterNetwork: {
        dnsDomain: 'cluster.local',
        services: { cidrBlocks: ['10.96.0.0/16'] },
        pods: { cidrBlocks: ['172.25.0.0/16'] },
      },
      ...(options.pause === undefined ? {} : { pause: options.pause }),
      ...(options.auditLogging === undefined ? {} : { auditLogging: options.auditLogging }),
    },
  };
}

/**
 * Creates a Cluster and what KKP creates for it before the Deployment, which is for the test to create.
 * @param options.kkp decides which Secrets are mounted
 */
export async function createCluster(
  client: ApiClient,
  options: ClusterOptions & { readonly kkp?: KkpOptions },
): Promise<void> {
  await client.request('POST', CLUSTERS_PATH, renderCluster(options));
  await createClusterNamespace(client, options.name, options.kkp);
}

/** Creates a Cluster's namespace, with an ownerReference, and every Secret, ConfigMap and ServiceAccount that the Deployment needs. */
export async function createClusterNamespace(
  client: ApiClient,
  cluster: string,
  kkp?: KkpOptions,
): Promise<void> {
  const { metadata } = await client.request<{ metadata: { uid: string } }>(
    'GET',
    `${CLUSTERS_PATH}/${cluster}`,
  );
  const name = `cluster-${cluster}`;
  const owner = {
    apiVersion: 'kubermatic.k8c.io/v1',
    kind: 'Cluster',
    name: cluster,
    uid: metadata.uid,
    controller: true,
    blockOwnerDeletion: true,
  };
  await client.request('POST', '/api/v1/namespaces', {
    ...namespace(name),
    metadata: { name, ownerReferences: [owner] },
  });
  await client.request('PATCH', `${CLUSTERS_PATH}/${cluster}/status`, {
    status: { namespaceName: name, versions: { apiserver: '1.36.2' } },
  });
  await createClusterObjects(client, renderKkp({ ...kkp, cluster }));
}

async function createClusterObjects(
  client: ApiClient,
  deployment: ReturnType<typeof renderKkp>,
): Promise<void> {
  const path = `/api/v1/namespaces/${deployment.metadata.namespace}`;
  const { secrets, configMaps } = relatedObjects(deployment);
  await Promise.all([
    ...secrets.map((name) =>
      client.request('POST', `${path}/secrets`, { metadata: { name }, stringData: { 'a-key': 'a value' } }),
    ),
    ...configMaps.map((name) =>
      client.request('POST', `${path}/configmaps`, {
        metadata: { name },
        data:
          name === 'audit-config'
            ? { 'policy.yaml': renderPolicyPreset('metadata') }
            : { 'a-key': 'a value' },
      }),
    ),
    ...['default', 'etcd-launcher'].map(async (account) => {
      const answer = await client.send('POST', `${path}/serviceaccounts`, { metadata: { name: account } });
      // kube-controller-manager makes `default`, where it runs.
      if (answer.status >= 400 && answer.status !== 409)
        throw new Error(`ServiceAccount ${account}: ${answer.status}`);
    }),
  ]);
}

/** Creates Node objects, which KWOK plays; three by default, as many as anti-affinity and a surge need. */
export async function addNodes(client: ApiClient, count = 3): Promise<void> {
  for (let i = 1; i <= count; i++)
    await client.request('POST', '/api/v1/nodes', {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: `node-${i}`, labels: { 'kubernetes.io/hostname': `node-${i}` } },
    });
}
