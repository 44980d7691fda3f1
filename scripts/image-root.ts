/**
 * Makes the root file system of the image: Node, the libraries that it loads, and the program. There is no shell in it, no package manager and
 * nothing else, so that there is little to attack and little to update.
 *
 *     node scripts/image-root.ts OUT PROGRAM…
 *
 * PROGRAM… are the files and folders of the program, which go to /app.
 */
import { chmodSync, cpSync, mkdirSync, realpathSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import process from 'node:process';

/** As the chart runs it; a number, because kubelet can't tell from a name that it is not root. */
const USER = 65532;

const [out, ...program] = process.argv.slice(2);
if (out === undefined || program.length === 0)
  throw new Error('usage: node scripts/image-root.ts OUT PROGRAM…');

const copy = (from: string, to: string): void => {
  const target = join(out, to);
  mkdirSync(dirname(target), { recursive: true });
  cpSync(realpathSync(from), target, { recursive: true });
};

copy(process.execPath, '/usr/local/bin/node');
// What the loader has found for this very process, the loader itself included.
const { sharedObjects } = process.report.getReport() as unknown as { sharedObjects: string[] };
for (const library of sharedObjects) if (library.startsWith('/')) copy(library, library);
for (const path of program) copy(path, join('/app', basename(path)));
mkdirSync(join(out, 'etc'), { recursive: true });
writeFileSync(join(out, 'etc/passwd'), `nonroot:x:${USER}:${USER}:nonroot:/:/sbin/nologin\n`);
writeFileSync(join(out, 'etc/group'), `nonroot:x:${USER}:\n`);
mkdirSync(join(out, 'tmp'));
chmodSync(join(out, 'tmp'), 0o1777);
