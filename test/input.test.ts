import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatPath, InputError, readYamlDocuments } from '../src/input.ts';
import { hasBackslashKey } from './support/json.ts';

function failure(text: string): string {
  try {
    readYamlDocuments(text, 'a.yaml');
  } catch (error) {
    assert.ok(error instanceof InputError, `threw ${error}`);
    return error.message;
  }
  return assert.fail('nothing was thrown');
}

function values(text: string): unknown[] {
  return readYamlDocuments(text, 'a.yaml').map(({ value }) => value);
}

const TWO = `# a comment
apiVersion: v1
kind: ConfigMap
data:
  a: "1"
---
# nothing but a comment
---
kind: Cluster
spec:
  cloud:
    dc: free
  list:
    - x
    - y: 1
`;

test('documents know their lines and those of their fields', () => {
  const [first, second, ...rest] = readYamlDocuments(TWO, 'a.yaml');
  assert.equal(rest.length, 0);
  assert.equal(first?.line, 2);
  assert.equal(first.lineOf(['data', 'a']), 5);
  assert.equal(second?.line, 9);
  assert.equal(second.lineOf(['spec', 'cloud', 'dc']), 12);
  assert.equal(second.lineOf(['spec', 'list', 1, 'y']), 15);
  assert.equal(second.lineOf(['spec', 'cloud', 'missing', 'deep']), 11, 'the nearest thing that is there');
  assert.deepEqual(second.problem(['spec', 'list', 1], 'is odd'), {
    file: 'a.yaml',
    line: 15,
    field: 'spec.list[1]',
    text: 'is odd',
  });
});

test('scalars mean what they mean to kubectl', () => {
  const text = `{a: yes, b: "yes", c: 0755, d: 2001-01-01, e: 1:30, f: 1_000, g: ~, h: 4.0.0, i: off, 1: x, j: 1e3, k: ., l: .5, m: -1_0.25, y: 1}`;
  assert.deepEqual(values(text), [
    {
      a: true,
      b: 'yes',
      c: 493,
      d: '2001-01-01',
      e: '1:30',
      f: 1000,
      g: null,
      h: '4.0.0',
      i: false,
      1: 'x',
      j: 1000,
      k: '.',
      l: 0.5,
      m: -10.25,
      true: 1,
    },
  ]);
});

test('merge keys and aliases are resolved, and lines are found through them', () => {
  const [document] = readYamlDocuments(
    'base: &b\n  x: 1\n  z: 2\nuse:\n  <<: *b\n  z: 3\nsame: *b\n',
    'a.yaml',
  );
  assert.deepEqual(document?.value, { base: { x: 1, z: 2 }, use: { x: 1, z: 3 }, same: { x: 1, z: 2 } });
  assert.equal(document?.lineOf(['same', 'z']), 3);
});

test('JSON is read with tabs, and its lines are found too', () => {
  const [document] = readYamlDocuments(
    '\n{\n\t"kind": "Seed",\n\t"spec": {\n\t\t"x": [1, {"y": 2}]\n\t}\n}\n',
    's.json',
  );
  assert.deepEqual(document?.value, { kind: 'Seed', spec: { x: [1, { y: 2 }] } });
  assert.equal(document?.line, 2);
  assert.equal(document?.lineOf(['spec', 'x', 1, 'y']), 5);
});

test('a list counts as its items, also nested, also typed', () => {
  const text = `apiVersion: v1
kind: List
items:
  - kind: A
  - apiVersion: v1
    kind: List
    items:
      - kind: B
`;
  const documents = readYamlDocuments(text, 'a.yaml');
  assert.deepEqual(
    documents.map(({ value }) => value),
    [{ kind: 'A' }, { kind: 'B' }],
  );
  assert.deepEqual(
    documents.map(({ line }) => line),
    [4, 8],
  );
  assert.equal(documents[1]?.problem(['kind'], '').line, 8);
  assert.deepEqual(
    values('{"apiVersion":"apps/v1","kind":"DeploymentList","items":[{"metadata":{}},{"kind":"X"}]}'),
    [{ apiVersion: 'apps/v1', kind: 'Deployment', metadata: {} }, { kind: 'X' }],
  );
  assert.deepEqual(values('kind: List\nitems: oops\n'), [{ kind: 'List', items: 'oops' }]);
});

test('keys of the prototype are keys like any other', () => {
  for (const text of [
    '__proto__:\n  polluted: yes\nconstructor: 1\n',
    '{"__proto__":{"polluted":true},"constructor":1}',
  ]) {
    const [value] = values(text) as [Record<string, unknown>];
    assert.deepEqual(Object.keys(value), ['__proto__', 'constructor']);
    assert.equal(Object.getPrototypeOf(value), Object.prototype);
    assert.equal(({} as Record<string, unknown>).polluted, undefined);
  }
  assert.equal(JSON.stringify(values('x: {<<: {__proto__: {a: 1}}}')), '[{"x":{"__proto__":{"a":1}}}]');
});

test('every error of syntax is told with its line', () => {
  assert.equal(
    failure('a: 1\nb: 2\na: 3\n'),
    'a.yaml:3: this key is there twice in one mapping; keep one of them',
  );
  assert.match(failure('a: 1\nb: [1, 2\n'), /^a\.yaml:\d: this is not valid YAML: /);
  assert.match(failure('{"a": 1,, }'), /^a\.yaml:1: this is not valid YAML: /);
  assert.match(failure('a:\n\t- b\n'), /^a\.yaml:2: a tab cannot indent YAML; use spaces$/m);
  assert.match(failure('ok: 1\n---\na: !secret x\n'), /^a\.yaml:3: .*!secret/);
  assert.match(failure('a: *nowhere\n'), /^a\.yaml:1: .*nowhere/);
});

test('what JSON cannot hold is refused', () => {
  assert.match(
    failure('a: 9007199254740993\n'),
    /^a\.yaml:1: the number 9007199254740993 cannot be kept exactly; put it in quotes$/,
  );
  assert.match(failure('a: .inf\n'), /Infinity is no number of JSON/);
  assert.match(failure('? {a: 1}\n: 2\n'), /cannot be a key/);
  assert.match(failure('a: 0b_\n'), /^a\.yaml:1: /);
});

test('bombs are refused, not run', () => {
  const deep = 100_000;
  assert.match(failure('['.repeat(deep) + ']'.repeat(deep)), /nested more than 200 levels/);
  assert.match(failure('['.repeat(deep)), /^a\.yaml/);
  assert.match(failure(`{"a":${'['.repeat(300)}${']'.repeat(300)}}`), /nested more than 200 levels/);
  assert.match(failure(`a: ${'['.repeat(300)}${']'.repeat(300)}`), /nested more than 200 levels/);
  const laughs = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]'];
  for (let i = 1; i < 10; i += 1) laughs.push(`a${i}: &a${i} [${`*a${i - 1}, `.repeat(10)}]`);
  assert.match(failure(laughs.join('\n')), /alias/i);
  assert.match(failure('a: &a [*a]\n'), /^a\.yaml:1: an alias .* stands inside/);
  assert.match(failure('a: &a {b: {c: *a}}\n'), /stands inside/);
});

test('odd texts: empty, byte order mark, Windows line ends, no mapping', () => {
  assert.deepEqual(values(''), []);
  assert.deepEqual(values('# only\n---\n---\n'), []);
  assert.deepEqual(values('\uFEFFa: 1\n'), [{ a: 1 }]);
  assert.deepEqual(values('\uFEFF{\n\t"a": 1}'), [{ a: 1 }]);
  const [document] = readYamlDocuments('a: 1\r\nb:\r\n  c: 2\r\n', 'a.yaml');
  assert.deepEqual(document?.value, { a: 1, b: { c: 2 } });
  assert.equal(document?.lineOf(['b', 'c']), 3);
  assert.deepEqual(values('just text'), ['just text']);
});

test('paths are written as people write them', () => {
  assert.equal(formatPath(['spec', 'datacenters', 'a.b', 'x', 0, 1]), 'spec.datacenters["a.b"].x[0][1]');
  assert.equal(formatPath([]), '');
});

test('any JSON reads as itself, whatever its keys', () => {
  const json = fc.jsonValue({ depthSize: 'medium' }).filter((value) => !hasBackslashKey(value));
  fc.assert(
    fc.property(json, fc.integer({ min: 0, max: 4 }), (value, indent) => {
      const wrapped = { value };
      assert.deepEqual(values(JSON.stringify(wrapped, null, indent)), [JSON.parse(JSON.stringify(wrapped))]);
    }),
  );
});

test('any text is read or refused with an InputError', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
      try {
        readYamlDocuments(text, 'a.yaml');
      } catch (error) {
        assert.ok(error instanceof InputError, String(error));
      }
    }),
    { numRuns: 500 },
  );
});
