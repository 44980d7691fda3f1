/**
 * Checks that an object has the shape of a Deployment or Pod as far as this software reads it. kube-apiserver sends nothing else; whatever
 * does is told so instead of being judged.
 */
import { ReviewError } from './admission.ts';
import type {
  Container,
  Deployment,
  KubernetesObject,
  Pod,
  PodSpec,
  Volume,
  VolumeMount,
} from './kubernetes.ts';

type Check = (value: unknown, path: string) => void;

function fail(path: string, expected: string): never {
  throw new ReviewError('REVIEW_INVALID', `request.object${path}: expected ${expected}`);
}

const optional =
  (check: Check): Check =>
  (value, path) => {
    if (value !== undefined && value !== null) check(value, path);
  };
const text: Check = (value, path) => {
  if (typeof value !== 'string') fail(path, 'a string');
};
const list =
  (check: Check): Check =>
  (value, path) => {
    if (!Array.isArray(value)) fail(path, 'a list');
    for (let index = 0; index < value.length; index += 1) check(value[index], `${path}[${index}]`);
  };
const record =
  (checks: Readonly<Record<string, Check>>): Check =>
  (value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(path, 'an object');
    for (const key in checks) checks[key]?.((value as Record<string, unknown>)[key], `${path}.${key}`);
  };
const map =
  (check: Check): Check =>
  (value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(path, 'an object');
    for (const [key, item] of Object.entries(value)) check(item, `${path}[${JSON.stringify(key)}]`);
  };

const metadata = record({
  name: optional(text),
  namespace: optional(text),
  labels: optional(map(text)),
  annotations: optional(map(text)),
});
const items = optional(list(record({ key: text, path: text })));
const volumeMount = record({
  name: text,
  mountPath: text,
  subPath: optional(text),
  subPathExpr: optional(text),
});
const container = record({
  name: text,
  image: optional(text),
  command: optional(list(text)),
  args: optional(list(text)),
  env: optional(list(record({ name: text, value: optional(text) }))),
  envFrom: optional(list(record({}))),
  volumeMounts: optional(list(volumeMount)),
  resources: optional(record({ limits: optional(record({})), requests: optional(record({})) })),
  workingDir: optional(text),
});
const sourceOf = record({ name: optional(text), items });
const volume = record({
  name: text,
  configMap: optional(sourceOf),
  secret: optional(record({ secretName: optional(text), items })),
  projected: optional(
    record({
      sources: optional(list(record({ configMap: optional(sourceOf), secret: optional(sourceOf) }))),
    }),
  ),
});
const podSpec = record({
  containers: optional(list(container)),
  initContainers: optional(list(container)),
  volumes: optional(list(volume)),
});
const checkDeployment = record({
  metadata: optional(metadata),
  spec: optional(
    record({ template: optional(record({ metadata: optional(metadata), spec: optional(podSpec) })) }),
  ),
});
const checkPod = record({ metadata: optional(metadata), spec: optional(podSpec) });

/**
 * @param object of the request; undefined where it has none
 * @throws {ReviewError} naming the field and what is expected there
 */
export function readDeployment(object: KubernetesObject | undefined): Deployment {
  if (object === undefined)
    throw new ReviewError('REVIEW_INVALID', 'request.object: expected a Deployment, found none');
  checkDeployment(object, '');
  return object as Deployment;
}

/** As `readDeployment`, for a Pod. */
export function readPod(object: KubernetesObject | undefined): Pod {
  if (object === undefined)
    throw new ReviewError('REVIEW_INVALID', 'request.object: expected a Pod, found none');
  checkPod(object, '');
  return object as Pod;
}

const passes =
  <T>(check: Check) =>
  (value: unknown): value is T => {
    try {
      check(value, '');
      return true;
    } catch {
      return false;
    }
  };
/** Whether a value has the shape of a volume as far as this software reads it; so the other two. */
export const isVolume = passes<Volume>(volume);
export const isVolumeMount = passes<VolumeMount>(volumeMount);
export const isContainer = passes<Container>(container);

/** The pod spec of a Deployment, empty where there is none. */
export const podSpecOf = (deployment: Deployment | undefined): PodSpec =>
  deployment?.spec?.template?.spec ?? {};
