import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { issueCa, issueServerCertificate } from '../../src/certificates.ts';
import {
  type Authorities,
  type CertificateAuthority,
  type Reading,
  readAuthorities,
  readPair,
  splitCertificates,
  trustedBy,
  writeAuthorities,
} from '../../src/certs/authority.ts';
import { applyStep, planRotation, type RotationInput, type Step } from '../../src/certs/plan.ts';

const DAY = 86_400_000;
const START = Date.UTC(2026, 0, 1);
const TIMINGS = { lifetimeMs: 10 * DAY, renewBeforeMs: 3 * DAY, overlapMs: 60_000, retireAfterMs: 600_000 };

/** Valid for ten days from then on. */
async function makeCa(fromMs: number): Promise<CertificateAuthority> {
  const { cert, key } = await issueCa({ days: 10, now: new Date(fromMs) });
  const pair = readPair(cert, key);
  assert.ok(typeof pair !== 'string');
  return pair;
}

describe('rotation', () => {
  let a: CertificateAuthority;
  let b: CertificateAuthority;
  let late: CertificateAuthority;
  before(async () => {
    [a, b, late] = await Promise.all([makeCa(START), makeCa(START + 8 * DAY), makeCa(START + 60 * DAY)]);
  });

  const good = (authorities: Partial<Authorities> = {}): Reading => ({
    state: 'good',
    authorities: { current: a, next: undefined, previous: [], ...authorities },
  });

  const cases: readonly [string, () => Partial<RotationInput>, Step][] = [
    ['no Secret', () => ({ reading: { state: 'missing' } }), 'create'],
    ['a broken Secret', () => ({ reading: { state: 'broken', problem: 'x' } }), 'replace'],
    ['young', () => ({ nowMs: START + DAY }), 'none'],
    ['just before the time to renew', () => ({ nowMs: START + 7 * DAY - 1 }), 'none'],
    ['the time to renew', () => ({ nowMs: START + 7 * DAY + 1 }), 'introduce'],
    ['asked for', () => ({ requested: true }), 'introduce'],
    ['the next one is not published', () => ({ reading: good({ next: b }), nowMs: START + 8 * DAY }), 'none'],
    [
      'both published, too short',
      () => ({ reading: good({ next: b }), nowMs: START + 8 * DAY, publishedForMs: 59_999 }),
      'none',
    ],
    [
      'both published for the overlap',
      () => ({ reading: good({ next: b }), nowMs: START + 8 * DAY, publishedForMs: 60_000 }),
      'promote',
    ],
    [
      'ended, the next one published this moment',
      () => ({ reading: good({ next: b }), nowMs: START + 11 * DAY, publishedForMs: 0 }),
      'promote',
    ],
    [
      'ended, the next one not published',
      () => ({ reading: good({ next: b }), nowMs: START + 11 * DAY }),
      'replace',
    ],
    ['ended without a next one', () => ({ nowMs: START + 11 * DAY }), 'replace'],
    [
      'the clock of kube-apiserver jumped back beyond its beginning',
      () => ({ nowMs: START - DAY }),
      'replace',
    ],
    ['the clock jumped 40 days ahead', () => ({ nowMs: START + 40 * DAY }), 'replace'],
    [
      'the next one was made by a clock ahead',
      () => ({ reading: good({ next: late }), nowMs: START + DAY, publishedForMs: 60_000 }),
      'introduce',
    ],
    [
      'the previous one not long gone',
      () => ({ reading: good({ previous: [b.cert] }), publishedForMs: 599_999 }),
      'none',
    ],
    [
      'the previous one long gone',
      () => ({ reading: good({ previous: [b.cert] }), publishedForMs: 600_000 }),
      'retire',
    ],
    [
      'the previous one, published for long, of a current one that has just begun to sign',
      () => ({ reading: good({ previous: [b.cert] }), publishedForMs: 6_000_000, currentForMs: 599_999 }),
      'none',
    ],
    [
      'the previous one, while something else writes the hooks',
      () => ({ reading: good({ previous: [b.cert] }) }),
      'none',
    ],
  ];
  for (const [name, input, expected] of cases) {
    test(`${name}: ${expected}`, () => {
      const full = {
        reading: good(),
        requested: false,
        nowMs: START + DAY,
        publishedForMs: undefined,
        currentForMs: TIMINGS.retireAfterMs,
        ...input(),
      };
      assert.equal(planRotation(full, TIMINGS).step, expected);
    });
  }

  test('each step keeps trusted what may still be served', () => {
    const now = START + 8 * DAY;
    const introduced = applyStep('introduce', good(), b, [], now);
    assert.deepEqual(trustedBy(introduced), [a.cert, b.cert]);
    assert.equal(introduced.current, a);
    const promoted = applyStep('promote', { state: 'good', authorities: introduced }, late, [], now);
    assert.equal(promoted.current, b);
    assert.deepEqual(trustedBy(promoted), [b.cert, a.cert]);
    const retired = applyStep('retire', { state: 'good', authorities: promoted }, late, [], now);
    assert.deepEqual(retired, { current: b, next: undefined, previous: [] });
  });

  test('in the place of a broken or missing Secret, what kube-apiserver trusts stays trusted, unless it has ended', () => {
    for (const reading of [{ state: 'missing' }, { state: 'broken', problem: '' }] as const) {
      const after = applyStep('replace', reading, b, [a.cert], START + DAY);
      assert.deepEqual(trustedBy(after), [b.cert, a.cert]);
      assert.deepEqual(trustedBy(applyStep('replace', reading, b, [a.cert], START + 11 * DAY)), [b.cert]);
    }
  });

  test('what is written to the Secret is read back', () => {
    for (const authorities of [
      { current: a, next: undefined, previous: [] },
      { current: a, next: b, previous: [late.cert] },
    ]) {
      assert.deepEqual(readAuthorities({ data: writeAuthorities(authorities) }), {
        state: 'good',
        authorities,
      });
    }
  });

  test('a Secret that can sign nothing is broken, never missing, whatever is in it', async () => {
    const { data } = { data: writeAuthorities({ current: a, next: b, previous: [] }) };
    const leaf = await issueServerCertificate(a, ['localhost'], { days: 1, now: new Date(START) });
    const encode = (text: string): string => Buffer.from(text).toString('base64');
    const broken: Record<string, unknown>[] = [
      {},
      { ...data, 'ca.crt': encode('nonsense') },
      { ...data, 'ca.key': encode('nonsense') },
      { ...data, 'ca.key': data['next.key'] },
      { ...data, 'ca.crt': encode(leaf.cert), 'ca.key': encode(leaf.key) },
      { ...data, 'ca.crt': 42 },
      { ...data, 'ca.crt': '%%%' },
      JSON.parse('{"__proto__": {"ca.crt": "x"}}'),
    ];
    for (const secret of broken)
      assert.equal(readAuthorities({ data: secret as Record<string, string> }).state, 'broken');
    assert.equal(readAuthorities({ data: null }).state, 'broken');
    assert.equal(readAuthorities(undefined).state, 'missing');
  });

  test('a next one or previous ones that cannot be read are left out', () => {
    const data = writeAuthorities({ current: a, next: b, previous: [late.cert] });
    const reading = readAuthorities({ data: { ...data, 'next.key': '', 'previous.crt': 'AAAA' } });
    assert.deepEqual(reading, { state: 'good', authorities: { current: a, next: undefined, previous: [] } });
  });

  test('certificates are told apart in a bundle with anything in between', () => {
    const text = `# a comment\n${a.cert}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n${b.cert}\r\n${a.cert}`;
    assert.deepEqual(splitCertificates(text), [a.cert, b.cert]);
    assert.deepEqual(splitCertificates(''), []);
  });
});
