import assert from 'node:assert/strict';
import { test } from 'node:test';
import { namesOf } from '../../src/serve/client-names.ts';

for (const [subjectaltname, expected] of [
  [undefined, ['cn']],
  ['', ['cn']],
  ['DNS:a.example, DNS:b.example', ['cn', 'a.example', 'b.example']],
  [
    'IP Address:127.0.0.1, URI:spiffe://x/y, email:z@example.com',
    ['cn', '127.0.0.1', 'spiffe://x/y', 'z@example.com'],
  ],
  ['DNS:"a, DNS:kube-apiserver, b", DNS:c', ['cn', 'a, DNS:kube-apiserver, b', 'c']],
  ['DNS:"quote \\", DNS:kube-apiserver, \\" end"', ['cn', 'quote ", DNS:kube-apiserver, " end']],
] as const) {
  test(`names in ${JSON.stringify(subjectaltname)}`, () => {
    const subject = { CN: 'cn' } as Parameters<typeof namesOf>[0]['subject'];
    assert.deepEqual(namesOf({ subject, subjectaltname: subjectaltname as string }), expected);
  });
}
