/**
 * CustomResourceDefinitions of Cluster and Seed (kubermatic.k8c.io/v1) for the tests: KKP's shape where audit logging is concerned (pruning,
 * defaults, enums and required fields included), and anything goes elsewhere.
 */
import type { JsonObject } from '../../src/kubernetes.ts';
import type { ApiClient } from './api-client.ts';
import { until } from './wait.ts';

const CRDS_PATH = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

const STRING = { type: 'string' };
const BOOLEAN = { type: 'boolean' };
const FREE = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
const STRINGS_BY_NAME = { type: 'object', additionalProperties: STRING };
const QUANTITIES_BY_NAME = {
  type: 'object',
  additionalProperties: {
    anyOf: [{ type: 'integer' }, STRING],
    'x-kubernetes-int-or-string': true,
    pattern:
      '^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$',
  },
};

const WEBHOOK_BACKEND = {
  type: 'object',
  required: ['auditWebhookConfig'],
  properties: {
    auditWebhookConfig: {
      type: 'object',
      properties: { name: STRING, namespace: STRING },
      'x-kubernetes-map-type': 'atomic',
    },
    auditWebhookInitialBackoff: { type: 'string', default: '10s' },
  },
};

const AUDIT_LOGGING = {
  type: 'object',
  properties: {
    enabled: BOOLEAN,
    policyPreset: { type: 'string', enum: ['', 'metadata', 'recommended', 'minimal'] },
    sidecar: {
      type: 'object',
      properties: {
        config: {
          type: 'object',
          properties: {
            service: STRINGS_BY_NAME,
            filters: { type: 'array', items: STRINGS_BY_NAME },
            outputs: { type: 'array', items: STRINGS_BY_NAME },
          },
        },
        extraEnvs: {
          type: 'array',
          items: {
            type: 'object',
            required: ['name'],
            properties: { name: STRING, value: STRING, valueFrom: FREE },
          },
        },
        resources: {
          type: 'object',
          properties: { limits: QUANTITIES_BY_NAME, requests: QUANTITIES_BY_NAME },
        },
      },
    },
    webhookBackend: WEBHOOK_BACKEND,
  },
};

const CLUSTER_SCHEMA = {
  type: 'object',
  properties: {
    spec: {
      ...FREE,
      required: ['cloud', 'clusterNetwork', 'exposeStrategy', 'humanReadableName', 'version'],
      properties: {
        auditLogging: AUDIT_LOGGING,
        cloud: {
          ...FREE,
          required: ['dc', 'providerName'],
          properties: { dc: STRING, providerName: STRING },
        },
        clusterNetwork: FREE,
        exposeStrategy: STRING,
        humanReadableName: STRING,
        pause: { type: 'boolean', default: false },
        version: STRING,
      },
    },
    status: { ...FREE, properties: { namespaceName: STRING } },
  },
};

const SEED_SCHEMA = {
  type: 'object',
  required: ['spec'],
  properties: {
    spec: {
      ...FREE,
      required: ['kubeconfig'],
      properties: {
        auditLogging: AUDIT_LOGGING,
        datacenters: {
          type: 'object',
          additionalProperties: {
            type: 'object',
            required: ['spec'],
            properties: {
              country: STRING,
              location: STRING,
              spec: {
                ...FREE,
                properties: { enforceAuditLogging: BOOLEAN, enforcedAuditWebhookSettings: WEBHOOK_BACKEND },
              },
            },
          },
        },
        kubeconfig: FREE,
      },
    },
    status: FREE,
  },
};

const CRDS = [
  crd('Cluster', 'clusters', 'Cluster', CLUSTER_SCHEMA),
  crd('Seed', 'seeds', 'Namespaced', SEED_SCHEMA),
];

function crd(kind: string, plural: string, scope: string, openAPIV3Schema: object) {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.kubermatic.k8c.io` },
    spec: {
      group: 'kubermatic.k8c.io',
      scope,
      names: { kind, listKind: `${kind}List`, plural, singular: kind.toLowerCase() },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          subresources: { status: {} },
          schema: { openAPIV3Schema },
        },
      ],
    },
  };
}

/** Creates the CRDs and waits until the API serves both kinds. */
export async function installCrds(client: ApiClient): Promise<void> {
  for (const definition of CRDS) await client.request('POST', CRDS_PATH, definition);
  for (const { metadata, spec } of CRDS)
    await until(`${metadata.name} to be served`, () => isServed(client, metadata.name, spec.names.plural));
}

async function isServed(client: ApiClient, name: string, plural: string): Promise<boolean> {
  const stored = await client.request<{ status?: { conditions?: JsonObject[] } }>(
    'GET',
    `${CRDS_PATH}/${name}`,
  );
  const established = stored.status?.conditions?.some(
    (condition) => condition.type === 'Established' && condition.status === 'True',
  );
  if (!established) return false;
  return (await client.send('GET', `/apis/kubermatic.k8c.io/v1/${plural}`)).status === 200;
}
