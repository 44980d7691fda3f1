import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { issueCa, issueServerCertificate, type KeyPair } from '../../src/certificates.ts';
import { buildReadiness, type ReadinessParts } from '../../src/serve/readiness.ts';
import { callSelf, type SelfCall } from '../../src/serve/self-check.ts';
import { issueClientCertificate, issueIntermediateCa } from '../support/certificates.ts';

const DAY_MS = 86_400_000;

async function serve(t: TestContext, pair: KeyPair, status = 405): Promise<Server> {
  const server = createServer({ ...pair }, (_request, response) => response.writeHead(status).end());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return server;
}

const portOf = (server: { address(): AddressInfo | string | null }): number =>
  (server.address() as AddressInfo).port;

const call = (port: number, more: Partial<SelfCall>): SelfCall => ({
  host: '127.0.0.1',
  port,
  trusted: undefined,
  serverNames: ['hooks.own.svc'],
  handshakeOnly: false,
  ignoreTimes: false,
  timeoutMs: 5000,
  ...more,
});

async function issue(atMs = Date.now()): Promise<{ ca: string; pair: KeyPair }> {
  const validity = { days: 10, now: new Date(atMs) };
  const ca = await issueCa(validity);
  return { ca: ca.cert, pair: await issueServerCertificate(ca, ['hooks.own.svc', '127.0.0.1'], validity) };
}

test('a certificate of a trusted CA with the right name is believed, by one of several CAs too', async (t) => {
  const [own, other] = await Promise.all([issue(), issue()]);
  const port = portOf(await serve(t, own.pair));
  assert.equal(await callSelf(call(port, { trusted: [own.ca] })), undefined);
  assert.equal(
    await callSelf(call(port, { trusted: [other.ca, own.ca], serverNames: ['127.0.0.1'] })),
    undefined,
  );
  assert.equal(await callSelf(call(port, { trusted: undefined })), undefined, 'nothing is published');
});

for (const [name, more, expected] of [
  ['another CA', async () => ({ trusted: [(await issue()).ca] }), /would not trust/],
  ['no CA', async () => ({ trusted: [] }), /would not trust/],
  [
    'another name',
    async (ca: string) => ({ trusted: [ca], serverNames: ['else.own.svc'] }),
    /would not believe.*else\.own\.svc/,
  ],
  [
    'one name of two',
    async (ca: string) => ({ trusted: [ca], serverNames: ['hooks.own.svc', '10.0.0.1'] }),
    /would not believe/,
  ],
] as const) {
  test(`${name}: not believed`, async (t) => {
    const { ca, pair } = await issue();
    const problem = await callSelf(call(portOf(await serve(t, pair)), await more(ca)));
    assert.match(problem?.text ?? '', expected);
    assert.equal(problem?.judged, true);
  });
}

test('an intermediate CA that is published alone is enough, as it is for kube-apiserver', async (t) => {
  const root = await issueCa({ days: 10, now: new Date() });
  const intermediate = await issueIntermediateCa(root);
  const leaf = await issueServerCertificate(intermediate, ['hooks.own.svc'], { days: 1, now: new Date() });
  for (const cert of [leaf.cert, `${leaf.cert}\n${intermediate.cert}`]) {
    const port = portOf(await serve(t, { cert, key: leaf.key }));
    assert.equal(await callSelf(call(port, { trusted: [intermediate.cert] })), undefined);
  }
});

test('a common name alone is not believed: Go does not look at it', async (t) => {
  const ca = await issueCa({ days: 10, now: new Date() });
  const port = portOf(await serve(t, await issueClientCertificate(ca, 'hooks.own.svc')));
  const problem = await callSelf(call(port, { trusted: [ca.cert] }));
  assert.match(problem?.text ?? '', /would not believe.*subjectAltName/);
});

for (const days of [-40, 40]) {
  test(`a certificate from ${days} days away counts only where the times are kube-apiserver's`, async (t) => {
    const { ca, pair } = await issue(Date.now() + days * DAY_MS);
    const port = portOf(await serve(t, pair));
    assert.match((await callSelf(call(port, { trusted: [ca] })))?.text ?? '', /CERT_/);
    assert.equal(await callSelf(call(port, { trusted: [ca], ignoreTimes: true })), undefined);
  });
}

test('another server at that port, and nobody, are told apart from ours', async (t) => {
  const { ca, pair } = await issue();
  const port = portOf(await serve(t, pair, 200));
  assert.match((await callSelf(call(port, { trusted: [ca] })))?.text ?? '', /something else/);
  const silent = createTcpServer((socket) => socket.on('error', () => undefined)).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.after(() => silent.close());
  const late = await callSelf(call(portOf(silent), { timeoutMs: 50 }));
  assert.deepEqual(late, { text: 'a call to itself was not answered in time', judged: false });
});

test('once believed, a slow machine does not make it unready; a CA that is gone does', async (t) => {
  const [own, other] = await Promise.all([issue(), issue()]);
  const server = await serve(t, own.pair);
  let trusted: readonly string[] = [own.ca];
  let address = server.address();
  const notReady = buildReadiness({
    isDraining: () => false,
    state: { health: () => ({ synced: true, ageSeconds: 0, clusters: 0, seeds: 0, problems: [] }) },
    certificates: {
      selfManaged: false,
      notReady: () => [],
      current: () => ({}),
    } as unknown as ReadinessParts['certificates'],
    registrar: {
      published: () => ({ byAll: trusted, bySome: trusted, serverNames: ['hooks.own.svc'], formerNames: [] }),
      problem: () => undefined,
    },
    address: () => address,
  });
  assert.deepEqual(await notReady(), []);
  address = { address: '127.0.0.1', port: 1, family: 'IPv4' };
  assert.deepEqual(await notReady(), [], 'nobody answers');
  address = server.address();
  trusted = [other.ca];
  assert.match((await notReady()).join(), /would not trust/);
  trusted = [own.ca];
  assert.deepEqual(await notReady(), []);
});
