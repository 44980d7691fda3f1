/** The real server, as a process of its own: `node src/main.ts serve` beside a test's control plane. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { request } from 'undici';
import { issueCa, issueServerCertificate } from '../../src/certificates.ts';
import { type Child, startChild } from './children.ts';
import { type ControlPlane, freePort } from './controlplane.ts';
import { IDENTITIES, type Identity } from './identities.ts';
import { until } from './wait.ts';

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'main.ts');
const READY_TIMEOUT_MS = 60_000;

export interface WebhookServerOptions {
  /** Content of the server's configuration file; default none. */
  readonly config?: string;
  /** Default: the webhook's service account. */
  readonly identity?: Identity;
  /** More arguments of `serve`. */
  readonly args?: readonly string[];
}

export interface WebhookServer {
  /** Where the hooks are, such as https://127.0.0.1:20443. */
  readonly url: string;
  /** PEM of the CA that signed the server's certificate. */
  readonly ca: string;
  /** Where health, readiness and metrics are. */
  readonly opsUrl: string;
  readonly child: Child;
  /** Ends the server at once; `child.stop('SIGTERM')` lets it drain. */
  stop(): Promise<void>;
}

let servers = 0;

/**
 * Starts the server on that seed's state and waits until it is ready. It ends with this process, as the seed does.
 * @throws {Error} with the end of its log where it does not become ready
 */
export async function startWebhookServer(
  seed: ControlPlane,
  options: WebhookServerOptions = {},
): Promise<WebhookServer> {
  const [port, opsPort] = await Promise.all([freePort(), freePort()]);
  const name = `webhook-server-${servers++}`;
  const file = (suffix: string) => join(seed.dir, `${name}${suffix}`);
  const validity = { days: 1, now: new Date() };
  const ca = await issueCa(validity);
  const tls = await issueServerCertificate(ca, ['127.0.0.1', 'localhost'], validity);
  writeFileSync(file('.crt'), tls.cert);
  writeFileSync(file('.key'), tls.key, { mode: 0o600 });
  if (options.config !== undefined) writeFileSync(file('.yaml'), options.config);
  const child = startChild({
    name,
    command: process.execPath,
    args: [
      MAIN,
      'serve',
      `--kubeconfig=${seed.kubeconfigFor(options.identity ?? IDENTITIES.webhook)}`,
      `--port=${port}`,
      `--ops-port=${opsPort}`,
      `--tls-cert=${file('.crt')}`,
      `--tls-key=${file('.key')}`,
      ...(options.config === undefined ? [] : [`--config=${file('.yaml')}`]),
      ...(options.args ?? []),
    ],
    logFile: file('.log'),
  });
  const opsUrl = `http://127.0.0.1:${opsPort}`;
  try {
    await until('the server to be ready', () => isReady(child, opsUrl), READY_TIMEOUT_MS);
  } catch (error) {
    await child.stop();
    throw new Error(`${(error as Error).message}; the end of its log:\n${child.logTail()}`, { cause: error });
  }
  return { url: `https://127.0.0.1:${port}`, ca: ca.cert, opsUrl, child, stop: () => child.stop() };
}

async function isReady(child: Child, opsUrl: string): Promise<boolean> {
  if (child.ended !== undefined) throw new Error(`the server ended (${child.ended})`);
  try {
    const { statusCode, body } = await request(`${opsUrl}/readyz`);
    await body.dump();
    return statusCode === 200;
  } catch {
    return false; // nobody listens yet
  }
}
