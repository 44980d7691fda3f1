/**
 * `exempt`: break-glass. Takes a Cluster out of the enforcement for some hours, in the name of whoever the kubeconfig is for, by annotations of
 * the Cluster; the admission hooks judge whether that person may. It ends by the clock, and with `--end`.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import {
  EXEMPTION_ANNOTATIONS,
  exemptionAnnotations,
  findExemptionProblem,
  MAX_EXEMPTION_DAYS,
} from '../audit/exemption.ts';
import { EXEMPT_REASON_ANNOTATION, EXEMPT_UNTIL_ANNOTATION, isExempt } from '../audit/settings.ts';
import { InputError } from '../input.ts';
import { KKP_GROUP } from '../kkp.ts';
import type { KubernetesObject } from '../kubernetes.ts';
import type { CliIo } from './io.ts';
import { defaultKubeconfig, openClient } from './source.ts';
import { paintFor, printable, table } from './table.ts';

interface ExemptOptions {
  readonly for?: number;
  readonly reason?: string;
  readonly end?: boolean;
  readonly dryRun?: boolean;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly output: 'table' | 'json';
}

/** What the command knows in the end; its JSON output has just this form. */
export interface Exemption {
  readonly cluster: string;
  readonly exempt: boolean;
  /** RFC 3339; null where there is no exemption, or one without end. */
  readonly until: string | null;
  readonly reason: string | null;
  readonly dryRun: boolean;
}

const UNITS_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

export function exemptCommand(io: CliIo): Command {
  return new Command('exempt')
    .description(
      'Take a Cluster out of the enforcement of audit logging for some time, as an operator, on record.',
    )
    .argument('<cluster>', 'name of the Cluster')
    .option(
      '--for <duration>',
      `how long, such as 30m, 4h or 2d; at most ${MAX_EXEMPTION_DAYS}d`,
      parseDuration,
    )
    .option('--reason <text>', 'why; it goes on record')
    .addOption(new Option('--end', 'end the exemption now').conflicts(['for', 'reason']))
    .option('--dry-run', 'ask whether it would be granted, and store nothing')
    .option(
      '--kubeconfig <file>',
      'of the seed, and of who you are (default: those in $KUBECONFIG, else ~/.kube/config)',
    )
    .option('--context <name>', 'context of the kubeconfig (default: its current one)')
    .addOption(
      new Option('-o, --output <format>', 'table or json').choices(['table', 'json']).default('table'),
    )
    .action((cluster: string, options: ExemptOptions) => exempt(cluster, options, io));
}

/** @returns milliseconds */
function parseDuration(value: string): number {
  const parts = [...value.matchAll(/(\d+(?:\.\d+)?)([mhd])/g)];
  const ms = parts.reduce((sum, [, amount, unit = '']) => sum + Number(amount) * (UNITS_MS[unit] ?? 0), 0);
  if (parts.map(([part]) => part).join('') !== value || !(ms > 0))
    throw new InvalidArgumentError('expected minutes, hours or days, such as 30m, 4h or 1d12h.');
  return ms;
}

async function exempt(cluster: string, options: ExemptOptions, io: CliIo): Promise<void> {
  const annotations = planAnnotations(options, Date.now());
  const kubeconfig = options.kubeconfig ?? defaultKubeconfig(io.env);
  const { context } = options;
  const client = await openClient({ kubeconfig, ...(context !== undefined && { context }) }, {});
  try {
    const stored = await client?.request<KubernetesObject>(
      'PATCH',
      `/apis/${KKP_GROUP}/v1/clusters/${encodeURIComponent(cluster)}`,
      {
        body: { metadata: { annotations } },
        query: { fieldManager: 'kkp-audit-webhook-exempt', ...(options.dryRun && { dryRun: 'All' }) },
      },
    );
    const result = describe(cluster, stored?.metadata?.annotations ?? {}, options.dryRun === true);
    io.stdout.write(options.output === 'json' ? `${JSON.stringify(result, null, 2)}\n` : format(result, io));
  } finally {
    await client?.close();
  }
}

/** A merge patch of annotations; null takes one away. */
function planAnnotations(options: ExemptOptions, nowMs: number): Record<string, string | null> {
  if (options.end) return Object.fromEntries(EXEMPTION_ANNOTATIONS.map((name) => [name, null]));
  const fail = (text: string): never => {
    throw new InputError([{ file: 'command line', line: 0, field: '', text }]);
  };
  if (options.for === undefined) return fail('say how long, with --for 4h, or --end to end an exemption');
  if (options.reason === undefined) return fail('say why, with --reason "…"; it goes on record');
  const annotations = exemptionAnnotations(nowMs + options.for, options.reason);
  const problem = findExemptionProblem(annotations, nowMs);
  return problem === undefined ? annotations : fail(`the exemption can't be granted: ${problem}`);
}

function describe(
  cluster: string,
  annotations: Readonly<Record<string, string>>,
  dryRun: boolean,
): Exemption {
  const exempted = isExempt(annotations, Date.now());
  return {
    cluster,
    exempt: exempted,
    until: (exempted && annotations[EXEMPT_UNTIL_ANNOTATION]) || null,
    reason: (exempted && annotations[EXEMPT_REASON_ANNOTATION]) || null,
    dryRun,
  };
}

function format({ cluster, exempt: exempted, until, reason, dryRun }: Exemption, io: CliIo): string {
  const state = exempted ? `exempt${dryRun ? ' (dry run)' : ''}` : `enforced as its datacenter says`;
  return table(
    [{ title: 'CLUSTER' }, { title: 'STATE' }, { title: 'UNTIL' }, { title: 'REASON' }],
    [[printable(cluster), state, until ?? '-', printable(reason ?? '-')]],
    paintFor(io.stdout, io.env),
  );
}
