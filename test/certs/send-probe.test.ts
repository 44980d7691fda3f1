/** What a probe makes of kube-apiserver's answers. That the hooks give theirs on a real one is in test/api/certificates.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerTo } from '../../src/certs/probe.ts';
import { type ProbeResult, sendProbe } from '../../src/certs/send-probe.ts';
import { KubeError } from '../../src/kube/client.ts';

type Outcome = 'answered' | 'not answered' | 'not tried';

const RBAC =
  'configmaps is forbidden: User "a" cannot create resource "configmaps" in API group "" in the namespace "n"';

/** What kube-apiserver says, and what it tells of the hooks. */
const ANSWERS: readonly (readonly [statusCode: number, message: string, Outcome])[] = [
  [403, `admission webhook "v.audit" denied the request: ${answerTo('1')}`, 'answered'],
  [403, `admission webhook "v.audit" denied the request: ${answerTo('2')}`, 'not answered'],
  [403, 'admission webhook "other" denied the request: no', 'not answered'],
  [404, 'admission webhook "other" denied the request: no', 'not answered'],
  [403, RBAC, 'not tried'],
  [401, 'Unauthorized', 'not tried'],
  [404, 'namespaces "n" not found', 'not tried'],
  [409, 'configmaps "audit-config" already exists', 'not answered'],
  [500, 'failed calling webhook "v.audit": connection refused', 'not answered'],
  [201, '', 'not answered'],
];

const outcomeOf = (result: ProbeResult): Outcome =>
  result.answered ? 'answered' : result.untried ? 'not tried' : 'not answered';

for (const [statusCode, message, outcome] of ANSWERS) {
  test(`${statusCode} ${message}: ${outcome}`, async () => {
    const request = async () => {
      if (statusCode !== 201) throw new KubeError(message, { statusCode, reason: '' });
      return {};
    };
    const result = await sendProbe({ request: request as never }, 'n', '1', () => 0);
    assert.equal(outcomeOf(result), outcome);
    if (!result.answered)
      assert.match(result.problem, statusCode === 201 || statusCode === 409 ? /went through/ : /./);
  });
}
