/** `report`: how every cluster of a seed stands, as the controller sees it. Reads only. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { type Config, optionsOf } from '../config.ts';
import { Fleet } from '../controller/fleet.ts';
import { type Assessment, assess } from '../controller/plan/assess.ts';
import { type Progress, planFleet } from '../controller/plan/budget.ts';
import { DRIFT, type DriftCode } from '../controller/plan/drift.ts';
import type { ComplianceState } from '../controller/plan/state.ts';
import { InputError } from '../input.ts';
import type { KubeClient } from '../kube/client.ts';
import type { ReasonCode } from '../reasons.ts';
import { type State, StateError, waitForSync } from '../state/state.ts';
import type { CliIo } from './io.ts';
import { silentLogger } from './silent.ts';
import { loadConfig, openClient, openState, type SourceOptions, withSourceOptions } from './source.ts';
import { paintFor, printable, type Style, table } from './table.ts';

interface ReportOptions extends SourceOptions {
  readonly output: 'table' | 'json';
  readonly all: boolean;
  readonly timeoutSeconds: number;
}

/** What the command knows in the end; its JSON output has just this form. */
export interface Report {
  readonly compliant: boolean;
  readonly datacenters: readonly ({ readonly datacenter: string } & Progress & {
      readonly clusters: Readonly<Partial<Record<ComplianceState, number>>>;
    })[];
  readonly clusters: readonly {
    readonly cluster: string;
    readonly datacenter: string;
    readonly state: ComplianceState;
    readonly enforced: boolean;
    readonly exempt: boolean;
    readonly wanted: boolean;
    readonly leftToOwner: boolean;
    readonly inFlightSince: string | undefined;
    readonly drift: readonly DriftCode[];
    readonly reasons: readonly ReasonCode[];
  }[];
  /** What could not be read. */
  readonly problems: readonly string[];
}

/** Some cluster is not as it should be, or could not be looked at. */
const EXIT_NOT_COMPLIANT = 3;
/** States in which nothing is to be done. Paused ones are left alone on purpose, but nobody knows whether they audit. */
const FINE: ReadonlySet<ComplianceState> = new Set(['compliant', 'off']);
const STYLES: Partial<Record<ComplianceState, Style>> = {
  compliant: 'green',
  failing: 'red',
  unresolved: 'red',
  drifted: 'yellow',
  waiting: 'yellow',
  rolling: 'yellow',
};
const POLL_MS = 50;

export function reportCommand(io: CliIo): Command {
  const command = new Command('report')
    .description(
      'Show how every cluster of a seed stands: compliant, waiting for its turn, failing, ... Exit code 3 where one is not as it should be.',
    )
    .addOption(
      new Option('-o, --output <format>', 'table or json').choices(['table', 'json']).default('table'),
    )
    .option('--all', 'also list the clusters with which all is well (the table; JSON always has all)', false)
    .option('--timeout-seconds <seconds>', 'how long reading the seed may take', parseSeconds, 60);
  return withSourceOptions(command).action(async (options: ReportOptions) => {
    const config = await loadConfig(options.config, io);
    const client = await openClient(options, io.env);
    if (client === undefined) {
      const text = 'report looks at a running seed: name one by --kubeconfig';
      throw new InputError([{ file: 'command line', line: 0, field: '', text }]);
    }
    const signal = AbortSignal.timeout(options.timeoutSeconds * 1000);
    const state = await openState(options, client, config, silentLogger());
    try {
      await waitForSync(state, signal);
      const report = await readReport(client, state, config, signal);
      io.stdout.write(
        options.output === 'json' ? `${JSON.stringify(report, null, 2)}\n` : format(report, options.all, io),
      );
      if (!report.compliant) io.setExitCode(EXIT_NOT_COMPLIANT);
    } finally {
      await state.close();
      await client.close();
    }
  });
}

function parseSeconds(value: string): number {
  const seconds = Number(value);
  if (Number.isInteger(seconds) && seconds >= 1 && seconds <= 3600) return seconds;
  throw new InvalidArgumentError('expected a whole number of seconds from 1 to 3600.');
}

async function readReport(
  client: KubeClient,
  state: State,
  config: Config,
  signal: AbortSignal,
): Promise<Report> {
  const fleet = new Fleet({ client, state, config, logger: silentLogger(), nowMs: Date.now });
  try {
    fleet.start();
    fleet.watchBackends();
    while (!fleet.health().settled) {
      if (signal.aborted)
        throw new StateError('the clusters could not be read in time; see --timeout-seconds');
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    const assessments = [...state.clusters()].map((cluster) => assess(fleet.facts(cluster), Date.now()));
    return buildReport(assessments, config, fleet.health().problems);
  } finally {
    await fleet.close();
  }
}

/** Puts together what was found. Pure. */
export function buildReport(
  assessments: readonly Assessment[],
  config: Config,
  problems: readonly string[],
): Report {
  const { progress } = planFleet(assessments, (datacenter) => optionsOf(config, datacenter).rollout);
  const byText = (left: string, right: string): number => (left < right ? -1 : Number(left > right));
  return {
    compliant: problems.length === 0 && assessments.every(({ state }) => FINE.has(state)),
    datacenters: [...progress]
      .sort(([left], [right]) => byText(left, right))
      .map(([datacenter, counts]) => ({
        datacenter,
        ...counts,
        clusters: countStates(assessments.filter((assessment) => assessment.datacenter === datacenter)),
      })),
    clusters: [...assessments]
      .sort((left, right) => byText(left.datacenter, right.datacenter) || byText(left.cluster, right.cluster))
      .map(({ cluster, datacenter, state, enforced, exempt, wanted, left, sinceMs, drift, reasons }) => ({
        cluster,
        datacenter,
        state,
        enforced,
        exempt,
        wanted,
        leftToOwner: left,
        inFlightSince: sinceMs === undefined ? undefined : new Date(sinceMs).toISOString(),
        drift,
        reasons,
      })),
    problems,
  };
}

function countStates(assessments: readonly Assessment[]): Partial<Record<ComplianceState, number>> {
  const counts: Partial<Record<ComplianceState, number>> = {};
  for (const { state } of assessments) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}

function format(report: Report, all: boolean, io: CliIo): string {
  const paint = paintFor(io.stdout, io.env);
  const state = (name: ComplianceState): string => {
    const style = STYLES[name];
    return style === undefined ? name : paint(style, name);
  };
  const datacenters = table(
    ['DATACENTER', 'CLUSTERS', 'IN FLIGHT', 'FAILING', 'WAITING', 'ROLL-OUT'].map((title) => ({ title })),
    report.datacenters.map(({ datacenter, clusters, inFlight, maxInFlight, failing, waiting, paused }) => [
      printable(datacenter) || '(none)',
      Object.entries(clusters)
        .map(([name, count]) => `${count} ${name}`)
        .join(', '),
      `${inFlight} of ${maxInFlight}`,
      String(failing),
      String(waiting),
      paused ? paint('red', 'paused') : waiting + inFlight > 0 ? 'going on' : 'done',
    ]),
    paint,
  );
  const shown = report.clusters.filter((cluster) => all || !FINE.has(cluster.state));
  const clusters = table(
    ['CLUSTER', 'DATACENTER', 'STATE', 'ENFORCED', 'WHAT'].map((title) => ({ title })),
    shown.map(({ cluster, datacenter, state: name, enforced, exempt, drift, reasons }) => [
      printable(cluster),
      printable(datacenter) || '(none)',
      state(name),
      exempt ? 'exempt' : enforced ? 'yes' : 'no',
      [...drift.map((code) => DRIFT[code].sentence), ...reasons].join('; '),
    ]),
    paint,
  );
  const problems = report.problems.map((problem) => `${paint('red', 'not read:')} ${printable(problem)}\n`);
  const end = shown.length === 0 ? 'Every cluster is as it should be.\n' : clusters;
  return [datacenters, report.clusters.length === 0 ? 'There is no Cluster.\n' : end, problems.join('')]
    .filter((part) => part !== '')
    .join('\n');
}
