/** Kubernetes' resource quantities, as far as comparing them needs. */

const SUFFIXES: ReadonlyMap<string, number> = new Map([
  ['n', 1e-9],
  ['u', 1e-6],
  ['m', 1e-3],
  ['', 1],
  ['k', 1e3],
  ['M', 1e6],
  ['G', 1e9],
  ['T', 1e12],
  ['P', 1e15],
  ['E', 1e18],
  ['Ki', 2 ** 10],
  ['Mi', 2 ** 20],
  ['Gi', 2 ** 30],
  ['Ti', 2 ** 40],
  ['Pi', 2 ** 50],
  ['Ei', 2 ** 60],
]);

/**
 * @param text such as "60Mi", "50m", "0.5" or "1e3"
 * @returns the amount in bytes or cores, or undefined where it is no quantity
 */
export function parseQuantity(text: string): number | undefined {
  const [, digits, suffix = ''] =
    /^([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)([a-zA-Z]*)$/.exec(text.trim()) ?? [];
  const factor = SUFFIXES.get(suffix);
  if (digits === undefined || factor === undefined) return undefined;
  // Dividing rounds as the literal would: 35m is the same number as 0.035.
  return factor < 1 ? Number(digits) / Math.round(1 / factor) : Number(digits) * factor;
}
