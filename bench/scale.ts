/**
 * `node bench/scale.ts`: the server with its controller on a seed of 10,000 user clusters, on one core: time until it is synced, memory at rest,
 * requests to the API server at rest and in a roll-out, and the time from a switch to the nudges. The API server is a stub in a process of its own
 * (bench/scale/stub.ts) that speaks HTTPS, pages, and watches.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Agent, request } from 'undici';
import { issueCa, issueServerCertificate } from '../src/certificates.ts';
import { cpuSeconds, memoryOfTree } from './machine.ts';

const { values: options } = parseArgs({
  options: {
    clusters: { type: 'string', default: '10000' },
    late: { type: 'string', default: '200' },
    'rest-seconds': { type: 'string', default: '120' },
    /** Options of Node itself, such as --node=--max-old-space-size=160. */
    node: { type: 'string', multiple: true },
    verbose: { type: 'boolean', default: false },
  },
});
const CLUSTERS = Number(options.clusters);
const LATE = Number(options.late);
const REST_SECONDS = Number(options['rest-seconds']);
const LIMIT_MS = 120_000;
const CONFIG = 'defaults: { rollout: { maxInFlight: 10, graceSeconds: 0 } }\n';

const dir = mkdtempSync(join(tmpdir(), 'kkp-audit-webhook-scale-'));
const children: ChildProcess[] = [];
const file = (name: string): string => join(dir, name);

interface Stats {
  readonly requests: Record<string, number>;
  readonly nudges: Record<string, number>;
  readonly switchedAtMs: number;
}

async function main(): Promise<void> {
  const validity = { days: 1, now: new Date() };
  const ca = await issueCa(validity);
  const tls = await issueServerCertificate(ca, ['127.0.0.1'], validity);
  writeFileSync(file('key'), tls.key);
  writeFileSync(file('cert'), tls.cert);
  const stub = spawn(
    'taskset',
    [
      '-c',
      '0',
      process.execPath,
      join(import.meta.dirname, 'scale', 'stub.ts'),
      `${CLUSTERS}`,
      `${LATE}`,
      file('key'),
      file('cert'),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  children.push(stub);
  const [port] = (await once(createInterface(stub.stdout), 'line')) as [string];
  const url = `https://127.0.0.1:${port}`;
  const dispatcher = new Agent({ connect: { ca: ca.cert } });
  const ask = async <T>(path: string): Promise<T> =>
    (await (await request(url + path, { dispatcher })).body.json()) as T;

  const cluster = { server: url, 'certificate-authority-data': Buffer.from(ca.cert).toString('base64') };
  writeFileSync(
    file('kubeconfig'),
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'stub', cluster }],
      users: [{ name: 'bench', user: { token: 'none' } }],
      contexts: [{ name: 'stub', context: { cluster: 'stub', user: 'bench' } }],
      'current-context': 'stub',
    }),
  );
  writeFileSync(file('config.yaml'), CONFIG);
  const opsPort = 20_000 + Math.floor(Math.random() * 10_000);
  const main = join(import.meta.dirname, '..', 'src', 'main.ts');
  const startMs = performance.now();
  const server = spawn(
    'taskset',
    [
      '-c',
      '1',
      process.execPath,
      ...(options.node ?? []),
      main,
      'serve',
      '--port=0',
      `--ops-port=${opsPort}`,
      `--kubeconfig=${file('kubeconfig')}`,
      `--config=${file('config.yaml')}`,
    ],
    { stdio: ['ignore', openSync(file('log'), 'w'), 'inherit'] },
  );
  children.push(server);
  const metric = async (name: string): Promise<number> => {
    const { body } = await request(`http://127.0.0.1:${opsPort}/metrics`).catch(() => ({ body: undefined }));
    const lines = ((await body?.text()) ?? '').split('\n');
    return lines
      .filter((line) => line.startsWith(`kkp_audit_webhook_${name}`))
      .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  };
  const until = async (what: string, condition: () => Promise<boolean>): Promise<void> => {
    const end = performance.now() + LIMIT_MS;
    while (!(await condition())) {
      if (performance.now() > end || server.exitCode !== null)
        throw new Error(
          `in vain: ${what}\n${readFileSync(file('log'), 'utf8').split('\n').slice(-20).join('\n')}`,
        );
      await delay(100);
    }
  };
  const pid = server.pid ?? 0;
  const memory = (): string => {
    const { rssMegabytes, peakRssMegabytes } = memoryOfTree(pid);
    return `${rssMegabytes.toFixed(0)} MB; ${peakRssMegabytes.toFixed(0)} MB`;
  };
  const show = (what: string, value: string): void =>
    void process.stdout.write(`${what.padEnd(46)} ${value}\n`);
  /** Besides watches and the Lease. */
  const countRequests = async (): Promise<number> => {
    const { requests } = await ask<Stats>('/stats');
    return Object.entries(requests).reduce(
      (sum, [kind, n]) => (/^(watch|lease)/.test(kind) ? sum : sum + n),
      0,
    );
  };

  await until('every cluster to be judged', async () => (await metric('clusters{')) === CLUSTERS);
  const syncedSeconds = (performance.now() - startMs) / 1000;
  show(
    'synced, every cluster judged (CPU time)',
    `${syncedSeconds.toFixed(1)} s (${cpuSeconds(pid).toFixed(1)} s)`,
  );
  show('compliant', String(await metric('clusters{datacenter="dc",state="compliant"}')));
  show('requests until then', String(await countRequests()));
  await delay(5000);
  const before = await countRequests();
  await delay(REST_SECONDS * 1000);
  show('memory at rest (RSS; peak so far)', memory());
  show('requests a minute at rest', (((await countRequests()) - before) / (REST_SECONDS / 60)).toFixed(1));

  if (options.verbose)
    process.stdout.write(`${JSON.stringify((await ask<Stats>('/stats')).requests, null, 2)}\n`);

  const rolling = await countRequests();
  const rollMs = performance.now();
  await ask('/switch');
  await until(
    'the roll-out to end',
    async () => (await metric('clusters{datacenter="late",state="compliant"}')) === LATE,
  );
  const seconds = (performance.now() - rollMs) / 1000;
  const { nudges, switchedAtMs } = await ask<Stats>('/stats');
  const delays = Object.values(nudges)
    .map((atMs) => atMs - switchedAtMs)
    .sort((a, b) => a - b);
  show(`roll-out of ${LATE} clusters, 10 at a time`, `${seconds.toFixed(1)} s`);
  show('requests a cluster in it', (((await countRequests()) - rolling) / LATE).toFixed(1));
  show('requests a minute in it', (((await countRequests()) - rolling) / (seconds / 60)).toFixed(0));
  show('from the switch to the first nudge', `${delays[0]} ms`);
  show('memory after it (RSS; peak)', memory());
}

try {
  await main();
} finally {
  for (const child of children) child.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
}
process.exit();
