/**
 * Stands for a Service: a TCP proxy on loopback that sends new connections to the replicas that are ready, in turn, and leaves open ones alone. What
 * is ready is asked again and again, as kubelet's probe and the endpoints do in seconds.
 */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { request } from 'undici';
import { relay } from './relay.ts';

export interface Backend {
  readonly port: number;
  readonly opsUrl: string;
}

export interface Balancer {
  readonly url: string;
  add(backend: Backend): void;
  remove(backend: Backend): void;
  /** How many backends are ready. */
  readonly ready: number;
  stop(): Promise<void>;
}

const DEFAULT_PROBE_INTERVAL_MS = 100;

/** Whether a server says that it is ready; false where nobody listens. */
export async function isReady(opsUrl: string): Promise<boolean> {
  try {
    const { statusCode, body } = await request(`${opsUrl}/readyz`);
    await body.dump();
    return statusCode === 200;
  } catch {
    return false;
  }
}

export async function startBalancer(probeIntervalMs = DEFAULT_PROBE_INTERVAL_MS): Promise<Balancer> {
  const backends = new Set<Backend>();
  let ready: Backend[] = [];
  let turn = 0;
  const sockets = new Set<Socket>();
  const probe = async () => {
    const all = [...backends];
    const answers = await Promise.all(all.map(({ opsUrl }) => isReady(opsUrl)));
    ready = all.filter((backend, i) => answers[i] && backends.has(backend));
  };
  let probing = Promise.resolve();
  const timer = setInterval(() => {
    probing = probing.then(probe);
  }, probeIntervalMs);
  const join = (socket: Socket, candidates: readonly Backend[]): void => {
    const [backend, ...others] = candidates;
    if (backend === undefined) {
      socket.destroy();
      return;
    }
    const target = connect(backend.port, '127.0.0.1');
    // One that died a moment ago refuses: kube-proxy's next choice is as good as ours.
    target.once('error', () => join(socket, others));
    target.once('connect', () => {
      target.removeAllListeners('error');
      relay(socket, target, sockets);
    });
  };
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    turn += 1;
    const start = ready.length === 0 ? 0 : turn % ready.length;
    join(socket, [...ready.slice(start), ...ready.slice(0, start)]);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    add: (backend) => backends.add(backend),
    remove: (backend) => {
      backends.delete(backend);
      ready = ready.filter((other) => other !== backend);
    },
    get ready() {
      return ready.length;
    },
    async stop() {
      clearInterval(timer);
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await probing;
    },
  };
}
