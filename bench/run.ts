/**
 * `npm run bench`: this server beside a bare node:https server that parses the same body and answers a fixed patch. Each is a process of its
 * own on one core, the load on another; rounds are interleaved, so that a busy machine slows both; medians are compared.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { table } from '../src/cli/table.ts';
import { divide, type Figures, MEASURE_KEYS, MEASURES } from './figures.ts';
import { canPin, describeMachine, pinLoad } from './machine.ts';
import { readBenchOptions } from './options.ts';
import { type Case, runRounds } from './rounds.ts';
import { OURS, SERVERS, startServer } from './servers.ts';
import { setUp } from './setup.ts';

const USAGE = `Usage: npm run bench -- [--rounds 5] [--seconds 1.5] [--connections 1,16] [--operations UPDATE,CREATE] [--output table|json]
`;

interface Comparison extends Case {
  readonly server: Figures;
  readonly bare: Figures;
  /** The server's figure by the bare server's; for requests per second more is better, for the others less. */
  readonly ratio: Figures;
}

const options = readBenchOptions({ usage: USAGE, outputs: ['table', 'json'], servers: [] });
const progress = (text: string): void => void process.stderr.write(`${text}\n`);

async function main(): Promise<Comparison[]> {
  await SERVERS[OURS].prepare();
  pinLoad();
  const setup = await setUp();
  const server = await startServer(OURS, setup);
  const patches: Record<string, string> = {};
  for (const operation of options.operations) patches[operation] = await server.askForPatch(operation);
  const patchesFile = join(setup.folder, 'patches.json');
  writeFileSync(patchesFile, JSON.stringify(patches));
  const bare = await startServer('bare', setup, { patchesFile, mutationFile: '' });
  for (const operation of options.operations) await bare.askForPatch(operation);

  const cases = await runRounds([server, bare], setup, { ...options, log: progress });
  return cases.map(({ figures, ...one }) => {
    const [ours, theirs] = [figures[OURS], figures.bare];
    return { ...one, server: ours, bare: theirs, ratio: divide(ours, theirs) };
  });
}

function renderTable(comparisons: readonly Comparison[]): string {
  const labels = ['operation', 'connections', 'objects', 'figure'];
  const numbers = ['this server', 'bare node:https', 'ratio'];
  const columns = [
    ...labels.map((title) => ({ title })),
    ...numbers.map((title) => ({ title, align: 'right' as const })),
  ];
  const rows = comparisons.flatMap(({ operation, connections, objects, server, bare, ratio }) =>
    MEASURE_KEYS.map((key) => {
      const { title, digits } = MEASURES[key];
      const figures = [server[key].toFixed(digits), bare[key].toFixed(digits), ratio[key].toFixed(2)];
      return [operation, String(connections), objects, title, ...figures];
    }),
  );
  return table(columns, rows);
}

if (!canPin)
  progress('There is no taskset, or one core only: server and load share it, and the ratios mean little.');
const comparisons = await main();
const machine = describeMachine();
process.stdout.write(
  options.output === 'json'
    ? `${JSON.stringify({ machine, comparisons }, null, 2)}\n`
    : `${renderTable(comparisons)}\nNode ${machine.node}, ${machine.cpu}, ${machine.cores} cores, medians of ${options.rounds} rounds.\n`,
);
process.exit();
