import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import type { CliStream } from '../../src/cli/io.ts';
import { displayWidth, paintFor, printable, table } from '../../src/cli/table.ts';

const terminal: CliStream = Object.assign(new PassThrough(), { isTTY: true });
const pipe: CliStream = new PassThrough();

test('colour is for terminals only, and NO_COLOR and FORCE_COLOR decide before that', () => {
  const red = '\u001b[31mx\u001b[39m';
  assert.equal(paintFor(terminal, {})('red', 'x'), red);
  assert.equal(paintFor(pipe, {})('red', 'x'), 'x');
  assert.equal(paintFor(terminal, { NO_COLOR: '1' })('red', 'x'), 'x');
  assert.equal(paintFor(terminal, { NO_COLOR: '' })('red', 'x'), red);
  assert.equal(paintFor(terminal, { TERM: 'dumb' })('red', 'x'), 'x');
  assert.equal(paintFor(pipe, { FORCE_COLOR: '1' })('red', 'x'), red);
  assert.equal(paintFor(pipe, { FORCE_COLOR: '0' })('red', 'x'), 'x');
});

test('columns line up by what a terminal shows, colour and wide characters included', () => {
  const paint = paintFor(terminal, {});
  const text = table(
    [{ title: 'NAME' }, { title: 'COUNT', align: 'right' }, { title: 'NOTE' }],
    [
      [paint('green', 'ä'), '7'],
      ['日本', '1234567', 'last'],
    ],
  );
  assert.equal(
    text.replaceAll('\u001b[32m', '').replaceAll('\u001b[39m', ''),
    'NAME    COUNT  NOTE\nä           7\n日本  1234567  last\n',
  );
  assert.equal(displayWidth('e\u0301'), 1);
  assert.equal(table([{ title: 'A' }], []), '');
  assert.equal(table([{ title: '' }], [['only']]), 'only\n');
});

test('control characters of untrusted text are shown, not sent', () => {
  assert.equal(printable('a\u001b[2Jb\n\u202e'), 'a\\u001b[2Jb\\u000a\\u202e');
  assert.equal(printable('a\tb'), 'a b');
});
