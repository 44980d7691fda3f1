/**
 * A stand-in for KKP's own mutating hook of Clusters, as a second webhook server: it repairs `spec.auditLogging` in silence where the datacenter
 * enforces, and rejects nothing.
 */
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { issueCa, issueServerCertificate } from '../../src/certificates.ts';
import type { ApiClient } from './api-client.ts';

const PATH = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations';
const NAME = 'kubermatic-clusters';
const OPT_OUT = 'kubermatic.k8c.io/skip-audit-logging-enforcement';

interface Cluster {
  readonly metadata: { readonly annotations?: Record<string, string>; readonly deletionTimestamp?: string };
  readonly spec: {
    readonly cloud?: { readonly dc?: string };
    readonly auditLogging?: { readonly enabled?: boolean };
  };
}

export interface KkpHook {
  /** How many Clusters it has repaired. */
  readonly repairs: () => number;
  /** Takes the registration away and ends the server. */
  stop(): Promise<void>;
}

/**
 * Starts the server and registers it under KKP's name.
 * @param enforcing the datacenters that enforce audit logging
 */
export async function startKkpHook(client: ApiClient, enforcing: readonly string[]): Promise<KkpHook> {
  const validity = { days: 1, now: new Date() };
  const ca = await issueCa(validity);
  const tls = await issueServerCertificate(ca, ['127.0.0.1'], validity);
  let repairs = 0;
  const server = createServer({ cert: tls.cert, key: tls.key }, async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { request: review } = JSON.parse(Buffer.concat(chunks).toString()) as {
      request: { uid: string; object: Cluster };
    };
    const { metadata, spec } = review.object;
    const isEnforced =
      enforcing.includes(spec.cloud?.dc ?? '') &&
      metadata.deletionTimestamp === undefined &&
      metadata.annotations?.[OPT_OUT] !== 'true';
    const answer: Record<string, unknown> = { uid: review.uid, allowed: true };
    if (isEnforced && spec.auditLogging?.enabled !== true) {
      repairs += 1;
      const value = { ...spec.auditLogging, enabled: true };
      const patch = [{ op: 'add', path: '/spec/auditLogging', value }];
      answer.patchType = 'JSONPatch';
      answer.patch = Buffer.from(JSON.stringify(patch)).toString('base64');
    }
    response.setHeader('content-type', 'application/json');
    response.end(
      JSON.stringify({ apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: answer }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await client.request('POST', PATH, {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingWebhookConfiguration',
    metadata: { name: NAME },
    webhooks: [
      {
        name: 'clusters.kubermatic.io',
        clientConfig: {
          url: `https://127.0.0.1:${port}/`,
          caBundle: Buffer.from(ca.cert).toString('base64'),
        },
        admissionReviewVersions: ['v1'],
        sideEffects: 'None',
        failurePolicy: 'Fail',
        reinvocationPolicy: 'Never',
        matchPolicy: 'Exact',
        timeoutSeconds: 30,
        rules: [
          {
            apiGroups: ['kubermatic.k8c.io'],
            apiVersions: ['v1'],
            resources: ['clusters'],
            operations: ['CREATE', 'UPDATE'],
          },
        ],
      },
    ],
  });
  return {
    repairs: () => repairs,
    async stop() {
      await client.request('DELETE', `${PATH}/${NAME}`);
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
