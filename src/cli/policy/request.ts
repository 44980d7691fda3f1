/** Requests as people write them on a command line and in test cases. */
import { groupsOf } from '../../policy/catalogue.ts';
import { NO_RESOURCE, type RequestAttributes } from '../../policy/index.ts';

export interface RequestWords {
  readonly user?: string | undefined;
  readonly groups?: readonly string[] | undefined;
  readonly verb?: string | undefined;
  /** `pods`, `pods/exec`, `deployments.apps`, `deployments.apps/scale`. */
  readonly resource?: string | undefined;
  /** Says the group where the resource does not. */
  readonly apiGroup?: string | undefined;
  readonly subresource?: string | undefined;
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  readonly path?: string | undefined;
}

const SERVICE_ACCOUNT = /^system:serviceaccount:([^:]+):[^:]+$/;

/**
 * Fills in what kube-apiserver itself would: the groups that it adds to everybody, and the group of a resource that only one group has.
 * @throws {Error} where the words contradict each other, with a sentence for a person
 */
export function toRequest(words: RequestWords): RequestAttributes {
  const { user = 'someone@example.com', verb = 'get', namespace = '', name = '', path } = words;
  if ((words.resource === undefined) === (path === undefined)) {
    throw new Error('give either a resource (such as pods/exec) or a path (such as /healthz)');
  }
  const base = { user: { name: user, groups: withOwnGroups(user, words.groups ?? []) }, verb };
  if (path !== undefined) {
    for (const [field, value] of Object.entries({
      namespace: words.namespace,
      name: words.name,
      subresource: words.subresource,
      apiGroup: words.apiGroup,
    })) {
      if (value !== undefined) throw new Error(`a path has no ${field}`);
    }
    return {
      ...base,
      ...NO_RESOURCE,
      path,
    };
  }
  const [full = '', ...rest] = (words.resource ?? '').split('/');
  const dot = full.indexOf('.');
  const resource = dot === -1 ? full : full.slice(0, dot);
  if (resource === '') throw new Error('the resource is empty');
  const written = dot === -1 ? undefined : full.slice(dot + 1);
  const apiGroup = words.apiGroup ?? written ?? groupOf(resource);
  return {
    ...base,
    isResource: true,
    namespace,
    apiGroup,
    resource,
    subresource: words.subresource ?? rest.join('/'),
    name,
    path: '',
  };
}

/** The core group wins, as kubectl has it; "" for what Kubernetes itself does not serve. */
function groupOf(resource: string): string {
  const groups = groupsOf(resource);
  return groups.includes('') ? '' : (groups[0] ?? '');
}

function withOwnGroups(user: string, groups: readonly string[]): string[] {
  const own = user === 'system:anonymous' ? ['system:unauthenticated'] : ['system:authenticated'];
  const namespace = SERVICE_ACCOUNT.exec(user)?.[1];
  if (namespace !== undefined) own.unshift('system:serviceaccounts', `system:serviceaccounts:${namespace}`);
  return [...new Set([...groups, ...own])];
}
