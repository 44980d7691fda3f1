import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { allow, deny, ReviewError } from '../../src/admission.ts';
import type { FaultCode } from '../../src/faults.ts';
import { readReview, writeReview } from '../../src/review.ts';
import { hasBackslashKey } from '../support/json.ts';
import { admissionRequest, deploymentObject, reviewBody, UID } from '../support/reviews.ts';

type Json = Record<string, unknown>;

/** What the whole body says, by JSON.parse alone. */
function expectation(body: Buffer): {
  object: unknown;
  oldObject: unknown;
  dryRun: unknown;
  fieldManager: unknown;
} {
  const { request } = JSON.parse(body.toString()) as { request: Json };
  const { object, oldObject, dryRun = false, options } = request;
  for (const one of [object, oldObject] as (Json | undefined)[]) {
    const metadata = one?.metadata as Json | undefined;
    if (Array.isArray(metadata?.managedFields)) metadata.managedFields = [];
  }
  return {
    object: object ?? undefined,
    oldObject: oldObject ?? undefined,
    dryRun,
    fieldManager: (options as Json | undefined)?.fieldManager ?? '',
  };
}

function assertReadsAsWhole(body: Buffer): void {
  const expected = expectation(body);
  const { object, oldObject, dryRun, fieldManager, ...rest } = readReview(body);
  assert.deepEqual({ object, oldObject: oldObject(), dryRun, fieldManager }, expected);
  const { request } = JSON.parse(body.toString()) as { request: Json };
  const { uid, name = '', namespace = '', subResource = '', operation, userInfo } = request;
  assert.deepEqual(
    [rest.uid, rest.name, rest.namespace, rest.subResource, rest.operation, rest.userInfo.username],
    [uid, name, namespace, subResource, operation, (userInfo as Json | undefined)?.username ?? ''],
  );
}

const KEYS = [
  'oldObject',
  'dryRun',
  'options',
  'object',
  'managedFields',
  'metadata',
  'spec',
  'request',
  'uid',
  '__proto__',
  'constructor',
];
const TEXTS = [
  ',"oldObject":null',
  '","oldObject":{"x":"',
  '}]},"spec":{',
  ',"dryRun":false,"options":{}}}',
  '\\","object":{',
  '"]}',
  'Ünï😀\u0000\n',
  '\ud800',
  '<&>',
];
const random = fc.string({ maxLength: 4 });
const key = fc.oneof(
  fc.constantFrom(...KEYS),
  fc.constantFrom(...TEXTS),
  random.filter((text) => !hasBackslashKey({ [text]: null })),
);
const word = fc.oneof(key, random);
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    fc.oneof(word, fc.boolean(), fc.integer(), fc.constant(null)),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.array(fc.tuple(key, tie('value')), { maxLength: 4 }).map((entries) => Object.fromEntries(entries)),
  ),
}));
const members = fc
  .array(fc.tuple(key, value), { maxLength: 4 })
  .map((entries) => Object.fromEntries(entries) as Json);

/** Metadata with what the fast way looks for, at its end or with more behind it, as custom resources have it. */
const metadata = fc
  .tuple(fc.array(members, { maxLength: 2 }), fc.array(fc.string(), { maxLength: 2 }), fc.nat({ max: 3 }))
  .map(([managedFields, finalizers, kind]): Json => {
    const owners = [{ name: 'owner' }];
    if (kind === 0) return { name: 'x', labels: { oldObject: 'y' }, finalizers, managedFields };
    if (kind === 1) return { labels: { a: 'b' }, managedFields, name: 'x', ownerReferences: owners };
    return kind === 2
      ? { name: 'x', managedFields: [1], ownerReferences: owners }
      : { name: 'x', finalizers };
  });

const kubernetesObject = fc.tuple(metadata, metadata, members, members).map(([own, inner, spec, more]) =>
  Object.assign({ kind: 'Deployment', metadata: own, spec: { template: { metadata: inner, spec } } }, more, {
    metadata: own,
  }),
);

const request = fc
  .tuple(
    kubernetesObject,
    fc.oneof(kubernetesObject, fc.constant(null)),
    fc.boolean(),
    members,
    members,
    word,
  )
  .map(([object, oldObject, dryRun, options, extra, username]) =>
    admissionRequest({
      object,
      oldObject,
      dryRun,
      userInfo: {
        username,
        groups: Object.keys(extra),
        extra: Object.fromEntries(Object.keys(extra).map((key) => [key, [key]])),
      },
      options: { ...options, kind: 'UpdateOptions', fieldManager: username },
    }),
  );

/** Escapes some characters of a JSON text that need not be. */
function escapeSome(json: string, every: number): string {
  let count = 0;
  return json.replace(/[a-zA-Z]/g, (letter, at: number) => {
    if (json[at - 1] === '\\' || /\\u[0-9a-f]{0,3}$/.test(json.slice(Math.max(0, at - 5), at))) return letter;
    const isLiteral = /(?:^|[:,[])(?:t|tr|tru|f|fa|fal|fals|n|nu|nul)?$/.test(json.slice(0, at));
    count += 1;
    return isLiteral || count % every !== 0
      ? letter
      : `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

/** Only those generated requests whose checked fields are of the right types; others must be refused, which another test shows. */
function readable(body: Buffer): boolean {
  try {
    readReview(body).oldObject();
    return true;
  } catch (error) {
    assert.ok(error instanceof ReviewError);
    return false;
  }
}

describe('a body is read as JSON.parse reads the whole of it', () => {
  const check = (arbitrary: fc.Arbitrary<Buffer>, numRuns = 400): void =>
    fc.assert(
      fc.property(arbitrary, (body) => {
        fc.pre(readable(body));
        assertReadsAsWhole(body);
      }),
      { numRuns },
    );

  test('in the order of kube-apiserver', () =>
    check(
      request.map((one) => reviewBody(one)),
      1500,
    ));

  test('pretty-printed', () =>
    check(
      fc
        .tuple(request, fc.constantFrom(1, 2, '\t'))
        .map(([one, indent]) =>
          Buffer.from(JSON.stringify(JSON.parse(reviewBody(one).toString()), null, indent)),
        ),
    ));

  test('with members in any order', () =>
    check(
      request
        .chain((one) =>
          fc.tuple(
            fc.constant(one),
            fc.shuffledSubarray(Object.keys(one), { minLength: Object.keys(one).length }),
          ),
        )
        .map(([one, order]) => reviewBody(Object.fromEntries(order.map((key) => [key, one[key]])))),
      1500,
    ));

  test('with members between the old object and dryRun, or at the end', () => {
    const late = [
      'name',
      'namespace',
      'subResource',
      'requestSubResource',
      'requestKind',
      'userInfo',
      'operation',
    ];
    check(
      fc
        .tuple(request, fc.shuffledSubarray(late, { minLength: 1 }), fc.boolean())
        .map(([one, moved, isLast]) => {
          const { dryRun, options, ...rest } = {
            ...one,
            subResource: 'scale',
            requestSubResource: 'scale',
          } as Json;
          const first = Object.entries(rest).filter(([key]) => !moved.includes(key));
          const movedMembers = Object.fromEntries(moved.map((key) => [key, rest[key]]));
          const last = { dryRun, options };
          return reviewBody({
            ...Object.fromEntries(first),
            ...(isLast ? last : movedMembers),
            ...(isLast ? movedMembers : last),
          });
        }),
    );
  });

  test('with escapes that need not be', () =>
    check(
      fc.tuple(request, fc.integer({ min: 1, max: 9 })).map(([one, every]) => {
        const escaped = Buffer.from(escapeSome(reviewBody(one).toString(), every));
        assert.deepEqual(JSON.parse(escaped.toString()), JSON.parse(reviewBody(one).toString()));
        return escaped;
      }),
    ));

  test('with a member behind the request that looks like one', () => {
    const inner = admissionRequest();
    const {
      oldObject: _old,
      dryRun: _dry,
      options: _options,
      ...request
    } = admissionRequest({ uid: 'u', operation: 'DELETE' });
    const review = {
      kind: 'AdmissionReview',
      apiVersion: 'admission.k8s.io/v1',
      request: { ...request, object: null },
      response: inner,
    };
    assertReadsAsWhole(Buffer.from(JSON.stringify(review)));
  });

  test('without its end, which no changed byte may replace', () => {
    const body = reviewBody();
    for (let at = 1; at <= 4; at += 1) {
      const bad = Buffer.from(body);
      bad[body.length - at] = 0x78;
      assert.throws(() => readReview(bad), ReviewError);
    }
  });

  test('cut off anywhere or with bytes changed: refused, or what JSON.parse says', () => {
    fc.assert(
      fc.property(request, fc.nat(), fc.nat({ max: 255 }), fc.boolean(), (one, at, byte, isCut) => {
        const body = reviewBody(one);
        const place = at % body.length;
        const bad = isCut ? body.subarray(0, place) : Buffer.from(body);
        if (!isCut) bad[place] = byte;
        let isJson = true;
        try {
          JSON.parse(bad.toString());
        } catch {
          isJson = false;
        }
        if (readable(bad) && isJson) assertReadsAsWhole(bad);
      }),
      { numRuns: 1500 },
    );
  });
});

test('what is cut out is really not parsed, and the old object only when asked for', (t) => {
  const body = reviewBody();
  const parse = t.mock.method(JSON, 'parse');
  const parsedBytes = (): number =>
    parse.mock.calls.reduce((sum, call) => sum + String(call.arguments[0]).length, 0);
  const review = readReview(body);
  assert.ok(
    !parse.mock.calls.some((call) => String(call.arguments[0]).includes('f:spec')),
    'managedFields are parsed',
  );
  const before = parsedBytes();
  assert.ok(before < body.length - JSON.stringify(deploymentObject({})).length, 'the old object is parsed');
  const old = review.oldObject();
  assert.equal(review.oldObject(), old);
  assert.ok(parsedBytes() > before);
  assert.equal((old as Json & { spec: Json }).spec.replicas, 1);
});

test('the managedFields of the old object can be asked for', () => {
  const [entry] = readReview(reviewBody()).oldManagedFields();
  assert.equal((entry as { manager?: unknown } | undefined)?.manager, 'kubectl');
});

test('what is between the parts may be anything that JSON allows, and is found out when it is asked for', () => {
  const body = reviewBody(admissionRequest({ oldObject: { here: 1 } })).toString();
  const [head = '', tail = ''] = body.split('{"here":1}');
  assert.throws(() => readReview(Buffer.from(`${head}{here}${tail}`)).oldObject(), isFault('BODY_NOT_JSON'));
});

const isFault =
  (code: FaultCode, ...mentioned: string[]) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof ReviewError, String(error));
    assert.equal(error.code, code);
    for (const text of mentioned) assert.ok(error.message.includes(text), error.message);
    return true;
  };

describe('what is not a review is refused, saying what is wrong', () => {
  const refused = (body: string | Buffer, code: FaultCode, ...mentioned: string[]): void => {
    assert.throws(() => readReview(Buffer.from(body)), isFault(code, ...mentioned));
  };

  test('not JSON', () => {
    for (const body of [
      '',
      ' ',
      '{',
      'kind: AdmissionReview',
      '\ufeff{}',
      '{"a":1}}',
      reviewBody().subarray(0, -2),
    ])
      refused(body, 'BODY_NOT_JSON');
  });

  test('another document', () => {
    for (const body of [
      'null',
      '[]',
      '1',
      '"AdmissionReview"',
      '{}',
      '{"kind":["AdmissionReview"]}',
      '{"kind":"Deployment"}',
    ])
      refused(body, 'BODY_NOT_REVIEW');
    refused('{"__proto__":{"kind":"AdmissionReview"}}', 'BODY_NOT_REVIEW');
  });

  test('another version', () => {
    for (const apiVersion of ['admission.k8s.io/v1beta1', 'v1', '', null, 1, undefined])
      refused(
        JSON.stringify({ kind: 'AdmissionReview', apiVersion, request: admissionRequest() }),
        'REVIEW_VERSION',
        'v1',
      );
  });

  const WRONG: readonly (readonly [string, Record<string, unknown>])[] = [
    ['request.uid', { uid: undefined }],
    ['request.uid', { uid: '' }],
    ['request.uid', { uid: 7 }],
    ['request.operation', { operation: undefined }],
    ['request.operation', { operation: 'update' }],
    ['request.operation', { operation: ['UPDATE'] }],
    ['request.kind', { kind: 'Deployment' }],
    ['request.kind.kind', { kind: { group: 'apps', version: 'v1' } }],
    ['request.kind.group', { kind: { group: 1, version: 'v1', kind: 'Deployment' } }],
    ['request.resource', { resource: [] }],
    ['request.resource.resource', { resource: { resource: {} } }],
    ['request.subResource', { subResource: true }],
    ['request.name', { name: {} }],
    ['request.namespace', { namespace: 1 }],
    ['request.userInfo', { userInfo: 'alice' }],
    ['request.userInfo.username', { userInfo: { username: ['alice'] } }],
    ['request.userInfo.groups', { userInfo: { groups: 'system:masters' } }],
    ['request.userInfo.groups', { userInfo: { groups: [1] } }],
    ['request.userInfo.extra["scopes"]', { userInfo: { extra: { scopes: 'x' } } }],
    ['request.dryRun', { dryRun: 'false' }],
    ['request.options', { options: [] }],
    ['request.options.fieldManager', { options: { fieldManager: 1 } }],
    ['request.object', { object: undefined }],
    ['request.object', { object: null }],
    ['request.object', { object: [] }],
    ['request.object', { object: 'x' }],
    ['request.object.kind', { object: { kind: 1 } }],
    ['request.object.metadata', { object: { metadata: [] } }],
    ['request.object.metadata.name', { object: { metadata: { name: {} } } }],
    ['request.object.metadata.labels', { object: { metadata: { labels: 'app=apiserver' } } }],
    ['request.object.metadata.labels["app"]', { object: { metadata: { labels: { app: 1 } } } }],
    ['request.object.metadata.annotations["a"]', { object: { metadata: { annotations: { a: null } } } }],
    ['request.object.metadata.deletionTimestamp', { object: { metadata: { deletionTimestamp: 5 } } }],
    ['request.object.metadata.ownerReferences', { object: { metadata: { ownerReferences: {} } } }],
    ['request.object.metadata.ownerReferences[0]', { object: { metadata: { ownerReferences: [null] } } }],
  ];
  for (const [field, parts] of WRONG) {
    test(`${field}: ${JSON.stringify(parts)}`, () => {
      refused(reviewBody(admissionRequest(parts)), 'REVIEW_INVALID', field);
    });
  }

  test('a request that is none', () => {
    refused(reviewBody(null), 'REVIEW_INVALID', 'request is missing');
    refused(
      '{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}',
      'REVIEW_INVALID',
      'request is missing',
    );
    for (const request of [[], 'x', 1, true]) refused(reviewBody(request), 'REVIEW_INVALID', 'request');
  });

  test('an old object that is none is refused when it is asked for', () => {
    for (const oldObject of [[], 'x', { metadata: 1 }]) {
      const review = readReview(reviewBody(admissionRequest({ oldObject })));
      assert.throws(() => review.oldObject(), isFault('REVIEW_INVALID', 'request.oldObject'));
    }
  });
});

test('what may be absent is absent', () => {
  const review = readReview(
    reviewBody({ uid: UID, operation: 'DELETE', kind: { kind: 'Deployment' }, oldObject: {} }),
  );
  assert.equal(review.object, undefined);
  assert.deepEqual(review.oldObject(), {});
  const { uid, operation, oldObject: _old, oldManagedFields, ...rest } = review;
  assert.deepEqual(oldManagedFields(), []);
  assert.deepEqual([uid, operation], [UID, 'DELETE']);
  assert.deepEqual(rest, {
    group: '',
    version: '',
    kind: 'Deployment',
    resource: '',
    subResource: '',
    name: '',
    namespace: '',
    userInfo: { username: '', uid: '', groups: [], extra: {} },
    dryRun: false,
    object: undefined,
    fieldManager: '',
  });
});

test('keys of prototypes are data like any other', () => {
  const data = '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},"toString":"x"}';
  for (const placed of [`{"kind":"ConfigMap","metadata":{"labels":{"__proto__":"a"}},"data":${data}}`]) {
    const body = reviewBody(admissionRequest({ object: 0, oldObject: null }))
      .toString()
      .replace('"object":0', `"object":${placed}`);
    const object = readReview(Buffer.from(body)).object as unknown as {
      data: Json;
      metadata: { labels: Json };
    };
    assert.equal(JSON.stringify(object.data), data);
    assert.deepEqual(Object.keys(object.metadata.labels), ['__proto__']);
    assert.equal(Reflect.get({}, 'polluted'), undefined);
  }
});

test('deep nesting neither crashes nor is refused', () => {
  const depth = 100_000;
  const deep = '['.repeat(depth) + ']'.repeat(depth);
  for (const place of ['object', 'oldObject']) {
    const body = reviewBody(admissionRequest({ [place]: { metadata: {}, spec: 'HERE' } }))
      .toString()
      .replace('"HERE"', deep);
    const review = readReview(Buffer.from(body));
    const object = place === 'object' ? review.object : review.oldObject();
    assert.ok(Array.isArray((object as unknown as Json).spec));
  }
  assert.throws(() => readReview(Buffer.from('['.repeat(depth))), isFault('BODY_NOT_JSON'));
});

describe('the answer', () => {
  const answer = (decision: Parameters<typeof writeReview>[1]): Json => {
    const review = JSON.parse(writeReview({ uid: UID }, decision)) as Json;
    assert.deepEqual([review.apiVersion, review.kind], ['admission.k8s.io/v1', 'AdmissionReview']);
    return review.response as Json;
  };

  test('allowed without a word', () => assert.deepEqual(answer(allow()), { uid: UID, allowed: true }));

  test('a patch is base64 of UTF-8', () => {
    const patch = [{ op: 'add' as const, path: '/metadata/annotations/ä', value: '😀' }];
    const { patch: encoded, ...rest } = answer(allow({ patch }));
    assert.deepEqual(rest, { uid: UID, allowed: true, patchType: 'JSONPatch' });
    assert.deepEqual(JSON.parse(Buffer.from(String(encoded), 'base64').toString()), patch);
  });

  test('a denial has status, code and reason', () => {
    assert.deepEqual(answer(deny('No.\nNever\u001b[2J.', 403)), {
      uid: UID,
      allowed: false,
      status: { status: 'Failure', code: 403, reason: 'Forbidden', message: 'No.\nNever [2J.' },
    });
    assert.equal((answer(deny('x', 400)).status as Json).reason, 'BadRequest');
  });

  test('audit annotations and an odd uid', () => {
    const response = JSON.parse(
      writeReview({ uid: '"\ud800\n' }, allow({ auditAnnotations: { a: '"' } })),
    ) as { response: Json };
    assert.deepEqual(response.response, { uid: '"\ud800\n', allowed: true, auditAnnotations: { a: '"' } });
  });

  test('warnings have one line, at most 256 characters each and 4096 bytes together', () => {
    assert.deepEqual(answer(allow({ warnings: ['a\r\nb\u0000\u202ec', ' ', '\ud800'] })).warnings, [
      'a b c',
      '\ufffd',
    ]);
    const [long] = answer(allow({ warnings: ['😀'.repeat(300)] })).warnings as string[];
    assert.equal(long, `${'😀'.repeat(255)}…`);
    const many = answer(allow({ warnings: Array<string>(100).fill('x'.repeat(200)) })).warnings as string[];
    assert.equal(many.length, 20);
  });

  test('every generated decision gives well-formed JSON', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary' }),
        fc.array(fc.string({ unit: 'binary' })),
        value,
        (text, warnings, anything) => {
          const patch = [{ op: 'add' as const, path: text, value: anything }];
          const response = answer(allow({ patch, warnings, auditAnnotations: { a: text } }));
          assert.equal((response.auditAnnotations as Json).a, text);
          assert.equal((answer(deny(text, 403, { warnings })).status as Json).code, 403);
        },
      ),
    );
  });
});
