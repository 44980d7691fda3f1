/** The servers that can be measured: how each is made ready, started and named. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from '../scripts/build.ts';
import { HOOK_PATHS } from '../src/server.ts';
import { type Child, startChild } from '../test/support/children.ts';
import { freePort } from '../test/support/controlplane.ts';
import { imageEntrypoint } from '../test/support/image-entrypoint.ts';
import type { Command, Log, PeerInputs } from './command.ts';
import { onServerCore } from './machine.ts';
import type { Operation } from './payload.ts';
import * as controllerRuntime from './peers/controller-runtime.ts';
import * as pepr from './peers/pepr.ts';
import type { Target } from './rounds.ts';
import { askForPatch, type Hook, type Setup } from './setup.ts';

interface Server {
  readonly title: string;
  /** Where its hook for Deployments is. */
  readonly path: string;
  /** What is measured, such as "1.2.3, Node v26.0.0". */
  version(): Promise<string>;
  /** Builds it, once. */
  prepare?(log: Log): Promise<void>;
  command(setup: Setup, port: number, inputs: PeerInputs | undefined): Promise<Command>;
}

const here = (file: string): string => join(import.meta.dirname, file);
/** What the image runs, not the source. */
const DIST = here('../dist');

/** In the order in which they are shown; the first is what the others are compared with. */
export const SERVERS = {
  'kkp-audit-webhook': {
    title: 'this server',
    path: HOOK_PATHS['mutate-deployments'],
    version: async () => {
      const { version } = JSON.parse(readFileSync(here('../package.json'), 'utf8')) as { version: string };
      return `${version}, Node ${process.version}`;
    },
    prepare: () => build(DIST),
    command: async (setup, port) => ({
      argv: [
        process.execPath,
        ...imageEntrypoint(DIST),
        'serve',
        `--state=${setup.stateFolder}`,
        `--tls-cert=${join(setup.certDir, 'tls.crt')}`,
        `--tls-key=${join(setup.certDir, 'tls.key')}`,
        `--port=${port}`,
        '--ops-port=0',
        '--shutdown-delay-seconds=0',
      ],
    }),
  },
  bare: {
    title: 'bare node:https',
    path: '/mutate',
    version: async () => `Node ${process.version}`,
    command: async (setup, port, inputs) => ({
      argv: [
        process.execPath,
        here('bare-server.ts'),
        String(port),
        setup.certDir,
        needed(inputs).patchesFile,
      ],
    }),
  },
  'controller-runtime': {
    title: 'controller-runtime',
    path: '/mutate',
    version: controllerRuntime.version,
    prepare: controllerRuntime.prepare,
    command: (setup, port, inputs) => controllerRuntime.command(setup, port, needed(inputs)),
  },
  pepr: {
    title: 'Pepr',
    path: pepr.PATH,
    version: pepr.version,
    prepare: pepr.prepare,
    command: (setup, port, inputs) => pepr.command(setup, port, needed(inputs)),
  },
} as const satisfies Record<string, Server>;

export type ServerId = keyof typeof SERVERS;
export const SERVER_IDS = Object.keys(SERVERS) as ServerId[];
export const OURS = 'kkp-audit-webhook' satisfies ServerId;

export interface RunningServer extends Target<ServerId> {
  readonly child: Child;
  /** Waits for its first patch. */
  askForPatch(operation: Operation): Promise<string>;
}

/**
 * Starts a server on the servers' core; it ends with this process. It is not waited for.
 * @param inputs may be missing for this server only
 * @param env of the process, over that of this one
 */
export async function startServer(
  id: ServerId,
  setup: Setup,
  inputs?: PeerInputs,
  env: Command['env'] = {},
): Promise<RunningServer> {
  const server: Server = SERVERS[id];
  const hook: Hook = { port: await freePort(), path: server.path };
  const command = await server.command(setup, hook.port, inputs);
  const [program = '', ...args] = onServerCore(command.argv);
  const child = startChild({
    name: id,
    command: program,
    args,
    env: { ...command.env, ...env },
    logFile: join(setup.folder, `${id}.log`),
  });
  return {
    id,
    pid: child.pid,
    hook,
    child,
    askForPatch: (operation) =>
      askForPatch(hook, setup, operation, () => child.ended).catch((error) => {
        throw new Error(`${id}: ${error.message}; the end of its log:\n${child.logTail()}`, { cause: error });
      }),
  };
}

function needed(inputs: PeerInputs | undefined): PeerInputs {
  if (inputs === undefined) throw new Error('a peer needs to know the mutation');
  return inputs;
}
