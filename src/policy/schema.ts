/** The fields of `audit.k8s.io/v1` Policy and of the metadata that may come with it, as kube-apiserver's types have them. */
import type { Schema } from './decode.ts';

const string: Schema = { type: 'string' };
const boolean: Schema = { type: 'boolean' };
const optionalBoolean: Schema = { type: 'optional-boolean' };
const integer: Schema = { type: 'integer' };
const time: Schema = { type: 'time' };
const strings: Schema = { type: 'list', items: string, what: 'strings' };
const stringMap: Schema = { type: 'map', values: string };

function struct(what: string, fields: Record<string, Schema>): Schema {
  return { type: 'struct', fields: new Map(Object.entries(fields)), what };
}

function list(what: string, items: Schema): Schema {
  return { type: 'list', items, what };
}

const ownerReference = struct('an owner', {
  apiVersion: string,
  kind: string,
  name: string,
  uid: string,
  controller: optionalBoolean,
  blockOwnerDeletion: optionalBoolean,
});

const managedFields = struct('managed fields', {
  manager: string,
  operation: string,
  apiVersion: string,
  time,
  fieldsType: string,
  fieldsV1: { type: 'anything' },
  subresource: string,
});

const metadata = struct('metadata', {
  name: string,
  generateName: string,
  namespace: string,
  selfLink: string,
  uid: string,
  resourceVersion: string,
  generation: integer,
  creationTimestamp: time,
  deletionTimestamp: time,
  deletionGracePeriodSeconds: integer,
  labels: stringMap,
  annotations: stringMap,
  ownerReferences: list('owners', ownerReference),
  finalizers: strings,
  managedFields: list('managed fields', managedFields),
});

const groupResources = struct('a group and its resources', {
  group: string,
  resources: strings,
  resourceNames: strings,
});

const rule = struct('a rule', {
  level: string,
  users: strings,
  userGroups: strings,
  verbs: strings,
  resources: list('groups and their resources, such as {group: "", resources: ["pods"]}', groupResources),
  namespaces: strings,
  nonResourceURLs: strings,
  omitStages: strings,
  omitManagedFields: optionalBoolean,
});

export const POLICY_SCHEMA = struct('a Policy', {
  kind: string,
  apiVersion: string,
  metadata,
  rules: list('rules', rule),
  omitStages: strings,
  omitManagedFields: boolean,
});
