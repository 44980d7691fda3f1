/** Certificates of the own CA, published to a real kube-apiserver, rotated, and broken by others; two replicas behind a balancer. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { connect } from 'node:tls';
import { splitCertificates } from '../../src/certs/authority.ts';
import type { WebhookConfiguration } from '../../src/certs/publish.ts';
import { sendProbe } from '../../src/certs/send-probe.ts';
import { KubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/credentials.ts';
import type { Secret } from '../../src/kubernetes.ts';
import { isReady } from '../support/balancer.ts';
import { BASE_PROGRAMS } from '../support/binaries.ts';
import { testCa } from '../support/certificates.ts';
import { type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import { RELEASE, skipWithoutHelm } from '../support/helm.ts';
import { IDENTITIES } from '../support/identities.ts';
import { type Installation, install, type Replica } from '../support/installation.ts';
import { createCluster, prepareSeed, renderSeed, SEEDS_PATH } from '../support/seed.ts';
import { until } from '../support/wait.ts';

const skip = await skipWithoutHelm('certificates on a real kube-apiserver', BASE_PROGRAMS);

const SECRET = `/api/v1/namespaces/${RELEASE.namespace}/secrets/kkp-audit-webhook-ca`;
const HOOKS = ['audit.kubermatic.k8c.io', 'enforced.audit.kubermatic.k8c.io'].flatMap((name) =>
  ['mutating', 'validating'].map(
    (kind) => `/apis/admissionregistration.k8s.io/v1/${kind}webhookconfigurations/${name}`,
  ),
);

describe('self-managed certificates', { skip }, () => {
  let seed: ControlPlane;
  let installation: Installation;
  let replicas: Replica[];
  let client: KubeClient;

  before(async () => {
    seed = await startControlPlane();
    await prepareSeed(seed.client);
    await seed.client.request('POST', SEEDS_PATH, renderSeed({ 'aws-1': { enforceAuditLogging: true } }));
    await createCluster(seed.client, { name: 'one', datacenter: 'aws-1' });
    installation = await install(seed);
    replicas = await Promise.all([installation.startReplica(), installation.startReplica()]);
    client = new KubeClient(await loadKubeconfig(seed.kubeconfigFor(IDENTITIES.webhook)));
  });
  after(async () => {
    await client?.close();
    await installation?.stop();
    await seed?.stop();
  });

  const readHooks = async () =>
    (await Promise.all(HOOKS.map((path) => seed.client.request<WebhookConfiguration>('GET', path)))).flatMap(
      ({ webhooks }) => webhooks ?? [],
    );
  /** One configuration is written after the other. */
  const untilFail = () =>
    until('Fail to be switched on', async () => {
      const enforced = (await readHooks()).filter(({ name }) => name.startsWith('enforced-'));
      return enforced.length > 0 && enforced.every(({ failurePolicy }) => failurePolicy === 'Fail');
    });
  const bundles = async (): Promise<string[][]> =>
    (await readHooks()).map(({ clientConfig }) =>
      splitCertificates(Buffer.from(clientConfig?.caBundle ?? '', 'base64').toString()),
    );
  const readCa = async (): Promise<string> => {
    const { data } = await seed.client.request<Secret>('GET', SECRET);
    return Buffer.from(data?.['ca.crt'] ?? '', 'base64').toString();
  };
  const trustsOnly = async (ca: string): Promise<boolean> =>
    (await bundles()).every((bundle) => bundle.length === 1 && bundle[0] === ca);
  const leafOf = async ({ port }: Replica): Promise<X509Certificate> => {
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    const certificate = socket.getPeerX509Certificate();
    socket.destroy();
    assert.ok(certificate);
    return certificate;
  };
  const isSignedBy = async (replica: Replica, ca: string): Promise<boolean> =>
    (await leafOf(replica)).verify(new X509Certificate(ca).publicKey);
  const allServe = async (ca: string): Promise<boolean> =>
    (await Promise.all(replicas.map((replica) => isSignedBy(replica, ca)))).every(Boolean);
  let probes = 0;
  const probe = () => sendProbe(client, 'cluster-one', `test-${probes++}`, () => performance.now());

  /** Probes and readiness in a loop while something happens: every one of them must be good. */
  const watchedWhile = async (what: () => Promise<void>, watched = () => replicas): Promise<void> => {
    let running = true;
    const failures: unknown[] = [];
    let rounds = 0;
    const watch = (async () => {
      while (running) {
        const [answer, ...ready] = await Promise.all([
          probe(),
          ...watched().map(({ opsUrl }) => isReady(opsUrl)),
        ]);
        if (!answer.answered) failures.push(answer.problem);
        if (ready.includes(false)) failures.push(`ready: ${ready}`);
        rounds += 1;
      }
    })();
    await what().finally(() => {
      running = false;
    });
    await watch;
    assert.deepEqual(failures, []);
    assert.ok(rounds > 10, `${rounds} rounds`);
  };

  test('all replicas serve what one CA signed, every hook trusts it, and Fail is on', async () => {
    const ca = await readCa();
    await until('all hooks to trust the CA alone', () => trustsOnly(ca));
    assert.ok(await allServe(ca));
    await untilFail();
    const policies = new Map((await readHooks()).map(({ name, failurePolicy }) => [name, failurePolicy]));
    for (const [name, policy] of policies)
      assert.equal(policy, name.startsWith('enforced-') ? 'Fail' : 'Ignore', name);
    assert.equal((await probe()).answered, true);
  });

  test('applying the chart again, as an upgrade does, takes away neither CA nor Fail', async () => {
    const versions = () =>
      Promise.all(
        HOOKS.map(
          async (path) =>
            (await seed.client.request<WebhookConfiguration>('GET', path)).metadata?.resourceVersion,
        ),
      );
    await untilFail();
    const before = await versions();
    const input = installation.manifests
      .filter(({ kind }) => kind?.endsWith('WebhookConfiguration'))
      .map((manifest) => JSON.stringify(manifest))
      .join('\n---\n');
    const { code, stderr } = await seed.kubectl(['apply', '--server-side', '-f', '-'], { input });
    assert.equal(code, 0, stderr);
    assert.deepEqual(await versions(), before);
  });

  test('a rotation that is asked for goes through both CAs, and no call fails meanwhile', async () => {
    const old = await readCa();
    let sawBoth = false;
    await watchedWhile(async () => {
      await seed.client.request('PATCH', SECRET, {
        metadata: { annotations: { 'audit.kubermatic.k8c.io/rotate': 'now' } },
      });
      await until('another CA to sign', async () => {
        sawBoth ||= (await bundles()).every((bundle) => bundle.length === 2 && bundle.includes(old));
        return (await readCa()) !== old;
      });
      await until('both replicas to serve it', async () => allServe(await readCa()));
      await until('the old one to be dropped', async () => trustsOnly(await readCa()), 40_000);
    });
    assert.ok(sawBoth, 'both were trusted before the new one signed');
    const { metadata } = await seed.client.request<Secret>('GET', SECRET);
    assert.equal(metadata?.annotations?.['audit.kubermatic.k8c.io/rotate'], undefined);
  });

  test('a Secret that somebody broke is made anew, and no replica goes down', async () => {
    const old = await readCa();
    await watchedWhile(async () => {
      await seed.client.request('PATCH', SECRET, {
        data: { 'ca.crt': Buffer.from('nonsense').toString('base64') },
      });
      await until('a CA that is none of these', async () => ![old, 'nonsense'].includes(await readCa()));
      await until('both replicas to serve it', async () => allServe(await readCa()));
    });
    const logs = replicas.map(({ child }) => readFileSync(child.logFile, 'utf8'));
    assert.ok(
      logs.some((log) => log.includes('the Secret of the CA is broken')),
      'the fault is on record',
    );
  });

  test('a Secret that somebody deleted is made anew as well', async () => {
    const old = await readCa();
    await watchedWhile(async () => {
      await seed.client.request('DELETE', SECRET);
      await until('another CA', async () => {
        const secret = await seed.client.find<Secret>(SECRET);
        return secret !== undefined && (await readCa()) !== old;
      });
      await until('both replicas to serve it', async () => allServe(await readCa()));
    });
  });

  test('what somebody took out of a webhook configuration comes back', async () => {
    const path = HOOKS[1] ?? '';
    const [name = ''] = ((await seed.client.request<WebhookConfiguration>('GET', path)).webhooks ?? []).map(
      (hook) => hook.name,
    );
    const patch = [{ op: 'remove', path: '/webhooks/0/clientConfig/caBundle' }];
    await seed.client.request('PATCH', path, patch, { contentType: 'application/json-patch+json' });
    await until(`${name} to trust the CA again`, async () =>
      (await bundles()).every((bundle) => bundle.length > 0),
    );
  });

  test('a replica that kube-apiserver would not believe is not ready, and says why', async () => {
    const ca = await readCa();
    await until('the hooks to trust the CA', async () =>
      (await bundles()).every((bundle) => bundle.includes(ca)),
    );
    const outsider = await installation.launchReplica({
      args: ['--certificates=temporary', '--no-controller'],
    });
    installation.balancer.remove(outsider);
    const reasons = async (): Promise<string> => {
      const answer = await fetch(`${outsider.opsUrl}/readyz`).catch(() => undefined);
      return answer?.status === 503 ? answer.text() : '';
    };
    await until('the reason to be told', async () => /would not (?:trust|believe)/.test(await reasons()));
    await outsider.child.stop();
  });

  test('when an upgrade gives the hooks another address, the entries with Fail follow it', async () => {
    await untilFail();
    const old = '//127.0.0.1:';
    const moved = '//localhost:';
    const isAt = async (address: string): Promise<boolean> =>
      (await readHooks()).every(({ clientConfig }) => clientConfig?.url?.includes(address));
    const move = async (from: string, to: string): Promise<void> => {
      const input = installation.manifests
        .filter(({ kind }) => kind?.endsWith('WebhookConfiguration'))
        .map((manifest) => JSON.stringify(manifest).replaceAll(from, to))
        .join('\n---\n');
      const { code, stderr } = await seed.kubectl(['apply', '--server-side', '-f', '-'], { input });
      assert.equal(code, 0, stderr);
    };
    await watchedWhile(async () => {
      await move(old, moved);
      await until('all hooks to be at the new address', () => isAt(moved), 40_000);
    });
    await move(moved, old);
    await until('all hooks to be at the old address', () => isAt(old), 40_000);
  });

  test('another source of certificates rolls out, there and back, and no call fails', async () => {
    const { ca, issue } = await testCa();
    const { cert, key } = await issue();
    const file = (name: string, text: string): string => {
      const path = join(seed.dir, name);
      writeFileSync(path, text);
      return path;
    };
    const args = [
      '--certificates=files',
      `--tls-cert=${file('tls.crt', cert)}`,
      `--tls-key=${file('tls.key', key)}`,
      `--tls-ca=${file('ca.crt', ca.cert)}`,
    ];
    for (const options of [{ args }, {}]) {
      await watchedWhile(
        async () => {
          for (const old of [...replicas]) {
            const replica = await installation.startReplica(options);
            await installation.endReplica(old);
            replicas = [...replicas.filter((one) => one !== old), replica];
          }
        },
        () => [],
      );
      const [leaf, ...leaves] = await Promise.all(replicas.map(leafOf));
      assert.equal(leaf?.raw.equals(leaves[0]?.raw ?? Buffer.of()), options.args !== undefined, 'of files');
    }
  });
});
