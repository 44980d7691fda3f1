/**
 * Issues certificates: a CA and a server certificate, ECDSA P-256. Loaded only where one is issued, because the library for it takes longer
 * to load than the rest of the server.
 */
import 'reflect-metadata'; // @peculiar/x509 does not start without it
import { randomBytes, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';

/** PEM. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

export interface Validity {
  readonly days: number;
  readonly now: Date;
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
/** Clocks of other machines may be behind. */
const BACKDATED_MS = 60 * 60 * 1000;
const DAY_MS = 24 * 60 * 60 * 1000;
const SERIAL_BYTES = 16;

/** Makes a CA that signs server certificates only (no intermediate CAs). */
export async function issueCa({ days, now }: Validity): Promise<KeyPair> {
  const keys = await generateKeys();
  const name = 'CN=kkp-audit-webhook-ca';
  const certificate = await X509CertificateGenerator.create({
    ...validity({ days, now }),
    serialNumber: serialNumber(),
    subject: name,
    issuer: name,
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert: certificate.toString('pem'), key: await exportKey(keys.privateKey) };
}

/**
 * Makes a server certificate.
 * @param ca what issueCa() made
 * @param names DNS names and IP addresses that the server is called by, at least one
 */
export async function issueServerCertificate(
  ca: KeyPair,
  names: readonly string[],
  { days, now }: Validity,
): Promise<KeyPair> {
  const keys = await generateKeys();
  const issuer = new X509Certificate(ca.cert);
  const [der] = PemConverter.decode(ca.key);
  const signingKey = await webcrypto.subtle.importKey('pkcs8', der as ArrayBuffer, ALGORITHM, false, [
    'sign',
  ]);
  const times = validity({ days, now });
  const certificate = await X509CertificateGenerator.create({
    ...times,
    // A certificate that outlives its CA is no use, and hides when the end comes.
    notAfter: new Date(Math.min(issuer.notAfter.getTime(), times.notAfter.getTime())),
    serialNumber: serialNumber(),
    subject: 'CN=kkp-audit-webhook',
    issuer: issuer.subjectName,
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isIP(value) === 0 ? ('dns' as const) : ('ip' as const), value })),
      ),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  return { cert: certificate.toString('pem'), key: await exportKey(keys.privateKey) };
}

function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  return PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}

function validity({ days, now }: Validity): { notBefore: Date; notAfter: Date } {
  return {
    notBefore: new Date(now.getTime() - BACKDATED_MS),
    notAfter: new Date(now.getTime() + days * DAY_MS),
  };
}

/** Random and positive: the highest bit is clear, and the one below is set so that no zero leads. */
function serialNumber(): string {
  const bytes = randomBytes(SERIAL_BYTES);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}
