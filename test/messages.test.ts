/**
 * docs/messages.md against the table of reasons: the same codes in the same order, each with the table's sentence and way out, and a paragraph
 * between them that says what it means. `UPDATE_GOLDEN=1 npm test -- test/messages.test.ts` brings sentences, order and new codes in; the
 * paragraphs stay, and those of new codes have to be written.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  explainReason,
  explainRepair,
  REASONS,
  type ReasonCode,
  type ReasonKind,
  reason,
} from '../src/reasons.ts';

const PATH = join(import.meta.dirname, '..', 'docs', 'messages.md');
const UNWRITTEN = 'TODO';

const HEADINGS: Record<ReasonKind, string> = {
  ineffective: 'An apiserver does not audit',
  attempt: 'A change would take auditing away',
  settings: 'Settings cannot be followed',
  'look-up': 'Something is not known',
  note: 'Worth knowing',
};

const INTRODUCTION = `# Messages

Each message ends with its code in brackets: \`[POLICY_FLAG_MISSING]\`. The same codes stand in the log, in metrics and in the audit annotation
\`reasons\` of the cluster's own audit log. Codes stay; sentences may change. Words in braces stand for what the message is about.

`;

function render(meanings: ReadonlyMap<string, string>): string {
  const kinds = [...new Set(Object.values(REASONS).map(({ kind }) => kind))];
  const sections = kinds.map((kind) => {
    const rows = Object.entries(REASONS).filter(([, row]) => row.kind === kind);
    const entries = rows.map(
      ([code, { sentence, repair }]) =>
        `### ${code}\n\n> ${sentence}\n\n${meanings.get(code) ?? UNWRITTEN}\n\n**What to do:** ${repair}\n`,
    );
    return `## ${HEADINGS[kind]}\n\n${entries.join('\n')}`;
  });
  return INTRODUCTION + sections.join('\n');
}

/** The paragraph of each code. */
const readMeanings = (text: string): Map<string, string> =>
  new Map(
    [...text.matchAll(/^### (\w+)\n\n> .*\n\n([\s\S]*?)\n\n\*\*What to do:\*\*/gm)].map(
      ([, code = '', meaning = '']) => [code, meaning],
    ),
  );

test('docs/messages.md is the table of reasons, with what each means', () => {
  const meanings = readMeanings(readFileSync(PATH, 'utf8'));
  if (process.env.UPDATE_GOLDEN === '1') writeFileSync(PATH, render(meanings));
  const text = readFileSync(PATH, 'utf8');
  assert.equal(text, render(meanings), 'the header of this test says how to bring it up to date');
  for (const code of Object.keys(REASONS)) {
    const meaning = meanings.get(code) ?? UNWRITTEN;
    assert.ok(
      meaning.length > 20 && !meaning.includes(UNWRITTEN),
      `${code} has no paragraph in docs/messages.md`,
    );
  }
});

test('every sentence can be told with its parameters alone', () => {
  for (const code of Object.keys(REASONS) as ReasonCode[]) {
    const { sentence, repair } = REASONS[code];
    const names = [...`${sentence} ${repair}`.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => name);
    const given = reason(code, Object.fromEntries(names.map((name) => [name, 'VALUE'])));
    assert.doesNotMatch(explainReason(given) + explainRepair(given), /[{}]/);
    assert.doesNotMatch(sentence, /\.$/, 'the code follows the sentence');
    assert.match(repair, /\.$/);
  }
});

test('values from input are kept short, and stay values', () => {
  const given = reason('POLICY_FILE_ELSEWHERE', {
    path: `${'x'.repeat(5000)}`,
    found: '{path} $& $1 __proto__',
  });
  const told = explainReason(given);
  assert.ok(told.length < 400);
  assert.ok(told.endsWith('{path} $& $1 __proto__'));
});
