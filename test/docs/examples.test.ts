/** Runs the examples of the documentation that need nothing but a checkout: each `npm run -s cli -- …` line of a shell block. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';

const ROOT = path.join(import.meta.dirname, '..', '..');
const run = promisify(execFile);

/** Needs a cluster, or a file that the reader is to write. */
const NEEDS_MORE = /--kubeconfig|<|\bKUBECONFIG\b|my-|\bserve\b/;

const files = ['README.md', ...globSync('docs/**/*.md', { cwd: ROOT })];

for (const file of files) {
  const text = readFileSync(path.join(ROOT, file), 'utf8');
  const blocks = [...text.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) =>
    (block ?? '').replaceAll('\\\n', ' '),
  );
  const lines = blocks
    .flatMap((block) => block.split('\n'))
    .filter((line) => line.startsWith('npm run -s cli -- ') && !NEEDS_MORE.test(line));
  if (lines.length === 0) continue;
  describe(file, () => {
    for (const line of lines) {
      test(line, async () => {
        const command = line.replace(/\s+#.*$/, '').replace('npm run -s cli --', 'node src/main.ts');
        const expected = Number(/# exits? (\d)/.exec(line)?.[1] ?? 0);
        const { code, stdout, stderr } = await run('bash', ['-c', command], { cwd: ROOT }).then(
          (result) => ({ ...result, code: 0 }),
          (error: { code: number; stdout: string; stderr: string }) => error,
        );
        assert.equal(code, expected, stderr);
        assert.notEqual(stdout + stderr, '', 'it says something');
      });
    }
  });
}

describe('links between the documents', () => {
  for (const file of [...files, 'CONTRIBUTING.md', 'CHANGELOG.md']) {
    test(file, () => {
      const text = readFileSync(path.join(ROOT, file), 'utf8').replace(/```[\s\S]*?```/g, '');
      const targets = [...text.matchAll(/\]\((?!https?:|#|mailto:)([^)#]+)(?:#[^)]*)?\)/g)].map(
        ([, target]) => target ?? '',
      );
      const missing = targets.filter((target) => !existsSync(path.join(ROOT, path.dirname(file), target)));
      assert.deepEqual(missing, []);
    });
  }
});
