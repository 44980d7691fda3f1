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

/** Where in a value something is wrong, and what was expected there. */
interface Fault {
  readonly path: string;
  readonly expected: string;
}

/** Paths are put together only for a fault: nearly every object has none. */
type Check = (value: unknown) => Fault | undefined;

const expected = (what: string): Fault => ({ path: '', expected: what });
const below = (place: string, fault: Fault): Fault => ({ ...fault, path: place + fault.path });

const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || value === null ? undefined : check(value);

const text: Check = (value) => (typeof value === 'string' ? undefined : expected('a string'));

const list =
  (check: Check): Check =>
  (value) => {
    if (!Array.isArray(value)) return expected('a list');
    for (let index = 0; index < value.length; index += 1) {
      const fault = check(value[index]);
      if (fault !== undefined) return below(`[${index}]`, fault);
    }
    return undefined;
  };

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const record = (checks: Readonly<Record<string, Check>>): Check => {
  const entries = Object.entries(checks);
  return (value) => {
    if (!isObject(value)) return expected('an object');
    for (const [key, check] of entries) {
      const fault = check(value[key]);
      if (fault !== undefined) return below(`.${key}`, fault);
    }
    return undefined;
  };
};

const map =
  (check: Check): Check =>
  (value) => {
    if (!isObject(value)) return expected('an object');
    for (const key of Object.keys(value)) {
      const fault = check(value[key]);
      if (fault !== undefined) return below(`[${JSON.stringify(key)}]`, fault);
    }
    return undefined;
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
  volumeDevices: optional(list(record({ name: text, devicePath: text }))),
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
  ephemeralContainers: optional(list(container)),
  volumes: optional(list(volume)),
});
const checkDeployment = record({
  metadata: optional(metadata),
  spec: optional(
    record({ template: optional(record({ metadata: optional(metadata), spec: optional(podSpec) })) }),
  ),
});
const checkPod = record({ metadata: optional(metadata), spec: optional(podSpec) });

function read<T>(object: KubernetesObject | undefined, kind: string, check: Check): T {
  if (object === undefined)
    throw new ReviewError('REVIEW_INVALID', `request.object: expected a ${kind}, found none`);
  const fault = check(object);
  if (fault !== undefined)
    throw new ReviewError('REVIEW_INVALID', `request.object${fault.path}: expected ${fault.expected}`);
  return object as T;
}

/**
 * @param object of the request; undefined where it has none
 * @throws {ReviewError} naming the field and what is expected there
 */
export const readDeployment = (object: KubernetesObject | undefined): Deployment =>
  read(object, 'Deployment', checkDeployment);

/** As `readDeployment`, for a Pod. */
export const readPod = (object: KubernetesObject | undefined): Pod => read(object, 'Pod', checkPod);

const passes =
  <T>(check: Check) =>
  (value: unknown): value is T =>
    check(value) === undefined;
/** Whether a value has the shape of a volume as far as this software reads it; so the other two. */
export const isVolume = passes<Volume>(volume);
export const isVolumeMount = passes<VolumeMount>(volumeMount);
export const isContainer = passes<Container>(container);

const ENDED_PHASES = ['Succeeded', 'Failed'];

/** Whether a pod ends, or has ended: what it does not audit is of no more concern. */
export function isEnding(pod: KubernetesObject): boolean {
  const { phase } = (pod as { status?: { phase?: string } }).status ?? {};
  return Boolean(pod.metadata?.deletionTimestamp) || ENDED_PHASES.includes(phase ?? '');
}

/** The pod spec of a Deployment, empty where there is none. */
export const podSpecOf = (deployment: Deployment | undefined): PodSpec =>
  deployment?.spec?.template?.spec ?? {};
