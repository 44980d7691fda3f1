/**
 * Plain tables and sparing colour for a terminal. Colour is left out when the output is not a terminal or NO_COLOR is set
 * (https://no-color.org), and forced by FORCE_COLOR; widths count what a terminal shows, not code units.
 */
import { stripVTControlCharacters, styleText } from 'node:util';
import type { CliIo, CliStream } from './io.ts';

export type Style = Parameters<typeof styleText>[0];
export type Paint = (style: Style, text: string) => string;

/**
 * @param stream where the text will go
 * @param env NO_COLOR and FORCE_COLOR are read from it; either counts when it is set and not empty, FORCE_COLOR not when it is "0"
 * @returns a function that styles a text, or leaves it as it is
 */
export function paintFor(stream: CliStream, env: CliIo['env']): Paint {
  const forced = env.FORCE_COLOR !== undefined && env.FORCE_COLOR !== '' && env.FORCE_COLOR !== '0';
  const colour = forced || (stream.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb');
  return (style, text) => (colour ? styleText(style, text, { validateStream: false }) : text);
}

/** Control characters of untrusted text made visible, so that a name in a file can't drive the terminal. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (character) =>
    character === '\t' ? ' ' : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Extended_Pictographic}/u;
const ZERO = /^\p{Mark}$|^\u200d$|^\ufe0f$/u;

/** Columns that the text takes on a terminal. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const character of stripVTControlCharacters(text)) {
    if (!ZERO.test(character)) width += WIDE.test(character) ? 2 : 1;
  }
  return width;
}

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
}

/**
 * Lays out rows under a header, columns separated by two spaces, the last one ragged.
 * @param columns titles, in order; an empty list of titles prints no header
 * @param rows one list of cells a row; a missing cell is empty
 * @param paint styles the header
 * @returns the lines, each ending in a line break; nothing when there are no rows
 */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  paint: Paint = (_style, text) => text,
): string {
  if (rows.length === 0) return '';
  const widths = columns.map((column, index) =>
    rows.reduce((width, row) => Math.max(width, displayWidth(row[index] ?? '')), displayWidth(column.title)),
  );
  const line = (cells: readonly string[]): string =>
    columns
      .map((column, index) => {
        const cell = cells[index] ?? '';
        const padding = ' '.repeat((widths[index] ?? 0) - displayWidth(cell));
        if (column.align === 'right') return padding + cell;
        return index === columns.length - 1 ? cell : cell + padding;
      })
      .join('  ')
      .trimEnd();
  const header = columns.some((column) => column.title !== '')
    ? [line(columns.map((column) => paint('bold', column.title)))]
    : [];
  return `${[...header, ...rows.map(line)].join('\n')}\n`;
}
