import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const DOCKERFILE = join(import.meta.dirname, '..', '..', 'Dockerfile');

/** What the Dockerfile has behind Node's program, flags of Node included, with the built program in that folder. */
export function imageEntrypoint(dist: string): string[] {
  const dockerfile = readFileSync(DOCKERFILE, 'utf8');
  const [, ...args] = JSON.parse(/^ENTRYPOINT (.*)$/m.exec(dockerfile)?.[1] ?? '') as string[];
  return args.map((arg) => arg.replace(/^\/app\/dist\//, `${dist}/`));
}
