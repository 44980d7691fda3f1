/**
 * What is to be done about one cluster, and about which clusters something may be begun. Pure: it goes by the same settings, injection and
 * judgement as the hooks, so that controller and hooks cannot disagree, and by what is written in the objects alone, so that a new leader goes on
 * where the last one ended.
 *
 * Whatever may roll an apiserver is disruptive, and happens only to a cluster in flight: one whose Cluster carries ROLLOUT_ANNOTATION. The write
 * that begins it (`start`) sets the annotation together with the settings; the write that ends it takes it away once the apiservers are
 * available again.
 *
 * | in flight | something disruptive to do | settled | then                                                               |
 * |-----------|----------------------------|---------|--------------------------------------------------------------------|
 * | no        | no                         | -       | nothing                                                            |
 * | no        | yes                        | -       | `start`, when the datacenter's budget allows                       |
 * | yes       | yes                        | no      | it is done, one step at a time; past the timeout it counts as failed |
 * | yes       | no                         | no      | wait for the roll-out                                              |
 * | yes       | no                         | yes     | the annotation goes                                                |
 */

import { settingsOf } from '../audit/enforce.ts';
import { injectCluster } from '../audit/inject-cluster.ts';
import * as names from '../audit/names.ts';
import { isGuarded, type Resolution, type Settings } from '../audit/settings.ts';
import { type Cluster, type ClusterView, ENFORCED_LABEL, KKP_GROUP } from '../kkp.ts';
import { type JsonObject, resourcePath } from '../kubernetes.ts';
import { PRESETS } from '../policy/index.ts';
import type { ReasonCode } from '../reasons.ts';
import {
  contentOf,
  fluentBitData,
  mergePatch,
  networkPolicy,
  ownSecret,
  policyConfigMap,
  renderPolicy,
} from './objects.ts';
import {
  CHECKSUM_ANNOTATION,
  type DeploymentView,
  hash,
  hashData,
  keyOf,
  meaningOf,
  type NamespaceView,
  type ObjectView,
  type PodView,
  type PolicyView,
  REPLACED_ANNOTATION,
  RESTARTED_ANNOTATION,
} from './view.ts';

export const ROLLOUT_ANNOTATION = 'audit.kubermatic.k8c.io/rollout';

/** Resources that are watched. */
export type Kind = 'namespaces' | 'deployments' | 'pods' | 'configmaps' | 'secrets' | 'networkpolicies';

/** All that is known of one cluster. */
export interface ClusterFacts {
  readonly cluster: ClusterView;
  readonly resolution: Resolution;
  readonly namespace: NamespaceView | undefined;
  readonly deployment: DeploymentView | undefined;
  readonly pods: readonly PodView[];
  readonly policy: PolicyView | undefined;
  readonly fluentBit: ObjectView | undefined;
  /** Secrets that carry our label, by name. */
  readonly ownSecrets: ReadonlyMap<string, ObjectView>;
  /** The Secret of the webhook backend in the cluster's namespace, and the one that it is copied from. */
  readonly backend: ObjectView | undefined;
  readonly backendSource: ObjectView | undefined;
  readonly networkPolicy: ObjectView | undefined;
  /** KKP's policy that denies all egress is there. */
  readonly deniesEgress: boolean;
  /** What could not be read (yet): that it seems to be missing means nothing. */
  readonly unread: ReadonlySet<Kind>;
}

/** Ways in which a cluster is not as it should be: for people, and whether mending it may roll an apiserver. */
export const DRIFT = {
  SETTINGS_DIFFER: { disruptive: true, sentence: 'spec.auditLogging is not what the datacenter enforces' },
  DEPLOYMENT_DIFFERS: {
    disruptive: true,
    sentence: 'the Deployment apiserver is not what the hook would make of it',
  },
  PODS_INEFFECTIVE: {
    disruptive: true,
    sentence: 'apiserver pods run that are not audited as they should be',
  },
  PODS_OUTDATED: { disruptive: true, sentence: 'apiserver pods run with an older policy or configuration' },
  PODS_LEFTOVER: {
    disruptive: true,
    sentence: 'apiserver pods still carry the sidecar, though audit logging is off',
  },
  POLICY_NOT_PRESET: { disruptive: true, sentence: 'ConfigMap audit-config is not the preset that is set' },
  POLICY_KEPT: {
    disruptive: false,
    sentence:
      'ConfigMap audit-config is not the preset, but immutable or put back by its owner, and is left as it is',
  },
  POLICY_MISSING: { disruptive: false, sentence: 'ConfigMap audit-config is missing' },
  FLUENTBIT_MISSING: { disruptive: false, sentence: 'Secret audit-logs-fluentbit is missing' },
  FLUENTBIT_OUTDATED: {
    disruptive: false,
    sentence: 'Secret audit-logs-fluentbit, made by this software, is outdated',
  },
  TUNING_OUTDATED: {
    disruptive: false,
    sentence: 'Secret audit-logs-fluentbit-tuned is missing or outdated',
  },
  BACKEND_MISSING: {
    disruptive: false,
    sentence: 'the Secret of the webhook backend is missing or outdated',
  },
  EGRESS_OUTDATED: {
    disruptive: false,
    sentence: 'the NetworkPolicy for the configured destinations is missing or outdated',
  },
  LABEL_DIFFERS: {
    disruptive: false,
    sentence: 'the label that marks enforced clusters is not as it should be',
  },
  LEFTOVERS: { disruptive: false, sentence: 'objects of this software are left that nobody needs any more' },
} as const;
export type DriftCode = keyof typeof DRIFT;

/**
 * - off: audit logging is not asked for
 * - pending: there is no Deployment yet
 * - drifted: something is being put right that rolls no apiserver
 * - waiting: for its turn in the roll-out
 * - failing: in flight for longer than it may take
 * - paused: KKP is told to leave it alone, and so does the controller
 * - unresolved: it can't be told what its datacenter asks for
 */
export const STATES = [
  'compliant',
  'off',
  'pending',
  'drifted',
  'waiting',
  'rolling',
  'failing',
  'paused',
  'unresolved',
] as const;
export type ComplianceState = (typeof STATES)[number];

export type ActionName =
  | 'startRollout'
  | 'alignCluster'
  | 'finishRollout'
  | 'labelCluster'
  | 'labelNamespace'
  | 'createPolicy'
  | 'replacePolicy'
  | 'createFluentBit'
  | 'updateFluentBit'
  | 'writeTuning'
  | 'copyBackend'
  | 'writeNetworkPolicy'
  | 'noteChecksum'
  | 'nudgeDeployment'
  | 'restartDeployment'
  | 'removeLeftover'
  | 'refresh';

export interface Action {
  readonly name: ActionName;
  /** refresh: reads the Deployment and the pods again and judges them by today's settings; copy: from `path` to the body's place. */
  readonly method: 'POST' | 'PATCH' | 'DELETE' | 'REFRESH' | 'COPY';
  readonly path: string;
  /** A write names the resourceVersion that it changes, except where it creates. */
  readonly body?: JsonObject;
  /** Done only where a fresh look still asks for it: what the watches say may be moments old. */
  readonly verify?: true;
  /** What it is for: where it did not help, it is not done again for the same at once. */
  readonly occasion?: string;
}

export interface Assessment {
  readonly cluster: string;
  readonly uid: string;
  readonly datacenter: string;
  readonly state: ComplianceState;
  readonly enforced: boolean;
  readonly exempt: boolean;
  /** Audit logging is asked for. */
  readonly wanted: boolean;
  /** The Deployment is left to its owner, and pods are injected. */
  readonly left: boolean;
  readonly drift: readonly DriftCode[];
  /** Why Deployment or pods are not effective. */
  readonly reasons: readonly ReasonCode[];
  /** Undefined where it is not in flight; 0 where the annotation can't be read. */
  readonly sinceMs: number | undefined;
  /** What may be done at once. */
  readonly actions: readonly Action[];
  /** What begins the roll-out of this cluster, once the budget allows. */
  readonly start: Action | undefined;
}

const BEFORE_ITS_TURN: ReadonlySet<ActionName> = new Set(['createPolicy', 'refresh']);
/** What KKP puts into an `audit-config` that it makes. */
const KKP_DEFAULT = 'preset metadata';

const clusterPath = (name: string): string => resourcePath(`${KKP_GROUP}/v1`, 'clusters', { name });
const secretsPath = (namespace: string): string => resourcePath('v1', 'secrets', { namespace });
const DEPLOYMENTS = 'apps/v1';

/** Which Secret a webhook backend is copied from: only where an administrator decided it. A Cluster's own would let its editors pull any Secret of the seed. */
export function backendSourceOf(
  settings: Settings,
): { readonly namespace: string; readonly name: string } | undefined {
  const { value, by } = settings.webhookBackend;
  const namespace: unknown = value?.auditWebhookConfig.namespace;
  if (value === undefined || (by !== 'seed' && by !== 'datacenter')) return undefined;
  if (typeof namespace !== 'string' || namespace === '' || namespace === settings.namespace) return undefined;
  return { namespace, name: value.auditWebhookConfig.name };
}

/**
 * Says what a cluster is in want of.
 * @param nowMs milliseconds since 1970
 */
export function assess(facts: ClusterFacts, nowMs: number): Assessment {
  const { cluster, resolution } = facts;
  const settings = settingsOf(resolution);
  const sinceMs = readRollout(cluster);
  const base = {
    cluster: cluster.name,
    uid: cluster.uid,
    datacenter: cluster.datacenter,
    enforced: resolution.resolved && settings.enforced,
    exempt: settings.exempt,
    wanted: settings.enabled.value || settings.webhookBackend.value !== undefined,
    left: facts.deployment?.isLeft ?? false,
    sinceMs,
  };
  const idle = { ...base, drift: [], reasons: [], actions: [], start: undefined };
  if (!resolution.resolved) return { ...idle, state: 'unresolved' };
  if (cluster.paused || cluster.workerName !== '') return { ...idle, state: 'paused' };
  const work = new Work(facts, settings, nowMs, sinceMs);
  work.run();
  return {
    ...base,
    state: work.state(base.wanted),
    drift: [...work.drift],
    reasons: work.reasons(),
    actions: work.actions,
    start: work.start(),
  };
}

/** When the roll-out of a cluster began; 0 where that can't be read, so that it counts as late. */
export function readRollout(cluster: ClusterView): number | undefined {
  const text = cluster.annotations[ROLLOUT_ANNOTATION];
  if (text === undefined) return undefined;
  const time = Date.parse(text);
  return Number.isNaN(time) ? 0 : time;
}

/** One cluster on its way through the rules; a rule adds what is wrong and what to do. */
class Work {
  readonly drift = new Set<DriftCode>();
  actions: Action[] = [];
  readonly #facts: ClusterFacts;
  readonly #settings: Settings;
  readonly #nowMs: number;
  readonly #sinceMs: number | undefined;
  readonly #key: string;
  readonly #alignment: unknown;
  readonly #live: readonly PodView[];
  readonly #isStale: boolean;

  constructor(facts: ClusterFacts, settings: Settings, nowMs: number, sinceMs: number | undefined) {
    this.#facts = facts;
    this.#settings = settings;
    this.#nowMs = nowMs;
    this.#sinceMs = sinceMs;
    this.#key = keyOf(facts.resolution);
    this.#alignment = alignment(facts, nowMs);
    this.#live = facts.pods.filter(({ ending }) => !ending);
    const { deployment } = facts;
    this.#isStale =
      deployment !== undefined &&
      (deployment.key !== this.#key || this.#live.some(({ key }) => key !== this.#key));
  }

  run(): void {
    const { cluster, namespace, deployment } = this.#facts;
    if (cluster.deleting) return;
    if (this.#alignment !== undefined) this.#need('SETTINGS_DIFFER');
    this.#label();
    if (namespace?.terminating ?? this.#canRead('namespaces')) return;
    if (this.#wantsPolicy) {
      this.#ensurePolicy();
      this.#ensureFluentBit();
      this.#ensureBackend();
      this.#ensureEgress();
    }
    if (deployment !== undefined && !deployment.deleting) this.#ensureDeployment(deployment);
    this.#removeLeftovers();
    if (this.#isInFlight) this.#advance();
    // What waits for its turn is prepared in its turn; only what its pods can't start without is there before.
    else if (this.#disruptive.length > 0)
      this.actions = this.actions.filter(({ name }) => BEFORE_ITS_TURN.has(name));
  }

  state(wanted: boolean): ComplianceState {
    const { cluster, deployment } = this.#facts;
    if (cluster.deleting) return 'off';
    if (this.#isInFlight) return this.#isLate ? 'failing' : 'rolling';
    if (this.#disruptive.length > 0) return 'waiting';
    if (this.drift.size > 0 && !(this.drift.size === 1 && this.drift.has('POLICY_KEPT'))) return 'drifted';
    if (!wanted) return 'off';
    return deployment === undefined || this.#isStale || !this.#canRead('pods') ? 'pending' : 'compliant';
  }

  /** Codes of the Deployment, unless its pods are given what it lacks, and of the pods. */
  reasons(): ReasonCode[] {
    const { deployment } = this.#facts;
    const codes = new Set<ReasonCode>(this.#live.flatMap(({ codes: found }) => found));
    if (deployment !== undefined && !this.#isLeft(deployment))
      for (const code of deployment.codes) codes.add(code);
    return [...codes];
  }

  start(): Action | undefined {
    if (this.#isInFlight || this.#disruptive.length === 0 || this.#facts.cluster.deleting) return undefined;
    const since = new Date(this.#nowMs).toISOString();
    return this.#patchCluster('startRollout', this.#alignment, { [ROLLOUT_ANNOTATION]: since });
  }

  get #wantsPolicy(): boolean {
    return this.#settings.enabled.value || this.#settings.webhookBackend.value !== undefined;
  }

  get #wantsSidecar(): boolean {
    return this.#settings.enabled.value;
  }

  get #isInFlight(): boolean {
    return this.#sinceMs !== undefined;
  }

  get #elapsedMs(): number {
    return Math.max(0, this.#nowMs - (this.#sinceMs ?? this.#nowMs));
  }

  get #isLate(): boolean {
    return this.#elapsedMs > this.#settings.options.rollout.timeoutSeconds * 1000;
  }

  /** The owner has had its time to act. */
  get #isGraceOver(): boolean {
    return this.#isInFlight && this.#elapsedMs >= this.#settings.options.rollout.graceSeconds * 1000;
  }

  get #disruptive(): DriftCode[] {
    return [...this.drift].filter((code) => DRIFT[code].disruptive);
  }

  #canRead(kind: Kind): boolean {
    return !this.#facts.unread.has(kind);
  }

  #isLeft(deployment: DeploymentView): boolean {
    const { injection } = this.#settings.options;
    return injection === 'pod' || (injection === 'auto' && deployment.isLeft);
  }

  #need(code: DriftCode, action?: Action): void {
    this.drift.add(code);
    if (action !== undefined) this.actions.push(action);
  }

  #label(): void {
    const { cluster, namespace } = this.#facts;
    const wanted = isGuarded(this.#settings);
    const labels = { [ENFORCED_LABEL]: wanted ? 'true' : null };
    if ((cluster.labelled ?? false) !== wanted) {
      this.drift.add('LABEL_DIFFERS');
      // Every write of a Cluster passes the hook, which aligns it: before its turn, it is not written to.
      if (this.#alignment === undefined)
        this.actions.push({
          name: 'labelCluster',
          method: 'PATCH',
          path: clusterPath(cluster.name),
          body: { metadata: { resourceVersion: cluster.resourceVersion, labels } },
        });
    }
    if (namespace === undefined || namespace.terminating || namespace.labelled === wanted) return;
    this.#need('LABEL_DIFFERS', {
      name: 'labelNamespace',
      method: 'PATCH',
      path: resourcePath('v1', 'namespaces', { name: namespace.namespace }),
      body: { metadata: { resourceVersion: namespace.resourceVersion, labels } },
    });
  }

  #ensurePolicy(): void {
    const { policy, cluster, deployment } = this.#facts;
    const wanted = renderPolicy(this.#settings);
    const path = resourcePath('v1', 'configmaps', { namespace: cluster.namespace });
    if (!this.#canRead('configmaps')) return;
    if (policy === undefined) {
      // KKP makes it before the Deployment: being there first is only worth a conflict where KKP would make another one.
      if (deployment === undefined && wanted.from === KKP_DEFAULT) return;
      this.#need('POLICY_MISSING', {
        name: 'createPolicy',
        method: 'POST',
        path,
        body: policyConfigMap(wanted),
      });
      return;
    }
    const preset = this.#settings.policyPreset.value;
    // Without a preset the text is whoever's wrote it.
    if (preset === '' || !PRESETS.has(preset) || policy.meaning === meaningOf(wanted.text)) return;
    if (policy.content === policy.replaced || policy.immutable) {
      this.drift.add('POLICY_KEPT');
      return;
    }
    this.drift.add('POLICY_NOT_PRESET');
    // A KKP that writes revision labels replaces it by itself.
    const isOurTurn = deployment !== undefined && (!deployment.tracksRevisions || this.#isGraceOver);
    if (!this.#isInFlight || !isOurTurn || this.#alignment !== undefined) return;
    this.actions.push({
      name: 'replacePolicy',
      method: 'PATCH',
      path: `${path}/${names.POLICY_CONFIGMAP}`,
      body: {
        metadata: {
          resourceVersion: policy.resourceVersion,
          annotations: { [REPLACED_ANNOTATION]: policy.content },
        },
        data: { [names.POLICY_KEY]: wanted.text },
      },
    });
  }

  #ensureFluentBit(): void {
    if (!this.#wantsSidecar || !this.#canRead('secrets')) return;
    const { fluentBit, ownSecrets, cluster, deployment } = this.#facts;
    const path = secretsPath(cluster.namespace);
    const data = fluentBitData(this.#settings);
    const content = hashData(data);
    const own = ownSecrets.get(names.FLUENTBIT_SECRET);
    if (fluentBit === undefined && own === undefined) {
      if (deployment !== undefined)
        this.#need('FLUENTBIT_MISSING', {
          name: 'createFluentBit',
          method: 'POST',
          path,
          body: ownSecret(names.FLUENTBIT_SECRET, data),
        });
    } else if (own !== undefined && own.content !== content && deployment?.tracksRevisions === false) {
      // A KKP that has taken it over keeps it by itself.
      this.#need('FLUENTBIT_OUTDATED', replaceOwn('updateFluentBit', path, own, ownSecret(own.name, data)));
    }
    const tuned = ownSecrets.get(names.FLUENTBIT_TUNED_SECRET);
    if (tuned?.content === content) return;
    const secret = ownSecret(names.FLUENTBIT_TUNED_SECRET, data);
    this.#need(
      'TUNING_OUTDATED',
      tuned === undefined
        ? { name: 'writeTuning', method: 'POST', path, body: secret }
        : replaceOwn('writeTuning', path, tuned, secret),
    );
  }

  #ensureBackend(): void {
    const { backend, backendSource, cluster } = this.#facts;
    const source = backendSourceOf(this.#settings);
    if (!this.#canRead('secrets')) return;
    if (source === undefined || backendSource === undefined) {
      // Nothing to copy from: where the Secret is not there either, the apiserver can't start.
      if (source !== undefined && backend === undefined) this.drift.add('BACKEND_MISSING');
      return;
    }
    const version = `${source.namespace}/${source.name}@${backendSource.resourceVersion}`;
    if (backend !== undefined && (!backend.isOurs || backend.content === version)) return;
    this.#need('BACKEND_MISSING', {
      name: 'copyBackend',
      method: 'COPY',
      path: resourcePath('v1', 'secrets', source),
      body: {
        namespace: cluster.namespace,
        name: source.name,
        resourceVersion: backend?.resourceVersion ?? '',
      },
    });
  }

  #ensureEgress(): void {
    const { networkPolicy: own, deniesEgress, cluster } = this.#facts;
    const wanted = networkPolicy(this.#settings);
    if (
      !this.#canRead('networkpolicies') ||
      wanted === undefined ||
      !deniesEgress ||
      own?.content === contentOf(wanted)
    )
      return;
    const path = networkPoliciesPath(cluster.namespace);
    this.#need(
      'EGRESS_OUTDATED',
      own === undefined
        ? { name: 'writeNetworkPolicy', method: 'POST', path, body: wanted }
        : replaceOwn('writeNetworkPolicy', path, own, wanted),
    );
  }

  #ensureDeployment(deployment: DeploymentView): void {
    const { namespace } = deployment;
    const path = resourcePath(DEPLOYMENTS, 'deployments', { namespace, name: names.APISERVER });
    // Before the Cluster is aligned, its owner has not been told yet.
    if (this.#alignment !== undefined) return;
    if (this.#isStale) {
      this.actions.push({ name: 'refresh', method: 'REFRESH', path });
      return;
    }
    if (deployment.hookChanges) {
      this.drift.add('DEPLOYMENT_DIFFERS');
      const occasion = `${deployment.generation} ${deployment.key}`;
      if (this.#isGraceOver)
        this.actions.push({ name: 'nudgeDeployment', method: 'PATCH', path, body: {}, occasion });
      return;
    }
    if (!deployment.isComplete) return;
    const checksum = this.#checksum(deployment);
    if (this.#live.some(({ codes }) => codes.length > 0)) this.drift.add('PODS_INEFFECTIVE');
    if (!this.#wantsSidecar && !deployment.hasSidecar && this.#live.some((pod) => pod.hasSidecar))
      this.drift.add('PODS_LEFTOVER');
    if (checksum !== '' && this.#isOutdated(deployment, checksum)) this.drift.add('PODS_OUTDATED');
    if (this.#disruptive.some((code) => code.startsWith('PODS_'))) this.#restart(deployment, path, checksum);
    else if (checksum !== deployment.checksum && this.#disruptive.length === 0)
      this.actions.push({
        name: 'noteChecksum',
        method: 'PATCH',
        path,
        body: {
          metadata: {
            resourceVersion: deployment.resourceVersion,
            annotations: { [CHECKSUM_ANNOTATION]: checksum === '' ? null : checksum },
          },
        },
      });
  }

  /** Of what pods read once, at their start, and of their settings; "" where the owner sees to it that they start again. */
  #checksum(deployment: DeploymentView): string {
    const { policy } = this.#facts;
    if (!this.#wantsPolicy || deployment.tracksRevisions || policy === undefined) return '';
    const fluentBit = this.#wantsSidecar ? hashData(fluentBitData(this.#settings)) : '';
    return `${hash(JSON.stringify([policy.content, fluentBit]))}-${this.#key}`;
  }

  /** Settings that are in the Deployment roll its pods by themselves; those of a Deployment that is left to its owner do not. */
  #isOutdated(deployment: DeploymentView, checksum: string): boolean {
    const [content, key] = checksum.split('-');
    const [notedContent, notedKey] = deployment.checksum.split('-');
    if (deployment.checksum === '') return false;
    return content !== notedContent || (this.#isLeft(deployment) && key !== notedKey);
  }

  /** The template's annotation says for what it was; once more after each timeout in which that did not help. */
  #restart(deployment: DeploymentView, path: string, checksum: string): void {
    if (!this.#isInFlight) return;
    const timeoutMs = this.#settings.options.rollout.timeoutSeconds * 1000;
    const attempt = this.#sinceMs === 0 ? 0 : Math.floor(this.#elapsedMs / timeoutMs);
    const value = `${hash(JSON.stringify([this.#key, checksum, this.#sinceMs]))}-${attempt}`;
    if (deployment.restartedFor === value) return;
    this.actions.push({
      name: 'restartDeployment',
      method: 'PATCH',
      path,
      verify: true,
      body: {
        metadata: {
          resourceVersion: deployment.resourceVersion,
          ...(checksum !== '' && { annotations: { [CHECKSUM_ANNOTATION]: checksum } }),
        },
        spec: { template: { metadata: { annotations: { [RESTARTED_ANNOTATION]: value } } } },
      },
    });
  }

  #removeLeftovers(): void {
    const { ownSecrets, networkPolicy: own, deployment, cluster } = this.#facts;
    const isInUse =
      (deployment?.hasSidecar ?? false) || this.#facts.pods.some(({ hasSidecar }) => hasSidecar);
    const backend = this.#settings.webhookBackend.value?.auditWebhookConfig.name;
    if (this.#alignment !== undefined || this.#isStale || this.#facts.unread.size > 0) return;
    for (const secret of ownSecrets.values()) {
      const isFluentBits =
        secret.name === names.FLUENTBIT_SECRET || secret.name === names.FLUENTBIT_TUNED_SECRET;
      const isNeeded = isFluentBits
        ? this.#wantsSidecar || isInUse
        : secret.name === backend || this.#isInFlight;
      if (!isNeeded) this.#need('LEFTOVERS', remove(secretsPath(cluster.namespace), secret));
    }
    const wantsEgress = this.#wantsPolicy && this.#settings.options.egress.length > 0;
    // Where nothing denies egress any more, ours would be what does.
    if (own !== undefined && !(wantsEgress && this.#facts.deniesEgress))
      this.#need('LEFTOVERS', remove(networkPoliciesPath(cluster.namespace), own));
  }

  /** Brings a cluster in flight forward, or to its end. */
  #advance(): void {
    const { deployment } = this.#facts;
    if (this.#alignment !== undefined) {
      this.actions.push(this.#patchCluster('alignCluster', this.#alignment, {}));
      return;
    }
    const isRunning =
      (deployment === undefined && this.#canRead('deployments') && this.#canRead('pods')) ||
      (deployment?.isComplete === true && !this.#isStale && this.#live.every(({ ready }) => ready));
    if (isRunning && this.#disruptive.length === 0) {
      this.actions.push({
        ...this.#patchCluster('finishRollout', {}, { [ROLLOUT_ANNOTATION]: null }),
        verify: true,
      });
    }
  }

  #patchCluster(name: ActionName, alignmentPatch: unknown, annotations: JsonObject): Action {
    const { cluster } = this.#facts;
    const patch = (alignmentPatch ?? {}) as { metadata?: JsonObject; spec?: JsonObject };
    const wanted = isGuarded(this.#settings);
    const isLabelled = (cluster.labelled ?? false) === wanted;
    return {
      name,
      method: 'PATCH',
      path: clusterPath(cluster.name),
      body: {
        ...patch,
        metadata: {
          ...patch.metadata,
          ...(!isLabelled && { labels: { [ENFORCED_LABEL]: wanted ? 'true' : null } }),
          resourceVersion: cluster.resourceVersion,
          annotations: { ...(patch.metadata?.annotations as JsonObject | undefined), ...annotations },
        },
      },
    };
  }
}

const networkPoliciesPath = (namespace: string): string =>
  resourcePath('networking.k8s.io/v1', 'networkpolicies', { namespace });

/** What the Cluster hook would change about the Cluster, as a merge patch; undefined where nothing. */
function alignment({ cluster, resolution }: ClusterFacts, nowMs: number): unknown {
  const stored: Cluster = {
    metadata: { annotations: cluster.annotations },
    spec: { auditLogging: cluster.auditLogging ?? null },
  };
  const { object } = injectCluster(stored, resolution, nowMs);
  return object === stored ? undefined : mergePatch(stored, object);
}

/** Replaces content and marks of an object of ours. */
function replaceOwn(name: ActionName, path: string, old: ObjectView, wanted: JsonObject): Action {
  const { metadata, apiVersion: _api, kind: _kind, type: _type, ...rest } = wanted;
  return {
    name,
    method: 'PATCH',
    path: `${path}/${old.name}`,
    body: {
      metadata: { ...(metadata as JsonObject), resourceVersion: old.resourceVersion },
      ...rest,
    },
  };
}

const remove = (path: string, { name, resourceVersion }: ObjectView): Action => ({
  name: 'removeLeftover',
  method: 'DELETE',
  path: `${path}/${name}`,
  body: { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { resourceVersion } },
});

/** How the roll-out of a datacenter stands. */
export interface Progress {
  readonly maxInFlight: number;
  readonly inFlight: number;
  readonly failing: number;
  readonly waiting: number;
  /** No more clusters are begun, because too many failed. */
  readonly paused: boolean;
}

export interface FleetPlan {
  readonly progress: ReadonlyMap<string, Progress>;
  /** Those that may begin now, in the order of their names. */
  readonly starts: readonly Assessment[];
}

/**
 * Decides which clusters may begin.
 *
 * | failing in the datacenter  | in flight, failing included | then                   |
 * |----------------------------|-----------------------------|------------------------|
 * | maxFailures or more        | -                           | none: paused           |
 * | fewer                      | maxInFlight or more         | none                   |
 * | fewer                      | fewer                       | as many as are missing |
 */
export function planFleet(
  assessments: Iterable<Assessment>,
  rolloutOf: (datacenter: string) => { readonly maxInFlight: number; readonly maxFailures: number },
): FleetPlan {
  const byDatacenter = new Map<string, { inFlight: number; failing: number; waiting: Assessment[] }>();
  for (const assessment of assessments) {
    let counts = byDatacenter.get(assessment.datacenter);
    if (counts === undefined) {
      counts = { inFlight: 0, failing: 0, waiting: [] };
      byDatacenter.set(assessment.datacenter, counts);
    }
    if (assessment.state === 'rolling' || assessment.state === 'failing') counts.inFlight += 1;
    if (assessment.state === 'failing') counts.failing += 1;
    if (assessment.start !== undefined) counts.waiting.push(assessment);
  }
  const progress = new Map<string, Progress>();
  const starts: Assessment[] = [];
  for (const [datacenter, { inFlight, failing, waiting }] of byDatacenter) {
    const { maxInFlight, maxFailures } = rolloutOf(datacenter);
    // As many failures as there are places stop it as well.
    const paused = failing >= Math.min(maxFailures, maxInFlight);
    progress.set(datacenter, { maxInFlight, inFlight, failing, waiting: waiting.length, paused });
    if (paused || inFlight >= maxInFlight) continue;
    waiting.sort((a, b) => (a.cluster < b.cluster ? -1 : Number(a.cluster > b.cluster)));
    starts.push(...waiting.slice(0, maxInFlight - inFlight));
  }
  return { progress, starts };
}
