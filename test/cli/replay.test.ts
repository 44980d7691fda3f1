// Replay reads bytes; here the same is done with JSON.parse, on events full of what could mislead a reader of bytes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Replayer, replayStream } from '../../src/cli/policy/replay.ts';
import { evaluate, LEVELS, type Policy, readPolicy } from '../../src/policy/index.ts';

const policy: Policy = readPolicy(`
apiVersion: audit.k8s.io/v1
omitStages: [RequestReceived]
rules:
- {level: None, users: [quiet]}
- {level: Metadata, resources: [{group: "", resources: [secrets, pods/exec]}]}
- {level: Request, verbs: [create, get], resources: [{group: "", resources: [pods], resourceNames: [web]}], omitManagedFields: true}
- {level: RequestResponse, userGroups: [dev], omitManagedFields: true}
- {level: Request, nonResourceURLs: ["/a*"], omitStages: [ResponseStarted]}
- {level: RequestResponse, namespaces: [team]}
`).policy as Policy;

const nasty = fc.constantFrom(
  '',
  'a',
  '"',
  '\\',
  '\\"',
  '{',
  '}',
  '[',
  ']',
  ',"requestObject":{',
  '"level":"None"',
  'é😀\u2028',
  '\n',
  '\u0000',
);
const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { maxDepth: 3 },
    nasty,
    fc.integer(),
    fc.constant(null),
    fc.boolean(),
    fc.array(tie('any'), { maxLength: 3 }),
    fc.dictionary(
      fc.oneof(nasty, fc.constantFrom('metadata', 'managedFields', 'items', 'requestObject', 'level')),
      tie('any'),
      { maxKeys: 3 },
    ),
  ),
})).any;
const metadata = fc.record(
  { name: nasty, managedFields: fc.array(value, { maxLength: 2 }), labels: value },
  { requiredKeys: [] },
);
const body = fc.oneof(
  value,
  fc.record({ kind: nasty, metadata, spec: value }, { requiredKeys: [] }),
  fc.record({
    metadata,
    items: fc.array(fc.record({ metadata, x: value }, { requiredKeys: [] }), { maxLength: 3 }),
  }),
);
const some = (...words: string[]) => fc.constantFrom(...words);
const event = fc.record(
  {
    kind: fc.constant('Event'),
    level: some('Metadata', 'Request', 'RequestResponse'),
    stage: some('RequestReceived', 'ResponseStarted', 'ResponseComplete', 'Panic'),
    requestURI: some(
      '/api/v1/namespaces/team/pods/web?x=/pods',
      '/api/v1/namespaces/team/pods',
      '/a/b?c',
      '/',
    ),
    verb: some('get', 'create', 'list'),
    user: fc.record(
      {
        username: some('quiet', 'u', 'é'),
        groups: fc.array(some('dev', 'ops'), { maxLength: 2 }),
        extra: fc.dictionary(nasty, fc.array(nasty)),
      },
      { requiredKeys: [] },
    ),
    annotations: fc.dictionary(nasty, nasty),
    objectRef: fc.record(
      {
        resource: some('pods', 'secrets'),
        namespace: some('team', ''),
        name: some('web', 'db', ''),
        subresource: some('', 'exec'),
      },
      { requiredKeys: ['resource'] },
    ),
    requestObject: body,
    responseObject: body,
    sourceIPs: fc.array(nasty),
  },
  { requiredKeys: ['kind', 'level', 'stage', 'requestURI', 'verb'] },
);
type Event = typeof event extends fc.Arbitrary<infer T> ? T : never;

interface Count {
  matched: number;
  lines: number;
  bytes: number;
}

function naive(events: readonly Event[]): Count[] {
  const counts: Count[] = [...policy.rules, undefined].map(() => ({ matched: 0, lines: 0, bytes: 0 }));
  for (const one of events) {
    const { user, objectRef, verb, requestURI } = one;
    const path = requestURI.split('?')[0] ?? '';
    const name = objectRef?.name ?? '';
    const found = evaluate(policy, {
      user: user && { name: user.username ?? '', groups: user.groups ?? [] },
      verb,
      isResource: objectRef !== undefined,
      namespace: objectRef?.namespace ?? '',
      apiGroup: '',
      resource: objectRef?.resource ?? '',
      subresource: objectRef?.subresource ?? '',
      name: verb === 'create' && !(name !== '' && path.split('/').includes(name)) ? '' : name,
      path,
    });
    const count = counts[found.rule ?? policy.rules.length] as Count;
    count.matched++;
    if (found.level === 'None' || found.omitStages.includes(one.stage as never)) continue;
    const copy: Record<string, unknown> = { ...structuredClone(one), level: found.level };
    if (LEVELS.indexOf(found.level) < LEVELS.indexOf('RequestResponse')) delete copy.responseObject;
    if (LEVELS.indexOf(found.level) < LEVELS.indexOf('Request')) delete copy.requestObject;
    if (found.omitManagedFields)
      for (const key of ['requestObject', 'responseObject']) withoutManagedFields(copy[key]);
    count.lines++;
    count.bytes += Buffer.byteLength(JSON.stringify(copy)) + 1;
  }
  return counts;
}

function withoutManagedFields(object: unknown): void {
  if (typeof object !== 'object' || object === null) return;
  const { metadata, items } = object as { metadata?: unknown; items?: unknown };
  if (isObject(metadata)) delete metadata.managedFields;
  if (!Array.isArray(items)) return;
  for (const item of items) {
    // Items of a list are objects; what stands behind something else is not looked at.
    if (!isObject(item)) return;
    if (isObject(item.metadata)) delete item.metadata.managedFields;
  }
}

function isObject(item: unknown): item is Record<string, unknown> {
  return typeof item === 'object' && item !== null && !Array.isArray(item);
}

test('the counts are those of JSON.parse, in whatever pieces the log comes', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(event, { maxLength: 8 }),
      fc.integer({ min: 1, max: 300 }),
      fc.boolean(),
      async (events, piece, spaced) => {
        const lines = events.map((one) => (spaced ? ` ${JSON.stringify(one)}\t\r` : JSON.stringify(one)));
        const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
        async function* pieces() {
          for (let at = 0; at < bytes.length; at += piece) yield bytes.subarray(at, at + piece);
        }
        const result = await replayStream(new Replayer(policy), pieces());
        assert.equal(result.unreadable, 0);
        const expected = naive(events);
        const extra = spaced ? 3 : 0;
        assert.deepEqual(
          result.byRule,
          expected.map((count) => ({ ...count, bytes: count.bytes + extra * count.lines })),
        );
        assert.deepEqual(result.read, { lines: lines.length, bytes: bytes.length });
      },
    ),
    { numRuns: 400 },
  );
});

test('lines that are broken anywhere are counted as unreadable, and nothing else is lost', async () => {
  const whole = JSON.stringify({
    level: 'Metadata',
    stage: 'ResponseComplete',
    requestURI: '/a',
    verb: 'get',
    user: { username: 'u' },
  });
  for (let length = 1; length < whole.length; length++) {
    const result = await replayStream(new Replayer(policy), [
      `${whole.slice(0, length)}\n${whole}\n`,
    ] as never);
    assert.deepEqual([result.unreadable, result.byRule[4]?.lines], [1, 1], whole.slice(0, length));
  }
  for (const line of [
    '[]',
    '5',
    '"a"',
    '{"level":5}',
    `${whole}x`,
    `${whole}${whole}`,
    '\u0000',
    '{'.repeat(1000),
  ]) {
    const result = await replayStream(new Replayer(policy), [`${line}\n`] as never);
    assert.equal(result.unreadable, 1, line);
  }
});
