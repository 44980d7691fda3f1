/**
 * `npm run bench:peers`: this server beside a webhook in Go on controller-runtime, a Pepr module, and a bare node:https server, all with the same
 * mutation of the same payloads: under load, at the start, and in memory. docs/performance.md says how to read it.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PeerInputs } from './command.ts';
import { canPin, describeMachine, memoryOfTree, pinLoad } from './machine.ts';
import { type BenchOptions, readBenchOptions } from './options.ts';
import type { Operation } from './payload.ts';
import { measureFirstAnswers } from './peers/first-answer.ts';
import { applyPatch, describeMutation, effectDifferences, readObject } from './peers/mutation.ts';
import { RENDERERS } from './peers/report.ts';
import { buildCaseReport, type Report, type ServerReport } from './peers/result.ts';
import { runRounds } from './rounds.ts';
import { OURS, type RunningServer, SERVER_IDS, SERVERS, type ServerId, startServer } from './servers.ts';
import { type Setup, setUp } from './setup.ts';

const USAGE = `Usage: npm run bench:peers -- [options]

Measures this server beside its peers. The first run builds the peer in Go (minutes) and installs Pepr (200 MB).

  --servers ${SERVER_IDS.join(',')}
                            which peers; this server always takes part
  --rounds 5                of load, and starts of each server
  --seconds 1.5             of load, for each server in each case of a round
  --connections 1,16
  --operations UPDATE,CREATE
  --output table|json|markdown
  --help
`;

type Options = BenchOptions<keyof typeof RENDERERS, ServerId>;

const progress = (line: string): void => void process.stderr.write(`${line}\n`);

async function main(options: Options): Promise<Report> {
  const ids = SERVER_IDS.filter((id) => id === OURS || options.servers.includes(id));
  for (const id of ids) {
    const server = SERVERS[id];
    if ('prepare' in server) await server.prepare(progress);
  }
  // Not before: what is built may take all cores.
  pinLoad();
  const setup = await setUp();
  const { inputs, patches } = await learnMutation(setup, options.operations);

  const firstAnswers = await measureFirstAnswers(ids, setup, inputs, {
    rounds: options.rounds,
    operation: options.operations[0] ?? 'UPDATE',
    log: progress,
  });
  const running: RunningServer[] = [];
  for (const id of ids) running.push(await startServer(id, setup, inputs));
  for (const server of running) await requireSameMutation(server, setup, patches);
  const cases = await runRounds(running, setup, { ...options, log: progress });
  const servers = await Promise.all(
    running.map(async ({ id, pid }): Promise<ServerReport> => {
      const { title, version } = SERVERS[id];
      const firstAnswer = firstAnswers.get(id) ?? { firstAnswerMs: Number.NaN };
      return {
        id,
        title,
        version: await version(),
        sameMutation: true,
        ...firstAnswer,
        ...memoryOfTree(pid),
      };
    }),
  );
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: describeMachine(),
    rounds: options.rounds,
    seconds: options.seconds,
    servers,
    cases: cases.map(buildCaseReport),
  };
}

/** Asks this server for its patches, and writes down for the peers what they do. */
async function learnMutation(
  setup: Setup,
  operations: readonly Operation[],
): Promise<{ inputs: PeerInputs; patches: ReadonlyMap<Operation, string> }> {
  const ours = await startServer(OURS, setup);
  const patches = new Map<Operation, string>();
  for (const operation of operations) patches.set(operation, await ours.askForPatch(operation));
  await ours.child.stop();
  const [[operation, patch] = ['UPDATE' as const, '[]']] = patches;
  const object = readObject(setup.bodyFiles[operation]);
  const inputs = {
    patchesFile: join(setup.folder, 'patches.json'),
    mutationFile: join(setup.folder, 'mutation.json'),
  };
  writeFileSync(inputs.patchesFile, JSON.stringify(Object.fromEntries(patches)));
  writeFileSync(inputs.mutationFile, JSON.stringify(describeMutation(object, applyPatch(object, patch))));
  return { inputs, patches };
}

/** @throws {Error} where a server does something else than this one: figures would not be comparable */
async function requireSameMutation(
  server: RunningServer,
  setup: Setup,
  patches: ReadonlyMap<Operation, string>,
): Promise<void> {
  for (const [operation, ours] of patches) {
    const object = readObject(setup.bodyFiles[operation]);
    const theirs = await server.askForPatch(operation);
    const differences = effectDifferences(applyPatch(object, ours), applyPatch(object, theirs));
    if (differences.length > 0)
      throw new Error(`${server.id} does another mutation on ${operation}: ${differences.join(', ')}`);
  }
}

const options = readBenchOptions({
  usage: USAGE,
  outputs: ['table', 'json', 'markdown'],
  servers: SERVER_IDS,
});
if (!canPin)
  progress('There is no taskset, or one core only: server and load share it, and the ratios mean little.');
try {
  process.stdout.write(RENDERERS[options.output](await main(options)));
  process.exit();
} catch (error) {
  progress((error as Error).message);
  process.exit(1);
}
