/** A logger for commands that say what they have to say themselves. */
import { type Logger, pino } from 'pino';

export const silentLogger = (): Logger => pino({ level: 'silent' });
