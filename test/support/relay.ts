/** Passes bytes on in both directions between two connections; where one ends, so does the other. */
import type { Socket } from 'node:net';

/** @param open holds both for as long as they are open */
export function relay(client: Socket, target: Socket, open: Set<Socket>): void {
  for (const [from, to] of [
    [client, target],
    [target, client],
  ] as const) {
    open.add(from);
    from
      .on('error', () => to.destroy())
      .on('close', () => {
        open.delete(from);
        to.destroySoon(); // what has arrived is still passed on
      });
    from.pipe(to);
  }
}
