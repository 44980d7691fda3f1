import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { load } from 'js-yaml';
import type { Registry } from 'prom-client';
import { registerControllerMetrics } from '../../src/controller/metrics.ts';
import { buildMetrics } from '../../src/metrics.ts';
import { removeFolder, temporaryFolder } from '../support/children.ts';
import { CHART } from '../support/helm.ts';

const runFile = promisify(execFile);
const ROOT = join(import.meta.dirname, '..', '..');
const DOCS = join(ROOT, 'docs');
const ALERTS = join(CHART, 'files', 'alerts.yaml');
const ALERT_TESTS = join(import.meta.dirname, 'alerts.test.yaml');

/** Every metric that a replica has, with its kind, what it says and its labels. */
function describeMetrics(): Map<string, { type: string; help: string; labels: readonly string[] }> {
  const metrics = buildMetrics({
    version: 'test',
    ready: () => true,
    certificateExpiry: () => new Date(0),
    stateHealth: () => ({ synced: true, ageSeconds: 0, clusters: 0, seeds: 0, problems: [] }),
    processMetrics: true,
  });
  registerControllerMetrics(metrics.registry, {
    isLeader: () => true,
    health: () => undefined,
    assessments: () => [],
    progress: () => new Map(),
    eventsDropped: () => 0,
  });
  const found = new Map<string, { type: string; help: string; labels: readonly string[] }>();
  // What a metric is made of is in no method of the registry.
  for (const metric of (metrics.registry as Registry).getMetricsAsArray() as unknown as {
    name: string;
    help: string;
    labelNames: string[];
    constructor: { name: string };
  }[])
    found.set(metric.name, {
      type: metric.constructor.name.toLowerCase(),
      help: metric.help,
      labels: metric.labelNames,
    });
  return found;
}

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string };
}
const readRules = (): readonly Rule[] =>
  (load(readFileSync(ALERTS, 'utf8')) as { groups: { rules: Rule[] }[] }).groups.flatMap(
    ({ rules }) => rules,
  );

const OWN = /\bkkp_audit_webhook_[a-z0-9_]+/g;
const OF_PROCESS = /\b(?:process|nodejs)_[a-z0-9_]+/g;

/** Names of metrics in a query that no replica has. */
function findUnknown(query: string): string[] {
  const known = describeMetrics();
  const names = [...query.matchAll(OWN), ...query.matchAll(OF_PROCESS)].map(([name]) => name);
  assert.ok(names.length > 0, `no metric in ${query}`);
  return names.filter((name) => !known.has(name) && !known.has(name.replace(/_(bucket|sum|count)$/, '')));
}

/** Labels that a query asks for by name. */
const labelsIn = (query: string): string[] =>
  [...query.matchAll(/by \(([^)]*)\)/g)].flatMap(([, list = '']) =>
    list.split(',').map((label) => label.trim()),
  );

/** Put on by Prometheus, or made by a histogram. */
const FOREIGN_LABELS = ['pod', 'namespace', 'le'];

const hasPromtool = await runFile('promtool', ['--version']).then(
  () => true,
  () => false,
);
if (!hasPromtool && process.env.CI)
  throw new Error("promtool is missing: install Debian's package prometheus");

describe('alerts', () => {
  const rules = readRules();

  test('pass the tests of promtool', {
    skip: !hasPromtool && 'NOT TESTED: the alerts: there is no promtool',
  }, async () => {
    await runFile('promtool', ['check', 'rules', ALERTS]);
    await runFile('promtool', ['test', 'rules', ALERT_TESTS]);
  });

  test('ask only for what replicas have', () => {
    const labels = new Set([...describeMetrics().values()].flatMap((metric) => metric.labels));
    for (const { alert, expr } of rules) {
      assert.deepEqual(findUnknown(expr), [], alert);
      for (const label of labelsIn(expr))
        assert.ok(labels.has(label) || FOREIGN_LABELS.includes(label), `${alert}: ${label}`);
    }
  });

  test('are all tested, firing and not firing', () => {
    const { tests } = load(readFileSync(ALERT_TESTS, 'utf8')) as {
      tests: { alert_rule_test: { alertname: string; exp_alerts?: object[] }[] }[];
    };
    const cases = tests.flatMap(({ alert_rule_test }) => alert_rule_test);
    for (const { alert } of rules) {
      const own = cases.filter(({ alertname }) => alertname === alert);
      assert.ok(
        own.some(({ exp_alerts }) => exp_alerts?.length),
        `${alert} never fires`,
      );
      assert.ok(
        own.some(({ exp_alerts }) => exp_alerts === undefined),
        `${alert} always fires`,
      );
    }
  });

  test('have a runbook each, and no runbook is left over', () => {
    const runbooks = readdirSync(join(DOCS, 'runbooks')).filter((file) => file !== 'README.md');
    assert.deepEqual(runbooks.sort(), rules.map(({ alert }) => `${alert}.md`).sort());
    for (const file of runbooks) {
      const text = readFileSync(join(DOCS, 'runbooks', file), 'utf8');
      for (const heading of ['## What it means', '## What to look at', '## What to do'])
        assert.ok(text.includes(heading), `${file}: ${heading}`);
    }
  });

  test('say how severe they are, and what it means', () => {
    for (const { alert, labels, annotations } of rules) {
      assert.ok(['critical', 'warning', 'info'].includes(labels.severity), alert);
      assert.ok(annotations.summary && annotations.description, alert);
    }
  });
});

describe('the dashboard', () => {
  interface Panel {
    readonly id: number;
    readonly type: string;
    readonly title: string;
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
    readonly targets?: readonly { readonly expr: string }[];
  }
  const dashboard = JSON.parse(readFileSync(join(CHART, 'files', 'dashboard.json'), 'utf8')) as {
    panels: Panel[];
    templating: { list: { name: string; query: string | { query: string } }[] };
  };
  const queries = dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({ title, expr })),
  );

  test('asks only for what replicas have', () => {
    assert.ok(queries.length > 20);
    const labels = new Set([...describeMetrics().values()].flatMap((metric) => metric.labels));
    for (const { title, expr } of queries) {
      assert.deepEqual(findUnknown(expr), [], title);
      for (const label of labelsIn(expr))
        assert.ok(labels.has(label) || FOREIGN_LABELS.includes(label), `${title}: ${label}`);
    }
  });

  test('shows every metric of our own', () => {
    const shown = new Set(
      queries.flatMap(({ expr }) => [...expr.matchAll(OWN)].map(([name]) => name.replace(/_bucket$/, ''))),
    );
    const own = [...describeMetrics().keys()].filter((name) => name.startsWith('kkp_audit_webhook_'));
    assert.deepEqual(
      own.filter((name) => !shown.has(name)),
      [],
    );
  });

  test('is well-formed PromQL', {
    skip: !hasPromtool && 'NOT TESTED: the queries: there is no promtool',
  }, async () => {
    const dir = temporaryFolder();
    try {
      // A rule is parsed as a query is.
      const rules = queries.map(({ expr }) => ({
        record: 'parsed',
        expr: expr.replaceAll('$__rate_interval', '5m').replaceAll(/\$\w+/g, '.*'),
      }));
      const file = join(dir, 'queries.yaml');
      writeFileSync(file, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }));
      await runFile('promtool', ['check', 'rules', '--lint=none', file]);
    } finally {
      removeFolder(dir);
    }
  });

  test('uses only variables that it has, and panels that do not overlap', () => {
    const variables = new Set(dashboard.templating.list.map(({ name }) => name));
    for (const [, name = ''] of JSON.stringify(dashboard.panels).matchAll(/\$\{?(\w+)/g))
      assert.ok(variables.has(name) || name.startsWith('__'), name);
    const taken = new Set<string>();
    for (const { title, gridPos } of dashboard.panels)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          assert.ok(!taken.has(`${x},${y}`), title);
          taken.add(`${x},${y}`);
        }
    assert.equal(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length);
  });
});

describe('docs/metrics.md', () => {
  test('names every metric with its kind and labels', () => {
    const text = readFileSync(join(DOCS, 'metrics.md'), 'utf8');
    const rows = new Map(
      text
        .split('\n')
        .filter((line) => line.startsWith('| `kkp_'))
        .map((line) => {
          const [, name = '', type = '', labels = '', help = ''] = line.split('|').map((cell) => cell.trim());
          return [name.replaceAll('`', ''), { type, labels, help }] as const;
        }),
    );
    const own = [...describeMetrics()].filter(([name]) => name.startsWith('kkp_audit_webhook_'));
    assert.deepEqual(
      [...rows].map(([name, { type, labels }]) => [name, type, labels]).sort(),
      own.map(([name, { type, labels }]) => [name, type, labels.join(', ')]).sort(),
    );
    for (const [name, { help }] of rows) assert.ok(help, name);
  });
});
