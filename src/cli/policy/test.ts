/** `policy test`: a team's own expectations of a policy, for its CI. */
import { InputError, type InputProblem, readYamlDocuments } from '../../input.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../kubernetes.ts';
import {
  evaluate,
  LEVELS,
  type Policy,
  type RequestAttributes,
  STAGES,
  titleOf,
  writtenLevel,
} from '../../policy/index.ts';
import type { CliIo } from '../io.ts';
import { readInput } from '../source.ts';
import { paintFor, printable, table } from '../table.ts';
import { type RequestWords, toRequest } from './request.ts';

interface Case {
  readonly name: string;
  readonly line: number;
  readonly request: RequestAttributes;
  readonly expect: Expectation;
}

/** Only what is given is looked at. */
interface Expectation {
  readonly level?: string;
  readonly logged?: boolean;
  readonly rule?: number | null;
  readonly omitStages?: readonly string[];
  readonly omitManagedFields?: boolean;
}

const EXIT_FAILED = 1;
const TEXT_FIELDS = [
  'user',
  'verb',
  'resource',
  'apiGroup',
  'subresource',
  'namespace',
  'name',
  'path',
] as const;

/**
 * Exit code 1 where an expectation is not met.
 * @throws {InputError} with every problem of the cases
 */
export async function runTest(
  io: CliIo,
  policy: Policy,
  file: string,
  output: 'table' | 'json',
): Promise<void> {
  const cases = readCases(await readInput(file, io), file);
  const results = cases.map((one) => ({ ...one, failures: judge(policy, one) }));
  const failed = results.filter(({ failures }) => failures.length > 0);
  if (failed.length > 0) io.setExitCode(EXIT_FAILED);
  if (output === 'json') {
    const list = results.map(({ name, line, request, failures }) => ({
      name,
      line,
      request,
      passed: failures.length === 0,
      failures,
    }));
    io.stdout.write(
      `${JSON.stringify({ cases: list, passed: cases.length - failed.length, failed: failed.length }, null, 2)}\n`,
    );
    return;
  }
  const paint = paintFor(io.stdout, io.env);
  const rows = failed.map(({ name, line, failures }) => [
    paint('red', 'failed'),
    `${file}:${line}`,
    printable(name),
    printable(failures.join('; ')),
  ]);
  io.stdout.write(
    table([{ title: 'RESULT' }, { title: 'CASE' }, { title: 'NAME' }, { title: 'WHAT' }], rows, paint),
  );
  const colour = failed.length === 0 ? 'green' : 'red';
  io.stdout.write(`${paint(colour, `${cases.length - failed.length} of ${cases.length} passed`)}\n`);
}

function judge(policy: Policy, { request, expect }: Case): string[] {
  const found = evaluate(policy, request);
  const by = found.rule === undefined ? 'no rule' : `rules[${found.rule}]`;
  const failures: string[] = [];
  if (expect.level !== undefined && expect.level !== found.level) {
    failures.push(`level is ${found.level} by ${by}, not ${expect.level}`);
  }
  const logged = writtenLevel(found, request) !== 'None';
  if (expect.logged !== undefined && expect.logged !== logged)
    failures.push(`${logged ? 'logged' : 'not logged'} (${by})`);
  if (expect.rule !== undefined && expect.rule !== (found.rule ?? null)) {
    failures.push(`${by} decides, not ${expect.rule === null ? 'no rule' : `rules[${expect.rule}]`}`);
  }
  if (
    expect.omitStages !== undefined &&
    STAGES.some((stage) => expect.omitStages?.includes(stage) !== found.omitStages.includes(stage))
  ) {
    failures.push(`omitStages are [${found.omitStages.join(', ')}]`);
  }
  if (expect.omitManagedFields !== undefined && expect.omitManagedFields !== found.omitManagedFields) {
    failures.push(`omitManagedFields is ${found.omitManagedFields}`);
  }
  return failures;
}

function readCases(text: string, file: string): Case[] {
  const [document, second] = readYamlDocuments(text, file);
  if (document === undefined || second !== undefined) {
    throw new InputError([{ file, line: 0, field: '', text: 'must be one document with a list "cases"' }]);
  }
  const problems: InputProblem[] = [];
  const fail = (path: readonly (string | number)[], message: string): void => {
    problems.push(document.problem(path, message));
  };
  const root = document.value;
  const list = isJsonObject(root) ? root.cases : undefined;
  if (!Array.isArray(list) || list.length === 0) {
    throw new InputError([document.problem(['cases'], 'must be a list of cases: {name, request, expect}')]);
  }
  if (isJsonObject(root)) checkKeys(root, ['cases'], [], fail);
  const cases = list.flatMap((item, index): Case[] => {
    const path = ['cases', index];
    if (!isJsonObject(item)) {
      fail(path, 'must be a map with request and expect');
      return [];
    }
    checkKeys(item, ['name', 'request', 'expect'], path, fail);
    const request = readRequest(item.request, [...path, 'request'], fail);
    const expect = readExpectation(item.expect, [...path, 'expect'], fail);
    if (item.name !== undefined && typeof item.name !== 'string') fail([...path, 'name'], 'must be a text');
    if (request === undefined || expect === undefined) return [];
    const name = typeof item.name === 'string' ? item.name : titleOf(request);
    return [{ name, line: document.lineOf(path), request, expect }];
  });
  if (problems.length > 0) throw new InputError(problems);
  return cases;
}

type Fail = (path: readonly (string | number)[], message: string) => void;

function checkKeys(
  object: JsonObject,
  known: readonly string[],
  path: readonly (string | number)[],
  fail: Fail,
): void {
  for (const key of Object.keys(object)) {
    if (!known.includes(key)) fail([...path, key], `is not known; there are ${known.join(', ')}`);
  }
}

function readRequest(
  value: JsonValue | undefined,
  path: readonly (string | number)[],
  fail: Fail,
): RequestAttributes | undefined {
  if (!isJsonObject(value)) {
    fail(path, 'must be a map such as {user: alice, verb: get, resource: secrets, namespace: team}');
    return undefined;
  }
  checkKeys(value, [...TEXT_FIELDS, 'groups'], path, fail);
  const words: Record<string, string | readonly string[]> = {};
  for (const field of TEXT_FIELDS) {
    const word = value[field];
    if (typeof word === 'string') words[field] = word;
    else if (word !== undefined) fail([...path, field], 'must be a text');
  }
  const { groups } = value;
  if (isStrings(groups)) words.groups = groups;
  else if (groups !== undefined) fail([...path, 'groups'], 'must be a list of texts');
  try {
    return toRequest(words as RequestWords);
  } catch (error) {
    fail(path, error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

function readExpectation(
  value: JsonValue | undefined,
  path: readonly (string | number)[],
  fail: Fail,
): Expectation | undefined {
  if (!isJsonObject(value) || Object.keys(value).length === 0) {
    fail(path, 'must be a map such as {level: Metadata}');
    return undefined;
  }
  const checks: Record<string, [(value: JsonValue) => boolean, string]> = {
    level: [(level) => LEVELS.includes(level as never), `must be one of ${LEVELS.join(', ')}`],
    logged: [(logged) => typeof logged === 'boolean', 'must be true or false'],
    rule: [
      (rule) => rule === null || (Number.isInteger(rule) && (rule as number) >= 0),
      'must be the index of a rule, counted from 0, or null for none',
    ],
    omitStages: [
      (stages) => isStrings(stages) && stages.every((stage) => STAGES.includes(stage as never)),
      `must be a list of ${STAGES.join(', ')}`,
    ],
    omitManagedFields: [(omit) => typeof omit === 'boolean', 'must be true or false'],
  };
  checkKeys(value, Object.keys(checks), path, fail);
  for (const [key, [isValid, message]] of Object.entries(checks)) {
    const field = Object.hasOwn(value, key) ? value[key] : undefined;
    if (field !== undefined && !isValid(field)) fail([...path, key], message);
  }
  return value as Expectation;
}

function isStrings(value: JsonValue | undefined): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}
