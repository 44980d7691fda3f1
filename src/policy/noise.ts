/**
 * Requests that keep coming from the cluster itself, with how often: what a policy that logs them costs. The rates are those of a quiet cluster
 * of Kubernetes' defaults, meant for an order of magnitude.
 */
import { NO_RESOURCE, type RequestAttributes } from './types.ts';

export interface Noise {
  readonly what: string;
  readonly request: RequestAttributes;
  /** Requests a day: for every cluster, and for every node in it. */
  readonly perCluster: number;
  readonly perNode: number;
}

const SECONDS_A_DAY = 86_400;
const NODE = { name: 'system:node:example', groups: ['system:nodes', 'system:authenticated'] };
const MANAGER = { name: 'system:kube-controller-manager', groups: ['system:authenticated'] };
const SCHEDULER = { name: 'system:kube-scheduler', groups: ['system:authenticated'] };
const PROXY = { name: 'system:kube-proxy', groups: ['system:authenticated'] };
const PROBE = { name: 'system:anonymous', groups: ['system:unauthenticated'] };

function request(
  user: { readonly name: string; readonly groups: readonly string[] },
  verb: string,
  apiGroup: string,
  pattern: string,
  namespace: string,
): RequestAttributes {
  const [resource = '', subresource = ''] = pattern.split('/');
  const name = verb === 'watch' || verb === 'list' || verb === 'create' ? '' : 'example';
  return { user, verb, isResource: true, namespace, apiGroup, resource, subresource, name, path: '' };
}

function path(verb: string, url: string): RequestAttributes {
  return {
    user: PROBE,
    verb,
    ...NO_RESOURCE,
    path: url,
  };
}

export const NOISE: readonly Noise[] = [
  {
    what: 'heartbeats of nodes (update leases, every 10 s)',
    request: request(NODE, 'update', 'coordination.k8s.io', 'leases', 'kube-node-lease'),
    perCluster: 0,
    perNode: SECONDS_A_DAY / 10,
  },
  {
    what: 'elections (update leases, every 2 s by each controller that has a leader)',
    request: request(MANAGER, 'update', 'coordination.k8s.io', 'leases', 'kube-system'),
    perCluster: (2 * SECONDS_A_DAY) / 2,
    perNode: 0,
  },
  {
    what: "looking at one's own election (get leases)",
    request: request(SCHEDULER, 'get', 'coordination.k8s.io', 'leases', 'kube-system'),
    perCluster: (2 * SECONDS_A_DAY) / 2,
    perNode: 0,
  },
  {
    what: 'events of controllers (create and patch events)',
    request: request(MANAGER, 'create', '', 'events', 'team'),
    perCluster: 2000,
    perNode: 200,
  },
  {
    what: 'endpoints kept by controllers (update endpoints and endpointslices)',
    request: request(MANAGER, 'update', 'discovery.k8s.io', 'endpointslices', 'team'),
    perCluster: 1000,
    perNode: 0,
  },
  {
    what: 'status of nodes (patch nodes/status, every 5 min)',
    request: request(NODE, 'patch', '', 'nodes/status', ''),
    perCluster: 0,
    perNode: SECONDS_A_DAY / 300,
  },
  {
    what: 'watches of kube-proxy (renewed every 5 to 10 min)',
    request: request(PROXY, 'watch', 'discovery.k8s.io', 'endpointslices', ''),
    perCluster: 0,
    perNode: (3 * SECONDS_A_DAY) / 450,
  },
  {
    what: 'watches of kubelets (renewed every 5 to 10 min)',
    request: request(NODE, 'watch', '', 'pods', ''),
    perCluster: 0,
    perNode: (10 * SECONDS_A_DAY) / 450,
  },
  {
    what: 'watches of controllers (renewed every 5 to 10 min)',
    request: request(MANAGER, 'watch', '', 'pods', ''),
    perCluster: (80 * SECONDS_A_DAY) / 450,
    perNode: 0,
  },
  {
    what: 'probes (get /readyz and /livez, every 10 s)',
    request: path('get', '/readyz'),
    perCluster: (2 * SECONDS_A_DAY) / 10,
    perNode: 0,
  },
];

/** The size of cluster that estimates are for. */
export const ESTIMATE_NODES = 10;
