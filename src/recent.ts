/** The last few of something, for what comes several times in a row: one object goes to several hooks, and once a replica. */
export interface Recent<T> {
  /** The newest that matches. */
  find(matches: (item: T) => boolean): T | undefined;
  /** Keeps one more, in the place of the oldest. */
  add(item: T): T;
}

/** More writes than are under way about one cluster at a time. */
const SIZE = 8;

export function keepRecent<T>(): Recent<T> {
  const items: T[] = [];
  return {
    find: (matches) => items.find(matches),
    add(item) {
      if (items.unshift(item) > SIZE) items.pop();
      return item;
    },
  };
}
