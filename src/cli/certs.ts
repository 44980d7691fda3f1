/** `certs`: a CA and a server certificate in files, for a machine of one's own. */
import { access, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { dirname, join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { InputError, type InputProblem } from '../input.ts';
import type { CliIo } from './io.ts';

interface CertsOptions {
  readonly dir: string;
  readonly dns: readonly string[];
  readonly ip: readonly string[];
  readonly days: number;
  readonly force: boolean;
}

const PRIVATE_MODE = 0o600;
const PUBLIC_MODE = 0o644;
const DEFAULT_DNS = ['localhost', 'kkp-audit-webhook.kubermatic.svc'];
const DEFAULT_IP = ['127.0.0.1', '::1'];
/** What Apple's and other TLS clients accept at most. */
const MAX_DAYS = 825;
const DNS_NAME =
  /^(?=.{1,253}$)(?:\*\.)?[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/i;

/** Builds the command. */
export function certsCommand(io: CliIo): Command {
  return new Command('certs')
    .description(
      'Make a CA and a server certificate for development. Keep the keys to yourself; never commit them.',
    )
    .option('--dir <folder>', 'where the files go', 'certs')
    .option('--dns <name...>', 'DNS names of the server', addDns, DEFAULT_DNS)
    .option('--ip <address...>', 'IP addresses of the server', addIp, DEFAULT_IP)
    .option('--days <days>', 'how long both are valid', parseDays, 365)
    .option('--force', 'overwrite what is there', false)
    .action((options: CertsOptions) => makeCerts(options, io));
}

function addDns(value: string, previous: readonly string[]): string[] {
  if (!DNS_NAME.test(value)) throw new InvalidArgumentError('expected a DNS name, such as example.org.');
  return [...(previous === DEFAULT_DNS ? [] : previous), value];
}

function addIp(value: string, previous: readonly string[]): string[] {
  if (isIP(value) === 0) throw new InvalidArgumentError('expected an IP address, such as 127.0.0.1 or ::1.');
  return [...(previous === DEFAULT_IP ? [] : previous), value];
}

function parseDays(value: string): number {
  const days = Number(value);
  if (/^\d+$/.test(value) && days >= 1 && days <= MAX_DAYS) return days;
  throw new InvalidArgumentError(`expected a whole number of days from 1 to ${MAX_DAYS}.`);
}

async function makeCerts({ dir, dns, ip, days, force }: CertsOptions, io: CliIo): Promise<void> {
  const paths = ['ca.crt', 'ca.key', 'tls.crt', 'tls.key'].map((name) => join(dir, name));
  if (!force) await refuseExisting(paths);
  const { issueCa, issueServerCertificate } = await import('../certificates.ts');
  const validity = { days, now: new Date() };
  const ca = await issueCa(validity);
  const server = await issueServerCertificate(ca, [...dns, ...ip], validity);
  const contents = [ca.cert, ca.key, server.cert, server.key];
  try {
    await ensureFolder(dir);
    for (const [index, path] of paths.entries()) {
      const mode = path.endsWith('.key') ? PRIVATE_MODE : PUBLIC_MODE;
      await writeFresh(path, `${contents[index]?.trimEnd()}\n`, mode);
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new InputError([problem(dir, `the files can't be written: ${why}`)]);
  }
  io.stdout.write(
    `${paths.join('\n')}\n\nValid for ${days} days, for ${[...dns, ...ip].join(', ')}. Serve them with\n` +
      `  --tls-cert ${paths[2]} --tls-key ${paths[3]}\n`,
  );
}

async function refuseExisting(paths: readonly string[]): Promise<void> {
  const exists = await Promise.all(
    paths.map((path) =>
      access(path).then(
        () => true,
        () => false,
      ),
    ),
  );
  const problems = paths.filter((_, index) => exists[index]);
  if (problems.length === 0) return;
  throw new InputError(
    problems.map((path) => problem(path, 'it is there already; use --force to replace it, or another --dir')),
  );
}

/** Not `recursive: true`, which never ends where a file system answers ENOENT for a folder that can't be made (/proc). */
async function ensureFolder(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT') throw error;
    await ensureFolder(dirname(path));
    await mkdir(path);
  }
}

/** By a new file in its place: one that is there would keep its mode, which may let others read it. */
async function writeFresh(path: string, content: string, mode: number): Promise<void> {
  const fresh = `${path}.new`;
  await rm(fresh, { force: true });
  await writeFile(fresh, content, { mode, flag: 'wx' });
  await rename(fresh, path);
}

function problem(file: string, text: string): InputProblem {
  return { file, line: 0, field: '', text };
}
