/** `policy explain`: the rule that decides a request, and why those before it do not. */
import {
  type Evaluation,
  evaluate,
  type Mismatch,
  mismatch,
  type Policy,
  type PolicyRule,
  type RequestAttributes,
  STAGES,
  titleOf,
  writtenLevel,
} from '../../policy/index.ts';
import type { CliIo } from '../io.ts';
import { paintFor, printable, table } from '../table.ts';

export function runExplain(
  io: CliIo,
  policy: Policy,
  request: RequestAttributes,
  output: 'table' | 'json',
): void {
  const evaluation = evaluate(policy, request);
  const passed = policy.rules.slice(0, evaluation.rule ?? policy.rules.length).map((rule, index) => {
    const field = mismatch(rule, request);
    return {
      rule: index,
      level: rule.level,
      field,
      why: field === undefined ? '' : whyNot(rule, field, request),
    };
  });
  const written = stagesOf(evaluation);
  if (output === 'json') {
    const { rule = null, level, omitManagedFields } = evaluation;
    const result = {
      request,
      rule,
      level,
      writtenLevel: writtenLevel(evaluation, request),
      stages: written,
      omitManagedFields,
      passed,
    };
    io.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    return;
  }
  const paint = paintFor(io.stdout, io.env);
  const { rule } = evaluation;
  const decides = rule === undefined ? 'no rule matches, so it is not logged' : `rules[${rule}] decides`;
  const lines = [
    `${printable(titleOf(request))}, groups ${printable(request.user?.groups.join(', ') ?? '')}`,
    `${paint('bold', decides)}: level ${paint(evaluation.level === 'None' ? 'yellow' : 'green', evaluation.level)}`,
  ];
  if (evaluation.level !== 'None') {
    lines.push(
      `stages written: ${written.join(', ') || 'none'}${evaluation.omitManagedFields ? '; without managedFields' : ''}`,
    );
  }
  io.stdout.write(`${lines.join('\n')}\n`);
  if (passed.length === 0) return;
  io.stdout.write(`\n${paint('dim', 'Rules before it, and the first field of each that does not match:')}\n`);
  const rows = passed.map((one) => [`rules[${one.rule}]`, one.level, one.field ?? '', printable(one.why)]);
  io.stdout.write(
    table([{ title: 'RULE' }, { title: 'LEVEL' }, { title: 'FIELD' }, { title: 'WHY NOT' }], rows, paint),
  );
}

function stagesOf(evaluation: Evaluation): string[] {
  if (evaluation.level === 'None') return [];
  return STAGES.filter((stage) => !evaluation.omitStages.includes(stage));
}

function whyNot(rule: PolicyRule, field: Mismatch, request: RequestAttributes): string {
  switch (field) {
    case 'users':
      return `${some(rule.users)}, not ${request.user?.name ?? 'nobody'}`;
    case 'userGroups':
      return `none of ${some(rule.userGroups)}`;
    case 'verbs':
      return `${some(rule.verbs)}, not ${request.verb}`;
    case 'namespaces':
      if (!request.isResource) return 'for resources only';
      return `${some(rule.namespaces)}, not ${request.namespace === '' ? '"" (no namespace)' : request.namespace}`;
    case 'resources':
      return request.isResource ? some(rule.resources.map(resourceText)) : 'for resources only';
    case 'nonResourceURLs':
      return request.isResource ? 'for paths only' : `${some(rule.nonResourceURLs)}, not ${request.path}`;
  }
}

function resourceText({ group, resources, resourceNames }: PolicyRule['resources'][number]): string {
  const names = resourceNames.length === 0 ? '' : ` named ${some(resourceNames)}`;
  const of = group === '' ? '' : ` in ${group}`;
  return `${resources.length === 0 ? 'all resources' : some(resources)}${of || (resources.length === 0 ? ' in the core group' : '')}${names}`;
}

const SHOWN = 6;

function some(values: readonly string[]): string {
  const shown = values.slice(0, SHOWN).map((value) => (value === '' ? '""' : value));
  return shown.join(', ') + (values.length > SHOWN ? ` and ${values.length - SHOWN} more` : '');
}
