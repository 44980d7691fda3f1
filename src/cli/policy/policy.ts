/** `policy`: judges, explains, tests, compares and replays audit policies, offline and with the rules that the hooks apply. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { KUBERNETES_MINORS } from '../../policy/index.ts';
import type { CliIo } from '../io.ts';
import { runDiff } from './diff.ts';
import { runExplain } from './explain.ts';
import { type LintCliOptions, runLint } from './lint.ts';
import { inputError, type LoadOptions, loadPolicy } from './load.ts';
import { runReplay } from './replay.ts';
import { type RequestWords, toRequest } from './request.ts';
import { runTest } from './test.ts';

type Output = 'table' | 'json';
type Common = LoadOptions & { readonly output: Output };

const FILE_HELP = 'a policy, a ConfigMap that holds one, - for standard input, or preset:NAME';

export function policyCommand(io: CliIo): Command {
  const command = new Command('policy').description(
    'Judge, explain, test, compare and replay audit policies.',
  );

  withOptions(command.command('lint'), ['table', 'json', 'sarif'])
    .description('Say what kube-apiserver would refuse (exit code 2), and what is questionable.')
    .argument('<files...>', FILE_HELP)
    .option('--strict', 'exit code 1 where there are warnings', false)
    .option('--preset <name>', 'compare with this preset (default: the one that the first comment names)')
    .action((files: string[], options: LintCliOptions) => runLint(io, files, options));

  withOptions(command.command('explain'))
    .description('Say which rule decides a request, and why the rules before it do not match.')
    .argument('<file>', FILE_HELP)
    .option('--user <name>', 'who asks', 'someone@example.com')
    .option('--group <name>', 'a group of the user; may be repeated', collect, [])
    .option('--verb <verb>', 'get, list, watch, create, update, patch, delete, deletecollection', 'get')
    .option('--resource <resource>', 'such as pods, pods/exec, deployments.apps/scale')
    .option('--api-group <group>', 'group of the resource, where its name does not say')
    .option('--namespace <name>', 'namespace of the object; none for cluster-wide requests')
    .option('--name <name>', 'name of the object')
    .option('--path <path>', 'such as /healthz, in place of a resource')
    .action((file: string, options: Common & RequestWords & { group: string[] }) =>
      explain(io, file, options),
    );

  withOptions(command.command('test'))
    .description('Check a policy against expectations; exit code 1 where one is not met.')
    .argument('<file>', FILE_HELP)
    .requiredOption('--cases <file>', 'list of requests and what is expected of them (docs/policy.md)')
    .action(async (file: string, options: Common & { readonly cases: string }) => {
      const policy = await loadPolicy(io, file, options);
      if (policy !== undefined) await runTest(io, policy, options.cases, options.output);
    });

  withOptions(command.command('diff'))
    .description('Show the requests that two policies log differently; exit code 1 where there are any.')
    .argument('<before>', FILE_HELP)
    .argument('<after>', FILE_HELP)
    .action(async (before: string, after: string, options: Common) => {
      const old = await loadPolicy(io, before, options);
      const now = await loadPolicy(io, after, options);
      if (old !== undefined && now !== undefined) runDiff(io, old, now, options.output);
    });

  withOptions(command.command('replay'))
    .description('Count what a policy would write of the requests in an audit log, rule by rule.')
    .argument('<file>', FILE_HELP)
    .requiredOption(
      '--log <file>',
      "kube-apiserver's audit log (JSON lines; .gz too), or - for standard input",
    )
    .action(async (file: string, options: Common & { readonly log: string }) => {
      const policy = await loadPolicy(io, file, options);
      if (policy !== undefined) await runReplay(io, policy, options.log, options.output);
    });
  return command;
}

function withOptions(command: Command, outputs: readonly string[] = ['table', 'json']): Command {
  return command
    .addOption(new Option('-o, --output <format>', outputs.join(', ')).choices(outputs).default('table'))
    .addOption(
      new Option(
        '--kubernetes-version <version>',
        `judge as this version does, such as 1.${KUBERNETES_MINORS.at(-1)}`,
      ).argParser(parseMinor),
    );
}

async function explain(
  io: CliIo,
  file: string,
  options: Common & RequestWords & { group: string[] },
): Promise<void> {
  const policy = await loadPolicy(io, file, options);
  if (policy === undefined) return;
  try {
    runExplain(io, policy, toRequest({ ...options, groups: options.group }), options.output);
  } catch (error) {
    throw inputError('policy explain', error instanceof Error ? error.message : String(error));
  }
}

function collect(value: string, values: string[]): string[] {
  return [...values, value];
}

function parseMinor(value: string): number {
  const minor = /^v?1\.(\d{1,3})(?:\..*)?$/.exec(value)?.[1];
  if (minor === undefined) throw new InvalidArgumentError('A version such as 1.36 is needed.');
  return Number(minor);
}
