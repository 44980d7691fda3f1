/** Rounds of load: every server in turn, case by case, so that a busy machine slows all of them. */
import { setTimeout as delay } from 'node:timers/promises';
import { type Figures, type Sample, summarize } from './figures.ts';
import { type Load, runLoad } from './load.ts';
import { cpuSeconds } from './machine.ts';
import type { Operation } from './payload.ts';
import type { Hook, Setup } from './setup.ts';

/** The last few objects are remembered, as one comes to several hooks: "same" measures with that, "new" without. */
export const OBJECTS = ['same', 'new'] as const;

export interface Case {
  readonly operation: Operation;
  readonly connections: number;
  readonly objects: (typeof OBJECTS)[number];
}

/** A server that runs. */
export interface Target<Id extends string> {
  readonly id: Id;
  readonly pid: number;
  readonly hook: Hook;
}

export interface CaseFigures<Id extends string> extends Case {
  readonly figures: Readonly<Record<Id, Figures>>;
}

export interface RoundOptions {
  readonly operations: readonly Operation[];
  readonly connections: readonly number[];
  /** Measured, after the warm-up. */
  readonly rounds: number;
  /** For each server in each case of a round. */
  readonly seconds: number;
  readonly log: (line: string) => void;
}

/** Node compiles what is hot for as long as twenty seconds under load; what is measured is how the servers are after that. */
const WARM_UP_ROUNDS = 2;

/** @returns the medians of all rounds, in the order of operations, connections, objects */
export async function runRounds<Id extends string>(
  targets: readonly Target<Id>[],
  setup: Setup,
  options: RoundOptions,
): Promise<CaseFigures<Id>[]> {
  const cases = buildCases(options).map((one) => ({
    ...one,
    samples: targets.map((target) => ({ target, taken: [] as Sample[] })),
  }));
  for (let round = 1 - WARM_UP_ROUNDS; round <= options.rounds; round += 1) {
    options.log(round <= 0 ? 'warming up' : `round ${round} of ${options.rounds}`);
    for (const { samples, ...one } of cases) {
      for (const { target, taken } of samples) {
        const sample = await measure(target, setup, one, options.seconds);
        if (round > 0) taken.push(sample);
      }
    }
  }
  return cases.map(({ samples, ...one }) => ({
    ...one,
    figures: Object.fromEntries(samples.map(({ target, taken }) => [target.id, summarize(taken)])) as Record<
      Id,
      Figures
    >,
  }));
}

function buildCases({ operations, connections }: RoundOptions): Case[] {
  return operations.flatMap((operation) =>
    connections.flatMap((count) => OBJECTS.map((objects) => ({ operation, connections: count, objects }))),
  );
}

/** What the server before has left to do, its garbage for one, is not to be this one's loss. */
const SETTLE_MS = 200;

async function measure(target: Target<string>, setup: Setup, one: Case, seconds: number): Promise<Sample> {
  await delay(SETTLE_MS);
  const before = cpuSeconds(target.pid);
  const load: Load = await runLoad({
    ...target.hook,
    caFile: setup.caFile,
    bodyFile: setup.bodyFiles[one.operation],
    connections: one.connections,
    objects: one.objects,
    seconds,
  });
  const cpuMicrosecondsPerRequest = ((cpuSeconds(target.pid) - before) / load.requests) * 1e6;
  return { ...load, cpuMicrosecondsPerRequest };
}
