/** docs/threat-model.md and the catalogue against the table of reasons: no way to blind auditing is known to the code alone. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { REASONS } from '../src/reasons.ts';
import { ATTACKS, FINE } from './api/catalogue.ts';

const text = readFileSync(join(import.meta.dirname, '..', 'docs', 'threat-model.md'), 'utf8');
const named = new Set([...text.matchAll(/`([A-Z][A-Z_]+)`/g)].map(([, code = '']) => code));

/** Codes that no row of the catalogue can bring about on a real kube-apiserver. */
const BEYOND_KUBECTL = new Set([
  // The API refuses two containers of one name.
  'APISERVER_CONTAINER_REPEATED',
  // Needs an exemption in force: test/api/exemption.test.ts.
  'EXEMPTION_PROLONGED',
]);

test('every code of an attempt or a lack is in the threat model', () => {
  const missing = Object.entries(REASONS)
    .filter(([code, { kind }]) => (kind === 'attempt' || kind === 'ineffective') && !named.has(code))
    .map(([code]) => code);
  assert.deepEqual(missing, []);
});

test('the threat model names no code that does not exist', () => {
  const known = new Set([...Object.keys(REASONS), 'LD_PRELOAD', 'NAME', 'PATH']);
  assert.deepEqual(
    [...named].filter((code) => !known.has(code)),
    [],
  );
});

test('every code of an attempt or a lack is played on a real kube-apiserver', () => {
  const played = new Set<string>(ATTACKS.flatMap(({ codes }) => codes));
  const missing = Object.entries(REASONS)
    .filter(([, { kind }]) => kind === 'attempt' || kind === 'ineffective')
    .map(([code]) => code)
    .filter((code) => !played.has(code) && !BEYOND_KUBECTL.has(code));
  assert.deepEqual(missing, []);
});

test('each row has a name of its own', () => {
  for (const rows of [ATTACKS, FINE]) {
    const names = rows.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
  }
});
