import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { skipWithoutControlPlane } from '../support/binaries.ts';
import { Screen } from './screen.ts';

function record(isTTY: boolean) {
  let text = '';
  const stream = {
    isTTY,
    write: (chunk: string) => {
      text += chunk;
    },
  };
  return { screen: new Screen(stream, isTTY), text: () => text };
}

test('the demo ends with audit events from the injected flags and policy', {
  skip: await skipWithoutControlPlane('the demo'),
}, async () => {
  const result = await new Promise<{ error: Error | null; stdout: string; stderr: string }>((resolve) => {
    execFile(process.execPath, [join(import.meta.dirname, 'demo.ts')], (error, stdout, stderr) =>
      resolve({ error, stdout, stderr }),
    );
  });
  assert.equal(result.error, null, result.stdout + result.stderr);
  assert.match(result.stdout, /^ +\d\d:\d\d:\d\d\.\d+ {2}Metadata {2}ResponseComplete {2}admin {2}create /m);
  assert.match(result.stdout, /All \d+ expectations of \d+ steps were met\.\n$/);
  assert.ok(!result.stdout.includes('\u001b'), 'colours in a pipe');
});

test('an expectation that is not met is said at once and at the end, and sets the exit code', () => {
  const { screen, text } = record(false);
  screen.step('one');
  screen.expect('this holds', true);
  screen.step('two');
  screen.expect('this does not', false);
  assert.equal(screen.finish(), 1);
  assert.match(text(), /✗ NOT AS EXPECTED: this does not/);
  assert.match(text(), /1 of 2 expectations were not met:\n {2}step 2: this does not\n$/);
});

test('a diff shows what was added and taken out, with its surroundings', () => {
  const { screen, text } = record(false);
  screen.diff('a\nb\nc\nd\ne\nf\n', 'a\nb\nc\nx\ny\ne\nf\n');
  assert.equal(
    text(),
    ['     …', '       c', '     - d', '     + x', '     + y', '       e', '     …', ''].join('\n'),
  );
});

test('colours are for terminals', () => {
  const { screen, text } = record(true);
  screen.expect('this holds', true);
  assert.ok(text().includes('\u001b[32m✓'));
});
