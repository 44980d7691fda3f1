/** What `bench:peers` has found, as data. */
import { divide, type Figures } from '../figures.ts';
import type { Machine, Memory } from '../machine.ts';
import type { CaseFigures } from '../rounds.ts';
import { OURS, type ServerId } from '../servers.ts';
import type { FirstAnswer } from './first-answer.ts';

export interface ServerReport extends FirstAnswer, Memory {
  readonly id: ServerId;
  readonly title: string;
  readonly version: string;
  /** Whether each of its patches has the effect of this server's; a run ends where one has not. */
  readonly sameMutation: true;
}

export interface CaseReport extends CaseFigures<ServerId> {
  /** This server's figures by each peer's; for requests per second more is better, for the others less. */
  readonly ratios: Readonly<Partial<Record<ServerId, Figures>>>;
}

export interface Report {
  readonly date: string;
  readonly machine: Machine;
  readonly rounds: number;
  readonly seconds: number;
  readonly servers: readonly ServerReport[];
  readonly cases: readonly CaseReport[];
}

export function buildCaseReport(measured: CaseFigures<ServerId>): CaseReport {
  const ours = measured.figures[OURS];
  const peers = Object.entries(measured.figures).filter(([id]) => id !== OURS);
  return { ...measured, ratios: Object.fromEntries(peers.map(([id, theirs]) => [id, divide(ours, theirs)])) };
}
