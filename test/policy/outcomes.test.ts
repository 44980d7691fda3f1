/** Whether a comparison sees every exception, however many fields it combines, held against trying all requests of a small world. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ComparisonTooLarge, MAX_LOOKS } from '../../src/policy/choices.ts';
import {
  evaluate,
  judgePolicyChange,
  LEVELS,
  type Level,
  type Policy,
  PRESETS,
  REPRESENTATIVE_REQUESTS,
  type RequestAttributes,
  readPolicy,
  writtenLevel,
} from '../../src/policy/index.ts';
import { findOutcomes } from '../../src/policy/outcomes.ts';

const textOf = (...rules: object[]): string =>
  JSON.stringify({ apiVersion: 'audit.k8s.io/v1', kind: 'Policy', rules });
const policyOf = (text: string): Policy =>
  readPolicy(text).policy ?? assert.fail(JSON.stringify(readPolicy(text).errors));
const METADATA = { level: 'Metadata' };
const ALL = textOf(METADATA);
const names = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`);
const judge = (oldText: string, newText: string, demandedPreset?: string) =>
  judgePolicyChange({ oldText, newText, enforced: true, demandedPreset }).lessLogged;

describe('an exception that combines several fields is seen', () => {
  const secrets = (...resourceNames: string[]) => [{ group: '', resources: ['secrets'], resourceNames }];
  for (const [name, rule, line] of [
    [
      'users, namespaces',
      { users: ['mallory'], namespaces: ['payments'] },
      /^get secrets by mallory in payments:/,
    ],
    [
      'users, groups',
      { users: ['mallory'], userGroups: ['evil'] },
      /^get secrets by mallory in the group evil:/,
    ],
    [
      'users, names',
      { users: ['mallory'], resources: secrets('db') },
      /^get secrets by mallory \(name db\):/,
    ],
    [
      'namespaces, names',
      { namespaces: ['payments'], resources: secrets('db') },
      /^get secrets by a user in payments \(name db\):/,
    ],
    [
      'groups, namespaces',
      { userGroups: ['evil'], namespaces: ['payments', 'team'] },
      /^get secrets by a user in the group evil:/,
    ],
    [
      'all of them, and a verb',
      {
        users: ['mallory'],
        userGroups: ['evil'],
        namespaces: ['payments'],
        resources: secrets('db'),
        verbs: ['delete'],
      },
      /^delete secrets by mallory in the group evil in payments \(name db\):/,
    ],
  ] as const)
    test(name, () => {
      const now = textOf({ level: 'None', ...rule }, METADATA);
      for (const demanded of [undefined, 'metadata']) {
        assert.match(judge(ALL, now, demanded)[0] ?? '', line);
        assert.deepEqual(judge(now, now, demanded), []);
        assert.deepEqual(judge(now, ALL, demanded), []);
      }
    });

  test('of who is in two groups at once', () => {
    const [red, blue] = [
      { level: 'Metadata', userGroups: ['red'] },
      { level: 'None', userGroups: ['blue'] },
    ];
    const lines = judge(textOf(red, blue, METADATA), textOf(blue, red, METADATA));
    assert.match(lines[0] ?? '', /^get secrets by a user in the group red and blue:/);
  });

  test('of everybody but those whom a policy names, the people of the representative requests among them', () => {
    const people = REPRESENTATIVE_REQUESTS.map(({ request }) => request.user?.name);
    const only = textOf({ level: 'Metadata', users: [...new Set(people)] });
    assert.match(judge(ALL, only)[0] ?? '', /^get secrets by anybody else:/);
    const there = textOf({ level: 'Metadata', namespaces: ['team', 'kube-system', 'example', ''] });
    assert.match(judge(ALL, there)[0] ?? '', /^get secrets by a user in any other:/);
    const widgets = { level: 'Metadata', resources: [{ group: 'example.com' }] };
    const known = REPRESENTATIVE_REQUESTS.map(({ request: { apiGroup, resource, subresource } }) => ({
      group: apiGroup,
      resources: [subresource === '' ? resource : `${resource}/${subresource}`],
    }));
    const named = textOf(widgets, {
      level: 'Metadata',
      resources: known.filter(({ group }) => group !== 'example.com'),
    });
    assert.match(judge(ALL, named)[0] ?? '', /^create any other resource by a user:/);
  });

  test('of reading all namespaces at once', () => {
    const rule = { level: 'None', verbs: ['list'], namespaces: [''] };
    assert.match(judge(ALL, textOf(rule, METADATA))[0] ?? '', /^list secrets by a user in "":/);
  });

  test('where a preset is demanded: of a resource, a group or a verb of its own', () => {
    for (const [rule, line] of [
      [{ resources: [{ group: 'example.org' }], users: ['mallory'] }, /^create \*\.example\.org by mallory:/],
      [
        { resources: [{ group: '', resources: ['configmaps'] }], verbs: ['list'] },
        /^list configmaps by a user:/,
      ],
    ] as const) {
      const now = textOf({ level: 'None', ...rule }, METADATA);
      assert.match(judge(ALL, now, 'metadata')[0] ?? '', line);
      assert.deepEqual(judge(ALL, now), []);
    }
  });
});

describe('in a small world', () => {
  const USERS = ['someone@example.com', 'mallory', 'eve'];
  const GROUPS = ['red', 'blue', 'system:authenticated'];
  const NAMESPACES = ['team', 'payments', 'ops'];
  const NAMES = ['example', 'db'];
  const RESOURCES = ['secrets', 'pods', 'configmaps'];
  const VERBS = ['get', 'list', 'create', 'delete'];
  const some = (values: readonly string[]) =>
    fc.oneof(
      { weight: 2, arbitrary: fc.constant([]) },
      { weight: 1, arbitrary: fc.subarray([...values], { minLength: 1 }) },
    );
  const rule = fc.record({
    level: fc.constantFrom(...LEVELS),
    users: some(USERS),
    userGroups: some(GROUPS),
    verbs: some(VERBS),
    namespaces: some(NAMESPACES),
    resources: fc.oneof(
      fc.constant([]),
      fc.array(
        fc.record({
          group: fc.constant(''),
          resources: fc.subarray([...RESOURCES, '*'], { minLength: 1 }),
          resourceNames: some(NAMES),
        }),
        { minLength: 1, maxLength: 2 },
      ),
    ),
    omitStages: fc.constantFrom<readonly string[]>(
      [],
      [],
      ['RequestReceived'],
      ['RequestReceived', 'ResponseComplete'],
    ),
  });
  const policy = fc
    .tuple(fc.array(rule, { minLength: 1, maxLength: 4 }), fc.boolean())
    .map(([rules, isClosed]) => textOf(...rules, ...(isClosed ? [METADATA] : [])));

  const MORE_GROUPS = [[], ['red'], ['blue'], ['red', 'blue']];
  /** Every request of this world that is like a representative one of the three resources. */
  const world = (isWanted: (essential: boolean) => boolean): readonly RequestAttributes[] =>
    REPRESENTATIVE_REQUESTS.filter(
      ({ essential, request }) =>
        isWanted(essential) &&
        request.apiGroup === '' &&
        RESOURCES.includes(request.resource) &&
        request.subresource === '',
    ).flatMap(({ request }) =>
      [...USERS, request.user?.name ?? ''].flatMap((name) =>
        MORE_GROUPS.flatMap((more) =>
          [...NAMESPACES, request.namespace].flatMap((namespace) =>
            [...NAMES, request.name].map((named) => ({
              ...request,
              user: { name, groups: [...(request.user?.groups ?? []), ...more] },
              namespace,
              name: named,
            })),
          ),
        ),
      ),
    );
  const ESSENTIAL = world((essential) => essential);
  const ANY = world(() => true);
  const RANK = (level: Level): number => LEVELS.indexOf(level);
  const written = (one: Policy, request: RequestAttributes): Level =>
    writtenLevel(evaluate(one, request), request);

  test('without a demanded preset, less is found wherever some essential request is not logged any more', () => {
    let found = 0;
    fc.assert(
      fc.property(policy, policy, (oldText, newText) => {
        const [old, now] = [policyOf(oldText), policyOf(newText)];
        const lost = ESSENTIAL.find(
          (request) => written(old, request) !== 'None' && written(now, request) === 'None',
        );
        const lines = judge(oldText, newText);
        if (lost !== undefined) {
          found += 1;
          assert.notEqual(lines.length, 0, JSON.stringify(lost));
        }
      }),
      { numRuns: 400 },
    );
    assert.ok(found > 100, String(found));
  });

  for (const preset of ['metadata', 'recommended', 'minimal'])
    test(`with the preset ${preset} demanded, whatever is less than by it and than before is found`, () => {
      const demanded = policyOf(PRESETS.get(preset) ?? '');
      fc.assert(
        fc.property(policy, policy, (oldText, newText) => {
          const [old, now] = [policyOf(oldText), policyOf(newText)];
          const lost = ANY.find((request) => {
            const rank = RANK(written(now, request));
            return rank < RANK(written(demanded, request)) && rank < RANK(written(old, request));
          });
          if (lost !== undefined)
            assert.notEqual(judge(oldText, newText, preset).length, 0, JSON.stringify(lost));
        }),
        { numRuns: 150 },
      );
    });

  test('what is found is true: each request is decided as it is said to be', () => {
    fc.assert(
      fc.property(policy, policy, policy, (...texts) => {
        const policies = texts.map(policyOf);
        for (const { request, evaluations } of findOutcomes(policies))
          assert.deepEqual(
            evaluations,
            policies.map((one) => evaluate(one, request)),
          );
      }),
      { numRuns: 200 },
    );
  });

  test('a policy that logs as much or more is never less', () => {
    fc.assert(
      fc.property(policy, rule, (text, more) => {
        const { rules } = JSON.parse(text) as { rules: object[] };
        const louder = textOf({ ...more, level: 'RequestResponse', omitStages: [] }, ...rules);
        for (const preset of [undefined, 'metadata', 'minimal']) {
          assert.deepEqual(judge(text, louder, preset), []);
          assert.deepEqual(judge(text, text, preset), []);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('a comparison of policies that single out many', () => {
  const count = (now: string, old = ALL): number | 'too large' => {
    let outcomes = 0;
    try {
      for (const _ of findOutcomes([policyOf(old), policyOf(now)])) outcomes += 1;
    } catch (error) {
      assert.ok(error instanceof ComparisonTooLarge);
      return 'too large';
    }
    return outcomes;
  };
  const FEW = 10 * REPRESENTATIVE_REQUESTS.length;
  const each = (prefix: string, total: number, rule: (name: string) => object) =>
    textOf(...names(prefix, total).map((name) => ({ level: 'None', ...rule(name) })), METADATA);

  for (const [name, now, old] of [
    ['20 000 users in one rule', textOf({ level: 'None', users: names('u', 20_000) }, METADATA)],
    ['60 000 users that are logged', textOf({ level: 'Metadata', users: names('u', 60_000) }, METADATA)],
    [
      'users, groups, namespaces and names by the thousand',
      textOf(
        {
          level: 'None',
          users: names('u', 9000),
          userGroups: names('g', 9000),
          namespaces: names('n', 9000),
          resources: [{ group: '', resources: ['secrets'], resourceNames: names('s', 9000) }],
        },
        METADATA,
      ),
    ],
    [
      'one rule more beside 500 of a group each',
      each('g', 501, (group) => ({ userGroups: [group] })),
      each('g', 500, (group) => ({ userGroups: [group] })),
    ],
  ] as const)
    test(`${name}: few requests are evaluated`, () => {
      const outcomes = count(now, old);
      assert.ok(outcomes !== 'too large' && outcomes < FEW, String(outcomes));
    });

  for (const [name, now] of [
    ['20 000 rules of a user each', each('u', 20_000, (user) => ({ users: [user] }))],
    ['20 000 rules of a group each', each('g', 20_000, (group) => ({ userGroups: [group] }))],
    ['20 000 resources in as many rules', each('r', 20_000, (group) => ({ resources: [{ group }] }))],
  ] as const)
    test(`${name}: it is given up, and the policy refused as too large`, () => {
      assert.equal(count(now), 'too large');
      assert.match(judge(ALL, now, 'metadata').at(-1) ?? '', /too large to be compared/);
    });

  test('what it may cost is far above what a person writes', () => {
    const rules = names('t', 100).map((team) => ({
      level: 'Metadata',
      users: [`${team}-a`, `${team}-b`],
      userGroups: [team],
      namespaces: [`${team}-dev`, `${team}-prod`],
      resources: [{ group: `${team}.example.org` }],
    }));
    assert.deepEqual(judge(textOf(...rules, METADATA), textOf(...rules.slice(1), METADATA), 'metadata'), []);
    assert.ok(MAX_LOOKS <= 20_000_000);
  });

  // Where each path is compared with each, this takes minutes.
  test('a rule of 300 000 paths is read in a time that grows with their number', { timeout: 60_000 }, () => {
    const paths = names('/p', 300_000);
    const now = textOf({ level: 'None', nonResourceURLs: paths }, METADATA);
    assert.deepEqual(judge(ALL, now), []);
  });

  test('rules without number that all log more are none', () => {
    const louder = names('', 120).flatMap((name) => [
      { level: 'Request', users: [`u${name}`] },
      { level: 'Metadata', namespaces: [`n${name}`] },
      { level: 'RequestResponse', userGroups: [`g${name}`] },
    ]);
    for (const demanded of [undefined, 'metadata', 'minimal'])
      assert.deepEqual(judge(ALL, textOf(...louder, METADATA), demanded), []);
  });

  test('of many differences, those that are shown are kept, and not all are counted', () => {
    const lines = judge(
      ALL,
      each('u', 500, (user) => ({ users: [user] })),
    );
    assert.equal(lines.length, 51);
    assert.equal(lines[50], 'and more than 950 more');
  });
});
