/** Broken policies through kubectl, as people write them: refused with the place of the fault, and what is stored stays as it was. */
import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { skipWithoutControlPlane } from '../support/binaries.ts';
import { type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import { IDENTITIES } from '../support/identities.ts';
import { createCluster, prepareSeed, renderSeed, SEEDS_PATH } from '../support/seed.ts';
import { startWebhookServer, type WebhookServer } from '../support/webhook-server.ts';
import { registerWebhooks } from '../support/webhooks.ts';

const HEAD = 'apiVersion: audit.k8s.io/v1\nkind: Policy\n';
const rules = (text: string): string => `${HEAD}rules:\n${text}`;
const PLACE = /line \d+|rules\[\d+\]|apiVersion|kind|omitStages|policy\.yaml/;

/** Each is something that kube-apiserver 1.36 does not start with. */
const BROKEN: Readonly<Record<string, string>> = {
  'an empty text': '',
  'white space': ' \n\n',
  'a comment alone': '# policyPreset: metadata\n',
  'no rules': HEAD,
  'an empty list of rules': `${HEAD}rules: []\n`,
  'null rules': `${HEAD}rules: null\n`,
  'no apiVersion': 'kind: Policy\nrules:\n- level: Metadata\n',
  'another kind': 'apiVersion: audit.k8s.io/v1\nkind: Policies\nrules:\n- level: Metadata\n',
  'an Event': 'apiVersion: audit.k8s.io/v1\nkind: Event\nrules:\n- level: Metadata\n',
  v1beta1: 'apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules:\n- level: Metadata\n',
  v1alpha1: 'apiVersion: audit.k8s.io/v1alpha1\nkind: Policy\nrules:\n- level: Metadata\n',
  'another group': 'apiVersion: audit.k8s.io.example.com/v1\nkind: Policy\nrules:\n- level: Metadata\n',
  'a level that does not exist': rules('- level: Metadate\n'),
  'a level in lower case': rules('- level: metadata\n'),
  'an empty level': rules('- level: ""\n'),
  'no level': rules('- users: ["alice"]\n'),
  'a number as level': rules('- level: 1\n'),
  'yes as level': rules('- level: yes\n'),
  'an empty rule': rules('- {}\n'),
  'a rule that is text': rules('- Metadata\n'),
  'rules as a map': `${HEAD}rules:\n  level: Metadata\n`,
  'a wrong indent': rules('- level: Metadata\n   users: ["alice"]\n'),
  'a tab as indent': rules('- level: Metadata\n\tusers: ["alice"]\n'),
  'an open bracket': rules('- level: Metadata\n  users: ["alice"\n'),
  'an open quote': rules('- level: "Metadata\n'),
  'no space behind the colon': rules('- level:Metadata\n'),
  'users as text': rules('- level: Metadata\n  users: alice\n'),
  'a user that is no text': rules('- level: Metadata\n  users: [on]\n'),
  'a number among the users': rules('- level: Metadata\n  users: [12]\n'),
  'verbs as a map': rules('- level: Metadata\n  verbs: {get: true}\n'),
  'a stage that does not exist': rules('- level: Metadata\n  omitStages: ["Received"]\n'),
  'a stage of the policy that does not exist': `${HEAD}omitStages: ["requestReceived"]\nrules:\n- level: Metadata\n`,
  'stages as text': `${HEAD}omitStages: RequestReceived\nrules:\n- level: Metadata\n`,
  'omitManagedFields as text': rules('- level: Metadata\n  omitManagedFields: "yes"\n'),
  'resources as names': rules('- level: Metadata\n  resources: ["pods"]\n'),
  'resources of a group as text': rules(
    '- level: Metadata\n  resources:\n  - group: ""\n    resources: pods\n',
  ),
  'the version in the group': rules(
    '- level: Metadata\n  resources:\n  - group: apps/v1\n    resources: ["deployments"]\n',
  ),
  'a group that is none': rules('- level: Metadata\n  resources:\n  - group: "Apps!"\n'),
  'resourceNames without resources': rules(
    '- level: Metadata\n  resources:\n  - group: ""\n    resourceNames: ["a"]\n',
  ),
  'resources and URLs together': rules(
    '- level: Metadata\n  resources:\n  - group: ""\n  nonResourceURLs: ["/healthz"]\n',
  ),
  'namespaces and URLs together': rules(
    '- level: Metadata\n  namespaces: ["a"]\n  nonResourceURLs: ["/healthz"]\n',
  ),
  'a URL without a slash': rules('- level: Metadata\n  nonResourceURLs: ["healthz"]\n'),
  'an empty URL': rules('- level: Metadata\n  nonResourceURLs: [""]\n'),
  'a star in the middle of a URL': rules('- level: Metadata\n  nonResourceURLs: ["/a/*/b"]\n'),
  'two stars in a URL': rules('- level: Metadata\n  nonResourceURLs: ["/a/**"]\n'),
  'an alias without its anchor': rules('- level: *nobody\n'),
  'text behind the document':
    '{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Metadata"}]} x',
  'JSON with a comma too many':
    '{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Metadata"},]}',
  'a list': '- level: Metadata\n',
  'a scalar': 'Metadata\n',
  'a Secret': 'apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n',
  'the ConfigMap in itself': 'apiVersion: v1\nkind: ConfigMap\ndata:\n  policy.yaml: ""\n',
  'not a number': `${HEAD}x: .nan\nrules:\n- level: Metadata\n`,
  'a control character': rules('- level: "Meta\u0001data"\n'),
  'the wrong second rule': rules('- level: None\n  users: ["a"]\n- level: Meta\n'),
  'two faults at once': rules('- level: Nothing\n- level: Metadata\n  nonResourceURLs: ["x"]\n'),
  'a map as level': rules('- level: {Metadata: true}\n'),
  'a list as group': rules('- level: Metadata\n  resources:\n  - group: [""]\n'),
  'metadata as text': `${HEAD}metadata: name\nrules:\n- level: Metadata\n`,
};

describe('broken policies through kubectl', {
  skip: await skipWithoutControlPlane('policies through kubectl'),
}, () => {
  let seed: ControlPlane;
  let server: WebhookServer;
  const CONFIGMAP = '/api/v1/namespaces/cluster-policies/configmaps/audit-config';

  before(async () => {
    seed = await startControlPlane();
    await prepareSeed(seed.client);
    await seed.client.request('POST', SEEDS_PATH, renderSeed({ free: {} }));
    server = await startWebhookServer(seed);
    await registerWebhooks(seed.client, server);
    await createCluster(seed.client, { name: 'policies', datacenter: 'free' });
  });
  after(async () => {
    await server?.stop();
    await seed?.stop();
  });

  const stored = (): Promise<unknown> => seed.client.request('GET', CONFIGMAP);
  const manifest = (policy: string): string =>
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'audit-config', namespace: 'cluster-policies' },
      data: { 'policy.yaml': policy },
    });

  for (const [name, policy] of Object.entries(BROKEN)) {
    test(`kubectl apply: ${name}`, async () => {
      const before = await stored();
      const { code, stderr } = await seed.kubectl(['apply', '-f', '-'], {
        as: IDENTITIES.alice,
        input: manifest(policy),
      });
      assert.equal(code, 1, `it is accepted: ${stderr}`);
      assert.match(stderr, /denied the request/);
      assert.match(stderr, PLACE);
      assert.deepEqual(await stored(), before);
    });
  }

  test('kubectl edit: a slip is refused, the text is kept for the person, and what is stored stays', async () => {
    const before = await stored();
    const editor = path.join(seed.dir, 'slip.sh');
    writeFileSync(editor, '#!/bin/sh\nsed -i "s/Metadata/Metdata/" "$1"\n');
    chmodSync(editor, 0o755);
    const args = ['-n', 'cluster-policies', 'edit', 'configmap', 'audit-config'];
    const { code, stderr } = await seed.kubectl(args, { as: IDENTITIES.alice, env: { KUBE_EDITOR: editor } });
    assert.equal(code, 1, stderr);
    assert.match(stderr, /rules\[0\]\.level/);
    assert.match(stderr, /Metdata/);
    assert.deepEqual(await stored(), before);
  });

  test('a policy that is fine is stored', async () => {
    const fine = rules('- level: None\n  users: ["system:kube-proxy"]\n- level: Metadata\n');
    const { code, stderr } = await seed.kubectl(['apply', '-f', '-'], {
      as: IDENTITIES.alice,
      input: manifest(fine),
    });
    assert.equal(code, 0, stderr);
    assert.equal(((await stored()) as { data: Record<string, string> }).data['policy.yaml'], fine);
  });
});
