// Through the front door: what readPolicy says of a policy is what a real kube-apiserver does with it, and what replay counts is what it writes.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Replayer, replayStream } from '../../src/cli/policy/replay.ts';
import { type Policy, PRESETS, readPolicy } from '../../src/policy/index.ts';
import { ApiError } from '../support/api-client.ts';
import { skipWithoutControlPlane } from '../support/binaries.ts';
import { removeFolder, temporaryFolder } from '../support/children.ts';
import { type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import { IDENTITIES } from '../support/identities.ts';
import { until } from '../support/wait.ts';

const skip = await skipWithoutControlPlane('audit policies on a real kube-apiserver');
const EVERYTHING = 'apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: RequestResponse\n';
/** Taken, though it looks wrong: an unknown field, a merge key, a second document. */
const ODD = `x: &all {level: Metadata}
apiVersion: audit.k8s.io/v1
rules:
- <<: *all
  user: [nobody]
  verbs: [~, get]
- <<: *all
---
rules: [nothing reads this
`;
/** Refused, though a YAML 1.2 parser has nothing to say against it. */
const REFUSED = 'apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n  verbs: [on]\n';

interface Line {
  readonly auditID: string;
  readonly user: { readonly username: string };
  readonly requestURI: string;
}

describe('audit policies on a real kube-apiserver', { skip }, () => {
  const dir = temporaryFolder();
  const policyFile = join(dir, 'policy.yaml');
  const logFile = join(dir, 'audit.log');
  let seed: ControlPlane;

  before(async () => {
    assert.notEqual(readPolicy(EVERYTHING).policy, undefined);
    writeFileSync(policyFile, EVERYTHING);
    const extraArgs = [
      `--audit-policy-file=${policyFile}`,
      `--audit-log-path=${logFile}`,
      '--audit-log-maxsize=1000',
    ];
    seed = await startControlPlane({ extraArgs });
  });
  after(async () => {
    await seed?.stop();
    removeFolder(dir);
  });

  /** Lines of the log that requests of the tests have left since the offset; the probes of the control plane itself don't count. */
  function linesSince(offset: number): string[] {
    const lines = readFileSync(logFile).subarray(offset).toString().split('\n').slice(0, -1);
    return lines.filter((line) => {
      const { user, requestURI } = JSON.parse(line) as Line;
      return user.username === IDENTITIES.admin.user && !requestURI.startsWith('/readyz');
    });
  }

  async function recorded(policy: string): Promise<string[]> {
    writeFileSync(policyFile, policy);
    await seed.restartApiserver();
    const offset = readFileSync(logFile).length;
    await makeRequests(seed);
    // The line of the last request is written once it is answered: the marker's proves that all before it are there.
    await until('the last request is in the log', () =>
      linesSince(offset).some((line) => line.includes('"/the-end"')),
    );
    return linesSince(offset);
  }

  test('a policy that we refuse keeps it from starting, and one that we take does not', async () => {
    assert.equal(readPolicy(REFUSED).errors[0]?.path, 'rules[0].verbs[0]');
    writeFileSync(policyFile, REFUSED);
    await assert.rejects(seed.restartApiserver(), /failed decoding|audit/);

    assert.notEqual(readPolicy(ODD).policy, undefined);
    writeFileSync(policyFile, ODD);
    await seed.restartApiserver();
  });

  test('replay counts what it would have written', async () => {
    const cis = PRESETS.get('cis') ?? '';
    const all = await recorded(EVERYTHING);
    const written = await recorded(cis);
    const policy = readPolicy(cis).policy as Policy;
    const replay = await replayStream(new Replayer(policy), toStream(all));
    const total = { lines: 0, bytes: 0 };
    for (const { lines, bytes } of replay.byRule) {
      total.lines += lines;
      total.bytes += bytes;
    }
    assert.equal(replay.unreadable, 0);
    assert.equal(total.lines, written.length, `${all.length} lines in all`);
    assert.ok(total.lines > 15 && total.lines < all.length / 2, `${total.lines} of ${all.length} lines`);
    const bytes = written.reduce((sum, line) => sum + Buffer.byteLength(line) + 1, 0);
    // Time stamps and versions differ in length from run to run.
    assert.ok(Math.abs(total.bytes / bytes - 1) < 0.01, `${total.bytes} bytes by replay, ${bytes} written`);
  });
});

async function* toStream(lines: readonly string[]): AsyncGenerator<Buffer> {
  // In pieces that end anywhere, as a file's do.
  const bytes = Buffer.from(`${lines.join('\n')}\n`);
  for (let at = 0; at < bytes.length; at += 5000) yield bytes.subarray(at, at + 5000);
}

/** The same requests every time; what they make is gone in the end. */
async function makeRequests({ client }: ControlPlane): Promise<void> {
  const base = '/api/v1/namespaces/default';
  const configMap = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'replayed' },
    data: { a: '<"&\u2028' },
  };
  await client.request('POST', `${base}/configmaps`, configMap);
  await client.request('PATCH', `${base}/configmaps/replayed`, { data: { b: 'x'.repeat(2000) } });
  await client.request('GET', `${base}/configmaps/replayed`);
  await client.request('GET', `${base}/configmaps`);
  await client.request('DELETE', `${base}/configmaps/replayed`);
  const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { generateName: 'replayed-' } };
  const { metadata } = await client.request<{ metadata: { name: string } }>(
    'POST',
    `${base}/secrets`,
    secret,
  );
  await client.request('GET', `${base}/secrets/${metadata.name}`);
  await client.request('DELETE', `${base}/secrets`);
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'replayed' },
    spec: { ports: [{ port: 80 }] },
  };
  await client.request('POST', `${base}/services`, service);
  await client.request('PATCH', `${base}/services/replayed`, { metadata: { labels: { a: 'b' } } });
  await client.request('DELETE', `${base}/services/replayed`);
  const role = {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: { name: 'replayed' },
    rules: [],
  };
  await client.request('POST', '/apis/rbac.authorization.k8s.io/v1/clusterroles', role);
  await client.request('DELETE', '/apis/rbac.authorization.k8s.io/v1/clusterroles/replayed');
  const lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'replayed' } };
  await client.request('POST', '/apis/coordination.k8s.io/v1/namespaces/default/leases', lease);
  await client.request('DELETE', '/apis/coordination.k8s.io/v1/namespaces/default/leases/replayed');
  // What a watch answers is no JSON object.
  await client.send('GET', `${base}/pods?watch=true&timeoutSeconds=1`).catch(() => undefined);
  await assert.rejects(client.request('GET', `${base}/pods/nobody/log`), ApiError);
  await assert.rejects(client.request('POST', `${base}/pods/nobody/exec?command=id`), ApiError);
  await client.as({ user: 'somebody-else' }).send('GET', `${base}/secrets`);
  await client.request('GET', '/version');
  await client.request('GET', '/healthz');
  await client.send('GET', '/the-end');
}
