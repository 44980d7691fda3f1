/**
 * The log: JSON lines by pino, one a decision. Lines are collected and written together, because a system call a line would cost more than
 * most decisions.
 */
import { type DestinationStream, type Logger, type LoggerOptions, pino } from 'pino';

const BATCH_BYTES = 32 * 1024;
/** Where the reader of the log stands still, lines above this are lost, rather than decisions. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024;
/** So long at most does a line wait for others. */
const BATCH_INTERVAL_MS = 200;

const OPTIONS: LoggerOptions = {
  base: null, // process id and host name: whoever collects the log knows them
  timestamp: pino.stdTimeFunctions.isoTime,
  formatters: { level: (label) => ({ level: label }) },
  // Nothing logs these on purpose. This is for the day when someone logs a request or an object as it is.
  redact: {
    paths: [
      'authorization',
      'token',
      'password',
      'key',
      'headers',
      'data',
      'stringData',
      'object',
      'oldObject',
    ],
    censor: '[not logged]',
  },
};

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface Log {
  readonly logger: Logger;
  /** Writes what waits, before the process ends. Never throws. */
  flush(): void;
}

/**
 * Makes a logger.
 * @param destination a stream, which gets each line at once, or a file descriptor, which is written to in batches
 */
export function buildLog(level: LogLevel, destination: DestinationStream | number): Log {
  if (typeof destination !== 'number') {
    return { logger: pino({ ...OPTIONS, level }, destination), flush: () => undefined };
  }
  const batches = pino.destination({
    fd: destination,
    sync: false,
    minLength: BATCH_BYTES,
    maxWrite: 2 * BATCH_BYTES,
    maxLength: MAX_WAITING_BYTES,
    periodicFlush: BATCH_INTERVAL_MS,
  });
  return {
    logger: pino({ ...OPTIONS, level }, batches),
    flush() {
      try {
        batches.flushSync();
      } catch {
        // The reader is gone, and nobody is left to be told.
      }
    },
  };
}
