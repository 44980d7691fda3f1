/**
 * How the checks judge what is seldom met: a user who may read little, clocks that differ, certificates from elsewhere. By snapshots made by hand,
 * of which each case changes a part; what a healthy installation looks like in truth is in test/api/check.test.ts.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { issueCa, issueServerCertificate } from '../../src/certificates.ts';
import { ENFORCED_HOOKS_NAME, HOOKS_NAME, type WebhookEntry } from '../../src/certs/publish.ts';
import { runChecks } from '../../src/check/checks.ts';
import { servedFrom } from '../../src/check/deployment.ts';
import type { Snapshot } from '../../src/check/snapshot.ts';
import type { CheckStatus } from '../../src/check/verdict.ts';
import { DEFAULT_CONFIG } from '../../src/config.ts';
import { type Cluster, type Seed, viewCluster, viewSeed } from '../../src/kkp.ts';
import type { Deployment, Pod } from '../../src/kubernetes.ts';

const NOW_MS = Date.parse('2026-06-01T12:00:00Z');

const found = <T>(value: T) => ({ found: true as const, value });
const MISSING = { found: false as const, missing: true, problem: '404 NotFound' };
const FORBIDDEN = { found: false as const, missing: false, problem: '403 Forbidden' };

/** The Deployment as the chart makes it, as far as it is read. */
const deployment = (...args: string[]): Deployment => ({
  metadata: { name: 'audit' },
  spec: {
    replicas: 2,
    template: {
      metadata: { labels: { app: 'audit' } },
      spec: { containers: [{ name: 'webhook', args: ['serve', ...args] }] },
    },
  },
});

const SNAPSHOT: Snapshot = {
  namespace: 'audit',
  config: DEFAULT_CONFIG,
  configProblems: found([]),
  nowMs: NOW_MS,
  version: found({ major: '1', minor: '36', gitVersion: 'v1.36.0' }),
  admissionResources: found([]),
  kkpResources: found([]),
  kkpController: MISSING,
  seeds: found([]),
  clusters: found([]),
  labelledNamespaces: found([]),
  deployment: found(deployment('--certificates=self')),
  disruptionBudgets: found([]),
  services: found([]),
  endpointSlices: found([]),
  networkPolicies: found([]),
  configurations: found([]),
  otherHooks: found([]),
  clusterNamespaces: found([]),
  enforcedHooks: found({ mutating: [], validating: [] }),
  caSecret: MISSING,
  servedCertificate: FORBIDDEN,
  lease: MISSING,
  policies: found([]),
  bindings: found([]),
  missingRights: found([]),
  probes: undefined,
  workloads: found({ deployments: [], pods: [] }),
};

/** What is there, the check that judges it, and what it says of it. */
type Case = readonly [name: string, part: Partial<Snapshot>, id: string, status: CheckStatus, text: RegExp];

function judge(cases: readonly Case[], pre = false): void {
  for (const [name, part, id, status, text] of cases) {
    test(`${name}: ${status} of ${id}`, () => {
      const result = runChecks({ ...SNAPSHOT, ...part }, pre).find((each) => each.id === id);
      assert.equal(result?.status, status, JSON.stringify(result));
      assert.match(result.text, text);
      assert.equal(result.wayOut === '', status === 'ok');
    });
  }
}

describe('settings of the installation', () => {
  const problem = 'ConfigMap audit/audit:3: defaults.mode: must be one of ["enforce","warn","audit"]';
  judge([
    ['valid', {}, 'configuration', 'ok', /valid/],
    [
      'not valid',
      { configProblems: found([problem]) },
      'configuration',
      'failure',
      /not valid: ConfigMap audit\/audit:3: defaults\.mode: must be .* go by the defaults$/,
    ],
    ['not there', { configProblems: MISSING }, 'configuration', 'failure', /is not there/],
    ['not to be read', { configProblems: FORBIDDEN }, 'configuration', 'warning', /can't be read: 403/],
    [
      'of no Deployment',
      { deployment: MISSING, configProblems: MISSING },
      'configuration',
      'warning',
      /without the Deployment/,
    ],
  ]);
});

describe('a Deployment', () => {
  const needsIt = ['configuration', 'disruption-budget', 'rights', 'network-policies'];
  judge([
    ['that is not there', { deployment: MISSING }, 'replicas', 'failure', /is not there: 404/],
    ['not to be read', { deployment: FORBIDDEN }, 'replicas', 'warning', /Deployment .* can't be read: 403/],
    ...needsIt.flatMap((id): Case[] => [
      ['that is not there', { deployment: MISSING }, id, 'warning', /can't be told without the Deployment/],
      ['not to be read', { deployment: FORBIDDEN }, id, 'warning', /Deployment .* can't be read: 403/],
    ]),
  ]);
});

describe('a dry run', () => {
  const untried = { answered: false, untried: true, problem: '403 Forbidden' } as const;
  judge([
    ['without a cluster', {}, 'dry-run', 'ok', /no cluster yet/],
    ['where Clusters are not to be read', { clusters: FORBIDDEN }, 'dry-run', 'warning', /Clusters, .* 403/],
    ['that is refused before the hooks', { probes: [untried] }, 'dry-run', 'warning', /not be tried: 403/],
    [
      'that is not judged',
      { probes: [{ answered: false, problem: 'x' }] },
      'dry-run',
      'failure',
      /do not answer: x/,
    ],
  ]);
});

const DAY_MS = 86_400_000;
const ca = (days: number, fromMs = NOW_MS) => issueCa({ days, now: new Date(fromMs) });
const encode = (...pems: string[]): string => Buffer.from(pems.join('')).toString('base64');
const [CA, OTHER_CA, EARLY, SHORT, ENDED] = await Promise.all([
  ca(180),
  ca(180),
  ca(180, NOW_MS + 2 * DAY_MS),
  ca(90, NOW_MS - 75 * DAY_MS),
  ca(180, NOW_MS - 181 * DAY_MS),
]);
const leaf = async (days: number, fromMs: number): Promise<string> =>
  (await issueServerCertificate(CA, ['audit'], { days, now: new Date(fromMs) })).cert;
const [LEAF, OLD_LEAF, ENDED_LEAF, EARLY_LEAF, DAY_LEAF] = await Promise.all([
  leaf(90, NOW_MS - 61 * DAY_MS),
  leaf(90, NOW_MS - 75 * DAY_MS),
  leaf(90, NOW_MS - 91 * DAY_MS),
  leaf(90, NOW_MS + DAY_MS),
  leaf(1, NOW_MS),
]);

const entry = (name: string, ...cas: { readonly cert: string }[]): WebhookEntry => ({
  name,
  failurePolicy: 'Fail',
  clientConfig: { caBundle: encode(...cas.map(({ cert }) => cert)) },
});
const published = (...cas: { readonly cert: string }[]): Partial<Snapshot> => ({
  configurations: found([
    { kind: 'validating', name: HOOKS_NAME, object: { webhooks: [entry('validate', ...cas)] } },
  ]),
});
const inSecret = ({ cert }: { readonly cert: string }): Partial<Snapshot> => ({
  caSecret: found({ metadata: { name: 'kkp-audit-webhook-ca' }, data: { 'ca.crt': encode(cert) } }),
});
const FROM_FILES = { deployment: found(deployment('--tls-cert=/tls/tls.crt', '--tls-key=/tls/tls.key')) };
const NO_CA_RIGHT = {
  missingRights: found([
    { namespace: 'audit', group: '', resource: 'secrets', name: 'kkp-audit-webhook-ca', verb: 'get' },
  ]),
};

describe('a CA', () => {
  const switched = { ...published(CA), ...inSecret(ENDED), ...FROM_FILES };
  judge([
    ['that signs and is trusted', { ...published(CA), ...inSecret(CA) }, 'ca-published', 'ok', /is trusted/],
    ['of another', { ...published(CA), ...inSecret(OTHER_CA) }, 'ca-published', 'failure', /not trusted/],
    ['that is not there', published(CA), 'ca-published', 'failure', /is not there/],
    ['left behind', switched, 'ca-published', 'ok', /not self-managed/],
    ['left behind', switched, 'certificate-life', 'ok', /the CA is valid for 180/],
    ['left behind', { ...switched, ...NO_CA_RIGHT }, 'rights', 'ok', /all the rights/],
    ['of its own without the right', NO_CA_RIGHT, 'rights', 'failure', /get secrets\/kkp-audit-webhook-ca/],
    [
      'of unknown use',
      { ...switched, deployment: FORBIDDEN },
      'ca-published',
      'warning',
      /Deployment .* can't be read/,
    ],
    [
      'where the last option counts',
      { ...switched, deployment: found(deployment('--certificates=self', '--certificates', 'files')) },
      'ca-published',
      'ok',
      /not self-managed/,
    ],
    ['that is not valid yet', published(EARLY), 'ca-bundle', 'failure', /CA is not valid yet for validate/],
    ['that has ended', published(ENDED), 'ca-bundle', 'failure', /CA has ended for validate/],
    ['beside one that is not valid yet', published(CA, EARLY), 'ca-bundle', 'ok', /valid/],
    [
      'that is not valid yet',
      { ...published(EARLY), ...FROM_FILES },
      'certificate-life',
      'failure',
      /not valid before 2026-06-03T11/,
    ],
    [
      'that signs before it is valid',
      { ...published(CA, EARLY), ...inSecret(EARLY) },
      'certificate-life',
      'failure',
      /not valid before/,
    ],
    [
      'beside one that lives longer',
      { ...published(SHORT, CA), ...FROM_FILES },
      'certificate-life',
      'ok',
      /180 more/,
    ],
    [
      'that one hook alone has',
      {
        ...FROM_FILES,
        configurations: found([
          {
            kind: 'validating',
            name: HOOKS_NAME,
            object: { webhooks: [entry('a', CA), entry('b', SHORT)] },
          },
        ]),
      },
      'certificate-life',
      'warning',
      /15 more/,
    ],
  ]);
});

describe('the certificate that is served', () => {
  const served = (pem: string): Partial<Snapshot> => ({ ...FROM_FILES, servedCertificate: found(pem) });
  judge([
    ['made by each replica', {}, 'served-certificate', 'ok', /makes its own/],
    ['renewed at a third of its life', served(LEAF), 'served-certificate', 'ok', /29 more day/],
    ['about to end', served(OLD_LEAF), 'served-certificate', 'warning', /15 more day/],
    ['ended', served(ENDED_LEAF), 'served-certificate', 'failure', /has ended on 2026-05-31/],
    ['not valid yet', served(EARLY_LEAF), 'served-certificate', 'failure', /not valid before/],
    ['short-lived', served(DAY_LEAF), 'served-certificate', 'ok', /1 more|0 more/],
    ['of nonsense', served('x'), 'served-certificate', 'failure', /no certificate/],
    ['not to be read', FROM_FILES, 'served-certificate', 'warning', /can't be read: 403/],
    [
      'not there',
      { ...FROM_FILES, servedCertificate: MISSING },
      'served-certificate',
      'failure',
      /not there/,
    ],
  ]);

  for (const [name, items, expected] of [
    ['all of a Secret', undefined, { name: 'audit-tls', key: 'tls.crt' }],
    ['a key by another name', [{ key: 'cert', path: 'tls.crt' }], { name: 'audit-tls', key: 'cert' }],
  ] as const)
    test(`is found in ${name}`, () => {
      const { spec } = deployment('--tls-cert', '/tls/tls.crt');
      const [container] = spec?.template?.spec?.containers ?? [];
      const mounted = { ...container!, volumeMounts: [{ name: 'tls', mountPath: '/tls' }] };
      const volumes = [{ name: 'tls', secret: { secretName: 'audit-tls', ...(items && { items }) } }];
      const template = { spec: { containers: [mounted], volumes } };
      assert.deepEqual(servedFrom({ spec: { template } }), expected);
      assert.equal(servedFrom({ spec: { template: { spec: { containers: [mounted] } } } }), undefined);
    });
});

describe('Fail', () => {
  const wanted = (...names: string[]) => ({
    mutating: [],
    validating: names.map((name) => ({ name, failurePolicy: 'Fail', rules: [{ operations: ['UPDATE'] }] })),
  });
  const registered = (enforced: readonly WebhookEntry[]): Partial<Snapshot> => ({
    configurations: found([
      { kind: 'validating', name: HOOKS_NAME, object: { webhooks: [entry('validate', CA)] } },
      { kind: 'mutating', name: ENFORCED_HOOKS_NAME, object: {} },
      { kind: 'validating', name: ENFORCED_HOOKS_NAME, object: { webhooks: enforced } },
    ]),
    enforcedHooks: found(wanted('a', 'b')),
  });
  const [a, b] = wanted('a', 'b').validating.map((hook) => ({ ...hook, ...entry(hook.name, CA) }));
  judge([
    ['is on', registered([a!, b!]), 'enforced-hooks', 'ok', /2 entries/],
    ['is on in some', registered([a!]), 'enforced-hooks', 'warning', /not on in b$/],
    [
      'is on for less',
      registered([a!, { ...b!, rules: [] } as WebhookEntry]),
      'enforced-hooks',
      'warning',
      /validating entries .* not those of the chart/,
    ],
    [
      'is on for more',
      registered([a!, b!, entry('c', CA)]),
      'enforced-hooks',
      'warning',
      /not those of the chart/,
    ],
    [
      'is on where what is wanted is not to be read',
      { ...registered([a!]), enforcedHooks: FORBIDDEN },
      'enforced-hooks',
      'warning',
      /can't be read: 403/,
    ],
  ]);
});

describe('a Lease', () => {
  const lease = (agoMs: number | undefined): Partial<Snapshot> => ({
    lease: found({
      spec: {
        holderIdentity: 'audit-1_00000000-0000-4000-8000-000000000000',
        renewTime: agoMs === undefined ? null : new Date(NOW_MS - agoMs).toISOString(),
        leaseDurationSeconds: 15,
      },
    }),
  });
  judge([
    ['that is renewed', lease(5000), 'leader', 'ok', /^audit-1 leads$/],
    ['by a clock that is a little ahead', lease(-5000), 'leader', 'ok', /leads/],
    ['by a clock that is far ahead', lease(-3_600_000), 'leader', 'warning', /audit-1.* 3600 s ahead/],
    ['that is not renewed', lease(3_600_000), 'leader', 'failure', /heard of 3600 s ago/],
    ['that says no time', lease(undefined), 'leader', 'failure', /^audit-1 has the Lease, .*no time/],
  ]);
});

describe('a pod that does not audit', () => {
  const pod = (phase: string, deletionTimestamp?: string): Partial<Snapshot> => ({
    clusters: found([
      viewCluster({
        metadata: { name: 'one' },
        spec: { cloud: { dc: 'aws-1' }, auditLogging: { enabled: true } },
      } as Cluster),
    ]),
    seeds: found([
      viewSeed({
        metadata: { name: 's' },
        spec: { datacenters: { 'aws-1': { spec: { enforceAuditLogging: true } } } },
      } as Seed),
    ]),
    workloads: found({
      deployments: [],
      pods: [
        {
          metadata: {
            name: 'apiserver-x',
            namespace: 'cluster-one',
            ...(deletionTimestamp && { deletionTimestamp }),
          },
          spec: { containers: [{ name: 'apiserver' }] },
          status: { phase },
        } as Pod,
      ],
    }),
  });
  judge([
    ['and runs', pod('Running'), 'drift', 'failure', /pod apiserver-x/],
    ['and failed', pod('Failed'), 'drift', 'ok', /all as they should be/],
    ['and has ended', pod('Succeeded'), 'drift', 'ok', /all as they should be/],
    ['and ends', pod('Running', '2026-06-01T12:00:00Z'), 'drift', 'ok', /all as they should be/],
  ]);
});

describe('a hook of others', () => {
  const rule = {
    apiGroups: ['apps'],
    apiVersions: ['v1'],
    resources: ['deployments'],
    operations: ['UPDATE'],
  };
  const hook = (entry: object, labels?: Readonly<Record<string, string>>): Partial<Snapshot> => ({
    otherHooks: found([
      {
        kind: 'validating',
        name: 'other',
        object: { webhooks: [{ name: 'other.example', rules: [rule], ...entry } as WebhookEntry] },
      },
    ]),
    clusterNamespaces: found(labels === undefined ? [] : [{}, labels]),
  });
  const outside = {
    namespaceSelector: {
      matchExpressions: [
        { key: 'kubernetes.io/metadata.name', operator: 'In', values: ['kubermatic', 'kube-system'] },
      ],
    },
  };
  const labelled = { namespaceSelector: { matchLabels: { scan: 'yes' } } };
  const ofPods = { apiGroups: ['*'], resources: ['*/*'], operations: ['CREATE'] };
  const isFine = ['other-hooks', 'ok', /no other hook/] as const;
  const isInTheWay = ['other-hooks', 'warning', /apiservers of user clusters: other\.example$/] as const;
  judge(
    [
      ['there is none', {}, ...isFine],
      ['which must answer', hook({}), ...isInTheWay],
      ['which must answer, for pods', hook({ rules: [ofPods] }), ...isInTheWay],
      ['which need not answer', hook({ failurePolicy: 'Ignore' }), ...isFine],
      ['for other objects', hook({ rules: [{ ...rule, resources: ['statefulsets'] }] }), ...isFine],
      ['for their deletion', hook({ rules: [{ ...rule, operations: ['DELETE'] }] }), ...isFine],
      ['for what has no namespace', hook({ rules: [{ ...ofPods, scope: 'Cluster' }] }), ...isFine],
      ['for other namespaces', hook(outside), ...isFine],
      ['for the namespace of one cluster', hook(labelled, { scan: 'yes' }), ...isInTheWay],
      ['for the namespaces of none', hook(labelled, { scan: 'no' }), ...isFine],
      ['for other labels', hook({ objectSelector: { matchLabels: { app: 'x' } } }), ...isFine],
      ['not to be read', { otherHooks: FORBIDDEN }, 'other-hooks', 'warning', /can't be read: 403/],
    ],
    true,
  );
});
