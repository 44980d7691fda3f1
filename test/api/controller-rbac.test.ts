/** A controller that may not do everything does the rest, and says what it may not. On a real kube-apiserver. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { request } from 'undici';
import { findUnaudited } from '../support/audited.ts';
import { skipWithoutControlPlane } from '../support/binaries.ts';
import { ALL_PROGRAMS, type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import { renderKkp } from '../support/fixtures.ts';
import type { Identity } from '../support/identities.ts';
import { addNodes, createCluster, prepareSeed, renderSeed, SEEDS_PATH } from '../support/seed.ts';
import { until } from '../support/wait.ts';
import { startWebhookServer, type WebhookServer } from '../support/webhook-server.ts';
import { registerWebhooks } from '../support/webhooks.ts';

const LIMITED: Identity = { user: 'limited', groups: ['system:authenticated'] };
const RBAC = '/apis/rbac.authorization.k8s.io/v1';
const READ = ['get', 'list', 'watch'];
const CONFIG = 'defaults: { rollout: { graceSeconds: 1 } }';

describe('a controller that may not do everything', {
  skip: await skipWithoutControlPlane('missing rights of the controller', ALL_PROGRAMS),
}, () => {
  let seed: ControlPlane;
  let server: WebhookServer;

  before(async () => {
    seed = await startControlPlane({ controllers: true, kwok: true });
    await prepareSeed(seed.client);
    await addNodes(seed.client);
    await seed.client.request('POST', SEEDS_PATH, renderSeed({ dc: { enforceAuditLogging: true } }));
    // Neither reads NetworkPolicies nor writes Secrets, Events and namespaces.
    const rules = [
      { apiGroups: ['', 'apps', 'kubermatic.k8c.io'], resources: ['*'], verbs: READ },
      { apiGroups: ['kubermatic.k8c.io'], resources: ['clusters'], verbs: ['patch'] },
      { apiGroups: ['apps'], resources: ['deployments'], verbs: ['patch'] },
      { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: [...READ, 'create', 'update'] },
    ];
    await seed.client.request('POST', `${RBAC}/clusterroles`, { metadata: { name: 'limited' }, rules });
    await seed.client.request('POST', `${RBAC}/clusterrolebindings`, {
      metadata: { name: 'limited' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'limited' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: LIMITED.user }],
    });
    await createCluster(seed.client, { name: 'old', datacenter: 'dc' });
    const path = '/apis/apps/v1/namespaces/cluster-old/deployments';
    await seed.client.request('POST', path, renderKkp({ cluster: 'old' }));
    server = await startWebhookServer(seed, { config: CONFIG, identity: LIMITED });
    await registerWebhooks(seed.client, server);
  });
  after(async () => {
    await server?.stop();
    await seed?.stop();
  });

  test('the rest goes on; a metric and one line of the log say what is refused', async () => {
    await until(
      'the old cluster to be audited',
      async () => {
        const pods = await findUnaudited(seed.client, 'old');
        return pods.length === 2 && pods.every((problems) => problems.length === 0);
      },
      60_000,
    );
    const { body } = await request(`${server.opsUrl}/metrics`);
    const metrics = await body.text();
    for (const action of ['createFluentBit', 'writeTuning', 'labelNamespace'])
      assert.match(
        metrics,
        new RegExp(`actions_total\\{action="${action}",outcome="forbidden"\\} [1-9]`),
        action,
      );
    assert.match(metrics, /controller_cache_problems 2/);
    const lines = readFileSync(join(seed.dir, 'webhook-server-0.log'), 'utf8').split('\n');
    const told = lines.filter(
      (line) => line.includes('controller: not allowed') && line.includes('createFluentBit'),
    );
    assert.equal(told.length, 1);
    assert.match(told[0] ?? '', /cannot create resource/);
  });
});
