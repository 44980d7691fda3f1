import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { InputError } from '../../src/input.ts';
import { inClusterCredentials, loadKubeconfig } from '../../src/kube/credentials.ts';
import type { Credentials } from '../../src/kube/identity.ts';
import { FakeClock } from '../support/fake-clock.ts';

const SECRET = 'very-secret-token';

interface Parts {
  readonly cluster?: object;
  readonly user?: object | undefined;
  readonly rest?: object;
}

async function kubeconfig(t: TestContext, parts: Parts, files: Record<string, string> = {}): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'kubeconfig-'));
  t.after(() => rm(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) await writeFile(path.join(folder, name), text);
  const file = path.join(folder, 'config');
  const config = {
    'current-context': 'one',
    contexts: [{ name: 'one', context: { cluster: 'c', user: 'u' } }],
    clusters: [{ name: 'c', cluster: { server: 'https://host:6443', ...parts.cluster } }],
    users: [{ name: 'u', user: parts.user ?? {} }],
    ...parts.rest,
  };
  await writeFile(file, JSON.stringify(config, null, 2));
  return file;
}

async function refusal(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => assert.fail('it was taken'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof InputError, String(error));
  assert.ok(!error.message.includes(SECRET), 'no secret in an error');
  return error.message.replaceAll(/\/\S*\//g, '');
}

const headersOf = async (credentials: Credentials) => (await credentials.identity()).headers;
const base64 = (text: string) => Buffer.from(text).toString('base64');

test('token, password, impersonation', async (t) => {
  const token = await loadKubeconfig(await kubeconfig(t, { user: { token: 'abc\n' } }));
  assert.deepEqual(await headersOf(token), { authorization: 'Bearer abc' });
  assert.equal(token.server.href, 'https://host:6443/');
  const password = await loadKubeconfig(await kubeconfig(t, { user: { username: 'a', password: 'b' } }));
  assert.deepEqual(await headersOf(password), { authorization: `Basic ${base64('a:b')}` });
  const as = { as: 'alice', 'as-uid': '7', 'as-groups': ['g', 'h'] };
  assert.deepEqual(await headersOf(await loadKubeconfig(await kubeconfig(t, { user: as }))), {
    'impersonate-user': 'alice',
    'impersonate-uid': '7',
    'impersonate-group': ['g', 'h'],
  });
  assert.deepEqual(await headersOf(await loadKubeconfig(await kubeconfig(t, {}))), {});
});

test('TLS: content goes before files, files are relative to the kubeconfig', async (t) => {
  const cluster = {
    'certificate-authority': 'ca.pem',
    'tls-server-name': 'api',
    'insecure-skip-tls-verify': true,
  };
  const user = {
    'client-certificate': 'c.pem',
    'client-certificate-data': base64('CERT'),
    'client-key': 'k.pem',
  };
  const file = await kubeconfig(t, { cluster, user }, { 'ca.pem': 'CA', 'c.pem': 'no', 'k.pem': 'KEY' });
  assert.deepEqual((await (await loadKubeconfig(file)).identity()).tls, {
    ca: 'CA',
    cert: 'CERT',
    key: 'KEY',
    servername: 'api',
    rejectUnauthorized: false,
  });
});

test('another context than the current one', async (t) => {
  const rest = { contexts: [{ name: 'two', context: { cluster: 'c' } }] };
  const credentials = await loadKubeconfig(await kubeconfig(t, { rest }), { context: 'two' });
  assert.deepEqual(await headersOf(credentials), {});
});

test('of several kubeconfigs the first counts that says something, and paths are relative to the one that says them', async (t) => {
  const contexts = {
    contexts: [{ name: 'one', context: { cluster: 'far', user: 'v' } }],
    clusters: null,
    users: [],
  };
  const first = await kubeconfig(t, { rest: contexts });
  const second = await kubeconfig(
    t,
    {
      rest: {
        'current-context': 'two',
        clusters: [{ name: 'far', cluster: { server: 'https://far:6443' } }],
        users: [{ name: 'v', user: { tokenFile: 'token' } }],
      },
    },
    { token: 'abc' },
  );
  const third = await kubeconfig(t, {
    rest: { clusters: [{ name: 'far', cluster: { server: 'https://farther' } }] },
  });
  const none = path.join(path.dirname(first), 'none');
  const credentials = await loadKubeconfig([none, first, second, third]);
  assert.equal(credentials.server.host, 'far:6443');
  assert.deepEqual(await headersOf(credentials), { authorization: 'Bearer abc' });
  assert.match(
    await refusal(loadKubeconfig([first, none])),
    /^config:\d+: contexts: clusters has no cluster "far"$/,
  );
  assert.match(await refusal(loadKubeconfig([none, `${none}2`])), /^none: .*cannot be read.*\nnone2: /);
});

test('a token file is read again: after a minute, at once when refused, and its last content serves while it is away', async (t) => {
  const clock = new FakeClock();
  const file = await kubeconfig(t, { user: { tokenFile: 'token', token: 'older' } }, { token: 'one\n' });
  const tokenFile = path.join(path.dirname(file), 'token');
  const credentials = await loadKubeconfig(file, { clock });
  const token = async () => (await headersOf(credentials)).authorization;
  assert.equal(await token(), 'Bearer one');
  await writeFile(tokenFile, 'two');
  assert.equal(await token(), 'Bearer one');
  clock.advance(60_000);
  assert.equal(await token(), 'Bearer two');
  await writeFile(tokenFile, 'three');
  credentials.refresh();
  assert.equal(await token(), 'Bearer three');
  await rm(tokenFile);
  clock.advance(60_000);
  assert.equal(await token(), 'Bearer three');
});

test('a plugin gives a token or a certificate, knows what is asked, and is run again when refused', async (t) => {
  const script = `#!/bin/sh
echo "$KUBERNETES_EXEC_INFO" > "$(dirname "$0")/info"
echo run >> "$(dirname "$0")/runs"
printf '{"kind":"ExecCredential","status":{"token":"%s","clientCertificateData":"CERT","clientKeyData":"KEY"}}' "$1$EXTRA"
`;
  const exec = {
    apiVersion: 'client.authentication.k8s.io/v1',
    command: './plugin',
    args: ['to'],
    env: [{ name: 'EXTRA', value: 'ken' }],
    provideClusterInfo: true,
  };
  const file = await kubeconfig(t, { user: { exec } }, { plugin: script });
  const folder = path.dirname(file);
  await chmod(path.join(folder, 'plugin'), 0o755);
  const credentials = await loadKubeconfig(file);
  const expected = { tls: { cert: 'CERT', key: 'KEY' }, headers: { authorization: 'Bearer token' } };
  assert.deepEqual(await Promise.all([credentials.identity(), credentials.identity()]), [expected, expected]);
  await credentials.identity();
  assert.equal(await readFile(path.join(folder, 'runs'), 'utf8'), 'run\n');
  assert.deepEqual(JSON.parse(await readFile(path.join(folder, 'info'), 'utf8')), {
    apiVersion: 'client.authentication.k8s.io/v1',
    kind: 'ExecCredential',
    spec: { interactive: false, cluster: { server: 'https://host:6443' } },
  });
  credentials.refresh();
  await credentials.identity();
  assert.equal(await readFile(path.join(folder, 'runs'), 'utf8'), 'run\nrun\n');
});

test('a plugin that fails says so, and what it printed stays secret', async (t) => {
  const failing = async (command: string) => {
    const exec = { command: '/bin/sh', args: ['-c', command] };
    return refusal((await loadKubeconfig(await kubeconfig(t, { user: { exec } }))).identity());
  };
  assert.match(
    await failing('echo please log in >&2; exit 1'),
    /^config:\d+: users\[0\]\.user\.exec: the plugin for credentials failed: please log in$/,
  );
  assert.match(await failing(`echo ${SECRET}`), /it printed no ExecCredential$/);
  assert.match(await failing(`echo '{"token":"${SECRET}"}'`), /it printed no ExecCredential$/);
  const missing = { exec: { command: '/nonexistent/plugin' } };
  assert.match(
    await refusal((await loadKubeconfig(await kubeconfig(t, { user: missing }))).identity()),
    /ENOENT/,
  );
});

test('an auth-provider works through client-node', async (t) => {
  const user = { 'auth-provider': { name: 'file', config: { tokenFile: 'token' } } };
  const file = await kubeconfig(t, { user }, { token: 'provided' });
  await writeFile(
    file,
    (await readFile(file, 'utf8')).replace('"token"', JSON.stringify(path.join(path.dirname(file), 'token'))),
  );
  assert.deepEqual(await headersOf(await loadKubeconfig(file)), { authorization: 'Bearer provided' });
});

test('what is wrong with a kubeconfig is told with its line and field', async (t) => {
  const load = async (parts: Parts) => refusal(kubeconfig(t, parts).then((file) => loadKubeconfig(file)));
  assert.match(
    await load({ cluster: { server: 'host:6443' } }),
    /^config:\d+: clusters\[0\]\.cluster\.server: must be a URL such as /,
  );
  assert.match(
    await load({ cluster: { server: '' } }),
    /^config:\d+: clusters\[0\]\.cluster\.server: is missing$/,
  );
  assert.match(await load({ user: { token: 7 } }), /^config:\d+: users\[0\]\.user\.token: must be text$/);
  assert.match(await load({ user: { exec: {} } }), /^config:\d+: users\[0\]\.user\.exec: has no command$/);
  assert.equal(
    await load({ rest: { 'current-context': 'x' } }),
    'config:2: current-context: contexts has no context "x"',
  );
  assert.match(await load({ rest: { users: {} } }), /users has no user "u"$/);
  assert.equal(
    await load({ rest: { 'current-context': undefined } }),
    'config:1: current-context: is missing; name the context to use',
  );
  for (const text of ['', '# nothing', '[]']) {
    const file = await kubeconfig(t, {});
    await writeFile(file, text);
    assert.match(
      await refusal(loadKubeconfig(file)),
      /^config: this is no kubeconfig: it is empty or no mapping$/,
    );
  }
  assert.match(
    await refusal(loadKubeconfig('/nonexistent/config')),
    /^config: the kubeconfig cannot be read: ENOENT/,
  );
});

test('in a pod: the service account, whose token rotates', async (t) => {
  const clock = new FakeClock();
  const folder = path.dirname(await kubeconfig(t, {}, { token: 'one\n', 'ca.crt': 'CA' }));
  const env = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' };
  const credentials = inClusterCredentials(env, { folder, clock });
  assert.equal(credentials.server.href, 'https://[fd00::1]:6443/');
  assert.deepEqual(await credentials.identity(), {
    tls: { ca: 'CA' },
    headers: { authorization: 'Bearer one' },
  });
  await writeFile(path.join(folder, 'token'), 'two\n');
  clock.advance(60_000);
  assert.deepEqual(await headersOf(credentials), { authorization: 'Bearer two' });
  assert.throws(() => inClusterCredentials({}), /this is no pod; use --kubeconfig FILE or --state FOLDER/);
  await assert.rejects(inClusterCredentials(env, { folder: '/nonexistent' }).identity(), InputError);
});
