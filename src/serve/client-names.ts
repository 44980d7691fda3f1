/** Optional mutual TLS: besides a CA (which TLS itself checks), the name in the client's certificate. */
import type { Server } from 'node:https';
import type { PeerCertificate, TLSSocket } from 'node:tls';
import type { Logger } from 'pino';

/** The common name, and the alternative names without their type. */
export function namesOf({
  subject,
  subjectaltname,
}: Pick<PeerCertificate, 'subject' | 'subjectaltname'>): string[] {
  const alternative = (subjectaltname ?? '')
    .split(', ')
    // A name with a comma or quotes comes quoted; none that is asked for has any.
    .map((entry) => entry.replace(/^(?:DNS|IP Address|URI|email):/, ''))
    .filter((name) => name !== '');
  return [...[subject?.CN ?? []].flat(), ...alternative];
}

/**
 * Ends connections of clients whose certificate has none of the names, before a byte of theirs is read.
 * @param allowed common names or alternative names; compared as they are written
 */
export function requireClientNames(server: Server, allowed: readonly string[], logger: Logger): void {
  server.prependListener('secureConnection', (socket: TLSSocket) => {
    const names = namesOf(socket.getPeerCertificate());
    if (names.some((name) => allowed.includes(name))) return;
    logger.warn(
      { client: socket.remoteAddress, names, allowed },
      'a client with another name in its certificate was turned away',
    );
    socket.destroy();
  });
}
