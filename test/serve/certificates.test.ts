import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type CertificateOptions, openCertificates } from '../../src/serve/certificates.ts';
import { readEnforcedHooks } from '../../src/serve/enforced-hooks.ts';
import { testCa } from '../support/certificates.ts';
import { removeFolder, temporaryFolder } from '../support/children.ts';
import { testLog } from '../support/log.ts';

const dir = temporaryFolder();
after(() => removeFolder(dir));
const file = (name: string, text: string): string => {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
};
const open = (options: Partial<CertificateOptions>) =>
  openCertificates(
    {
      host: '127.0.0.1',
      certificateSecret: 'ca',
      certificateName: [],
      certificateOverlapSeconds: 60,
      service: 'hooks',
      ...options,
    },
    undefined,
    'own',
    testLog().logger,
  );

for (const [name, options, expected] of [
  ['a certificate without its key', { tlsCert: 'x' }, /--tls-cert and --tls-key together/],
  ['a key without its certificate', { tlsKey: 'x' }, /together/],
  ['files without files', { certificates: 'files' }, /needs --tls-cert/],
  ['an own CA and files', { certificates: 'self', tlsCert: 'x', tlsKey: 'y' }, /exclude each other/],
  ['an own CA without a cluster', { certificates: 'self' }, /give --kubeconfig/],
  ['a CA to publish without files', { tlsCa: 'x' }, /--tls-ca needs/],
  ['names of clients without their CA', { tlsClientName: ['x'] }, /needs --tls-client-ca/],
  ['a CA for clients that is not there', { tlsClientCa: join(dir, 'none') }, /none: it can't be read/],
] as const) {
  test(`${name} is refused at the start`, () => assert.rejects(open(options), { message: expected }));
}

test('files are served, and what is to be trusted with them is what is in theirs', async () => {
  const { ca, issue } = await testCa();
  const { cert, key } = await issue();
  const opened = await open({
    tlsCert: file('tls.crt', cert),
    tlsKey: file('tls.key', key),
    tlsCa: file('ca.crt', `# from somewhere\n${ca.cert}`),
    tlsClientCa: file('client-ca.crt', ca.cert),
  });
  assert.equal(opened.current().cert, cert);
  assert.match(opened.current().clientCa ?? '', /BEGIN CERTIFICATE/);
  const bundle = await opened.source.tick(
    { byAll: undefined, bySome: [], serverNames: [], formerNames: [] },
    true,
  );
  assert.equal(bundle?.join('').trim(), ca.cert.trim());
  file('ca.crt', 'nonsense');
  await assert.rejects(
    opened.source.tick({ byAll: [], bySome: [], serverNames: [], formerNames: [] }, true),
    /no certificate in PEM form/,
  );
  opened.close();
});

test('without anything a certificate is made on the spot, and nothing is published', async () => {
  const opened = await open({});
  assert.match(opened.current().cert, /BEGIN CERTIFICATE/);
  assert.equal(
    await opened.source.tick({ byAll: [], bySome: [], serverNames: [], formerNames: [] }, true),
    undefined,
  );
  assert.deepEqual(opened.notReady(), []);
  opened.close();
});

for (const [name, text, expected] of [
  ['no YAML', 'mutating: [', /hooks\.yaml/],
  ['a list', '[]', /mutating: expected a list/],
  ['one of two', 'mutating: []', /validating: expected a list/],
  ['entries without names', 'mutating: [{}]\nvalidating: []', /mutating/],
  ['nothing', '', /hooks\.yaml/],
] as const) {
  test(`enforced hooks, ${name}: refused with file and field`, () => {
    assert.throws(() => readEnforcedHooks(text, 'hooks.yaml'), { name: 'InputError', message: expected });
  });
}

test('enforced hooks are read as they are', () => {
  const hooks = readEnforcedHooks(
    'mutating:\n- name: a\nvalidating:\n- name: b\n  rules: []\n',
    'hooks.yaml',
  );
  assert.deepEqual(hooks, { mutating: [{ name: 'a' }], validating: [{ name: 'b', rules: [] }] });
});
