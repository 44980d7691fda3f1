/**
 * How the checks judge what is seldom met: a user who may read little, clocks that differ, certificates from elsewhere. By snapshots made by hand,
 * of which each case changes a part; what a healthy installation looks like in truth is in test/api/check.test.ts.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { runChecks } from '../../src/check/checks.ts';
import type { Snapshot } from '../../src/check/snapshot.ts';
import type { CheckStatus } from '../../src/check/verdict.ts';
import { DEFAULT_CONFIG } from '../../src/config.ts';
import type { Deployment } from '../../src/kubernetes.ts';

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
  caSecret: MISSING,
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
