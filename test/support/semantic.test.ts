import assert from 'node:assert/strict';
import { test } from 'node:test';
import { semanticDifferences } from './semantic.ts';

const same: [string, unknown, unknown][] = [
  ['an empty list is none', { args: [] }, {}],
  ['an empty map is none', { metadata: { labels: {} } }, { metadata: {} }],
  ['null is none', { tolerations: null }, {}],
  ['an empty value of a variable is none', [{ name: 'A', value: '' }], [{ name: 'A' }]],
  ['keys have no order', { a: 1, b: 2 }, { b: 2, a: 1 }],
  ['cpu by value', { limits: { cpu: '1000m' } }, { limits: { cpu: 1 } }],
  ['cpu by value, below one', { requests: { cpu: '35m' } }, { requests: { cpu: '0.035' } }],
  ['memory by value', { requests: { memory: '1Gi' } }, { requests: { memory: '1024Mi' } }],
];
for (const [name, a, b] of same)
  test(`${name}: no difference`, () => assert.deepEqual(semanticDifferences(a, b), []));

const different: [string, unknown, unknown, string[]][] = [
  ['lists have an order', { args: ['a', 'b'] }, { args: ['b', 'a'] }, ['args.0', 'args.1']],
  ['a list that is longer', { args: ['a'] }, { args: ['a', 'b'] }, ['args.1']],
  ['an empty struct behind a pointer', { emptyDir: {} }, {}, ['emptyDir']],
  ['false behind a pointer', { optional: false }, {}, ['optional']],
  ['memory', { limits: { memory: '1G' } }, { limits: { memory: '1Gi' } }, ['limits.memory']],
  ['what is no quantity', { limits: { cpu: 'x' } }, { limits: { cpu: 'y' } }, ['limits.cpu']],
  ['a number and its text elsewhere', { port: 80 }, { port: '80' }, ['port']],
  ['an empty annotation', { annotations: { a: '' } }, { annotations: {} }, ['annotations']],
  ['a key of the prototype', JSON.parse('{"__proto__": {"a": 1}}'), {}, ['__proto__']],
];
for (const [name, a, b, paths] of different)
  test(`${name}: a difference`, () => assert.deepEqual(semanticDifferences(a, b), paths));
