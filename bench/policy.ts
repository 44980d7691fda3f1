/**
 * `node bench/policy.ts`: evaluation beside Kubernetes' own evaluator (the Go program of the differential tests, in its own loop), lint and the
 * verdict on a change of a large policy, and replay of a generated log beside a plain count by user with jq. One core at a time; compare
 * ratios, not figures: machines differ.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  evaluate,
  judgePolicyChange,
  lint,
  type Policy,
  PRESETS,
  REPRESENTATIVE_REQUESTS,
  type RequestAttributes,
  readPolicy,
} from '../src/policy/index.ts';
import { PUBLISHED } from '../test/policy/published.ts';
import { buildJudge, Judge, missingGo } from '../test/policyjudge/judge.ts';

const { values: options } = parseArgs({
  options: {
    megabytes: { type: 'string', default: '200' },
    rounds: { type: 'string', default: '5' },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  process.stdout.write('Usage: node bench/policy.ts [--megabytes 200] [--rounds 5]\n');
  process.exit(0);
}

/** Compared with where it is installed. */
const JQ = 'jq';

const requests: readonly RequestAttributes[] = REPRESENTATIVE_REQUESTS.map(({ request }) => request);
const print = (line: string): void => void process.stdout.write(`${line}\n`);
const median = (values: number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
const thousands = (value: number): string => Math.round(value).toLocaleString('en');

function largePolicy(rules: number): string {
  const one = (k: number): string =>
    `- {level: ${k % 3 === 0 ? 'None' : 'Request'}, users: [user-${k}, user-${k + 1}], verbs: [get, list, update], resources: [{group: group-${k % 50}, resources: [r${k}, r${k}/status]}]}\n`;
  return `apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n${Array.from({ length: rules }, (_, k) => one(k)).join('')}- level: Metadata\n`;
}

function policyOf(text: string): Policy {
  const { policy } = readPolicy(text);
  if (policy === undefined) throw new Error('the policy of the bench is refused');
  return policy;
}

/** Evaluations a second, in a loop of about half a second. */
function ours(policy: Policy): number {
  const EVALUATIONS_BETWEEN_LOOKS = 20;
  let done = 0;
  const started = performance.now();
  let elapsedMs = 0;
  while (elapsedMs < 500) {
    for (let k = 0; k < EVALUATIONS_BETWEEN_LOOKS; k++)
      for (const request of requests) evaluate(policy, request);
    done += EVALUATIONS_BETWEEN_LOOKS * requests.length;
    elapsedMs = performance.now() - started;
  }
  return (done / elapsedMs) * 1000;
}

async function theirs(judge: Judge, text: string): Promise<number> {
  const probe = await judge.ask(text, requests, 20);
  const rounds = Math.max(
    20,
    Math.round(500e6 / ((probe.nanosecondsPerEvaluation ?? 1000) * requests.length)),
  );
  const answer = await judge.ask(text, requests, rounds);
  return 1e9 / (answer.nanosecondsPerEvaluation ?? Number.NaN);
}

async function benchEvaluation(): Promise<void> {
  const noGo = missingGo();
  if (noGo !== undefined) print(noGo);
  const judge = noGo === undefined ? new Judge(await buildJudge(36)) : undefined;
  const texts = {
    ...Object.fromEntries(PRESETS),
    'Google Compute Engine and GKE': PUBLISHED['Google Compute Engine and GKE'] ?? '',
    '500 rules': largePolicy(500),
  };
  print('Evaluations a second (Kubernetes 1.36 in Go, ours, ours by theirs)');
  for (const [name, text] of Object.entries(texts)) {
    const policy = policyOf(text);
    const samples = { go: [] as number[], here: [] as number[] };
    for (let round = 0; round < Number(options.rounds); round++) {
      if (judge !== undefined) samples.go.push(await theirs(judge, text));
      samples.here.push(ours(policy));
    }
    const [go, here] = [median(samples.go), median(samples.here)];
    print(
      `  ${name.padEnd(32)} ${thousands(go).padStart(12)} ${thousands(here).padStart(12)} ${(here / go).toFixed(2).padStart(6)}`,
    );
  }
  judge?.close();
}

function benchLargePolicy(): void {
  const text = largePolicy(500);
  const time = (what: string, run: () => unknown): void => {
    const samples = Array.from({ length: Number(options.rounds) }, () => {
      const started = performance.now();
      run();
      return performance.now() - started;
    });
    print(`  ${what.padEnd(32)} ${median(samples).toFixed(1).padStart(8)} ms`);
  };
  print(`A policy of 500 rules (${Math.round(text.length / 1000)} kB)`);
  const read = readPolicy(text);
  time('read', () => readPolicy(text));
  time('lint', () => lint(read.policy as Policy, { root: read.root }));
  print('The verdict on a change, metadata to cis');
  const [oldText, newText] = [PRESETS.get('metadata') ?? '', PRESETS.get('cis') ?? ''];
  time('judgePolicyChange', () =>
    judgePolicyChange({ oldText, newText, enforced: true, demandedPreset: 'minimal' }),
  );
}

/** A log like that of a busy apiserver: mostly metadata, some large bodies. */
async function writeLog(path: string, bytes: number): Promise<void> {
  const stream = createWriteStream(path, { highWaterMark: 1 << 20 });
  const managedFields = [
    {
      manager: 'kubectl',
      operation: 'Update',
      fieldsV1: Object.fromEntries(Array.from({ length: 30 }, (_, k) => [`f:field-${k}`, {}])),
    },
  ];
  const body = {
    kind: 'Deployment',
    metadata: { name: 'web', managedFields },
    spec: {
      template: {
        spec: {
          containers: Array.from({ length: 3 }, (_, k) => ({
            name: `c${k}`,
            image: 'registry.example.com/team/app:1.2.3',
            args: ['--a="b"', '--c=\\d'],
          })),
        },
      },
    },
  };
  let written = 0;
  for (let k = 0; written < bytes; k++) {
    const request = requests[(k * 7) % requests.length] as RequestAttributes;
    const change = ['create', 'update', 'patch'].includes(request.verb);
    const event = {
      kind: 'Event',
      apiVersion: 'audit.k8s.io/v1',
      level: 'RequestResponse',
      auditID: `00000000-0000-4000-8000-${String(k).padStart(12, '0')}`,
      stage: k % 3 === 0 ? 'RequestReceived' : 'ResponseComplete',
      requestURI: request.isResource
        ? `/apis/${request.apiGroup}/v1/namespaces/${request.namespace}/${request.resource}/${request.name}`
        : request.path,
      verb: request.verb,
      user: { username: request.user?.name, groups: request.user?.groups },
      sourceIPs: ['10.0.0.1'],
      userAgent: 'kube-controller-manager/v1.36.0 (linux/amd64) kubernetes/abcdef',
      ...(request.isResource
        ? {
            objectRef: {
              resource: request.resource,
              namespace: request.namespace,
              name: request.name,
              apiGroup: request.apiGroup,
              subresource: request.subresource,
            },
          }
        : {}),
      responseStatus: { metadata: {}, code: 200 },
      ...(change ? { requestObject: body } : {}),
      ...(k % 3 === 0 ? {} : { responseObject: body }),
      requestReceivedTimestamp: '2026-08-01T00:00:00.000000Z',
      stageTimestamp: '2026-08-01T00:00:00.001000Z',
      annotations: { 'authorization.k8s.io/decision': 'allow', 'authorization.k8s.io/reason': '' },
    };
    const line = `${JSON.stringify(event)}\n`;
    written += Buffer.byteLength(line);
    if (!stream.write(line)) await once(stream, 'drain');
  }
  stream.end();
  await once(stream, 'finish');
}

interface Run {
  readonly seconds: number;
  readonly peakMegabytes: number;
}

/** Runs a program to its end; the peak of its memory is what the kernel says shortly before. */
async function measure(command: string, args: readonly string[]): Promise<Run> {
  const SAMPLE_MS = 20;
  const started = performance.now();
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  let peakKilobytes = 0;
  const timer = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      peakKilobytes = Math.max(peakKilobytes, Number(/VmHWM:\s*(\d+)/.exec(status)?.[1] ?? 0));
    } catch {
      // No /proc here, or the process is gone.
    }
  }, SAMPLE_MS);
  const [code] = await once(child, 'exit');
  clearInterval(timer);
  if (code !== 0) throw new Error(`${command} ended with exit code ${code}`);
  return { seconds: (performance.now() - started) / 1000, peakMegabytes: peakKilobytes / 1000 };
}

async function benchReplay(): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'kkp-bench-policy-'));
  try {
    const log = join(dir, 'audit.log');
    await writeLog(log, Number(options.megabytes) * 1e6);
    const megabytes = statSync(log).size / 1e6;
    print(`A log of ${thousands(megabytes)} MB`);
    const show = (what: string, { seconds, peakMegabytes }: Run): void =>
      print(
        `  ${what.padEnd(32)} ${seconds.toFixed(1).padStart(6)} s ${thousands(megabytes / seconds).padStart(6)} MB/s ${thousands(peakMegabytes).padStart(6)} MB peak`,
      );
    const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));
    show(
      'policy replay preset:cis',
      await measure(process.execPath, [main, 'policy', 'replay', 'preset:cis', '--log', log]),
    );
    if (spawnSync(JQ, ['--version']).status !== 0) print('  jq is not installed');
    else
      show(
        'jq, count by user',
        await measure(JQ, ['-n', 'reduce inputs as $e ({}; .[$e.user.username] += 1)', log]),
      );
  } finally {
    rmSync(dir, { recursive: true });
  }
}

await benchEvaluation();
benchLargePolicy();
await benchReplay();
