/** `policy diff`: the requests that two policies log differently. */
import {
  comparePolicies,
  type Difference,
  type Evaluation,
  type Policy,
  writtenLevel,
} from '../../policy/index.ts';
import type { CliIo } from '../io.ts';
import { paintFor, printable, table } from '../table.ts';

const EXIT_DIFFERENT = 1;
const COLOURS = { less: 'red', more: 'green', other: 'cyan' } as const;

/** As diff does: exit code 0 for policies that log alike, 1 for others. */
export function runDiff(io: CliIo, before: Policy, after: Policy, output: 'table' | 'json'): void {
  const differences = comparePolicies(before, after);
  if (differences.length > 0) io.setExitCode(EXIT_DIFFERENT);
  const count = (change: Difference['change']): number =>
    differences.filter((one) => one.change === change).length;
  const summary = { less: count('less'), more: count('more'), other: count('other') };
  if (output === 'json') {
    const list = differences.map((one) => ({
      ...one,
      before: { ...one.before, rule: one.before.rule ?? null },
      after: { ...one.after, rule: one.after.rule ?? null },
    }));
    io.stdout.write(`${JSON.stringify({ differences: list, summary }, null, 2)}\n`);
    return;
  }
  const paint = paintFor(io.stdout, io.env);
  const rows = differences.map((one) => [
    paint(COLOURS[one.change], one.change),
    printable(one.title),
    side(one.before, one),
    side(one.after, one),
  ]);
  io.stdout.write(
    table([{ title: 'CHANGE' }, { title: 'REQUEST' }, { title: 'BEFORE' }, { title: 'AFTER' }], rows, paint),
  );
  io.stdout.write(
    differences.length === 0
      ? 'The policies log the representative requests alike.\n'
      : `${summary.less} logged less, ${summary.more} logged more, ${summary.other} at other stages or with other fields\n`,
  );
}

function side(evaluation: Evaluation, { request, change }: Difference): string {
  const rule = evaluation.rule === undefined ? 'no rule' : `rules[${evaluation.rule}]`;
  if (change !== 'other') return `${writtenLevel(evaluation, request)} (${rule})`;
  const omitted = [...evaluation.omitStages, ...(evaluation.omitManagedFields ? ['managedFields'] : [])];
  return `${evaluation.level} without ${omitted.join(', ') || 'omissions'} (${rule})`;
}
