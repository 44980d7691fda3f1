/**
 * Sends one body again and again over keep-alive TLS connections, one request at a time each, and measures. Raw sockets and a parser that
 * knows no more of HTTP than it must, so that the load is never what limits.
 */
import { readFileSync } from 'node:fs';
import { connect, type TLSSocket } from 'node:tls';
import { PORT, UID } from './payload.ts';

export interface Job {
  /** Whether every request brings the same object, or each another one. */
  readonly objects: 'same' | 'new';
  readonly port: number;
  readonly path: string;
  readonly caFile: string;
  readonly bodyFile: string;
  readonly connections: number;
  readonly seconds: number;
}

export interface Load {
  readonly requests: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const END_OF_HEAD = Buffer.from('\r\n\r\n');
/** Go answers in chunks where the answer is larger than 2 KB. */
const LAST_CHUNK = Buffer.from('\r\n0\r\n\r\n');

/** One connection: sends, waits for the whole answer, reports, sends again until told to stop. */
function run(job: Job, index: number, onAnswer: (ms: number) => boolean): Promise<void> {
  const body = readFileSync(job.bodyFile);
  const head = `POST ${job.path}?timeout=5s HTTP/1.1\r\nHost: 127.0.0.1:${job.port}\r\nUser-Agent: kube-apiserver-admission\r\nContent-Length: ${body.length}\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n`;
  const message = Buffer.concat([Buffer.from(head), body]);
  const uidAt = message.indexOf(UID);
  const portAt = message.indexOf(`"${PORT}"`) + 1;
  let sent = 0;
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connect({ port: job.port, host: '127.0.0.1', ca: readFileSync(job.caFile) });
    socket.setNoDelay(true);
    let startMs = 0;
    let answer: Buffer = Buffer.alloc(0);
    const send = (): void => {
      sent += 1;
      // Each request is another one, so that no server gains by remembering.
      message.write(
        String(index * 1_000_000_000 + sent).padStart(12, '0'),
        uidAt + UID.length - 12,
        'latin1',
      );
      if (job.objects === 'new')
        message.write(String(10_000 + ((index * 997 + sent) % 90_000)), portAt, 'latin1');
      startMs = performance.now();
      socket.write(message);
    };
    socket.on('secureConnect', send);
    socket.on('data', (chunk: Buffer) => {
      answer = answer.length === 0 ? chunk : Buffer.concat([answer, chunk]);
      const headEnd = answer.indexOf(END_OF_HEAD);
      if (headEnd === -1) return;
      const headText = answer.toString('latin1', 0, headEnd);
      if (!isWhole(answer, headText)) return;
      if (!headText.startsWith('HTTP/1.1 200') || answer.indexOf('"patch":') === -1) {
        reject(new Error(`not answered with a patch: ${answer.toString()}`));
        socket.destroy();
        return;
      }
      answer = Buffer.alloc(0);
      if (onAnswer(performance.now() - startMs)) send();
      else socket.end(() => resolve());
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the server closed the connection')));
  });
}

function isWhole(answer: Buffer, headText: string): boolean {
  const length = /content-length: (\d+)/i.exec(headText)?.[1];
  if (length !== undefined) return answer.length >= headText.length + END_OF_HEAD.length + Number(length);
  return answer.subarray(-LAST_CHUNK.length).equals(LAST_CHUNK);
}

/** Runs one job. */
export async function runLoad(job: Job): Promise<Load> {
  const latenciesMs: number[] = [];
  const startMs = performance.now();
  const endMs = startMs + job.seconds * 1000;
  await Promise.all(
    Array.from({ length: job.connections }, (_, index) =>
      run(job, index, (ms) => {
        latenciesMs.push(ms);
        return performance.now() < endMs;
      }),
    ),
  );
  const seconds = (performance.now() - startMs) / 1000;
  latenciesMs.sort((a, b) => a - b);
  const quantile = (share: number): number => latenciesMs[Math.floor(latenciesMs.length * share)] ?? 0;
  return { requests: latenciesMs.length, seconds, p50Ms: quantile(0.5), p99Ms: quantile(0.99) };
}
