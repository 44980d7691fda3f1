/** From the start of a process to its first patch. */
import { mkdirSync, mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import type { Log, PeerInputs } from '../command.ts';
import { median } from '../figures.ts';
import type { Operation } from '../payload.ts';
import { OURS, type RunningServer, type ServerId, startServer } from '../servers.ts';
import type { Setup } from '../setup.ts';

export interface FirstAnswer {
  readonly firstAnswerMs: number;
  /** Where the server keeps its compiled code: started again, with what an earlier start has left. */
  readonly firstAnswerAgainMs?: number;
}

export interface FirstAnswerOptions {
  /** Starts of each server, in turn. */
  readonly rounds: number;
  readonly operation: Operation;
  readonly log: Log;
}

/** Of all starts the medians. */
export async function measureFirstAnswers(
  ids: readonly ServerId[],
  setup: Setup,
  inputs: PeerInputs,
  { rounds, operation, log }: FirstAnswerOptions,
): Promise<ReadonlyMap<ServerId, FirstAnswer>> {
  const start = async (id: ServerId, compileCache?: string): Promise<number> => {
    const startMs = performance.now();
    const server = await startServer(id, setup, inputs, { NODE_COMPILE_CACHE: compileCache });
    await server.askForPatch(operation);
    const elapsedMs = performance.now() - startMs;
    await server.child.stop();
    return elapsedMs;
  };
  const emptyFolder = (): string => mkdtempSync(join(setup.folder, 'compile-cache-'));
  const filled = join(setup.folder, 'compile-cache');
  mkdirSync(filled);
  await fillCompileCache(await startServer(OURS, setup, inputs, { NODE_COMPILE_CACHE: filled }), operation);

  const samples = new Map(ids.map((id) => [id, { first: [] as number[], again: [] as number[] }]));
  for (let round = 1; round <= rounds; round += 1) {
    log(`start ${round} of ${rounds}`);
    for (const [id, { first, again }] of samples) {
      first.push(await start(id, id === OURS ? emptyFolder() : undefined));
      if (id === OURS) again.push(await start(id, filled));
    }
  }
  return new Map(
    [...samples].map(([id, { first, again }]) => [
      id,
      { firstAnswerMs: median(first), ...(id === OURS && { firstAnswerAgainMs: median(again) }) },
    ]),
  );
}

/** Node writes it when the process ends by itself. */
async function fillCompileCache(server: RunningServer, operation: Operation): Promise<void> {
  await server.askForPatch(operation);
  await server.child.stop('SIGTERM');
}
