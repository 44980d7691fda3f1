import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { InputError } from '../../src/input.ts';
import { openFileState } from '../../src/state/files.ts';
import type { State } from '../../src/state/state.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testLog } from '../support/log.ts';
import { until } from '../support/wait.ts';

const CLUSTER = (name: string, dc = 'dc', rest = '') =>
  `apiVersion: kubermatic.k8c.io/v1\nkind: Cluster\nmetadata:\n  name: ${name}\nspec:\n  cloud:\n    dc: ${dc}\n${rest}`;
const SEED = (name: string, enforce: string) =>
  `apiVersion: kubermatic.k8c.io/v1\nkind: Seed\nmetadata:\n  name: ${name}\nspec:\n  datacenters:\n    dc:\n      spec:\n        enforceAuditLogging: ${enforce}\n`;

type Files = Readonly<Record<string, string | Buffer>>;

async function folderOf(t: TestContext, files: Files): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'state-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await write(folder, files);
  return folder;
}

async function write(folder: string, files: Files): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
    await writeFile(path.join(folder, name), text);
  }
}

async function open(t: TestContext, folder: string) {
  const log = testLog();
  const state = await openFileState(folder, { logger: log.logger, scanIntervalMs: 10, settleMs: 5 });
  t.after(() => state.close());
  return { state, log };
}

/** The message that the folder is refused with, paths shown relative to it. */
async function refusal(t: TestContext, files: Files): Promise<string> {
  const folder = await folderOf(t, files);
  const error = await openFileState(folder, { logger: testLog().logger }).then(
    (state) => state.close().then(() => assert.fail('the folder was taken')),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof InputError, String(error));
  return error.message.replaceAll(`${folder}/`, '');
}

const names = (state: State) => [...state.clusters()].map(({ name }) => name);

test('a folder is read with its sub-folders; what is hidden, of another kind or no YAML does not count', async (t) => {
  const folder = await folderOf(t, {
    'b/clusters.yaml': `${CLUSTER('b')}---\n${CLUSTER('a')}status:\n  namespaceName: elsewhere\n`,
    'seed.json': JSON.stringify({
      apiVersion: 'kubermatic.k8c.io/v1',
      kind: 'Seed',
      metadata: { name: 's' },
      spec: { datacenters: { dc: { spec: { enforceAuditLogging: true } } } },
    }),
    'list.yml': `apiVersion: v1\nkind: List\nitems:\n- {apiVersion: kubermatic.k8c.io/v1, kind: Cluster, metadata: {name: c}}\n`,
    'other.yaml': `apiVersion: cluster.k8s.io/v1alpha1\nkind: Cluster\nmetadata: 7\n---\napiVersion: v1\nkind: ConfigMap\n`,
    'notes.txt': 'no: [yaml',
    '.hidden.yaml': 'no: [yaml',
    '.hidden/x.yaml': 'no: [yaml',
  });
  const { state } = await open(t, folder);
  assert.deepEqual(names(state), ['b', 'a', 'c']);
  assert.equal(state.clusterOfNamespace('elsewhere')?.name, 'a');
  assert.equal((await state.fetchClusterOfNamespace('cluster-c', AbortSignal.timeout(1000)))?.name, 'c');
  assert.equal(await state.fetchClusterOfNamespace('cluster-nobody', AbortSignal.timeout(1000)), undefined);
  assert.equal(state.seeds()[0]?.datacenters.get('dc')?.enforceAuditLogging, true);
  assert.deepEqual(state.health(), { synced: true, ageSeconds: 0, clusters: 3, seeds: 1, problems: [] });
});

test('an empty folder is a state without Clusters', async (t) => {
  const { state } = await open(t, await folderOf(t, { 'empty.yaml': '', 'comment.yaml': '# nothing\n' }));
  assert.deepEqual(names(state), []);
});

const BAD: readonly (readonly [what: string, text: string | Buffer, expected: string | RegExp])[] = [
  [
    'quoted boolean',
    SEED('s', '"true"'),
    'bad.yaml:9: spec.datacenters.dc.spec.enforceAuditLogging: must be true or false, is the string "true"; take the quotes away',
  ],
  [
    'a number for a datacenter',
    CLUSTER('x', '5'),
    'bad.yaml:7: spec.cloud.dc: must be text, is the number 5; put it in quotes',
  ],
  [
    'cloud is text',
    CLUSTER('x').replace('cloud:\n    dc: dc', 'cloud: dc'),
    'bad.yaml:6: spec.cloud: must be a mapping, is the string "dc"',
  ],
  [
    'no name',
    'apiVersion: kubermatic.k8c.io/v1\nkind: Cluster\nmetadata: {}\n',
    'bad.yaml:3: metadata.name: is missing',
  ],
  ['no metadata', '---\napiVersion: kubermatic.k8c.io/v1\nkind: Seed\n', 'bad.yaml:2: metadata: is missing'],
  ['no kind', 'a: 1\n', 'bad.yaml:1: this is no Kubernetes object: it needs apiVersion and kind'],
  ['plain text', 'hello', 'bad.yaml:1: this is no Kubernetes object: it needs apiVersion and kind'],
  [
    'old API',
    CLUSTER('x').replace('k8c.io', 'k8s.io'),
    'bad.yaml:1: apiVersion: kubermatic.k8s.io is of KKP up to 2.19; write kubermatic.k8c.io/v1',
  ],
  ['syntax', 'kind: [1,\n', /^bad\.yaml:\d: this is not valid YAML/],
  [
    'not UTF-8',
    Buffer.from([0x61, 0x3a, 0x20, 0xff, 0xfe]),
    'bad.yaml: the file cannot be read: it is not UTF-8 text',
  ],
  [
    'every audit field of a wrong type, all told',
    CLUSTER(
      'x',
      'dc',
      `  pause: 1
  auditLogging:
    enabled: "yes"
    policyPreset: [a]
    sidecar:
      resources:
        limits:
          memory: {}
      config:
        service:
          Flush: 1
        filters:
          Name: x
        outputs:
        - Name: [a, 2]
      extraEnvs:
      - value: x
    webhookBackend:
      auditWebhookConfig:
        namespace: x
`,
    ),
    `bad.yaml:8: spec.pause: must be true or false, is the number 1
bad.yaml:10: spec.auditLogging.enabled: must be true or false, is the string "yes"
bad.yaml:11: spec.auditLogging.policyPreset: must be text, is a list
bad.yaml:15: spec.auditLogging.sidecar.resources.limits.memory: must be a quantity such as 60Mi or 50m, is a mapping
bad.yaml:18: spec.auditLogging.sidecar.config.service.Flush: must be text, is the number 1; put it in quotes
bad.yaml:19: spec.auditLogging.sidecar.config.filters: must be a list, is a mapping
bad.yaml:22: spec.auditLogging.sidecar.config.outputs[0].Name[1]: must be text, is the number 2; put it in quotes
bad.yaml:24: spec.auditLogging.sidecar.extraEnvs[0].name: is missing
bad.yaml:26: spec.auditLogging.webhookBackend.auditWebhookConfig.name: is missing`,
  ],
];

for (const [what, text, expected] of BAD) {
  test(`refused at the start: ${what}`, async (t) => {
    const message = await refusal(t, { 'bad.yaml': text, 'good.yaml': CLUSTER('good') });
    if (typeof expected === 'string') assert.equal(message, expected);
    else assert.match(message, expected);
  });
}

test('an unknown preset, null fields and odd keys pass', async (t) => {
  const rest = `  auditLogging:\n    policyPreset: fancy\n    webhookBackend: null\n    sidecar: null\n`;
  const odd = `apiVersion: kubermatic.k8c.io/v1\nkind: Seed\nmetadata: {name: s}\nspec: {datacenters: {__proto__: {spec: {enforceAuditLogging: true}}, constructor: null}}\n`;
  const { state } = await open(t, await folderOf(t, { 'a.yaml': CLUSTER('x', 'dc', rest), 'b.yaml': odd }));
  assert.equal(state.cluster('x')?.auditLogging?.policyPreset, 'fancy');
  assert.deepEqual([...(state.seeds()[0]?.datacenters.keys() ?? [])], ['__proto__', 'constructor']);
  assert.equal(state.seeds()[0]?.datacenters.get('__proto__')?.enforceAuditLogging, true);
});

test('one object in two files is refused, with both places', async (t) => {
  const message = await refusal(t, { 'a.yaml': CLUSTER('x'), 'sub/b.yaml': `# \n${CLUSTER('x', 'other')}` });
  assert.equal(
    message,
    'sub/b.yaml:5: metadata.name: Cluster x is defined already, in a.yaml:4; keep one of them',
  );
});

test('a folder that is not there is refused', async () => {
  await assert.rejects(openFileState('/nonexistent/state', { logger: testLog().logger }), {
    name: 'InputError',
    message: '/nonexistent/state: the folder of the state cannot be read: it does not exist',
  });
});

test('changed, new and deleted files are taken up, and listeners hear of it', async (t) => {
  const folder = await folderOf(t, { 'a.yaml': CLUSTER('a'), 'b.yaml': CLUSTER('b') });
  const { state } = await open(t, folder);
  let changes = 0;
  state.onChange(() => {
    changes += 1;
  });
  await writeFile(path.join(folder, 'a.yaml'), CLUSTER('a', 'new'));
  await until('the change', () => state.cluster('a')?.datacenter === 'new');
  await mkdir(path.join(folder, 'sub'));
  await writeFile(path.join(folder, 'sub/c.yaml'), CLUSTER('c'));
  await rm(path.join(folder, 'b.yaml'));
  await until(
    'the new and the deleted file',
    () => state.cluster('c') !== undefined && state.cluster('b') === undefined,
  );
  assert.ok(changes >= 2);
});

test('a file that turns bad is told once; its good content stays, others go on, and it recovers', async (t) => {
  const folder = await folderOf(t, { 'a.yaml': SEED('s', 'true'), 'b.yaml': CLUSTER('b') });
  const { state, log } = await open(t, folder);
  const error = 'a file of the state cannot be used';
  await writeFile(path.join(folder, 'a.yaml'), SEED('s', 'maybe'));
  await until('the problem', () => state.health().problems.length === 1);
  assert.match(
    state.health().problems[0] ?? '',
    /a\.yaml:9: spec\.datacenters\.dc\.spec\.enforceAuditLogging: must be true/,
  );
  assert.equal(
    state.seeds()[0]?.datacenters.get('dc')?.enforceAuditLogging,
    true,
    'enforcement is not forgotten',
  );
  await writeFile(path.join(folder, 'b.yaml'), CLUSTER('b', 'new'));
  await until('the other file', () => state.cluster('b')?.datacenter === 'new');
  assert.equal(state.health().problems.length, 1);
  assert.equal(log.withMessage(error).length, 1, 'logged once, not at each scan');

  await writeFile(path.join(folder, 'a.yaml'), SEED('s', 'false'));
  await until('recovery', () => state.health().problems.length === 0);
  assert.equal(state.seeds()[0]?.datacenters.get('dc')?.enforceAuditLogging, false);
  assert.equal(log.withMessage('a problem of the state is solved').length, 1);
});

test('a file that is emptied keeps its objects; deleting it lets them go', async (t) => {
  const folder = await folderOf(t, { 'a.yaml': CLUSTER('a') });
  const { state } = await open(t, folder);
  await writeFile(path.join(folder, 'a.yaml'), '');
  await until('the problem', () => /a\.yaml: it is empty now/.test(state.health().problems[0] ?? ''));
  assert.deepEqual(names(state), ['a']);
  await rm(path.join(folder, 'a.yaml'));
  await until('the deletion', () => names(state).length === 0 && state.health().problems.length === 0);
});

test('an object that a second file takes as its own stays what the first says, as a problem', async (t) => {
  const folder = await folderOf(t, { 'a.yaml': CLUSTER('x') });
  const { state } = await open(t, folder);
  await writeFile(path.join(folder, 'b.yaml'), CLUSTER('x', 'other'));
  await until('the problem', () => /b\.yaml:4: .*defined already/.test(state.health().problems[0] ?? ''));
  assert.equal(state.cluster('x')?.datacenter, 'dc');
  await rm(path.join(folder, 'a.yaml'));
  await until(
    'the second',
    () => state.cluster('x')?.datacenter === 'other' && state.health().problems.length === 0,
  );
});

test('a file that is being written is read once it is whole', async (t) => {
  const folder = await folderOf(t, { 'a.yaml': CLUSTER('a') });
  const clock = new FakeClock();
  const log = testLog();
  const state = await openFileState(folder, {
    logger: log.logger,
    clock,
    scanIntervalMs: 1000,
    settleMs: 100,
  });
  t.after(() => state.close());
  const waits = (ms: number) => until(`a wait of ${ms} ms`, () => clock.nextMs === ms);
  await waits(1000);
  await writeFile(path.join(folder, 'a.yaml'), 'kind: [half');
  clock.advance(1000);
  await waits(100);
  await writeFile(path.join(folder, 'a.yaml'), CLUSTER('a', 'new'));
  clock.advance(100);
  await waits(100);
  assert.equal(state.cluster('a')?.datacenter, 'dc');
  clock.advance(100);
  await until('the change', () => state.cluster('a')?.datacenter === 'new');
  assert.deepEqual(log.withMessage('a file of the state cannot be used'), []);
});

test('a folder that goes away is a problem, what it said stays, and it may come back', async (t) => {
  const parent = await folderOf(t, { 'state/a.yaml': CLUSTER('a') });
  const folder = path.join(parent, 'state');
  const { state } = await open(t, folder);
  await rename(folder, `${folder}-away`);
  await until('the problem', () =>
    /cannot be read: it does not exist/.test(state.health().problems[0] ?? ''),
  );
  assert.deepEqual(names(state), ['a']);
  await rename(`${folder}-away`, folder);
  await until('recovery', () => state.health().problems.length === 0);
});

test('a mounted ConfigMap changes by swapping a link', async (t) => {
  const folder = await folderOf(t, { '..1/a.yaml': CLUSTER('a'), '..2/a.yaml': CLUSTER('a', 'new') });
  await symlink('..1', path.join(folder, '..data'));
  await symlink('..data/a.yaml', path.join(folder, 'a.yaml'));
  const { state } = await open(t, folder);
  assert.deepEqual(names(state), ['a']);
  await symlink('..2', path.join(folder, '..data_tmp'));
  await rename(path.join(folder, '..data_tmp'), path.join(folder, '..data'));
  await until('the swap', () => state.cluster('a')?.datacenter === 'new');
});

test('odd things in the folder: a link to itself, a link to nothing, a pipe, a folder called x.yaml', async (t) => {
  const folder = await folderOf(t, { 'x.yaml/a.yaml': CLUSTER('a') });
  await symlink('.', path.join(folder, 'loop'));
  execFileSync('mkfifo', [path.join(folder, 'pipe.yaml')]);
  const { state } = await open(t, folder);
  assert.deepEqual(names(state), ['a']);
  await symlink('nowhere', path.join(folder, 'dangling.yaml'));
  await until('the problem', () =>
    /dangling\.yaml: .* it does not exist/.test(state.health().problems[0] ?? ''),
  );
});

test('contested namespaces are problems, not errors', async (t) => {
  const text = `${CLUSTER('a')}---\n${CLUSTER('b')}status:\n  namespaceName: cluster-a\n`;
  const { state } = await open(t, await folderOf(t, { 'a.yaml': text }));
  assert.deepEqual(state.health().problems, [
    'namespace cluster-a is claimed by Cluster b and by a; b is taken',
  ]);
});
