/** Which requests policies are compared by: those that stand for what an audit log is read for, and those that a policy names besides. */
import { REPRESENTATIVE_REQUESTS, type RepresentativeRequest, titleOf } from './requests.ts';
import type { Policy, RequestAttributes } from './types.ts';
import { SOMETHING_ELSE, type Target, targetsOf } from './witness.ts';

const VERBS = ['create', 'update', 'patch', 'delete', 'get', 'list', 'watch', 'deletecollection'];
/** Verbs of requests that may be for all namespaces at once. */
export const READS_OF_ALL: ReadonlySet<string> = new Set(['list', 'watch']);

/** A request whose user, groups, namespace and name are to be varied. */
export interface Asked extends Pick<RepresentativeRequest, 'title' | 'essential' | 'request'> {
  /** The same, for a resource that stands for others. */
  readonly like?: Asked;
  /** Whether there may be requests without a namespace beside those that have one. */
  readonly isOfAnyScope?: boolean;
}

/**
 * @param essentialOnly leaves out requests that a log may be without
 * @returns each once; with a title those that are representative
 */
export function* requestsFor(policies: readonly Policy[], essentialOnly: boolean): Generator<Asked> {
  const known = new Set<string>();
  const stands: Asked[] = [];
  for (const one of REPRESENTATIVE_REQUESTS) {
    known.add(keyOf(one.request, one.request.verb));
    if (essentialOnly && !one.essential) continue;
    yield one;
    if (one.request.apiGroup === ANY_OTHER.apiGroup) stands.push(one);
  }
  // example.com stands for what no policy names; where one names it, something else has to.
  for (const like of stands) {
    const request = { ...like.request, apiGroup: SOMETHING_ELSE, resource: SOMETHING_ELSE };
    known.add(keyOf(request, request.verb));
    yield { title: '', essential: like.essential, request, like };
  }
  if (essentialOnly) return;
  for (const rule of policies.flatMap((policy) => policy.rules)) {
    for (const target of targetsOf({ ...rule, resources: rule.resources.map(unnamed) })) {
      if (!target.isResource) continue;
      for (const verb of VERBS) {
        const key = keyOf(target, verb);
        if (known.has(key)) continue;
        known.add(key);
        const { apiGroup, resource, subresource } = target;
        const name = READS_OF_ALL.has(verb) || verb === 'deletecollection' ? '' : 'example';
        const request = { ...ANY_OTHER, verb, apiGroup, resource, subresource, name };
        yield { title: '', essential: false, request, isOfAnyScope: true };
      }
    }
  }
}

const ANY_OTHER = REPRESENTATIVE_REQUESTS.find(({ request }) => request.apiGroup === 'example.com')
  ?.request as RequestAttributes;

const unnamed = <T extends object>(item: T): T & { resourceNames: readonly string[] } => ({
  ...item,
  resourceNames: [],
});

const keyOf = ({ apiGroup, resource, subresource }: Omit<Target, 'name' | 'path'>, verb: string): string =>
  JSON.stringify([verb, apiGroup, resource, subresource]);

/** How a sentence names a request that varies another. */
export function titleFor(asked: Asked, request: RequestAttributes, group: string | undefined): string {
  const { request: base } = asked;
  const shown = (value: string): string => (value === '' ? '""' : value);
  const suffixes = [
    group === undefined ? '' : ` in the group ${shown(group)}`,
    request.namespace === base.namespace ? '' : ` in ${shown(request.namespace)}`,
    request.name === base.name ? '' : ` (name ${shown(request.name)})`,
  ];
  const title = titleOf({
    ...base,
    user: request.user,
    namespace: request.namespace === base.namespace ? base.namespace : 'team',
    name: request.name === base.name ? base.name : '',
  });
  return (title + suffixes.join(''))
    .replace(`${SOMETHING_ELSE}.${SOMETHING_ELSE}`, 'any other resource')
    .replace(`by ${SOMETHING_ELSE}`, 'by anybody else')
    .replace(`in ${SOMETHING_ELSE}`, 'in any other')
    .replace(`(name ${SOMETHING_ELSE})`, '(any other name)')
    .replaceAll(SOMETHING_ELSE, '*');
}
