/**
 * Reads what the sidecar is told to do. Only command lines that are known to carry every event are understood: any other option of
 * fluent-bit could filter, redirect or exit.
 */
import type { Container } from '../kubernetes.ts';
import { expandArguments, isKnown } from './command-line.ts';
import { findProgram, SIDECAR_PROGRAM } from './programs.ts';
import { rememberLast } from './remember.ts';

export type SidecarArguments =
  | { readonly configPath: string; readonly tailPath: undefined }
  /** Without a configuration file, as KKP rendered it up to 2.20. */
  | { readonly configPath: undefined; readonly tailPath: string }
  | { readonly problem: string };

/** Options that change nothing about what is collected; true where a value follows. */
const HARMLESS_OPTIONS: ReadonlyMap<string, boolean> = new Map([
  ['-f', true],
  ['--flush', true],
  ['-R', true],
  ['--parser', true],
  ['-v', false],
  ['-vv', false],
  ['-q', false],
  ['--quiet', false],
]);

/** @param sidecar the container named audit-logs */
export const readSidecarArguments = rememberLast((sidecar: Container): SidecarArguments => {
  const argv = expandArguments(sidecar);
  const unknown = argv.findIndex((argument) => !isKnown(argument));
  if (unknown !== -1)
    return { problem: `argument ${unknown + 1} depends on a variable from outside the object` };
  const [program, ...options] = (sidecar.command?.length ?? 0) > 0 ? argv : ['fluent-bit', ...argv];
  if (program?.slice(program.lastIndexOf('/') + 1) !== 'fluent-bit')
    return { problem: `it starts ${program}` };
  const found = findProgram(sidecar, SIDECAR_PROGRAM);
  if ('problem' in found) return { problem: `it starts ${found.problem}` };
  let configPath: string | undefined;
  let input = '';
  let output = '';
  let tailPath: string | undefined;
  const queue = options.flatMap((option) => {
    const equals = option.startsWith('--') ? option.indexOf('=') : -1;
    return equals === -1 ? [option] : [option.slice(0, equals), option.slice(equals + 1)];
  });
  for (let index = 0; index < queue.length; index += 1) {
    const option = queue[index] ?? '';
    const value = queue[index + 1] ?? '';
    const takesValue = HARMLESS_OPTIONS.get(option);
    if (takesValue !== false && index + 1 >= queue.length)
      return { problem: `option ${option} has no value, or is not known to be harmless` };
    if (takesValue !== false) index += 1;
    if (takesValue !== undefined) continue;
    if (option === '-c' || option === '--config') configPath = value;
    else if (option === '-i' || option === '--input') input = input === '' ? value : `${input}, ${value}`;
    else if (option === '-o' || option === '--output') output = output === '' ? value : `${output}, ${value}`;
    else if (option === '-p' || option === '--prop') {
      const [key = '', ...rest] = value.split('=');
      if (key.toLowerCase() === 'path') tailPath = rest.join('=');
      else if (key.toLowerCase() !== 'db')
        return { problem: `option ${option} ${value} is not known to be harmless` };
    } else return { problem: `option ${option} is not known to be harmless` };
  }
  if (configPath !== undefined) {
    return input === '' && output === '' && tailPath === undefined
      ? { configPath, tailPath: undefined }
      : { problem: 'it has a configuration file and inputs or outputs beside it' };
  }
  if (input === 'tail' && output === 'stdout' && tailPath !== undefined)
    return { configPath: undefined, tailPath };
  return { problem: 'it has no configuration file' };
});
