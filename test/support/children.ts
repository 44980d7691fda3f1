/**
 * Child processes and temporary folders that never outlive the process that made them, however it ends: on exit, by a signal (SIGINT,
 * SIGTERM, SIGHUP), and, where util-linux's setpriv is there, by SIGKILL as well.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const LOG_TAIL_LINES = 25;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

const living = new Set<Child>();
const folders = new Set<string>();
let guarded = false;
let killWithParent: string[] | undefined;

export interface Child {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  /** Set once the process has ended: "exit code 1", "SIGKILL". */
  readonly ended: string | undefined;
  /** Resolves when the process has ended. */
  readonly closed: Promise<void>;
  kill(signal?: NodeJS.Signals): void;
  /** Kills the process and waits for its end. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** The last lines of what it wrote. */
  logTail(): string;
}

export interface ChildOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Standard output and error go there; a second start appends. */
  readonly logFile: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
}

/** A folder of its own under the system's temporary folder, removed when this process ends. */
export function temporaryFolder(): string {
  guard();
  const dir = mkdtempSync(join(tmpdir(), 'kkp-audit-webhook-'));
  folders.add(dir);
  return dir;
}

/** Removes such a folder now; KEEP_TEST_FILES in the environment keeps it, for a look at the logs. */
export function removeFolder(dir: string): void {
  folders.delete(dir);
  if (process.env.KEEP_TEST_FILES) process.stderr.write(`kept ${dir}\n`);
  else rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
}

/** Starts a program; it runs until it ends by itself, is stopped, or this process ends. */
export function startChild(options: ChildOptions): Child {
  guard();
  killWithParent ??=
    spawnSync('setpriv', ['--pdeathsig', 'KILL', 'true']).status === 0
      ? ['setpriv', '--pdeathsig', 'KILL', '--']
      : [];
  const [command, ...args] = [...killWithParent, options.command, ...options.args];
  const log = openSync(options.logFile, 'a');
  const child: ChildProcess = spawn(command ?? options.command, args, {
    stdio: ['ignore', log, log],
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
  });
  closeSync(log);
  let ended: string | undefined;
  const closed = new Promise<void>((resolve) => {
    const end = (how: string) => {
      ended ??= how;
      living.delete(self);
      resolve();
    };
    child.once('error', (error) => end(error.message));
    child.once('exit', (code, signal) => end(signal ?? `exit code ${code}`));
  });
  const self: Child = {
    name: options.name,
    pid: child.pid ?? 0,
    logFile: options.logFile,
    closed,
    get ended() {
      return ended;
    },
    kill(signal = 'SIGKILL') {
      child.kill(signal);
    },
    async stop(signal = 'SIGKILL') {
      child.kill(signal);
      await closed;
    },
    logTail() {
      const lines = readFileSync(options.logFile, 'utf8').trimEnd().split('\n');
      return lines.slice(-LOG_TAIL_LINES).join('\n');
    },
  };
  living.add(self);
  return self;
}

function guard(): void {
  if (guarded) return;
  guarded = true;
  process.on('exit', cleanUp); // also after an uncaught error
  for (const signal of SIGNALS) {
    const onSignal = () => {
      cleanUp();
      process.off(signal, onSignal);
      // With nobody else listening the signal does what it does by default.
      if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
    };
    process.on(signal, onSignal);
  }
}

function cleanUp(): void {
  for (const child of living) child.kill('SIGKILL');
  for (const dir of folders) removeFolder(dir);
}
