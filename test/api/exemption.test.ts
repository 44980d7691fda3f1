/** Operators and modes on a real kube-apiserver: exemptions by the command, their end, and what is on record; Seeds; deletion. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { request } from 'undici';
import { skipWithoutControlPlane } from '../support/binaries.ts';
import { type ControlPlane, type KubectlResult, startControlPlane } from '../support/controlplane.ts';
import { IDENTITIES, type Identity } from '../support/identities.ts';
import { CLUSTERS_PATH, createCluster, prepareSeed, renderSeed, SEEDS_PATH } from '../support/seed.ts';
import { until } from '../support/wait.ts';
import { startWebhookServer, type WebhookServer } from '../support/webhook-server.ts';
import { registerWebhooks } from '../support/webhooks.ts';

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'main.ts');
const OPT_OUT = 'kubermatic.k8c.io/skip-audit-logging-enforcement';
const UNTIL = 'audit.kubermatic.k8c.io/exempt-until';
const WHY = 'audit.kubermatic.k8c.io/exempt-reason';
const CONFIG = `
datacenters:
  warning: { mode: warn }
  auditing: { mode: audit }
`;

interface Cluster {
  readonly metadata: { readonly uid: string; readonly annotations?: Record<string, string> };
  readonly spec: { readonly auditLogging?: { readonly enabled?: boolean } };
}

describe('operators and modes', {
  skip: await skipWithoutControlPlane('exemptions on a real kube-apiserver'),
}, () => {
  let seed: ControlPlane;
  let server: WebhookServer;
  let dir: string;
  let kubeconfigs: Record<'operator' | 'editor', string>;

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'audit-of-the-seed-'));
    const policy = { apiVersion: 'audit.k8s.io/v1', kind: 'Policy', rules: [{ level: 'Metadata' }] };
    writeFileSync(join(dir, 'policy.yaml'), JSON.stringify(policy));
    const extraArgs = [
      `--audit-policy-file=${join(dir, 'policy.yaml')}`,
      `--audit-log-path=${join(dir, 'audit.log')}`,
    ];
    seed = await startControlPlane({ extraArgs, controllers: true });
    await prepareSeed(seed.client);
    const enforcing = { enforceAuditLogging: true };
    const datacenters = { enforcing, second: enforcing, warning: enforcing, auditing: enforcing, free: {} };
    await seed.client.request('POST', SEEDS_PATH, renderSeed(datacenters));
    for (const [name, datacenter] of [
      ['bank', 'enforcing'],
      ['shop', 'second'],
      ['warned', 'warning'],
      ['watched', 'auditing'],
      ['gone', 'enforcing'],
    ] as const)
      await createCluster(seed.client, { name, datacenter, auditLogging: { enabled: true } });
    server = await startWebhookServer(seed, { config: CONFIG, args: ['--no-controller'] });
    await registerWebhooks(seed.client, server);
    kubeconfigs = {
      operator: seed.kubeconfigFor(IDENTITIES.auditOperator),
      editor: seed.kubeconfigFor(IDENTITIES.editor),
    };
  });
  after(async () => {
    await server?.stop();
    await seed?.stop();
    if (dir !== undefined) rmSync(dir, { recursive: true, force: true });
  });

  const get = (name: string): Promise<Cluster> =>
    seed.client.request<Cluster>('GET', `${CLUSTERS_PATH}/${name}`);
  const patch = (name: string, body: object, as: Identity = IDENTITIES.editor): Promise<KubectlResult> =>
    seed.kubectl(['patch', 'cluster', name, '--type=merge', '-p', JSON.stringify(body)], { as });
  const disable = (name: string, as?: Identity): Promise<KubectlResult> =>
    patch(name, { spec: { auditLogging: { enabled: false } } }, as);
  const annotate = (name: string, annotations: object, as: Identity): Promise<KubectlResult> =>
    patch(name, { metadata: { annotations } }, as);

  /** Runs the command, as a person would. */
  const exempt = (who: 'operator' | 'editor', ...args: string[]): Promise<KubectlResult> =>
    new Promise((resolve) => {
      const all = [MAIN, 'exempt', ...args, `--kubeconfig=${kubeconfigs[who]}`];
      execFile(process.execPath, all, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
      );
    });
  const end = { [OPT_OUT]: null, [UNTIL]: null, [WHY]: null };

  const metric = async (reason: string, datacenter: string, outcome: string): Promise<number> => {
    const text = await (await request(`${server.opsUrl}/metrics`)).body.text();
    const labels = `reason="${reason}",datacenter="${datacenter}",outcome="${outcome}"`;
    const line = text.split('\n').find((found) => found.includes(`attempts_total{${labels}}`));
    return Number(line?.split(' ').at(-1) ?? 0);
  };
  const events = async (cluster: string): Promise<{ reason: string; note: string }[]> => {
    const { items } = await seed.client.request<{
      items: { regarding?: { name?: string }; reason: string; note: string }[];
    }>('GET', '/apis/events.k8s.io/v1/events');
    return items.filter(({ regarding }) => regarding?.name === cluster);
  };
  const logLines = (): Record<string, unknown>[] =>
    readFileSync(join(seed.dir, `${server.child.name}.log`), 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);

  test('an operator exempts a cluster by the command, on record in Event, log, metric and audit annotation', async () => {
    const { code, stdout, stderr } = await exempt(
      'operator',
      'bank',
      '--for',
      '4h',
      '--reason',
      'incident 7',
    );
    assert.equal(code, 0, stderr);
    assert.match(stdout, /bank +exempt +20\S+Z +incident 7/);
    const { annotations } = (await get('bank')).metadata;
    assert.equal(annotations?.[OPT_OUT], 'true');
    assert.equal(annotations[WHY], 'incident 7');
    const hoursLeft = (Date.parse(annotations[UNTIL] ?? '') - Date.now()) / 3_600_000;
    assert.ok(hoursLeft > 3.9 && hoursLeft < 4.1);

    assert.equal(await metric('CLUSTER_OPT_OUT', 'enforcing', 'permitted'), 1);
    await until('an Event on the Cluster', async () =>
      (await events('bank')).some(
        ({ reason, note }) =>
          reason === 'AuditLoggingWeakened' && /olga.*incident 7.*EXEMPTION_GRANTED/.test(note),
      ),
    );
    await until('a line in the log', () =>
      logLines().some(
        ({ attempt, user, attempts }) =>
          attempt === 'permitted' && user === 'olga' && String(attempts).includes('incident 7'),
      ),
    );
    await until('an audit annotation', () => {
      const lines = readFileSync(join(dir, 'audit.log'), 'utf8').split('\n');
      return lines.some(
        (line) =>
          line.includes('"validate.audit.kubermatic.k8c.io/attempt":"permitted"') &&
          line.includes('CLUSTER_OPT_OUT'),
      );
    });

    // In force: the Cluster's own word counts.
    assert.equal((await disable('bank')).code, 0);
    assert.equal((await get('bank')).spec.auditLogging?.enabled ?? false, false);
  });

  test('nobody but an operator prolongs it; anybody may end it, and enforcement is back', async () => {
    const later = new Date(Date.now() + 5 * 3_600_000).toISOString();
    const prolonged = await annotate('bank', { [UNTIL]: later }, IDENTITIES.editor);
    assert.notEqual(prolonged.code, 0);
    assert.match(prolonged.stderr, /\[EXEMPTION_PROLONGED\]/);
    const endless = await annotate('bank', { [UNTIL]: null, [WHY]: null }, IDENTITIES.editor);
    assert.notEqual(endless.code, 0);
    assert.match(endless.stderr, /\[EXEMPTION_PROLONGED\]/);

    const { code, stdout, stderr } = await exempt('editor', 'bank', '--end', '--output', 'json');
    assert.equal(code, 0, stderr);
    assert.deepEqual(JSON.parse(stdout), {
      cluster: 'bank',
      exempt: false,
      until: null,
      reason: null,
      dryRun: false,
    });
    const { metadata, spec } = await get('bank');
    assert.equal(spec.auditLogging?.enabled, true, 'the hook wrote it in the same request');
    assert.deepEqual(
      Object.keys(metadata.annotations ?? {}).filter((key) => key.includes('audit')),
      [],
    );
    assert.notEqual((await disable('bank')).code, 0);
  });

  test('it ends by the clock, without anyone doing anything', async () => {
    const until_ = new Date(Date.now() + 4000);
    const granted = await annotate(
      'bank',
      { [OPT_OUT]: 'true', [UNTIL]: until_.toISOString(), [WHY]: 'for seconds' },
      IDENTITIES.auditOperator,
    );
    assert.equal(granted.code, 0, granted.stderr);
    assert.equal((await disable('bank')).code, 0);
    await until('its end', () => Date.now() > until_.getTime());
    // Any write finds it enforced again, and the annotations gone.
    const { code, stderr } = await patch('bank', { spec: { humanReadableName: 'later' } });
    assert.equal(code, 0, stderr);
    const { metadata, spec } = await get('bank');
    assert.equal(spec.auditLogging?.enabled, true);
    assert.equal(metadata.annotations?.[OPT_OUT], undefined);
    assert.notEqual((await disable('bank')).code, 0);
  });

  test('the command refuses for those who may not, and says why', async () => {
    const { code, stdout, stderr } = await exempt('editor', 'bank', '--for=1h', '--reason=because');
    assert.equal(code, 1);
    assert.equal(stdout, '');
    assert.match(stderr, /datacenter "enforcing".*\[CLUSTER_OPT_OUT\].*disable-audit-logging/s);
    const unknown = await exempt('operator', 'nobody', '--for=1h', '--reason=because');
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /"nobody" not found/);
  });

  test('a dry run says the same and leaves no trace', async () => {
    const counted = await metric('CLUSTER_OPT_OUT', 'second', 'permitted');
    const { code, stdout } = await exempt('operator', 'shop', '--for=1h', '--reason=try', '--dry-run');
    assert.equal(code, 0);
    assert.match(stdout, /shop +exempt \(dry run\)/);
    assert.equal((await get('shop')).metadata.annotations?.[OPT_OUT], undefined);
    assert.equal(await metric('CLUSTER_OPT_OUT', 'second', 'permitted'), counted);
    assert.deepEqual(await events('shop'), []);
  });

  test("KKP's own opt-out by an operator is admitted, with a warning that it has no end", async () => {
    const { code, stderr } = await annotate('shop', { [OPT_OUT]: 'true' }, IDENTITIES.auditOperator);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /\[EXEMPTION_WITHOUT_END\]/);
    assert.equal((await annotate('shop', end, IDENTITIES.auditOperator)).code, 0);
  });

  for (const [mode, cluster, datacenter] of [
    ['warn', 'warned', 'warning'],
    ['audit', 'watched', 'auditing'],
  ] as const) {
    test(`mode ${mode}: an attempt is admitted, ${mode === 'warn' ? 'with a warning' : 'in silence'}, and on record`, async () => {
      const { code, stderr } = await annotate(cluster, { [OPT_OUT]: 'true' }, IDENTITIES.editor);
      assert.equal(code, 0, stderr);
      assert.equal((await get(cluster)).metadata.annotations?.[OPT_OUT], 'true');
      if (mode === 'warn') assert.match(stderr, /Warning: .*\[ATTEMPT_ADMITTED\][\s\S]*\[CLUSTER_OPT_OUT\]/);
      else assert.equal(stderr, '');
      assert.equal(
        await metric('CLUSTER_OPT_OUT', datacenter, 'admitted'),
        1,
        'once, though two hooks saw it',
      );
      await until('an Event', async () =>
        (await events(cluster)).some(({ reason }) => reason === 'AuditLoggingAttemptAdmitted'),
      );
    });
  }

  test('a mode does not let through what kube-apiserver could not start with', async () => {
    const policy = JSON.stringify({ data: { 'policy.yaml': 'rules: none' } });
    const { code, stderr } = await seed.kubectl(
      ['-n', 'cluster-watched', 'patch', 'configmap', 'audit-config', '--type=merge', '-p', policy],
      { as: IDENTITIES.alice },
    );
    assert.notEqual(code, 0);
    assert.match(stderr, /kube-apiserver would not start.*\[POLICY_INVALID\]/s);
  });

  test('who may edit Seeds may end the enforcement: said with the number of clusters, and on record', async () => {
    const off = JSON.stringify({
      spec: { datacenters: { enforcing: { spec: { enforceAuditLogging: false } } } },
    });
    const args = ['-n', 'kubermatic', 'patch', 'seed', 'kubermatic', '--type=merge', '-p', off];
    const dryRun = await seed.kubectl([...args, '--dry-run=server'], { as: IDENTITIES.alice });
    assert.equal(await metric('SEED_ENFORCEMENT_ENDED', 'enforcing', 'permitted'), 0);
    assert.match(
      dryRun.stderr,
      /no longer enforced for 2 clusters \(datacenters enforcing\) \[SEED_ENFORCEMENT_ENDED\]/,
    );
    const { code, stderr } = await seed.kubectl(args, { as: IDENTITIES.alice });
    assert.equal(code, 0, stderr);
    assert.match(stderr, /\[SEED_ENFORCEMENT_ENDED\]/);
    assert.equal(await metric('SEED_ENFORCEMENT_ENDED', 'enforcing', 'permitted'), 1);
    const on = off.replace('false', 'true');
    const back = await seed.kubectl([...args.slice(0, -1), on], { as: IDENTITIES.alice });
    assert.deepEqual([back.code, back.stderr], [0, '']);
  });

  test('a namespace and its Cluster can be deleted: nothing under deletion is held back', async () => {
    const labels = { metadata: { labels: { 'audit.kubermatic.k8c.io/enforced': 'true' } } };
    await seed.client.request('PATCH', '/api/v1/namespaces/cluster-gone', labels);
    const first = await seed.kubectl(['delete', 'cluster', 'gone', '--wait=false'], {
      as: IDENTITIES.editor,
    });
    assert.equal(first.code, 0, first.stderr);
    const second = await seed.kubectl(['delete', 'namespace', 'cluster-gone', '--timeout=60s'], {
      as: IDENTITIES.alice,
    });
    assert.equal(second.code, 0, second.stderr);
  });
});
