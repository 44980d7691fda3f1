/**
 * Deployments `apiserver` in the shape in which KKP renders them, with audit logging off and on. Written from the facts of KKP's behaviour,
 * on purpose without a line of src/: it is the oracle that the injector is compared with, and the rendering of the test owner.
 */

import {
  renderApiserver,
  renderDnatController,
  renderInitContainer,
  renderKonnectivity,
  renderOpenvpnClient,
  renderSidecar,
  renderVolumes,
} from './fixture-parts.ts';
import {
  type AuditLogging,
  type Complete,
  type Container,
  complete,
  type Deployment,
  type KkpOptions,
  type PodSpec,
  type Revisions,
} from './fixture-types.ts';

/**
 * Renders the Deployment as KKP does when none is there.
 * @param auditLogging the Cluster's `spec.auditLogging`; undefined for none
 * @param revisions default: every object has resourceVersion 4711
 */
export function renderKkp(
  options: KkpOptions = {},
  auditLogging?: AuditLogging | null,
  revisions: Revisions = () => '4711',
): Deployment {
  return renderKkpInto(undefined, options, auditLogging, revisions);
}

/**
 * Renders the Deployment into the stored one, as KKP does on every pass: containers, volumes and the like are replaced, labels and
 * annotations merged and never pruned, and all other fields kept.
 * @param existing the stored object, which is left as it is; undefined when there is none
 * @param revisions undefined for an owner that writes no such labels
 */
export function renderKkpInto(
  existing: Deployment | undefined,
  options: KkpOptions,
  auditLogging: AuditLogging | null | undefined,
  revisions?: Revisions,
): Deployment {
  const c = complete(options);
  const audit = auditLogging ?? {};
  const old = structuredClone(existing);
  const annotations = old?.metadata.annotations ?? {};
  if (options.updatedByVpa !== undefined) annotations['updated-by-vpa'] = options.updatedByVpa;
  const spec: PodSpec = {
    ...old?.spec.template.spec,
    serviceAccountName: 'etcd-launcher',
    automountServiceAccountToken: true,
    imagePullSecrets: [{ name: 'dockercfg' }],
    dnsPolicy: c.konnectivity ? 'ClusterFirst' : 'None',
    volumes: renderVolumes(c, audit),
    initContainers: [renderInitContainer(c)],
    containers: renderContainers(c, audit, annotations['updated-by-vpa'] ?? ''),
  };
  replace(spec, 'dnsConfig', c.konnectivity ? undefined : renderDnsConfig());
  replace(spec, 'tolerations', options.tolerations);
  if (c.replicas > 1) spec.affinity = renderAffinity();
  const deployment: Deployment = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: {
      ...old?.metadata,
      name: 'apiserver',
      namespace: c.namespace,
      labels: { ...old?.metadata.labels, app: 'apiserver' },
      ...(Object.keys(annotations).length > 0 ? { annotations } : {}),
    },
    spec: {
      strategy: {},
      ...old?.spec,
      replicas: c.replicas,
      revisionHistoryLimit: 2,
      selector: { matchLabels: { app: 'apiserver' } },
      template: {
        ...old?.spec.template,
        metadata: {
          ...old?.spec.template.metadata,
          labels: {
            ...old?.spec.template.metadata.labels,
            app: 'apiserver',
            'app.kubernetes.io/version': c.version,
            cluster: c.cluster,
          },
          annotations: {
            ...old?.spec.template.metadata.annotations,
            'cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes': 'audit-log,konnectivity-uds',
            'kubermatic.k8c.io/last-restart': '',
            'prometheus.io/path': '/metrics',
            'prometheus.io/port': String(c.port),
            'prometheus.io/scrape_with_kube_cert': 'true',
          },
        },
        spec,
      },
    },
    ...(old?.status === undefined ? {} : { status: old.status }),
  };
  return revisions === undefined ? deployment : addRevisionLabels(deployment, revisions);
}

function replace(spec: PodSpec, field: string, value: unknown): void {
  if (value === undefined) delete spec[field];
  else spec[field] = value;
}

/** The names of the Secrets and ConfigMaps without which the Deployment's pods do not start, each once. */
export function relatedObjects(deployment: Deployment): { secrets: string[]; configMaps: string[] } {
  const { volumes, initContainers, containers } = deployment.spec.template.spec;
  const secrets = new Set<string>();
  const configMaps = new Set<string>();
  for (const { secret, configMap } of volumes) {
    if (secret !== undefined) secrets.add(secret.secretName);
    if (configMap !== undefined) configMaps.add(configMap.name);
  }
  for (const { valueFrom } of [...initContainers, ...containers].flatMap(
    (container) => container.env ?? [],
  )) {
    const source = valueFrom as Record<string, { name: string } | undefined> | undefined;
    if (source?.secretKeyRef) secrets.add(source.secretKeyRef.name);
    if (source?.configMapKeyRef) configMaps.add(source.configMapKeyRef.name);
  }
  return { secrets: [...secrets], configMaps: [...configMaps] };
}

/**
 * Gives the template a label for each related object, with its resourceVersion, so that a change rolls the pods.
 * @throws whatever `revisions` throws for an object that is not there
 */
function addRevisionLabels(deployment: Deployment, revisions: Revisions): Deployment {
  const { labels } = deployment.spec.template.metadata;
  const { secrets, configMaps } = relatedObjects(deployment);
  for (const name of secrets) labels[`${name}-secret-revision`] = revisions('secret', name);
  for (const name of configMaps) labels[`${name}-configmap-revision`] = revisions('configmap', name);
  return deployment;
}

function renderContainers(c: Complete, audit: AuditLogging, updatedByVpa: string): Container[] {
  const containers = c.konnectivity
    ? [renderKonnectivity(c)]
    : [renderOpenvpnClient(c), renderDnatController(c)];
  containers.push(renderApiserver(c, audit));
  if (audit.enabled) containers.push(renderSidecar(c, audit));
  // Precedence: a component's own setting, then the VPA's, then the default.
  const recommended = updatedByVpa === '' ? [] : JSON.parse(updatedByVpa);
  for (const container of containers) {
    const found = recommended.find((entry: { name: string }) => entry.name === container.name);
    const own = container.name === 'audit-logs' ? audit.sidecar?.resources : undefined;
    if (own === undefined && found !== undefined) container.resources = found.requires;
  }
  return containers;
}

function renderDnsConfig() {
  return {
    nameservers: ['10.96.0.53'],
    searches: ['kube-system.svc.cluster.local', 'svc.cluster.local', 'cluster.local'],
    options: [{ name: 'ndots', value: '5' }],
  };
}

function renderAffinity() {
  return {
    podAntiAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [
        {
          weight: 100,
          podAffinityTerm: {
            labelSelector: { matchLabels: { app: 'apiserver' } },
            topologyKey: 'kubernetes.io/hostname',
          },
        },
      ],
    },
  };
}
