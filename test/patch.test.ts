import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import jsonpatch, { type Operation } from 'fast-json-patch';
import { isEqualJson } from '../src/equal.ts';
import { buildPatch } from '../src/patch.ts';

const clone = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;
const apply = (before: unknown, patch: readonly Operation[]): unknown =>
  jsonpatch.applyPatch(clone(before), clone(patch) as Operation[], true).newDocument;

describe('a patch', () => {
  const shared = { deep: { a: 1 } };
  const rows: [what: string, before: unknown, after: unknown, patch: unknown[]][] = [
    ['of the same object', shared, shared, []],
    ['of equal objects', { a: [{ b: 1 }] }, { a: [{ b: 1 }] }, []],
    ['adds', { a: 1 }, { a: 1, b: 2 }, [{ op: 'add', path: '/b', value: 2 }]],
    ['removes', { a: 1, b: 2 }, { a: 1 }, [{ op: 'remove', path: '/b' }]],
    ['takes undefined for missing', { a: 1 }, { a: undefined, b: undefined }, [{ op: 'remove', path: '/a' }]],
    ['replaces', { a: 1 }, { a: null }, [{ op: 'replace', path: '/a', value: null }]],
    [
      'replaces a list by an object',
      { a: [1] },
      { a: { 0: 1 } },
      [{ op: 'replace', path: '/a', value: { 0: 1 } }],
    ],
    ['escapes keys', { 'a/b~c': 1 }, { 'a/b~c': 2 }, [{ op: 'replace', path: '/a~1b~0c', value: 2 }]],
    [
      'inserts into a list',
      ['a', 'b', 'c'],
      ['a', 'x', 'y', 'b', 'c'],
      [
        { op: 'add', path: '/1', value: 'x' },
        { op: 'add', path: '/2', value: 'y' },
      ],
    ],
    [
      'takes out of a list',
      ['a', 'x', 'b', 'y'],
      ['a', 'b'],
      [
        { op: 'remove', path: '/3' },
        { op: 'remove', path: '/1' },
      ],
    ],
    ['repeats what repeats', ['a', 'a'], ['a', 'a', 'a'], [{ op: 'add', path: '/2', value: 'a' }]],
    [
      'goes into the element of the same name',
      [{ name: 'a', v: 1 }, { name: 'b' }],
      [{ name: 'x' }, { name: 'a', v: 2 }, { name: 'b' }],
      [
        { op: 'replace', path: '/0/v', value: 2 },
        { op: 'add', path: '/0', value: { name: 'x' } },
      ],
    ],
    [
      'of keys that every object has',
      { a: 1 },
      { a: 1, constructor: 2 },
      [{ op: 'add', path: '/constructor', value: 2 }],
    ],
  ];
  for (const [what, before, after, patch] of rows) {
    test(what, () => {
      assert.deepEqual(buildPatch(before, after), patch);
      assert.deepEqual(apply(before, buildPatch(before, after)), clone(after));
    });
  }

  test('of any two values makes the second of the first', () => {
    const { value } = fc.letrec<{ value: unknown }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom<unknown>(null, true, 0, 1, '', 'a', 'b'),
        fc.array(tie('value'), { maxLength: 5 }),
        fc.array(fc.record({ name: fc.constantFrom('a', 'b', 'c'), v: tie('value') }), { maxLength: 4 }),
        fc.dictionary(fc.constantFrom('a', 'b', 'name', '~', '/', 'constructor'), tie('value'), {
          maxKeys: 4,
        }),
      ),
    }));
    const object = fc.record({ x: value });
    fc.assert(
      fc.property(object, object, (left, right) => {
        const [before, after] = [clone(left), clone(right)];
        const patch = buildPatch(before, after);
        assert.deepEqual(apply(before, patch), after);
        assert.equal(patch.length === 0, isEqualJson(before, after));
      }),
      { numRuns: 2000 },
    );
  });
});

describe('equal', () => {
  const rows: [boolean, unknown, unknown][] = [
    [true, { a: 1, b: [null] }, { b: [null], a: 1 }],
    [true, { a: undefined }, {}],
    [true, {}, { a: undefined }],
    [false, { a: 1 }, { b: 1 }],
    [false, [1], { 0: 1 }],
    [false, {}, []],
    [false, [1, 2], [1]],
    [false, null, {}],
    [false, { toString: 1 }, {}],
    [false, {}, JSON.parse('{"__proto__": 1}')],
    [true, JSON.parse('{"__proto__": 1}'), JSON.parse('{"__proto__": 1}')],
  ];
  for (const [isEqual, left, right] of rows)
    test(`${JSON.stringify(left)} ${isEqual ? 'is' : 'is not'} ${JSON.stringify(right)}`, () =>
      assert.equal(isEqualJson(left, right), isEqual));
});
