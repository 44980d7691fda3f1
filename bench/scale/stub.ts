/**
 * A seed of many clusters in the place of kube-apiserver: lists in pages, watches, and the few writes of the controller. It answers `/stats` and takes
 * `/switch`, which turns enforcement on for the clusters of the datacenter `late`. Objects are rendered when they are asked for; what is kept of
 * each cluster is a few fields. It also plays the hook and the owner: a nudged Deployment becomes what KKP renders, at once available.
 */

import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import { settingsOf } from '../../src/audit/enforce.ts';
import { resolveSettings } from '../../src/audit/settings.ts';
import { DEFAULT_CONFIG } from '../../src/config.ts';
import { fluentBitData, ownSecret } from '../../src/controller/objects.ts';
import { viewCluster, viewSeed } from '../../src/kkp.ts';
import { PRESETS } from '../../src/policy/index.ts';
import { renderKkp } from '../../test/support/fixtures.ts';
import { renderCluster, renderSeed } from '../../test/support/seed.ts';

const [, , countText = '10000', lateText = '200', keyFile = '', certFile = ''] = process.argv;
const COUNT = Number(countText);
const LATE = Number(lateText);
/** Stands in rendered texts where each cluster's own name goes. */
const NAME = 'zzzzzzzzzz';
const BOOKMARK_INTERVAL_MS = 55_000;
const ENFORCED = 'audit.kubermatic.k8c.io/enforced';

interface Row {
  readonly name: string;
  readonly late: boolean;
  /** Of the Cluster, and of all else of it. */
  clusterVersion: number;
  version: number;
  enabled: boolean;
  labelled: boolean;
  namespaceLabelled: boolean;
  annotations: Record<string, string>;
  deployed: boolean;
  hasSecrets: boolean;
}

let version = 1000;
let enforceLate = false;
function nextVersion(): number {
  version += 1;
  return version;
}
const rows = new Map<string, Row>();
for (let i = 0; i < COUNT; i += 1) {
  const name = `c${String(i).padStart(9, '0')}`;
  const late = i < LATE;
  rows.set(name, {
    name,
    late,
    clusterVersion: version,
    version: nextVersion(),
    enabled: !late,
    labelled: !late,
    namespaceLabelled: !late,
    annotations: {},
    deployed: !late,
    hasSecrets: !late,
  });
}

const meta = (row: Row, name: string, more: object = {}) => ({
  name,
  namespace: `cluster-${row.name}`,
  uid: `uid-${row.name}-${name}`,
  resourceVersion: String(row.version),
  creationTimestamp: '2026-01-01T00:00:00Z',
  ...more,
});
/** As large as kube-apiserver's own: a fifth of a stored object are managedFields. */
const managedFields = [
  {
    manager: 'seed-controller-manager',
    operation: 'Update',
    apiVersion: 'apps/v1',
    fieldsType: 'FieldsV1',
    fieldsV1: { 'f:spec': { padding: 'f:'.repeat(1700) } },
  },
];

const templates = new Map<string, string>();
function template(key: string, render: () => unknown): string {
  let text = templates.get(key);
  if (text === undefined) {
    text = JSON.stringify(render());
    templates.set(key, text);
  }
  return text;
}
const fill = (text: string, row: Row): string =>
  text.replaceAll(NAME, row.name).replaceAll('"VERSION"', `"${row.version}"`);

const dc = (row: Row): string => (row.late ? 'late' : 'dc');
const cluster = (row: Row): string => {
  const object = renderCluster({
    name: row.name,
    datacenter: dc(row),
    ...(row.enabled ? { auditLogging: { enabled: true } } : {}),
    annotations: row.annotations,
    ...(row.labelled ? { labels: { [ENFORCED]: 'true' } } : {}),
  });
  return JSON.stringify({
    ...object,
    metadata: {
      ...object.metadata,
      uid: `uid-${row.name}`,
      resourceVersion: String(row.clusterVersion),
      managedFields,
    },
    status: { namespaceName: `cluster-${row.name}`, versions: { apiserver: '1.36.2' } },
  });
};
const seed = (): object => {
  const object = renderSeed({
    dc: { enforceAuditLogging: true },
    late: { enforceAuditLogging: enforceLate },
  });
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
};
const STATUS = { observedGeneration: 1, replicas: 2, updatedReplicas: 2, availableReplicas: 2 };
const deployment = (row: Row): string =>
  fill(
    template(`deployment ${row.deployed}`, () => {
      const object = renderKkp({ cluster: NAME }, row.deployed ? { enabled: true } : {});
      const metadata = { ...object.metadata, resourceVersion: 'VERSION', generation: 1, managedFields };
      return { ...object, metadata, status: STATUS };
    }),
    row,
  );
const pod = (row: Row, index: number): string =>
  fill(
    template(`pod ${row.deployed} ${index}`, () => {
      const { metadata, spec } = renderKkp({ cluster: NAME }, row.deployed ? { enabled: true } : {}).spec
        .template;
      const own = {
        name: `apiserver-${index}`,
        namespace: `cluster-${NAME}`,
        resourceVersion: 'VERSION',
        managedFields,
      };
      const status = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] };
      return { apiVersion: 'v1', kind: 'Pod', metadata: { ...metadata, ...own }, spec, status };
    }),
    row,
  );
const namespace = (row: Row): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name: `cluster-${row.name}`,
      resourceVersion: String(row.version),
      labels: row.namespaceLabelled ? { [ENFORCED]: 'true' } : {},
    },
  });
const configMap = (row: Row): string =>
  JSON.stringify({ metadata: meta(row, 'audit-config'), data: { 'policy.yaml': PRESETS.get('metadata') } });
const tuned = (row: Row): string =>
  fill(
    template('tuned', () => {
      const seeds = [viewSeed(seed() as never)];
      const view = viewCluster(
        renderCluster({ name: NAME, datacenter: 'dc', auditLogging: { enabled: true } }),
      );
      const settings = settingsOf(resolveSettings(view, seeds, DEFAULT_CONFIG, 0));
      const secret = ownSecret('audit-logs-fluentbit-tuned', fluentBitData(settings));
      return {
        ...secret,
        metadata: {
          ...(secret.metadata as object),
          namespace: `cluster-${NAME}`,
          resourceVersion: 'VERSION',
        },
      };
    }),
    row,
  );
const secret = (row: Row): string => JSON.stringify({ metadata: meta(row, 'audit-logs-fluentbit') });

/** A resource: what of each cluster is in its list. */
type Listing = (row: Row) => string[];
const LISTINGS: readonly (readonly [RegExp, Listing])[] = [
  [/^\/apis\/kubermatic.k8c.io\/v1\/clusters$/, (row) => [cluster(row)]],
  [/^\/api\/v1\/namespaces$/, (row) => [namespace(row)]],
  [/\/deployments$/, (row) => [deployment(row)]],
  [/\/pods$/, (row) => [pod(row, 1), pod(row, 2)]],
  [/\/configmaps$/, (row) => [configMap(row)]],
  [/\/secrets$/, (row) => (row.hasSecrets ? [secret(row)] : [])],
];

const stats = {
  requests: {} as Record<string, number>,
  nudges: {} as Record<string, number>,
  switchedAtMs: 0,
};
const watches = new Map<string, Set<ServerResponse>>();
/** A fluent-bit Secret is watched by its name, those of this software by its label. */
const watchKey = (url: URL): string => url.pathname + (url.searchParams.get('labelSelector') ?? '');
const MANAGED = 'app.kubernetes.io/managed-by=kkp-audit-webhook';

function send(key: string, object: string): void {
  for (const response of watches.get(key) ?? []) response.write(`{"type":"MODIFIED","object":${object}}\n`);
}

function list(url: URL, response: ServerResponse): void {
  const { pathname } = url;
  response.setHeader('content-type', 'application/json');
  const [, own] = /\/namespaces\/cluster-([^/]+)\//.exec(pathname) ?? [];
  const isOwn = url.searchParams.get('labelSelector') === MANAGED;
  const listing = isOwn
    ? (row: Row) => (row.hasSecrets ? [tuned(row)] : [])
    : LISTINGS.find(([path]) => path.test(pathname))?.[1];
  if (pathname.endsWith('/seeds')) {
    response.end(
      JSON.stringify({ kind: 'List', metadata: { resourceVersion: String(version) }, items: [seed()] }),
    );
    return;
  }
  const all = own === undefined ? [...rows.values()] : [rows.get(own)].filter((row) => row !== undefined);
  const start = Number(url.searchParams.get('continue') || 0);
  const end = start + Number(url.searchParams.get('limit') ?? COUNT);
  const items = listing === undefined ? [] : all.slice(start, end).flatMap(listing);
  const next = listing !== undefined && end < all.length ? `,"continue":"${end}"` : '';
  response.end(
    `{"kind":"List","metadata":{"resourceVersion":"${version}"${next}},"items":[${items.join()}]}`,
  );
}

function watch(url: URL, response: ServerResponse): void {
  const key = watchKey(url);
  response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
  const set = watches.get(key) ?? new Set();
  watches.set(key, set.add(response));
  const bookmarks = setInterval(() => {
    response.write(`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"${version}"}}}\n`);
  }, BOOKMARK_INTERVAL_MS);
  response.on('close', () => {
    clearInterval(bookmarks);
    set.delete(response);
  });
}

interface Patch {
  readonly metadata?: {
    readonly annotations?: Record<string, string | null>;
    readonly labels?: Record<string, string | null>;
    readonly resourceVersion?: string;
  };
  readonly spec?: { readonly auditLogging?: { readonly enabled?: boolean } };
}

function write(pathname: string, patch: Patch, response: ServerResponse): void {
  const [, name = ''] = /(?:clusters\/|cluster-)([^/]+)/.exec(pathname) ?? [];
  const row = rows.get(name);
  response.setHeader('content-type', 'application/json');
  if (pathname.includes('/leases') || pathname.includes('/events') || row === undefined) {
    response.statusCode = pathname.includes('/leases') ? 201 : 200;
    response.end(
      JSON.stringify({ ...patch, metadata: { ...patch.metadata, resourceVersion: String(nextVersion()) } }),
    );
    return;
  }
  const given = patch.metadata?.resourceVersion;
  if (pathname.includes('/clusters/') && given !== String(row.clusterVersion)) {
    response.statusCode = 409;
    response.end(
      JSON.stringify({
        kind: 'Status',
        status: 'Failure',
        reason: 'Conflict',
        code: 409,
        message: `${given} is not ${row.clusterVersion}`,
      }),
    );
    return;
  }
  if (pathname.includes('/clusters/')) {
    if (patch.spec?.auditLogging !== undefined) row.enabled = patch.spec.auditLogging.enabled === true;
    for (const [key, value] of Object.entries(patch.metadata?.annotations ?? {}))
      if (value === null) delete row.annotations[key];
      else row.annotations[key] = value;
    if (patch.metadata?.labels?.[ENFORCED] !== undefined) row.labelled = true;
    row.clusterVersion = nextVersion();
    send('/apis/kubermatic.k8c.io/v1/clusters', cluster(row));
    response.end(cluster(row));
  } else if (pathname.includes('/deployments/')) {
    stats.nudges[name] ??= Date.now();
    row.deployed = true;
    row.version = nextVersion();
    response.end(deployment(row));
    send('/apis/apps/v1/deployments', deployment(row));
    for (const index of [1, 2]) send('/api/v1/podsapp=apiserver', pod(row, index));
  } else if (pathname.startsWith('/api/v1/namespaces/') && !pathname.includes('/secrets')) {
    row.namespaceLabelled = true;
    row.version = nextVersion();
    response.end(namespace(row));
    send('/api/v1/namespaces', namespace(row));
  } else {
    row.hasSecrets = true;
    row.version = nextVersion();
    response.end(tuned(row));
    send('/api/v1/secrets', secret(row));
    send(`/api/v1/secrets${MANAGED}`, tuned(row));
  }
}

async function readBody(request: IncomingMessage): Promise<Patch> {
  let text = '';
  for await (const chunk of request) text += String(chunk);
  return text === '' ? {} : (JSON.parse(text) as Patch);
}

const server = createServer(
  { key: readFileSync(keyFile), cert: readFileSync(certFile) },
  async (request, response) => {
    const url = new URL(request.url ?? '/', 'https://stub');
    if (url.pathname === '/stats') return response.end(JSON.stringify(stats));
    if (url.pathname === '/switch') {
      enforceLate = true;
      version += 1;
      stats.switchedAtMs = Date.now();
      send('/apis/kubermatic.k8c.io/v1/namespaces/kubermatic/seeds', JSON.stringify(seed()));
      return response.end('{}');
    }
    const isWatch = url.searchParams.get('watch') === 'true';
    const kind = isWatch
      ? 'watch'
      : url.pathname.includes('/leases')
        ? 'lease'
        : `${request.method} ${url.pathname.replace(/c0\d+/, '*')}`;
    stats.requests[kind] = (stats.requests[kind] ?? 0) + 1;
    if (request.method !== 'GET') return write(url.pathname, await readBody(request), response);
    if (isWatch) return watch(url, response);
    if (url.pathname.includes('/leases')) {
      response.writeHead(404, { 'content-type': 'application/json' });
      return response.end(
        JSON.stringify({ kind: 'Status', code: 404, reason: 'NotFound', details: { name: 'lease' } }),
      );
    }
    return list(url, response);
  },
);
server.keepAliveTimeout = 120_000;
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  process.stdout.write(`${typeof address === 'object' ? address?.port : ''}\n`);
});
