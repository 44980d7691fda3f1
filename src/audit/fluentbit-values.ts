/** Keys and values of fluent-bit's sections as fluent-bit reads them (its src/flb_config.c, flb_router.c and flb_utils.c of 4.0). Pure. */
import type { Section } from './fluentbit.ts';
import { cleanPath } from './mounts.ts';
import { LOG_DIRECTORY } from './names.ts';

/** Parsers of PARSERS_PATH that keep all of an event. */
export const WHOLE_PARSERS: ReadonlySet<string> = new Set(['json', 'docker']);

/** The values of keys, whatever their capitals, in the order of the section. */
export const valuesOf = (section: Section, ...keys: readonly string[]): string[] =>
  section.entries.filter(([name]) => keys.includes(name.toLowerCase())).map(([, value]) => value);

/** The value of a key, whatever its capitals; the last one counts, except for the name. */
export const lastOf = (section: Section, key: string): string | undefined => valuesOf(section, key).at(-1);

/** The plugin of a section: the first `Name` counts, in any capitals. */
export const pluginOf = (section: Section): string => (valuesOf(section, 'name')[0] ?? '').toLowerCase();

export const isOn = (value: string | undefined): boolean => /^(on|true|yes|1)$/i.test(value ?? '');

/** Whether a switch that is off by default certainly is. */
export const isOff = (value: string | undefined): boolean =>
  value === undefined || /^(off|false|no)$/i.test(value);

/** Whether fluent-bit puts something from its environment into a value, which `@SET` changes as well. */
export const hasVariable = (value: string): boolean => value.includes('${');

/** C's atof: the number in front, whatever follows; NaN where there is none. */
export const leadingNumber = (value: string): number =>
  Number(/^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?/i.exec(value)?.[0] ?? Number.NaN);

const SIZE_UNITS: Readonly<Record<string, number>> = { '': 1, k: 1000, m: 1e6, g: 1e9 };

/** fluent-bit's sizes: 512k, 5MB, 1.5G; NaN where it is none. */
export function bytesOf(value: string): number {
  const [, digits, unit = ''] = /^([\d.]+)\s*([kmg]?)b?$/i.exec(value) ?? [];
  return Number(digits) * (SIZE_UNITS[unit.toLowerCase()] ?? Number.NaN);
}

/** Open files have names too. */
const OPEN_FILES = /^\/(proc|dev\/fd)(\/|$)/;

/** Whether what is written to a path may end up in the audit log, which would be read again, without end. */
export function mayBeLog(path: string): boolean {
  const clean = cleanPath(path);
  const leadsOn = hasVariable(path) || path.includes('..') || OPEN_FILES.test(clean);
  return leadsOn || clean.includes(LOG_DIRECTORY.slice(1));
}

/** `*` stands for any text. Linear in the text: no regular expression is made of what a person wrote. */
export function matchesPattern(text: string, pattern: string): boolean {
  const [head = '', ...parts] = pattern.split('*');
  if (parts.length === 0) return text === pattern;
  const tail = parts.pop() ?? '';
  if (!text.startsWith(head) || !text.endsWith(tail) || text.length < head.length + tail.length) return false;
  let at = head.length;
  for (const part of parts) {
    const found = text.indexOf(part, at);
    if (found === -1) return false;
    at = found + part.length;
  }
  return at <= text.length - tail.length;
}

/** Regular expressions that match everything; what others match is not tried out, as it could take forever. */
const MATCHES_ALL = /^\^?\.[*+]\$?$/;

/**
 * Whether a filter or an output gets what has the tag: by its pattern or by its regular expression.
 * @returns undefined where that can't be told
 */
export function matches(section: Section, tag: string | undefined): boolean | undefined {
  const found = [
    matchesTag(lastOf(section, 'match'), tag),
    matchesExpression(lastOf(section, 'match_regex')),
  ];
  if (found.includes(true)) return true;
  return found.includes(undefined) ? undefined : false;
}

function matchesTag(pattern: string | undefined, tag: string | undefined): boolean | undefined {
  if (pattern === undefined) return false;
  if (/^\*+$/.test(pattern)) return true;
  return tag === undefined || hasVariable(pattern) ? undefined : matchesPattern(tag, pattern);
}

const matchesExpression = (expression: string | undefined): boolean | undefined =>
  expression === undefined ? false : MATCHES_ALL.test(expression) || undefined;
