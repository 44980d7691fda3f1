import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  comparePolicies,
  judgePolicyChange,
  logsLess,
  namedPreset,
  type Policy,
  PRESETS,
  REPRESENTATIVE_REQUESTS,
  readPolicy,
} from '../../src/policy/index.ts';

const HEAD = 'apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n';
const preset = (name: string): string => PRESETS.get(name) ?? assert.fail();
const policyOf = (text: string): Policy =>
  readPolicy(text).policy ?? assert.fail(JSON.stringify(readPolicy(text).errors));
const ALL = `${HEAD}- level: Metadata\n`;
const before = (rules: string): string => `${HEAD}${rules}- level: Metadata\n`;

describe('presets', () => {
  for (const [name, text] of PRESETS) {
    test(`${name} is a policy for every version, and names itself`, () => {
      for (const kubernetesMinor of [33, 34, 35, 36]) {
        const { policy, warnings } = readPolicy(text, { kubernetesMinor });
        assert.notEqual(policy, undefined);
        assert.deepEqual(warnings, []);
      }
      assert.equal(namedPreset(text), name);
      assert.ok(text.startsWith(`# policyPreset: ${name}\n`));
    });
  }

  test('cis logs all that is essential, and recommended no less than minimal', () => {
    const cis = policyOf(preset('cis'));
    const unlogged = logsLess(policyOf(ALL), cis, REPRESENTATIVE_REQUESTS).filter(
      ({ essential }) => essential,
    );
    assert.deepEqual(
      unlogged.map(({ title }) => title),
      [],
    );
    assert.deepEqual(logsLess(policyOf(preset('minimal')), policyOf(preset('recommended'))), []);
    assert.notEqual(logsLess(policyOf(preset('recommended')), policyOf(preset('minimal'))).length, 0);
  });

  test('the text of another name is none', () => {
    assert.equal(namedPreset('# policyPreset: custom\r\n'), 'custom');
    assert.equal(namedPreset('apiVersion: audit.k8s.io/v1\n'), undefined);
  });
});

describe('comparing', () => {
  test('a policy is like itself', () => {
    for (const text of PRESETS.values())
      assert.deepEqual(comparePolicies(policyOf(text), policyOf(text)), []);
  });

  const seen: readonly [name: string, rules: string, title: RegExp][] = [
    ['one user', '- {level: None, users: [mallory]}\n', /^get secrets by mallory$/],
    ['one group', '- {level: None, userGroups: [quiet]}\n', /in the group quiet$/],
    ['one namespace', '- {level: None, namespaces: [hidden]}\n', /^get secrets by a user in hidden$/],
    [
      'one name',
      '- {level: None, resources: [{group: "", resources: [secrets], resourceNames: [mine]}]}\n',
      /^get secrets by a user \(name mine\)$/,
    ],
    [
      'a resource of its own',
      '- {level: None, resources: [{group: example.com, resources: [gadgets]}]}\n',
      /^create gadgets\.example\.com by a user$/,
    ],
  ];
  for (const [name, rules, title] of seen) {
    test(`an exception for ${name} is seen`, () => {
      const less = logsLess(policyOf(ALL), policyOf(before(rules)));
      assert.ok(
        less.some((one) => title.test(one.title)),
        less
          .map((one) => one.title)
          .slice(0, 5)
          .join('; '),
      );
      assert.deepEqual(logsLess(policyOf(before(rules)), policyOf(ALL)), []);
    });
  }

  test('stages count: a line that is not written is less', () => {
    const [less] = logsLess(
      policyOf(ALL),
      policyOf(before('- {level: Metadata, verbs: [delete], omitStages: [ResponseComplete]}\n')),
    );
    assert.match(less?.title ?? '', /^delete secrets/);
    const other = comparePolicies(policyOf(ALL), policyOf(ALL.replace('[RequestReceived]', '[]')));
    assert.ok(other.length > 0 && other.every(({ change }) => change === 'other'));
  });
});

describe('a change of the policy', () => {
  const judge = (oldText: string | undefined, newText: string, demandedPreset?: string) =>
    judgePolicyChange({ oldText, newText, enforced: true, demandedPreset });

  test('an invalid policy has errors with field and place, all of them, enforced or not', () => {
    for (const enforced of [true, false]) {
      const { errors, lessLogged } = judgePolicyChange({
        newText: `${HEAD}- level: x\n- level: z\n`,
        enforced,
      });
      assert.deepEqual(
        errors.map((error) => error.slice(0, 38)),
        ['line 5, column 3: rules[0].level: "x" ', 'line 6, column 3: rules[1].level: "z" '],
      );
      assert.deepEqual(lessLogged, []);
    }
    assert.match(judge(ALL, '').errors[0] ?? '', /the document is empty/);
  });

  test('less than the demanded preset is named, request by request', () => {
    const { errors, lessLogged } = judge(
      ALL,
      before('- {level: None, resources: [{group: "", resources: [secrets]}]}\n'),
      'metadata',
    );
    assert.deepEqual(errors, []);
    assert.equal(lessLogged[0], 'get secrets by a user: None instead of Metadata (rules[0] decides)');
    assert.equal(judge(undefined, preset('minimal'), 'metadata').lessLogged.length > 0, true);
    assert.deepEqual(judge(undefined, preset('cis'), '').lessLogged, []);
  });

  test('a misspelt field that makes a rule match everybody is less, with a warning that says why', () => {
    const { warnings, lessLogged } = judge(ALL, before('- {level: None, user: [noisy]}\n'), 'metadata');
    assert.match(warnings[0] ?? '', /rules\[0\]\.user: .*every user matches; did you mean "users"/);
    assert.equal(lessLogged.length, 51);
    assert.match(lessLogged[50] ?? '', /^and \d+ more$/);
  });

  test('what was too little before may be edited, but not made less', () => {
    const weak = before('- {level: None, verbs: [get]}\n');
    assert.deepEqual(judge(weak, `${weak}# edited\n`, 'metadata').lessLogged, []);
    assert.deepEqual(judge(weak, ALL, 'metadata').lessLogged, []);
    const weaker = before('- {level: None, verbs: [get, delete]}\n');
    const { lessLogged } = judge(weak, weaker, 'metadata');
    assert.ok(
      lessLogged.length > 0 && lessLogged.every((line) => line.startsWith('delete ')),
      lessLogged.join('\n'),
    );
  });

  test('without a demanded preset, essential requests must not go unlogged', () => {
    assert.deepEqual(
      judge(
        ALL,
        before('- {level: None, verbs: [list, watch], resources: [{group: "", resources: [pods]}]}\n'),
      ).lessLogged,
      [],
    );
    assert.match(
      judge(ALL, before('- {level: None, verbs: [delete]}\n')).lessLogged[0] ?? '',
      /^delete secrets by a user/,
    );
    assert.match(judge(ALL, before('- {level: None, users: [mallory]}\n')).lessLogged[0] ?? '', /by mallory/);
    assert.deepEqual(judge(preset('recommended'), ALL).lessLogged, []);
  });

  test('a first policy must log something that matters', () => {
    assert.deepEqual(judge(undefined, preset('minimal')).lessLogged, []);
    assert.deepEqual(judge('not a policy', preset('minimal')).lessLogged, []);
    assert.match(judge(undefined, `${HEAD}- level: None\n`).lessLogged[0] ?? '', /nothing that matters/);
    assert.match(
      judge(undefined, `${HEAD}- level: Metadata\n  omitStages: [ResponseComplete, ResponseStarted]\n`)
        .lessLogged[0] ?? '',
      /nothing that matters/,
    );
  });

  test('where nothing is enforced, less is only a warning', () => {
    const { errors, warnings, lessLogged } = judgePolicyChange({
      oldText: ALL,
      newText: `${HEAD}- level: None\n`,
      enforced: false,
    });
    assert.deepEqual([errors, lessLogged], [[], []]);
    assert.match(warnings.join('\n'), /nothing is logged of access to secrets/);
  });

  test('a preset that does not exist is a mistake of the caller', () => {
    assert.throws(() => judge(ALL, ALL, 'nope'), /no policy preset is named "nope"; there are metadata, /);
  });

  test('the version decides what is an error', () => {
    const text = before('- {level: None, resources: [{group: "*", resources: [leases]}]}\n');
    assert.match(
      judgePolicyChange({ newText: text, enforced: false, kubernetesMinor: 35 }).errors[0] ?? '',
      /since Kubernetes 1\.36/,
    );
    assert.deepEqual(judgePolicyChange({ newText: text, enforced: false, kubernetesMinor: 36 }).errors, []);
  });

  test('a policy that is too large to be compared hides nothing', () => {
    const rules = Array.from(
      { length: 20_000 },
      (_, k) => `- {level: None, users: [u${k}], verbs: [list]}\n`,
    ).join('');
    assert.match(judge(ALL, before(rules), 'metadata').lessLogged[0] ?? '', /too large to be compared/);
  });
});

test('every representative request is one of its own', () => {
  const titles = REPRESENTATIVE_REQUESTS.map(({ title }) => title);
  assert.equal(new Set(titles).size, titles.length);
});
