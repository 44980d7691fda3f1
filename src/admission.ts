/**
 * The protocol: AdmissionReview v1 in, AdmissionReview v1 out
 * (https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/). A hook is `(request) → Decision`;
 * nothing else of the protocol reaches it. An internal failure is never a Decision: it is thrown, and becomes an HTTP 5xx, so that
 * kube-apiserver applies the failurePolicy.
 */
import type { Operation } from 'fast-json-patch';
import type { FaultCode } from './faults.ts';
import type { KubernetesObject } from './kubernetes.ts';

export interface UserInfo {
  readonly username: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** Who set which fields (https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management). */
export interface ManagedFieldsEntry {
  readonly manager?: unknown;
  readonly operation?: unknown;
  readonly fieldsV1?: unknown;
}

export const OPERATIONS = ['CREATE', 'UPDATE', 'DELETE', 'CONNECT'] as const;

export interface AdmissionRequest {
  readonly uid: string;
  readonly operation: (typeof OPERATIONS)[number];
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly resource: string;
  readonly subResource: string;
  readonly name: string;
  readonly namespace: string;
  readonly userInfo: UserInfo;
  readonly dryRun: boolean;
  /** Undefined on DELETE. Its metadata is of the right types; `metadata.managedFields` is always empty. */
  readonly object: KubernetesObject | undefined;
  /** Undefined on CREATE. Parsed at the first call: most decisions never need it, and it is half of the body. */
  oldObject(): KubernetesObject | undefined;
  /** `metadata.managedFields` of the old object; parses the whole body again, so it is only for the rare case that needs it. */
  oldManagedFields(): readonly ManagedFieldsEntry[];
  /** Of the request's options; "" where they name none. */
  readonly fieldManager: string;
}

export interface Decision {
  readonly allowed: boolean;
  /** For a person at kubectl; shown after `admission webhook "…" denied the request: `. Empty when allowed. */
  readonly message: string;
  /**
   * HTTP status of a denial: 403 for a policy, 400 for an object that is invalid as it stands. Not 422: of that, `kubectl edit` shows the
   * causes of a Status alone, in the editor, and never the message.
   */
  readonly statusCode: number;
  /** JSON Patch; empty when nothing changes. */
  readonly patch: readonly Operation[];
  /** Lines that kubectl prints as `Warning: …`; kube-apiserver cuts them at 120 to 256 characters, 4096 in all. */
  readonly warnings: readonly string[];
  /** Keys without the webhook's name: kube-apiserver puts it in front. */
  readonly auditAnnotations: Readonly<Record<string, string>>;
  /** Codes of reasons.ts, most important first: for metrics and the log. Empty when nothing was to be said. */
  readonly reasons: readonly string[];
  /** What the decision line in the log says besides: cluster, datacenter, who decided. Never a whole object, never a secret. */
  readonly log: Readonly<Record<string, string | number | boolean | readonly string[]>>;
}

const ALLOWED: Decision = {
  allowed: true,
  message: '',
  statusCode: 200,
  patch: [],
  warnings: [],
  auditAnnotations: {},
  reasons: [],
  log: {},
};

/** Lets the write through as it is. */
export function allow(extra: Partial<Omit<Decision, 'allowed' | 'message' | 'statusCode'>> = {}): Decision {
  return { ...ALLOWED, ...extra };
}

/** Refuses the write, with the sentence that a person reads. */
export function deny(
  message: string,
  statusCode: 403 | 400,
  extra: Partial<Omit<Decision, 'allowed' | 'message' | 'statusCode' | 'patch'>> = {},
): Decision {
  return { ...ALLOWED, ...extra, allowed: false, message, statusCode };
}

export type HookName = 'mutate-deployments' | 'mutate-pods' | 'mutate-clusters' | 'validate';
export type Hook = (request: AdmissionRequest, signal: AbortSignal) => Decision | Promise<Decision>;

/** The body is not an AdmissionReview that can be judged: HTTP 400, with what is wrong and where. */
export class ReviewError extends Error {
  override readonly name = 'ReviewError';
  readonly code: FaultCode;

  constructor(code: FaultCode, message: string) {
    super(message);
    this.code = code;
  }
}
