/**
 * The injector against an independent rendering: what it makes of a Deployment that KKP renders without audit logging is, field for field, what
 * KKP renders with it, but for this software's annotation, and for KKP's labels with resourceVersions, which KKP alone writes.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { settingsOf } from '../../src/audit/enforce.ts';
import { injectDeployment } from '../../src/audit/inject.ts';
import { resolveSettings } from '../../src/audit/settings.ts';
import { type DatacenterOptions, DEFAULT_CONFIG } from '../../src/config.ts';
import { viewCluster, viewSeed } from '../../src/kkp.ts';
import type { KubernetesObject } from '../../src/kubernetes.ts';
import type { AuditLogging, Deployment, KkpOptions } from '../support/fixture-types.ts';
import { renderKkp } from '../support/fixtures.ts';
import { semanticDifferences } from '../support/semantic.ts';

const CLUSTER = 'w4zk8hqm2x';
const SEED = viewSeed({
  metadata: { name: 'kubermatic' },
  spec: { datacenters: { lab: { spec: {} } } },
} as KubernetesObject);

function inject(deployment: Deployment, auditLogging: AuditLogging, registry = ''): Deployment {
  const defaults: DatacenterOptions = { ...DEFAULT_CONFIG.defaults, registry };
  const cluster = viewCluster({
    metadata: { name: CLUSTER },
    spec: { cloud: { dc: 'lab' }, auditLogging },
  } as KubernetesObject);
  const settings = settingsOf(resolveSettings(cluster, [SEED], { ...DEFAULT_CONFIG, defaults }, 0));
  return injectDeployment(deployment as never, () => undefined, settings, false).object as never;
}

/** The differences that matter: of everything but what one side alone writes. */
function differences(injected: Deployment, rendered: Deployment): string[] {
  const slim = (deployment: Deployment) => {
    const copy = structuredClone(deployment);
    const annotations = Object.entries(copy.metadata.annotations ?? {});
    copy.metadata.annotations = Object.fromEntries(
      annotations.filter(([key]) => !key.startsWith('audit.kubermatic.k8c.io/')),
    );
    const { metadata } = copy.spec.template;
    metadata.labels = Object.fromEntries(
      Object.entries(metadata.labels).filter(([key]) => !key.endsWith('-revision')),
    );
    return copy;
  };
  return semanticDifferences(slim(injected), slim(rendered));
}

const WEBHOOK_BACKEND = {
  auditWebhookConfig: { name: 'collector', namespace: 'kubermatic' },
  auditWebhookInitialBackoff: '15s',
};

const optionsArbitrary: fc.Arbitrary<KkpOptions> = fc.record(
  {
    version: fc.constantFrom('1.30.9', '1.33.1', '1.36.2'),
    provider: fc.constantFrom(
      'aws',
      'azure',
      'bringyourown',
      'edge',
      'gcp',
      'hetzner',
      'openstack',
      'vsphere',
    ),
    inTreeCloudProvider: fc.boolean(),
    konnectivity: fc.boolean(),
    encryption: fc.boolean(),
    authorizationWebhook: fc.boolean(),
    authorizationConfigFile: fc.boolean(),
    authenticationConfig: fc.boolean(),
    dynamicResourceAllocation: fc.boolean(),
    httpProxy: fc.constant('http://proxy.example.com:3128'),
    replicas: fc.constantFrom(1, 2, 3),
    overwriteRegistry: fc.constantFrom('registry.example.com', 'localhost:5000'),
    hyperkube: fc.boolean(),
    updatedByVpa: fc.constant(
      JSON.stringify([
        {
          name: 'audit-logs',
          requires: { requests: { cpu: '7m', memory: '20Mi' }, limits: { cpu: '70m', memory: '80Mi' } },
        },
        { name: 'apiserver', requires: { requests: { cpu: '250m', memory: '1Gi' } } },
      ]),
    ),
  },
  { requiredKeys: [] },
);

const auditArbitrary: fc.Arbitrary<AuditLogging> = fc.record(
  {
    enabled: fc.boolean(),
    policyPreset: fc.constantFrom('', 'metadata', 'recommended', 'minimal'),
    sidecar: fc.record(
      {
        resources: fc.record(
          {
            requests: fc.constantFrom({ cpu: '20m' }, { cpu: '1000m', memory: '64Mi' }),
            limits: fc.constantFrom({ cpu: '200m', memory: '128Mi' }, { memory: '1Gi' }),
          },
          { requiredKeys: [] },
        ),
        // One variable at most: KKP itself writes several in random order.
        extraEnvs: fc.constantFrom(
          [],
          [{ name: 'SITE', value: 'hamburg-1' }],
          [{ name: 'EMPTY', value: '' }],
          [{ name: 'CLUSTER_ID', value: 'not-this' }],
        ),
      },
      { requiredKeys: [] },
    ),
    webhookBackend: fc.constantFrom(null, WEBHOOK_BACKEND, { auditWebhookConfig: { name: 'collector' } }),
  },
  { requiredKeys: [] },
);

describe('an injected Deployment', () => {
  test('is what KKP renders with audit logging on', () => {
    fc.assert(
      fc.property(optionsArbitrary, auditArbitrary, (options, auditLogging) => {
        const kkp = { ...options, cluster: CLUSTER };
        const injected = inject(renderKkp(kkp), auditLogging, options.overwriteRegistry);
        assert.deepEqual(differences(injected, renderKkp(kkp, auditLogging)), []);
      }),
      { numRuns: 300 },
    );
  });

  test('is left alone where KKP has rendered audit logging itself', () => {
    fc.assert(
      fc.property(optionsArbitrary, auditArbitrary, (options, auditLogging) => {
        const rendered = renderKkp({ ...options, cluster: CLUSTER }, auditLogging);
        assert.deepEqual(inject(rendered, auditLogging, options.overwriteRegistry), rendered);
      }),
      { numRuns: 300 },
    );
  });
});
