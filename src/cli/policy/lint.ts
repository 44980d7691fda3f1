/** `policy lint`: what kube-apiserver would refuse and what is questionable, for people, programs and code scanning. */
import { NEWEST_MINOR } from '../../policy/index.ts';
import type { CliIo } from '../io.ts';
import { paintFor, printable } from '../table.ts';
import { EXIT_REFUSED, loadSources, type Report, type ReportedProblem, report } from './load.ts';
import { toSarif } from './sarif.ts';

export interface LintCliOptions {
  readonly strict: boolean;
  readonly output: 'table' | 'json' | 'sarif';
  readonly preset?: string | undefined;
  readonly kubernetesVersion?: number | undefined;
}

const EXIT_WARNINGS = 1;
const COLOURS = { error: 'red', warning: 'yellow', note: 'cyan' } as const;

/** Exit code 2 where kube-apiserver would refuse any of the policies, 1 for warnings with --strict, else 0. */
export async function runLint(io: CliIo, files: readonly string[], options: LintCliOptions): Promise<void> {
  const sources = (await Promise.all(files.map((file) => loadSources(io, file)))).flat();
  const reports = sources.map((source) => report(source, options));
  if (options.output === 'json') io.stdout.write(`${JSON.stringify(toJson(reports), null, 2)}\n`);
  else if (options.output === 'sarif') io.stdout.write(`${JSON.stringify(toSarif(reports), null, 2)}\n`);
  else io.stdout.write(toText(io, reports, options));
  const count = countBySeverity(reports);
  if (count.error > 0) io.setExitCode(EXIT_REFUSED);
  else if (options.strict && count.warning > 0) io.setExitCode(EXIT_WARNINGS);
}

function countBySeverity(reports: readonly Report[]): Record<ReportedProblem['severity'], number> {
  const count = { error: 0, warning: 0, note: 0 };
  for (const { problems } of reports) for (const { severity } of problems) count[severity]++;
  return count;
}

function toJson(reports: readonly Report[]): unknown {
  return {
    policies: reports.map(({ source, read, problems }) => ({
      name: source.name,
      file: source.file,
      accepted: read.policy !== undefined,
      rules: read.policy?.rules.length ?? null,
      problems: problems.map(({ severity, code, path, message, position }) => ({
        severity,
        code,
        path,
        line: position?.line ?? null,
        column: position?.column ?? null,
        message,
      })),
    })),
    summary: countBySeverity(reports),
  };
}

function toText(io: CliIo, reports: readonly Report[], options: LintCliOptions): string {
  const paint = paintFor(io.stdout, io.env);
  const lines: string[] = [];
  for (const { source, problems } of reports) {
    for (const { severity, code, path, message, position } of problems) {
      const place = position === undefined ? '' : `:${position.line}:${position.column}`;
      const where = path === '' ? '' : `${printable(path)}: `;
      lines.push(
        `${paint('bold', `${source.file}${place}`)}: ${paint(COLOURS[severity], severity)}: ${where}${printable(message)} ${paint('dim', `[${code}]`)}`,
      );
    }
  }
  const { error, warning, note } = countBySeverity(reports);
  const refused = reports.filter(({ read }) => read.policy === undefined).length;
  const version = `Kubernetes 1.${options.kubernetesVersion ?? NEWEST_MINOR}`;
  const verdict =
    refused === 0
      ? paint('green', `${version} takes ${amount(reports.length, 'policy', 'policies')}`)
      : paint('red', `${version} refuses ${refused} of ${amount(reports.length, 'policy', 'policies')}`);
  lines.push(`${verdict}: ${amount(error, 'error')}, ${amount(warning, 'warning')}, ${amount(note, 'note')}`);
  return `${lines.join('\n')}\n`;
}

function amount(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
