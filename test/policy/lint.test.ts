import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { evaluate, lint, type Policy, PRESETS, readPolicy } from '../../src/policy/index.ts';
import { findRequest } from '../../src/policy/witness.ts';
import { policyArbitrary, requestArbitrary } from './generate.ts';
import { PUBLISHED } from './published.ts';

const HEAD = 'apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n';
const policyOf = (text: string): Policy =>
  readPolicy(text).policy ?? assert.fail(JSON.stringify(readPolicy(text).errors));
const codes = (text: string): string[] => {
  const read = readPolicy(text);
  const findings = lint(read.policy ?? assert.fail(JSON.stringify(read.errors)), { root: read.root, text });
  return findings.map(({ code, path }) => `${code} ${path}`);
};
/** Of the rules before a catch-all, so that no gap hides what the case is about. */
const found = (rules: string, code: string): string[] =>
  codes(`${HEAD}${rules}- level: Metadata\n`).filter((one) => one.startsWith(`${code} `));

describe('planted faults are found', () => {
  const cases: readonly [rules: string, findings: readonly string[]][] = [
    // never reached
    [
      '- level: Metadata\n- level: None\n  users: [a]\n',
      ['never-reached rules[1]', 'never-reached rules[2]'],
    ],
    [
      '- level: None\n  verbs: [get, list]\n- level: Request\n  verbs: [list]\n  users: [a]\n',
      ['never-reached rules[1]'],
    ],
    [
      '- {level: None, verbs: [get]}\n- {level: None, verbs: [list]}\n- {level: Request, verbs: [list, get], users: [a]}\n',
      ['never-reached rules[2]'],
    ],
    [
      '- {level: None, resources: [{group: ""}]}\n- {level: Request, resources: [{group: "", resources: ["pods/exec"]}]}\n',
      ['never-reached rules[1]'],
    ],
    [
      '- {level: None, resources: [{group: "", resources: ["pods/*"]}]}\n- {level: Request, resources: [{group: "", resources: [pods, pods/log], resourceNames: [a]}], namespaces: [x]}\n',
      ['never-reached rules[1]'],
    ],
    [
      '- {level: None, resources: [{group: "*", resources: ["*/scale"]}]}\n- {level: Request, resources: [{group: apps, resources: [deployments/scale]}]}\n',
      ['never-reached rules[1]'],
    ],
    [
      '- {level: None, nonResourceURLs: ["/healthz*"]}\n- {level: Metadata, nonResourceURLs: ["/healthz", "/healthz/*"]}\n',
      ['never-reached rules[1]'],
    ],
    [
      '- {level: None, nonResourceURLs: ["*"]}\n- {level: None, resources: [{group: "*"}]}\n',
      ['never-reached rules[2]'],
    ],
    [
      '- {level: None, userGroups: [a, b]}\n- {level: Metadata, userGroups: [b], users: [x]}\n',
      ['never-reached rules[1]'],
    ],
    [
      '- {level: None, namespaces: [a, b]}\n- {level: Metadata, namespaces: [b], verbs: [get]}\n',
      ['never-reached rules[1]'],
    ],
    // reached, though it looks covered
    ['- {level: None, verbs: [get]}\n- {level: Metadata, users: [a]}\n', []],
    [
      '- {level: None, resources: [{group: "", resources: [pods]}]}\n- {level: Metadata, resources: [{group: "", resources: ["pods/*"]}]}\n',
      [],
    ],
    [
      '- {level: None, resources: [{group: "", resources: ["*/scale"]}]}\n- {level: Metadata, resources: [{group: "", resources: ["*"]}]}\n',
      [],
    ],
    ['- {level: None, resources: [{group: "*"}]}\n', []],
    ['- {level: None, userGroups: [a]}\n- {level: None, users: [a]}\n', []],
    ['- {level: None, namespaces: [a]}\n- {level: None, resources: [{group: "", resources: [nodes]}]}\n', []],
    [
      '- {level: None, resources: [{group: "", resources: [pods], resourceNames: [a]}]}\n- {level: Metadata, resources: [{group: "", resources: [pods]}]}\n',
      [],
    ],
    [
      '- {level: None, nonResourceURLs: ["/healthz/*"]}\n- {level: None, nonResourceURLs: ["/healthz*"]}\n',
      [],
    ],
  ];
  for (const [rules, findings] of cases)
    test(rules, () => assert.deepEqual(found(rules, 'never-reached'), findings));

  const others: readonly [code: string, rules: string, findings: readonly string[]][] = [
    [
      'entry-never-reached',
      '- {level: None, resources: [{group: "", resources: [secrets]}]}\n- {level: Metadata, resources: [{group: "", resources: [pods, secrets]}]}\n',
      ['rules[1].resources[0].resources[1]'],
    ],
    [
      'no-wildcard',
      '- {level: None, users: ["system:*"], namespaces: ["*"], resources: [{group: "", resources: [pods], resourceNames: ["a*"]}]}\n',
      ['rules[0].users[0]', 'rules[0].namespaces[0]', 'rules[0].resources[0].resourceNames[0]'],
    ],
    [
      'unknown-verb',
      '- {level: None, verbs: [get, "*", LIST, create]}\n',
      ['rules[0].verbs[1]', 'rules[0].verbs[2]'],
    ],
    [
      'unknown-resource',
      '- {level: None, resources: [{group: "", resources: [Pod, secret, "*/*", "pods*", deployments, widgets, pods/exec, "*/scale"]}, {group: example.com, resources: [widgets]}]}\n',
      [0, 1, 2, 3, 4, 5].map((k) => `rules[0].resources[0].resources[${k}]`),
    ],
    [
      'sensitive-bodies',
      '- {level: RequestResponse, resources: [{group: ""}]}\n',
      ['rules[0].level', 'rules[0].level', 'rules[0].level'],
    ],
    [
      'sensitive-bodies',
      '- {level: Metadata, resources: [{group: "", resources: [secrets, configmaps, serviceaccounts/token]}, {group: authentication.k8s.io}]}\n- {level: RequestResponse}\n',
      [],
    ],
    [
      'sensitive-bodies',
      '- {level: Request, resources: [{group: "", resources: [serviceaccounts/token]}]}\n',
      [],
    ],
    [
      'sensitive-bodies',
      '- {level: Request, verbs: [get, delete], resources: [{group: "", resources: [secrets]}]}\n',
      [],
    ],
    [
      'unlogged-secrets',
      '- {level: None, users: ["someone@example.com"], resources: [{group: "", resources: [secrets]}]}\n',
      ['rules[0]'],
    ],
    ['unlogged-exec', '- {level: None, resources: [{group: "", resources: [pods/attach]}]}\n', ['rules[0]']],
    ['unlogged-rbac', '- {level: None, verbs: [patch]}\n', ['rules[0]']],
    ['unlogged-deletecollection', '- {level: None, verbs: [deletecollection]}\n', ['rules[0]']],
    ['response-omitted', '- {level: Request, omitStages: [ResponseComplete]}\n', ['rules[0].omitStages']],
    ['managed-fields', '- {level: Request, resources: [{group: apps}]}\n', ['rules[0]']],
    ['managed-fields', '- {level: Request, omitManagedFields: true, resources: [{group: apps}]}\n', []],
    ['noise', '- {level: None}\n', []],
  ];
  for (const [code, rules, findings] of others) {
    test(`${code}: ${rules}`, () =>
      assert.deepEqual(
        found(rules, code),
        findings.map((path) => `${code} ${path}`),
      ));
  }

  test('a whole policy', () => {
    const text =
      'apiVersion: audit.k8s.io/v1\nomitStages: [ResponseComplete]\nrules: [{level: Metadata, verbs: [create]}]\n';
    for (const code of [
      'response-omitted omitStages',
      'no-catch-all rules',
      'unlogged-secrets rules',
      'request-received omitStages',
    ]) {
      assert.ok(codes(text).includes(code), code);
    }
  });

  test('a policy that says to be a preset and is not', () => {
    const text = (PRESETS.get('recommended') ?? '').replace(
      '- level: Metadata\n',
      '- level: Metadata\n    verbs: [get]\n',
    );
    assert.ok(codes(text).includes('differs-from-preset '));
    for (const preset of PRESETS.values()) assert.ok(!codes(preset).includes('differs-from-preset '));
  });
});

describe('what others publish has no rule that is never reached', () => {
  for (const [name, text] of [...Object.entries(PUBLISHED), ...PRESETS]) {
    test(name, () => {
      const dead = codes(text).filter(
        (code) =>
          code.includes('never-reached') || code.startsWith('unknown-') || code.startsWith('no-wildcard'),
      );
      assert.deepEqual(dead, []);
    });
  }
});

test('the cis preset has no warning', () => {
  const text = PRESETS.get('cis') ?? '';
  assert.deepEqual(
    lint(policyOf(text), { text }).filter(({ severity }) => severity === 'warning'),
    [],
  );
});

test('a rule that is said to be never reached decides no request, and else the request found is decided by it', () => {
  let dead = 0;
  fc.assert(
    fc.property(
      policyArbitrary,
      fc.array(requestArbitrary, { minLength: 20, maxLength: 20 }),
      (text, requests) => {
        const { policy } = readPolicy(text);
        if (policy === undefined) return;
        policy.rules.forEach((_, index) => {
          const request = findRequest(policy, index);
          assert.notEqual(request, 'unknown');
          if (request !== undefined && request !== 'unknown')
            assert.equal(evaluate(policy, request).rule, index);
          else {
            dead++;
            // Paths of real requests start with "/", so that "/*" is as good as "*".
            for (const one of requests) {
              if (one.isResource || one.path.startsWith('/'))
                assert.notEqual(evaluate(policy, one).rule, index);
            }
          }
        });
      },
    ),
    { numRuns: 1500 },
  );
  assert.ok(dead > 20, `only ${dead} rules were dead`);
});

test('a policy of a thousand rules is linted, one of many more without the claims that would take too long', () => {
  const rules = (count: number): string =>
    `${HEAD}${Array.from({ length: count }, (_, k) => `- {level: None, users: [u${k}], verbs: [get, list]}\n`).join('')}`;
  assert.deepEqual(
    codes(`${rules(1000)}- {level: None, users: [u7], verbs: [list]}\n`).filter((code) =>
      code.startsWith('never'),
    ),
    ['never-reached rules[1000]'],
  );
  assert.deepEqual(
    codes(rules(20_000)).filter((code) => code.startsWith('never')),
    [],
  );
});
