/** The verdict on a write of a policy, for whoever stores it: pure, and fast enough for an admission webhook. */
import { ComparisonTooLarge } from './choices.ts';
import { type Difference, differenceOf, writtenLevel } from './compare.ts';
import { type Evaluation, evaluate } from './evaluate.ts';
import { lint } from './lint.ts';
import { findOutcomes, type Outcome } from './outcomes.ts';
import { PRESETS } from './presets.ts';
import { formatProblem } from './problem.ts';
import { readPolicy } from './read.ts';
import { REPRESENTATIVE_REQUESTS } from './requests.ts';
import { compareLevels, type Policy } from './types.ts';

export interface PolicyChange {
  /** Undefined where nothing was stored before. */
  readonly oldText?: string | undefined;
  readonly newText: string;
  readonly enforced: boolean;
  /** Name of a preset: the least that must be logged where audit logging is enforced. */
  readonly demandedPreset?: string | undefined;
  /** Minor version of the Kubernetes 1.x that will read the policy; the newest known where it is not given. */
  readonly kubernetesMinor?: number | undefined;
}

export interface PolicyVerdict {
  /** Why kube-apiserver would not start; one line each, with its place; 50 lines at most, as of the others. */
  readonly errors: readonly string[];
  /** What is questionable; one line each, worst first. */
  readonly warnings: readonly string[];
  /** Where enforced: what would be logged less than is demanded, or that it can't be told; one line each. Empty where errors are not. */
  readonly lessLogged: readonly string[];
}

/** A person reads no more, and an answer of the API has to end somewhere. */
const MAX_LINES = 50;
/** What is beyond is not counted. */
const MAX_COUNT = 1000;

function atMost(lines: readonly string[]): readonly string[] {
  if (lines.length <= MAX_LINES) return lines;
  return [...lines.slice(0, MAX_LINES), `and ${lines.length - MAX_LINES} more`];
}

/**
 * | demanded preset | old policy | too little is |
 * |---|---|---|
 * | any | any | any representative request logged less than by the preset, and less than by the old policy where that is valid |
 * | none | valid | an essential request that the old policy logged and the new one does not |
 * | none | none, or invalid | a policy that logs no essential request at all |
 *
 * A policy that was too weak before may be edited without being made stronger: only a change towards less counts.
 * @throws {Error} where the demanded preset does not exist
 */
export function judgePolicyChange(change: PolicyChange): PolicyVerdict {
  const options = { kubernetesMinor: change.kubernetesMinor };
  const read = readPolicy(change.newText, options);
  const { policy } = read;
  if (policy === undefined) {
    return {
      errors: atMost(read.errors.map(formatProblem)),
      warnings: atMost(read.warnings.map(formatProblem)),
      lessLogged: [],
    };
  }
  const findings = lint(policy, { root: read.root, text: change.newText }).filter(
    ({ severity }) => severity === 'warning',
  );
  const old = change.oldText === undefined ? undefined : readPolicy(change.oldText, options).policy;
  return {
    errors: [],
    warnings: atMost([...read.warnings, ...findings].map(formatProblem)),
    lessLogged: change.enforced ? tooLittle(policy, old, change.demandedPreset) : [],
  };
}

function tooLittle(
  policy: Policy,
  old: Policy | undefined,
  demandedPreset: string | undefined,
): readonly string[] {
  if (demandedPreset !== undefined && demandedPreset !== '') {
    const demanded = readPreset(demandedPreset);
    const policies = old === undefined ? [demanded, policy] : [demanded, policy, old];
    return listDifferences(
      policy,
      findOutcomes(policies, { below: 'RequestResponse' }),
      ({ change, request, after }, before) => {
        if (change !== 'less') return false;
        return (
          before === undefined ||
          compareLevels(writtenLevel(after, request), writtenLevel(before, request)) < 0
        );
      },
    );
  }
  if (old !== undefined) {
    return listDifferences(
      policy,
      findOutcomes([old, policy], { essentialOnly: true, below: 'Metadata' }),
      ({ request, after }) => writtenLevel(after, request) === 'None',
    );
  }
  const logsAny = REPRESENTATIVE_REQUESTS.some(
    ({ essential, request }) => essential && writtenLevel(evaluate(policy, request), request) !== 'None',
  );
  return logsAny
    ? []
    : ['nothing that matters would be logged: no access to secrets, no exec, no change to RBAC or workloads'];
}

/**
 * The differences that count, none of them kept but those that are shown.
 * @param counts is given what a third policy makes of the request as well
 */
function listDifferences(
  policy: Policy,
  outcomes: Iterable<Outcome>,
  counts: (difference: Difference, third: Evaluation | undefined) => boolean,
): readonly string[] {
  const lines: string[] = [];
  let count = 0;
  try {
    for (const outcome of outcomes) {
      const difference = differenceOf(outcome);
      if (difference === undefined || !counts(difference, outcome.evaluations[2])) continue;
      count += 1;
      if (count <= MAX_LINES) lines.push(describeDifference(difference));
      else if (count > MAX_COUNT) return [...lines, `and more than ${MAX_COUNT - MAX_LINES} more`];
    }
  } catch (error) {
    if (!(error instanceof ComparisonTooLarge)) throw error;
    return [...lines, tooLarge(policy)];
  }
  return count <= MAX_LINES ? lines : [...lines, `and ${count - MAX_LINES} more`];
}

/** What cannot be compared might hide anything. */
function tooLarge(policy: Policy): string {
  return `the policy is too large to be compared with what is demanded (${policy.rules.length} rules); name fewer users, groups, namespaces and objects`;
}

function readPreset(name: string): Policy {
  const text = PRESETS.get(name);
  const policy = text === undefined ? undefined : readPolicy(text).policy;
  if (policy === undefined) {
    throw new Error(`no policy preset is named "${name}"; there are ${[...PRESETS.keys()].join(', ')}`);
  }
  return policy;
}

/** `get secrets by a user: None instead of Metadata (rule 3 of the new policy)` */
function describeDifference({ title, request, before, after }: Difference): string {
  const rule =
    after.rule === undefined ? 'no rule of the new policy matches' : `rules[${after.rule}] decides`;
  return `${title}: ${writtenLevel(after, request)} instead of ${writtenLevel(before, request)} (${rule})`;
}
