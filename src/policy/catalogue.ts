/**
 * The resources that Kubernetes 1.33 to 1.36 serve themselves, by group: for telling a slip from a custom resource. Only what nobody else may
 * serve is judged by it, so a resource that a later version adds costs a wrong note at worst.
 */
const RESOURCES: ReadonlyMap<string, string> = new Map([
  [
    '',
    'bindings componentstatuses configmaps endpoints events limitranges namespaces nodes persistentvolumeclaims persistentvolumes pods podtemplates replicationcontrollers resourcequotas secrets serviceaccounts services',
  ],
  [
    'admissionregistration.k8s.io',
    'mutatingadmissionpolicies mutatingadmissionpolicybindings mutatingwebhookconfigurations validatingadmissionpolicies validatingadmissionpolicybindings validatingwebhookconfigurations',
  ],
  ['apiextensions.k8s.io', 'customresourcedefinitions'],
  ['apiregistration.k8s.io', 'apiservices'],
  ['apps', 'controllerrevisions daemonsets deployments replicasets statefulsets'],
  ['authentication.k8s.io', 'selfsubjectreviews tokenreviews'],
  [
    'authorization.k8s.io',
    'localsubjectaccessreviews selfsubjectaccessreviews selfsubjectrulesreviews subjectaccessreviews',
  ],
  ['autoscaling', 'horizontalpodautoscalers'],
  ['batch', 'cronjobs jobs'],
  ['certificates.k8s.io', 'certificatesigningrequests clustertrustbundles podcertificaterequests'],
  ['coordination.k8s.io', 'leasecandidates leases'],
  ['discovery.k8s.io', 'endpointslices'],
  ['events.k8s.io', 'events'],
  ['flowcontrol.apiserver.k8s.io', 'flowschemas prioritylevelconfigurations'],
  ['metrics.k8s.io', 'nodes pods'],
  ['networking.k8s.io', 'ingressclasses ingresses ipaddresses networkpolicies servicecidrs'],
  ['node.k8s.io', 'runtimeclasses'],
  ['policy', 'poddisruptionbudgets'],
  ['rbac.authorization.k8s.io', 'clusterrolebindings clusterroles rolebindings roles'],
  ['scheduling.k8s.io', 'podgroups priorityclasses workloads'],
  [
    'storage.k8s.io',
    'csidrivers csinodes csistoragecapacities storageclasses volumeattachments volumeattributesclasses',
  ],
]);
const SETS: ReadonlyMap<string, ReadonlySet<string>> = new Map(
  [...RESOURCES].map(([group, names]) => [group, new Set(names.split(' '))]),
);

/** Verbs that a request can have: of resources, and the HTTP methods of paths. */
export const VERBS: readonly string[] = [
  'get',
  'list',
  'watch',
  'create',
  'update',
  'patch',
  'delete',
  'deletecollection',
  'proxy',
  'post',
  'put',
  'head',
  'options',
  'connect',
  'trace',
];

/** @returns undefined where the group is not one of Kubernetes' own */
export function resourcesOf(group: string): ReadonlySet<string> | undefined {
  return SETS.get(group);
}

/** Groups of Kubernetes' own that serve a resource of that name. */
export function groupsOf(resource: string): readonly string[] {
  return [...SETS].filter(([, names]) => names.has(resource)).map(([group]) => group);
}
