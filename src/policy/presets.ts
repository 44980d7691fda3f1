/**
 * Ready-made policies. `metadata`, `recommended` and `minimal` log what KKP's presets of these names log (its `auditLogging.policyPreset`), in
 * words of our own; `cis` is ours and meets CIS 3.2.1 and 3.2.2. The first line names the preset, as KKP's own texts do. docs/policy.md
 * explains them rule by rule.
 */

const METADATA = `# policyPreset: metadata
# Every request, without bodies: who did what, when, and with which result.
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
  - level: Metadata
`;

/** Rule 1 of recommended and minimal: bodies of changes to what runs and to what manages it. */
const CHANGES = `  # Changes to what runs in the cluster and to the machines below it, with what was sent and what came of it.
  - level: RequestResponse
    verbs: ["create", "delete", "update", "patch"]
    resources:
      - group: ""
        resources: ["pods"]
      - group: "apps"
        resources: ["deployments", "statefulsets", "daemonsets", "replicasets"]
      - group: "cluster.k8s.io"
        resources: ["machines", "machinesets", "machinedeployments"]
      - group: "templates.gatekeeper.sh"
      - group: ""
        resources: ["secrets"]
        resourceNames: ["usersshkeys"]
`;

const INTO_PODS = `    resources:
      - group: ""
        resources: ["pods/exec", "pods/portforward", "pods/proxy", "services/proxy"]
`;

const RECOMMENDED = `# policyPreset: recommended
# Bodies of the changes that matter most, metadata of everything else.
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages:
  - "RequestReceived"
rules:
${CHANGES}  # Ways into a running pod or service.
  - level: RequestResponse
${INTO_PODS}  # Whatever is left.
  - level: Metadata
    omitStages:
      - "RequestReceived"
`;

const MINIMAL = `# policyPreset: minimal
# Changes and ways in only: requests that no rule names are not logged.
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages:
  - "RequestReceived"
rules:
${CHANGES}  # Ways into a running pod or service.
  - level: Request
${INTO_PODS}  # Reading logs, and anything about secrets and settings, without their contents.
  - level: Metadata
    resources:
      - group: ""
        resources: ["pods/log"]
      - group: ""
        resources: ["secrets", "configmaps"]
`;

const CIS = `# policyPreset: cis
# Meets CIS Kubernetes Benchmark 3.2.1 (a policy exists) and 3.2.2 (it covers the key security concerns) with little noise.
apiVersion: audit.k8s.io/v1
kind: Policy
# One line a request: the answer's, which has its result.
omitStages:
  - RequestReceived
# managedFields are most of many bodies and say nothing that the audit log doesn't.
omitManagedFields: true
rules:
  # 1. Secrets, settings and tokens: every access by everybody, never their contents. First, so that no rule below can hide one.
  - level: Metadata
    resources:
      - group: ""
        resources: ["secrets", "configmaps", "serviceaccounts/token"]
      - group: authentication.k8s.io
        resources: ["tokenreviews"]
  # 2. Ways into pods, services and nodes, and what pods have written. The command and the target stand in the request's URI, so metadata is enough.
  - level: Metadata
    resources:
      - group: ""
        resources:
          - pods/exec
          - pods/attach
          - pods/portforward
          - pods/proxy
          - pods/ephemeralcontainers
          - pods/log
          - services/proxy
          - nodes/proxy
  # 3. Who may do what, and what is allowed in: changes with their contents.
  - level: Request
    verbs: ["create", "update", "patch", "delete", "deletecollection"]
    resources:
      - group: rbac.authorization.k8s.io
      - group: admissionregistration.k8s.io
      - group: certificates.k8s.io
      - group: policy
  # 4. Heartbeats and elections: a line every few seconds from every node and controller.
  - level: None
    resources:
      - group: coordination.k8s.io
        resources: ["leases"]
    verbs: ["get", "list", "watch", "create", "update", "patch"]
  # 5. Events are a log of their own; deleting them is logged further down.
  - level: None
    resources:
      - group: ""
        resources: ["events"]
      - group: events.k8s.io
        resources: ["events"]
    verbs: ["get", "list", "watch", "create", "update", "patch"]
  # 6. Status that nodes and controllers keep writing.
  - level: None
    userGroups: ["system:nodes", "system:serviceaccounts:kube-system"]
    verbs: ["update", "patch"]
    resources:
      - group: ""
        resources: ["nodes/status", "pods/status"]
      - group: apps
        resources: ["*/status"]
  # 7. What the control plane reads all the time.
  - level: None
    users: ["system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy", "system:apiserver"]
    verbs: ["get", "list", "watch"]
  # 8. The same for nodes and for the controllers in kube-system.
  - level: None
    userGroups: ["system:nodes", "system:serviceaccounts:kube-system"]
    verbs: ["get", "list", "watch"]
  # 9. Probes and discovery.
  - level: None
    verbs: ["get"]
    nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/version", "/metrics", "/openapi/*", "/api", "/api/*", "/apis", "/apis/*"]
  # 10. Changes to what runs, with their contents.
  - level: Request
    verbs: ["create", "update", "patch", "delete", "deletecollection"]
    resources:
      - group: ""
        resources: ["pods", "services", "serviceaccounts", "namespaces", "nodes", "persistentvolumes"]
      - group: apps
      - group: batch
      - group: networking.k8s.io
  # 11. Whatever is left: reads by people and workloads, changes to all other resources, unknown paths.
  - level: Metadata
`;

/** By name: the text, ready for `policy.yaml`. */
export const PRESETS: ReadonlyMap<string, string> = new Map([
  ['metadata', METADATA],
  ['recommended', RECOMMENDED],
  ['minimal', MINIMAL],
  ['cis', CIS],
]);

/** The preset that a text says it is, in its first comment. */
export function namedPreset(text: string): string | undefined {
  return /^\ufeff?#[ \t]*policyPreset:[ \t]*(\S+)[ \t]*\r?$/m.exec(text.slice(0, 200))?.[1];
}
