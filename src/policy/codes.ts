/** Every code that a problem can have, with what it says in general. docs/policy.md explains them, held equal by a test. */
export const PROBLEM_CODES = {
  // Errors: kube-apiserver does not start.
  syntax: 'The text is not the YAML or JSON that kube-apiserver reads',
  'not-a-policy': 'The document is empty, or no map',
  'api-version-wrong': 'apiVersion is not audit.k8s.io/v1',
  'kind-wrong': 'kind is not Policy',
  'type-invalid': 'A field has the wrong type',
  'no-rules': 'The policy has no rules',
  'level-missing': 'A rule has no level',
  'level-unknown': 'A level does not exist',
  'stage-unknown': 'A stage does not exist',
  'url-without-slash': 'A non-resource URL does not start with "/"',
  'url-wildcard': 'A non-resource URL has "*" where it may not stand',
  'group-invalid': 'An API group is no name of a group',
  'names-without-resources': 'resourceNames stand without resources',
  'resources-and-urls': 'A rule is about resources and about non-resource URLs',
  // What kube-apiserver reads over.
  'unknown-field': 'A field does not exist, and is read over',
  'duplicate-field': 'A field stands there twice',
  'ignored-text': 'Text behind the first document is never read',
  'any-group': 'The group "*" needs Kubernetes 1.36',
  // Findings about rules.
  'never-reached': 'A rule is never reached',
  'entry-never-reached': 'An entry of a rule is never reached',
  'no-wildcard': 'A "*" stands where it is no wildcard',
  'unknown-verb': 'A verb that no request has',
  'unknown-resource': 'A resource that no request is about',
  'sensitive-bodies': 'Contents of secrets, settings or tokens are logged',
  'managed-fields': 'Bodies are logged with managedFields',
  // Findings about the whole.
  'unlogged-secrets': 'Access to secrets is not logged',
  'unlogged-configmaps': 'Access to configmaps is not logged',
  'unlogged-tokens': 'Requests for tokens, service accounts or certificates are not logged',
  'unlogged-exec': 'exec, attach, port-forward or proxy are not logged',
  'unlogged-rbac': 'Changes to RBAC are not logged',
  'unlogged-workloads': 'Changes to workloads are not logged',
  'unlogged-deletecollection': 'Deletion of whole collections is not logged',
  'no-catch-all': 'Requests that no rule matches are not logged',
  'response-omitted': 'The stage ResponseComplete is left out',
  'request-received': 'Requests are written twice',
  noise: 'What the cluster does all the time is logged',
  'differs-from-preset': 'The policy differs from the preset that it names',
} as const;

export type ProblemCode = keyof typeof PROBLEM_CODES;
