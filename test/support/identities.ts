/** Who writes to a seed: the people, service accounts and controllers in whose names the tests act. */

export interface Identity {
  readonly user: string;
  readonly groups?: readonly string[];
}

const serviceAccount = (namespace: string, name: string): Identity => ({
  user: `system:serviceaccount:${namespace}:${name}`,
  groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`],
});

/** Each has a token of its own; anybody else is impersonated by `admin`. What they may do is in seed.ts. */
export const IDENTITIES = {
  /** May do everything, and is an audit operator by RBAC, as system:masters is everywhere. */
  admin: { user: 'admin', groups: ['system:masters'] },
  /** A person with write access to the seed's objects, who is no audit operator. */
  alice: { user: 'alice', groups: ['seed-users'] },
  /** The same, and an audit operator. */
  auditOperator: { user: 'olga', groups: ['seed-users', 'audit-operators'] },
  /** A user of KKP's dashboard, who may edit the Clusters of one project. */
  editor: { user: 'erin@example.com', groups: ['editors-x5fk9vq2lm'] },
  /** KKP's seed-controller-manager. */
  seedControllerManager: serviceAccount('kubermatic', 'kubermatic-seed'),
  /** The webhook itself. */
  webhook: serviceAccount('kkp-audit-webhook', 'kkp-audit-webhook'),
} as const satisfies Record<string, Identity>;

/** The static token of one of IDENTITIES; undefined for anybody else. */
export function tokenOf(identity: Identity): string | undefined {
  for (const [key, known] of Object.entries(IDENTITIES)) if (known === identity) return `token-of-${key}`;
  return undefined;
}
