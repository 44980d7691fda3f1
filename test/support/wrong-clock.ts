/** libfaketime (https://github.com/wolfcw/libfaketime): a process whose clock is off, as that of a badly kept machine is. */
import { globSync } from 'node:fs';

const [LIBRARY] = globSync('/usr/lib/*/faketime/libfaketime.so.1');

/** `{ skip: skipWithoutWrongClock() }`; an error instead where CI is set. */
export function skipWithoutWrongClock(): string | false {
  if (LIBRARY !== undefined) return false;
  const reason = "NOT TESTED: a clock that is wrong: install Debian's package faketime";
  if (process.env.CI) throw new Error(reason);
  process.stderr.write(`\n!!! ${reason}\n\n`);
  return reason;
}

/** The environment of a process whose clock is so many days ahead. */
export function wrongClock(days: number): Readonly<Record<string, string>> {
  return {
    LD_PRELOAD: LIBRARY ?? '',
    FAKETIME: `+${days}d`,
    // Timers go by the monotonic clock, which no machine sets.
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
  };
}
