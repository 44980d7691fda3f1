/**
 * The injector on Deployments as they are rendered elsewhere: `KKP_DEPLOYMENTS=<folder>` names one with KKP's own fixtures (its
 * pkg/resources/test/fixtures). Without it, Deployments of test/support/fixtures.ts go the same way.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import jsonpatch, { type Operation } from 'fast-json-patch';
import { uninjectDeployment } from '../../src/audit/inject.ts';
import { readYamlDocuments } from '../../src/input.ts';
import type { Deployment } from '../../src/kubernetes.ts';
import { buildPatch } from '../../src/patch.ts';
import { ENABLED, inject, kkp, settingsWith, specOf, WEBHOOK_BACKEND } from '../support/audit-generators.ts';
import { findGap } from '../support/naive-evaluator.ts';

function readFolder(folder: string): [name: string, deployment: Deployment][] {
  return readdirSync(folder)
    .filter((file) => /\.ya?ml$/.test(file))
    .flatMap((file) =>
      readYamlDocuments(readFileSync(join(folder, file), 'utf8'), file).map(
        ({ value }) => value as Deployment,
      ),
    )
    .filter((value) => specOf(value).containers?.some(({ name }) => name === 'apiserver'))
    .map((deployment, index) => [`${index}`, deployment]);
}

const folder = process.env.KKP_DEPLOYMENTS;
const deployments: [name: string, deployment: Deployment][] =
  folder === undefined
    ? [
        ['AWS', kkp()],
        ['the legacy shape', kkp({ konnectivity: false, hyperkube: true, provider: 'openstack' })],
      ]
    : readFolder(folder);

const SETTINGS = [
  ENABLED,
  { ...ENABLED, webhookBackend: WEBHOOK_BACKEND },
  { webhookBackend: WEBHOOK_BACKEND },
];

describe('a Deployment of KKP', () => {
  assert.ok(deployments.length > 0, `no Deployment with a container apiserver in ${folder}`);
  for (const [name, deployment] of deployments) {
    for (const auditLogging of SETTINGS) {
      test(`${name} with ${JSON.stringify(auditLogging)} audits, and comes back as it was`, () => {
        const settings = settingsWith(auditLogging);
        const { object, remaining } = inject(deployment, settings);
        assert.deepEqual(remaining, []);
        const webhookSecret = 'webhookBackend' in auditLogging ? 'collector' : undefined;
        assert.equal(
          findGap(specOf(object), { sidecar: 'enabled' in auditLogging, webhookSecret }),
          undefined,
        );
        assert.equal(inject(object, settings).object, object);
        const patch = structuredClone(buildPatch(deployment, object)) as Operation[];
        assert.ok(patch.length <= 12, 'a handful of operations');
        const patched = jsonpatch.applyPatch(structuredClone(deployment), patch, true).newDocument;
        assert.deepStrictEqual(patched, object);
        assert.deepStrictEqual(uninjectDeployment(object), deployment);
      });
    }
  }
});
