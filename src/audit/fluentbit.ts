/**
 * fluent-bit's configuration in its classic format
 * (https://docs.fluentbit.io/manual/administration/configuring-fluent-bit/classic-mode/format-schema): rendered from settings, and read back.
 *
 * KKP renders it through an HTML template (quotes become entities), from maps (no key twice), and with an input that gives up at the first
 * line over 32 KiB. Here text stays text, a list repeats its key, keys are ordered, and long lines are skipped or fit.
 */
import type { DatacenterOptions } from '../config.ts';
import type { FluentBitSection } from '../kkp.ts';
import { type Reason, reason } from '../reasons.ts';
import { LOG_PATH, LOG_POSITION_PATH } from './names.ts';
import type { Settings } from './settings.ts';

export interface Section {
  /** Such as SERVICE, INPUT, FILTER or OUTPUT. */
  readonly name: string;
  /** In the order of the file; a key may repeat. */
  readonly entries: readonly (readonly [key: string, value: string])[];
}

/** What a key may look like: no white space, since that ends it, and nothing that starts a section, comment or command. */
const KEY = /^[A-Za-z0-9_$][\w.$/-]*$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u0008\u000a-\u001f\u007f]/;

export interface RenderedConfig {
  readonly text: string;
  /** Sections that can't be written and are left out: a filter that is missing logs more, never less. */
  readonly problems: readonly Reason[];
}

/**
 * Renders the configuration of the sidecar.
 * @param settings resolved; filters may use `${NAME}` for CLUSTER_ID and extraEnvs with a plain value, anything else is fluent-bit's to expand
 * @param write what becomes of a value: it stays, except to see what KKP makes of it
 */
export function renderFluentBit(
  settings: Settings,
  write: (value: string) => string = (value) => value,
): RenderedConfig {
  const problems: Reason[] = [];
  const config = settings.sidecar.value.config ?? {};
  const where = 'spec.auditLogging.sidecar.config';
  const variables = readPlainVariables(settings);
  const expand = (value: string): string =>
    value.replace(/\$\{([A-Za-z0-9_]+)\}/g, (match, name: string) => variables.get(name) ?? match);

  const sections: Section[] = [];
  const add = (name: string, given: unknown, place: string, change: (value: string) => string): void => {
    const section = readSection(name, given, change);
    if ('problem' in section)
      problems.push(reason('FLUENTBIT_SECTION_INVALID', { where: place, problem: section.problem }));
    else if (section.entries.length > 0) sections.push(section);
  };
  if (config.service) add('SERVICE', config.service, `${where}.service`, write);
  sections.push(renderInput(settings.options.input));
  const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
  for (const [index, filter] of list(config.filters).entries())
    add('FILTER', filter, `${where}.filters[${index}]`, (value) => write(expand(value)));
  for (const [index, output] of list(config.outputs).entries())
    add('OUTPUT', output, `${where}.outputs[${index}]`, write);
  if (!sections.some(({ name }) => name === 'OUTPUT')) {
    // One event a line, so that the seed's log stack can read it; fluent-bit's default for stdout is its own notation.
    sections.push({
      name: 'OUTPUT',
      entries: [
        ['Name', 'stdout'],
        ['Match', '*'],
        ['Format', 'json_lines'],
      ],
    });
  }
  return { text: formatSections(sections), problems };
}

function renderInput(input: DatacenterOptions['input']): Section {
  return {
    name: 'INPUT',
    entries: [
      ['Name', 'tail'],
      ['Path', LOG_PATH],
      ['DB', LOG_POSITION_PATH],
      ['Buffer_Chunk_Size', input.bufferChunkSize],
      ['Buffer_Max_Size', input.bufferMaxSize],
      ['Skip_Long_Lines', input.skipLongLines ? 'On' : 'Off'],
      ['Read_from_Head', input.readFromHead ? 'On' : 'Off'],
    ],
  };
}

/** What KKP's HTML template writes for a value. */
export const toEntities = (value: string): string =>
  value.replace(/["'&<>+]/g, (character) => `&${ENTITIES[character] ?? ''};`);

const ENTITIES: Readonly<Record<string, string>> = {
  '"': '#34',
  "'": '#39',
  '&': 'amp',
  '<': 'lt',
  '>': 'gt',
  '+': '#43',
};

/** CLUSTER_ID always wins over a variable of that name, as in KKP; a variable with valueFrom is known to the container alone. */
function readPlainVariables(settings: Settings): Map<string, string> {
  const variables = new Map<string, string>();
  const extra: unknown = settings.sidecar.value.extraEnvs ?? [];
  for (const variable of Array.isArray(extra) ? extra : []) {
    if (typeof variable?.name !== 'string') continue;
    variables.delete(variable.name);
    if (!variable.valueFrom) variables.set(variable.name, String(variable.value ?? ''));
  }
  return variables.set('CLUSTER_ID', settings.cluster);
}

/** `Name` and `Match` first, as people write them, then the other keys by name. */
function compareKeys(left: string, right: string): number {
  const rank = (key: string): number => ['name', 'match', 'match_regex'].indexOf(key.toLowerCase()) + 1 || 9;
  return rank(left) - rank(right) || (left < right ? -1 : left > right ? 1 : 0);
}

function readSection(
  name: string,
  given: unknown,
  change: (value: string) => string,
): Section | { readonly problem: string } {
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    return { problem: 'it is no map of strings' };
  const entries: [string, string][] = [];
  for (const [key, values] of Object.entries(given as FluentBitSection).sort(([a], [b]) =>
    compareKeys(a, b),
  )) {
    if (!KEY.test(key)) return { problem: `key ${JSON.stringify(key)} can't be written` };
    for (const value of Array.isArray(values) ? values : [values]) {
      if (!['string', 'number', 'boolean'].includes(typeof value))
        return { problem: `the value of ${key} is no string` };
      const text = change(String(value)).replace(/^[ \t]+|[ \t]+$/g, '');
      if (CONTROL.test(text))
        return { problem: `the value of ${key} has a line break or another control character` };
      if (text === '') return { problem: `the value of ${key} is empty` };
      entries.push([key, text]);
    }
  }
  const needsName = entries.length > 0 && name !== 'SERVICE';
  if (needsName && !entries.some(([key]) => key.toLowerCase() === 'name'))
    return { problem: 'it has no Name, without which fluent-bit does not start' };
  return { name, entries };
}

/** Writes sections in the classic format. */
export function formatSections(sections: readonly Section[]): string {
  return sections
    .map(({ name, entries }) => {
      const width = entries.reduce((widest, [key]) => Math.max(widest, key.length), 0);
      return [`[${name}]`, ...entries.map(([key, value]) => `    ${key.padEnd(width)} ${value}`)].join('\n');
    })
    .join('\n\n')
    .concat('\n');
}

/** What a text in the classic format can't be read for. */
export class FluentBitSyntaxError extends Error {
  override readonly name = 'FluentBitSyntaxError';
}

/**
 * Reads the classic format as fluent-bit does: sections, indented keys with values up to the end of the line, `#` comments on lines of their
 * own, `@` commands ignored here. A key ends at a space, not at a tab alone; an indented `[` begins a group, whose keys are not the section's.
 * @throws {FluentBitSyntaxError} with the line
 */
export function parseFluentBit(text: string): Section[] {
  const sections: { name: string; entries: [string, string][] }[] = [];
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.replace(/\r$/, '');
    const refuse = (problem: string): never => {
      throw new FluentBitSyntaxError(`line ${index + 1}: ${problem}`);
    };
    // C ends a text at the first NUL, and takes the others off the ends of a value.
    if (CONTROL.test(line)) refuse('it has a control character');
    if (/^[ \t]*(#|$)/.test(line) || line.startsWith('@')) continue;
    const header = /^\[([^\]]+)\][ \t]*$/.exec(line);
    if (header !== null) {
      sections.push({ name: (header[1] ?? '').toUpperCase(), entries: [] });
      continue;
    }
    const entry = /^[ \t]+([^ \t]+)\t* [ \t]*([\s\S]*[^ \t])/.exec(line);
    const section = sections.at(-1);
    if (entry === null || section === undefined)
      return refuse('expected [SECTION] or an indented key, a space and its value');
    const [, key = '', value = ''] = entry;
    if (key.startsWith('[')) refuse('it begins a group');
    section.entries.push([key, value]);
  }
  return sections;
}
