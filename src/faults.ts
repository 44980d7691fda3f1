/**
 * Every answer that is not a verdict: code (for metrics and the log), HTTP status and what the caller reads. kube-apiserver applies the
 * failurePolicy to all of them alike; the status says whose fault it is.
 */
interface FaultRow {
  readonly status: number;
  readonly text: string;
}

export const FAULTS = {
  BODY_NOT_JSON: { status: 400, text: 'The body is not JSON.' },
  BODY_NOT_REVIEW: { status: 400, text: 'The body is not an AdmissionReview.' },
  REVIEW_VERSION: { status: 400, text: 'The version of the AdmissionReview is not supported.' },
  REVIEW_INVALID: { status: 400, text: 'The AdmissionReview is not valid.' },
  BODY_INCOMPLETE: { status: 400, text: 'The body did not arrive as announced.' },
  NOT_FOUND: { status: 404, text: 'There is nothing at this path.' },
  METHOD_NOT_ALLOWED: { status: 405, text: 'Send an AdmissionReview by POST.' },
  BODY_TOO_LARGE: { status: 413, text: 'The body is larger than any that kube-apiserver sends.' },
  CONTENT_TYPE: { status: 415, text: 'Send the AdmissionReview as application/json, not compressed.' },
  HOOK_FAILED: { status: 500, text: 'kkp-audit-webhook failed to judge this request; its log says why.' },
  OVERLOADED: { status: 503, text: 'kkp-audit-webhook has too many requests at once.' },
  HOOK_TOO_SLOW: { status: 504, text: 'kkp-audit-webhook could not judge this request in time.' },
} as const satisfies Record<string, FaultRow>;

export type FaultCode = keyof typeof FAULTS;
