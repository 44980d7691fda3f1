/**
 * Who this process is to a kube-apiserver: from a kubeconfig or from the pod's service account. client-node's KubeConfig is not used for it: it
 * loads every API model that there is (85 MB, half a second), reads token files once only, and knows `token-file` for what kubectl calls
 * `tokenFile`.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { type Clock, systemClock } from '../clock.ts';
import { InputError, type InputProblem } from '../input.ts';
import type { Credentials, Headers, Identity, TlsOptions } from './identity.ts';
import { Kubeconfig, parseKubeconfig, type Section } from './kubeconfig.ts';
import { findPlugin, type Plugin } from './plugin.ts';

/** Bound service account tokens live an hour and are replaced after 80 % of it; client-go reads as often. */
const FILE_MAX_AGE_MS = 60_000;
const SERVICE_ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * The pod's service account.
 * @throws {InputError} outside of a pod
 */
export function inClusterCredentials(
  env: Readonly<Record<string, string | undefined>>,
  options: { readonly folder?: string; readonly clock?: Clock } = {},
): Credentials {
  const host = env.KUBERNETES_SERVICE_HOST;
  const port = env.KUBERNETES_SERVICE_PORT ?? '443';
  if (!host) {
    const text =
      'KUBERNETES_SERVICE_HOST is not set: this is no pod; use --kubeconfig FILE or --state FOLDER';
    throw new InputError([{ file: 'environment', line: 0, field: '', text }]);
  }
  const folder = options.folder ?? SERVICE_ACCOUNT_FOLDER;
  const clock = options.clock ?? systemClock;
  const token = new RotatingFile(path.join(folder, 'token'), clock);
  const ca = new RotatingFile(path.join(folder, 'ca.crt'), clock);
  return {
    server: new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`),
    proxyUrl: undefined,
    identity: async () => ({
      tls: { ca: await ca.text() },
      headers: { authorization: `Bearer ${(await token.text()).trim()}` },
    }),
    refresh: () => token.forget(),
  };
}

/**
 * The user of a kubeconfig's context.
 * @param files the kubeconfig, or several that count as one, of which some need not exist (as in kubectl's $KUBECONFIG)
 * @param context its current one by default
 * @throws {InputError} with file, line and field
 */
export async function loadKubeconfig(
  files: string | readonly string[],
  options: { readonly context?: string; readonly clock?: Clock } = {},
): Promise<Credentials> {
  const config = await readKubeconfig(typeof files === 'string' ? [files] : files);
  const contextName =
    options.context ?? config.requiredText('current-context', 'is missing; name the context to use');
  const context = config.named('contexts', contextName, 'context', 'current-context');
  const clusterName = context.requiredText('cluster');
  const cluster = config.named('clusters', clusterName, 'cluster', 'contexts');
  const userName = context.text('user');
  const user = userName === undefined ? undefined : config.named('users', userName, 'user', 'contexts');
  const chosen = {
    'current-context': contextName,
    contexts: [{ name: contextName, context: context.value }],
    clusters: [{ name: clusterName, cluster: cluster.value }],
    users: user === undefined ? [] : [{ name: userName, user: user.value }],
  };
  return new KubeconfigCredentials(
    JSON.stringify(chosen),
    contextName,
    cluster,
    user,
    options.clock ?? systemClock,
  );
}

async function readKubeconfig(files: readonly string[]): Promise<Kubeconfig> {
  const missing: InputProblem[] = [];
  const read = async (file: string): Promise<Section[]> => {
    try {
      return [parseKubeconfig(await readFile(file, 'utf8'), file)];
    } catch (error) {
      if (!(error instanceof Error) || error instanceof InputError) throw error;
      const problem = { file, line: 0, field: '', text: `the kubeconfig cannot be read: ${error.message}` };
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw new InputError([problem]);
      missing.push(problem);
      return [];
    }
  };
  const [first, ...others] = (await Promise.all(files.map(read))).flat();
  if (first === undefined) throw new InputError(missing);
  return new Kubeconfig([first, ...others]);
}

class KubeconfigCredentials implements Credentials {
  readonly server: URL;
  readonly proxyUrl: string | undefined;
  readonly #tls: TlsOptions;
  readonly #files: Readonly<Record<'ca' | 'cert' | 'key' | 'token', RotatingFile | undefined>>;
  readonly #headers: Headers;
  readonly #plugin: Plugin | undefined;

  constructor(text: string, context: string, cluster: Section, user: Section | undefined, clock: Clock) {
    this.server = readServer(cluster);
    this.proxyUrl = cluster.text('proxy-url');
    const rotating = (section: Section | undefined, key: string) => {
      const file = section?.filePath(key);
      return file === undefined ? undefined : new RotatingFile(file, clock);
    };
    this.#files = {
      ca: rotating(cluster, 'certificate-authority'),
      cert: rotating(user, 'client-certificate'),
      key: rotating(user, 'client-key'),
      token: rotating(user, 'tokenFile'),
    };
    const servername = cluster.text('tls-server-name');
    this.#tls = {
      ...inline('ca', cluster, 'certificate-authority-data'),
      ...inline('cert', user, 'client-certificate-data'),
      ...inline('key', user, 'client-key-data'),
      ...(servername === undefined ? {} : { servername }),
      ...(cluster.get('insecure-skip-tls-verify') === true ? { rejectUnauthorized: false } : {}),
    };
    this.#headers = user === undefined ? {} : readHeaders(user);
    this.#plugin = user === undefined ? undefined : findPlugin(text, context, cluster, user);
  }

  async identity(): Promise<Identity> {
    const tls: TlsOptions = { ...this.#tls };
    for (const part of ['ca', 'cert', 'key'] as const) {
      const file = this.#files[part];
      if (file !== undefined && tls[part] === undefined) tls[part] = await file.text();
    }
    const token = await this.#files.token?.text();
    const plugged = await this.#plugin?.get();
    return {
      tls: { ...tls, ...plugged?.tls },
      headers: {
        ...plugged?.headers,
        ...this.#headers,
        ...(token === undefined ? {} : { authorization: `Bearer ${token.trim()}` }),
      },
    };
  }

  refresh(): void {
    this.#files.token?.forget();
    this.#plugin?.forget();
  }
}

function readServer(cluster: Section): URL {
  const server = cluster.requiredText('server');
  const url = URL.parse(server);
  if (url?.protocol === 'https:' || url?.protocol === 'http:') return url;
  throw cluster.error('server', `must be a URL such as https://host:6443, is ${JSON.stringify(server)}`);
}

/** Content in the kubeconfig goes before a file that it names, as in kubectl. */
function inline(part: 'ca' | 'cert' | 'key', section: Section | undefined, key: string): TlsOptions {
  const data = section?.text(key);
  return data === undefined ? {} : { [part]: Buffer.from(data, 'base64').toString('utf8') };
}

function readHeaders(user: Section): Headers {
  const headers: Record<string, string | string[]> = {};
  const [token, name] = [user.text('token'), user.text('username')];
  if (name !== undefined) {
    const login = Buffer.from(`${name}:${user.text('password') ?? ''}`).toString('base64');
    headers.authorization = `Basic ${login}`;
  }
  if (token !== undefined) headers.authorization = `Bearer ${token.trim()}`;
  const [as, uid, groups] = [user.text('as'), user.text('as-uid'), user.get('as-groups')];
  if (as !== undefined) headers['impersonate-user'] = as;
  if (uid !== undefined) headers['impersonate-uid'] = uid;
  if (Array.isArray(groups)) headers['impersonate-group'] = groups.map(String);
  return headers;
}

/** A file whose content is replaced while the process runs. */
class RotatingFile {
  readonly #file: string;
  readonly #clock: Clock;
  #text: string | undefined;
  #readAtMs = Number.NEGATIVE_INFINITY;

  constructor(file: string, clock: Clock) {
    this.#file = file;
    this.#clock = clock;
  }

  /** @throws {InputError} where it cannot be read and never was */
  async text(): Promise<string> {
    if (this.#text !== undefined && this.#clock.now() - this.#readAtMs < FILE_MAX_AGE_MS) return this.#text;
    try {
      this.#text = await readFile(this.#file, 'utf8');
      this.#readAtMs = this.#clock.now();
    } catch (error) {
      if (this.#text !== undefined) return this.#text;
      const text = `the credentials cannot be read: ${error instanceof Error ? error.message : error}`;
      throw new InputError([{ file: this.#file, line: 0, field: '', text }]);
    }
    return this.#text;
  }

  /** The next look reads the file. */
  forget(): void {
    this.#readAtMs = Number.NEGATIVE_INFINITY;
  }
}
