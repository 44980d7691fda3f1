/** `check`: whether the seed is fit for this software (`--pre`), and whether an installation does its work; each line with its way out. */
import { Command, Option } from 'commander';
import { type CheckResult, runChecks, worstOf } from '../check/checks.ts';
import type { CheckStatus } from '../check/verdict.ts';
import { InputError } from '../input.ts';
import type { CliIo } from './io.ts';
import { defaultKubeconfig, loadConfig, openClient } from './source.ts';
import { type Paint, paintFor, printable, type Style } from './table.ts';

interface CheckOptions {
  readonly pre: boolean;
  readonly namespace: string;
  readonly name?: string;
  readonly config?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly output: 'text' | 'json';
}

const EXIT_CODES: Readonly<Record<CheckStatus, number>> = { ok: 0, warning: 1, failure: 2 };
const MARKS: Readonly<Record<CheckStatus, readonly [string, Style]>> = {
  ok: ['√', 'green'],
  warning: ['‼', 'yellow'],
  failure: ['×', 'red'],
};

export function checkCommand(io: CliIo): Command {
  return new Command('check')
    .description(
      'Say whether the installation does its work, and the way out where it does not. Exits with 0 where all is well, 1 with warnings, 2 with failures, 3 where it could not run.',
    )
    .option('--pre', 'before the installation: whether the seed is fit for it', false)
    .option(
      '-n, --namespace <namespace>',
      'where the software is, or is to be',
      io.env.POD_NAMESPACE || 'kkp-audit-webhook',
    )
    .option('--name <name>', 'its Deployment (default: the one with the label of the chart)')
    .option('--config <file>', 'settings of the software (default: those of the installation)')
    .option(
      '--kubeconfig <file>',
      'of the seed (default: those in $KUBECONFIG, the cluster around this pod, or ~/.kube/config)',
    )
    .option('--context <name>', 'context of the kubeconfig (default: its current one)')
    .addOption(new Option('-o, --output <format>', 'text or json').choices(['text', 'json']).default('text'))
    .action((options: CheckOptions) => check(options, io));
}

async function check(options: CheckOptions, io: CliIo): Promise<void> {
  const { pre, namespace, name } = options;
  const config = options.config === undefined ? undefined : await loadConfig(options.config, io);
  const client = await openClient(findCluster(options, io), io.env);
  if (client === undefined) {
    const text = 'check looks at a running seed: name one by --kubeconfig';
    throw new InputError([{ file: 'command line', line: 0, field: '', text }]);
  }
  try {
    const { gather } = await import('../check/gather.ts');
    const snapshot = await gather(client, { namespace, name, config, pre, nowMs: Date.now() });
    const results = runChecks(snapshot, pre);
    const status = worstOf(results);
    io.stdout.write(
      options.output === 'json'
        ? `${JSON.stringify({ status, checks: results }, null, 2)}\n`
        : format(results, paintFor(io.stdout, io.env)),
    );
    io.setExitCode(EXIT_CODES[status]);
  } finally {
    await client.close();
  }
}

/** Inside a pod the cluster around it, as `serve` takes it; else what kubectl would take. */
function findCluster(
  { kubeconfig, context }: CheckOptions,
  { env }: CliIo,
): Parameters<typeof openClient>[0] {
  const isAround = Boolean(env.KUBERNETES_SERVICE_HOST) && !env.KUBECONFIG;
  const found = kubeconfig ?? (isAround ? undefined : defaultKubeconfig(env));
  return { ...(found !== undefined && { kubeconfig: found }), ...(context !== undefined && { context }) };
}

function format(results: readonly CheckResult[], paint: Paint): string {
  const lines: string[] = [];
  let group = '';
  for (const { group: own, status, text, wayOut, id } of results) {
    if (own !== group) lines.push(...(group === '' ? [] : ['']), paint('bold', own));
    group = own;
    const [mark, style] = MARKS[status];
    lines.push(`${paint(style, mark)} ${printable(text)}`);
    if (wayOut !== '') lines.push(`    ${printable(wayOut)} ${paint('dim', `[${id}]`)}`);
  }
  const count = (status: CheckStatus): number => results.filter((result) => result.status === status).length;
  const [warnings, failures] = [count('warning'), count('failure')];
  const [mark, style] = MARKS[worstOf(results)];
  const summary =
    warnings + failures === 0 ? 'all is well' : `${failures} failure(s), ${warnings} warning(s)`;
  return `${[...lines, '', `${paint(style, mark)} ${summary}`].join('\n')}\n`;
}
