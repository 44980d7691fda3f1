/**
 * Against Kubernetes' own code: the same policies and requests on both sides, for each minor version. A seed is printed; a counter-example that
 * fast-check has shrunk belongs into regressions.ts. SOAK=1 runs 20,000 policies and 200,000 requests a version.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import {
  evaluate,
  KUBERNETES_MINORS,
  type Level,
  type PolicyRule,
  type RequestAttributes,
  readPolicy,
  type Stage,
} from '../../src/policy/index.ts';
import { buildJudge, Judge, type JudgeRule, missingGo } from '../policyjudge/judge.ts';
import {
  damagedPolicyArbitrary,
  matchingTable,
  policyArbitrary,
  requestArbitrary,
  soupArbitrary,
} from './generate.ts';
import { REGRESSIONS } from './regressions.ts';

const REQUESTS_A_POLICY = 10;
const seed = Number(process.env.SEED ?? Date.now() & 0x7fffffff);
const runs = process.env.SOAK ? 20_000 : 600;
const noGo = missingGo();
if (noGo !== undefined) process.stderr.write(`${noGo}\n`);

/** What we say must be what Kubernetes says: refused or not, and what every request would be logged at. */
async function compare(
  judge: Judge,
  minor: number,
  text: string,
  requests: RequestAttributes[],
): Promise<boolean> {
  const theirs = await judge.ask(text, requests);
  const ours = readPolicy(text, { kubernetesMinor: minor });
  const { policy } = ours;
  const verdict = policy === undefined ? 'refused' : 'taken';
  const reason = policy === undefined ? JSON.stringify(ours.errors[0]) : theirs.error;
  assert.equal(theirs.panicked, undefined, `Kubernetes itself crashed: ${theirs.error}\n${text}`);
  assert.equal(verdict, theirs.error === '' ? 'taken' : 'refused', `${reason}\n${text}`);
  if (policy === undefined) return false;
  assert.deepEqual(policy.rules, theirs.rules?.map(fromGo), text);
  assert.deepEqual(policy.omitStages, theirs.omitStages ?? []);
  requests.forEach((request, index) => {
    const { level, omitStages, omitManagedFields } = evaluate(policy, request);
    const { omitStages: stages, ...rest } = theirs.verdicts?.[index] ?? assert.fail('no verdict');
    assert.deepEqual({ level, omitManagedFields }, rest);
    assert.deepEqual(new Set(omitStages), new Set(stages));
  });
  return true;
}

function fromGo(rule: JudgeRule): PolicyRule {
  return {
    level: rule.Level as Level,
    users: rule.Users ?? [],
    userGroups: rule.UserGroups ?? [],
    verbs: rule.Verbs ?? [],
    resources: (rule.Resources ?? []).map((item) => ({
      group: item.Group,
      resources: item.Resources ?? [],
      resourceNames: item.ResourceNames ?? [],
    })),
    namespaces: rule.Namespaces ?? [],
    nonResourceURLs: rule.NonResourceURLs ?? [],
    omitStages: (rule.OmitStages ?? []) as readonly Stage[],
    omitManagedFields: rule.OmitManagedFields ?? undefined,
  };
}

for (const minor of KUBERNETES_MINORS) {
  describe(`judged as Kubernetes 1.${minor} does (seed ${seed})`, { skip: noGo }, () => {
    let judge: Judge;
    before(async () => {
      judge = new Judge(await buildJudge(minor));
    });
    after(() => judge.close());

    const requests = fc.array(requestArbitrary, {
      minLength: REQUESTS_A_POLICY,
      maxLength: REQUESTS_A_POLICY,
    });
    const kinds = { whole: policyArbitrary, damaged: damagedPolicyArbitrary, 'heaps of text': soupArbitrary };
    for (const [name, arbitrary] of Object.entries(kinds)) {
      test(`policies: ${name}`, async (t) => {
        let taken = 0;
        let seen = 0;
        await fc.assert(
          fc.asyncProperty(arbitrary, requests, async (text, some) => {
            if (await compare(judge, minor, text, some)) taken++;
            seen++;
          }),
          { seed, numRuns: runs, endOnFailure: false },
        );
        t.diagnostic(`${seen} policies, ${taken} of them taken`);
        // A generator that makes nothing but refusals would compare nothing.
        if (name === 'whole') assert.ok(taken > seen / 4, `only ${taken} of ${seen} were taken`);
      });
    }

    test('every pattern against every resource', async () => {
      for (const { text, requests } of matchingTable()) await compare(judge, minor, text, requests);
    });

    for (const [name, texts] of Object.entries(REGRESSIONS)) {
      test(`corners: ${name}`, async () => {
        const some = fc.sample(requestArbitrary, { seed: 1, numRuns: REQUESTS_A_POLICY });
        for (const text of texts) await compare(judge, minor, text, some);
      });
    }
  });
}
