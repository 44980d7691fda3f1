/**
 * Who may weaken audit logging: whoever kube-apiserver says may `disable-audit-logging` the Cluster, a custom verb that any authorizer can grant
 * (RBAC; system:masters by itself). Asked by SubjectAccessReview
 * (https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access).
 */
import type { UserInfo } from '../admission.ts';
import { type Clock, systemClock } from '../clock.ts';
import { KKP_GROUP } from '../kkp.ts';
import type { JsonObject } from '../kubernetes.ts';
import { StateError } from '../state/state.ts';
import type { KubeClient } from './client.ts';

export const DISABLE_VERB = 'disable-audit-logging';

/** As long as kube-apiserver itself remembers an answer of a webhook authorizer at least. */
const TTL_MS = 5000;
/** Attempts are rare; this only bounds what a flood of them can hold. */
const MAX_ENTRIES = 1000;

export type Authorizer = (user: UserInfo, cluster: string, signal: AbortSignal) => Promise<boolean>;

/**
 * Asks kube-apiserver, and remembers its answers for seconds.
 * @returns a function that rejects with a StateError where kube-apiserver does not answer: neither a yes nor a no
 */
export function buildAuthorizer(client: Pick<KubeClient, 'request'>, clock: Clock = systemClock): Authorizer {
  const answers = new Map<string, { readonly allowed: boolean; readonly untilMs: number }>();
  return async (user, cluster, signal) => {
    const key = JSON.stringify([user.username, user.uid, user.groups, user.extra, cluster]);
    const known = answers.get(key);
    if (known !== undefined && clock.now() < known.untilMs) return known.allowed;
    const allowed = await review(client, user, cluster, signal);
    if (answers.size >= MAX_ENTRIES) answers.clear();
    answers.set(key, { allowed, untilMs: clock.now() + TTL_MS });
    return allowed;
  };
}

/** Where there is no cluster to ask, nobody holds the right. */
export const denyAll: Authorizer = () => Promise.resolve(false);

async function review(
  client: Pick<KubeClient, 'request'>,
  user: UserInfo,
  cluster: string,
  signal: AbortSignal,
): Promise<boolean> {
  const body: JsonObject = {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: {
      user: user.username,
      groups: [...user.groups],
      ...(user.uid !== undefined && { uid: user.uid }),
      ...(user.extra !== undefined && {
        extra: Object.fromEntries(Object.entries(user.extra).map(([name, values]) => [name, [...values]])),
      }),
      resourceAttributes: {
        group: KKP_GROUP,
        version: 'v1',
        resource: 'clusters',
        name: cluster,
        verb: DISABLE_VERB,
      },
    },
  };
  try {
    const answer = await client.request<{ status?: { allowed?: boolean } }>(
      'POST',
      '/apis/authorization.k8s.io/v1/subjectaccessreviews',
      { body, signal },
    );
    return answer.status?.allowed === true;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new StateError(`it can't be found out whether ${user.username} may ${DISABLE_VERB}: ${why}`, {
      cause: error,
    });
  }
}
