/** The lists of flags against the help of the real kube-apiserver. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import {
  BOOLEAN_FLAGS,
  CURRENT_BOOLEAN_FLAGS,
  CURRENT_VALUE_FLAGS,
  VALUE_FLAGS,
} from '../../src/audit/kube-apiserver-flags.ts';
import { ensureBinaries, skipWithoutControlPlane } from '../support/binaries.ts';

const skip = await skipWithoutControlPlane('the flags of the real kube-apiserver', ['kube-apiserver']);

test('the lists are those of kube-apiserver --help', { skip }, async () => {
  const { 'kube-apiserver': program } = await ensureBinaries(['kube-apiserver']);
  const help = execFileSync(program, ['--help'], { encoding: 'utf8' });
  const booleans: string[] = [];
  const values: string[] = [];
  // `--name type` takes a value, `--name` alone does not, `--name type[=default]` stands alone too.
  for (const [, name = '', type = ''] of help.matchAll(/^ +(?:-\w, )?--([\w-]+)(?: ([^\s]+))? {2}/gm)) {
    if (name === 'version') assert.match(type, /\[=/, 'it has an optional value');
    else (type === '' ? booleans : values).push(name);
  }
  assert.ok(values.length > 100, 'the help was read');
  assert.deepEqual(CURRENT_BOOLEAN_FLAGS.toSorted(), booleans.sort());
  assert.deepEqual(CURRENT_VALUE_FLAGS.toSorted(), values.sort());
  assert.ok(BOOLEAN_FLAGS.has('version'));
});

test('no flag is in both lists', () => {
  assert.deepEqual(
    [...BOOLEAN_FLAGS].filter((name) => VALUE_FLAGS.has(name)),
    [],
  );
});
