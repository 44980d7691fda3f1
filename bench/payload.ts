/**
 * AdmissionReviews as kube-apiserver writes them for the Deployment `apiserver` of a user cluster: the order of the fields, defaults,
 * status and managedFields included, because size and shape are what the benchmark is about.
 */
import type { JsonObject, JsonValue } from '../src/kubernetes.ts';

/** Same length as every other uid that takes its place. */
export const UID = '00000000-0000-4000-8000-000000000000';
export const CLUSTER = 'b7xk2mq9zt';
/** A value of a flag; same length as every other number that takes its place where each object is to be a new one. */
export const PORT = '30217';

const PKI = '/etc/kubernetes/pki';
const SECRETS = [
  'tokens',
  'ca',
  'apiserver-tls',
  'apiserver-etcd-client-certificate',
  'apiserver-proxy-client-certificate',
  'front-proxy-ca',
  'kubelet-client-certificates',
  'service-account-key',
  'cloud-credentials',
  'cloud-config',
  'konnectivity-kubeconfig',
  'konnectivityproxy-tls',
  'apiserver-authentication-configuration',
];
const CONFIG_MAPS = ['adm-control', 'audit-config', 'ca-bundle', 'kube-apiserver-egress'];

const FLAGS: readonly (readonly [string, string?])[] = [
  ['--advertise-address', '203.0.113.24'],
  ['--secure-port', PORT],
  [
    '--etcd-servers',
    `https://etcd-0.etcd.cluster-${CLUSTER}.svc.cluster.local.:2379,https://etcd-1.etcd.cluster-${CLUSTER}.svc.cluster.local.:2379,https://etcd-2.etcd.cluster-${CLUSTER}.svc.cluster.local.:2379`,
  ],
  ['--etcd-cafile', '/etc/etcd/pki/client/ca.crt'],
  ['--etcd-certfile', '/etc/etcd/pki/client/apiserver-etcd-client.crt'],
  ['--etcd-keyfile', '/etc/etcd/pki/client/apiserver-etcd-client.key'],
  ['--storage-backend', 'etcd3'],
  [
    '--enable-admission-plugins',
    'LimitRanger,MutatingAdmissionWebhook,NamespaceLifecycle,NodeRestriction,PersistentVolumeClaimResize,Priority,ResourceQuota,ServiceAccount,ValidatingAdmissionWebhook',
  ],
  ['--admission-control-config-file', '/etc/kubernetes/adm-control/admission-control.yaml'],
  ['--external-hostname', `${CLUSTER}.europe-west.kubermatic.example.com`],
  ['--token-auth-file', '/etc/kubernetes/tokens/tokens.csv'],
  ['--enable-bootstrap-token-auth'],
  ['--service-account-key-file', '/etc/kubernetes/service-account-key/sa.key'],
  ['--service-cluster-ip-range', '10.240.16.0/20'],
  ['--service-node-port-range', '30000-32767'],
  ['--allow-privileged'],
  ['--audit-log-maxage', '30'],
  ['--audit-log-maxbackup', '3'],
  ['--audit-log-maxsize', '100'],
  ['--audit-log-path', '/var/log/kubernetes/audit/audit.log'],
  ['--tls-cert-file', '/etc/kubernetes/tls/apiserver-tls.crt'],
  ['--tls-private-key-file', '/etc/kubernetes/tls/apiserver-tls.key'],
  ['--proxy-client-cert-file', `${PKI}/front-proxy/client/apiserver-proxy-client.crt`],
  ['--proxy-client-key-file', `${PKI}/front-proxy/client/apiserver-proxy-client.key`],
  ['--client-ca-file', `${PKI}/ca/ca.crt`],
  ['--kubelet-client-certificate', '/etc/kubernetes/kubelet/kubelet-client.crt'],
  ['--kubelet-client-key', '/etc/kubernetes/kubelet/kubelet-client.key'],
  ['--authorization-mode', 'Node,RBAC'],
  ['--requestheader-client-ca-file', `${PKI}/front-proxy/ca/ca.crt`],
  ['--requestheader-allowed-names', 'apiserver-aggregator'],
  ['--requestheader-extra-headers-prefix', 'X-Remote-Extra-'],
  ['--requestheader-group-headers', 'X-Remote-Group'],
  ['--requestheader-username-headers', 'X-Remote-User'],
  ['--endpoint-reconciler-type', 'none'],
  ['--profiling=false'],
  ['--service-account-issuer', `https://${CLUSTER}.europe-west.kubermatic.example.com:30217`],
  ['--service-account-signing-key-file', '/etc/kubernetes/service-account-key/sa.key'],
  ['--api-audiences', `https://${CLUSTER}.europe-west.kubermatic.example.com:30217,konnectivity-server`],
  ['--kubelet-preferred-address-types', 'ExternalIP,InternalIP'],
  ['--egress-selector-config-file', '/etc/kubernetes/konnectivity/egress-selector-configuration.yaml'],
];

const KONNECTIVITY_ARGS = [
  '--logtostderr=true',
  '-v=3',
  `--cluster-key=${PKI}/konnectivityproxy-tls.key`,
  `--cluster-cert=${PKI}/konnectivityproxy-tls.crt`,
  '--uds-name=/etc/kubernetes/konnectivity-server/konnectivity-server.socket',
  '--kubeconfig=/etc/kubernetes/kubeconfig/kubeconfig',
  '--server-count=2',
  '--mode=grpc',
  '--server-port=0',
  '--agent-port=8132',
  '--admin-port=8133',
  '--health-port=8134',
  '--agent-namespace=kube-system',
  '--agent-service-account=system-konnectivity-agent',
  '--delete-existing-uds-file=true',
  '--authentication-audience=system:konnectivity-server',
];

function probe(path: string, port: number): JsonObject {
  return {
    httpGet: { path, port, scheme: 'HTTPS' },
    initialDelaySeconds: 15,
    timeoutSeconds: 15,
    periodSeconds: 10,
    successThreshold: 1,
    failureThreshold: 8,
  };
}

function container(name: string, image: string, parts: JsonObject): JsonObject {
  return {
    name,
    image,
    ...parts,
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    imagePullPolicy: 'IfNotPresent',
  };
}

function template(generation: number): JsonObject {
  const mounts = [...SECRETS, ...CONFIG_MAPS].map((name) => ({
    name,
    readOnly: true,
    mountPath: `/etc/kubernetes/${name === 'audit-config' ? 'audit' : name}`,
  }));
  const labels: Record<string, string> = {
    app: 'apiserver',
    cluster: CLUSTER,
    'app.kubernetes.io/version': '1.36.0',
  };
  for (const name of SECRETS) labels[`${name}-secret-revision`] = String(48_211_000 + generation);
  for (const name of CONFIG_MAPS) labels[`${name}-configmap-revision`] = String(48_212_000 + generation);
  return {
    metadata: {
      creationTimestamp: null,
      labels,
      annotations: {
        'cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes': 'audit-log,konnectivity-uds',
        'prometheus.io/path': '/metrics',
        'prometheus.io/port': '30217',
        'prometheus.io/scrape_with_kube_cert': 'true',
      },
    },
    spec: {
      volumes: [
        ...SECRETS.map((name) => ({ name, secret: { secretName: name, defaultMode: 420 } })),
        ...CONFIG_MAPS.map((name) => ({ name, configMap: { name, defaultMode: 420, optional: false } })),
        { name: 'audit-log', emptyDir: {} },
        { name: 'konnectivity-uds', emptyDir: {} },
      ],
      initContainers: [
        container('etcd-running', 'quay.io/kubermatic/etcd-launcher:v2.31.0', {
          command: ['/etcd-launcher', 'is-running', '--etcd-cluster-size=3'],
          resources: { limits: { cpu: '100m', memory: '64Mi' }, requests: { cpu: '50m', memory: '32Mi' } },
          volumeMounts: mounts.slice(3, 4),
        }),
      ],
      containers: [
        container('konnectivity-server', 'registry.k8s.io/kas-network-proxy/proxy-server:v0.35.0', {
          command: ['/proxy-server'],
          args: KONNECTIVITY_ARGS,
          ports: [8132, 8133, 8134].map((port) => ({
            name: `port-${port}`,
            containerPort: port,
            protocol: 'TCP',
          })),
          resources: { limits: { cpu: '200m', memory: '256Mi' }, requests: { cpu: '20m', memory: '32Mi' } },
          volumeMounts: [
            { name: 'konnectivity-uds', mountPath: '/etc/kubernetes/konnectivity-server' },
            ...mounts.slice(10, 12),
          ],
          livenessProbe: probe('/healthz', 8134),
          readinessProbe: probe('/ready', 8134),
        }),
        container('apiserver', 'registry.k8s.io/kube-apiserver:v1.36.0', {
          command: ['/usr/local/bin/kube-apiserver'],
          args: FLAGS.flatMap(([flag, value]) => (value === undefined ? [flag] : [flag, value])),
          ports: [{ containerPort: 30217, protocol: 'TCP' }],
          env: ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_VPC_ID'].map((name) => ({
            name,
            valueFrom: { secretKeyRef: { name: 'cloud-credentials', key: name } },
          })),
          resources: { limits: { cpu: '2', memory: '4Gi' }, requests: { cpu: '250m', memory: '512Mi' } },
          volumeMounts: [
            ...mounts,
            { name: 'audit-log', mountPath: '/var/log/kubernetes/audit' },
            { name: 'konnectivity-uds', mountPath: '/etc/kubernetes/konnectivity-server' },
          ],
          livenessProbe: probe('/livez', 30217),
          readinessProbe: probe('/readyz', 30217),
        }),
      ],
      restartPolicy: 'Always',
      terminationGracePeriodSeconds: 30,
      dnsPolicy: 'ClusterFirst',
      serviceAccountName: 'etcd-launcher',
      serviceAccount: 'etcd-launcher',
      automountServiceAccountToken: true,
      securityContext: { seccompProfile: { type: 'RuntimeDefault' } },
      imagePullSecrets: [{ name: 'dockercfg' }],
      affinity: {
        podAntiAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [
            'kubernetes.io/hostname',
            'topology.kubernetes.io/zone',
          ].map((topologyKey) => ({
            weight: 10,
            podAffinityTerm: { labelSelector: { matchLabels: { app: 'apiserver' } }, topologyKey },
          })),
        },
      },
      schedulerName: 'default-scheduler',
    },
  };
}

/** The fields of a value as managedFields lists them. */
function fields(value: JsonValue): JsonObject {
  const entries: [string, JsonObject][] = [];
  if (Array.isArray(value)) {
    for (const item of value) {
      if (typeof item !== 'object' || item === null || Array.isArray(item)) break;
      const key = ['name', 'mountPath', 'containerPort'].find((name) => name in item);
      if (key !== undefined)
        entries.push([`k:${JSON.stringify({ [key]: item[key] })}`, { '.': {}, ...fields(item) }]);
    }
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) entries.push([`f:${key}`, fields(item)]);
  }
  return Object.fromEntries(entries);
}

function deployment(generation: number, isStored: boolean): JsonObject {
  const spec = {
    replicas: 2,
    selector: { matchLabels: { app: 'apiserver' } },
    template: template(generation),
    strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
    revisionHistoryLimit: 2,
    progressDeadlineSeconds: 600,
  };
  const entry = (manager: string, subresource: string, managed: JsonObject): JsonObject => ({
    manager,
    operation: 'Update',
    apiVersion: 'apps/v1',
    time: '2026-11-02T09:13:44Z',
    fieldsType: 'FieldsV1',
    fieldsV1: fields(managed),
    ...(subresource && { subresource }),
  });
  const condition = (type: string, reason: string): JsonObject => ({
    type,
    status: 'True',
    lastUpdateTime: '2026-11-02T09:13:58Z',
    lastTransitionTime: '2026-11-02T09:13:58Z',
    reason,
    message: `${reason}: ReplicaSet "apiserver-7c9d8f6b5d" has successfully progressed.`,
  });
  const status = {
    observedGeneration: generation,
    replicas: 2,
    updatedReplicas: 2,
    readyReplicas: 2,
    availableReplicas: 2,
    conditions: [
      condition('Available', 'MinimumReplicasAvailable'),
      condition('Progressing', 'NewReplicaSetAvailable'),
    ],
  };
  const managed = { metadata: { labels: { app: {} } }, spec };
  return {
    kind: 'Deployment',
    apiVersion: 'apps/v1',
    metadata: {
      name: 'apiserver',
      namespace: `cluster-${CLUSTER}`,
      uid: '5f0c9a4e-7d53-4f6e-9a31-0c8f5f2f6d11',
      ...(isStored && { resourceVersion: '48212345' }),
      generation,
      creationTimestamp: '2026-11-02T09:13:44Z',
      labels: { app: 'apiserver' },
      ...(isStored && { annotations: { 'deployment.kubernetes.io/revision': '3' } }),
      managedFields: [
        entry('seed-controller-manager', '', managed),
        ...(isStored ? [entry('kube-controller-manager', 'status', { status })] : []),
      ],
    },
    spec,
    status: isStored ? status : {},
  };
}

export type Operation = 'CREATE' | 'UPDATE';

/**
 * Makes the body of a request for KKP's seed-controller-manager.
 * @returns JSON with UID as its uid; an UPDATE (about 42 KB) differs from its old object as after a new version of a Secret
 */
export function buildReview(operation: Operation): Buffer {
  const kind = { group: 'apps', version: 'v1', kind: 'Deployment' };
  const resource = { group: 'apps', version: 'v1', resource: 'deployments' };
  const isUpdate = operation === 'UPDATE';
  const review = {
    kind: 'AdmissionReview',
    apiVersion: 'admission.k8s.io/v1',
    request: {
      uid: UID,
      kind,
      resource,
      requestKind: kind,
      requestResource: resource,
      name: 'apiserver',
      namespace: `cluster-${CLUSTER}`,
      operation,
      userInfo: {
        username: 'system:serviceaccount:kubermatic:kubermatic-seed',
        uid: '0b0f2b6e-2a3b-4f5f-8a52-1f6a5b1c7d90',
        groups: ['system:serviceaccounts', 'system:serviceaccounts:kubermatic', 'system:authenticated'],
        extra: {
          'authentication.kubernetes.io/pod-name': ['kubermatic-seed-controller-manager-6d5f8c7b9-x2lqp'],
        },
      },
      object: deployment(isUpdate ? 4 : 1, isUpdate),
      oldObject: isUpdate ? deployment(3, true) : null,
      dryRun: false,
      options: { kind: isUpdate ? 'UpdateOptions' : 'CreateOptions', apiVersion: 'meta.k8s.io/v1' },
    },
  };
  return Buffer.from(`${JSON.stringify(review)}\n`);
}
