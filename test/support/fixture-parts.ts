/** The containers and volumes of KKP's apiserver Deployment, with audit logging off and on. */
import type {
  AuditLogging,
  Complete,
  Container,
  EnvVar,
  Provider,
  Volume,
  VolumeMount,
} from './fixture-types.ts';

const CLOUD_FLAGS: Partial<Record<Provider, string>> = {
  aws: 'aws',
  azure: 'azure',
  gcp: 'gce',
  openstack: 'openstack',
  vsphere: 'vsphere',
};
const PKI = '/etc/kubernetes/pki';
const CIPHER_SUITES = 'TLS_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384,TLS_CHACHA20_POLY1305_SHA256';
const ADMISSION_PLUGINS =
  'DefaultStorageClass,DefaultTolerationSeconds,LimitRanger,MutatingAdmissionWebhook,NamespaceLifecycle,NodeRestriction,Priority,ResourceQuota,ServiceAccount,ValidatingAdmissionWebhook';

export function renderSidecar(c: Complete, audit: AuditLogging): Container {
  const own = audit.sidecar?.resources;
  // KKP keeps the variables in a map and writes them in random order; here the order is CLUSTER_ID first, then the Cluster's.
  const env = new Map<string, EnvVar>([['CLUSTER_ID', { name: 'CLUSTER_ID' }]]);
  for (const extra of audit.sidecar?.extraEnvs ?? []) env.set(extra.name, stripEmptyValue(extra));
  env.set('CLUSTER_ID', { name: 'CLUSTER_ID', value: c.cluster });
  return {
    name: 'audit-logs',
    image: image(c, 'docker.io', 'fluent/fluent-bit:4.0.0'),
    command: ['/fluent-bit/bin/fluent-bit'],
    args: ['-c', '/etc/fluent-bit/fluent-bit.conf'],
    env: [...env.values()],
    resources: {
      requests: own?.requests ?? { cpu: '5m', memory: '10Mi' },
      limits: own?.limits ?? { cpu: '50m', memory: '60Mi' },
    },
    volumeMounts: [
      { name: 'audit-log', mountPath: '/var/log/kubernetes/audit' },
      mount('audit-logs-fluentbit', '/etc/fluent-bit/'),
    ],
  };
}

/** The API leaves an empty `value` out. */
function stripEmptyValue(env: EnvVar): EnvVar {
  if (env.value !== '') return { ...env };
  const { value: _, ...rest } = env;
  return rest;
}

function image(c: Complete, registry: string, path: string): string {
  return `${c.options.overwriteRegistry ?? registry}/${path}`;
}

export function renderInitContainer(c: Complete): Container {
  return {
    name: 'etcd-running',
    image: image(c, 'quay.io', 'kubermatic/etcd-launcher:v2.31.1'),
    imagePullPolicy: 'IfNotPresent',
    command: [
      '/etcd-launcher',
      'is-running',
      '--etcd-ca-file=/etc/etcd/pki/client/ca.crt',
      '--etcd-client-cert-file=/etc/etcd/pki/client/apiserver-etcd-client.crt',
      '--etcd-client-key-file=/etc/etcd/pki/client/apiserver-etcd-client.key',
      `--cluster=${c.cluster}`,
    ],
    resources: {},
    volumeMounts: [mount('apiserver-etcd-client-certificate', '/etc/etcd/pki/client')],
  };
}

function mount(name: string, mountPath: string): VolumeMount {
  return { name, mountPath, readOnly: true };
}

export function renderApiserver(c: Complete, audit: AuditLogging): Container {
  const { options } = c;
  const probe = {
    httpGet: { path: '/healthz', port: c.port, scheme: 'HTTPS' },
    successThreshold: 1,
    timeoutSeconds: 15,
  };
  return {
    name: 'apiserver',
    image: options.hyperkube
      ? image(c, 'gcr.io', `google_containers/hyperkube-amd64:v${c.version}`)
      : image(c, 'registry.k8s.io', `kube-apiserver:v${c.version}`),
    command: options.hyperkube ? ['/hyperkube', 'kube-apiserver'] : ['/usr/local/bin/kube-apiserver'],
    args: renderFlags(c, audit),
    env: renderEnv(c),
    ports: [{ containerPort: c.port, protocol: 'TCP' }],
    readinessProbe: { ...probe, failureThreshold: 3, periodSeconds: 5 },
    livenessProbe: { ...probe, failureThreshold: 8, initialDelaySeconds: 15, periodSeconds: 10 },
    resources: { requests: { cpu: '100m', memory: '256Mi' }, limits: { cpu: '2', memory: '4Gi' } },
    volumeMounts: renderMounts(c, audit),
  };
}

function renderEnv(c: Complete): EnvVar[] {
  const env: EnvVar[] = [{ name: 'SSL_CERT_FILE', value: `${PKI}/ca-bundle/ca-bundle.pem` }];
  const credential = (name: string, key: string): EnvVar => ({
    name,
    valueFrom: { secretKeyRef: { key, name: 'cloud-credentials' } },
  });
  if (c.provider === 'aws')
    env.push(
      credential('AWS_ACCESS_KEY_ID', 'accessKeyId'),
      credential('AWS_SECRET_ACCESS_KEY', 'secretAccessKey'),
      { name: 'AWS_VPC_ID', value: 'vpc-0a1b2c3d' },
      { name: 'AWS_ASSUME_ROLE_ARN' },
      { name: 'AWS_ASSUME_ROLE_EXTERNAL_ID' },
    );
  const proxy = c.options.httpProxy;
  if (proxy !== undefined) {
    for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy'])
      env.push({ name, value: proxy });
    for (const name of ['NO_PROXY', 'no_proxy'])
      env.push({ name, value: `apiserver-external.${c.namespace}.svc.cluster.local.` });
  }
  return env;
}

function renderFlags(c: Complete, audit: AuditLogging): string[] {
  const { options } = c;
  const url = `https://${c.externalName}:${c.port}`;
  const backend = audit.webhookBackend ?? undefined;
  const etcd = [0, 1, 2].map((i) => `https://etcd-${i}.etcd.${c.namespace}.svc.cluster.local.:2379`);
  const kubernetes = '/etc/kubernetes';
  const flags = [
    `--advertise-address ${c.address} --secure-port ${c.port} --etcd-servers ${etcd.join(',')}`,
    '--etcd-cafile /etc/etcd/pki/client/ca.crt --etcd-certfile /etc/etcd/pki/client/apiserver-etcd-client.crt',
    '--etcd-keyfile /etc/etcd/pki/client/apiserver-etcd-client.key --storage-backend etcd3',
    `--enable-admission-plugins ${ADMISSION_PLUGINS}`,
    `--admission-control-config-file ${kubernetes}/adm-control/admission-control.yaml`,
    `--external-hostname ${c.externalName} --token-auth-file ${kubernetes}/tokens/tokens.csv`,
    `--enable-bootstrap-token-auth --service-account-key-file ${kubernetes}/service-account-key/sa.key`,
    '--service-cluster-ip-range 10.96.0.0/16 --service-node-port-range 30000-32767 --allow-privileged',
    '--audit-log-maxage 30 --audit-log-maxbackup 3 --audit-log-maxsize 100',
    '--audit-log-path /var/log/kubernetes/audit/audit.log',
    `--tls-cert-file ${kubernetes}/tls/apiserver-tls.crt --tls-cipher-suites ${CIPHER_SUITES}`,
    `--tls-private-key-file ${kubernetes}/tls/apiserver-tls.key`,
    `--proxy-client-cert-file ${PKI}/front-proxy/client/apiserver-proxy-client.crt`,
    `--proxy-client-key-file ${PKI}/front-proxy/client/apiserver-proxy-client.key`,
    `--client-ca-file ${PKI}/ca/ca.crt --kubelet-client-certificate ${kubernetes}/kubelet/kubelet-client.crt`,
    `--kubelet-client-key ${kubernetes}/kubelet/kubelet-client.key`,
    !options.authorizationConfigFile &&
      `--authorization-mode ${options.authorizationWebhook ? 'Node,RBAC,Webhook' : 'Node,RBAC'}`,
    c.provider !== 'bringyourown' &&
      c.provider !== 'edge' &&
      `--kubelet-certificate-authority ${PKI}/ca/ca.crt`,
    `--requestheader-client-ca-file ${PKI}/front-proxy/ca/ca.crt`,
    '--requestheader-allowed-names apiserver-aggregator --requestheader-extra-headers-prefix X-Remote-Extra-',
    '--requestheader-group-headers X-Remote-Group --requestheader-username-headers X-Remote-User',
    '--endpoint-reconciler-type none --profiling=false',
    (audit.enabled || backend) && `--audit-policy-file ${kubernetes}/audit/policy.yaml`,
    backend && `--audit-webhook-config-file ${kubernetes}/audit/webhook/webhook.yaml`,
    `--service-account-issuer ${url}`,
    `--service-account-signing-key-file ${kubernetes}/service-account-key/sa.key`,
    `--api-audiences ${c.konnectivity ? `${url},system:konnectivity-server` : url}`,
    `--kubelet-preferred-address-types ${addressTypes(c)}`,
    options.inTreeCloudProvider &&
      c.provider in CLOUD_FLAGS &&
      `--cloud-provider ${CLOUD_FLAGS[c.provider]} --cloud-config ${kubernetes}/cloud/config`,
    c.authenticationConfig &&
      `--authentication-config ${kubernetes}/authentication-config/authentication-configuration.yaml`,
    options.dynamicResourceAllocation && '--runtime-config=resource.k8s.io/v1beta1=true',
    featureGates(c) !== '' && `--feature-gates ${featureGates(c)}`,
    c.konnectivity &&
      `--egress-selector-config-file ${kubernetes}/konnectivity/egress-selector-configuration.yaml`,
    options.encryption &&
      `--encryption-provider-config ${kubernetes}/encryption-configuration/encryption-configuration.yaml`,
    options.authorizationWebhook &&
      `--authorization-webhook-config-file ${kubernetes}/authorization-webhook.yaml --authorization-webhook-version v1`,
    options.authorizationConfigFile &&
      `--authorization-config ${kubernetes}/authorization-configs/authorization.yaml`,
    backend?.auditWebhookInitialBackoff &&
      `--audit-webhook-initial-backoff ${backend.auditWebhookInitialBackoff}`,
  ];
  return flags.flatMap((words) => (words ? words.split(' ') : []));
}

function addressTypes(c: Complete): string {
  if (c.provider === 'gcp') return 'InternalIP';
  return c.konnectivity ? 'InternalIP,ExternalIP' : 'ExternalIP,InternalIP';
}

function featureGates(c: Complete): string {
  const minor = Number(c.version.split('.')[1]);
  return [
    ...(c.authenticationConfig ? ['StructuredAuthenticationConfiguration=true'] : []),
    ...(c.options.dynamicResourceAllocation ? ['DynamicResourceAllocation=true'] : []),
    ...(minor >= 31 && minor <= 34
      ? ['StrictCostEnforcementForVAP=true', 'StrictCostEnforcementForWebhooks=true']
      : []),
  ].join(',');
}

function renderMounts(c: Complete, audit: AuditLogging): VolumeMount[] {
  const { options } = c;
  return present([
    mount('apiserver-tls', '/etc/kubernetes/tls'),
    mount('tokens', '/etc/kubernetes/tokens'),
    mount('kubelet-client-certificates', '/etc/kubernetes/kubelet'),
    mount('ca', `${PKI}/ca`),
    mount('ca-bundle', `${PKI}/ca-bundle`),
    mount('service-account-key', '/etc/kubernetes/service-account-key'),
    mount('cloud-config', '/etc/kubernetes/cloud'),
    mount('apiserver-etcd-client-certificate', '/etc/etcd/pki/client'),
    mount('apiserver-proxy-client-certificate', `${PKI}/front-proxy/client`),
    mount('front-proxy-ca', `${PKI}/front-proxy/ca`),
    mount('audit-config', '/etc/kubernetes/audit'),
    { name: 'audit-log', mountPath: '/var/log/kubernetes/audit' },
    mount('adm-control', '/etc/kubernetes/adm-control'),
    c.konnectivity && { name: 'konnectivity-uds', mountPath: '/etc/kubernetes/konnectivity-server' },
    c.konnectivity && mount('kube-apiserver-egress', '/etc/kubernetes/konnectivity'),
    options.encryption &&
      mount('apiserver-encryption-configuration', '/etc/kubernetes/encryption-configuration'),
    audit.webhookBackend && mount('audit-webhook-backend', '/etc/kubernetes/audit/webhook'),
    options.authorizationWebhook && {
      ...mount('authorization-webhook', '/etc/kubernetes/authorization-webhook.yaml'),
      subPath: 'webhook.yaml',
    },
    options.authorizationConfigFile &&
      mount('authorization-configuration', '/etc/kubernetes/authorization-configs'),
    c.authenticationConfig && mount('authentication-configuration', '/etc/kubernetes/authentication-config'),
  ]);
}

function present<T>(items: (T | false | null | undefined)[]): T[] {
  return items.flatMap((item) => (item === false || item === null || item === undefined ? [] : [item]));
}

function secret(name: string, secretName = name): Volume {
  return { name, secret: { secretName } };
}

function secretFile(name: string, secretName: string, file: string): Volume {
  return { name, secret: { secretName, items: [{ key: file, path: file }] } };
}

function configMap(name: string): Volume {
  return { name, configMap: { name } };
}

export function renderVolumes(c: Complete, audit: AuditLogging): Volume[] {
  const { options } = c;
  const backend = audit.webhookBackend;
  const authentication = 'authentication-configuration';
  return present([
    secret('apiserver-tls'),
    secret('tokens'),
    secret('kubelet-client-certificates'),
    secretFile('ca', 'ca', 'ca.crt'),
    configMap('ca-bundle'),
    secret('service-account-key'),
    secret('cloud-config'),
    secret('apiserver-etcd-client-certificate'),
    secret('apiserver-proxy-client-certificate'),
    secret('front-proxy-ca'),
    { name: 'audit-config', configMap: { name: 'audit-config', optional: false } },
    { name: 'audit-log', emptyDir: {} },
    configMap('adm-control'),
    c.konnectivity && withMode(secret('konnectivity-kubeconfig')),
    c.konnectivity && withMode(secret('konnectivityproxy-tls')),
    c.konnectivity && { name: 'konnectivity-uds', emptyDir: {} },
    c.konnectivity && withMode(configMap('kube-apiserver-egress')),
    !c.konnectivity && secret('openvpn-client-certificates'),
    !c.konnectivity && secret('kubeletdnatcontroller-kubeconfig'),
    options.encryption && secret('apiserver-encryption-configuration'),
    audit.enabled && secret('audit-logs-fluentbit'),
    backend && secret('audit-webhook-backend', backend.auditWebhookConfig.name),
    options.authorizationWebhook && secret('authorization-webhook', 'authorization-webhook-config'),
    options.authorizationConfigFile && secret('authorization-configuration', 'authorization-config'),
    c.authenticationConfig &&
      secretFile(authentication, `apiserver-${authentication}`, `${authentication}.yaml`),
  ]);
}

/** The few volumes on which KKP sets the mode itself; on the others the API's default does. */
function withMode(volume: Volume): Volume {
  const source = volume.secret ?? volume.configMap;
  if (source !== undefined) source.defaultMode = 0o644;
  return volume;
}

export function renderKonnectivity(c: Complete): Container {
  return {
    name: 'konnectivity-server',
    image: image(c, 'registry.k8s.io', 'kas-network-proxy/proxy-server:v0.35.0'),
    imagePullPolicy: 'IfNotPresent',
    command: ['/proxy-server'],
    args: [
      '--logtostderr=true',
      '-v=3',
      `--cluster-key=${PKI}/konnectivityproxy-tls.key`,
      `--cluster-cert=${PKI}/konnectivityproxy-tls.crt`,
      '--uds-name=/etc/kubernetes/konnectivity-server/konnectivity-server.socket',
      `--server-count=${c.replicas}`,
      '--mode=grpc',
      '--agent-port=8132',
      '--health-port=8134',
    ],
    ports: [
      { containerPort: 8132, name: 'agentport', protocol: 'TCP' },
      { containerPort: 8134, name: 'healthport', protocol: 'TCP' },
    ],
    livenessProbe: {
      failureThreshold: 3,
      httpGet: { path: '/healthz', port: 8134, scheme: 'HTTP' },
      initialDelaySeconds: 15,
      periodSeconds: 10,
      successThreshold: 1,
      timeoutSeconds: 15,
    },
    resources: { requests: { cpu: '10m', memory: '10Mi' }, limits: { cpu: '2', memory: '200Mi' } },
    volumeMounts: [
      { name: 'konnectivity-uds', mountPath: '/etc/kubernetes/konnectivity-server' },
      mount('konnectivity-kubeconfig', '/etc/kubernetes/kubeconfig'),
      mount('konnectivityproxy-tls', `${PKI}/`),
    ],
  };
}

export function renderOpenvpnClient(c: Complete): Container {
  return {
    name: 'openvpn-client',
    image: image(c, 'quay.io', 'kubermatic/openvpn:v2.5.2-r0'),
    command: ['/usr/sbin/openvpn'],
    args: ['--client', '--proto', 'tcp', '--remote', `openvpn-server.${c.namespace}.svc`, '1194'],
    securityContext: { privileged: true },
    resources: { requests: { cpu: '5m', memory: '5Mi' }, limits: { cpu: '1', memory: '32Mi' } },
    volumeMounts: [mount('openvpn-client-certificates', '/etc/openvpn/pki/client')],
  };
}

export function renderDnatController(c: Complete): Container {
  return {
    name: 'dnat-controller',
    image: image(c, 'quay.io', 'kubermatic/kubeletdnat-controller:v2.31.1'),
    command: ['/usr/local/bin/kubeletdnat-controller'],
    args: ['-node-access-network', '10.254.0.0/16', '-master', `https://127.0.0.1:${c.port}`],
    securityContext: { capabilities: { add: ['NET_ADMIN'] }, runAsUser: 0 },
    resources: { requests: { cpu: '5m', memory: '16Mi' }, limits: { cpu: '100m', memory: '512Mi' } },
    volumeMounts: [mount('kubeletdnatcontroller-kubeconfig', '/etc/kubernetes/kubeconfig')],
  };
}
