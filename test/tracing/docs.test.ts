/** docs/tracing.md against real spans: each attribute that one can have is there, and no other. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SpanKind } from '@opentelemetry/api';
import { KubeClient } from '../../src/kube/client.ts';
import { type RequestResult, SPAN_FIELDS } from '../../src/tracing.ts';
import { plainCredentials } from '../support/stub-api.ts';
import { buildSink, openTestTracing } from '../support/traces.ts';

const TEXT = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'tracing.md'), 'utf8');

/** The cells of the table with that first heading, by the first cell. */
function readTable(heading: string): Map<string, readonly string[]> {
  const [, table = ''] = TEXT.split(`| ${heading} |`);
  const rows = (table.split('\n\n')[0] ?? '').split('\n').slice(2);
  return new Map(
    rows.map((row) => {
      const [, name = '', ...cells] = row.split('|').map((cell) => cell.trim().replaceAll('`', ''));
      return [name, cells.slice(0, -1)];
    }),
  );
}

const client = new KubeClient(plainCredentials(new URL('https://127.0.0.1:1')));
after(() => client.close());

const { exporter, spans } = buildSink();
const { tracing } = openTestTracing({ exporter, env: { POD_NAME: 'pod', POD_NAMESPACE: 'namespace' } });
const line = Object.fromEntries(Object.values(SPAN_FIELDS).map((field) => [field, 'x']));
const result: RequestResult = { status: 500, outcome: 'failed', reasons: ['HOOK_FAILED'], line };
const span = tracing.start('/validate', {});
await assert.rejects(span?.run(() => tracing.traceClient(client).request('POST', '/x')) ?? Promise.resolve());
span?.end(result);
await tracing.close();

const attributesOf = (kind: SpanKind): string[] =>
  spans
    .filter((found) => found.kind === kind)
    .flatMap(({ attributes }) => Object.keys(attributes))
    .sort();

test('a request', () => {
  const rows = readTable('Attribute');
  assert.deepEqual([...rows.keys()].sort(), attributesOf(SpanKind.SERVER));
  for (const [attribute, [field = '', help = '']] of rows) {
    assert.equal(field, SPAN_FIELDS[attribute] ?? '', attribute);
    assert.ok(help, attribute);
  }
});

test('a question to kube-apiserver', () => {
  assert.deepEqual([...readTable('Attribute of the question').keys()].sort(), attributesOf(SpanKind.CLIENT));
});

test('the process', () => {
  const attributes = Object.keys(spans[0]?.resource.attributes ?? {});
  assert.deepEqual(
    [...readTable('Attribute of the resource').keys()].sort(),
    attributes.filter((name) => !name.startsWith('telemetry.sdk.')).sort(),
  );
});
