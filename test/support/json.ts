/**
 * Whether any key in `value`, at any depth, has a backslash.
 *
 * A test that compares with JSON.parse leaves such values out: once V8 has parsed an object with such a key, it may take
 * another key, of which the text begins alike, for it: `{"\\":1}` and then `{"\n":1}` gives the key `\` for both
 * (https://github.com/nodejs/node/issues/63785). No decision hangs on it: no field that is read is written with an escape.
 */
export function hasBackslashKey(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(value).some(([key, inner]) => key.includes('\\') || hasBackslashKey(inner));
}
