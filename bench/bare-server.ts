/**
 * What the server is measured against: node:https and nothing else. It parses the body and answers the patch that is fixed for its operation.
 * Usage: node bench/bare-server.ts PORT CERT_DIR PATCHES_FILE, a JSON object of a patch (text) by operation.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import type { Operation } from './payload.ts';

const [port = '', certDir = '', patchesFile = ''] = process.argv.slice(2);
const texts = JSON.parse(readFileSync(patchesFile, 'utf8')) as Record<Operation, string>;
const patches = Object.fromEntries(
  Object.entries(texts).map(([operation, text]) => [operation, Buffer.from(text).toString('base64')]),
);

const server = createServer(
  { cert: readFileSync(join(certDir, 'tls.crt')), key: readFileSync(join(certDir, 'tls.key')) },
  (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const review = JSON.parse(Buffer.concat(chunks).toString()) as {
        request: { uid: string; operation: Operation };
      };
      const { uid, operation } = review.request;
      const answer = JSON.stringify({
        apiVersion: 'admission.k8s.io/v1',
        kind: 'AdmissionReview',
        response: { uid, allowed: true, patchType: 'JSONPatch', patch: patches[operation] },
      });
      response.writeHead(200, {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(answer),
      });
      response.end(answer);
    });
  },
);
server.listen(Number(port), '127.0.0.1');
