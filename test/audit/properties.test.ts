/**
 * What holds for everything that can be generated. A failing run prints its seed and path: `FC_SEED=… npm test -- test/audit/properties.test.ts`
 * repeats it, `SOAK=1` runs each property a hundred times as often (the evaluator 100,000 times).
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import jsonpatch, { type Operation } from 'fast-json-patch';
import { desire } from '../../src/audit/desired.ts';
import { judge } from '../../src/audit/effective.ts';
import { judgeCluster } from '../../src/audit/enforce.ts';
import { injectPod, uninjectDeployment } from '../../src/audit/inject.ts';
import { DEFAULT_CONFIG } from '../../src/config.ts';
import type { Container, Deployment } from '../../src/kubernetes.ts';
import { buildPatch } from '../../src/patch.ts';
import {
  auditLoggings,
  clusterWith,
  ENABLED,
  inject,
  kkp,
  kkpOptions,
  mutate,
  mutations,
  seedWith,
  settingsWith,
  specOf,
  WEBHOOK_BACKEND,
  withSpec,
} from '../support/audit-generators.ts';
import { findGap } from '../support/naive-evaluator.ts';

const SEED = process.env.FC_SEED === undefined ? {} : { seed: Number(process.env.FC_SEED) };
const runs = (numRuns: number) => ({ numRuns: process.env.SOAK === '1' ? numRuns * 100 : numRuns, ...SEED });

/** Deployments of KKP's, damaged more or less, with the settings that they should meet. */
const cases = fc.record({
  options: kkpOptions,
  rendered: fc.option(auditLoggings, { nil: undefined }),
  wanted: auditLoggings,
  changes: fc.array(mutations, { maxLength: 4 }),
  isEmptied: fc.boolean(),
});

function build({
  options,
  rendered,
  changes,
  isEmptied,
}: typeof cases extends fc.Arbitrary<infer T> ? T : never): Deployment {
  const deployment = kkp(options, rendered);
  const spec = mutate(specOf(deployment), changes);
  if (!isEmptied) return withSpec(deployment, spec);
  // As small as objects come: lists that are missing.
  const { volumes: _volumes, ...rest } = spec;
  const containers = (spec.containers ?? []).map((container) => {
    const { args: _args, volumeMounts: _mounts, ...others } = container;
    return others;
  });
  return withSpec(deployment, { ...rest, containers });
}

const clone = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;
const foreign = (container: Container | undefined) =>
  (container?.args ?? []).filter((argument) => !argument.startsWith('--audit'));

describe('injecting', () => {
  test('again changes nothing', () => {
    fc.assert(
      fc.property(cases, (given) => {
        const settings = settingsWith(given.wanted);
        const once = inject(build(given), settings);
        const twice = inject(once.object, settings);
        assert.equal(twice.object, once.object);
        assert.deepEqual(twice.remaining, once.remaining);
        assert.equal(inject(clone(once.object), settings).remaining.length, once.remaining.length);
      }),
      runs(500),
    );
  });

  test('is undone by uninjecting, to the last key', () => {
    fc.assert(
      fc.property(cases, (given) => {
        const before = build(given);
        const injected = inject(before, settingsWith(given.wanted)).object;
        assert.deepStrictEqual(uninjectDeployment(clone(injected)), before);
      }),
      runs(500),
    );
  });

  test('with other settings, and then uninjecting, is the same', () => {
    fc.assert(
      fc.property(cases, auditLoggings, (given, later) => {
        const before = build(given);
        const first = clone(inject(before, settingsWith(given.wanted)).object);
        const second = clone(inject(first, settingsWith(later)).object);
        assert.deepStrictEqual(uninjectDeployment(second), before);
      }),
      runs(400),
    );
  });

  test('leaves the input as it is', () => {
    fc.assert(
      fc.property(cases, (given) => {
        const before = build(given);
        const copy = clone(before);
        inject(before, settingsWith(given.wanted));
        assert.deepStrictEqual(before, copy);
      }),
      runs(300),
    );
  });

  test('keeps foreign arguments, volumes and containers, their bytes and their order', () => {
    fc.assert(
      fc.property(cases, (given) => {
        const before = specOf(build(given));
        const after = specOf(inject(withSpec(kkp(), before), settingsWith(given.wanted)).object);
        const others = (list: readonly { name: string }[] | undefined) =>
          (list ?? []).filter(({ name }) => !name.startsWith('audit-') && name !== 'apiserver');
        assert.deepStrictEqual(others(after.volumes), others(before.volumes));
        assert.deepStrictEqual(others(after.containers), others(before.containers));
        assert.deepStrictEqual(others(after.initContainers), others(before.initContainers));
        const apiserver = (list: readonly Container[] | undefined) =>
          list?.find(({ name }) => name === 'apiserver');
        const [old, now] = [apiserver(before.containers), apiserver(after.containers)];
        assert.deepStrictEqual(now?.env, old?.env);
        const kept = foreign(now);
        for (const argument of foreign(old)) {
          const index = kept.indexOf(argument);
          assert.notEqual(index, -1, `lost ${argument}`);
          kept.splice(0, index + 1);
        }
      }),
      runs(500),
    );
  });

  test('gives a patch that makes just that of the input', () => {
    fc.assert(
      fc.property(cases, (given) => {
        const before = build(given);
        const after = inject(before, settingsWith(given.wanted)).object;
        const patch = clone(buildPatch(before, after)) as Operation[];
        const patched = jsonpatch.applyPatch(clone(before), patch, true).newDocument;
        assert.deepStrictEqual(patched, clone(after));
      }),
      runs(400),
    );
  });

  test('makes every apiserver effective that can be', () => {
    fc.assert(
      fc.property(
        kkpOptions,
        auditLoggings,
        fc.option(auditLoggings, { nil: undefined }),
        (options, wanted, rendered) => {
          assert.deepEqual(inject(kkp(options, rendered), settingsWith(wanted)).remaining, []);
        },
      ),
      runs(300),
    );
  });
});

describe('pods', () => {
  test('are injected once: again changes nothing', () => {
    fc.assert(
      fc.property(cases, (given) => {
        const settings = settingsWith(given.wanted, {
          retention: { maxAgeDays: 60, maxBackups: 10, maxSizeMegabytes: 100 },
          sidecar: {
            image: 'example.com/fluent/fluent-bit:4.1.0',
            imagePullPolicy: 'Always',
            allowedImages: [],
          },
        });
        const once = injectPod({ spec: specOf(build(given)) }, settings).object;
        assert.equal(injectPod(once, settings).object, once);
      }),
      runs(400),
    );
  });
});

describe('what the judge calls effective', () => {
  test('a naive evaluator confirms', (t) => {
    let effective = 0;
    let ineffective = 0;
    const settings = [
      { auditLogging: ENABLED, expected: { sidecar: true } },
      {
        auditLogging: { enabled: true, webhookBackend: WEBHOOK_BACKEND },
        expected: { sidecar: true, webhookSecret: 'collector' },
      },
      {
        auditLogging: { webhookBackend: WEBHOOK_BACKEND },
        expected: { sidecar: false, webhookSecret: 'collector' },
      },
    ].map((row) => ({ ...row, desired: desire(settingsWith(row.auditLogging), 'deployment') }));
    fc.assert(
      fc.property(
        fc.constantFrom(...settings),
        kkpOptions,
        fc.array(mutations, { minLength: 1, maxLength: 5 }),
        ({ auditLogging, expected, desired }, options, changes) => {
          const spec = mutate(specOf(kkp(options, auditLogging)), changes);
          if (judge(spec, desired).reasons.length > 0) {
            ineffective += 1;
            return;
          }
          effective += 1;
          assert.equal(findGap(spec, expected), undefined);
        },
      ),
      runs(1000),
    );
    t.diagnostic(`${effective} effective and ${ineffective} ineffective mutants`);
    assert.ok(effective > 100 && ineffective > 100, 'the mutations hit and miss');
  });

  test('a naive evaluator confirms of what is injected, too', () => {
    fc.assert(
      fc.property(cases, (given) => {
        const { object, remaining } = inject(build(given), settingsWith(given.wanted));
        if (remaining.length > 0) return;
        const { enabled = false, webhookBackend } = given.wanted;
        if (!enabled && !webhookBackend) return;
        const webhookSecret = webhookBackend?.auditWebhookConfig.name;
        assert.equal(findGap(specOf(object), { sidecar: enabled, webhookSecret }), undefined);
      }),
      runs(400),
    );
  });
});

describe('Clusters in an enforcing datacenter', () => {
  test('a write without an attempt keeps auditing', () => {
    const values = fc.constantFrom<unknown>(undefined, null, true, false, 'true', {}, [], ENABLED, {
      enabled: false,
    });
    const annotations = fc.dictionary(
      fc.constantFrom(
        'kubermatic.k8c.io/skip-audit-logging-enforcement',
        'audit.kubermatic.k8c.io/exempt-until',
        '__proto__',
      ),
      fc.constantFrom('true', 'True', '', '2020-01-01T00:00:00Z', '9999-01-01T00:00:00Z', '99999', 'never'),
    );
    fc.assert(
      fc.property(
        values,
        fc.option(values, { nil: undefined }),
        annotations,
        (auditLogging, enabled, given) => {
          const block = enabled === undefined ? auditLogging : { ...ENABLED, enabled };
          const after = clusterWith(block, given);
          const seeds = [seedWith({ enforceAuditLogging: true })];
          const nowMs = Date.parse('2026-11-23T00:00:00Z');
          const { attempts } = judgeCluster(clusterWith(ENABLED), after, seeds, DEFAULT_CONFIG, nowMs);
          if (attempts.length > 0) return;
          assert.equal((block as { enabled?: unknown } | undefined)?.enabled, true);
          const isOut = Object.hasOwn(given, 'kubermatic.k8c.io/skip-audit-logging-enforcement');
          const until = given['audit.kubermatic.k8c.io/exempt-until'];
          if (isOut && given['kubermatic.k8c.io/skip-audit-logging-enforcement'] === 'true')
            assert.ok(until !== undefined && until !== '9999-01-01T00:00:00Z', 'an exemption in force');
        },
      ),
      runs(1000),
    );
  });
});
