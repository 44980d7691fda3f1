/** Registers this project's hooks at a test's kube-apiserver, by URL, and waits until they are called. */
import { randomBytes } from 'node:crypto';
import type { HookName } from '../../src/admission.ts';
import type { ApiClient } from './api-client.ts';
import { until } from './wait.ts';

/** Nobody listens there: a hook that is called at this address fails. */
const NOWHERE = 'https://127.0.0.1:1/';
const CANARY_LABEL = 'kkp-audit-webhook-test/canary';
const CANARY_PATH = '/api/v1/namespaces/kube-system/configmaps?dryRun=All';
const REGISTRATION = '/apis/admissionregistration.k8s.io/v1';

type FailurePolicy = 'Fail' | 'Ignore';

export interface WebhookOptions {
  /** Where the server listens, such as https://127.0.0.1:8443; each hook's path is added. */
  readonly url: string;
  /** PEM of the CA that signed the server's certificate. */
  readonly ca: string;
  /** Default: all four. */
  readonly hooks?: readonly HookName[];
  /** Default: as the project means it, Ignore for the mutating hooks and Fail for `validate`. */
  readonly failurePolicy?: FailurePolicy;
  /** Default 10. */
  readonly timeoutSeconds?: number;
}

interface Registration {
  readonly kind: 'MutatingWebhookConfiguration' | 'ValidatingWebhookConfiguration';
  readonly plural: string;
}

const MUTATING: Registration = {
  kind: 'MutatingWebhookConfiguration',
  plural: 'mutatingwebhookconfigurations',
};
const VALIDATING: Registration = {
  kind: 'ValidatingWebhookConfiguration',
  plural: 'validatingwebhookconfigurations',
};
/** Sorts before KKP's `kubermatic-clusters`, as design asks. */
const NAME = 'kkp-audit-webhook';

const CREATE_AND_UPDATE = ['CREATE', 'UPDATE'];
const rule = (apiGroup: string, resource: string, operations: string[]) => ({
  apiGroups: [apiGroup],
  apiVersions: ['v1'],
  resources: [resource],
  operations,
});
/** CEL knows no `request.namespace` where an object has none, and no `request.name` where it is generated. */
const IN_CLUSTER_NAMESPACE = "has(request.namespace) && request.namespace.startsWith('cluster-')";
const isNamed = (resource: string, name: string) =>
  `(request.resource.resource == '${resource}' && has(request.name) && request.name == '${name}')`;
const matchConditions = (expression: string) => [{ name: 'of-our-concern', expression }];

/** What each hook is registered for. */
const HOOKS: Record<
  HookName,
  { registration: Registration; policy: FailurePolicy; [field: string]: unknown }
> = {
  'mutate-clusters': {
    registration: MUTATING,
    policy: 'Ignore',
    rules: [rule('kubermatic.k8c.io', 'clusters', CREATE_AND_UPDATE)],
  },
  'mutate-deployments': {
    registration: MUTATING,
    policy: 'Ignore',
    rules: [rule('apps', 'deployments', CREATE_AND_UPDATE)],
    matchConditions: matchConditions(`${IN_CLUSTER_NAMESPACE} && ${isNamed('deployments', 'apiserver')}`),
  },
  'mutate-pods': {
    registration: MUTATING,
    policy: 'Ignore',
    rules: [rule('', 'pods', ['CREATE'])],
    objectSelector: { matchLabels: { app: 'apiserver' } },
    matchConditions: matchConditions(IN_CLUSTER_NAMESPACE),
  },
  validate: {
    registration: VALIDATING,
    policy: 'Fail',
    rules: [
      rule('kubermatic.k8c.io', 'clusters', CREATE_AND_UPDATE),
      rule('kubermatic.k8c.io', 'seeds', [...CREATE_AND_UPDATE, 'DELETE']),
      rule('apps', 'deployments', [...CREATE_AND_UPDATE, 'DELETE']),
      rule('', 'configmaps', [...CREATE_AND_UPDATE, 'DELETE']),
      rule('', 'secrets', [...CREATE_AND_UPDATE, 'DELETE']),
      rule('', 'pods', CREATE_AND_UPDATE),
      rule('', 'namespaces', ['UPDATE']),
    ],
    matchConditions: matchConditions(`request.resource.resource in ['clusters', 'seeds']
      || ${IN_CLUSTER_NAMESPACE} && (request.resource.resource in ['pods', 'namespaces']
        || ${isNamed('deployments', 'apiserver')}
        || ${isNamed('configmaps', 'audit-config')}
        || ${isNamed('secrets', 'audit-logs-fluentbit')})`),
  },
};

/** Registers the hooks, in place of an earlier registration, and returns when kube-apiserver calls them. */
export async function registerWebhooks(client: ApiClient, options: WebhookOptions): Promise<void> {
  await unregisterWebhooks(client);
  const names = options.hooks ?? (Object.keys(HOOKS) as HookName[]);
  for (const registration of [MUTATING, VALIDATING]) {
    const hooks = names.filter((name) => HOOKS[name].registration === registration);
    if (hooks.length === 0) continue;
    const canary = randomBytes(8).toString('hex');
    await client.request('POST', `${REGISTRATION}/${registration.plural}`, {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: registration.kind,
      metadata: { name: NAME },
      webhooks: [...hooks.map((name) => renderHook(name, options)), renderCanary(canary)],
    });
    await until(`the ${registration.kind} to be in force`, () => isRejected(client, canary));
  }
}

/** Takes the registration away, and returns when kube-apiserver calls no hook any more. */
export async function unregisterWebhooks(client: ApiClient): Promise<void> {
  for (const { kind, plural } of [MUTATING, VALIDATING]) {
    const path = `${REGISTRATION}/${plural}/${NAME}`;
    const found = await client.find<{ webhooks: { objectSelector?: { matchLabels?: object } }[] }>(path);
    if (found === undefined) continue;
    await client.request('DELETE', path);
    const label = found.webhooks.at(-1)?.objectSelector?.matchLabels as Record<string, string> | undefined;
    const canary = label?.[CANARY_LABEL] ?? '';
    await until(`the ${kind} to be out of force`, async () => !(await isRejected(client, canary)));
  }
}

function renderHook(name: HookName, options: WebhookOptions) {
  const { registration, policy, ...match } = HOOKS[name];
  return {
    name: `${name}.audit.kubermatic.k8c.io`,
    clientConfig: {
      url: `${options.url}/${name.replace('-', '/')}`,
      caBundle: Buffer.from(options.ca).toString('base64'),
    },
    admissionReviewVersions: ['v1'],
    sideEffects: 'NoneOnDryRun',
    timeoutSeconds: options.timeoutSeconds ?? 10,
    failurePolicy: options.failurePolicy ?? policy,
    matchPolicy: 'Equivalent',
    ...(registration === MUTATING ? { reinvocationPolicy: 'IfNeeded' } : {}),
    ...match,
  };
}

/** kube-apiserver learns of a configuration as a whole: once it fails this hook, which cannot be reached, it calls the others as well. */
function renderCanary(canary: string) {
  return {
    name: 'canary.audit.kubermatic.k8c.io',
    clientConfig: { url: NOWHERE },
    admissionReviewVersions: ['v1'],
    sideEffects: 'None',
    timeoutSeconds: 1,
    failurePolicy: 'Fail',
    objectSelector: { matchLabels: { [CANARY_LABEL]: canary } },
    rules: [rule('', 'configmaps', ['CREATE'])],
  };
}

async function isRejected(client: ApiClient, canary: string): Promise<boolean> {
  const answer = await client.send('POST', CANARY_PATH, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { generateName: 'canary-', labels: { [CANARY_LABEL]: canary } },
  });
  return answer.status >= 400;
}
