/** Certificates for tests' servers on 127.0.0.1. */
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
