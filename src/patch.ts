/**
 * JSON Patch (RFC 6902) between an object and its changed copy. The copy shares with the original all that did not change, so that whole
 * branches are passed over by reference, and only what was copied is looked at.
 */
import jsonpatch, { type Operation } from 'fast-json-patch';

const escapeKey = (key: string): string =>
  /[~/]/.test(key) ? key.replaceAll('~', '~0').replaceAll('/', '~1') : key;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * @param before stays as it is
 * @param after a copy of `before` that shares what did not change (equal but unshared parts give no operation either)
 * @returns operations that make `after` of `before`, in order
 */
export function buildPatch(before: unknown, after: unknown): Operation[] {
  const operations: Operation[] = [];
  compareValues(before, after, '', operations);
  return operations;
}

function compareValues(before: unknown, after: unknown, path: string, operations: Operation[]): void {
  if (before === after) return;
  if (Array.isArray(before) && Array.isArray(after)) compareLists(before, after, path, operations);
  else if (isObject(before) && isObject(after)) compareObjects(before, after, path, operations);
  else operations.push({ op: 'replace', path, value: after });
}

function compareObjects(
  before: Record<string, unknown>,
  after: Record<string, unknown>,
  path: string,
  operations: Operation[],
): void {
  for (const key of Object.keys(before)) {
    if (before[key] === after[key]) continue;
    if (!Object.hasOwn(after, key) || after[key] === undefined)
      operations.push({ op: 'remove', path: `${path}/${escapeKey(key)}` });
    else compareValues(before[key], after[key], `${path}/${escapeKey(key)}`, operations);
  }
  for (const key of Object.keys(after)) {
    if (Object.hasOwn(before, key) || after[key] === undefined) continue;
    operations.push({ op: 'add', path: `${path}/${escapeKey(key)}`, value: after[key] });
  }
}

/** Lists are aligned by what is shared or has the same name; where that fails, they are compared in full. */
function compareLists(
  before: readonly unknown[],
  after: readonly unknown[],
  path: string,
  operations: Operation[],
): void {
  const [shorter, longer] = before.length < after.length ? [before, after] : [after, before];
  // Nearly always all but one or two elements are shared, at the same distance from the start or from the end.
  let start = 0;
  while (start < shorter.length && shorter[start] === longer[start]) start += 1;
  let tail = 0;
  while (tail < shorter.length - start && shorter.at(-1 - tail) === longer.at(-1 - tail)) tail += 1;
  const extra: number[] = [];
  const pairs: [shorter: number, longer: number][] = [];
  const wanted = shorter.length - tail;
  let next = start;
  for (let index = start; index < longer.length - tail; index += 1) {
    if (next < wanted && isSameItem(shorter[next], longer[index])) {
      pairs.push([next, index]);
      next += 1;
    } else extra.push(index);
  }
  if (next !== wanted) {
    for (const operation of jsonpatch.compare(before as object[], after as object[])) {
      operations.push({ ...operation, path: path + operation.path } as Operation);
    }
    return;
  }
  const grows = longer === after;
  for (const [left, right] of pairs) {
    const index = grows ? left : right;
    compareValues(before[index], after[grows ? right : left], `${path}/${index}`, operations);
  }
  if (grows)
    for (const index of extra) operations.push({ op: 'add', path: `${path}/${index}`, value: after[index] });
  else for (const index of extra.reverse()) operations.push({ op: 'remove', path: `${path}/${index}` });
}

function isSameItem(left: unknown, right: unknown): boolean {
  if (left === right) return true;
  return isObject(left) && isObject(right) && typeof left.name === 'string' && left.name === right.name;
}
