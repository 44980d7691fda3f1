import assert from 'node:assert/strict';
import { test } from 'node:test';
import { selects } from '../../src/check/selector.ts';

const labels = { app: 'a', tier: 'b' };
for (const [name, selector, expected] of [
  ['none', undefined, false],
  ['empty', {}, true],
  ['equal', { matchLabels: { app: 'a' } }, true],
  ['different', { matchLabels: { app: 'a', tier: 'c' } }, false],
  ['In', { matchExpressions: [{ key: 'app', operator: 'In', values: ['x', 'a'] }] }, true],
  ['NotIn', { matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['a'] }] }, false],
  [
    'NotIn of what is not there',
    { matchExpressions: [{ key: 'zone', operator: 'NotIn', values: ['a'] }] },
    true,
  ],
  ['Exists', { matchExpressions: [{ key: 'zone', operator: 'Exists' }] }, false],
  ['DoesNotExist', { matchExpressions: [{ key: 'zone', operator: 'DoesNotExist' }] }, true],
] as const) {
  test(`a label selector, ${name}`, () => assert.equal(selects(labels, selector), expected));
}
