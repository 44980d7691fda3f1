/** Registers what the chart renders, hooks and backstop, at a test's kube-apiserver, with the server beside it. */
import type { JsonObject } from '../../src/kubernetes.ts';
import type { ApiClient } from './api-client.ts';
import { renderChart } from './helm.ts';

const PATH = '/apis/admissionregistration.k8s.io/v1';
const PLURALS: Readonly<Record<string, string>> = {
  MutatingWebhookConfiguration: 'mutatingwebhookconfigurations',
  ValidatingWebhookConfiguration: 'validatingwebhookconfigurations',
  ValidatingAdmissionPolicy: 'validatingadmissionpolicies',
  ValidatingAdmissionPolicyBinding: 'validatingadmissionpolicybindings',
};

/** Nobody listens there, so that a write that a hook with failurePolicy Fail is asked about fails. */
export const NOWHERE = 'https://127.0.0.1:1';

export interface Registration {
  /** Where the hooks are. */
  readonly url: string;
  /** PEM. */
  readonly ca?: string;
  /** Instead of the chart's Ignore. */
  readonly failurePolicy?: 'Fail';
  /** More of the chart's values. */
  readonly values?: JsonObject;
}

/**
 * Creates the chart's webhook configurations or its backstop. It takes kube-apiserver a moment to heed them: wait for a rejection.
 * @returns takes them away again
 */
export async function registerChart(
  client: ApiClient,
  what: 'webhooks' | 'backstop',
  { url, ca, failurePolicy, values }: Registration = { url: NOWHERE },
): Promise<() => Promise<void>> {
  const isWanted = (kind: string): boolean => kind.endsWith('WebhookConfiguration') === (what === 'webhooks');
  const created: string[] = [];
  for (const manifest of await renderChart({ ...values, webhooks: { url } })) {
    const plural = PLURALS[manifest.kind ?? ''];
    if (plural === undefined || !isWanted(manifest.kind ?? '')) continue;
    const hooks = (manifest.webhooks ?? []) as JsonObject[];
    for (const hook of hooks) {
      if (ca !== undefined) (hook.clientConfig as JsonObject).caBundle = Buffer.from(ca).toString('base64');
      if (failurePolicy !== undefined) hook.failurePolicy = failurePolicy;
    }
    await client.request('POST', `${PATH}/${plural}`, manifest);
    created.push(`${PATH}/${plural}/${manifest.metadata?.name}`);
  }
  return async () => {
    for (const path of created) await client.request('DELETE', path);
  };
}
