/** The exit codes of `check`, without a seed. What it finds on one is in test/api/check.test.ts, and how it judges in test/check. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable, Writable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { issueCa } from '../../src/certificates.ts';
import { run } from '../../src/cli/run.ts';
import { type Handler, sendJson, sendStatus, startStubApi } from '../support/stub-api.ts';

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function check(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  const written = { stdout: '', stderr: '' };
  const sink = (name: keyof typeof written) =>
    new Writable({
      write(chunk, _encoding, done) {
        written[name] += String(chunk);
        done();
      },
    });
  let code = 0;
  await run(['check', ...args], {
    stdin: Readable.from([]),
    stdout: sink('stdout'),
    stderr: sink('stderr'),
    env,
    setExitCode: (given) => {
      code = given;
    },
  });
  return { code, ...written };
}

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'check-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

const kubeconfig = (server: URL) => ({
  'current-context': 'one',
  contexts: [{ name: 'one', context: { cluster: 'c' } }],
  clusters: [{ name: 'c', cluster: { server: server.href } }],
});

/** A kubeconfig of a stub of kube-apiserver. */
async function stubSeed(t: TestContext, handler: Handler): Promise<string> {
  const file = path.join(await folderOf(t), 'kubeconfig');
  const { url } = await startStubApi(t, handler);
  await writeFile(file, JSON.stringify(kubeconfig(url)));
  return file;
}

test('what keeps it from running is neither a warning nor a failure, but 3', async (t) => {
  const folder = await folderOf(t);
  const broken = path.join(folder, 'broken.yaml');
  await writeFile(broken, 'defaults: { mode: sometimes }');
  for (const [args, reason] of [
    [['--kubeconfig', path.join(folder, 'none')], /kubeconfig cannot be read/],
    [['--no-such-option'], /unknown option/],
    [['--output', 'xml'], /Allowed choices are text, json/],
    [['--config', path.join(folder, 'none')], /none: can't be read: does not exist/],
    [['--config', broken], /broken\.yaml:1: defaults\.mode: must be one of/],
  ] as const) {
    const { code, stdout, stderr } = await check(['-o', 'json', ...args], { HOME: folder });
    assert.equal(code, 3, args.join(' '));
    assert.match(stderr, reason);
    assert.equal(stdout, '');
  }
});

test('$KUBECONFIG lists files, as for kubectl, and may list some that are not there', async (t) => {
  const seed = await stubSeed(t, seedWith({ data: {} }));
  const none = path.join(path.dirname(seed), 'none');
  const { code, stdout, stderr } = await check([], {
    KUBECONFIG: [none, '', seed].join(path.delimiter),
    KUBERNETES_SERVICE_HOST: 'not-asked',
  });
  assert.equal(code, 2, stderr);
  assert.match(stdout, /config\.yaml: is missing/);
});

test('nor does a fault of its own end with the code of warnings', async (t) => {
  const seed = await stubSeed(t, seedWith({}));
  const faulty = {
    get FORCE_COLOR(): string {
      throw new TypeError('a fault');
    },
  };
  const { code, stderr } = await check(['--kubeconfig', seed], faulty);
  assert.equal(code, 3);
  assert.match(stderr, /TypeError: a fault\n {4}at /);
});

test('help is no error', async () => {
  const { code, stdout } = await check(['--help']);
  assert.equal(code, 0);
  const sentence = stdout.replaceAll(/\s+/g, ' ');
  assert.match(sentence, /0 where all is well, 1 with warnings, 2 with failures, 3 where it could not run/);
  const guide = await readFile(path.join(import.meta.dirname, '..', '..', 'docs', 'install.md'), 'utf8');
  const listed = [...guide.matchAll(/^\| (\d) \| (.*) \|$/gm)].map(([, code]) => code);
  assert.deepEqual(listed, ['0', '1', '2', '3'], 'docs/install.md lists the same');
});

const CONFIG_MAP = '/api/v1/namespaces/kkp-audit-webhook/configmaps/audit';

/** A seed that has one Deployment of this software and nothing else. */
const seedWith =
  (configMap: object, clusters: readonly object[] = []): Handler =>
  (_, response, { pathname }) => {
    if (pathname.endsWith('/clusters')) return sendJson(response, { items: clusters });
    if (pathname === CONFIG_MAP) return sendJson(response, configMap);
    if (pathname.endsWith('/kkp-audit-webhook/deployments'))
      return sendJson(response, { items: [{ metadata: { name: 'audit' } }] });
    if (pathname.endsWith('s')) return sendJson(response, { items: [] });
    return sendStatus(response, 404, 'NotFound');
  };

test('settings of the installation that are not valid are a line of their own, and the others are judged', async (t) => {
  for (const [data, reason] of [
    [{ 'config.yaml': 'defaults:\n  mode: sometimes\n' }, /audit:2: defaults\.mode: must be one of/],
    [{ 'config.yaml': 'a: {' }, /not valid YAML/],
    [{}, /config\.yaml: is missing/],
  ] as const) {
    const seed = await stubSeed(t, seedWith({ data }));
    const { code, stdout, stderr } = await check(['--kubeconfig', seed, '-o', 'json']);
    assert.equal(code, 2, stderr);
    const { checks } = JSON.parse(stdout) as { checks: { id: string; status: string; text: string }[] };
    const line = checks.find(({ id }) => id === 'configuration');
    assert.equal(line?.status, 'failure');
    assert.match(line.text, reason);
    assert.ok(checks.some(({ id }) => id === 'drift'));
  }
});

test('settings are read from the ConfigMap that is mounted', async (t) => {
  const container = {
    name: 'webhook',
    args: ['serve', '--config=/etc/audit/mine.yaml'],
    volumeMounts: [{ name: 'c', mountPath: '/etc/audit' }],
  };
  const spec = { containers: [container], volumes: [{ name: 'c', configMap: { name: 'mine' } }] };
  const rest = seedWith({ data: {} });
  const seed = await stubSeed(t, (request, response, url) => {
    if (url.pathname.endsWith('/kkp-audit-webhook/deployments'))
      return sendJson(response, { items: [{ metadata: { name: 'audit' }, spec: { template: { spec } } }] });
    if (url.pathname.endsWith('/configmaps/mine'))
      return sendJson(response, { data: { 'mine.yaml': 'defaults: { mode: warn }' } });
    return rest(request, response, url);
  });
  const { stdout } = await check(['--kubeconfig', seed]);
  assert.match(stdout, /√ the settings are valid/);
});

test('a dry run goes to another cluster where the namespace of one is not there', async (t) => {
  const clusters = ['gone', 'one', 'two'].map((name) => ({
    metadata: { name },
    status: { namespaceName: `cluster-${name}` },
  }));
  const probed: string[] = [];
  const rest = seedWith({}, clusters);
  const seed = await stubSeed(t, async (request, response, url) => {
    const [, namespace] = /namespaces\/(cluster-.*)\/configmaps$/.exec(url.pathname) ?? [];
    if (namespace === undefined) return rest(request, response, url);
    probed.push(namespace);
    const text =
      namespace === 'cluster-gone'
        ? 'namespaces "cluster-gone" not found'
        : 'admission webhook "a" denied the request: x';
    return sendStatus(response, namespace === 'cluster-gone' ? 404 : 403, 'Some', text);
  });
  const { stdout } = await check(['--kubeconfig', seed]);
  assert.match(stdout, /× the hooks do not answer: .*admission webhook "a"/);
  assert.deepEqual(probed, ['cluster-gone', ...Array(5).fill('cluster-one')]);
});

test('the certificate that is served is read from the Secret that is mounted', async (t) => {
  const { cert } = await issueCa({ days: 1, now: new Date() });
  const container = {
    name: 'webhook',
    args: ['serve', '--tls-cert=/tls/tls.crt'],
    volumeMounts: [{ name: 'tls', mountPath: '/tls' }],
  };
  const spec = { containers: [container], volumes: [{ name: 'tls', secret: { secretName: 'mounted' } }] };
  const rest = seedWith({});
  const seed = await stubSeed(t, (request, response, url) => {
    if (url.pathname.endsWith('/kkp-audit-webhook/deployments'))
      return sendJson(response, { items: [{ metadata: { name: 'audit' }, spec: { template: { spec } } }] });
    if (url.pathname.endsWith('/kkp-audit-webhook/secrets/mounted'))
      return sendJson(response, { data: { 'tls.crt': Buffer.from(cert).toString('base64') } });
    return rest(request, response, url);
  });
  const { stdout } = await check(['--kubeconfig', seed]);
  assert.match(stdout, /√ the certificate that is served is valid for [01] more day/);
});

test('times are judged by the clock of kube-apiserver', async (t) => {
  const hourAgo = new Date(Date.now() - 3_600_000);
  const spec = { holderIdentity: 'audit-1', renewTime: hourAgo.toISOString() };
  const rest = seedWith({});
  const seed = await stubSeed(t, (request, response, url) => {
    response.setHeader('date', hourAgo.toUTCString());
    if (url.pathname.includes('/leases/')) return sendJson(response, { spec });
    if (url.pathname === '/version') return sendJson(response, { major: '1', minor: '36' });
    return rest(request, response, url);
  });
  const { stdout } = await check(['--kubeconfig', seed]);
  assert.match(stdout, /√ audit-1 leads/);
});
