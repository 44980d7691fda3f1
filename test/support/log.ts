import { Writable } from 'node:stream';
import { type Logger, pino } from 'pino';

export interface TestLog {
  readonly logger: Logger;
  readonly lines: readonly Record<string, unknown>[];
  /** The lines with that message. */
  withMessage(message: string): Record<string, unknown>[];
}

/** A real logger, whose lines can be read. */
export function testLog(): TestLog {
  const lines: Record<string, unknown>[] = [];
  const sink = new Writable({
    write(chunk, _encoding, done) {
      lines.push(JSON.parse(String(chunk)));
      done();
    },
  });
  const logger = pino({ level: 'debug' }, sink);
  return { logger, lines, withMessage: (message) => lines.filter(({ msg }) => msg === message) };
}
