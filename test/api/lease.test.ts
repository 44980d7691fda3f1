// Leader election on a real kube-apiserver.
import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import { KubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/credentials.ts';
import { LeaderElection } from '../../src/kube/lease.ts';
import { skipWithoutControlPlane } from '../support/binaries.ts';
import { type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import { startCut } from '../support/cut.ts';
import { IDENTITIES, type Identity } from '../support/identities.ts';
import { kubeconfigThrough } from '../support/kubeconfig.ts';
import { testLog } from '../support/log.ts';
import { until } from '../support/wait.ts';

const skip = await skipWithoutControlPlane('leader election');
const LEASES = '/apis/coordination.k8s.io/v1/namespaces/default/leases';

describe('leader election', { skip }, () => {
  let controlPlane: ControlPlane;

  before(async () => {
    controlPlane = await startControlPlane();
  });
  after(() => controlPlane.stop());

  async function joinElection(
    t: TestContext,
    name: string,
    identity: string,
    options: { as?: Identity; port?: number; namespace?: string } = {},
  ) {
    const file = await kubeconfigThrough(controlPlane, options.as ?? IDENTITIES.admin, options.port);
    const client = new KubeClient(await loadKubeconfig(file));
    const log = testLog();
    const election = new LeaderElection({
      client,
      logger: log.logger,
      namespace: options.namespace ?? 'default',
      name,
      identity,
      leaseDurationMs: 3000,
      renewDeadlineMs: 2000,
      retryPeriodMs: 200,
      lead: (signal) =>
        new Promise((resolve) => {
          if (signal.aborted) resolve();
          else signal.addEventListener('abort', () => resolve());
        }),
    });
    t.after(async () => {
      await election.close();
      await client.close();
    });
    election.start();
    return { election, log };
  }

  test('one of three leads; kubectl shows it; the next leads once it lets go', async (t) => {
    const replicas = await Promise.all(['a', 'b', 'c'].map((identity) => joinElection(t, 'three', identity)));
    const leaders = () => replicas.filter(({ election }) => election.isLeader());
    await until('a leader', () => leaders().length > 0);
    const [first] = leaders();
    await until('that all know it', () =>
      replicas.every(({ election }) => election.holder() === first?.election.identity),
    );
    assert.equal(leaders().length, 1);
    const shown = await controlPlane.kubectl([
      'get',
      'lease',
      'three',
      '-o',
      'jsonpath={.spec.holderIdentity} {.spec.leaseTransitions}',
    ]);
    assert.equal(shown.stdout, `${first?.election.identity} 0`);
    await first?.election.close();
    await until('the next leader', () => leaders().length > 0);
    assert.notEqual(leaders()[0], first);
    const lease = await controlPlane.client.request<{ spec: { leaseTransitions: number } }>(
      'GET',
      `${LEASES}/three`,
    );
    assert.equal(lease.spec.leaseTransitions, 1);
  });

  test('a leader that is cut off steps down before another leads', async (t) => {
    const network = await startCut(Number(new URL(controlPlane.url).port));
    t.after(() => network.stop());
    const a = await joinElection(t, 'cut', 'a', { port: network.port });
    await until('a to lead', () => a.election.isLeader());
    const b = await joinElection(t, 'cut', 'b');
    await until('b to see it', () => b.election.holder() === a.election.identity);
    network.cut();
    await until('a to step down', () => !a.election.isLeader());
    assert.ok(!b.election.isLeader());
    await until('b to lead', () => b.election.isLeader());
    network.mend();
    await until('a to see that', () => a.election.holder() === b.election.identity);
    assert.ok(!a.election.isLeader());
  });

  test('a leader outlives a short absence of the API server', async (t) => {
    const { election, log } = await joinElection(t, 'restart', 'a');
    await until('it to lead', () => election.isLeader());
    await controlPlane.stopApiserver();
    await until('the absence to be noticed', () => election.problem() !== undefined);
    await controlPlane.restartApiserver();
    await until('it to lead (again)', () => election.isLeader() && election.problem() === undefined);
    assert.ok(log.withMessage('the Lease cannot be used').length >= 1);
  });

  test('rights and namespaces that are missing are told', async (t) => {
    const stranger = await joinElection(t, 'forbidden', 'a', { as: { user: 'stranger' } });
    await until('the problem', () => stranger.election.problem() !== undefined);
    assert.match(stranger.election.problem() ?? '', /403 Forbidden: .*leases/);
    const lost = await joinElection(t, 'nowhere', 'a', { namespace: 'nowhere' });
    await until('the other problem', () => lost.election.problem() !== undefined);
    assert.match(lost.election.problem() ?? '', /404 NotFound: namespaces "nowhere" not found/);
    assert.ok(!stranger.election.isLeader() && !lost.election.isLeader());
  });
});
