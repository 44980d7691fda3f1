/** A TCP proxy on loopback, whose connections a test can cut: the network between a client and a real kube-apiserver. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { relay } from './relay.ts';

export interface Cut {
  readonly port: number;
  /** Ends all connections and lets no new ones through. */
  cut(): void;
  /** Lets connections through again. */
  mend(): void;
  stop(): Promise<void>;
}

/** @param targetPort of 127.0.0.1 */
export async function startCut(targetPort: number): Promise<Cut> {
  const sockets = new Set<Socket>();
  let open = true;
  const server = createServer((socket) => {
    if (!open) {
      socket.destroy();
      return;
    }
    const target = connect(targetPort, '127.0.0.1');
    relay(socket, target, sockets);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => {
    open = false;
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    cut,
    mend() {
      open = true;
    },
    async stop() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
