/**
 * Remembers the answers for the last few objects asked about, by identity: a decision asks the same of one container several times, and objects
 * are never changed in place. A WeakMap would do too, but costs the garbage collector more than is saved.
 * @param compute a function of the object alone
 */
export function rememberLast<K extends object, V>(compute: (key: K) => V): (key: K) => V {
  const keys: (K | undefined)[] = new Array(SIZE).fill(undefined);
  const values: (V | undefined)[] = new Array(SIZE).fill(undefined);
  let oldest = 0;
  return (key) => {
    for (let index = 0; index < SIZE; index += 1) if (keys[index] === key) return values[index] as V;
    const value = compute(key);
    keys[oldest] = key;
    values[oldest] = value;
    oldest = (oldest + 1) % SIZE;
    return value;
  };
}

/** More containers than one decision has to do with at a time. */
const SIZE = 4;
