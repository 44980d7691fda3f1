/** The options that the benchmarks under load share. */
import { parseArgs } from 'node:util';
import type { Operation } from './payload.ts';

const OPERATIONS: readonly Operation[] = ['UPDATE', 'CREATE'];

export interface BenchOptions<Output extends string, Server extends string> {
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: readonly number[];
  readonly operations: readonly Operation[];
  readonly output: Output;
  readonly servers: readonly Server[];
}

export interface Accepted<Output extends string, Server extends string> {
  readonly usage: string;
  /** The first is the default. */
  readonly outputs: readonly [Output, ...Output[]];
  /** All of them by default; empty where there is nothing to choose. */
  readonly servers: readonly Server[];
}

/** Reads the command line; prints the usage and ends the process where it asks for it, or can't be understood. */
export function readBenchOptions<Output extends string, Server extends string>(
  accepted: Accepted<Output, Server>,
): BenchOptions<Output, Server> {
  const defaultOutput: string = accepted.outputs[0];
  try {
    const { values } = parseArgs({
      options: {
        rounds: { type: 'string', default: '5' },
        seconds: { type: 'string', default: '1.5' },
        connections: { type: 'string', default: '1,16' },
        operations: { type: 'string', default: OPERATIONS.join(',') },
        output: { type: 'string', default: defaultOutput },
        servers: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      process.stdout.write(accepted.usage);
      process.exit(0);
    }
    const [output] = list(values.output, 'output', accepted.outputs);
    return {
      rounds: whole(values.rounds, 'rounds'),
      seconds: positive(values.seconds, 'seconds'),
      connections: values.connections.split(',').map((count) => whole(count, 'connections')),
      operations: list(values.operations, 'operations', OPERATIONS),
      output: output ?? accepted.outputs[0],
      servers:
        values.servers === undefined ? accepted.servers : list(values.servers, 'servers', accepted.servers),
    };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${accepted.usage}`);
    process.exit(2);
  }
}

function positive(value: string, name: string): number {
  const number = Number(value);
  if (number > 0) return number;
  throw new Error(`--${name}: "${value}" is not a number above 0`);
}

function whole(value: string, name: string): number {
  const number = positive(value, name);
  if (Number.isInteger(number)) return number;
  throw new Error(`--${name}: "${value}" is not a whole number`);
}

function list<Item extends string>(value: string, name: string, known: readonly Item[]): Item[] {
  return value.split(',').map((item) => {
    const found = known.find((one) => one === item);
    if (found === undefined) throw new Error(`--${name}: "${item}" is none of ${known.join(', ')}`);
    return found;
  });
}
