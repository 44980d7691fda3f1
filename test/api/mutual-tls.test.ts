/** Mutual TLS with a real kube-apiserver: it shows the certificate of its AdmissionConfiguration, and whoever has none gets nowhere. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { issueCa, type KeyPair } from '../../src/certificates.ts';
import { skipWithoutControlPlane } from '../support/binaries.ts';
import { issueClientCertificate } from '../support/certificates.ts';
import { removeFolder, temporaryFolder } from '../support/children.ts';
import { type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import { renderKkp } from '../support/fixtures.ts';
import { createCluster, prepareSeed, renderSeed, SEEDS_PATH } from '../support/seed.ts';
import { until } from '../support/wait.ts';
import { startWebhookServer, type WebhookServer } from '../support/webhook-server.ts';
import { registerWebhooks } from '../support/webhooks.ts';

const CLIENT_NAME = 'kube-apiserver-of-the-seed';

describe('mutual TLS', {
  skip: await skipWithoutControlPlane('mutual TLS with a real kube-apiserver'),
}, () => {
  const dir = temporaryFolder();
  const file = (name: string, content: string): string => {
    const path = join(dir, name);
    writeFileSync(path, content);
    return path;
  };
  let seed: ControlPlane;
  let server: WebhookServer;
  let ca: KeyPair;
  let clientCaFile: string;

  before(async () => {
    ca = await issueCa({ days: 1, now: new Date() });
    clientCaFile = file('client-ca.crt', ca.cert);
    const { cert, key } = await issueClientCertificate(ca, CLIENT_NAME);
    // As docs/certificates.md shows it.
    const kubeconfig = file(
      'webhooks.kubeconfig',
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        users: [
          {
            name: '*',
            user: { 'client-certificate': file('client.crt', cert), 'client-key': file('client.key', key) },
          },
        ],
      }),
    );
    const plugin = (name: string) => ({
      name,
      configuration: {
        apiVersion: 'apiserver.config.k8s.io/v1',
        kind: 'WebhookAdmissionConfiguration',
        kubeConfigFile: kubeconfig,
      },
    });
    const admission = file(
      'admission.json',
      JSON.stringify({
        apiVersion: 'apiserver.config.k8s.io/v1',
        kind: 'AdmissionConfiguration',
        plugins: ['MutatingAdmissionWebhook', 'ValidatingAdmissionWebhook'].map(plugin),
      }),
    );
    seed = await startControlPlane({ extraArgs: [`--admission-control-config-file=${admission}`] });
    await prepareSeed(seed.client);
    await seed.client.request('POST', SEEDS_PATH, renderSeed({ 'aws-1': { enforceAuditLogging: true } }));
    server = await startWebhookServer(seed, {
      args: ['--tls-client-ca', clientCaFile, '--tls-client-name', CLIENT_NAME],
    });
    await registerWebhooks(seed.client, server);
  });
  after(async () => {
    await server?.stop();
    await seed?.stop();
    removeFolder(dir);
  });

  /** The status that a client with that certificate gets; an error's code where it gets none. */
  const call = (pair?: KeyPair): Promise<number | string> =>
    new Promise((resolve) => {
      const url = new URL('/validate', server.url);
      request(url, { ca: server.ca, agent: false, ...(pair !== undefined && pair) }, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      })
        .on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
        .end();
    });

  test('kube-apiserver gets through', async () => {
    await createCluster(seed.client, { name: 'one', datacenter: 'aws-1' });
    const created = await seed.client.request<{
      spec: { template: { spec: { containers: { name: string }[] } } };
    }>('POST', '/apis/apps/v1/namespaces/cluster-one/deployments', renderKkp({ cluster: 'one' }));
    assert.ok(created.spec.template.spec.containers.some(({ name }) => name === 'audit-logs'));
  });

  test('only a client with a certificate of that CA and with that name is answered', async () => {
    const otherCa = await issueCa({ days: 1, now: new Date() });
    assert.equal(await call(await issueClientCertificate(ca, CLIENT_NAME)), 405);
    assert.equal(
      await call(await issueClientCertificate(ca, 'somebody', [CLIENT_NAME])),
      405,
      'an alternative name does',
    );
    assert.equal(typeof (await call()), 'string', 'no certificate');
    assert.equal(
      typeof (await call(await issueClientCertificate(otherCa, CLIENT_NAME))),
      'string',
      'of another CA',
    );
    assert.equal(
      typeof (await call(await issueClientCertificate(ca, 'somebody'))),
      'string',
      'of another name',
    );
    assert.equal(
      typeof (await call(await issueClientCertificate(ca, `${CLIENT_NAME}.example.org`))),
      'string',
      'a longer name',
    );
  });

  test('another CA in the file counts without a restart; nonsense does not', async () => {
    const next = await issueCa({ days: 1, now: new Date() });
    const [old, fresh] = await Promise.all([
      issueClientCertificate(ca, CLIENT_NAME),
      issueClientCertificate(next, CLIENT_NAME),
    ]);
    writeFileSync(clientCaFile, 'nonsense');
    assert.equal(await call(old), 405);
    writeFileSync(clientCaFile, next.cert);
    await until('the new CA to count', async () => (await call(fresh)) === 405, 30_000);
    assert.equal(typeof (await call(old)), 'string');
  });
});
