import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DEFAULT_CONFIG, optionsOf, parseConfig } from '../src/config.ts';
import { InputError } from '../src/input.ts';

const problemsOf = async (text: string): Promise<string[]> => {
  try {
    await parseConfig(text, 'config.yaml');
  } catch (error) {
    assert.ok(error instanceof InputError, `threw ${error}`);
    return error.message.split('\n');
  }
  return assert.fail('nothing was thrown');
};

describe('the configuration', () => {
  for (const text of ['', '# nothing', '---', '{}'])
    test(`${JSON.stringify(text)} is the default one`, async () =>
      assert.deepEqual(await parseConfig(text, 'c'), DEFAULT_CONFIG));

  test('of a datacenter builds on that of all, and that on the defaults', async () => {
    const config = await parseConfig(
      `platform: { namespace: kkp }
defaults: { mode: warn, retention: { maxBackups: 20 }, sidecar: { allowedImages: [a, b] } }
datacenters:
  one: { retention: { maxAgeDays: 90 }, sidecar: { allowedImages: [c] } }
  __proto__: { mode: audit }
  "": { registry: r.example.com }
`,
      'config.yaml',
    );
    assert.equal(config.platform.namespace, 'kkp');
    assert.deepEqual(config.platform.groups, DEFAULT_CONFIG.platform.groups);
    assert.deepEqual(optionsOf(config, 'one'), {
      ...DEFAULT_CONFIG.defaults,
      mode: 'warn',
      retention: { maxAgeDays: 90, maxBackups: 20, maxSizeMegabytes: 100 },
      sidecar: { image: '', imagePullPolicy: '', allowedImages: ['c'] },
    });
    assert.equal(optionsOf(config, '__proto__').mode, 'audit');
    assert.equal(optionsOf(config, '').registry, 'r.example.com');
    assert.equal(optionsOf(config, 'constructor'), config.defaults);
    assert.equal(({} as { mode?: string }).mode, undefined);
  });

  const CIDRS: readonly (readonly [cidr: string, isOne: boolean])[] = [
    ['10.0.0.0/8', true],
    ['0.0.0.0/0', true],
    ['255.255.255.255/32', true],
    ['::/0', true],
    ['::1/128', true],
    ['fd00::/8', true],
    ['2001:db8:1:2:3:4:5:6/64', true],
    ['2001:db8:1:2:3:4:5::/112', true],
    ['2001:db8::1:0:0:1/128', true],
    ['FE80::1/10', true],
    ['10.0.0.1', false],
    ['999.0.0.0/8', false],
    ['10.0.0.0/33', false],
    ['10.0.0/8', false],
    ['fd00::/129', false],
    ['fd00::1::/64', false],
    ['1:2:3:4:5:6:7:8:9/64', false],
    ['1:2:3:4:5:6:7/64', false],
    ['12345::/16', false],
    ['10.0.0.0/8 ', false],
    ['', false],
  ];
  for (const [cidr, isOne] of CIDRS)
    test(`${JSON.stringify(cidr)} is ${isOne ? 'a' : 'no'} range of addresses`, async () => {
      const text = JSON.stringify({ defaults: { egress: [{ cidr, port: 1 }] } });
      if (isOne) assert.equal((await parseConfig(text, 'c')).defaults.egress[0]?.cidr, cidr);
      else assert.match((await problemsOf(text)).join('\n'), /egress\[0\]\.cidr: must be a range/);
    });

  const rows: [what: string, text: string, ...problems: RegExp[]][] = [
    ['an unknown key', 'defaults:\n  modus: warn', /^config\.yaml:2: defaults\.modus: no such setting/],
    [
      'a key of every object',
      'defaults:\n  __proto__: 1',
      /^config\.yaml:2: defaults\.__proto__: no such setting/,
    ],
    [
      'an unknown value',
      'datacenters:\n  a.b:\n    mode: off',
      /^config\.yaml:3: datacenters\["a\.b"\]\.mode: must be one of \["enforce","warn","audit"\]/,
    ],
    [
      'a wrong type',
      'defaults:\n  retention:\n    maxAgeDays: many',
      /^config\.yaml:3: defaults\.retention\.maxAgeDays: must be integer/,
    ],
    [
      'a negative number',
      'defaults:\n  retention:\n    maxBackups: -1',
      /^config\.yaml:3: defaults\.retention\.maxBackups: must be >= 1/,
    ],
    [
      'a zero, by which kube-apiserver would keep everything until the volume is full',
      'defaults:\n  retention:\n    maxAgeDays: 0',
      /^config\.yaml:3: defaults\.retention\.maxAgeDays: must be >= 1/,
    ],
    [
      'a retention without a bound',
      'defaults:\n  retention:\n    maxSizeMegabytes: 8796093022208',
      /^config\.yaml:3: defaults\.retention\.maxSizeMegabytes: must be <= 10000/,
    ],
    [
      'a size that is none',
      'defaults:\n  input:\n    bufferMaxSize: big',
      /^config\.yaml:3: defaults\.input\.bufferMaxSize: must be a size such as 512k or 8M$/,
    ],
    [
      'a name where a range of addresses is due',
      'defaults:\n  egress:\n    - { cidr: example.com, port: 1 }',
      /^config\.yaml:3: defaults\.egress\[0\]\.cidr: must be a range of addresses such as 10\.0\.0\.0\/8/,
    ],
    [
      'a namespace that is none',
      'platform:\n  namespace: A_b',
      /^config\.yaml:2: platform\.namespace: must be the name of a namespace/,
    ],
    [
      'an element of a list',
      'defaults:\n  egress:\n    - { cidr: 10.0.0.0/8, port: 1 }\n    - { cidr: 10.0.0.0/8, port: 0 }',
      /^config\.yaml:4: defaults\.egress\[1\]\.port: must be >= 1/,
    ],
    [
      'a missing field',
      'defaults:\n  egress:\n    - cidr: 10.0.0.0/8',
      /^config\.yaml:3: defaults\.egress\[0\]: must have required property 'port'/,
    ],
    [
      'every fault at once',
      'a: 1\nb: 2\nplatform:\n  namespace: ""',
      /config\.yaml:1: a: /,
      /config\.yaml:2: b: /,
      /config\.yaml:4: platform\.namespace: /,
    ],
    ['a list', '- a', /^config\.yaml:1: must be object/],
    ['text', 'hello', /^config\.yaml:1: must be object/],
    ['two documents', 'platform: {}\n---\ndefaults: {}', /^config\.yaml:3: a second document/],
    ['no YAML', 'a: [', /^config\.yaml:\d+: this is not valid YAML/],
  ];
  for (const [what, text, ...expected] of rows) {
    test(`with ${what} names file, line and field`, async () => {
      const problems = await problemsOf(text);
      assert.equal(problems.length, expected.length, problems.join('\n'));
      for (const [index, pattern] of expected.entries()) assert.match(problems[index] ?? '', pattern);
    });
  }
});
