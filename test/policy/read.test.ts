import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatProblem, type Problem, readPolicy } from '../../src/policy/index.ts';

const HEAD = 'apiVersion: audit.k8s.io/v1\nkind: Policy\n';
const at = ({ code, path, position }: Problem): string =>
  `${position?.line}:${position?.column} ${code} ${path}`;
const errorsOf = (text: string | Uint8Array, minor?: number): string[] =>
  readPolicy(text, { kubernetesMinor: minor }).errors.map(at);
const warningsOf = (text: string): string[] => readPolicy(text).warnings.map(at);

describe('errors have a code, a field and a place', () => {
  const cases: readonly [name: string, text: string, errors: readonly string[]][] = [
    ['nothing', '', ['1:1 not-a-policy ']],
    ['spaces and comments', '  \n# policy\n', ['1:1 not-a-policy ']],
    ['a list', '- a\n', ['1:1 not-a-policy ']],
    ['a text', 'policy', ['1:1 not-a-policy ']],
    ['the first document is empty', `---\n---\n${HEAD}rules: [{level: None}]`, ['2:1 not-a-policy ']],
    [
      'v1beta1',
      `apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]`,
      ['1:1 api-version-wrong apiVersion'],
    ],
    [
      'v1alpha1',
      `apiVersion: audit.k8s.io/v1alpha1\nkind: Policy\nrules: [{level: None}]`,
      ['1:1 api-version-wrong apiVersion'],
    ],
    ['no apiVersion', 'kind: Policy\nrules: [{level: None}]', ['1:1 api-version-wrong apiVersion']],
    [
      'apiVersion is a number',
      'apiVersion: 1\nkind: Policy\nrules: [{level: None}]',
      ['1:13 type-invalid apiVersion', '1:13 type-invalid apiVersion'],
    ],
    [
      'another kind',
      'apiVersion: audit.k8s.io/v1\nkind: Event\nrules: [{level: None}]',
      ['2:1 kind-wrong kind'],
    ],
    [
      'a ConfigMap',
      'apiVersion: v1\nkind: ConfigMap\ndata: {}\n',
      ['1:1 api-version-wrong apiVersion', '2:1 kind-wrong kind'],
    ],
    ['no rules', HEAD, ['1:1 no-rules rules']],
    ['rules are null', `${HEAD}rules:\n`, ['3:1 no-rules rules']],
    ['rules are a map', `${HEAD}rules:\n  level: None\n`, ['4:3 type-invalid rules']],
    ['a rule is null', `${HEAD}rules:\n- level: None\n-\n`, ['6:1 level-missing rules[1].level']],
    ['a rule is a text', `${HEAD}rules:\n- None\n`, ['4:3 type-invalid rules[0]']],
    ['no level', `${HEAD}rules:\n- users: [a]\n`, ['4:3 level-missing rules[0].level']],
    ['a level in another case', `${HEAD}rules:\n- level: metadata\n`, ['4:3 level-unknown rules[0].level']],
    [
      'a boolean for a text',
      `${HEAD}rules:\n- level: None\n  verbs: [get, on]\n`,
      ['5:16 type-invalid rules[0].verbs[1]'],
    ],
    [
      'a text for a list',
      `${HEAD}rules:\n- level: None\n  users: alice\n`,
      ['5:10 type-invalid rules[0].users'],
    ],
    [
      'a resource for a group',
      `${HEAD}rules:\n- level: None\n  resources: [pods]\n`,
      ['5:15 type-invalid rules[0].resources[0]'],
    ],
    [
      'a version in a group',
      `${HEAD}rules:\n- level: None\n  resources:\n  - group: apps/v1\n`,
      ['6:5 group-invalid rules[0].resources[0].group'],
    ],
    [
      'names without resources',
      `${HEAD}rules:\n- level: None\n  resources:\n  - resourceNames: [a]\n`,
      ['6:5 names-without-resources rules[0].resources[0].resourceNames'],
    ],
    [
      'resources and URLs',
      `${HEAD}rules:\n- level: None\n  namespaces: [a]\n  nonResourceURLs: [/a]\n`,
      ['6:3 resources-and-urls rules[0].nonResourceURLs'],
    ],
    [
      'URLs',
      `${HEAD}rules:\n- level: None\n  nonResourceURLs: [a, "*", /a*b, ""]\n`,
      [
        '5:21 url-without-slash rules[0].nonResourceURLs[0]',
        '5:29 url-wildcard rules[0].nonResourceURLs[2]',
        '5:35 url-without-slash rules[0].nonResourceURLs[3]',
      ],
    ],
    [
      'stages',
      `${HEAD}omitStages: [RequestRecieved]\nrules: [{level: None, omitStages: [all]}]\n`,
      ['3:14 stage-unknown omitStages[0]', '4:36 stage-unknown rules[0].omitStages[0]'],
    ],
    [
      'all at once',
      `${HEAD}rules:\n- level: x\n- {}\n- level: None\n  verbs: {}\n`,
      [
        '4:3 level-unknown rules[0].level',
        '5:3 level-missing rules[1].level',
        '7:10 type-invalid rules[2].verbs',
      ],
    ],
    ['a tab', `${HEAD}rules:\n\t- level: None\n`, ['4:1 syntax ']],
    ['a wrong indent', `${HEAD}rules:\n  - level: None\n - level: None\n`, ['5:2 syntax ']],
    ['a list that is not closed', `${HEAD}rules: [{level: None}\n`, ['4:1 syntax ']],
    ['an anchor that is not there', `${HEAD}rules:\n- *a\n`, ['4:3 syntax ']],
    ['a name of an anchor that does not end', `${HEAD}rules:\n- &a. {}\n`, ['4:3 syntax ']],
    ['a star without quotes', `${HEAD}rules:\n- level: None\n  nonResourceURLs:\n  - *\n`, ['6:5 syntax ']],
    ['flow style of YAML where JSON is read', '{apiVersion: audit.k8s.io/v1}', ['1:2 syntax ']],
    ['JSON with a comment', '{"kind": "Policy"} // x', ['1:20 syntax ']],
    [
      'JSON over lines',
      '{\n  "apiVersion": "audit.k8s.io/v1",\n  "rules": [\n    {"level": "none"}\n  ]\n}',
      ['4:6 level-unknown rules[0].level'],
    ],
  ];
  for (const [name, text, errors] of cases) {
    test(name, () => {
      assert.deepEqual(errorsOf(text), errors);
      assert.equal(readPolicy(text).policy, undefined);
    });
  }

  test('bytes that are no text', () => {
    assert.deepEqual(errorsOf(Buffer.concat([Buffer.from(`${HEAD}x: `), Buffer.from([0xff])])), [
      '3:4 syntax ',
    ]);
  });

  test('a sentence names the place, the field, the value and the way out', () => {
    const [error] = readPolicy(`${HEAD}rules:\n- level: metadata\n`).errors;
    assert.ok(error);
    assert.equal(
      formatProblem(error),
      'line 4, column 3: rules[0].level: "metadata" is no level; did you mean Metadata? (None, Metadata, Request, RequestResponse)',
    );
  });

  test('text of the input cannot break out of a message', () => {
    const [error] = readPolicy(`${HEAD}rules:\n- level: "\\e[2J\\u202e${'x'.repeat(5000)}"\n`).errors;
    assert.match(error?.message ?? '', /^"\\u001b\[2J\\u202ex+…" is no level/);
  });
});

describe('what kube-apiserver reads over is a warning', () => {
  const warns = (name: string, text: string, warnings: readonly string[], message?: RegExp): void => {
    test(name, () => {
      assert.deepEqual(warningsOf(text), warnings);
      assert.notEqual(readPolicy(text).policy, undefined);
      if (message !== undefined) assert.match(readPolicy(text).warnings[0]?.message ?? '', message);
    });
  };
  const rule = `${HEAD}rules:\n- level: None\n`;
  warns(
    'a misspelt field, with what the rule means without it',
    `${rule}  user: [alice]\n`,
    ['5:3 unknown-field rules[0].user'],
    /every user matches; did you mean "users"\?/,
  );
  warns(
    'a field of RBAC',
    `${rule}  resources:\n  - apiGroups: [apps]\n`,
    ['6:5 unknown-field rules[0].resources[0].apiGroups'],
    /the core group is meant; did you mean "group"\?/,
  );
  warns(
    'a field that nobody knows',
    `${rule}  zzzzzz: 1\n`,
    ['5:3 unknown-field rules[0].zzzzzz'],
    /remove it, or use one of level, users/,
  );
  warns(
    'keys of prototypes',
    `${HEAD}__proto__: {}\nconstructor: 1\nrules: [{level: None, __proto__: {level: x}}]\n`,
    ['3:1 unknown-field __proto__', '4:1 unknown-field constructor', '5:23 unknown-field rules[0].__proto__'],
  );
  warns(
    'a field that stands there twice',
    `${rule}  level: Metadata\n`,
    ['5:3 duplicate-field rules[0].level'],
    /the last one/,
  );
  warns('a second document', `${rule}---\nkind: x\n`, ['6:1 ignored-text ']);
  warns('a second document that is no YAML', `${rule}---\nkind: [\n`, ['6:1 ignored-text ']);
  warns('the group "*", where the version is not known', `${rule}  resources:\n  - group: "*"\n`, [
    '6:5 any-group rules[0].resources[0].group',
  ]);

  test('the group "*" is an error before 1.36, and nothing to talk about from then on', () => {
    const text = `${rule}  resources:\n  - group: "*"\n`;
    assert.deepEqual(errorsOf(text, 35), ['6:5 group-invalid rules[0].resources[0].group']);
    assert.deepEqual(readPolicy(text, { kubernetesMinor: 36 }).warnings, []);
  });
});

test('the meaning of what is read is that of YAML 1.1 and of Go', () => {
  const { policy } = readPolicy(`%YAML 1.1
--- # a comment
base: &base
  level: !!binary TWV0YWRhdGE=
  users: ["\\x61", 'it''s', ! 5, !!str 5, ~, "a\\
    b"]
apiVersion: audit.k8s.io/v1
omitManagedFields: yes
rules:
- <<: *base
  verbs:
  - >-
    get

    list
- <<: [*base, {level: None, verbs: [watch]}]
  omitManagedFields: off
`);
  assert.deepEqual(policy?.rules[0]?.users, ['a', "it's", '5', '5', '', 'ab']);
  assert.deepEqual(policy?.rules[0]?.verbs, ['get\nlist']);
  assert.equal(policy?.rules[0]?.level, 'Metadata');
  assert.deepEqual(policy?.rules[1]?.verbs, ['watch']);
  assert.equal(policy?.rules[1]?.level, 'Metadata');
  assert.deepEqual(
    [policy?.omitManagedFields, policy?.rules[1]?.omitManagedFields, policy?.rules[0]?.omitManagedFields],
    [true, false, undefined],
  );
});

test('a field that JSON has twice is written over, item by item', () => {
  const { policy } = readPolicy(
    '{"apiVersion":"audit.k8s.io/v1","rules":[{"level":"None","users":["a","b"]},{"level":"None"}],"rules":[{"level":"Metadata","users":["c"]},null]}',
  );
  assert.deepEqual(
    policy?.rules.map(({ level, users }) => ({ level, users })),
    [
      { level: 'Metadata', users: ['c'] },
      { level: 'None', users: [] },
    ],
  );
});

describe('hostile texts end in an error, soon', () => {
  const bomb = [
    'a: &a [x,x,x,x,x,x,x,x,x]',
    ...[...'bcdefghi'].map((key, index) => `${key}: &${key} [${Array(9).fill(`*${'abcdefgh'[index]}`)}]`),
  ];
  const texts: Record<string, string> = {
    'lists in lists': '['.repeat(100_000),
    'items of items': '- '.repeat(100_000),
    'maps in maps': Array.from({ length: 3000 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n'),
    'JSON in JSON': '{"a":'.repeat(100_000),
    'aliases of aliases': bomb.join('\n'),
    'an anchor in itself': 'a: &a [*a]',
    'depth by aliases': Array.from(
      { length: 40 },
      (_, k) => `k${k}: &k${k} ${'['.repeat(400)}${k > 0 ? `*k${k - 1}` : 'x'}${']'.repeat(400)}`,
    ).join('\n'),
  };
  for (const [name, text] of Object.entries(texts)) {
    test(name, () => assert.match(errorsOf(text)[0] ?? '', /syntax/));
  }
});
