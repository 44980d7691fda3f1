/** Slips in the words of a rule, told from what Kubernetes serves. */
import { groupsOf, resourcesOf } from './catalogue.ts';
import { closest, quote } from './problem.ts';

/** A question for the end of a sentence; empty where nothing is close. */
export function suggest(meant: string | undefined): string {
  return meant === undefined ? '' : `; did you mean ${quote(meant)}?`;
}

/** @returns why no request matches the pattern; undefined where one may */
export function patternProblem(group: string, pattern: string): string | undefined {
  if (pattern === '*' || group === '*') return undefined;
  if (pattern === '*/*') return '"*/*" matches nothing; "*" alone means all resources and their subresources';
  const [resource = '', ...rest] = pattern.split('/');
  const subresource = rest.join('/');
  if ((resource.includes('*') && resource !== '*') || (subresource.includes('*') && subresource !== '*')) {
    return `${quote(pattern)} matches nothing: "*" stands only for a whole resource or subresource, as in "pods/*" and "*/scale"`;
  }
  if (resource === '' || (pattern.includes('/') && subresource === ''))
    return `${quote(pattern)} names no resource`;
  const known = resourcesOf(group);
  if (known === undefined || resource === '*' || known.has(resource)) return undefined;
  const elsewhere = groupsOf(resource);
  const groupName = group === '' ? 'the core group ""' : quote(group);
  if (elsewhere.length > 0)
    return `${quote(resource)} is not in ${groupName} but in ${elsewhere.map(quote).join(' and ')}`;
  const lower = resource.toLowerCase();
  const meant =
    [lower, `${lower}s`, `${lower}es`, lower.replace(/y$/, 'ies')].find((name) => known.has(name)) ??
    closest(resource, [...known]);
  const other = meant === undefined ? groupsOf(`${lower}s`) : [];
  const hint =
    other.length > 0
      ? `; did you mean ${quote(`${lower}s`)} in ${other.map(quote).join(' or ')}?`
      : suggest(meant);
  return `${groupName} has no resource ${quote(resource)}${hint}`;
}
