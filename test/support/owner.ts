/**
 * The test owner: a stand-in for KKP's reconciler, as a real client of a real kube-apiserver. One pass does what KKP does with the Deployment
 * `apiserver`: get it, render into it, compare semantically, send a full Update on a difference, then wait for the stored object to differ
 * from the old one. The wait is what a hook must not make fail: in KKP, everything after the apiserver stays undone then.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type ApiClient, ApiError } from './api-client.ts';
import type { AuditLogging, Deployment, KkpOptions, Revisions } from './fixture-types.ts';
import { renderKkpInto } from './fixtures.ts';
import { IDENTITIES, type Identity } from './identities.ts';
import { renderAuditConfig, renderFluentBitConf } from './kkp-objects.ts';
import { CLUSTERS_PATH } from './seed.ts';
import { semanticDifferences } from './semantic.ts';

const POLL_MS = 10;
/** KKP's: `failed waiting for the cache to contain our latest changes`. */
const WAIT_TIMEOUT_MS = 10_000;

/**
 * kkp: renders by the live Cluster's `spec.auditLogging`, writes revision labels, and keeps `audit-config` and `audit-logs-fluentbit`, as KKP does.
 * never: renders the same Deployment without audit logging, whatever the Cluster says.
 */
type Rendering = 'kkp' | 'never';

export type PassOutcome =
  | 'created'
  | 'unchanged'
  | 'updated'
  /** The Update was accepted and changed nothing: the reconciler is stuck. */
  | 'failed-wait'
  /** The API refused, or an object that the Deployment mounts is not there. */
  | 'error';

export interface Pass {
  readonly outcome: PassOutcome;
  /** The paths at which the rendering differed from what was stored. */
  readonly differences: readonly string[];
  readonly error: Error | undefined;
}

export interface OwnerOptions {
  readonly cluster: string;
  readonly rendering: Rendering;
  readonly kkp?: KkpOptions;
  /** Default: KKP's seed-controller-manager. */
  readonly identity?: Identity;
  /** Default 10 s, as KKP waits. */
  readonly waitTimeoutMs?: number;
}

export class Owner {
  readonly #client: ApiClient;
  readonly #options: OwnerOptions;
  readonly #namespacePath: string;
  readonly #deploymentsPath: string;
  /** Every pass so far, oldest first. */
  readonly passes: Pass[] = [];

  /** @param client of any identity: the owner acts in its own name */
  constructor(client: ApiClient, options: OwnerOptions) {
    this.#client = client.as(options.identity ?? IDENTITIES.seedControllerManager);
    this.#options = options;
    this.#namespacePath = `/api/v1/namespaces/cluster-${options.cluster}`;
    this.#deploymentsPath = `/apis/apps/v1/namespaces/cluster-${options.cluster}/deployments`;
  }

  get updates(): number {
    return this.#count('updated') + this.#count('failed-wait');
  }

  get failedWaits(): number {
    return this.#count('failed-wait');
  }

  get errors(): number {
    return this.#count('error');
  }

  #count(outcome: PassOutcome): number {
    return this.passes.filter((pass) => pass.outcome === outcome).length;
  }

  /** The Deployment as it is stored. */
  deployment(): Promise<Deployment | undefined> {
    return this.#client.find<Deployment>(`${this.#deploymentsPath}/apiserver`);
  }

  /** Makes several passes, one after the other, and returns those. */
  async run(count: number): Promise<readonly Pass[]> {
    for (let i = 0; i < count; i++) await this.pass();
    return this.passes.slice(-count);
  }

  /** Reconciles once. Like KKP it tries again at the next pass where this one fails; it does not throw for what the API says. */
  async pass(): Promise<Pass> {
    let pass: Pass;
    try {
      pass = await this.#reconcile();
    } catch (error) {
      if (!(error instanceof ApiError) && !(error instanceof MissingObjectError)) throw error;
      pass = { outcome: 'error', differences: [], error };
    }
    this.passes.push(pass);
    return pass;
  }

  async #reconcile(): Promise<Pass> {
    const { rendering, cluster, kkp } = this.#options;
    let auditLogging: AuditLogging | undefined;
    let revisions: Revisions | undefined;
    if (rendering === 'kkp') {
      auditLogging = await this.#readAuditLogging();
      await this.#ensureRelatedObjects(auditLogging);
      revisions = await this.#readRevisions();
    }
    const render = (stored?: Deployment) =>
      withKkpDefaults(renderKkpInto(stored, { ...kkp, cluster }, auditLogging, revisions), stored);

    const stored = await this.deployment();
    if (stored === undefined) {
      await this.#client.request('POST', this.#deploymentsPath, render());
      return { outcome: 'created', differences: [], error: undefined };
    }
    const rendered = render(stored);
    const differences = semanticDifferences(stored, rendered);
    if (differences.length === 0) return { outcome: 'unchanged', differences, error: undefined };
    delete rendered.status;
    await this.#client.request('PUT', `${this.#deploymentsPath}/apiserver`, rendered);
    const changed = await this.#awaitChange(stored);
    return { outcome: changed ? 'updated' : 'failed-wait', differences, error: undefined };
  }

  async #awaitChange(old: Deployment): Promise<boolean> {
    const deadline = Date.now() + (this.#options.waitTimeoutMs ?? WAIT_TIMEOUT_MS);
    while (Date.now() < deadline) {
      if (semanticDifferences(old, await this.deployment()).length > 0) return true;
      await delay(POLL_MS);
    }
    return false;
  }

  async #readAuditLogging(): Promise<AuditLogging | undefined> {
    const path = `${CLUSTERS_PATH}/${this.#options.cluster}`;
    const cluster = await this.#client.request<{ spec: { auditLogging?: AuditLogging } }>('GET', path);
    return cluster.spec.auditLogging;
  }

  /** `audit-config` always; `audit-logs-fluentbit` while audit logging is enabled, and never deleted. */
  async #ensureRelatedObjects(auditLogging: AuditLogging | undefined): Promise<void> {
    await this.#ensureData('configmaps', 'audit-config', (stored) => renderAuditConfig(auditLogging, stored));
    if (auditLogging?.enabled) {
      const conf = renderFluentBitConf(this.#options.cluster, auditLogging);
      const data = { 'fluent-bit.conf': Buffer.from(conf).toString('base64') };
      await this.#ensureData('secrets', 'audit-logs-fluentbit', (stored) => ({ ...stored, ...data }));
    }
  }

  /** @param render makes the data from what is stored, or undefined to leave it as it is */
  async #ensureData(
    resource: 'configmaps' | 'secrets',
    name: string,
    render: (stored: Record<string, string> | undefined) => Record<string, string> | undefined,
  ): Promise<void> {
    const path = `${this.#namespacePath}/${resource}`;
    const stored = await this.#client.find<{ data?: Record<string, string> }>(`${path}/${name}`);
    const data = render(stored?.data);
    if (stored === undefined) await this.#client.request('POST', path, { metadata: { name }, data });
    else if (data !== undefined && semanticDifferences(stored.data, data).length > 0)
      await this.#client.request('PUT', `${path}/${name}`, { ...stored, data });
  }

  /** The resourceVersions of all Secrets and ConfigMaps in the namespace. */
  async #readRevisions(): Promise<Revisions> {
    const found = new Map<string, string>();
    for (const [kind, resource] of [
      ['secret', 'secrets'],
      ['configmap', 'configmaps'],
    ] as const) {
      const list = await this.#client.request<{
        items: { metadata: { name: string; resourceVersion: string } }[];
      }>('GET', `${this.#namespacePath}/${resource}`);
      for (const { metadata } of list.items) found.set(`${kind} ${metadata.name}`, metadata.resourceVersion);
    }
    return (kind, name) => {
      const revision = found.get(`${kind} ${name}`);
      if (revision === undefined) throw new MissingObjectError(`the ${kind} ${name} is not there`);
      return revision;
    };
  }
}

/** A Secret or ConfigMap that the Deployment mounts is missing: KKP's reconcile fails then, also for optional volumes. */
class MissingObjectError extends Error {
  override readonly name = 'MissingObjectError';
}

/**
 * Fills in what KKP fills in before it compares: the API's defaults of containers and volumes, so that a stored Deployment compares equal, and
 * seccomp and roll-out settings of its own.
 * @param stored a container of the same name there gives its `procMount`, which the API may have defaulted
 */
function withKkpDefaults(deployment: Deployment, stored?: Deployment): Deployment {
  const result = structuredClone(deployment);
  const old = stored?.spec.template.spec;
  const oldContainers = [...(old?.initContainers ?? []), ...(old?.containers ?? [])];
  const { spec } = result;
  const strategy = spec.strategy as { type?: string } | undefined;
  if (!strategy?.type)
    spec.strategy = { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } };
  const pod = spec.template.spec;
  for (const container of [...pod.initContainers, ...pod.containers]) {
    container.imagePullPolicy ??= 'IfNotPresent';
    container.terminationMessagePath ??= '/dev/termination-log';
    container.terminationMessagePolicy ??= 'File';
    const securityContext = container.securityContext as Record<string, unknown> | undefined;
    const before = oldContainers.find(({ name }) => name === container.name)?.securityContext;
    const procMount = (before as Record<string, unknown> | undefined)?.procMount;
    if (securityContext !== undefined && procMount !== undefined) securityContext.procMount = procMount;
  }
  for (const volume of pod.volumes) {
    const source = volume.secret ?? volume.configMap;
    if (source !== undefined) source.defaultMode ??= 0o644;
  }
  const securityContext = (pod.securityContext ?? {}) as Record<string, unknown>;
  securityContext.seccompProfile ??= { type: 'RuntimeDefault' };
  pod.securityContext = securityContext;
  return result;
}
