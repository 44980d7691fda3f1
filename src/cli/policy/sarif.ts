/** Findings as SARIF 2.1.0 (https://docs.oasis-open.org/sarif/sarif/v2.1.0/), which code scanning reads. */
import { pathToFileURL } from 'node:url';
import { PROBLEM_CODES } from '../../policy/index.ts';
import type { Report, ReportedProblem } from './load.ts';

const HELP = 'https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/';

export function toSarif(reports: readonly Report[]): unknown {
  const codes = [...new Set(reports.flatMap(({ problems }) => problems.map(({ code }) => code)))].sort();
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'kkp-audit-webhook policy lint',
            informationUri: HELP,
            rules: codes.map((id) => ({
              id,
              shortDescription: { text: PROBLEM_CODES[id] },
              helpUri: HELP,
            })),
          },
        },
        // SARIF counts columns in UTF-16 unless it is told otherwise.
        columnKind: 'unicodeCodePoints',
        results: reports.flatMap((report) =>
          report.problems.map((problem) => resultOf(report, problem, codes)),
        ),
      },
    ],
  };
}

function resultOf(report: Report, problem: ReportedProblem, codes: readonly string[]): unknown {
  const { severity, code, path, message, position } = problem;
  const region =
    position === undefined ? {} : { region: { startLine: position.line, startColumn: position.column } };
  return {
    ruleId: code,
    ruleIndex: codes.indexOf(code),
    level: severity,
    message: { text: path === '' ? message : `${path}: ${message}` },
    locations: [{ physicalLocation: { artifactLocation: { uri: uriOf(report.source.file) }, ...region } }],
  };
}

/** A relative path stays relative, so that a scanner finds it in the repository. */
function uriOf(file: string): string {
  if (file.startsWith('/')) return pathToFileURL(file).href;
  return file.split('/').map(encodeURIComponent).join('/');
}
