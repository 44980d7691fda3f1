import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { issueCa, issueServerCertificate } from '../../src/certificates.ts';
import { certsCommand } from '../../src/cli/certs.ts';
import type { CliIo } from '../../src/cli/io.ts';
import { InputError } from '../../src/input.ts';
import { loadTls, TlsError, type TlsFiles, type TlsMaterial, watchTls } from '../../src/tls.ts';
import { testCa } from '../support/certificates.ts';

const authority = await testCa();
const first = await authority.issue();
const second = await authority.issue();

let folder = '';
let files: TlsFiles;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tls-'));
  files = { certFile: join(folder, 'tls.crt'), keyFile: join(folder, 'tls.key') };
});
afterEach(() => rm(folder, { recursive: true }));

async function write({ cert, key }: Pick<TlsMaterial, 'cert' | 'key'>): Promise<void> {
  await writeFile(files.certFile, cert);
  await writeFile(files.keyFile, key);
}

describe('issued certificates', () => {
  const now = new Date('2030-01-15T12:00:00Z');

  test('verify against their CA, for DNS names and addresses, and are for servers', async () => {
    const ca = await issueCa({ days: 10, now });
    const names = ['localhost', 'a.svc', '127.0.0.1', '::1'];
    const leaf = await issueServerCertificate(ca, names, { days: 5, now });
    const [root, certificate] = [new X509Certificate(ca.cert), new X509Certificate(leaf.cert)];
    assert.ok(certificate.verify(root.publicKey) && certificate.checkIssued(root));
    assert.deepEqual([root.ca, certificate.ca], [true, false]);
    assert.ok(
      certificate.checkHost('a.svc') && certificate.checkIP('127.0.0.1') && certificate.checkIP('::1'),
    );
    assert.equal(certificate.checkHost('b.svc'), undefined);
    assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1']);
    assert.deepEqual(certificate.publicKey.asymmetricKeyDetails, { namedCurve: 'prime256v1' });
    assert.deepEqual(
      [certificate.validFromDate, certificate.validToDate],
      [new Date('2030-01-15T11:00:00Z'), new Date('2030-01-20T12:00:00Z')],
    );
  });

  test('never outlive their CA, and no serial number comes twice', async () => {
    const ca = await issueCa({ days: 2, now });
    const leaves = await Promise.all([1, 2].map(() => issueServerCertificate(ca, ['a'], { days: 5, now })));
    const [one, other] = leaves.map(({ cert }) => new X509Certificate(cert));
    assert.deepEqual(one?.validToDate, new X509Certificate(ca.cert).validToDate);
    assert.notEqual(one?.serialNumber, other?.serialNumber);
    assert.match(one?.serialNumber ?? '', /^[4-7][0-9A-F]{31}$/);
  });
});

const BROKEN_CERTIFICATE = '\n-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n';

describe('loading', () => {
  test('gives the pair and its dates', async () => {
    await write(first);
    assert.deepEqual(await loadTls(files), first);
  });

  const faults: readonly (readonly [string, () => Promise<unknown>, RegExp])[] = [
    [
      'a file that is not there',
      () => writeFile(files.keyFile, first.key),
      /tls\.crt: it can't be read: ENOENT/,
    ],
    [
      'a certificate that is none',
      () => write({ cert: 'x', key: first.key }),
      /tls\.crt: there is no certificate/,
    ],
    ['an empty certificate', () => write({ cert: '', key: first.key }), /tls\.crt: there is no certificate/],
    [
      'a key that is none',
      () => write({ cert: first.cert, key: first.cert }),
      /tls\.key: there is no private key/,
    ],
    [
      'a chain of which the second certificate is none',
      () => write({ cert: first.cert + BROKEN_CERTIFICATE, key: first.key }),
      /tls\.crt: TLS can't use it/,
    ],
    [
      'a key of another certificate',
      () => write({ cert: first.cert, key: second.key }),
      /tls\.key: the key does not belong/,
    ],
  ];
  for (const [name, prepare, expected] of faults) {
    test(`refuses ${name}, naming the file`, async () => {
      await prepare();
      await assert.rejects(
        loadTls(files),
        (error) => error instanceof TlsError && expected.test(error.message),
      );
    });
  }
});

describe('watching', () => {
  function watch(intervalMs = 1_000_000): {
    readonly changes: TlsMaterial[];
    readonly problems: string[];
    check(): Promise<void>;
    stop(): void;
  } {
    const changes: TlsMaterial[] = [];
    const problems: string[] = [];
    const { check, stop } = watchTls(files, first, {
      intervalMs,
      onChange: (tls) => changes.push(tls),
      onProblem: (problem) => problems.push(problem),
    });
    return { changes, problems, check, stop };
  }

  test('a mounted Secret: the folder is swapped by a symbolic link', async () => {
    for (const [version, tls] of [
      ['v1', first],
      ['v2', second],
    ] as const) {
      await mkdir(join(folder, version));
      await writeFile(join(folder, version, 'tls.crt'), tls.cert);
      await writeFile(join(folder, version, 'tls.key'), tls.key);
    }
    await symlink('v1', join(folder, '..data'));
    for (const name of ['tls.crt', 'tls.key']) await symlink(`..data/${name}`, join(folder, name));
    const { changes, problems, check, stop } = watch();
    await check();
    assert.deepEqual(changes, []);
    await symlink('v2', join(folder, '..data_tmp'));
    await rename(join(folder, '..data_tmp'), join(folder, '..data'));
    await check();
    await check();
    assert.deepEqual([changes, problems], [[second], []]);
    stop();
  });

  test('files that are written one by one are no problem while they don’t match for a moment', async () => {
    await write(first);
    const { changes, problems, check, stop } = watch();
    await writeFile(files.certFile, second.cert);
    await check();
    await writeFile(files.keyFile, second.key);
    await check();
    assert.deepEqual([changes, problems], [[second], []]);
    stop();
  });

  test('a broken pair is reported once, the last good one stays, and a repair is taken', async () => {
    await write({ cert: first.cert, key: 'broken' });
    const { changes, problems, check, stop } = watch();
    for (let times = 0; times < 4; times += 1) await check();
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? '', /tls\.key/);
    assert.deepEqual(changes, []);
    await rm(files.certFile);
    await check();
    await check();
    assert.equal(problems.length, 2);
    await write({ cert: second.cert + BROKEN_CERTIFICATE, key: second.key });
    await check();
    await check();
    assert.equal(problems.length, 3);
    assert.deepEqual(changes, []);
    await write(second);
    await check();
    assert.deepEqual(changes, [second]);
    await write({ cert: first.cert, key: 'broken' });
    await check();
    await check();
    assert.equal(problems.length, 4, 'the same fault as before is new again after a good pair');
    stop();
  });

  test('looks again by itself', async () => {
    await write(second);
    const { promise, resolve } = Promise.withResolvers<TlsMaterial>();
    const { stop } = watchTls(files, first, { intervalMs: 5, onChange: resolve, onProblem: assert.fail });
    assert.deepEqual(await promise, second);
    stop();
  });
});

describe('the command certs', () => {
  async function run(...args: string[]): Promise<string> {
    const stdout = new PassThrough();
    const io: CliIo = {
      stdin: new PassThrough(),
      stdout,
      stderr: new PassThrough(),
      env: {},
      setExitCode: (code) => assert.fail(`exit code ${code}`),
    };
    await certsCommand(io)
      .exitOverride()
      .configureOutput({ writeErr: () => undefined })
      .parseAsync(args, { from: 'user' });
    return String(stdout.read());
  }

  test('writes what can be served, keys for the owner only', async () => {
    const dir = join(folder, 'new', 'certs');
    const text = await run('--dir', dir, '--dns', 'a.example', '--ip', '10.0.0.1', '--days', '3');
    assert.deepEqual(await readdir(dir), ['ca.crt', 'ca.key', 'tls.crt', 'tls.key']);
    for (const name of ['ca.key', 'tls.key']) assert.equal((await stat(join(dir, name))).mode & 0o777, 0o600);
    const served = await loadTls({ certFile: join(dir, 'tls.crt'), keyFile: join(dir, 'tls.key') });
    const certificate = new X509Certificate(served.cert);
    assert.ok(certificate.verify(new X509Certificate(await readFile(join(dir, 'ca.crt'))).publicKey));
    assert.equal(certificate.subjectAltName, 'DNS:a.example, IP Address:10.0.0.1');
    assert.ok(text.includes(`--tls-cert ${join(dir, 'tls.crt')}`));
  });

  test('overwrites nothing unless it is told to; then keys get their mode back', async () => {
    await writeFile(join(folder, 'tls.key'), 'precious', { mode: 0o644 });
    await assert.rejects(run('--dir', folder), (error) => {
      assert.ok(error instanceof InputError);
      assert.match(error.message, /tls\.key: it is there already; use --force/);
      return true;
    });
    assert.deepEqual(await readdir(folder), ['tls.key']);
    assert.equal(await readFile(join(folder, 'tls.key'), 'utf8'), 'precious');
    await run('--dir', folder, '--force');
    assert.equal((await stat(join(folder, 'tls.key'))).mode & 0o777, 0o600);
    assert.equal((await readdir(folder)).length, 4);
  });

  test('refuses names, addresses and days that are none, and folders that can’t be', async () => {
    for (const args of [
      ['--dns', 'a b'],
      ['--dns', ''],
      ['--ip', '1.2.3'],
      ['--days', '0'],
      ['--days', '1.5'],
      ['--days', '9999'],
    ]) {
      await assert.rejects(run('--dir', folder, ...args), { code: 'commander.invalidArgument' });
    }
    await writeFile(join(folder, 'file'), '');
    for (const dir of [join(folder, 'file', 'x'), '/proc/none']) {
      await assert.rejects(
        run('--dir', dir),
        (error) => error instanceof InputError && /can't be written/.test(error.message),
      );
    }
    assert.deepEqual(await readdir(folder), ['file']);
  });
});
