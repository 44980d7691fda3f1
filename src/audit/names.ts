/** KKP's names and paths of everything around audit logging (its pkg/resources, since 2.21), in one place. */

export const APISERVER = 'apiserver';
export const SIDECAR = 'audit-logs';

export const POLICY_CONFIGMAP = 'audit-config';
export const POLICY_KEY = 'policy.yaml';
export const POLICY_DIRECTORY = '/etc/kubernetes/audit';
export const POLICY_PATH = `${POLICY_DIRECTORY}/${POLICY_KEY}`;

export const LOG_VOLUME = 'audit-log';
export const LOG_DIRECTORY = '/var/log/kubernetes/audit';
export const LOG_PATH = `${LOG_DIRECTORY}/audit.log`;
export const LOG_POSITION_PATH = `${LOG_DIRECTORY}/fluentbit.db`;

export const FLUENTBIT_SECRET = 'audit-logs-fluentbit';
/** Rendered by this software, and mounted over KKP's in pods: KKP rewrites its own on every pass. */
export const FLUENTBIT_TUNED_SECRET = 'audit-logs-fluentbit-tuned';
export const FLUENTBIT_KEY = 'fluent-bit.conf';
/** With the slash that KKP writes. */
export const FLUENTBIT_DIRECTORY = '/etc/fluent-bit/';
export const FLUENTBIT_PATH = `${FLUENTBIT_DIRECTORY}${FLUENTBIT_KEY}`;

/** Of the image: parsers that a configuration may name. */
export const PARSERS_PATH = '/fluent-bit/etc/parsers.conf';

/** Variables by which the loader, the C library or Lua run something else in the sidecar; the backstop has the same expression. */
export const LOADER_VARIABLE = /^(LD_|GCONV_PATH$|LOCPATH$|LUA_INIT)/;
/** The beginnings of their names: behind a prefix that could become one of them, a ConfigMap or Secret may hold the rest. */
export const LOADER_PREFIX = /^(L|LD|LD_.*|G|GC|GCO|GCON|GCONV.*|LO|LOC.*|LU|LUA.*)?$/;

export const WEBHOOK_VOLUME = 'audit-webhook-backend';
export const WEBHOOK_KEY = 'webhook.yaml';
export const WEBHOOK_DIRECTORY = `${POLICY_DIRECTORY}/webhook`;
export const WEBHOOK_PATH = `${WEBHOOK_DIRECTORY}/${WEBHOOK_KEY}`;

/**
 * The order in which KKP lists the volumes around those of audit logging, and, among them, the apiserver's mounts. What is put in goes
 * behind the nearest one that precedes it here.
 */
export const VOLUME_RANK: ReadonlyMap<string, number> = new Map(
  [
    'apiserver-tls',
    'tokens',
    'kubelet-client-certificates',
    'ca',
    'ca-bundle',
    'service-account-key',
    'cloud-config',
    'apiserver-etcd-client-certificate',
    'apiserver-proxy-client-certificate',
    'front-proxy-ca',
    POLICY_CONFIGMAP,
    LOG_VOLUME,
    'adm-control',
    'konnectivity-kubeconfig',
    'konnectivityproxy-tls',
    'konnectivity-uds',
    'kube-apiserver-egress',
    'openvpn-client-certificates',
    'kubeletdnatcontroller-kubeconfig',
    'apiserver-encryption-configuration',
    FLUENTBIT_SECRET,
    WEBHOOK_VOLUME,
    'authorization-webhook',
    'authorization-configuration',
    'authentication-configuration',
  ].map((name, rank) => [name, rank]),
);

/**
 * Where an element goes into a list of named elements.
 * @returns the index behind the last of those that precede it; the end where there is none
 */
export function placeByRank(list: readonly { readonly name: string }[], name: string): number {
  const rank = VOLUME_RANK.get(name) ?? Number.POSITIVE_INFINITY;
  const index = list.findLastIndex(
    (other) => (VOLUME_RANK.get(other.name) ?? Number.POSITIVE_INFINITY) < rank,
  );
  return index === -1 ? list.length : index + 1;
}
