/** The machine under the benchmarks: which core does what, and what a process takes of it, from Linux' /proc. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';

const LOAD_CORE = 0;
const SERVER_CORE = 1;

/** USER_HZ is 100 on Linux. */
const TICKS_PER_SECOND = 100;

/** Before this process is pinned to one of them. */
const cores = availableParallelism();

/** Without it, server and load share the cores, and ratios mean little. */
export const canPin = cores > 1 && spawnSync('taskset', ['-V']).status === 0;

/** Moves this process, which makes the load, to a core of its own. */
export function pinLoad(): void {
  if (canPin)
    spawnSync('taskset', ['--all-tasks', '--cpu-list', '--pid', String(LOAD_CORE), String(process.pid)]);
}

/** The command that runs a program on the servers' core. */
export function onServerCore(command: readonly string[]): readonly string[] {
  return canPin ? ['taskset', '-c', String(SERVER_CORE), ...command] : command;
}

export interface Machine {
  readonly node: string;
  readonly cpu: string;
  readonly cores: number;
  readonly pinned: boolean;
}

export function describeMachine(): Machine {
  return {
    node: process.version,
    cpu: cpus()[0]?.model ?? '',
    cores,
    pinned: canPin,
  };
}

/** User and system time of a process so far. */
export function cpuSeconds(pid: number): number {
  const fields = statOf(pid);
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

export interface Memory {
  /** Resident now. */
  readonly rssMegabytes: number;
  /** The most that was resident at a time. */
  readonly peakRssMegabytes: number;
}

/** Of a process and all processes below it. */
export function memoryOfTree(pid: number): Memory {
  const sum = (field: string): number =>
    treeOf(pid).reduce((total, one) => total + readKilobytes(one, field), 0) / 1024;
  return { rssMegabytes: sum('VmRSS'), peakRssMegabytes: sum('VmHWM') };
}

function treeOf(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (Number.isInteger(pid)) parents.set(pid, parentOf(pid));
  }
  const isBelow = (pid: number | undefined): boolean =>
    pid === root || (pid !== undefined && pid > 1 && isBelow(parents.get(pid)));
  return [...parents.keys()].filter(isBelow);
}

/** @returns 0 for a process that has ended meanwhile */
function parentOf(pid: number): number {
  try {
    return Number(statOf(pid)[1]);
  } catch {
    return 0;
  }
}

function readKilobytes(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? Number.NaN);
}

/** The fields of proc_pid_stat(5) from the third on: before them is the program's name, which may hold anything. */
function statOf(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}
