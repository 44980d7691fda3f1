/**
 * Reads what the sidecar is told to do. Only command lines that are known to carry every event are understood: any other option of
 * fluent-bit could filter, redirect or exit.
 */
import type { Container } from '../kubernetes.ts';
import { expandArguments, isKnown } from './command-line.ts';
import { PARSERS_PATH } from './names.ts';
import { findProgram, SIDECAR_PROGRAM } from './programs.ts';
import { rememberLast } from './remember.ts';

export type SidecarArguments =
  | { readonly configPath: string; readonly tailPath: undefined }
  /** Without a configuration file, as KKP rendered it up to 2.20. */
  | { readonly configPath: undefined; readonly tailPath: string }
  | { readonly problem: string };

/** More than no and at most 60 seconds, as in the configuration; the same expression as in the backstop. */
const isFlush = (value: string): boolean =>
  /^(?:[1-9](?:[.][0-9]+)?|[1-5][0-9](?:[.][0-9]+)?|60|0?[.][0-9]*[1-9][0-9]*)$/.test(value);
const isParsers = (value: string): boolean => value === PARSERS_PATH;

/** Options that change nothing about what is collected, and the values for which that is so; undefined where none follows. */
const HARMLESS_OPTIONS: ReadonlyMap<string, ((value: string) => boolean) | undefined> = new Map([
  ['-f', isFlush],
  ['--flush', isFlush],
  ['-R', isParsers],
  ['--parser', isParsers],
  ['-v', undefined],
  ['-vv', undefined],
  ['-q', undefined],
  ['--quiet', undefined],
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
    const isHarmless = HARMLESS_OPTIONS.has(option);
    const accepts = HARMLESS_OPTIONS.get(option);
    if (isHarmless && accepts === undefined) continue;
    if (index + 1 >= queue.length)
      return { problem: `option ${option} has no value, or is not known to be harmless` };
    index += 1;
    if (accepts?.(value) === false)
      return { problem: `option ${option} ${value} is not known to be harmless` };
    if (isHarmless) continue;
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
