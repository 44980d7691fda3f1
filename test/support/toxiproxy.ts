/** Toxiproxy (https://github.com/Shopify/toxiproxy): a network that is slow, or swallows what is sent, between clients and a server on loopback. */
import { join } from 'node:path';
import { request } from 'undici';
import { ensureBinaries } from './binaries.ts';
import { startChild } from './children.ts';
import { freePort } from './controlplane.ts';
import { until } from './wait.ts';

/** As Toxiproxy's API takes it: latency and jitter in milliseconds, rate in KB/s, a timeout of 0 for "swallowed, and never closed". */
export interface Toxic {
  readonly type: 'latency' | 'bandwidth' | 'timeout' | 'slicer';
  /** Upstream is towards the server; default that. */
  readonly stream?: 'upstream' | 'downstream';
  readonly attributes: Readonly<Record<string, number>>;
}

export interface ToxicProxy {
  /** Of 127.0.0.1, where clients connect. */
  readonly port: number;
  /** Holds for open connections too. */
  addToxic(toxic: Toxic): Promise<void>;
}

export interface Toxiproxy {
  /** A proxy to a port of 127.0.0.1, with those toxics. */
  proxy(targetPort: number, toxics?: readonly Toxic[]): Promise<ToxicProxy>;
  stop(): Promise<void>;
}

/** @param dir for its log */
export async function startToxiproxy(dir: string): Promise<Toxiproxy> {
  const { toxiproxy } = await ensureBinaries(['toxiproxy']);
  const port = await freePort();
  const child = startChild({
    name: 'toxiproxy',
    command: toxiproxy,
    args: ['-host=127.0.0.1', `-port=${port}`],
    logFile: join(dir, 'toxiproxy.log'),
  });
  const post = async (path: string, body: object): Promise<void> => {
    const { statusCode, body: answer } = await request(`http://127.0.0.1:${port}${path}`, {
      method: 'POST',
      body: JSON.stringify(body),
    });
    const text = await answer.text();
    if (statusCode >= 300) throw new Error(`toxiproxy: POST ${path}: ${statusCode} ${text}`);
  };
  await until('toxiproxy to answer', async () => {
    if (child.ended !== undefined) throw new Error(`toxiproxy ended (${child.ended}):\n${child.logTail()}`);
    const answer = await fetch(`http://127.0.0.1:${port}/version`).catch(() => undefined);
    return answer?.ok === true;
  });
  return {
    async proxy(targetPort, toxics = []) {
      const listenPort = await freePort();
      const name = `proxy-${listenPort}`;
      await post('/proxies', {
        name,
        listen: `127.0.0.1:${listenPort}`,
        upstream: `127.0.0.1:${targetPort}`,
        enabled: true,
      });
      const addToxic = ({ type, stream = 'upstream', attributes }: Toxic): Promise<void> =>
        post(`/proxies/${name}/toxics`, { type, stream, attributes });
      for (const toxic of toxics) await addToxic(toxic);
      return { port: listenPort, addToxic };
    },
    stop: () => child.stop(),
  };
}
