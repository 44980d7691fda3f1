/**
 * Whether kube-apiserver would get through: this server calls itself over TLS, with what kube-apiserver trusts and under the names that it calls.
 * A replica whose certificate is not trusted must not get requests.
 */
import { checkServerIdentity, connect, type TLSSocket } from 'node:tls';

export interface SelfCall {
  readonly host: string;
  readonly port: number;
  /** PEM of what kube-apiserver trusts; undefined where it was told nothing, so that any certificate will do. */
  readonly trusted: readonly string[] | undefined;
  readonly serverNames: readonly string[];
  /** Without a client certificate no request gets through mutual TLS; then the handshake must do. */
  readonly handshakeOnly: boolean;
  /** The times in the certificate were set by kube-apiserver's clock, so that this machine's has no say. */
  readonly ignoreTimes: boolean;
  readonly timeoutMs: number;
}

/** An answer of this software, whatever the path: it takes POST only. */
const REQUEST = 'GET /validate HTTP/1.1\r\nhost: self-check\r\nconnection: close\r\n\r\n';
const ANSWER = 'HTTP/1.1 405 ';
const TIME_ERRORS = ['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID'];

/** Why kube-apiserver would not get through. */
export interface SelfCallProblem {
  readonly text: string;
  /** It was judged; otherwise there was no answer, which may be no more than a machine under load. */
  readonly judged: boolean;
}

/** @returns undefined where kube-apiserver would get through */
export function callSelf(call: SelfCall): Promise<SelfCallProblem | undefined> {
  return new Promise((resolve) => {
    const end = (text: string | undefined, judged = false): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(text === undefined ? undefined : { text, judged });
    };
    const timer = setTimeout(() => end('a call to itself was not answered in time'), call.timeoutMs);
    const socket = connect({
      host: call.host,
      port: call.port,
      // Where a client certificate is asked for, TLS 1.3 lets the server's be judged first.
      minVersion: 'TLSv1.3',
      ...(call.trusted !== undefined && { ca: [...call.trusted] }),
      // kube-apiserver ends a chain at any certificate of the caBundle, an intermediate one too.
      allowPartialTrustChain: true,
      // Judged below, where the message can say why.
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    });
    let answer = '';
    socket
      .on('error', (error) => end(`a call to itself failed: ${error.message}`))
      .on('close', () => end('a call to itself was not answered'))
      .on('secureConnect', () => {
        const problem = judgeCertificate(socket, call);
        if (problem !== undefined || call.handshakeOnly) end(problem, true);
        else socket.write(REQUEST);
      })
      .on('data', (chunk) => {
        answer += chunk.toString('latin1');
        if (answer.length >= ANSWER.length)
          end(answer.startsWith(ANSWER) ? undefined : 'a call to itself was answered by something else');
      });
  });
}

function judgeCertificate(
  socket: TLSSocket,
  { trusted, serverNames, ignoreTimes }: SelfCall,
): string | undefined {
  if (trusted === undefined) return undefined;
  const certificate = socket.getPeerCertificate();
  // Node would fall back on the common name, which Go no longer does.
  if (certificate.subjectaltname === undefined)
    return 'kube-apiserver would not believe the certificate: it has no subjectAltName';
  const wrongName = serverNames
    .filter((name) => name !== '')
    .map((name) => checkServerIdentity(name, certificate))
    .find((error) => error !== undefined);
  if (wrongName !== undefined)
    return `kube-apiserver would not believe the certificate: ${wrongName.message}`;
  // Typed as an Error, it is the code of one.
  const code = String(socket.authorizationError ?? '');
  if (code === '' || (ignoreTimes && TIME_ERRORS.includes(code))) return undefined;
  return `kube-apiserver would not trust the certificate: against the published CA it gives ${code}`;
}
