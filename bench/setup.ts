/** What the servers of a benchmark are given: certificates, bodies, state, and the first question. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { issueCa, issueServerCertificate } from '../src/certificates.ts';
import { temporaryFolder } from '../test/support/children.ts';
import { buildReview, CLUSTER, type Operation } from './payload.ts';

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

const FIRST_ANSWER_TIMEOUT_MS = 60_000;
/** Nobody listens yet. */
const REFUSED_RETRY_MS = 1;
/** Somebody does, but does not serve the hook yet: asking more often would slow its start. */
const NOT_YET_RETRY_MS = 10;

export interface Setup {
  /** Where files may be put; goes away with this process. */
  readonly folder: string;
  /** With tls.crt and tls.key for 127.0.0.1. */
  readonly certDir: string;
  readonly caFile: string;
  readonly stateFolder: string;
  readonly bodyFiles: Readonly<Record<Operation, string>>;
}

export async function setUp(): Promise<Setup> {
  const folder = temporaryFolder();
  const folderIn = (name: string): string => {
    mkdirSync(join(folder, name));
    return join(folder, name);
  };
  const file = (parent: string, name: string, content: string | Buffer): string => {
    writeFileSync(join(parent, name), content, { mode: 0o600 });
    return join(parent, name);
  };
  const certDir = folderIn('certs');
  const stateFolder = folderIn('state');
  const validity = { days: 1, now: new Date() };
  const ca = await issueCa(validity);
  const leaf = await issueServerCertificate(ca, ['127.0.0.1'], validity);
  file(certDir, 'tls.crt', leaf.cert);
  file(certDir, 'tls.key', leaf.key);
  file(stateFolder, 'state.yaml', STATE);
  return {
    folder,
    certDir,
    caFile: file(folder, 'ca.crt', ca.cert),
    stateFolder,
    bodyFiles: {
      CREATE: file(folder, 'CREATE.json', buildReview('CREATE')),
      UPDATE: file(folder, 'UPDATE.json', buildReview('UPDATE')),
    },
  };
}

export interface Hook {
  readonly port: number;
  readonly path: string;
}

/**
 * Asks a server that is just starting, again and again, until it answers with a patch.
 * @param ended says how its process ended, once it has
 * @returns the patch, as JSON text
 * @throws {Error} where it ends, refuses, or does not answer in a minute
 */
export async function askForPatch(
  hook: Hook,
  setup: Setup,
  operation: Operation,
  ended: () => string | undefined,
): Promise<string> {
  const body = readFileSync(setup.bodyFiles[operation]);
  const agent = new Agent({ keepAlive: true, ca: readFileSync(setup.caFile) });
  const endMs = performance.now() + FIRST_ANSWER_TIMEOUT_MS;
  let last = 'nobody listens';
  try {
    while (performance.now() < endMs) {
      const answer = await post(hook, agent, body).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ECONNREFUSED') throw error;
        return undefined;
      });
      if (answer?.status === 200) return readPatch(answer.text);
      if (ended() !== undefined) throw new Error(`it ended (${ended()})`);
      if (answer !== undefined) last = `HTTP ${answer.status}`;
      await delay(answer === undefined ? REFUSED_RETRY_MS : NOT_YET_RETRY_MS);
    }
    throw new Error(`no answer in ${FIRST_ANSWER_TIMEOUT_MS} ms: ${last}`);
  } finally {
    agent.destroy();
  }
}

function post(hook: Hook, agent: Agent, body: Buffer): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      `https://127.0.0.1:${hook.port}${hook.path}`,
      {
        method: 'POST',
        agent,
        headers: { 'content-type': 'application/json', 'content-length': body.length },
      },
      (answer) => {
        answer
          .toArray()
          .then(
            (chunks) => resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
            reject,
          );
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

function readPatch(answer: string): string {
  const { patch } = (JSON.parse(answer) as { response: { patch?: string } }).response;
  if (patch === undefined) throw new Error(`answered without a patch: ${answer}`);
  return Buffer.from(patch, 'base64').toString();
}
