/** Counter-examples that the differential tests have found and shrunk, and cases worth keeping for good. */
const HEAD = 'apiVersion: audit.k8s.io/v1\nkind: Policy\n';

export const REGRESSIONS: readonly { readonly name: string; readonly text: string }[] = [
  { name: 'any group is of 1.36', text: `${HEAD}rules:\n- level: None\n  resources:\n  - group: "*"\n` },
];
