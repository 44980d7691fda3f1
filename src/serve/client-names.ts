/** Optional mutual TLS: besides a CA (which TLS itself checks), the name in the client's certificate. */
import type { Server } from 'node:https';
import type { PeerCertificate, TLSSocket } from 'node:tls';
import type { Logger } from 'pino';

/** Node puts names with commas or quotes, which could look like several, into JSON strings. */
const ALTERNATIVE_NAME = /(?:^|, )[A-Za-z ]+:("(?:[^"\\]|\\.)*"|[^,]*)/gy;

function unquote(name: string): string {
  try {
    return String(JSON.parse(name));
  } catch {
    return name;
  }
}

/** The common name, and the alternative names without their type. */
export function namesOf({
  subject,
  subjectaltname,
}: Pick<PeerCertificate, 'subject' | 'subjectaltname'>): string[] {
  const alternative = [...(subjectaltname ?? '').matchAll(ALTERNATIVE_NAME)].map(([, name = '']) =>
    name.startsWith('"') ? unquote(name) : name,
  );
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
