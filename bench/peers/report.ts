/** What `bench:peers` has found, as tables for a terminal or a document. */
import { type Column, table } from '../../src/cli/table.ts';
import { MEASURE_KEYS, MEASURES } from '../figures.ts';
import { SERVERS, type ServerId } from '../servers.ts';
import { judgeGoals } from './goals.ts';
import type { Report } from './result.ts';

interface Section {
  readonly title: string;
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly string[])[];
}

export const RENDERERS = {
  table: (report: Report): string =>
    `${sections(report)
      .map(({ title, columns, rows }) => `${title}\n${table(columns, rows)}`)
      .join('\n')}\n${describeRun(report)}\n`,
  markdown: (report: Report): string =>
    `${describeRun(report)}\n\n${sections(report)
      .map(({ title, columns, rows }) => `${title}:\n\n${markdownTable(columns, rows)}`)
      .join('\n')}`,
  json: (report: Report): string => `${JSON.stringify({ ...report, goals: judgeGoals(report) }, null, 2)}\n`,
} as const satisfies Record<string, (report: Report) => string>;

function sections(report: Report): Section[] {
  return [loadSection(report), startSection(report), goalSection(report)].filter(
    ({ rows }) => rows.length > 0,
  );
}

function loadSection({ cases }: Report): Section {
  return {
    title: 'Under load',
    columns: [
      ...left('operation', 'connections', 'objects', 'server'),
      ...right(...MEASURE_KEYS.map((key) => MEASURES[key].title), 'ours by theirs: requests/s', 'p99'),
    ],
    rows: cases.flatMap(({ operation, connections, objects, figures, ratios }) =>
      (Object.keys(figures) as ServerId[]).map((id) => [
        operation,
        String(connections),
        objects,
        SERVERS[id].title,
        ...MEASURE_KEYS.map((key) => figures[id][key].toFixed(MEASURES[key].digits)),
        ratios[id]?.requestsPerSecond.toFixed(2) ?? '',
        ratios[id]?.p99Ms.toFixed(2) ?? '',
      ]),
    ),
  };
}

function startSection({ servers }: Report): Section {
  return {
    title: 'Start and memory',
    columns: [
      ...left('server', 'version'),
      ...right('first answer ms', 'started again ms', 'RSS MB', 'peak RSS MB'),
    ],
    rows: servers.map((server) => [
      server.title,
      server.version,
      server.firstAnswerMs.toFixed(0),
      server.firstAnswerAgainMs?.toFixed(0) ?? '',
      server.rssMegabytes.toFixed(0),
      server.peakRssMegabytes.toFixed(0),
    ]),
  };
}

function goalSection(report: Report): Section {
  return {
    title: 'Goals',
    columns: left('goal', 'found', 'met'),
    rows: judgeGoals(report).map(({ goal, found, met }) => [goal, found, met ? 'yes' : 'NO']),
  };
}

function describeRun({ date, machine, rounds, seconds }: Report): string {
  const pinned = machine.pinned
    ? 'one for the server, one for the load'
    : 'NOT pinned: the ratios mean little';
  return `${date}, ${machine.cpu}, ${machine.cores} cores (${pinned}), Node ${machine.node}; medians of ${rounds} rounds of ${seconds} s.`;
}

function markdownTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |\n`;
  const rule = columns.map(({ align }) => (align === 'right' ? '---:' : '---'));
  return [columns.map(({ title }) => title), rule, ...rows].map(line).join('');
}

const left = (...titles: string[]): Column[] => titles.map((title) => ({ title }));
const right = (...titles: string[]): Column[] => titles.map((title) => ({ title, align: 'right' }));
