/** argv → command, and what becomes of its errors. */
import { Command, CommanderError } from 'commander';
import { InputError } from '../input.ts';
import type { CliIo } from './io.ts';

/** Each command is loaded when it is asked for: the server should not pay for the others at its start, nor they for the server. */
const COMMANDS: Readonly<Record<string, (io: CliIo) => Promise<Command>>> = {
  serve: async (io) => (await import('./serve.ts')).serveCommand(io),
  inject: async (io) => (await import('./inject.ts')).injectCommand(io),
  uninject: async (io) => (await import('./inject.ts')).uninjectCommand(io),
  explain: async (io) => (await import('./explain.ts')).explainCommand(io),
  report: async (io) => (await import('./report.ts')).reportCommand(io),
  exempt: async (io) => (await import('./exempt.ts')).exemptCommand(io),
  policy: async (io) => (await import('./policy/policy.ts')).policyCommand(io),
  'uninstall-hooks': async (io) => (await import('./uninstall-hooks.ts')).uninstallHooksCommand(io),
  check: async (io) => (await import('./check.ts')).checkCommand(io),
  certs: async (io) => (await import('./certs.ts')).certsCommand(io),
};

const EXIT_BAD_INPUT = 1;
/** Of commands whose own 1 says something else: could not run at all. */
const EXIT_NOT_RUN: ReadonlyMap<string, number> = new Map([['check', 3]]);

/**
 * Runs a command.
 * @param argv without the program
 */
export async function run(argv: readonly string[], io: CliIo): Promise<void> {
  const program = new Command('kkp-audit-webhook')
    .description('Injects and enforces Kubernetes audit logging in the control planes of KKP user clusters.')
    .showHelpAfterError('(run with --help for the options)')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
    });
  const [name = ''] = argv;
  const load = Object.hasOwn(COMMANDS, name) ? [COMMANDS[name]] : Object.values(COMMANDS);
  for (const command of await Promise.all(load.map((build) => build?.(io)))) {
    if (command !== undefined) program.addCommand(inherit(command, program));
  }
  try {
    if (argv.length === 0) program.help();
    await program.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    const own = EXIT_NOT_RUN.get(name);
    if (error instanceof CommanderError) io.setExitCode(error.exitCode === 0 ? 0 : (own ?? error.exitCode));
    else if (isExpected(error)) {
      io.stderr.write(`${error.message}\n`);
      io.setExitCode(own ?? EXIT_BAD_INPUT);
    } else if (own !== undefined && error instanceof Error) {
      // Node ends with 1 after an error that nobody caught.
      io.stderr.write(`${error.stack}\n`);
      io.setExitCode(own);
    } else throw error;
  }
}

function inherit(command: Command, program: Command): Command {
  command.copyInheritedSettings(program);
  for (const child of command.commands) inherit(child, program);
  return command;
}

/** Errors whose message says all: what a person gave, or what a cluster answered. */
const isExpected = (error: unknown): error is Error =>
  error instanceof InputError ||
  (error instanceof Error &&
    ['KubeError', 'StateError', 'TlsError', 'ComparisonTooLarge'].includes(error.name));
