import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { issueCa } from '../../src/certificates.ts';
import { splitCertificates } from '../../src/certs/authority.ts';
import {
  type Configuration,
  ENFORCED_HOOKS_NAME,
  HOOKS_NAME,
  planBundles,
  planEnforced,
  publishedIn,
  serverNameOf,
  type WebhookEntry,
} from '../../src/certs/publish.ts';

const encode = (text: string): string => Buffer.from(text).toString('base64');
const configuration = (
  name: string,
  webhooks: readonly WebhookEntry[] | undefined,
  kind: Configuration['kind'] = 'validating',
): Configuration => ({
  kind,
  name,
  object: { metadata: { resourceVersion: '7' }, ...(webhooks !== undefined && { webhooks }) },
});
const entry = (name: string, caBundle?: string): WebhookEntry => ({
  name,
  clientConfig: { service: { name: 'hooks', namespace: 'own' }, ...(caBundle !== undefined && { caBundle }) },
});
const HOOKS = {
  mutating: [],
  validating: [
    { name: 'f', failurePolicy: 'Fail', clientConfig: { service: { name: 'hooks', namespace: 'own' } } },
  ],
};

/** As kube-apiserver stores an entry that says nothing of it. */
const DEFAULTED = {
  namespaceSelector: {},
  objectSelector: {},
  reinvocationPolicy: 'Never',
};
/** What makes kube-apiserver ask less, or wait less. */
const NARROWED = {
  namespaceSelector: { matchExpressions: [{ key: 'x', operator: 'Exists' }] },
  objectSelector: { matchLabels: { never: 'true' } },
  matchConditions: [{ name: 'never', expression: 'false' }],
  matchPolicy: 'Exact',
  timeoutSeconds: 1,
};

describe('what is published', () => {
  let a: string;
  let b: string;
  before(async () => {
    const made = await Promise.all([0, 1].map(() => issueCa({ days: 1, now: new Date() })));
    [a = '', b = ''] = made.flatMap(({ cert }) => splitCertificates(cert));
  });

  test('what every entry trusts, and what some do', () => {
    const published = publishedIn([
      configuration(HOOKS_NAME, [entry('x', encode(a + b)), entry('y', encode(b))]),
    ]);
    assert.deepEqual(published, {
      byAll: [b],
      bySome: [a, b],
      serverNames: ['hooks.own.svc'],
      formerNames: [],
    });
    assert.deepEqual(publishedIn([configuration(HOOKS_NAME, [entry('x', encode(a)), entry('y')])]).byAll, []);
    assert.equal(
      publishedIn([configuration(ENFORCED_HOOKS_NAME, undefined)]).byAll,
      undefined,
      'no entry, nobody to trust',
    );
  });

  test('only entries that differ are written, by name, and only their CA', () => {
    const found = [
      configuration(HOOKS_NAME, [entry('x', encode(a)), entry('y', 'AAAA')]),
      configuration(ENFORCED_HOOKS_NAME, []),
    ];
    const [patch, ...more] = planBundles(found, [a]);
    assert.deepEqual(more, []);
    assert.deepEqual(patch?.body, {
      metadata: { resourceVersion: '7' },
      webhooks: [{ name: 'y', clientConfig: { caBundle: encode(a) } }],
    });
    assert.deepEqual(planBundles([configuration(HOOKS_NAME, [entry('x', encode(a))])], [a]), []);
  });

  test('Fail comes with the CA that was proved, and not without one', () => {
    const empty = configuration(ENFORCED_HOOKS_NAME, undefined);
    assert.deepEqual(planEnforced([configuration(HOOKS_NAME, [entry('x')]), empty], HOOKS), []);
    assert.deepEqual(
      planEnforced([configuration(HOOKS_NAME, [entry('x', encode(a))])], HOOKS),
      [],
      'nowhere to put it',
    );
    const [patch] = planEnforced([configuration(HOOKS_NAME, [entry('x', encode(a))]), empty], HOOKS);
    assert.deepEqual(patch?.body, {
      metadata: { resourceVersion: '7' },
      webhooks: [
        {
          ...HOOKS.validating[0],
          clientConfig: { service: { name: 'hooks', namespace: 'own' }, caBundle: encode(a) },
        },
      ],
    });
  });

  test('what kube-apiserver adds to an entry is no difference; what somebody changed is one', () => {
    const base = configuration(HOOKS_NAME, [entry('x', encode(a))]);
    const stored = {
      ...entry('f', encode(a)),
      failurePolicy: 'Fail',
      timeoutSeconds: 10,
      matchPolicy: 'Equivalent',
    };
    const plan = (webhooks: WebhookEntry[]) =>
      planEnforced([base, configuration(ENFORCED_HOOKS_NAME, webhooks)], HOOKS).length;
    assert.equal(plan([stored]), 0);
    assert.equal(plan([{ ...stored, ...DEFAULTED }]), 0);
    assert.equal(plan([{ ...stored, ofANewerVersion: true } as WebhookEntry]), 0);
    for (const [field, value] of Object.entries(NARROWED))
      assert.equal(plan([{ ...stored, ...DEFAULTED, [field]: value }]), 1, field);
    assert.equal(plan([{ ...stored, failurePolicy: 'Ignore' }]), 1);
    assert.equal(plan([stored, stored]), 1);
    assert.equal(plan([]), 1);
  });

  test('an entry with Fail follows the address of the one that was proved, and is told apart while it has not', () => {
    const proved = (service: { name: string; namespace: string; port?: number }): Configuration =>
      configuration(HOOKS_NAME, [{ name: 'x', clientConfig: { service, caBundle: encode(a) } }]);
    const hooks = { mutating: [], validating: [{ ...HOOKS.validating[0], name: 'enforced-x' }] };
    const stored = configuration(ENFORCED_HOOKS_NAME, [
      { ...entry('enforced-x', encode(a)), failurePolicy: 'Fail' },
    ]);
    assert.deepEqual(planEnforced([proved({ name: 'hooks', namespace: 'own' }), stored], hooks), []);
    for (const service of [
      { name: 'auditor', namespace: 'own' },
      { name: 'hooks', namespace: 'own', port: 8443 },
    ]) {
      const [patch] = planEnforced([proved(service), stored], hooks);
      assert.deepEqual(patch?.body.webhooks, [
        { name: 'enforced-x', failurePolicy: 'Fail', clientConfig: { service, caBundle: encode(a) } },
      ]);
    }
    const published = publishedIn([proved({ name: 'auditor', namespace: 'own' }), stored]);
    assert.deepEqual(published.serverNames, ['auditor.own.svc']);
    assert.deepEqual(published.formerNames, ['hooks.own.svc']);
  });

  test('the name that is verified', () => {
    assert.equal(serverNameOf(entry('x')), 'hooks.own.svc');
    const names = [
      'https://127.0.0.1:8443/validate',
      'https://[::1]:8443/',
      'https://a.example/x',
      'nonsense',
    ];
    assert.deepEqual(
      names.map((url) => serverNameOf({ name: 'x', clientConfig: { url } })),
      ['127.0.0.1', '::1', 'a.example', ''],
    );
  });
});
