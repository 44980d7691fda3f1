/** The peer in Go: a webhook on sigs.k8s.io/controller-runtime, built from the module in the folder of that name. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ensureBinaries } from '../../test/support/binaries.ts';
import type { Command, Log, PeerInputs } from '../command.ts';
import type { Setup } from '../setup.ts';

const PROGRAM = 'controller-runtime-webhook';
const GO_MOD = join(import.meta.dirname, 'controller-runtime', 'go.mod');

export async function prepare(log: Log): Promise<void> {
  await binary(log);
}

export async function version(): Promise<string> {
  const library = /sigs\.k8s\.io\/controller-runtime (v\S+)/.exec(readFileSync(GO_MOD, 'utf8'))?.[1] ?? '';
  // The program knows what it was built with, but only Go can read that.
  const { stdout } = await promisify(execFile)('go', ['version', await binary()]).catch(() => ({
    stdout: '',
  }));
  const go = /: go(\S+)/.exec(stdout)?.[1];
  return go === undefined ? library : `${library}, Go ${go}`;
}

export async function command(setup: Setup, port: number, inputs: PeerInputs): Promise<Command> {
  return { argv: [await binary(), String(port), setup.certDir, inputs.mutationFile] };
}

async function binary(log?: Log): Promise<string> {
  const { [PROGRAM]: path } = await ensureBinaries([PROGRAM], log === undefined ? {} : { log });
  return path;
}
