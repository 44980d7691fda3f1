/**
 * The CA as it lies in its Secret. Data: `ca.crt` and `ca.key` sign what is served; `next.crt` and `next.key` are trusted already and will sign
 * next; `previous.crt` are those that are still trusted because some replica may serve what they signed. Pure.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { ownText, type Secret } from '../kubernetes.ts';

/** A CA certificate and its key, PEM, that belong together. */
export interface CertificateAuthority {
  readonly cert: string;
  /** ECDSA with P-256, as PKCS #8. */
  readonly key: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export interface Authorities {
  readonly current: CertificateAuthority;
  readonly next: CertificateAuthority | undefined;
  /** PEM, one certificate each. */
  readonly previous: readonly string[];
}

/** What the Secret holds: no CA that can sign is never the same as no Secret. */
export type Reading =
  | { readonly state: 'missing' }
  | { readonly state: 'broken'; readonly problem: string }
  | { readonly state: 'good'; readonly authorities: Authorities };

/** More than this many were never trusted at once by any rotation; it bounds what a broken Secret can make us publish. */
const MAX_PREVIOUS = 4;
/** P-256, as OpenSSL calls it. */
const CURVE = 'prime256v1';
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** The certificates in a PEM text that can be read, each in one spelling, without repetition. */
export function splitCertificates(pem: string): string[] {
  const found = [...pem.matchAll(CERTIFICATE)].flatMap(([text]) => {
    try {
      return [new X509Certificate(text).toString()];
    } catch {
      return [];
    }
  });
  return [...new Set(found)];
}

/** Reads the Secret; `next` and `previous` that can't be read are left out, because nothing depends on them. */
export function readAuthorities(secret: Secret | undefined): Reading {
  if (secret === undefined) return { state: 'missing' };
  const text = (key: string): string =>
    Buffer.from(ownText(secret.data, key) ?? '', 'base64').toString('utf8');
  const current = readPair(text('ca.crt'), text('ca.key'));
  if (typeof current === 'string') return { state: 'broken', problem: `ca.crt and ca.key: ${current}` };
  const next = readPair(text('next.crt'), text('next.key'));
  return {
    state: 'good',
    authorities: {
      current,
      next: typeof next === 'string' || next.cert === current.cert ? undefined : next,
      previous: splitCertificates(text('previous.crt')).slice(0, MAX_PREVIOUS),
    },
  };
}

/** The Secret's data for them. */
export function writeAuthorities({ current, next, previous }: Authorities): Record<string, string> {
  const encode = (text: string): string => Buffer.from(text).toString('base64');
  return {
    'ca.crt': encode(current.cert),
    'ca.key': encode(current.key),
    ...(next !== undefined && { 'next.crt': encode(next.cert), 'next.key': encode(next.key) }),
    ...(previous.length > 0 && { 'previous.crt': encode(previous.slice(0, MAX_PREVIOUS).join('')) }),
  };
}

/** All that is to be trusted now, the one that signs first. */
export const trustedBy = ({ current, next, previous }: Authorities): string[] => [
  ...new Set([current.cert, ...(next === undefined ? [] : [next.cert]), ...previous]),
];

/**
 * Checks that a certificate and a key can sign.
 * @returns the pair, or what is wrong
 */
export function readPair(cert: string, key: string): CertificateAuthority | string {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(cert);
  } catch {
    return 'there is no certificate in it';
  }
  if (!certificate.ca) return 'the certificate is none of a CA';
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(key);
  } catch {
    return 'there is no private key in it';
  }
  if (!certificate.checkPrivateKey(privateKey)) return 'the key does not belong to the certificate';
  if (privateKey.asymmetricKeyDetails?.namedCurve !== CURVE)
    return 'the key is none of ECDSA with P-256, which is what certificates are signed with';
  return {
    cert: certificate.toString(),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    notBeforeMs: certificate.validFromDate.getTime(),
    notAfterMs: certificate.validToDate.getTime(),
  };
}
