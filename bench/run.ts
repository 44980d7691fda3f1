/**
 * `npm run bench`: this server beside a bare node:https server that parses the same body and answers a fixed patch. Each is a process of its
 * own on one core, the load on another; rounds are interleaved, so that a busy machine slows both; medians are compared.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { type AddressInfo, createServer } from 'node:net';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { issueCa, issueServerCertificate } from '../src/certificates.ts';
import { HOOK_PATHS } from '../src/server.ts';
import type { Job, Load } from './load.ts';
import { buildReview, CLUSTER } from './payload.ts';

const USAGE = `Usage: npm run bench -- [--rounds 5] [--seconds 1.5] [--connections 1,16] [--operations UPDATE,CREATE] [--output table|json]
`;

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '1.5' },
    connections: { type: 'string', default: '1,16' },
    operations: { type: 'string', default: 'UPDATE,CREATE' },
    output: { type: 'string', default: 'table' },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  process.stdout.write(USAGE);
  process.exit(0);
}

type Operation = 'CREATE' | 'UPDATE';

interface Sample extends Load {
  readonly cpuMicrosecondsPerRequest: number;
}

interface Figures {
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuMicrosecondsPerRequest: number;
}

interface Comparison {
  readonly operation: Operation;
  readonly connections: number;
  /** The last few objects are remembered, as one comes to several hooks: "same" measures with that, "new" without. */
  readonly objects: 'same' | 'new';
  readonly server: Figures;
  readonly bare: Figures;
  /** The server's figure by the bare server's; for requests per second more is better, for the others less. */
  readonly ratio: Figures;
}

const here = (file: string): string => fileURLToPath(new URL(file, import.meta.url));
const progress = (text: string): void => void process.stderr.write(`${text}\n`);
const children: ChildProcess[] = [];

const canPin = availableParallelism() > 1 && spawnSync('taskset', ['-V']).status === 0;
const [LOAD_CORE, SERVER_CORE] = [0, 1];
const PATH = HOOK_PATHS['mutate-deployments'];
const READY_TIMEOUT_MS = 60_000;

/** The Cluster of the payload, where audit logging is enforced. */
const STATE = `
apiVersion: kubermatic.k8c.io/v1
kind: Cluster
metadata: { name: ${CLUSTER} }
spec:
  cloud: { dc: europe-west }
  auditLogging: { enabled: true, policyPreset: recommended }
---
apiVersion: kubermatic.k8c.io/v1
kind: Seed
metadata: { name: kubermatic, namespace: kubermatic }
spec:
  datacenters:
    europe-west: { spec: { enforceAuditLogging: true } }
`;

/** Starts a process on a core of its own, where the machine lets it. */
function start(core: number, args: readonly string[], stdout: 'pipe' | 'ignore' = 'pipe'): ChildProcess {
  const command = [process.execPath, ...args];
  const [program = '', ...rest] = canPin ? ['taskset', '-c', String(core), ...command] : command;
  const child = spawn(program, rest, { stdio: ['pipe', stdout, 'inherit'] });
  children.push(child);
  return child;
}

function linesOf(child: ChildProcess): AsyncIterator<string> {
  return createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
}

async function nextLine(lines: AsyncIterator<string>): Promise<string> {
  const { value, done } = await lines.next();
  if (done === true) throw new Error('a process of the benchmark ended too early');
  return value;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** The patch that the server answers. */
function askForPatch(port: number, caFile: string, bodyFile: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const sent = request(
      `https://127.0.0.1:${port}${PATH}`,
      { method: 'POST', ca: readFileSync(caFile), headers: { 'content-type': 'application/json' } },
      async (answer) => {
        const text = (await answer.toArray()).join('');
        const patch = answer.statusCode === 200 ? JSON.parse(text).response.patch : undefined;
        if (typeof patch === 'string') resolve(Buffer.from(patch, 'base64'));
        else reject(new Error(`the server answers no patch: ${answer.statusCode} ${text}`));
      },
    );
    sent.on('error', reject);
    sent.end(readFileSync(bodyFile));
  });
}

async function waitUntilReady(url: string): Promise<void> {
  const endMs = performance.now() + READY_TIMEOUT_MS;
  while (performance.now() < endMs) {
    const answer = await fetch(url).catch(() => undefined);
    if (answer?.ok) return;
    await setTimeout(20);
  }
  throw new Error(`the server is not ready after ${READY_TIMEOUT_MS} ms`);
}

/** User and system time of a process, from Linux' /proc; ticks are 10 ms. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function figures(samples: readonly Sample[]): Figures {
  return {
    requestsPerSecond: median(samples.map((sample) => sample.requests / sample.seconds)),
    p50Ms: median(samples.map((sample) => sample.p50Ms)),
    p99Ms: median(samples.map((sample) => sample.p99Ms)),
    cpuMicrosecondsPerRequest: median(samples.map((sample) => sample.cpuMicrosecondsPerRequest)),
  };
}

function compare(server: Figures, bare: Figures): Figures {
  return {
    requestsPerSecond: server.requestsPerSecond / bare.requestsPerSecond,
    p50Ms: server.p50Ms / bare.p50Ms,
    p99Ms: server.p99Ms / bare.p99Ms,
    cpuMicrosecondsPerRequest: server.cpuMicrosecondsPerRequest / bare.cpuMicrosecondsPerRequest,
  };
}

async function main(folder: string): Promise<Comparison[]> {
  const file = (name: string, content: string | Buffer): string => {
    const path = join(folder, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };
  const now = new Date();
  const ca = await issueCa({ days: 1, now });
  const leaf = await issueServerCertificate(ca, ['127.0.0.1'], { days: 1, now });
  const caFile = file('ca.crt', ca.cert);
  const certFile = file('tls.crt', leaf.cert);
  const keyFile = file('tls.key', leaf.key);
  const operations = options.operations.split(',') as Operation[];
  const bodies = operations.map((operation) => file(`${operation}.json`, buildReview(operation)));
  const stateFolder = join(folder, 'state');
  mkdirSync(stateFolder);
  writeFileSync(join(stateFolder, 'state.yaml'), STATE);

  const [port, opsPort] = [await freePort(), await freePort()];
  const tlsArgs = ['--tls-cert', certFile, '--tls-key', keyFile];
  const portArgs = ['--port', String(port), '--ops-port', String(opsPort)];
  const serve = [here('../src/main.ts'), 'serve', '--state', stateFolder, ...tlsArgs, ...portArgs];
  const server = start(SERVER_CORE, serve, 'ignore');
  await waitUntilReady(`http://127.0.0.1:${opsPort}/readyz`);
  const patchFile = file('patch.json', await askForPatch(port, caFile, bodies[0] ?? ''));
  const bare = start(SERVER_CORE, [here('bare-server.ts'), certFile, keyFile, patchFile]);
  const barePort = Number(await nextLine(linesOf(bare)));
  const load = start(LOAD_CORE, [here('load.ts')]);
  const results = linesOf(load);

  const measure = async (pid: number, job: Job): Promise<Sample> => {
    const before = cpuSeconds(pid);
    const answer = nextLine(results);
    load.stdin?.write(`${JSON.stringify(job)}\n`);
    const result = JSON.parse(await answer) as Load;
    const cpuMicrosecondsPerRequest = ((cpuSeconds(pid) - before) / result.requests) * 1e6;
    return { ...result, cpuMicrosecondsPerRequest };
  };

  const rounds = Number(options.rounds);
  const cases = operations.flatMap((operation, index) =>
    options.connections.split(',').flatMap((connections) =>
      (['same', 'new'] as const).map((objects) => ({
        operation,
        objects,
        bodyFile: bodies[index] ?? '',
        connections: Number(connections),
        server: [] as Sample[],
        bare: [] as Sample[],
      })),
    ),
  );
  for (let round = 0; round <= rounds; round += 1) {
    progress(round === 0 ? 'warming up' : `round ${round} of ${rounds}`);
    for (const one of cases) {
      const job = {
        path: PATH,
        caFile,
        bodyFile: one.bodyFile,
        connections: one.connections,
        objects: one.objects,
      };
      const seconds = Number(options.seconds);
      const ours = await measure(server.pid ?? 0, { ...job, seconds, port });
      const theirs = await measure(bare.pid ?? 0, { ...job, seconds, port: barePort });
      if (round === 0) continue;
      one.server.push(ours);
      one.bare.push(theirs);
    }
  }
  return cases.map((one) => {
    const [ours, theirs] = [figures(one.server), figures(one.bare)];
    return {
      operation: one.operation,
      connections: one.connections,
      objects: one.objects,
      server: ours,
      bare: theirs,
      ratio: compare(ours, theirs),
    };
  });
}

function printTable(comparisons: readonly Comparison[]): void {
  const rows = [['operation', 'connections', 'objects', 'figure', 'this server', 'bare node:https', 'ratio']];
  const names: Record<keyof Figures, string> = {
    requestsPerSecond: 'requests/s',
    p50Ms: 'p50 ms',
    p99Ms: 'p99 ms',
    cpuMicrosecondsPerRequest: 'CPU µs/request',
  };
  for (const { operation, connections, objects, server, bare, ratio } of comparisons) {
    for (const [key, name] of Object.entries(names) as [keyof Figures, string][]) {
      const digits = key === 'requestsPerSecond' || key === 'cpuMicrosecondsPerRequest' ? 0 : 3;
      rows.push([
        operation,
        String(connections),
        objects,
        name,
        server[key].toFixed(digits),
        bare[key].toFixed(digits),
        ratio[key].toFixed(2),
      ]);
    }
  }
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  for (const row of rows) {
    const cells = row.map((cell, column) =>
      column < 4 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
    );
    process.stdout.write(`${cells.join('  ')}\n`);
  }
}

const folder = mkdtempSync(join(tmpdir(), 'kkp-audit-webhook-bench-'));
try {
  if (!canPin)
    progress('There is no taskset, or one core only: server and load share it, and the ratios mean little.');
  const comparisons = await main(folder);
  const machine = {
    node: process.version,
    cpu: cpus()[0]?.model ?? '',
    cores: availableParallelism(),
    pinned: canPin,
  };
  if (options.output === 'json')
    process.stdout.write(`${JSON.stringify({ machine, comparisons }, null, 2)}\n`);
  else {
    printTable(comparisons);
    process.stdout.write(
      `\nNode ${machine.node}, ${machine.cpu}, ${machine.cores} cores, medians of ${options.rounds} rounds.\n`,
    );
  }
} finally {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
}
