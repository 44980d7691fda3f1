import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { takesPath } from '../../src/policy/evaluate.ts';
import {
  evaluate,
  mismatch,
  type Policy,
  type RequestAttributes,
  readPolicy,
  writtenLevel,
} from '../../src/policy/index.ts';

const HEAD = 'apiVersion: audit.k8s.io/v1\nrules:\n';
const policyOf = (text: string): Policy => {
  const { policy, errors } = readPolicy(text);
  return policy ?? assert.fail(JSON.stringify(errors));
};
const base: RequestAttributes = {
  user: { name: 'alice', groups: ['dev', 'system:authenticated'] },
  verb: 'get',
  isResource: true,
  namespace: 'team',
  apiGroup: '',
  resource: 'pods',
  subresource: '',
  name: 'web',
  path: '',
};
const exec = { ...base, verb: 'create', subresource: 'exec' };
const scale = { ...base, apiGroup: 'apps', resource: 'deployments', subresource: 'scale' };
const node = { ...base, resource: 'nodes', namespace: '' };
const healthz = { ...base, isResource: false, resource: '', namespace: '', name: '', path: '/healthz/etcd' };
const nobody = { ...base, user: undefined };
const requests = { get: base, exec, scale, node, healthz, nobody };
type Name = keyof typeof requests;

describe('one rule, and the requests that it matches', () => {
  const all: Name[] = ['get', 'exec', 'scale', 'node', 'healthz', 'nobody'];
  const resources = all.filter((name) => name !== 'healthz');
  const cases: readonly [rule: string, matches: readonly Name[]][] = [
    ['{}', all],
    ['{users: [alice]}', all.filter((name) => name !== 'nobody')],
    ['{users: [bob]}', []],
    ['{userGroups: [x, dev]}', all.filter((name) => name !== 'nobody')],
    ['{userGroups: [x]}', []],
    ['{verbs: [create]}', ['exec']],
    ['{verbs: ["*"]}', []],
    ['{namespaces: [team]}', ['get', 'exec', 'scale', 'nobody']],
    ['{namespaces: [""]}', ['node']],
    ['{resources: [{}]}', ['get', 'exec', 'node', 'nobody']],
    ['{resources: [{group: "*"}]}', resources],
    ['{resources: [{resources: ["*"]}]}', ['get', 'exec', 'node', 'nobody']],
    ['{resources: [{resources: [pods]}]}', ['get', 'nobody']],
    ['{resources: [{resources: [pods/exec]}]}', ['exec']],
    ['{resources: [{resources: [pods/*]}]}', ['get', 'exec', 'nobody']],
    ['{resources: [{group: "*", resources: ["*/scale"]}]}', ['scale']],
    ['{resources: [{group: "*", resources: ["*/*"]}]}', []],
    ['{resources: [{resources: [pods], resourceNames: [web]}]}', ['get', 'nobody']],
    ['{resources: [{resources: [pods], resourceNames: [db]}]}', []],
    ['{resources: [{group: apps}, {resources: [nodes]}]}', ['scale', 'node']],
    ['{nonResourceURLs: ["*"]}', ['healthz']],
    ['{nonResourceURLs: [/healthz]}', []],
    ['{nonResourceURLs: [/healthz*]}', ['healthz']],
    ['{nonResourceURLs: [/healthz/etcd]}', ['healthz']],
  ];
  for (const [rule, expected] of cases) {
    test(rule, () => {
      const policy = policyOf(`${HEAD}- ${rule.replace('{', '{level: Metadata, ').replace(', }', '}')}\n`);
      const matching = all.filter((name) => evaluate(policy, requests[name]).level === 'Metadata');
      assert.deepEqual(matching, expected);
      for (const name of all) {
        const rule = policy.rules[0] ?? assert.fail();
        assert.equal(mismatch(rule, requests[name]) === undefined, expected.includes(name), name);
      }
    });
  }
});

test('the first rule that matches decides, and none means None', () => {
  const policy = policyOf(
    `${HEAD}- {level: None, verbs: [list]}\n- {level: Request, verbs: [get]}\n- {level: Metadata, verbs: [get, create]}\n`,
  );
  assert.deepEqual(
    [base, exec, { ...base, verb: 'delete' }].map((request) => {
      const { level, rule } = evaluate(policy, request);
      return [level, rule];
    }),
    [
      ['Request', 1],
      ['Metadata', 2],
      ['None', undefined],
    ],
  );
});

test('stages of the policy and of the rule are left out together; managedFields by the rule, else by the policy', () => {
  const policy = policyOf(
    `omitStages: [Panic]\nomitManagedFields: true\n${HEAD}- {level: Request, verbs: [get], omitStages: [RequestReceived, Panic], omitManagedFields: false}\n- {level: Request}\n`,
  );
  assert.deepEqual(evaluate(policy, base), {
    level: 'Request',
    omitStages: ['RequestReceived', 'Panic'],
    omitManagedFields: false,
    rule: 0,
  });
  assert.deepEqual(evaluate(policy, exec), {
    level: 'Request',
    omitStages: ['Panic'],
    omitManagedFields: true,
    rule: 1,
  });
});

test('a level without the stages that would carry it is less', () => {
  const written = (stages: string, request: RequestAttributes): string => {
    const policy = policyOf(`omitStages: [${stages}]\n${HEAD}- level: RequestResponse\n`);
    return writtenLevel(evaluate(policy, request), request);
  };
  const watch = { ...base, verb: 'watch' };
  assert.equal(written('RequestReceived', base), 'RequestResponse');
  assert.equal(written('ResponseComplete', base), 'Metadata');
  assert.equal(written('ResponseComplete, RequestReceived', base), 'None');
  assert.equal(written('ResponseComplete, RequestReceived', watch), 'Metadata');
  assert.equal(written('ResponseComplete, RequestReceived, ResponseStarted', watch), 'None');
});

test('names of prototypes are names like any other', () => {
  const policy = policyOf(
    `${HEAD}- {level: Metadata, users: [__proto__], verbs: [constructor], resources: [{group: "", resources: [toString]}]}\n`,
  );
  const request = {
    ...base,
    user: { name: '__proto__', groups: [] },
    verb: 'constructor',
    resource: 'toString',
  };
  assert.equal(evaluate(policy, request).level, 'Metadata');
  assert.equal(evaluate(policy, { ...request, resource: 'valueOf' }).level, 'None');
  assert.equal(evaluate(policy, { ...request, verb: 'hasOwnProperty' }).level, 'None');
});

test('a path is looked up as it would be compared with one after the other', () => {
  const part = fc.constantFrom('/', 'a', 'b', 'ab', 'healthz');
  const path = fc.array(part, { maxLength: 4 }).map((parts) => parts.join(''));
  const url = fc.tuple(path, fc.constantFrom('', '*', '**')).map((parts) => parts.join(''));
  fc.assert(
    fc.property(fc.array(url, { maxLength: 4 }), path, (urls, given) => {
      const expected = urls.some(
        (one) => one === given || (one.endsWith('*') && given.startsWith(one.replace(/\*+$/, ''))),
      );
      assert.equal(takesPath(urls, given), expected);
    }),
  );
});
