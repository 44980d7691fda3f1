/**
 * A real control plane on loopback: etcd and kube-apiserver, and on demand the controllers, the scheduler and KWOK's nodes. Everything it
 * writes lies in one temporary folder; nothing outlives the process that started it.
 */
import { spawn } from 'node:child_process';
import { generateKeyPairSync, randomInt } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent } from 'undici';
import { ApiClient } from './api-client.ts';
import {
  BASE_PROGRAMS,
  type Binaries,
  CONTROLLER_PROGRAMS,
  ensureBinaries,
  kwokStages,
  type Log,
  type Program,
} from './binaries.ts';
import { type Child, removeFolder, startChild, temporaryFolder } from './children.ts';
import { IDENTITIES, type Identity, tokenOf } from './identities.ts';

const READY_TIMEOUT_MS = 120_000;
const READY_POLL_MS = 50;
const START_ATTEMPTS = 3;
/** Below the range from which Linux takes the ports of outgoing connections, so that none of those takes one of ours. */
const PORTS = { from: 20_000, to: 30_000 } as const;
/** The controllers that a seed's objects need; the rest would only take memory. */
const CONTROLLERS = [
  'deployment-controller',
  'replicaset-controller',
  'disruption-controller',
  'garbage-collector-controller',
  'job-controller',
  'namespace-controller',
  'node-lifecycle-controller',
  'pod-garbage-collector-controller',
  'root-ca-certificate-publisher-controller',
  'serviceaccount-controller',
];

interface ControlPlaneOptions {
  /** More flags for kube-apiserver; the last of repeated flags wins. */
  readonly extraArgs?: readonly string[];
  /** More of kube-apiserver's environment, such as Go's GOGC. */
  readonly apiserverEnv?: Readonly<Record<string, string>>;
  /** Starts kube-controller-manager and kube-scheduler. */
  readonly controllers?: boolean;
  /** Starts KWOK, which plays the kubelets of all Node objects (see addNodes). */
  readonly kwok?: boolean;
  /** Gets the progress of a build, where one is needed. */
  readonly log?: Log;
}

export interface KubectlResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

interface KubectlOptions {
  /** Default: an administrator (system:masters). */
  readonly as?: Identity;
  /** Standard input, for `-f -`. */
  readonly input?: string;
  readonly cwd?: string;
  /** More of the environment, such as KUBE_EDITOR. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface ControlPlane {
  readonly url: string;
  /** The temporary folder; the logs of all programs are in it. */
  readonly dir: string;
  /** PEM of what kube-apiserver's certificate verifies against. */
  readonly ca: string;
  readonly adminKubeconfig: string;
  readonly binaries: Binaries<(typeof BASE_PROGRAMS)[number]>;
  /** Requests as an administrator; `client.as(identity)` makes them as anybody else. */
  readonly client: ApiClient;
  /** Writes a kubeconfig for that identity and returns its path: with a token of its own for IDENTITIES, else by impersonation. */
  kubeconfigFor(identity: Identity): string;
  kubectl(args: readonly string[], options?: KubectlOptions): Promise<KubectlResult>;
  /** Ends kube-apiserver at once; etcd keeps the objects. */
  stopApiserver(): Promise<void>;
  /** Ends kube-apiserver where it runs, and starts it again on the same port, with the same objects. */
  restartApiserver(): Promise<void>;
  /** Ends everything and removes the folder. */
  stop(): Promise<void>;
}

/**
 * Starts a control plane and waits until kube-apiserver says that it is ready.
 * @throws {Error} with the end of the log of the program that failed
 */
export async function startControlPlane(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  const programs: Program[] = [...BASE_PROGRAMS];
  if (options.controllers) programs.push('kube-controller-manager', 'kube-scheduler');
  if (options.kwok) programs.push('kwok');
  const binaries = await ensureBinaries(programs, options.log === undefined ? {} : { log: options.log });
  for (let attempt = 1; ; attempt++) {
    const starting = new Starting(binaries, options);
    try {
      return await starting.start();
    } catch (error) {
      await starting.stop();
      if (attempt === START_ATTEMPTS || !/address already in use/.test(String(error))) throw error;
    }
  }
}

/** All that a control plane with controllers and nodes needs. */
export const ALL_PROGRAMS: readonly Program[] = [...BASE_PROGRAMS, ...CONTROLLER_PROGRAMS];

/** A port of 127.0.0.1 that nobody listens on. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(PORTS.from, PORTS.to);
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once('error', () => resolve(false));
      server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

class Starting {
  readonly #binaries: Binaries;
  readonly #options: ControlPlaneOptions;
  readonly #dir = temporaryFolder();
  readonly #children: Child[] = [];
  readonly #agents: Agent[] = [];
  #apiserver: Child | undefined;
  #apiserverArgs: string[] = [];

  constructor(binaries: Binaries, options: ControlPlaneOptions) {
    this.#binaries = binaries;
    this.#options = options;
  }

  async start(): Promise<ControlPlane> {
    const [etcdPort, peerPort, port] = await Promise.all([freePort(), freePort(), freePort()]);
    const dir = this.#dir;
    this.#writeFiles();
    this.#startProgram('etcd', [
      `--data-dir=${join(dir, 'etcd')}`,
      `--listen-client-urls=http://127.0.0.1:${etcdPort}`,
      `--advertise-client-urls=http://127.0.0.1:${etcdPort}`,
      `--listen-peer-urls=http://127.0.0.1:${peerPort}`,
      `--initial-advertise-peer-urls=http://127.0.0.1:${peerPort}`,
      `--initial-cluster=default=http://127.0.0.1:${peerPort}`,
      '--unsafe-no-fsync',
      '--log-level=warn',
    ]);
    this.#apiserverArgs = [
      `--etcd-servers=http://127.0.0.1:${etcdPort}`,
      '--bind-address=127.0.0.1',
      '--advertise-address=127.0.0.1',
      '--endpoint-reconciler-type=none',
      `--secure-port=${port}`,
      `--cert-dir=${join(dir, 'certs')}`,
      `--token-auth-file=${join(dir, 'tokens.csv')}`,
      '--authorization-mode=RBAC',
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${join(dir, 'service-account.key')}`,
      `--service-account-signing-key-file=${join(dir, 'service-account.key')}`,
      '--service-cluster-ip-range=10.96.0.0/16',
      '--allow-privileged=true',
      ...(this.#options.extraArgs ?? []),
    ];
    this.#startApiserver();
    const url = `https://127.0.0.1:${port}`;
    const ca = await this.#readCa();
    const client = this.#connect(url, ca);
    await this.#awaitReady(client);
    const adminKubeconfig = this.#writeKubeconfig('admin', url, ca, IDENTITIES.admin);
    this.#startControllers(adminKubeconfig);
    return this.#handle(url, ca, client, adminKubeconfig);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#agents.map((agent) => agent.destroy()));
    await Promise.all(this.#children.map((child) => child.stop()));
    removeFolder(this.#dir);
  }

  #handle(url: string, ca: string, client: ApiClient, adminKubeconfig: string): ControlPlane {
    let kubeconfigs = 0;
    return {
      url,
      dir: this.#dir,
      ca,
      client,
      adminKubeconfig,
      binaries: this.#binaries,
      kubeconfigFor: (identity) => this.#writeKubeconfig(`user-${kubeconfigs++}`, url, ca, identity),
      kubectl: (args, options) => this.#kubectl(adminKubeconfig, args, options ?? {}),
      stopApiserver: async () => {
        await this.#apiserver?.stop();
      },
      restartApiserver: async () => {
        await this.#apiserver?.stop();
        this.#startApiserver();
        await this.#awaitReady(client);
      },
      stop: () => this.stop(),
    };
  }

  #writeFiles(): void {
    const tokens = Object.values(IDENTITIES).map(
      (identity) =>
        `${tokenOf(identity)},${identity.user},${identity.user},"${(identity.groups ?? []).join(',')}"`,
    );
    writeFileSync(join(this.#dir, 'tokens.csv'), `${tokens.join('\n')}\n`, { mode: 0o600 });
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const pem = privateKey.export({ type: 'sec1', format: 'pem' });
    writeFileSync(join(this.#dir, 'service-account.key'), pem, { mode: 0o600 });
  }

  #startProgram(
    program: Program,
    args: readonly string[],
    more: Readonly<Record<string, string>> = {},
  ): Child {
    const logFile = join(this.#dir, `${program}.log`);
    const env = { HOME: this.#dir, ...more };
    const child = startChild({ name: program, command: this.#binaries[program], args, logFile, env });
    this.#children.push(child);
    return child;
  }

  #startApiserver(): void {
    this.#apiserver = this.#startProgram('kube-apiserver', this.#apiserverArgs, this.#options.apiserverEnv);
  }

  /** kube-apiserver makes its own certificate; the file holds it and the CA that signed it. */
  async #readCa(): Promise<string> {
    const file = join(this.#dir, 'certs', 'apiserver.crt');
    let text = '';
    await this.#poll('kube-apiserver has made no certificate', async () => {
      if (existsSync(file)) text = readFileSync(file, 'utf8');
      return text.includes('END CERTIFICATE'); // the file is empty for a moment
    });
    return text;
  }

  #connect(url: string, ca: string): ApiClient {
    const agent = new Agent({ connect: { ca }, connections: 64 });
    this.#agents.push(agent);
    return new ApiClient(url, agent);
  }

  async #awaitReady(client: ApiClient): Promise<void> {
    await this.#poll('kube-apiserver is not ready', async () => {
      const answer = await client.send('GET', '/readyz').catch(() => undefined);
      return answer?.status === 200;
    });
  }

  async #poll(failure: string, condition: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + READY_TIMEOUT_MS;
    while (!(await condition())) {
      const dead = this.#children.find(
        (child) =>
          child.ended !== undefined && (child.name !== 'kube-apiserver' || child === this.#apiserver),
      );
      if (dead !== undefined)
        throw new Error(`${dead.name} ended (${dead.ended}); the end of its log:\n${dead.logTail()}`);
      if (Date.now() > deadline)
        throw new Error(
          `${failure} after ${READY_TIMEOUT_MS / 1000} s; the end of its log:\n${this.#apiserver?.logTail()}`,
        );
      await delay(READY_POLL_MS);
    }
  }

  #startControllers(kubeconfig: string): void {
    if (this.#options.controllers) {
      this.#startProgram('kube-controller-manager', [
        `--kubeconfig=${kubeconfig}`,
        '--leader-elect=false',
        '--secure-port=0',
        `--controllers=${CONTROLLERS.join(',')}`,
        // Each controller writes in its own name, such as system:serviceaccount:kube-system:replicaset-controller.
        '--use-service-account-credentials=true',
        `--service-account-private-key-file=${join(this.#dir, 'service-account.key')}`,
        `--root-ca-file=${join(this.#dir, 'certs', 'apiserver.crt')}`,
      ]);
      this.#startProgram('kube-scheduler', [
        `--kubeconfig=${kubeconfig}`,
        '--leader-elect=false',
        '--secure-port=0',
      ]);
    }
    if (this.#options.kwok) {
      this.#startProgram('kwok', [
        `--kubeconfig=${kubeconfig}`,
        `--config=${kwokStages(this.#binaries.kwok)}`,
        '--manage-all-nodes=true',
        '--node-lease-duration-seconds=40',
      ]);
    }
  }

  #writeKubeconfig(name: string, url: string, ca: string, identity: Identity): string {
    const token = tokenOf(identity);
    const user =
      token === undefined
        ? {
            token: tokenOf(IDENTITIES.admin),
            as: identity.user,
            ...(identity.groups === undefined ? {} : { 'as-groups': identity.groups }),
          }
        : { token };
    const kubeconfig = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        {
          name: 'seed',
          cluster: { server: url, 'certificate-authority-data': Buffer.from(ca).toString('base64') },
        },
      ],
      users: [{ name: identity.user, user }],
      contexts: [{ name: 'seed', context: { cluster: 'seed', user: identity.user } }],
      'current-context': 'seed',
    };
    const path = join(this.#dir, `${name}.kubeconfig`);
    writeFileSync(path, JSON.stringify(kubeconfig, undefined, 2), { mode: 0o600 });
    return path;
  }

  #kubectl(kubeconfig: string, args: readonly string[], options: KubectlOptions): Promise<KubectlResult> {
    const asArgs = options.as === undefined ? [] : kubectlIdentity(options.as);
    return new Promise((resolve, reject) => {
      const child = spawn(this.#binaries.kubectl, [...args, ...asArgs], {
        cwd: options.cwd,
        env: { ...process.env, KUBECONFIG: kubeconfig, HOME: this.#dir, ...options.env },
      });
      let stdout = '';
      let stderr = '';
      child.stdout.setEncoding('utf8').on('data', (text) => {
        stdout += text;
      });
      child.stderr.setEncoding('utf8').on('data', (text) => {
        stderr += text;
      });
      child.on('error', reject);
      child.on('close', (code) => resolve({ code: code ?? 1, stdout, stderr }));
      child.stdin.on('error', () => {}); // kubectl may end without reading it
      child.stdin.end(options.input ?? '');
    });
  }
}

/** Arguments that make kubectl act as somebody: by a token of their own where they have one, else by impersonation. */
function kubectlIdentity(identity: Identity): string[] {
  const token = tokenOf(identity);
  if (token !== undefined) return [`--token=${token}`];
  return [`--as=${identity.user}`, ...(identity.groups ?? []).map((group) => `--as-group=${group}`)];
}
