/**
 * The shape of Clusters and Seeds in files, as far as this server reads them: what KKP's CRDs would refuse is refused here too, with the
 * place in the file. Values that only the settings can judge (an unknown preset or datacenter) pass.
 */
import type { InputDocument, InputProblem } from '../input.ts';
import { isJsonObject, type JsonValue } from '../kubernetes.ts';

/** `texts` is text or a list of it: a key of fluent-bit may repeat. */
type Shape =
  | 'string'
  | 'boolean'
  | 'quantity'
  | 'texts'
  | 'anything'
  | { readonly fields: Readonly<Record<string, Shape>>; readonly required?: readonly string[] }
  | { readonly each: Shape }
  | { readonly list: Shape };

const TEXTS: Shape = { each: 'string' };
const SECTION: Shape = { each: 'texts' };
const QUANTITIES: Shape = { each: 'quantity' };

const WEBHOOK_BACKEND: Shape = {
  fields: {
    auditWebhookConfig: { fields: { name: 'string', namespace: 'string' }, required: ['name'] },
    auditWebhookInitialBackoff: 'string',
  },
  required: ['auditWebhookConfig'],
};

const AUDIT_LOGGING: Shape = {
  fields: {
    enabled: 'boolean',
    policyPreset: 'string',
    sidecar: {
      fields: {
        resources: { fields: { requests: QUANTITIES, limits: QUANTITIES } },
        config: { fields: { service: SECTION, filters: { list: SECTION }, outputs: { list: SECTION } } },
        extraEnvs: {
          list: { fields: { name: 'string', value: 'string', valueFrom: 'anything' }, required: ['name'] },
        },
      },
    },
    webhookBackend: WEBHOOK_BACKEND,
  },
};

const METADATA: Shape = {
  fields: {
    name: 'string',
    uid: 'string',
    resourceVersion: 'string',
    deletionTimestamp: 'string',
    labels: TEXTS,
    annotations: TEXTS,
  },
  required: ['name'],
};

const SHAPES = {
  Cluster: {
    fields: {
      metadata: METADATA,
      spec: {
        fields: { cloud: { fields: { dc: 'string' } }, pause: 'boolean', auditLogging: AUDIT_LOGGING },
      },
      status: { fields: { namespaceName: 'string' } },
    },
    required: ['metadata'],
  },
  Seed: {
    fields: {
      metadata: METADATA,
      spec: {
        fields: {
          auditLogging: AUDIT_LOGGING,
          datacenters: {
            each: {
              fields: {
                spec: {
                  fields: { enforceAuditLogging: 'boolean', enforcedAuditWebhookSettings: WEBHOOK_BACKEND },
                },
              },
            },
          },
        },
      },
    },
    required: ['metadata'],
  },
} as const satisfies Record<string, Shape>;

/**
 * Every way in which the document is not a Cluster or Seed; fields that this server does not read are not looked at.
 * @returns one problem a field, empty when there is none
 */
export function checkShape(document: InputDocument, kind: keyof typeof SHAPES): InputProblem[] {
  const problems: InputProblem[] = [];
  check(document.value, SHAPES[kind], [], (path, text) => problems.push(document.problem(path, text)));
  return problems;
}

type Report = (path: (string | number)[], text: string) => void;

/** `null` is a field that is not set, as everywhere in Kubernetes. */
function check(value: JsonValue | undefined, shape: Shape, path: (string | number)[], report: Report): void {
  if (value === undefined || value === null || shape === 'anything') return;
  if (shape === 'string') {
    if (typeof value !== 'string') report(path, `must be text, is ${describe(value)}${quotesHelp(value)}`);
  } else if (shape === 'boolean') {
    if (typeof value !== 'boolean')
      report(path, `must be true or false, is ${describe(value)}${noQuotesHelp(value)}`);
  } else if (shape === 'texts') {
    if (Array.isArray(value)) check(value, { list: 'string' }, path, report);
    else check(value, 'string', path, report);
  } else if (shape === 'quantity') {
    if (typeof value !== 'string' && typeof value !== 'number')
      report(path, `must be a quantity such as 60Mi or 50m, is ${describe(value)}`);
  } else if ('list' in shape) {
    if (!Array.isArray(value)) report(path, `must be a list, is ${describe(value)}`);
    else for (const [index, item] of value.entries()) check(item, shape.list, [...path, index], report);
  } else if (!isJsonObject(value)) {
    report(path, `must be a mapping, is ${describe(value)}`);
  } else if ('each' in shape) {
    for (const [key, item] of Object.entries(value)) check(item, shape.each, [...path, key], report);
  } else {
    for (const [key, item] of Object.entries(shape.fields)) {
      const own = Object.hasOwn(value, key) ? value[key] : undefined;
      const missing = own === undefined || own === null || own === '';
      if (missing && shape.required?.includes(key)) report([...path, key], 'is missing');
      check(own, item, [...path, key], report);
    }
  }
}

function describe(value: JsonValue): string {
  if (Array.isArray(value)) return 'a list';
  if (isJsonObject(value)) return 'a mapping';
  const text = JSON.stringify(value);
  return `the ${value === null ? 'value' : typeof value} ${text.length > 60 ? `${text.slice(0, 60)}…` : text}`;
}

function quotesHelp(value: JsonValue): string {
  return typeof value === 'number' || typeof value === 'boolean' ? '; put it in quotes' : '';
}

function noQuotesHelp(value: JsonValue): string {
  return value === 'true' || value === 'false' ? '; take the quotes away' : '';
}
