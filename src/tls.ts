/**
 * The served certificate: read from files, checked before it is used, and swapped without a restart when the files change (a mounted Secret
 * is swapped as a whole by a symbolic link, but files may also be written one by one).
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Server } from 'node:https';
import { createSecureContext, type SecureContextOptions, type TlsOptions } from 'node:tls';

export interface TlsFiles {
  /** PEM: the server's certificate, then the intermediate ones. */
  readonly certFile: string;
  readonly keyFile: string;
}

/** A certificate and key that belong together. */
export interface TlsMaterial {
  readonly cert: string;
  readonly key: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** PEM: where it is given, only clients with a certificate of these CAs are served. */
  readonly clientCa?: string;
}

/** Certificate and key can't be used; the message names the file and the way out. */
export class TlsError extends Error {
  override readonly name = 'TlsError';
}

/** TLS 1.3 first; of 1.2 only what has forward secrecy and authenticated encryption. */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/** Every option again at each swap: what is left out of setSecureContext() falls back to Node's default. */
function secureContextOptions(tls: TlsMaterial): SecureContextOptions {
  return {
    cert: tls.cert,
    key: tls.key,
    minVersion: 'TLSv1.2',
    maxVersion: 'TLSv1.3',
    ciphers: CIPHERS,
    honorCipherOrder: true,
    ...(tls.clientCa !== undefined && { ca: tls.clientCa }),
  };
}

/** Options of a new server. */
export function serverTlsOptions(tls: TlsMaterial): TlsOptions {
  return {
    ...secureContextOptions(tls),
    ALPNProtocols: ['http/1.1'],
    ...(tls.clientCa !== undefined && { requestCert: true, rejectUnauthorized: true }),
  };
}

/** Serves another certificate from the next handshake on; open connections stay as they are. */
export function swapTls(server: Server, tls: TlsMaterial): void {
  server.setSecureContext(secureContextOptions(tls));
}

/**
 * Checks that a certificate and a key can be served.
 * @param names how messages call the two
 * @throws {TlsError}
 */
export function readTls(cert: string, key: string, names: TlsFiles): TlsMaterial {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(cert);
  } catch {
    throw new TlsError(`${names.certFile}: there is no certificate in PEM form in it`);
  }
  let isPair: boolean;
  try {
    isPair = certificate.checkPrivateKey(createPrivateKey(key));
  } catch {
    throw new TlsError(`${names.keyFile}: there is no private key in PEM form, without a passphrase, in it`);
  }
  if (!isPair) {
    throw new TlsError(
      `${names.keyFile}: the key does not belong to the certificate in ${names.certFile}; write both from one source`,
    );
  }
  const material = { cert, key, notBefore: certificate.validFromDate, notAfter: certificate.validToDate };
  try {
    createSecureContext(secureContextOptions(material));
  } catch (error) {
    throw new TlsError(`${names.certFile}: TLS can't use it: ${describe(error)}`);
  }
  return material;
}

/**
 * Reads certificate and key.
 * @throws {TlsError}
 */
export async function loadTls(files: TlsFiles): Promise<TlsMaterial> {
  const [cert, key] = await Promise.all([readPem(files.certFile), readPem(files.keyFile)]);
  return readTls(cert, key, files);
}

/** @throws {TlsError} */
export async function readPem(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new TlsError(`${file}: it can't be read: ${describe(error)}`);
  }
}

/** What an error says, whatever was thrown. */
export const describe = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export interface TlsWatch {
  /** Looks at the files at once. Calls of `onChange` or `onProblem` are done when it resolves. */
  check(): Promise<void>;
  stop(): void;
}

/**
 * Looks at the files again and again: watching for events misses swaps on network file systems, and two small files cost nothing.
 * @param current what is served now
 * @param onChange gets each new pair that can be served
 * @param onProblem gets a message once for each new fault; what is served stays
 */
export function watchTls(
  files: TlsFiles,
  current: TlsMaterial,
  {
    intervalMs,
    onChange,
    onProblem,
  }: {
    readonly intervalMs: number;
    readonly onChange: (tls: TlsMaterial) => void;
    readonly onProblem: (problem: string) => void;
  },
): TlsWatch {
  let served = current;
  let problem = '';
  let suspected = '';
  const look = async (): Promise<void> => {
    try {
      const found = await loadTls(files);
      problem = '';
      suspected = '';
      if (found.cert === served.cert && found.key === served.key) return;
      onChange(found);
      served = found;
    } catch (error) {
      const message = describe(error);
      // Seen once, it may be a pair that is just being written.
      if (message === suspected && message !== problem) {
        problem = message;
        onProblem(message);
      }
      suspected = message;
    }
  };
  let checking: Promise<void> = Promise.resolve();
  const check = (): Promise<void> => {
    checking = checking.then(look);
    return checking;
  };
  const timer = setInterval(() => void check(), intervalMs);
  timer.unref();
  return { check, stop: () => clearInterval(timer) };
}
