/**
 * Starts a kube-apiserver with the audit settings of a Deployment's container `apiserver`, and reads the events that it writes. Paths are those of
 * the container, mapped to a folder: a ConfigMap that the container mounts becomes files, an emptyDir an empty folder.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ApiClient } from '../support/api-client.ts';
import { temporaryFolder } from '../support/children.ts';
import { type ControlPlane, startControlPlane } from '../support/controlplane.ts';
import type { Container, Deployment } from '../support/fixture-types.ts';

/** What the demo reads of an Event of audit.k8s.io/v1. */
export interface AuditEvent {
  readonly level: string;
  readonly stage: string;
  readonly verb: string;
  readonly requestURI: string;
  readonly stageTimestamp: string;
  readonly user: { readonly username: string };
  readonly responseStatus?: { readonly code?: number };
}

export interface AuditedApiserver {
  readonly controlPlane: ControlPlane;
  /** The audit flags as the container has them. */
  readonly flags: readonly string[];
  /** The events written so far, oldest first. */
  events(): AuditEvent[];
}

/** @param seed where the ConfigMaps that the Deployment mounts are read */
export async function startAuditedApiserver(
  deployment: Deployment,
  seed: ApiClient,
): Promise<AuditedApiserver> {
  const { containers, volumes } = deployment.spec.template.spec;
  const container = containers.find(({ name }) => name === 'apiserver');
  if (container === undefined) throw new Error('the Deployment has no container apiserver');
  const root = temporaryFolder();
  for (const { name, mountPath } of container.volumeMounts ?? []) {
    const volume = volumes.find((candidate) => candidate.name === name);
    mkdirSync(join(root, mountPath), { recursive: true });
    if (volume?.configMap === undefined) continue;
    const path = `/api/v1/namespaces/${deployment.metadata.namespace}/configmaps/${volume.configMap.name}`;
    const { data } = await seed.request<{ data?: Record<string, string> }>('GET', path);
    for (const [key, text] of Object.entries(data ?? {})) writeFileSync(join(root, mountPath, key), text);
  }

  const flags = auditFlags(container);
  const extraArgs = [...flags].map(([flag, value]) =>
    value.startsWith('/') ? `${flag}=${join(root, value)}` : `${flag}=${value}`,
  );
  const logFile = join(root, flags.get('--audit-log-path') ?? 'no-audit-log');
  mkdirSync(dirname(logFile), { recursive: true });
  const controlPlane = await startControlPlane({ extraArgs });
  return {
    controlPlane,
    flags: [...flags].map(([flag, value]) => `${flag} ${value}`),
    events: () =>
      readFileSync(logFile, 'utf8')
        .split('\n')
        .slice(0, -1) // after the last newline there is nothing, or half a line
        .map((line) => JSON.parse(line) as AuditEvent),
  };
}

/** The flags `--audit-…` with their values, which KKP writes as two arguments. */
function auditFlags(container: Container): Map<string, string> {
  const flags = new Map<string, string>();
  const args = container.args ?? [];
  args.forEach((argument, index) => {
    if (!argument.startsWith('--audit-')) return;
    const [flag = '', value] = argument.split('=', 2);
    flags.set(flag, value ?? args[index + 1] ?? '');
  });
  return flags;
}
