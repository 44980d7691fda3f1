/**
 * Remembers the last few answers of a function, by the identity of what it was given: a decision asks the same of one container several times,
 * and objects and lists are never changed in place. A WeakMap would do too, but costs the garbage collector more than is saved.
 * @param compute a function of its arguments alone
 */
export function rememberLast<Given extends readonly unknown[], Answer>(
  compute: (...given: Given) => Answer,
): (...given: Given) => Answer {
  const known: { readonly given: Given; readonly answer: Answer }[] = [];
  let oldest = 0;
  return (...given) => {
    for (const entry of known) if (isSame(entry.given, given)) return entry.answer;
    const answer = compute(...given);
    known[oldest] = { given, answer };
    oldest = (oldest + 1) % SIZE;
    return answer;
  };
}

/** More containers than one decision has to do with at a time. */
const SIZE = 8;

function isSame(left: readonly unknown[], right: readonly unknown[]): boolean {
  for (let index = 0; index < right.length; index += 1) if (left[index] !== right[index]) return false;
  return true;
}
