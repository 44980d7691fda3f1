/**
 * Text to policy, as kube-apiserver loads the file of --audit-policy-file (`k8s.io/apiserver/pkg/audit/policy`): JSON where the text starts
 * with "{", YAML otherwise; strictly first, and leniently, with a line in its log, where only unknown or repeated fields are wrong.
 */
import type { ProblemCode } from './codes.ts';
import { type Data, describe, formatPath, locate } from './data.ts';
import {
  type DecodeError,
  FieldDecoder,
  fieldOf,
  itemsOf,
  stringsOf,
  type UnknownField,
  type Value,
} from './decode.ts';
import { readJsonDocument } from './json.ts';
import { SyntaxProblem } from './position.ts';
import { closest, type Problem, quote } from './problem.ts';
import { POLICY_SCHEMA } from './schema.ts';
import { ANY_GROUP_SINCE_MINOR, NEWEST_MINOR, type Policy } from './types.ts';
import { type UncheckedPolicy, type UncheckedRule, validatePolicy } from './validate.ts';
import { readYamlDocument } from './yaml/document.ts';

export interface ReadOptions {
  /** Minor version of the Kubernetes 1.x that will read the policy; the newest known where it is not given. */
  readonly kubernetesMinor?: number | undefined;
}

export interface ReadResult {
  /** Undefined exactly where kube-apiserver would refuse to start. */
  readonly policy: Policy | undefined;
  /** Why kube-apiserver would refuse: all reasons, up to 200 of the decoder and 200 of the validation. */
  readonly errors: readonly Problem[];
  /** What kube-apiserver reads over, and what another version would refuse. */
  readonly warnings: readonly Problem[];
  /** What was read, with its places; undefined for a text that cannot be read. */
  readonly root: Data | undefined;
}

/** More of a kind are not told: nobody reads them, and a text of a megabyte can have half a million. */
const MAX_PROBLEMS = 200;

/** What Go calls space in front of JSON. */
const JSON_START = /^[\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*\{/;

/**
 * @param text the policy; bytes where it comes from a file, whose encoding counts too
 * @returns never throws for a text, whatever it holds
 */
export function readPolicy(text: string | Uint8Array, options: ReadOptions = {}): ReadResult {
  try {
    const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text;
    const decoded = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
    const document = JSON_START.test(decoded) ? readJsonDocument(decoded) : readYamlDocument(bytes);
    const warnings: Problem[] = document.duplicates.slice(0, MAX_PROBLEMS).map(({ path, at }) => ({
      code: 'duplicate-field',
      path,
      message: 'stands there twice; kube-apiserver takes the last one. Remove the other',
      position: at,
    }));
    if (document.ignoredFrom !== undefined) {
      warnings.push({
        code: 'ignored-text',
        path: '',
        message: 'kube-apiserver reads the first document only; what starts here is ignored. Remove it',
        position: document.ignoredFrom,
      });
    }
    return readRoot(document.root, warnings, options);
  } catch (error) {
    if (!(error instanceof SyntaxProblem)) throw error;
    const { message, position } = error;
    const errors: Problem[] = [{ code: 'syntax', path: '', message, position }];
    return { policy: undefined, errors, warnings: [], root: undefined };
  }
}

function readRoot(root: Data, warnings: Problem[], options: ReadOptions): ReadResult {
  const foreign = checkType(root);
  const errors: Problem[] = [...foreign.errors];
  if (foreign.stop) return { policy: undefined, errors: errors.sort(byPlace), warnings, root };

  const decoder = new FieldDecoder(MAX_PROBLEMS);
  const value = decoder.decode(root, POLICY_SCHEMA, [], undefined);
  for (const error of decoder.errors) errors.push(toProblem(error));
  for (const field of decoder.unknown) warnings.push(explainUnknown(field));

  const unchecked = toPolicy(value);
  const minor = options.kubernetesMinor ?? NEWEST_MINOR;
  const invalid = validatePolicy(unchecked, minor).filter(({ path }) => !isCovered(path, decoder.errors));
  for (const { code, path, message } of invalid.take(MAX_PROBLEMS)) {
    errors.push({ code, path: formatPath(path), message, position: locate(root, path) });
  }
  if (options.kubernetesMinor === undefined) {
    for (const warning of warnOfAnyGroup(unchecked, root)) warnings.push(warning);
  }
  errors.sort(byPlace);
  warnings.sort(byPlace);
  // Validated: every level and stage is one of the known.
  return { policy: errors.length === 0 ? (unchecked as Policy) : undefined, errors, warnings, root };
}

/** Go's decoder for apiVersion and kind, unlike the one for all other fields, takes keys in any case; the last counts. */
function checkType(root: Data): { errors: Problem[]; stop: boolean } {
  const errors: Problem[] = [];
  const at = root.at;
  const fail = (code: ProblemCode, path: string, message: string, position = at): void => {
    errors.push({ code, path, message, position });
  };
  if (root.kind !== 'map') {
    const found = root.kind === 'null' ? 'empty' : describe(root);
    fail(
      'not-a-policy',
      '',
      `the document is ${found}; a policy starts with "apiVersion: audit.k8s.io/v1" and "kind: Policy"`,
    );
    return { errors, stop: true };
  }
  const type = { apiversion: '', kind: '' };
  const places = { apiversion: at, kind: at };
  for (const { key, value, at: place } of root.entries) {
    const name = key.toLowerCase().replaceAll('\u017f', 's').replaceAll('\u212a', 'k');
    if (name !== 'apiversion' && name !== 'kind') continue;
    places[name] = place;
    if (value.kind === 'string') type[name] = value.value;
    else if (value.kind !== 'null') {
      fail('type-invalid', key, `must be a string, not ${describe(value)}`, value.at);
    }
  }
  const { apiversion: apiVersion, kind } = type;
  if (errors.length > 0) return { errors, stop: false };
  if (kind !== '' && kind !== 'Policy') {
    const data = kind === 'ConfigMap' ? '; the policy is the text under its data' : '';
    fail('kind-wrong', 'kind', `must be Policy, not ${quote(kind)}${data}`, places.kind);
  }
  if (apiVersion !== 'audit.k8s.io/v1') {
    const removed = apiVersion.startsWith('audit.k8s.io/v1') ? ' (Kubernetes 1.24 has removed it)' : '';
    const message =
      apiVersion === ''
        ? 'must be "audit.k8s.io/v1", and is missing'
        : `must be "audit.k8s.io/v1", not ${quote(apiVersion)}${removed}`;
    fail('api-version-wrong', 'apiVersion', message, places.apiversion);
  }
  return { errors, stop: errors.length > 0 && !apiVersion.startsWith('audit.k8s.io/') && kind !== 'Policy' };
}

function toPolicy(value: Value): UncheckedPolicy {
  return {
    rules: itemsOf(fieldOf(value, 'rules')).map(toRule),
    omitStages: stringsOf(fieldOf(value, 'omitStages')),
    omitManagedFields: fieldOf(value, 'omitManagedFields') === true,
  };
}

function toRule(value: Value): UncheckedRule {
  const strings = (key: string): readonly string[] => stringsOf(fieldOf(value, key));
  const omitManagedFields = fieldOf(value, 'omitManagedFields');
  return {
    level: text(fieldOf(value, 'level')),
    users: strings('users'),
    userGroups: strings('userGroups'),
    verbs: strings('verbs'),
    resources: itemsOf(fieldOf(value, 'resources')).map((item) => ({
      group: text(fieldOf(item, 'group')),
      resources: stringsOf(fieldOf(item, 'resources')),
      resourceNames: stringsOf(fieldOf(item, 'resourceNames')),
    })),
    namespaces: strings('namespaces'),
    nonResourceURLs: strings('nonResourceURLs'),
    omitStages: strings('omitStages'),
    omitManagedFields: typeof omitManagedFields === 'boolean' ? omitManagedFields : undefined,
  };
}

function text(value: Value): string {
  return typeof value === 'string' ? value : '';
}

function toProblem({ path, message, at }: DecodeError): Problem {
  return { code: 'type-invalid', path: formatPath(path), message, position: at };
}

/** A field of the wrong kind counts as missing in what was decoded: one error is enough. */
function isCovered(path: readonly (string | number)[], errors: readonly DecodeError[]): boolean {
  return errors.some((error) => error.path.every((step, index) => step === path[index]));
}

/** What a rule or a policy means without the field that somebody tried to write. */
const WITHOUT: ReadonlyMap<string, string> = new Map([
  ['users', 'every user matches'],
  ['userGroups', 'every group matches'],
  ['verbs', 'every verb matches'],
  ['resources', 'every resource matches'],
  ['resourceNames', 'every name matches'],
  ['namespaces', 'every namespace matches'],
  ['nonResourceURLs', 'every request matches'],
  ['group', 'the core group is meant'],
  ['omitStages', 'no stage is left out'],
  ['rules', 'there are no rules'],
]);

function explainUnknown({ path, key, at, known }: UnknownField): Problem {
  const meant = closest(key, known) ?? MEANT.get(key.toLowerCase().replaceAll(/[^a-z]/g, ''));
  const likely = meant === undefined || !known.includes(meant) ? undefined : meant;
  const effect = likely === undefined ? undefined : WITHOUT.get(likely);
  const message =
    likely === undefined
      ? `unknown field, which kube-apiserver reads over; remove it, or use one of ${known.join(', ')}`
      : `unknown field, which kube-apiserver reads over${effect === undefined ? '' : `, so that ${effect}`}; did you mean "${likely}"?`;
  return { code: 'unknown-field', path, message, position: at };
}

/** Names that people bring along from RBAC and from other versions. */
const MEANT: ReadonlyMap<string, string> = new Map([
  ['apigroup', 'group'],
  ['apigroups', 'group'],
  ['groups', 'userGroups'],
  ['nonresourceurl', 'nonResourceURLs'],
  ['nonresourcepaths', 'nonResourceURLs'],
  ['urls', 'nonResourceURLs'],
  ['paths', 'nonResourceURLs'],
  ['names', 'resourceNames'],
  ['stages', 'omitStages'],
  ['serviceaccounts', 'users'],
  ['subjects', 'users'],
]);

function warnOfAnyGroup(policy: UncheckedPolicy, root: Data): Problem[] {
  return policy.rules.flatMap((rule, index) =>
    rule.resources.flatMap(({ group }, item) => {
      if (group !== '*') return [];
      const path = ['rules', index, 'resources', item, 'group'];
      const message = `Kubernetes before 1.${ANY_GROUP_SINCE_MINOR} refuses a policy with the group "*"`;
      return [{ code: 'any-group', path: formatPath(path), message, position: locate(root, path) }];
    }),
  );
}

function byPlace(a: Problem, b: Problem): number {
  const [left, right] = [a.position, b.position];
  if (left === undefined || right === undefined) return 0;
  return left.line - right.line || left.column - right.column;
}
