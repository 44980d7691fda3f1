/** Numbers and durations as kube-apiserver's flags read them (Go's strconv and time). NaN stands for what Go refuses. */

const INTEGER = /^([+-]?)(0[xX](?:_?[\da-fA-F])+|0[bB](?:_?[01])+|0[oO]?(?:_?[0-7])+|0|[1-9](?:_?\d)*)$/;

/** strconv.ParseInt(text, 0, 64), but for its range. */
export function parseGoInteger(text: string): number {
  const [, sign, digits] = INTEGER.exec(text) ?? [];
  if (digits === undefined) return Number.NaN;
  const plain = digits.replaceAll('_', '');
  const amount = Number(/^0\d/.test(plain) ? `0o${plain.slice(1)}` : plain);
  return sign === '-' ? -amount : amount;
}

/** strconv.ParseBool; false for what Go refuses. */
export const isGoTrue = (text: string): boolean => ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text);

const UNITS_MS: ReadonlyMap<string, number> = new Map([
  ['ns', 1e-6],
  ['us', 1e-3],
  ['µs', 1e-3],
  ['μs', 1e-3],
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
]);

/** time.ParseDuration, in milliseconds. */
export function parseGoDurationMs(text: string): number {
  const [, sign, rest = ''] = /^([+-]?)(.*)$/s.exec(text) ?? [];
  if (rest === '0') return 0;
  if (!/^(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.test(rest)) return Number.NaN;
  let totalMs = 0;
  for (const [, amount, unit = ''] of rest.matchAll(/([\d.]+)([a-zµμ]+)/g))
    totalMs += Number(amount) * (UNITS_MS.get(unit) ?? Number.NaN);
  return sign === '-' ? -totalMs : totalMs;
}
