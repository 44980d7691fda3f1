import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { CliIo, CliStream } from '../../src/cli/io.ts';
import { policyCommand } from '../../src/cli/policy/policy.ts';
import { InputError } from '../../src/input.ts';

const dir = mkdtempSync(join(tmpdir(), 'kkp-policy-'));
after(() => rmSync(dir, { recursive: true }));
const HEAD = 'apiVersion: audit.k8s.io/v1\nkind: Policy\n';

function file(name: string, content: string | Uint8Array): string {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
}

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(args: readonly string[], stdin = '', terminal = false): Promise<Ran> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  let code = 0;
  const errors: CliStream = terminal ? Object.assign(stderr, { isTTY: true }) : stderr;
  const io: CliIo = {
    stdin: Readable.from([Buffer.from(stdin)]),
    stdout,
    stderr: errors,
    env: {},
    setExitCode: (value) => (code = value),
  };
  const command = policyCommand(io);
  for (const child of command.commands) child.exitOverride().configureOutput({ writeErr: () => undefined });
  await command.parseAsync([...args], { from: 'user' });
  stdout.end();
  stderr.end();
  return { code, stdout: await text(stdout), stderr: await text(stderr) };
}

const good = file(
  'good.yaml',
  `${HEAD}omitStages: [RequestReceived]\nrules:\n- level: None\n  users: [noisy]\n  verbs: [list]\n- level: Metadata\n`,
);
const bad = file('bad.yaml', `${HEAD}rules:\n- level: metadata\n- level: None\n  users: alice\n`);
const weak = file(
  'weak.yaml',
  `${HEAD}omitStages: [RequestReceived]\nrules:\n- level: Metadata\n  verbs: [get]\n`,
);

describe('policy lint', () => {
  test('a policy that kube-apiserver takes: 0, and 1 with --strict for warnings', async () => {
    assert.equal((await run(['lint', good, '--strict'])).code, 0);
    const lenient = await run(['lint', weak]);
    assert.equal(lenient.code, 0);
    assert.match(
      lenient.stdout,
      /weak\.yaml:5:3: warning: rules\[0\]: .* \[unlogged-configmaps\]|\[unlogged-secrets\]/,
    );
    assert.match(lenient.stdout, /Kubernetes 1\.36 takes 1 policy: 0 errors, \d warnings, \d notes\n$/);
    assert.equal((await run(['lint', weak, '--strict'])).code, 1);
  });

  test('a policy that it refuses: 2, whatever else there is', async () => {
    const { code, stdout } = await run(['lint', good, bad, '--strict']);
    assert.equal(code, 2);
    assert.match(
      stdout,
      /bad\.yaml:4:3: error: rules\[0\]\.level: "metadata" is no level; did you mean Metadata\?/,
    );
    assert.match(stdout, /bad\.yaml:6:10: error: rules\[1\]\.users: must be a list of strings, not a string/);
    assert.match(stdout, /refuses 1 of 2 policies: 2 errors/);
  });

  test('JSON and SARIF have the same findings', async () => {
    const json = JSON.parse((await run(['lint', bad, '-o', 'json'])).stdout);
    assert.deepEqual(json.summary, { error: 2, warning: 0, note: 0 });
    const [policy] = json.policies;
    assert.deepEqual(
      [policy.accepted, policy.problems[0].line, policy.problems[0].column, policy.problems[0].code],
      [false, 4, 3, 'level-unknown'],
    );
    const sarif = JSON.parse((await run(['lint', bad, weak, '-o', 'sarif'])).stdout);
    assert.equal(sarif.version, '2.1.0');
    const [{ results, tool }] = sarif.runs;
    assert.deepEqual(results[0].locations[0].physicalLocation.region, { startLine: 4, startColumn: 3 });
    assert.match(results[0].locations[0].physicalLocation.artifactLocation.uri, /^file:.*bad\.yaml$/);
    for (const { ruleId, ruleIndex, level } of results) {
      assert.equal(tool.driver.rules[ruleIndex].id, ruleId);
      assert.ok(['error', 'warning', 'note'].includes(level));
    }
  });

  test('standard input', async () => {
    const { code, stdout } = await run(['lint', '-'], `${HEAD}rules: []\n`);
    assert.equal(code, 2);
    assert.match(stdout, /^\(stdin\):3:1: error: rules: a policy needs at least one rule/);
  });

  test('a ConfigMap: the places are those of the manifest', async () => {
    const manifest = `apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: audit-config\ndata:\n  policy.yaml: |\n    # a comment\n    ${HEAD.replace('\n', '\n    ')}    rules:\n    - level: None\n      verbs: [on]\n`;
    const { code, stdout } = await run(['lint', file('configmap.yaml', manifest)]);
    assert.equal(code, 2);
    assert.match(
      stdout,
      /configmap\.yaml:16:15: error: rules\[0\]\.verbs\[0\]: must be a string, not the boolean true/,
    );
    const json = {
      kind: 'List',
      apiVersion: 'v1',
      items: [{ kind: 'ConfigMap', apiVersion: 'v1', data: { 'policy.yaml': 'x' } }],
    };
    assert.equal((await run(['lint', '-'], JSON.stringify(json))).code, 2);
  });

  test('a ConfigMap without a policy, and a file that is not there, are no policies', async () => {
    await assert.rejects(
      run(['lint', '-'], 'apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\n'),
      /has no "policy\.yaml"/,
    );
    await assert.rejects(
      run(['lint', '-'], 'apiVersion: v1\nkind: ConfigMap\ndata: {policy.yaml: {a: b}}\n'),
      /must be a text/,
    );
    await assert.rejects(run(['lint', join(dir, 'nowhere.yaml')]), InputError);
    await assert.rejects(run(['lint', 'preset:nope']), /no such preset/);
  });

  test('bytes that are no text are refused, not repaired', async () => {
    const { code } = await run([
      'lint',
      file(
        'binary.yaml',
        Buffer.concat([Buffer.from(`${HEAD}rules: [{level: None}] # `), Buffer.from([0xff, 0x0a])]),
      ),
    ]);
    assert.equal(code, 2);
  });

  test('the version decides', async () => {
    const path = file('any.yaml', `${HEAD}rules:\n- level: Metadata\n  resources: [{group: "*"}]\n`);
    assert.equal((await run(['lint', path, '--kubernetes-version', '1.36'])).code, 0);
    assert.equal((await run(['lint', path, '--kubernetes-version', 'v1.35.2'])).code, 2);
    await assert.rejects(run(['lint', path, '--kubernetes-version', '2']), /A version such as 1\.36/);
  });

  test('text of the file does not drive the terminal', async () => {
    const { stdout } = await run(
      ['lint', '-'],
      `${HEAD}rules: [{level: None, "\\e[2J": 1, users: ["\\e]0;x*"]}]\n`,
    );
    assert.ok(!stdout.includes('\u001b'));
  });
});

describe('policy explain', () => {
  test('the rule that decides, and why those before it do not', async () => {
    const args = [
      'explain',
      good,
      '--user',
      'noisy',
      '--verb',
      'get',
      '--resource',
      'deployments/scale',
      '--namespace',
      'x',
    ];
    const { stdout, code } = await run(args);
    assert.equal(code, 0);
    assert.match(
      stdout,
      /^get deployments\/scale\.apps in x by noisy, groups system:authenticated\nrules\[1\] decides: level Metadata\n/,
    );
    assert.match(stdout, /rules\[0\] +None +verbs +list, not get/);
    const json = JSON.parse((await run([...args, '-o', 'json'])).stdout);
    assert.deepEqual(
      [json.rule, json.level, json.request.apiGroup, json.passed[0].field],
      [1, 'Metadata', 'apps', 'verbs'],
    );
  });

  test('no rule, a path, groups of service accounts, and words that do not fit', async () => {
    assert.match(
      (await run(['explain', weak, '--verb', 'post', '--path', '/x'])).stdout,
      /no rule matches, so it is not logged: level None/,
    );
    const json = JSON.parse(
      (
        await run([
          'explain',
          weak,
          '--user',
          'system:serviceaccount:a:b',
          '--group',
          'g',
          '--resource',
          'widgets.example.com',
          '-o',
          'json',
        ])
      ).stdout,
    );
    assert.deepEqual(json.request.user.groups, [
      'g',
      'system:serviceaccounts',
      'system:serviceaccounts:a',
      'system:authenticated',
    ]);
    assert.equal(json.request.apiGroup, 'example.com');
    await assert.rejects(run(['explain', weak]), /either a resource .* or a path/);
    await assert.rejects(
      run(['explain', weak, '--path', '/x', '--namespace', 'y']),
      /a path has no namespace/,
    );
    const refused = await run(['explain', bad, '--path', '/x']);
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /would refuse this policy:\n {2}line 4, column 3: rules\[0\]\.level/);
  });
});

describe('policy test', () => {
  const cases = (yaml: string): string => file('cases.yaml', yaml);

  test('expectations that are met, and not', async () => {
    const path = cases(
      'cases:\n- name: noise\n  request: {user: noisy, verb: list, resource: pods}\n  expect: {level: None, logged: false, rule: 0}\n- request: {verb: get, resource: secrets, groups: [x]}\n  expect: {level: Metadata, omitStages: [RequestReceived], omitManagedFields: false}\n',
    );
    const { code, stdout } = await run(['test', good, '--cases', path]);
    assert.deepEqual([code, stdout], [0, '2 of 2 passed\n']);
    const failed = await run(['test', weak, '--cases', path]);
    assert.equal(failed.code, 1);
    assert.match(
      failed.stdout,
      /failed +.*cases\.yaml:2 +noise +no rule decides, not rules\[0\]\n1 of 2 passed/,
    );
    const json = JSON.parse((await run(['test', weak, '--cases', path, '-o', 'json'])).stdout);
    assert.deepEqual([json.passed, json.failed, json.cases[0].line], [1, 1, 2]);
  });

  test('cases that are wrong are all named, with their lines', async () => {
    const path = cases(
      'cases:\n- request: {verb: get}\n  expect: {level: All}\n- request: {resource: pods, verb: 1, who: me}\n  expect: {}\n- 5\n- {request: {resource: a}, expect: {rule: -1, logged: 1, omitStages: [x], more: 1}}\n',
    );
    await assert.rejects(run(['test', good, '--cases', path]), (error) => {
      assert.ok(error instanceof InputError);
      const found = error.problems.map(({ line, field }) => `${line} ${field}`);
      assert.deepEqual(found, [
        '2 cases[0].request',
        '3 cases[0].expect.level',
        '4 cases[1].request.who',
        '4 cases[1].request.verb',
        '5 cases[1].expect',
        '6 cases[2]',
        '7 cases[3].expect.more',
        '7 cases[3].expect.logged',
        '7 cases[3].expect.rule',
        '7 cases[3].expect.omitStages',
      ]);
      return true;
    });
    for (const empty of ['', 'cases: []\n', 'a: b\n', '- a\n'])
      await assert.rejects(run(['test', good, '--cases', cases(empty)]), InputError);
  });
});

test('policy diff', async () => {
  assert.deepEqual(await run(['diff', good, good]), {
    code: 0,
    stdout: 'The policies log the representative requests alike.\n',
    stderr: '',
  });
  const { code, stdout } = await run(['diff', 'preset:metadata', good]);
  assert.equal(code, 1);
  assert.match(stdout, /less +list secrets by noisy +Metadata \(rules\[0\]\) +None \(rules\[0\]\)/);
  assert.equal(
    JSON.parse((await run(['diff', good, weak, '-o', 'json'])).stdout).differences[0].change,
    'less',
  );
  assert.equal((await run(['diff', good, bad])).code, 2);
  const rules = Array.from({ length: 20_000 }, (_, k) => ({ level: 'None', users: [`u${k}`] }));
  const large = file('large.json', JSON.stringify({ apiVersion: 'audit.k8s.io/v1', kind: 'Policy', rules }));
  await assert.rejects(run(['diff', 'preset:metadata', large]), { name: 'ComparisonTooLarge' });
});

describe('policy replay', () => {
  const event = (verb: string, more: object = {}): string =>
    JSON.stringify({
      kind: 'Event',
      level: 'RequestResponse',
      stage: 'ResponseComplete',
      requestURI: '/api/v1/pods',
      verb,
      user: { username: 'u' },
      objectRef: { resource: 'pods', apiVersion: 'v1' },
      ...more,
    });
  const log = `${event('get', { responseObject: { a: 'x'.repeat(1000) } })}\n\n{"kind":"Event"}\r\n${event('list')}\nnot json\n`;

  test('a file, compressed too, and standard input', async () => {
    const plain = await run(['replay', weak, '--log', file('audit.log', log)]);
    assert.match(plain.stdout, /rules\[0\] +Metadata +1 +1 +1\d\d B/);
    assert.match(plain.stdout, /\(no rule\) +None +1 +0 +0 B/);
    assert.equal(plain.stderr, '2 lines are no audit event, the first is line 2; not counted\n');
    assert.deepEqual(await run(['replay', weak, '--log', file('audit.log.gz', gzipSync(log))]), plain);
    assert.deepEqual(await run(['replay', weak, '--log', '-'], log), plain);
    const json = JSON.parse((await run(['replay', weak, '--log', '-', '-o', 'json'], log)).stdout);
    assert.deepEqual([json.written.lines, json.log.lines, json.unmatched], [1, 4, 1]);
  });

  test('what the log cannot know is said', async () => {
    const metadata = event('create', { level: 'Metadata' });
    const { stdout } = await run(
      ['replay', '-', '--log', file('meta.log', metadata)],
      `${HEAD}rules: [{level: Request}]\n`,
    );
    assert.match(stdout, /no lines of the stage RequestReceived; the policy would write 1 more/);
    assert.match(stdout, /Of 1 lines the policy would write bodies that the log does not have/);
  });

  test('a log that is not there, and one that breaks off', async () => {
    await assert.rejects(run(['replay', weak, '--log', join(dir, 'nowhere.log')]), InputError);
    await assert.rejects(
      run(['replay', weak, '--log', file('cut.log.gz', gzipSync(log).subarray(0, 60))]),
      InputError,
    );
  });
});
