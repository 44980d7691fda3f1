/**
 * Golden files: what comes out, as it came out when somebody last looked at it. After a change that is meant to show there,
 * `UPDATE_GOLDEN=1 npm test -- test/audit` writes them anew; read the difference before it is committed.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const DIRECTORY = join(import.meta.dirname, '..', 'golden');

/** @param name of the file under test/golden */
export function matchGolden(name: string, text: string): void {
  const path = join(DIRECTORY, name);
  if (process.env.UPDATE_GOLDEN === '1') {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
  assert.equal(text, readFileSync(path, 'utf8'), `${path} differs; UPDATE_GOLDEN=1 writes it anew`);
}
