/**
 * What of our webhook configurations is not the chart's but the server's: the CA that kube-apiserver trusts, and the entries with failurePolicy
 * Fail. Each write names the resourceVersion that it replaces, and changes nothing but these fields, so that an upgrade or a GitOps tool does
 * not fight it. Planning is pure; only `readConfigurations` and `send` talk to the API.
 */
import { isEqualJson } from '../equal.ts';
import { isStatus, type KubeClient } from '../kube/client.ts';
import {
  isJsonObject,
  type JsonObject,
  type JsonValue,
  type KubernetesObject,
  resourcePath,
} from '../kubernetes.ts';
import { splitCertificates } from './authority.ts';

/** As the chart calls them: one set of hooks a seed, whatever the release. */
export const HOOKS_NAME = 'audit.kubermatic.k8c.io';
/** The entries with failurePolicy Fail, for what is enforced. The chart makes them empty. */
export const ENFORCED_HOOKS_NAME = `enforced.${HOOKS_NAME}`;
/** Before the name of the entry that an enforced one is the twin of. */
const ENFORCED_PREFIX = 'enforced-';
export const REGISTRATION_API = 'admissionregistration.k8s.io/v1';

export type ConfigurationKind = 'mutating' | 'validating';
export const CONFIGURATION_KINDS = ['mutating', 'validating'] as const satisfies ConfigurationKind[];

/** The parts of an entry that are read here. */
export interface WebhookEntry {
  readonly name: string;
  readonly clientConfig?: {
    readonly url?: string;
    readonly caBundle?: string;
    readonly service?: {
      readonly name: string;
      readonly namespace: string;
      readonly path?: string;
      readonly port?: number;
    };
  };
  readonly failurePolicy?: string;
  readonly timeoutSeconds?: number;
}

export interface WebhookConfiguration extends KubernetesObject {
  readonly webhooks?: readonly WebhookEntry[];
}

/** One of ours, as kube-apiserver has it. */
export interface Configuration {
  readonly kind: ConfigurationKind;
  readonly name: string;
  readonly object: WebhookConfiguration;
}

/** The entries that the chart wants with failurePolicy Fail. */
export type EnforcedHooks = Readonly<Record<ConfigurationKind, readonly JsonObject[]>>;

/** One conditional write. */
export interface ConfigurationPatch {
  readonly kind: ConfigurationKind;
  readonly name: string;
  readonly contentType: string;
  readonly body: JsonObject;
}

export const configurationPath = (kind: ConfigurationKind, name: string): string =>
  resourcePath(REGISTRATION_API, `${kind}webhookconfigurations`, { name });

/**
 * Reads those of ours that exist.
 * @throws {KubeError}
 */
export async function readConfigurations(
  client: Pick<KubeClient, 'request'>,
  signal?: AbortSignal,
): Promise<Configuration[]> {
  const all = CONFIGURATION_KINDS.flatMap((kind) =>
    [HOOKS_NAME, ENFORCED_HOOKS_NAME].map(async (name): Promise<Configuration[]> => {
      try {
        const object = await client.request<WebhookConfiguration>('GET', configurationPath(kind, name), {
          signal,
        });
        return [{ kind, name, object }];
      } catch (error) {
        if (isStatus(error, 404)) return [];
        throw error;
      }
    }),
  );
  return (await Promise.all(all)).flat();
}

/** @throws {KubeError} 409 where somebody else was faster */
export async function sendPatch(
  client: Pick<KubeClient, 'request'>,
  { kind, name, contentType, body }: ConfigurationPatch,
  signal?: AbortSignal,
): Promise<Configuration> {
  const object = await client.request<WebhookConfiguration>('PATCH', configurationPath(kind, name), {
    body,
    contentType,
    signal,
    query: { fieldManager: 'kkp-audit-webhook' },
  });
  return { kind, name, object };
}

const entriesOf = ({ object }: Configuration): readonly WebhookEntry[] => object.webhooks ?? [];
const decode = (base64: string | undefined): string => Buffer.from(base64 ?? '', 'base64').toString('utf8');
const encode = (certs: readonly string[]): string => Buffer.from(certs.join('')).toString('base64');

export interface Published {
  /** PEM of what every entry trusts; undefined where there is no entry at all. */
  readonly byAll: readonly string[] | undefined;
  /** PEM of what some entry trusts. */
  readonly bySome: readonly string[];
  /** By which kube-apiserver calls us as the chart has it now, and which the certificate must therefore have. */
  readonly serverNames: readonly string[];
  /** By which entries with Fail call us still, after a change of the Service or the URL, until the leader brings them after it. */
  readonly formerNames: readonly string[];
}

/** What kube-apiserver trusts when it calls us. */
export function publishedIn(configurations: readonly Configuration[]): Published {
  const entries = configurations.flatMap(entriesOf);
  const namesOf = (some: readonly WebhookEntry[]): string[] => [...new Set(some.map(serverNameOf))];
  const current = namesOf(configurations.filter(({ name }) => name === HOOKS_NAME).flatMap(entriesOf));
  const all = namesOf(entries);
  const serverNames = current.length > 0 ? current : all;
  const bundles = entries.map(({ clientConfig }) => splitCertificates(decode(clientConfig?.caBundle)));
  const bySome = [...new Set(bundles.flat())];
  const byAll = bySome.filter((cert) => bundles.every((bundle) => bundle.includes(cert)));
  const formerNames = all.filter((name) => !serverNames.includes(name));
  return { byAll: entries.length === 0 ? undefined : byAll, bySome, serverNames, formerNames };
}

/** The name that kube-apiserver verifies: of a Service, or in the URL. */
export function serverNameOf({ clientConfig }: WebhookEntry): string {
  const { url, service } = clientConfig ?? {};
  if (service !== undefined) return `${service.name}.${service.namespace}.svc`;
  return URL.parse(url ?? '')?.hostname.replace(/^\[|\]$/g, '') ?? '';
}

/**
 * The writes that make every entry trust just these certificates. A strategic merge patch by the names of the entries: all other fields stay
 * whose they are.
 */
export function planBundles(
  configurations: readonly Configuration[],
  certs: readonly string[],
): ConfigurationPatch[] {
  const caBundle = encode(certs);
  return configurations.flatMap((configuration) => {
    const stale = entriesOf(configuration).filter(({ clientConfig }) => clientConfig?.caBundle !== caBundle);
    if (stale.length === 0) return [];
    const { kind, name, object } = configuration;
    return [
      {
        kind,
        name,
        contentType: 'application/strategic-merge-patch+json',
        body: {
          metadata: { resourceVersion: object.metadata?.resourceVersion ?? '' },
          webhooks: stale.map((entry) => ({ name: entry.name, clientConfig: { caBundle } })),
        },
      },
    ];
  });
}

/**
 * The writes that switch Fail on, once it is proved that the hooks answer. They come with the address that was proved, and with the CA that the other
 * entries trust, so that there is no moment in which a write fails for the lack of it.
 * @returns nothing where all is as wanted already, or where nobody has published a CA yet
 */
export function planEnforced(
  configurations: readonly Configuration[],
  hooks: EnforcedHooks,
): ConfigurationPatch[] {
  const find = (kind: ConfigurationKind, name: string): Configuration | undefined =>
    configurations.find((configuration) => configuration.kind === kind && configuration.name === name);
  return CONFIGURATION_KINDS.flatMap((kind) => {
    const enforced = find(kind, ENFORCED_HOOKS_NAME);
    const proved = find(kind, HOOKS_NAME);
    const entries = proved === undefined ? [] : entriesOf(proved);
    const caBundle = entries[0]?.clientConfig?.caBundle;
    if (enforced === undefined || !caBundle) return [];
    const addressed = hooks[kind].map((hook) => {
      const twin = entries.find(({ name }) => hook.name === ENFORCED_PREFIX + name)?.clientConfig;
      const own = isJsonObject(hook.clientConfig) ? hook.clientConfig : {};
      const { caBundle: _, ...address } = twin ?? own;
      return { ...hook, clientConfig: address };
    });
    if (isAsWanted(enforced.object.webhooks ?? [], addressed)) return [];
    const webhooks = addressed.map((hook) => ({ ...hook, clientConfig: { ...hook.clientConfig, caBundle } }));
    return [
      {
        kind,
        name: ENFORCED_HOOKS_NAME,
        contentType: 'application/merge-patch+json',
        body: { metadata: { resourceVersion: enforced.object.metadata?.resourceVersion ?? '' }, webhooks },
      },
    ];
  });
}

/** What kube-apiserver stores where an entry says nothing. */
const DEFAULTS: Readonly<Record<string, JsonValue>> = {
  failurePolicy: 'Fail',
  matchConditions: [],
  matchPolicy: 'Equivalent',
  namespaceSelector: {},
  objectSelector: {},
  port: 443,
  reinvocationPolicy: 'Never',
  scope: '*',
  timeoutSeconds: 10,
};
/** Of these every field narrows what a hook is asked about. */
const EXACT: ReadonlySet<string> = new Set(['namespaceSelector', 'objectSelector']);

/**
 * Whether the stored value is the wanted one. Fields that neither has a default here nor is wanted may be there: a newer kube-apiserver may put them
 * there itself, and writing against that would never end.
 */
function isAsWanted(stored: unknown, wanted: unknown): boolean {
  if (Array.isArray(wanted)) {
    return (
      Array.isArray(stored) &&
      stored.length === wanted.length &&
      wanted.every((item, i) => isAsWanted(stored[i], item))
    );
  }
  if (!isJsonObject(wanted)) return stored === wanted;
  if (!isJsonObject(stored)) return false;
  const counts = [
    ...Object.keys(wanted),
    ...Object.keys(stored).filter((key) => Object.hasOwn(DEFAULTS, key)),
  ];
  return counts.every((key) => {
    const isSame = EXACT.has(key) ? isEqualJson : isAsWanted;
    return isSame(stored[key] ?? DEFAULTS[key], wanted[key] ?? DEFAULTS[key]);
  });
}
