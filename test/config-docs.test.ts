import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CONFIG_SCHEMA, DEFAULT_CONFIG, DEFAULT_DATACENTER_OPTIONS, parseConfig } from '../src/config.ts';
import { isJsonObject, type JsonObject } from '../src/kubernetes.ts';

const TEXT = readFileSync(join(import.meta.dirname, '..', 'docs', 'configuration.md'), 'utf8');

/** The path of every setting in a schema, down to what is no object. */
function pathsOf(schema: JsonObject, path: string): string[] {
  const { properties, items } = schema;
  if (isJsonObject(properties))
    return Object.entries(properties).flatMap(([name, child]) =>
      pathsOf(child as JsonObject, path === '' ? name : `${path}.${name}`),
    );
  if (isJsonObject(items) && isJsonObject(items.properties)) return [path, ...pathsOf(items, `${path}[]`)];
  return [path];
}

const rows = new Map(
  TEXT.split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => {
      const [, name = '', fallback = '', help = ''] = line.split('|').map((cell) => cell.trim());
      return [name.replaceAll('`', ''), { fallback: fallback.replaceAll('`', ''), help }] as const;
    }),
);
const schema = CONFIG_SCHEMA.properties as {
  platform: JsonObject;
  defaults: JsonObject;
  datacenters: JsonObject;
};

test('docs/configuration.md has every setting, and no other', () => {
  assert.deepEqual(schema.datacenters.additionalProperties, schema.defaults);
  const settings = [...pathsOf(schema.platform, 'platform'), ...pathsOf(schema.defaults, '')];
  assert.deepEqual([...rows.keys()].sort(), settings.sort());
  for (const [name, { help }] of rows) assert.ok(help, name);
});

test('docs/configuration.md has the defaults', () => {
  const read = (value: unknown, path: string): unknown =>
    path.split('.').reduce<unknown>((found, key) => (isJsonObject(found) ? found[key] : undefined), value);
  for (const [name, { fallback }] of rows) {
    if (name.includes('[]') || name === 'platform.users') continue;
    const value = read(name.startsWith('platform.') ? DEFAULT_CONFIG : DEFAULT_DATACENTER_OPTIONS, name);
    assert.equal(fallback, JSON.stringify(value), name);
  }
});

test('docs/configuration.md shows an example that is valid', async () => {
  const example = /```yaml\n(.*?)```/s.exec(TEXT)?.[1] ?? '';
  const config = await parseConfig(example, 'docs/configuration.md');
  assert.equal(config.datacenters.get('aws-eu-central-1')?.registry, 'mirror.example');
});
