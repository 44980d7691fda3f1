import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ControlPlane } from './controlplane.ts';
import type { Identity } from './identities.ts';

/** A kubeconfig for that identity; with a port, one that reaches the control plane through it (see cut.ts). */
export async function kubeconfigThrough(
  controlPlane: ControlPlane,
  identity: Identity,
  port?: number,
): Promise<string> {
  const file = controlPlane.kubeconfigFor(identity);
  if (port === undefined) return file;
  const text = (await readFile(file, 'utf8')).replaceAll(controlPlane.url, `https://127.0.0.1:${port}`);
  const through = join(controlPlane.dir, `through-${port}.kubeconfig`);
  await writeFile(through, text, { mode: 0o600 });
  return through;
}
