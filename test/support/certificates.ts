/** Certificates for tests' servers on 127.0.0.1. */
import 'reflect-metadata'; // @peculiar/x509 does not start without it
import { webcrypto } from 'node:crypto';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { issueCa, issueServerCertificate, type KeyPair } from '../../src/certificates.ts';
import { readTls, type TlsMaterial } from '../../src/tls.ts';

export interface TestCa {
  readonly ca: KeyPair;
  /** Another certificate by the same CA at each call. */
  issue(): Promise<TlsMaterial>;
}

export async function testCa(): Promise<TestCa> {
  const validity = { days: 1, now: new Date() };
  const ca = await issueCa(validity);
  return {
    ca,
    async issue() {
      const pair = await issueServerCertificate(ca, ['127.0.0.1', 'localhost'], validity);
      return readTls(pair.cert, pair.key, { certFile: 'tls.crt', keyFile: 'tls.key' });
    },
  };
}

/** A client certificate by that CA, with that common name and those alternative names. */
export function issueClientCertificate(
  ca: KeyPair,
  commonName: string,
  alternativeNames: readonly string[] = [],
): Promise<KeyPair> {
  const names = alternativeNames.map((value) => ({ type: 'dns' as const, value }));
  return issueBy(ca, commonName, [
    new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth]),
    ...(names.length === 0 ? [] : [new SubjectAlternativeNameExtension(names)]),
  ]);
}

/** A CA of somebody who does not use ECDSA. */
export async function issueRsaCa(): Promise<KeyPair> {
  const signingAlgorithm = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(
    { ...signingAlgorithm, modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) },
    true,
    ['sign', 'verify'],
  );
  const certificate = await X509CertificateGenerator.createSelfSigned({
    keys,
    name: 'CN=rsa',
    notBefore: new Date(0),
    notAfter: new Date(Date.UTC(2049, 0, 1)),
    signingAlgorithm,
    extensions: [new BasicConstraintsExtension(true, 0, true)],
  });
  return { cert: certificate.toString('pem'), key: await exportKey(keys.privateKey) };
}

/** A CA that is signed by that one. */
export const issueIntermediateCa = (ca: KeyPair): Promise<KeyPair> =>
  issueBy(ca, 'intermediate', [
    new BasicConstraintsExtension(true, 0, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true),
  ]);

async function issueBy(ca: KeyPair, commonName: string, extensions: Extension[]): Promise<KeyPair> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const issuer = new X509Certificate(ca.cert);
  const [der] = PemConverter.decode(ca.key);
  const certificate = await X509CertificateGenerator.create({
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    subject: `CN=${commonName}`,
    issuer: issuer.subjectName,
    publicKey: keys.publicKey,
    signingKey: await webcrypto.subtle.importKey('pkcs8', der as ArrayBuffer, algorithm, false, ['sign']),
    signingAlgorithm: algorithm,
    extensions,
  });
  return { cert: certificate.toString('pem'), key: await exportKey(keys.privateKey) };
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  return PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}
