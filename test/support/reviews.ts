/** AdmissionReviews for tests, in the order in which kube-apiserver writes them. */
import { type Agent, type RequestOptions, request } from 'node:https';
import type { JsonObject } from '../../src/kubernetes.ts';

export const UID = '705ab4f5-6393-11e8-b7cc-42010a800002';

/** A request as kube-apiserver makes it; `parts` replace members in their places, undefined leaves one out. */
export function admissionRequest(parts: Record<string, unknown> = {}): JsonObject {
  const kind = { group: 'apps', version: 'v1', kind: 'Deployment' };
  const resource = { group: 'apps', version: 'v1', resource: 'deployments' };
  const members = {
    uid: UID,
    kind,
    resource,
    subResource: undefined,
    requestKind: kind,
    requestResource: resource,
    requestSubResource: undefined,
    name: 'apiserver',
    namespace: 'cluster-abc',
    operation: 'UPDATE',
    userInfo: { username: 'alice', uid: 'u1', groups: ['owners', 'system:authenticated'] },
    object: deploymentObject({ replicas: 2 }),
    oldObject: deploymentObject({ replicas: 1 }),
    dryRun: false,
    options: { kind: 'UpdateOptions', apiVersion: 'meta.k8s.io/v1', fieldManager: 'kubectl-edit' },
    ...parts,
  };
  return JSON.parse(JSON.stringify(members)) as JsonObject;
}

/** A small Deployment with managedFields. */
export function deploymentObject(spec: Record<string, unknown>): JsonObject {
  return {
    kind: 'Deployment',
    apiVersion: 'apps/v1',
    metadata: {
      name: 'apiserver',
      namespace: 'cluster-abc',
      labels: { app: 'apiserver' },
      managedFields: [
        { manager: 'kubectl', fieldsType: 'FieldsV1', fieldsV1: { 'f:spec': { 'k:{"name":"x"}': {} } } },
      ],
    },
    spec: JSON.parse(JSON.stringify(spec)) as JsonObject,
    status: {},
  };
}

/** The body that kube-apiserver would send. */
export function reviewBody(request: unknown = admissionRequest()): Buffer {
  const review = { kind: 'AdmissionReview', apiVersion: 'admission.k8s.io/v1', request };
  return Buffer.from(`${JSON.stringify(review)}\n`);
}

export interface Answer {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: string;
}

/** Sends a body over HTTPS. */
export function post(
  port: number,
  path: string,
  body: Buffer | string,
  options: RequestOptions & { readonly agent?: Agent } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host: '127.0.0.1',
        port,
        path,
        method: 'POST',
        rejectUnauthorized: true,
        ...options,
        headers: {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
          ...options.headers,
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks).toString(),
          }),
        );
        response.on('error', reject);
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}
