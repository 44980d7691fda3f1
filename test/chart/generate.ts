/**
 * What in the chart is made from something else: the schema of `config` and of ranges of addresses, the flags that CEL has to know, and the README.
 * `node test/chart/generate.ts` writes it anew, and a test holds it equal.
 */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { BOOLEAN_FLAGS } from '../../src/audit/kube-apiserver-flags.ts';
import { CIDR_SCHEMA, CONFIG_SCHEMA } from '../../src/config.ts';
import type { JsonObject } from '../../src/kubernetes.ts';
import { ensureBinaries } from '../support/binaries.ts';
import { CHART } from '../support/helm.ts';

const runFile = promisify(execFile);

/** @returns the content of each file, by its path in the chart */
export async function generate(): Promise<Readonly<Record<string, string>>> {
  const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8'));
  const config = structuredClone(CONFIG_SCHEMA) as JsonObject & { properties: { platform: JsonObject } };
  const { platform } = config.properties;
  // A file may leave it out. The templates read it, and a value of null would take away the chart's own.
  config.required = ['platform'];
  platform.required = Object.keys(platform.properties as JsonObject);
  schema.properties.config = config;
  schema.definitions.cidr = CIDR_SCHEMA;
  const { 'helm-docs': helmDocs } = await ensureBinaries(['helm-docs']);
  const readme = await runFile(helmDocs, ['--dry-run', '--sort-values-order=file', '--log-level=error'], {
    cwd: CHART,
  });
  return {
    'values.schema.json': `${JSON.stringify(schema, undefined, 2)}\n`,
    'files/boolean-flags.txt': `${[...BOOLEAN_FLAGS].sort().join('\n')}\n`,
    'README.md': `${readme.stdout.trim()}\n`,
  };
}

if (import.meta.main)
  for (const [file, content] of Object.entries(await generate())) writeFileSync(join(CHART, file), content);
