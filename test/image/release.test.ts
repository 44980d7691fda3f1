import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const ROOT = join(import.meta.dirname, '..', '..');
const { version, dependencies, devDependencies } = JSON.parse(
  readFileSync(join(ROOT, 'package.json'), 'utf8'),
);

function release(...args: string[]) {
  return spawnSync(join(ROOT, 'scripts', 'release'), args, {
    encoding: 'utf8',
    env: { ...process.env, PUSH: '' },
  });
}

test('a release lists what the image is made of', () => {
  const { status, stdout, stderr } = release(version);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^SBOM: dist\/release\/sbom\.cdx\.json, \d+ components$/m);
  const sbom = JSON.parse(readFileSync(join(ROOT, 'dist', 'release', 'sbom.cdx.json'), 'utf8'));
  assert.equal(sbom.bomFormat, 'CycloneDX');
  const names = new Set(
    sbom.components.map(({ group, name }: { group?: string; name: string }) =>
      group ? `${group}/${name}` : name,
    ),
  );
  for (const name of Object.keys(dependencies)) assert.ok(names.has(name), name);
  for (const name of ['typescript', 'knip', 'fast-check']) {
    assert.ok(name in devDependencies);
    assert.ok(!names.has(name), name);
  }
});

test('a release refuses what is no version, and one that the files do not name', () => {
  for (const [wrong, message] of [
    ['1', /is no version/],
    ['999.0.0', /is not at version 999\.0\.0/],
  ] as const) {
    const { status, stderr } = release(wrong);
    assert.equal(status, 1);
    assert.match(stderr, message);
  }
});
