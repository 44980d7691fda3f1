/**
 * Reads the bodies of requests under two limits: one a body, and one for all that are arriving at once, so that many large or slow ones
 * can't use up the memory. Only bytes that have arrived count; what a client announces costs nothing.
 */
import type { Readable } from 'node:stream';
import { ReviewError } from './admission.ts';

type Done = (error: Error | null, body?: Buffer) => void;

/**
 * @param maxBodyBytes a longer body is BODY_TOO_LARGE
 * @param maxBodiesBytes once the bodies that are arriving hold more, the one that grows is OVERLOADED
 * @returns reads one body; `announcedBytes` is its Content-Length, NaN where there is none
 */
export function buildBodyReader(
  maxBodyBytes: number,
  maxBodiesBytes: number,
): (payload: Readable, announcedBytes: number, done: Done) => void {
  let heldBytes = 0;
  return (payload, announcedBytes, done) => {
    if (announcedBytes > maxBodyBytes) {
      done(tooLarge(maxBodyBytes));
      return;
    }
    const chunks: Buffer[] = [];
    let bytes = 0;
    const finish = (error: Error | null): void => {
      payload.off('data', onData).off('end', onEnd).off('error', onCut).off('close', onCut);
      heldBytes -= bytes;
      if (error === null) done(null, Buffer.concat(chunks, bytes));
      else done(error);
    };
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length;
      heldBytes += chunk.length;
      chunks.push(chunk);
      if (bytes > maxBodyBytes) finish(tooLarge(maxBodyBytes));
      else if (heldBytes > maxBodiesBytes) finish(new ReviewError('OVERLOADED', 'too many requests at once'));
    };
    const onEnd = (): void => finish(null);
    const onCut = (): void => finish(new ReviewError('BODY_INCOMPLETE', 'the body did not arrive in full'));
    payload.on('data', onData).on('end', onEnd).on('error', onCut).on('close', onCut);
  };
}

function tooLarge(maxBodyBytes: number): ReviewError {
  return new ReviewError('BODY_TOO_LARGE', `the body is larger than ${maxBodyBytes} bytes`);
}
