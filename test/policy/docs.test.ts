// docs/policy.md and examples/ say what the code does. UPDATE_DOCS=1 writes the generated table anew.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { lint, PRESETS, PROBLEM_CODES, REPRESENTATIVE_REQUESTS, readPolicy } from '../../src/policy/index.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const DOCS = join(ROOT, 'docs', 'policy.md');
const START = '<!-- representative requests -->\n';
const END = '<!-- end of representative requests -->';

/** One row for all verbs of the same users on the same resource. */
function renderTable(): string {
  const rows = new Map<string, string[]>();
  for (const { title, concern, essential, request } of REPRESENTATIVE_REQUESTS) {
    const what = title.slice(request.verb.length + 1);
    const key = `${concern} | ${essential ? 'yes' : 'no'} | ${what}`;
    rows.set(key, [...(rows.get(key) ?? []), request.verb]);
  }
  const lines = [...rows].map(([key, verbs]) => `| ${key} | ${verbs.join(', ')} |`);
  return `\n| concern | essential | of what, by whom | verbs |\n|---|---|---|---|\n${lines.join('\n')}\n\n`;
}

test('docs/policy.md lists the representative requests', () => {
  const text = readFileSync(DOCS, 'utf8');
  const [start, end] = [text.indexOf(START) + START.length, text.indexOf(END)];
  assert.ok(start >= START.length && end >= start);
  const wanted = text.slice(0, start) + renderTable() + text.slice(end);
  if (process.env.UPDATE_DOCS) writeFileSync(DOCS, wanted);
  else assert.equal(text, wanted);
});

test('docs/policy.md explains every code, and no other', () => {
  const explained = new Set<string>();
  for (const [, cell = ''] of readFileSync(DOCS, 'utf8').matchAll(/^\| (`[^|]*`) \|/gm)) {
    for (const [, code = ''] of cell.matchAll(/`([a-z-]+)`/g)) explained.add(code);
  }
  assert.deepEqual([...explained].sort(), Object.keys(PROBLEM_CODES).sort());
});

test('examples/policies are valid, and those of the presets are the presets', () => {
  const folder = join(ROOT, 'examples', 'policies');
  for (const name of readdirSync(folder)) {
    const text = readFileSync(join(folder, name), 'utf8');
    const read = readPolicy(text, { kubernetesMinor: 33 });
    assert.deepEqual([read.errors, read.warnings], [[], []], name);
    const preset = PRESETS.get(name.replace('.yaml', ''));
    if (preset !== undefined) assert.equal(text, preset, name);
    else {
      const { policy } = read;
      assert.deepEqual(policy && lint(policy).filter(({ severity }) => severity === 'warning'), [], name);
    }
  }
});
