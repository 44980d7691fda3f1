/**
 * What is questionable about a valid policy. A finding about a rule is proven by a request that reaches it or by the proof that none does; the
 * rest is decided by evaluation over the representative requests. docs/policy.md explains every code.
 */
import { VERBS } from './catalogue.ts';
import { ComparisonTooLarge } from './choices.ts';
import type { ProblemCode } from './codes.ts';
import { type Difference, differenceOf, writtenLevel } from './compare.ts';
import { type Data, formatPath, locate } from './data.ts';
import { evaluate, targetOf } from './evaluate.ts';
import { ESTIMATE_NODES, NOISE } from './noise.ts';
import { findOutcomes } from './outcomes.ts';
import { namedPreset, PRESETS } from './presets.ts';
import { closest, type Problem, quote } from './problem.ts';
import { readPolicy } from './read.ts';
import { type Concern, REPRESENTATIVE_REQUESTS, titleOf } from './requests.ts';
import {
  compareLevels,
  type GroupResources,
  type Level,
  type Policy,
  type PolicyRule,
  type Stage,
} from './types.ts';
import {
  findRequest,
  resourceTarget,
  SearchBudget,
  SOMETHING_ELSE,
  type Target,
  targetsOfItem,
} from './witness.ts';
import { patternProblem, suggest } from './words.ts';

export interface Finding extends Problem {
  /** `warning`: most likely a mistake, or a gap; `note`: worth knowing. */
  readonly severity: 'warning' | 'note';
  /** Index of the rule that it is about. */
  readonly rule: number | undefined;
}

export interface LintOptions {
  /** What the policy was read from: findings then have a place. */
  readonly root?: Data | undefined;
  /** The text: a preset named in its first comment is compared with. */
  readonly text?: string | undefined;
  /** A preset to compare with instead. */
  readonly preset?: string | undefined;
}

/** @returns warnings first, each kind in the order of the rules */
export function lint(policy: Policy, options: LintOptions = {}): Finding[] {
  const linter = new Linter(policy, options.root);
  linter.rules();
  linter.gaps();
  linter.stages();
  linter.noise();
  linter.preset(options.preset ?? namedPreset(options.text ?? ''));
  const { findings } = linter;
  return [
    ...findings.filter(({ severity }) => severity === 'warning'),
    ...findings.filter(({ severity }) => severity === 'note'),
  ];
}

/** Slips in more words are not looked for: that is no slip any more. */
const MAX_FINDINGS = 500;

/** Resources times names of one item: beyond this, dead entries are not looked for. */
const MAX_ENTRIES = 20_000;

type Path = readonly (string | number)[];

/** Contents that nobody should find in a log, and the least level that writes them: a new token stands only in the answer. */
const SENSITIVE: readonly {
  readonly what: string;
  readonly from: Level;
  readonly targets: readonly Target[];
}[] = [
  { what: 'secrets', from: 'Request', targets: [resourceTarget('', 'secrets')] },
  { what: 'configmaps', from: 'Request', targets: [resourceTarget('', 'configmaps')] },
  {
    what: 'tokenreviews (the tokens under review)',
    from: 'Request',
    targets: [resourceTarget('authentication.k8s.io', 'tokenreviews')],
  },
  {
    what: 'serviceaccounts/token (the new tokens)',
    from: 'RequestResponse',
    targets: [resourceTarget('', 'serviceaccounts/token')],
  },
];

const GAPS = {
  secrets: 'access to secrets',
  configmaps: 'access to configmaps',
  tokens: 'tokens, service accounts and certificates',
  exec: 'exec, attach, port-forward and proxy',
  rbac: 'changes to RBAC',
  workloads: 'changes to workloads',
  deletecollection: 'deletion of whole collections',
} as const satisfies Partial<Record<Concern, string>>;

class Linter {
  readonly findings: Finding[] = [];
  readonly #policy: Policy;
  readonly #root: Data | undefined;
  readonly #budget = new SearchBudget();

  constructor(policy: Policy, root: Data | undefined) {
    this.#policy = policy;
    this.#root = root;
  }

  #add(severity: Finding['severity'], code: ProblemCode, path: Path, message: string): void {
    const position = this.#root === undefined ? undefined : locate(this.#root, path);
    const rule = path[0] === 'rules' && typeof path[1] === 'number' ? path[1] : undefined;
    this.findings.push({ severity, code, path: formatPath(path), message, position, rule });
  }

  rules(): void {
    this.#policy.rules.forEach((rule, index) => {
      this.#words(rule, index);
      const found = findRequest(this.#policy, index, {}, this.#budget);
      if (found === undefined) this.#neverReached(index);
      else {
        this.#deadEntries(rule, index);
        this.#bodies(rule, index);
      }
    });
  }

  #neverReached(index: number): void {
    const covering = this.#policy.rules.slice(0, index).map((_, earlier) => earlier);
    const alone = covering.find((earlier) => {
      const rules = [this.#policy.rules[earlier], this.#policy.rules[index]].filter(
        (rule) => rule !== undefined,
      );
      return findRequest({ ...this.#policy, rules }, 1, {}, this.#budget) === undefined;
    });
    const matchesAny =
      findRequest({ ...this.#policy, rules: [this.#policy.rules[index] as PolicyRule] }, 0) !== undefined;
    const by = alone === undefined ? 'the rules before it together take' : `rules[${alone}] takes`;
    const why = matchesAny
      ? `${by} every request that it matches; move it up or remove it`
      : 'no request can match it; see the other findings';
    this.#add('warning', 'never-reached', ['rules', index], `never reached: ${why}`);
  }

  /** Words in lists that no request can ever have: people take them for wildcards, kinds or singulars. */
  #words(rule: PolicyRule, index: number): void {
    if (this.findings.length > MAX_FINDINGS) return;
    const at = (...steps: Path): Path => ['rules', index, ...steps];
    for (const field of ['users', 'userGroups', 'namespaces'] as const) {
      rule[field].forEach((value, item) => {
        if (!value.includes('*')) return;
        const all = value === '*' ? `; leave ${field} out to match all` : '; list the names';
        this.#add(
          'warning',
          'no-wildcard',
          at(field, item),
          `${quote(value)} is no wildcard here, and no request has it${all}`,
        );
      });
    }
    rule.verbs.forEach((verb, item) => {
      if (VERBS.includes(verb)) return;
      const meant = verb === '*' ? '; leave verbs out to match all' : suggest(closest(verb, VERBS));
      this.#add(
        'warning',
        'unknown-verb',
        at('verbs', item),
        `no request has the verb ${quote(verb)}${meant}`,
      );
    });
    rule.resources.forEach((item, number) => {
      this.#resourceWords(item, at('resources', number));
    });
  }

  #resourceWords(item: GroupResources, path: Path): void {
    item.resourceNames.forEach((name, index) => {
      if (!name.includes('*')) return;
      this.#add(
        'warning',
        'no-wildcard',
        [...path, 'resourceNames', index],
        `${quote(name)} is no wildcard here, and no object has this name; list the names, or leave resourceNames out`,
      );
    });
    item.resources.slice(0, MAX_FINDINGS).forEach((pattern, index) => {
      const message = patternProblem(item.group, pattern);
      if (message !== undefined)
        this.#add('warning', 'unknown-resource', [...path, 'resources', index], message);
    });
  }

  /** A resource listed in a rule that earlier rules have taken whole. */
  #deadEntries(rule: PolicyRule, index: number): void {
    rule.resources.forEach((item, number) => {
      if (item.resources.length * item.resourceNames.length > MAX_ENTRIES) return;
      item.resources.forEach((pattern, entry) => {
        if (rule.resources.length === 1 && item.resources.length === 1) return;
        const targets = targetsOfItem({ ...item, resources: [pattern] });
        if (findRequest(this.#policy, index, { targets }, this.#budget) !== undefined) return;
        this.#add(
          'note',
          'entry-never-reached',
          ['rules', index, 'resources', number, 'resources', entry],
          `${quote(pattern)} is never reached here: earlier rules take every such request`,
        );
      });
    });
  }

  #bodies(rule: PolicyRule, index: number): void {
    if (rule.level !== 'Request' && rule.level !== 'RequestResponse') return;
    for (const { what, from, targets } of SENSITIVE) {
      if (compareLevels(rule.level, from) < 0) continue;
      const only = { targets: sensitiveIn(rule, targets), verbs: bodyVerbs(rule.level) };
      const found = findRequest(this.#policy, index, only, this.#budget);
      if (found === undefined || found === 'unknown') continue;
      const named = rule.resources.some((item) => item.resourceNames.includes(found.name));
      this.#add(
        named ? 'note' : 'warning',
        'sensitive-bodies',
        ['rules', index, 'level'],
        `level ${rule.level} writes the contents of ${what} to the log (${verbsAndWho(found)}); put a rule with level Metadata for them in front`,
      );
    }
    const omits = rule.omitManagedFields ?? this.#policy.omitManagedFields;
    if (!omits) {
      this.#add(
        'note',
        'managed-fields',
        ['rules', index],
        `level ${rule.level} without omitManagedFields: true writes managedFields, often the larger part of a body`,
      );
    }
  }

  /** CIS 3.2.2: what a log must be able to answer. */
  gaps(): void {
    const unlogged = REPRESENTATIVE_REQUESTS.filter(
      ({ essential, request }) =>
        essential && writtenLevel(evaluate(this.#policy, request), request) === 'None',
    );
    for (const concern of Object.keys(GAPS) as (keyof typeof GAPS)[]) {
      const name = GAPS[concern];
      const missing = unlogged.filter((one) => one.concern === concern);
      const [first] = missing;
      if (first === undefined) continue;
      const total = REPRESENTATIVE_REQUESTS.filter((one) => one.concern === concern && one.essential).length;
      const { rule } = evaluate(this.#policy, first.request);
      const why = rule === undefined ? 'no rule matches' : `rules[${rule}] says so`;
      const some = missing.slice(0, 3).map(({ title }) => title);
      const more = missing.length > some.length ? ` and ${missing.length - some.length} more` : '';
      const extent = missing.length === total ? 'nothing is logged of' : 'not all is logged of';
      this.#add(
        'warning',
        `unlogged-${concern}`,
        rule === undefined ? ['rules'] : ['rules', rule],
        `${extent} ${name}: ${some.join('; ')}${more} (${why}); add a rule with level Metadata in front`,
      );
    }
    const last = this.#policy.rules.at(-1);
    const catchesAll =
      last !== undefined &&
      targetOf(last) === 'anything' &&
      [last.users, last.userGroups, last.verbs].every((list) => list.length === 0);
    if (!catchesAll) {
      this.#add(
        'note',
        'no-catch-all',
        ['rules'],
        'requests that no rule matches are not logged; end with "- level: Metadata" to log them, or with "- level: None" to say that this is meant',
      );
    }
  }

  stages(): void {
    const check = (omitted: readonly string[], path: Path): void => {
      if (omitted.includes('ResponseComplete')) {
        const all = omitted.includes('RequestReceived');
        const effect = all
          ? 'no line is written for an ordinary request'
          : 'the log has neither results nor bodies';
        this.#add(
          'warning',
          'response-omitted',
          path,
          `without the stage ResponseComplete ${effect}; take it out of omitStages`,
        );
      }
    };
    const { rules, omitStages } = this.#policy;
    const logging = rules.map((rule, index) => ({ rule, index })).filter(({ rule }) => rule.level !== 'None');
    if (omitStages.includes('ResponseComplete')) check([...omitStages], ['omitStages']);
    else
      for (const { rule, index } of logging)
        check([...omitStages, ...rule.omitStages], ['rules', index, 'omitStages']);
    const twice = logging.filter(
      ({ rule }) => !omitStages.includes('RequestReceived') && !rule.omitStages.includes('RequestReceived'),
    );
    if (twice.length > 0) {
      const names = twice.slice(0, 5).map(({ index }) => `rules[${index}]`);
      const more = twice.length > names.length ? ` and ${twice.length - names.length} more` : '';
      this.#add(
        'note',
        'request-received',
        ['omitStages'],
        `requests are written twice, when they arrive and when they are answered (${names.join(', ')}${more}); "omitStages: [RequestReceived]" halves the log`,
      );
    }
  }

  noise(): void {
    const byRule = new Map<number, { what: string; lines: number }[]>();
    for (const { what, request, perCluster, perNode } of NOISE) {
      const evaluation = evaluate(this.#policy, request);
      if (evaluation.rule === undefined || writtenLevel(evaluation, request) === 'None') continue;
      const stages: Stage[] = ['RequestReceived', 'ResponseComplete'];
      if (request.verb === 'watch') stages.push('ResponseStarted');
      const written = stages.filter((stage) => !evaluation.omitStages.includes(stage)).length;
      const lines = (perCluster + perNode * ESTIMATE_NODES) * written;
      byRule.set(evaluation.rule, [...(byRule.get(evaluation.rule) ?? []), { what, lines }]);
    }
    for (const [rule, loud] of byRule) {
      const total = rounded(loud.reduce((sum, { lines }) => sum + lines, 0));
      const list = loud
        .sort((a, b) => b.lines - a.lines)
        .map(({ what, lines }) => `${what}: ${rounded(lines)}`)
        .join('; ');
      this.#add(
        'note',
        'noise',
        ['rules', rule],
        `logs what the cluster does all the time, about ${total} lines a day with ${ESTIMATE_NODES} nodes; put a rule with level None in front of what nobody reads (${list})`,
      );
    }
  }

  preset(name: string | undefined): void {
    const text = name === undefined ? undefined : PRESETS.get(name);
    const preset = text === undefined ? undefined : readPolicy(text).policy;
    if (preset === undefined) return;
    // Counted and not kept: there may be many.
    const count = { less: 0, more: 0, other: 0 };
    let first: Difference | undefined;
    try {
      for (const outcome of findOutcomes([preset, this.#policy])) {
        const difference = differenceOf(outcome);
        if (difference === undefined) continue;
        if (first === undefined || (difference.change === 'less' && count.less === 0)) first = difference;
        count[difference.change] += 1;
      }
    } catch (error) {
      if (error instanceof ComparisonTooLarge) return;
      throw error;
    }
    if (first === undefined) return;
    const extent = count.less === 0 ? 'none of them less' : `${count.less} of them less`;
    this.#add(
      count.less === 0 ? 'note' : 'warning',
      'differs-from-preset',
      [],
      `logs ${count.less + count.more + count.other} kinds of requests unlike the preset ${name}, ${extent}, such as ${first.title}: ${writtenLevel(first.after, first.request)} instead of ${writtenLevel(first.before, first.request)}`,
    );
  }
}

/** The verbs whose bodies hold the object: a read has it only in the answer. */
function bodyVerbs(level: string): readonly string[] {
  return level === 'Request'
    ? ['create', 'update', 'patch']
    : ['create', 'update', 'patch', 'get', 'list', 'watch'];
}

/** A rule may name single objects: those are looked at too. */
function sensitiveIn(rule: PolicyRule, targets: readonly Target[]): readonly Target[] {
  const names = rule.resources.flatMap((item) => item.resourceNames);
  return targets.flatMap((target) => [target, ...names.map((name) => ({ ...target, name }))]);
}

function verbsAndWho(request: Parameters<typeof titleOf>[0]): string {
  const title = titleOf({
    ...request,
    namespace: '',
    name: request.name.includes(SOMETHING_ELSE) ? '' : request.name,
    user: undefined,
  });
  return title.replace(/ by nobody known$/, '');
}

function rounded(lines: number): string {
  const digits = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(lines, 1))) - 1);
  return String(Math.round(lines / digits) * digits).replaceAll(/\B(?=(\d{3})+$)/g, ',');
}
