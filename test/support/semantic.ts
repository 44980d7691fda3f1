/**
 * Equality of two objects of the Kubernetes API as Go's semantic DeepEqual has it: the order of lists counts, an empty map or list is the same
 * as none, quantities are compared by value.
 */

/** Fields that are maps or plain structs in Go's types: `{}` is the same as no field. An empty struct behind a pointer (`emptyDir: {}`) is not. */
const EMPTY_IS_ABSENT = new Set([
  'annotations',
  'data',
  'labels',
  'limits',
  'matchLabels',
  'nodeSelector',
  'requests',
  'resources',
  'status',
  'strategy',
]);
const QUANTITIES = new Set(['limits', 'requests']);

/** Lists the paths at which the two differ; none where they are semantically equal. */
export function semanticDifferences(a: unknown, b: unknown): string[] {
  return [...compare(a, b, [])];
}

function* compare(a: unknown, b: unknown, path: readonly string[]): Generator<string> {
  const key = path.at(-1) ?? '';
  const left = isAbsent(a, key) ? undefined : a;
  const right = isAbsent(b, key) ? undefined : b;
  if (Array.isArray(left) && Array.isArray(right)) {
    for (let i = 0; i < Math.max(left.length, right.length); i++)
      yield* compare(left[i], right[i], [...path, String(i)]);
  } else if (isObject(left) && isObject(right)) {
    for (const name of new Set([...Object.keys(left), ...Object.keys(right)]))
      yield* compare(ownValue(left, name), ownValue(right, name), [...path, name]);
  } else if (!isSame(left, right, path)) {
    yield path.join('.');
  }
}

function isAbsent(value: unknown, key: string): boolean {
  if (value === undefined || value === null) return true;
  if (key === 'value' && value === '') return true; // of an environment variable
  if (Array.isArray(value)) return value.length === 0;
  return (
    isObject(value) && EMPTY_IS_ABSENT.has(key) && Object.values(value).every((item) => item === undefined)
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function ownValue(object: Record<string, unknown>, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

function isSame(a: unknown, b: unknown, path: readonly string[]): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  const isQuantity = QUANTITIES.has(path.at(-2) ?? '') || path.at(-1) === 'sizeLimit';
  return isQuantity && parseQuantity(String(a)) === parseQuantity(String(b));
}

const SUFFIXES: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** @returns NaN, which equals nothing, for what is no quantity */
function parseQuantity(text: string): number {
  const [, digits, suffix] = /^([+-]?[\d.]+(?:[eE][+-]?\d+)?)([a-zA-Z]*)$/.exec(text) ?? [];
  const factor = SUFFIXES[suffix ?? ''] ?? Number.NaN;
  // Dividing rounds as the literal would: 35m is the same number as 0.035.
  return factor < 1 ? Number(digits) / Math.round(1 / factor) : Number(digits) * factor;
}
