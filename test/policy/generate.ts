/**
 * Generators of policies and requests for the differential tests. A policy is made as data (mostly valid, drawn from the same few words as the
 * requests, so that rules do match), written in one of many ways that YAML and JSON know, and then damaged by a few edits.
 */
import fc from 'fast-check';
import type { RequestAttributes } from '../../src/policy/index.ts';

const users = ['admin', 'alice', 'system:kube-proxy', 'system:serviceaccount:kube-system:x', ''];
const groups = ['system:masters', 'system:authenticated', 'system:nodes', 'dev', ''];
const verbs = [
  'get',
  'list',
  'watch',
  'create',
  'update',
  'patch',
  'delete',
  'deletecollection',
  'GET',
  '*',
  '',
];
const apiGroups = ['', 'apps', 'rbac.authorization.k8s.io', 'batch', '*'];
const badGroups = [
  'core/v1',
  'Apps',
  'a_b',
  '-a',
  'a..b',
  'rbac.authorization.k8s.io/v1',
  `${'a'.repeat(254)}`,
];
const resources = ['pods', 'secrets', 'configmaps', 'deployments', 'nodes', 'tokenreviews', '*', ''];
const subresources = ['', 'status', 'exec', 'log', 'scale', '*', 'a/b'];
const patterns = [
  ...resources,
  'pods/*',
  'pods/log',
  'pods/exec',
  'pods/status',
  '*/scale',
  '*/status',
  '*/*',
  '*/',
  '/*',
  '*/a/b',
  'deployments/scale',
  'pods*',
];
const names = ['a', 'b', 'kube-root-ca.crt', ''];
const namespaces = ['', 'kube-system', 'default', 'team'];
const paths = ['/', '/healthz', '/healthz/etcd', '/metrics', '/api', '/apis/apps', '', 'healthz', '/*'];
const urls = ['*', '/*', '/healthz', '/healthz*', '/healthz/*', '/api*', '/metrics'];
const badUrls = ['', 'healthz', '/a*b', '**', '/**', '*/x', '/x*/'];
const levels = ['None', 'Metadata', 'Request', 'RequestResponse'];
const badLevels = ['', 'none', 'Metadat', 'All', '*'];
const stages = ['RequestReceived', 'ResponseStarted', 'ResponseComplete', 'Panic'];
const badStages = ['', 'Requestreceived', 'All', '*'];

const some = (words: readonly string[]): fc.Arbitrary<string> => fc.constantFrom(...words);
/** A word, seldom a bad one. */
const mostly = (good: readonly string[], bad: readonly string[]): fc.Arbitrary<string> =>
  fc.oneof({ weight: 120, arbitrary: some(good) }, { weight: 1, arbitrary: some(bad) });
const few = <T>(item: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(item, { maxLength: 3 });

export const requestArbitrary: fc.Arbitrary<RequestAttributes> = fc.record({
  user: fc.option(fc.record({ name: some(users), groups: few(some(groups)) }), { nil: undefined, freq: 20 }),
  verb: some(verbs),
  isResource: fc.integer({ min: 0, max: 4 }).map((n) => n > 0),
  namespace: some(namespaces),
  // Mostly what rules are about.
  apiGroup: fc.oneof(fc.constant(''), some(apiGroups)),
  resource: fc.oneof(fc.constant('pods'), some(resources)),
  subresource: fc.oneof(fc.constant(''), some(subresources)),
  name: some(names),
  path: some(paths),
});

/** Policies of one rule with one pattern each, and the requests that could tell one pattern from another. */
export function* matchingTable(): Generator<{ text: string; requests: RequestAttributes[] }> {
  const base = {
    user: { name: 'admin', groups: ['dev'] },
    verb: 'get',
    namespace: '',
    isResource: true,
    name: '',
    path: '',
  };
  const everything = apiGroups.flatMap((apiGroup) =>
    resources.flatMap((resource) =>
      subresources.flatMap((subresource) =>
        ['', 'a'].map((name) => ({ ...base, apiGroup, resource, subresource, name })),
      ),
    ),
  );
  const policyOf = (parts: object): string =>
    JSON.stringify({ apiVersion: 'audit.k8s.io/v1', rules: [{ level: 'Metadata', ...parts }] });
  for (const group of apiGroups) {
    for (const pattern of [undefined, ...patterns]) {
      const item = pattern === undefined ? { group } : { group, resources: [pattern] };
      yield { text: policyOf({ resources: [item] }), requests: everything };
      if (pattern !== undefined)
        yield { text: policyOf({ resources: [{ ...item, resourceNames: ['a'] }] }), requests: everything };
    }
  }
  const atPaths = [true, false].flatMap((isResource) =>
    paths.map((path) => ({ ...base, isResource, apiGroup: '', resource: 'pods', subresource: '', path })),
  );
  for (const url of urls) yield { text: policyOf({ nonResourceURLs: [url] }), requests: atPaths };
  for (const namespace of namespaces) {
    const requests = namespaces.flatMap((one) => atPaths.map((request) => ({ ...request, namespace: one })));
    yield { text: policyOf({ namespaces: [namespace] }), requests };
  }
}

type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

/** Anything in place of what belongs there. */
const wrong: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json>(
    null,
    true,
    false,
    0,
    1,
    -1,
    1.5,
    1e21,
    'x',
    '',
    [],
    {},
    [null],
    ['a', 1],
    [[]],
    [{}],
    { a: 1 },
  ),
);
const field = (arbitrary: fc.Arbitrary<Json>): fc.Arbitrary<Json> =>
  fc.oneof({ weight: 400, arbitrary }, { weight: 1, arbitrary: wrong });
const optional = { requiredKeys: [] };
const extraKeys = [
  'user',
  'Level',
  'level ',
  'group',
  'namespace',
  'verbs',
  'LEVEL',
  '__proto__',
  'constructor',
  'x',
];
const extra: fc.Arbitrary<{ [key: string]: Json }> = fc.oneof(
  { weight: 12, arbitrary: fc.constant({}) },
  { weight: 1, arbitrary: fc.tuple(some(extraKeys), wrong).map(([key, value]) => ({ [key]: value })) },
);

const groupResources = fc
  .record(
    {
      group: field(mostly(apiGroups, badGroups)),
      resources: field(few(field(some(patterns)))),
      resourceNames: field(few(some(names))),
    },
    optional,
  )
  .chain((item) =>
    fc.integer({ min: 0, max: 4 }).map((n) => {
      if (n > 0 && !('resources' in item)) delete (item as { resourceNames?: Json }).resourceNames;
      return item as Json;
    }),
  );

const rule: fc.Arbitrary<Json> = fc
  .tuple(
    field(mostly(levels, badLevels)),
    fc.oneof(
      { weight: 6, arbitrary: fc.record({ resources: field(few(field(groupResources))) }, optional) },
      { weight: 2, arbitrary: fc.record({ nonResourceURLs: field(few(field(mostly(urls, badUrls)))) }) },
      {
        weight: 1,
        arbitrary: fc.record({ resources: few(groupResources), nonResourceURLs: few(some(urls)) }, optional),
      },
    ),
    fc.record(
      {
        users: field(few(field(some(users)))),
        userGroups: field(few(field(some(groups)))),
        verbs: field(few(field(some(verbs)))),
        omitStages: field(few(field(mostly(stages, badStages)))),
        omitManagedFields: field(fc.boolean()),
      },
      optional,
    ),
    fc.oneof(
      { weight: 3, arbitrary: fc.constant({}) },
      { weight: 1, arbitrary: fc.record({ namespaces: field(few(some(namespaces))) }) },
    ),
    extra,
  )
  .map(([level, target, rest, spaces, more]) => {
    const parts: { [key: string]: Json } = { level, ...(target as object), ...rest, ...more };
    return 'nonResourceURLs' in parts ? parts : { ...parts, ...spaces };
  });

const metadata: fc.Arbitrary<Json> = fc.oneof(
  { weight: 8, arbitrary: fc.constant({ name: 'x', creationTimestamp: null } as Json) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Json>(
      { creationTimestamp: '2020-01-01T00:00:00Z' },
      { creationTimestamp: '2020-02-30T00:00:00Z' },
      { creationTimestamp: '2020-01-01T0:00:00,5+24:60' },
      { generation: 1 },
      { generation: 1.5 },
      { generation: '1' },
      { labels: { a: 'b', c: null } },
      { labels: { a: 1 } },
      { managedFields: [{ fieldsV1: { a: [1] }, time: null }] },
      { ownerReferences: [{ controller: null, uid: 'x' }, null] },
      { finalizers: 'x' },
    ),
  },
);

const policy: fc.Arbitrary<{ [key: string]: Json }> = fc
  .tuple(
    fc.record(
      {
        apiVersion: field(
          mostly(['audit.k8s.io/v1'], ['audit.k8s.io/v1beta1', 'audit.k8s.io/', 'v1', '', '/']),
        ),
        kind: field(mostly(['Policy'], ['policy', 'ConfigMap', 'Event', ''])),
        rules: field(
          fc.array(fc.oneof({ weight: 200, arbitrary: rule }, { weight: 1, arbitrary: wrong }), {
            minLength: 1,
            maxLength: 4,
          }),
        ),
      },
      { requiredKeys: ['apiVersion', 'rules'] },
    ),
    fc.record(
      {
        omitStages: field(few(some(stages))),
        omitManagedFields: field(fc.boolean()),
        metadata: field(metadata),
      },
      optional,
    ),
    extra,
  )
  .map(([a, b, c]) => ({ ...a, ...b, ...c }));

// --- writing

/** Choices while writing, drawn from a list that fast-check shrinks towards zeros: the plainest spelling. */
class Choices {
  readonly #numbers: readonly number[];
  #next = 0;
  constructor(numbers: readonly number[]) {
    this.#numbers = numbers;
  }
  /** 0 up to limit - 1; 0 most of the time. */
  pick(limit: number): number {
    const number = this.#numbers[this.#next++ % Math.max(this.#numbers.length, 1)] ?? 0;
    return number % limit;
  }
}

const PLAIN = /^[A-Za-z/][\w./-]*$/;
const NOT_TEXT = /^(?:y|n|yes|no|on|off|true|false|null)$/i;

function writeScalar(value: Json, choices: Choices): string {
  if (typeof value !== 'string') {
    const spellings =
      value === null
        ? ['null', '~', '', 'Null', '!!null ""', '!!null']
        : value === true
          ? ['true', 'yes', 'on', 'Y', '!!bool on']
          : value === false
            ? ['false', 'no', 'off', 'n', 'FALSE']
            : [
                String(value),
                `+${value}`,
                '0x1F',
                '0o17',
                '017',
                '1_000',
                '.5',
                '1e3',
                '-.inf',
                '08',
                '0b11',
              ];
    return spellings[choices.pick(spellings.length)] ?? 'null';
  }
  const plain = PLAIN.test(value) && !NOT_TEXT.test(value);
  switch (choices.pick(12)) {
    case 1:
      return `'${value.replaceAll("'", "''")}'`;
    case 2:
      return `!!str ${JSON.stringify(value)}`;
    case 3:
      return `!!binary ${Buffer.from(value).toString('base64')}`;
    case 4:
      return `"${[...value].map((c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`).join('')}"`;
    case 5:
      return plain ? `! ${value}` : JSON.stringify(value);
    default:
      return plain ? value : JSON.stringify(value);
  }
}

function writeFlow(value: Json, choices: Choices): string {
  const gap = [' ', '', '\t', '\n      '][choices.pick(4)] ?? ' ';
  if (Array.isArray(value))
    return `[${value.map((item) => writeFlow(item, choices)).join(`,${gap}`)}${choices.pick(9) === 1 ? ',' : ''}]`;
  if (value !== null && typeof value === 'object') {
    return `{${Object.entries(value)
      .map(([key, item]) => `${writeScalar(key, choices)}: ${writeFlow(item, choices)}`)
      .join(`,${gap}`)}}`;
  }
  return writeScalar(value, choices);
}

/** Lines of a block; the first continues the line that it is put on. */
function writeBlock(value: Json, indent: number, choices: Choices): string {
  const pad = ' '.repeat(indent);
  const isEmpty = value === null || typeof value !== 'object' || Object.keys(value).length === 0;
  if (isEmpty || choices.pick(5) === 1) return ` ${writeFlow(value, choices)}`;
  const comment = choices.pick(11) === 1 ? ' # comment: yes' : '';
  if (Array.isArray(value)) {
    const at = choices.pick(3) === 1 || indent < 2 ? pad : ' '.repeat(indent - 2);
    return `${comment}\n${value
      .map((item) => `${at}-${writeBlock(item, at.length + 2, choices).replace(/^\n\s*/, ' ')}`)
      .join('\n')}`;
  }
  return `${comment}\n${Object.entries(value)
    .map(([key, item]) => `${pad}${writeScalar(key, choices)}:${writeBlock(item, indent + 2, choices)}`)
    .join('\n')}`;
}

function write(value: { [key: string]: Json }, numbers: readonly number[]): string {
  const choices = new Choices(numbers);
  switch (choices.pick(10)) {
    case 1:
      return JSON.stringify(value);
    case 2:
      return ` \n${JSON.stringify(value, null, '\t')}\n`;
    case 3: {
      // JSON with every key twice: what the second does to the first.
      const text = JSON.stringify(value);
      return `${text.slice(0, -1)},${JSON.stringify({ ...value, ...(choices.pick(2) === 1 ? { rules: [{ level: 'Metadata' }, null] } : {}) }).slice(1)}`;
    }
    default: {
      let text = writeBlock(value, 0, choices).trimStart();
      if (!text.includes('\n')) text = writeBlock(value, 0, new Choices([])).trimStart();
      if (choices.pick(13) === 1) text = `---\n${text}\n---\nkind: [other\n`;
      if (choices.pick(13) === 1) text = `%YAML 1.1\n---\n${text}\n...\n\u0000`;
      if (choices.pick(7) === 1) text = text.replaceAll('\n', '\r\n');
      if (choices.pick(13) === 1) text = `\ufeff${text}`;
      return text;
    }
  }
}

/** Bits of text that mean something to YAML or JSON. */
const FRAGMENTS = [
  ...'-?:,[]{}#&*!|>\'"%@`~<=\\/ \t\n\r0_.+yY',
  ': ',
  '- ',
  '? ',
  ' #',
  '\n  ',
  '\n\t',
  '---\n',
  '\n---\n',
  '\n...\n',
  '%TAG ! tag:yaml.org,2002:\n---\n',
  '%YAML 1.2\n',
  '&a ',
  '*a',
  '<<: *a\n',
  '<<: [*a, *a]\n',
  '<<: {level: None}\n',
  '!!str ',
  '!!int ',
  '!!float 1',
  '!!binary ',
  '!<tag:yaml.org,2002:str> ',
  '!a%2 ',
  '|\n',
  '>-\n  text\n',
  '|2+\n',
  '"\\x41"',
  '"\\q"',
  '\\\n',
  'null',
  'level: None\n',
  '  level: Request\n',
  'rules:\n',
  '{level: None}',
  ', level: None',
  '[]',
  '{}',
  '2020-01-01',
  '\u0085',
  '\u2028',
  '\ufeff',
  '\u0007',
  'ä',
  '😀',
  '\ud800',
  ' '.repeat(1030),
  `#${'x'.repeat(600)}\n`,
];

const edit = fc.record({
  at: fc.integer({ min: 0, max: 9999 }),
  remove: fc.constantFrom(0, 0, 0, 0, 1, 2, 5, 20),
  insert: fc.oneof({ weight: 5, arbitrary: some(FRAGMENTS) }, { weight: 1, arbitrary: fc.constant('') }),
});

function damage(text: string, edits: readonly { at: number; remove: number; insert: string }[]): string {
  let result = text;
  for (const { at, remove, insert } of edits) {
    const index = Math.floor((at / 10000) * (result.length + 1));
    result = result.slice(0, index) + insert + result.slice(index + remove);
  }
  return result;
}

const numbers = fc.array(
  fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.nat({ max: 1000 }) }),
  { minLength: 1, maxLength: 40 },
);

/** Policies that kube-apiserver would often take. */
export const policyArbitrary: fc.Arbitrary<string> = fc
  .tuple(policy, numbers)
  .map(([value, choice]) => write(value, choice));

/** The same, damaged. */
export const damagedPolicyArbitrary: fc.Arbitrary<string> = fc
  .tuple(policyArbitrary, fc.array(edit, { minLength: 1, maxLength: 3 }))
  .map(([text, edits]) => damage(text, edits));

const INTO_USERS = 'apiVersion: audit.k8s.io/v1\nrules:\n- level: None\n  users:\n  ';

/** Heaps of fragments behind a valid start: the reader alone. */
export const soupArbitrary: fc.Arbitrary<string> = fc
  .tuple(
    fc.constantFrom(
      '',
      `${INTO_USERS}- `,
      `${INTO_USERS}- "`,
      `${INTO_USERS}- >\n    `,
      `${INTO_USERS}- |2-\n    a\n`,
      `${INTO_USERS}- a\n    `,
      'apiVersion: audit.k8s.io/v1\nrules: [{level: None}]\nx: ',
      'a: &a {level: None}\nb:\n  ',
    ),
    fc.array(fc.oneof(some(FRAGMENTS), some(['a', 'b', 'level', 'rules', '1'])), { maxLength: 12 }),
  )
  .map(([start, parts]) => start + parts.join(''));
