/** What a request to a kube-apiserver shows of who sends it. */
import type { ConnectionOptions } from 'node:tls';

export type TlsOptions = Pick<ConnectionOptions, 'ca' | 'cert' | 'key' | 'servername' | 'rejectUnauthorized'>;
export type Headers = Readonly<Record<string, string | string[]>>;

export interface Identity {
  readonly tls: TlsOptions;
  /** Secret: never logged, never in an error. */
  readonly headers: Headers;
}

/** Where the API server is, and who asks it. */
export interface Credentials {
  /** The API server's address; a path is what all requests begin with. */
  readonly server: URL;
  readonly proxyUrl: string | undefined;
  /** As it is now: tokens and certificates rotate. */
  identity(): Promise<Identity>;
  /** Forgets what it holds: the server did not take it. */
  refresh(): void;
}
