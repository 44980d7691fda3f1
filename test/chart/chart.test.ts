import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { load } from 'js-yaml';
import { parseAllDocuments } from 'yaml';
import { CONFIG_SCHEMA, DEFAULT_CONFIG, parseConfig } from '../../src/config.ts';
import type { JsonObject } from '../../src/kubernetes.ts';
import { HOOK_PATHS } from '../../src/server.ts';
import {
  CHART,
  FULL_NAME,
  find,
  HELM_VERSIONS,
  helm,
  type Manifest,
  RELEASE,
  renderChart,
  renderChartText,
  skipWithoutHelm,
} from '../support/helm.ts';
import { generate } from './generate.ts';

const skip = await skipWithoutHelm('the chart');
const HOOKS = 'audit.kubermatic.k8c.io';
const ENFORCED_HOOKS = `enforced.${HOOKS}`;
const OWN_USER = `system:serviceaccount:${RELEASE.namespace}:${FULL_NAME}`;

/** Everything that can be switched on. */
const EVERYTHING: JsonObject = {
  tls: { mode: 'cert-manager' },
  serviceMonitor: { enabled: true },
  prometheusRule: { enabled: true },
  dashboard: { enabled: true },
  rbac: { webhookBackendSecrets: [{ namespace: 'kubermatic', name: 'audit-webhook' }] },
};

interface Hook {
  readonly name: string;
  readonly failurePolicy: string;
  readonly timeoutSeconds: number;
  readonly sideEffects: string;
  readonly reinvocationPolicy?: string;
  readonly clientConfig: {
    readonly caBundle?: string;
    readonly url?: string;
    readonly service?: { readonly path: string };
  };
  readonly matchConditions: readonly { readonly name: string; readonly expression: string }[];
  readonly namespaceSelector: { readonly matchLabels?: object };
  readonly objectSelector: { readonly matchLabels?: object };
}
const hooksOf = (manifest: Manifest): readonly Hook[] => (manifest.webhooks ?? []) as unknown as Hook[];

/** The entries that the controller fills in later. */
function readEnforcedHooks(manifests: readonly Manifest[]): { mutating: Hook[]; validating: Hook[] } {
  const data = find(manifests, 'ConfigMap', FULL_NAME).data as Record<string, string>;
  return load(data['enforced-hooks.yaml'] ?? '') as { mutating: Hook[]; validating: Hook[] };
}

describe('the chart', { skip }, () => {
  for (const version of HELM_VERSIONS) {
    test(`${version}: lints, also with everything on`, async () => {
      for (const values of [{}, EVERYTHING]) {
        const { code, stdout, stderr } = await helm(version, ['lint', '--strict', CHART], { values });
        assert.equal(code, 0, stdout + stderr);
      }
    });

    test(`${version}: renders the same bytes twice`, async () => {
      const args = ['template', RELEASE.name, CHART, '--namespace', RELEASE.namespace];
      const [first, second] = [
        await helm(version, args, { values: EVERYTHING }),
        await helm(version, args, { values: EVERYTHING }),
      ];
      assert.equal(first.code, 0, first.stderr);
      assert.equal(first.stdout, second.stdout);
    });

    for (const [what, values] of [
      ['an unknown value', { replicas: 3 }],
      ['a misspelt setting', { config: { defaults: { mod: 'warn' } } }],
      [
        'a misspelt setting of a datacenter',
        { config: { datacenters: { 'aws-1': { retention: { maxAge: 1 } } } } },
      ],
      ['a mode that is none', { config: { defaults: { mode: 'on' } } }],
      ['a timeout over 5 s', { webhooks: { timeoutSeconds: 6 } }],
      ['a value taken away', { replicaCount: null }],
      ['a section taken away', { networkPolicy: null }],
      ['a type that is wrong', { replicaCount: '2' }],
      ['an address without TLS', { webhooks: { url: 'http://127.0.0.1' } }],
      ['an unknown source of certificates', { tls: { mode: 'vault' } }],
      ['a misspelt setting of traces', { tracing: { endpont: 'http://collector:4318' } }],
      ['a collector that is no address', { tracing: { endpoint: 'collector:4318' } }],
      ['a share over 1', { tracing: { samplingRatio: 10 } }],
      [
        'a misspelt selector, which would be everybody',
        { networkPolicy: { metricsFrom: [{ namespaceSelector: { matchLabel: { a: 'b' } } }] } },
      ],
      ['a misspelt affinity', { affinity: { podAntiAffinity: { requiredDuringScheduling: [] } } }],
      [
        'a volume of no source, which would be an empty one',
        { server: { extraVolumes: [{ name: 'ca', secrett: { secretName: 'ca' } }] } },
      ],
    ] as const)
      test(`${version}: refuses ${what}`, async () => {
        const args = ['template', RELEASE.name, CHART];
        const { code, stderr } = await helm(version, args, { values: values as JsonObject });
        assert.notEqual(code, 0);
        const [key = ''] = Object.keys(values);
        assert.match(stderr, new RegExp(key));
      });
  }

  test('quotes every text that YAML would read as something else', async () => {
    const render = async (names: Record<string, string>) => {
      const {
        full = '',
        namespace = '',
        name = '',
        account = '',
        platform = '',
        backend = '',
        image = '',
      } = names;
      const values = {
        ...EVERYTHING,
        fullnameOverride: full,
        nameOverride: name,
        serviceAccount: { name: account },
        config: { platform: { namespace: platform } },
        image: { repository: image, tag: '20' },
        rbac: { webhookBackendSecrets: [{ namespace: backend, name: 'siem' }] },
        serviceMonitor: { enabled: true, interval: '0' },
        nodeSelector: { pool: 'on' },
      };
      const read = (text: string): Manifest[] =>
        // Kubernetes reads YAML 1.1, which has more numbers and truths than 1.2.
        parseAllDocuments(text, { version: '1.1', merge: false }).map((document) => document.toJS());
      return read(await renderChartText(values, { namespace })).map((manifest) => {
        const data = (manifest.kind === 'ConfigMap' ? manifest.data : {}) as Record<string, string>;
        const files = Object.entries(data).map(([file, content]) => [file, read(content)]);
        return JSON.stringify({ ...manifest, data: files }).replace(/"checksum\/config":"\w+"/, '');
      });
    };
    const NAMES = ['namespace', 'full', 'name', 'account', 'platform', 'backend', 'image'];
    const name = (...names: string[]) =>
      Object.fromEntries(NAMES.map((key, index) => [key, names[index] ?? '']));
    const plain = name(
      'a-namespace',
      'a-full-name',
      'a-name',
      'an-account',
      'a-platform',
      'a-backend',
      'an-image',
    );
    const expected = await render(plain);
    assert.match(expected.join(), /"interval":"0"/);
    assert.match(expected.join(), /"nodeSelector":\{"pool":"on"\}/);
    for (const odd of [
      name('123', 'true', '1.2', '456', '1e3', '0x1f', '190'),
      name('1e3', 'null', '1_0', '1.5', '0o7', '08', '59'),
      name('0b1', 'on', 'Off', 'true', 'null', 'no', '1'),
    ])
      for (const [index, text] of (await render(odd)).entries()) {
        const renamed = NAMES.reduce(
          (renaming, key) => renaming.replaceAll(plain[key] ?? '', odd[key] ?? ''),
          expected[index] ?? '',
        );
        assert.equal(text, renamed);
      }
  });

  test('wants the name of the Secret where certificates come from one', async () => {
    await assert.rejects(renderChart({ tls: { mode: 'secret' } }), /tls\.secretName/);
    const manifests = await renderChart({ tls: { mode: 'secret', secretName: 'mine' } });
    assert.match(JSON.stringify(find(manifests, 'Deployment', FULL_NAME)), /"secretName":"mine"/);
  });

  test('is made of what it is made of', async () => {
    for (const [file, content] of Object.entries(await generate()))
      assert.equal(
        readFileSync(join(CHART, file), 'utf8'),
        content,
        `${file} is not up to date: run node test/chart/generate.ts`,
      );
  });

  test('gives the server a configuration that it reads as the values mean it', async () => {
    const manifests = await renderChart({
      config: { defaults: { mode: 'warn' }, datacenters: { 'aws-1': { registry: 'mirror.example' } } },
    });
    const data = find(manifests, 'ConfigMap', FULL_NAME).data as Record<string, string>;
    const config = await parseConfig(data['config.yaml'] ?? '', 'config.yaml');
    assert.equal(config.defaults.mode, 'warn');
    assert.equal(config.datacenters.get('aws-1')?.registry, 'mirror.example');
    assert.deepEqual(config.platform, {
      ...DEFAULT_CONFIG.platform,
      users: [...DEFAULT_CONFIG.platform.users, OWN_USER],
    });
  });

  test('puts a new configuration into new pods', async () => {
    const checksum = async (values: JsonObject) =>
      JSON.stringify(find(await renderChart(values), 'Deployment', FULL_NAME)).match(
        /"checksum\/config":"(\w+)"/,
      )?.[1];
    assert.equal(await checksum({}), await checksum({}));
    assert.notEqual(await checksum({}), await checksum({ config: { defaults: { mode: 'audit' } } }));
  });

  test('runs replicas that outlive a node, an update and each other', async () => {
    const manifests = await renderChart();
    const spec = find(manifests, 'Deployment', FULL_NAME).spec as unknown as DeploymentSpec;
    assert.ok(spec.replicas >= 2);
    assert.deepEqual(spec.strategy.rollingUpdate, { maxSurge: 1, maxUnavailable: 0 });
    const pod = spec.template.spec;
    assert.deepEqual(
      pod.topologySpreadConstraints.map(({ topologyKey }) => topologyKey),
      ['topology.kubernetes.io/zone', 'kubernetes.io/hostname'],
    );
    assert.deepEqual(
      (find(manifests, 'PodDisruptionBudget', FULL_NAME).spec as JsonObject).maxUnavailable,
      1,
    );
    const [container] = pod.containers;
    const delay = container?.args.find((arg) => arg.startsWith('--shutdown-delay-seconds='))?.split('=')[1];
    assert.ok(pod.terminationGracePeriodSeconds > Number(delay) + 15);
    assert.ok(pod.priorityClassName);
  });

  test('asks of pods what the restricted pod security standard asks for', async () => {
    const manifests = await renderChart();
    const pods = ['Deployment', 'Job'].flatMap((kind) =>
      manifests
        .filter((manifest) => manifest.kind === kind)
        .map(({ spec }) => (spec as unknown as DeploymentSpec).template.spec),
    );
    assert.equal(pods.length, 2);
    for (const { securityContext, containers } of pods) {
      assert.equal(securityContext.runAsNonRoot, true);
      assert.ok(securityContext.runAsUser > 0);
      assert.deepEqual(securityContext.seccompProfile, { type: 'RuntimeDefault' });
      for (const container of containers) {
        assert.equal(container.securityContext.allowPrivilegeEscalation, false);
        assert.equal(container.securityContext.readOnlyRootFilesystem, true);
        assert.deepEqual(container.securityContext.capabilities, { drop: ['ALL'] });
        assert.ok(container.resources.requests.cpu && container.resources.requests.memory);
      }
    }
  });

  test('registers hooks that can harm nobody', async () => {
    const manifests = await renderChart();
    const mutating = find(manifests, 'MutatingWebhookConfiguration', HOOKS);
    const validating = find(manifests, 'ValidatingWebhookConfiguration', HOOKS);
    assert.ok(HOOKS < 'kubermatic-clusters', "called before KKP's own");
    const hooks = [...hooksOf(mutating), ...hooksOf(validating)];
    assert.ok(hooks.length >= 9);
    assert.equal(new Set(hooks.map(({ name }) => name)).size, hooks.length);
    for (const hook of hooks) {
      assert.equal(hook.failurePolicy, 'Ignore', hook.name);
      assert.equal(hook.clientConfig.caBundle, undefined, hook.name);
      assert.ok(hook.timeoutSeconds <= 5, hook.name);
      assert.match(hook.sideEffects, /^None/);
      assert.ok(hook.matchConditions.length > 0, hook.name);
      assert.ok(Object.values(HOOK_PATHS).includes(hook.clientConfig.service?.path ?? ''), hook.name);
    }
    for (const hook of hooksOf(mutating)) assert.equal(hook.reinvocationPolicy, 'IfNeeded', hook.name);
  });

  test('leaves the hooks that can hold a write back to the controller', async () => {
    const manifests = await renderChart();
    for (const kind of ['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration'])
      assert.equal(find(manifests, kind, ENFORCED_HOOKS).webhooks, undefined);
    const { mutating, validating } = readEnforcedHooks(manifests);
    assert.deepEqual(
      [...mutating, ...validating].map(({ name }) => name.split('.')[0]),
      [
        'enforced-validate-clusters',
        'enforced-validate-cluster-status',
        'enforced-validate-deployments',
        'enforced-validate-configmaps',
        'enforced-validate-secrets',
        'enforced-validate-namespaces',
      ],
    );
    for (const hook of [...mutating, ...validating]) {
      assert.equal(hook.failurePolicy, 'Fail');
      const labels = { ...hook.namespaceSelector.matchLabels, ...hook.objectSelector.matchLabels };
      assert.equal((labels as Record<string, string>)[`${HOOKS}/enforced`], 'true', hook.name);
    }
  });

  for (const backstop of [{ enabled: false }, { actions: ['Warn', 'Audit'] }])
    test(`has pods wait for an answer where nothing else refuses them: ${JSON.stringify(backstop)}`, async () => {
      const { mutating, validating } = readEnforcedHooks(await renderChart({ backstop }));
      const names = [...mutating, ...validating].map(({ name }) => name.split('.')[0]);
      assert.ok(names.includes('enforced-mutate-pods'));
      assert.ok(names.includes('enforced-validate-pods'));
    });

  test('registers the hooks at an address, where the server runs elsewhere', async () => {
    const manifests = await renderChart({ webhooks: { url: 'https://127.0.0.1:8443/' } });
    const urls = hooksOf(find(manifests, 'MutatingWebhookConfiguration', HOOKS)).map(
      ({ clientConfig }) => clientConfig.url,
    );
    assert.deepEqual(urls, [
      'https://127.0.0.1:8443/mutate/clusters',
      'https://127.0.0.1:8443/mutate/deployments',
      'https://127.0.0.1:8443/mutate/pods',
    ]);
  });

  test('has every optional part off or on by a value', async () => {
    const kinds = (manifests: readonly Manifest[]) => new Set(manifests.map(({ kind = '' }) => kind));
    const optional = ['Certificate', 'Issuer', 'ServiceMonitor', 'PrometheusRule'];
    const usual = kinds(await renderChart());
    for (const kind of optional) assert.ok(!usual.has(kind), kind);
    const all = kinds(await renderChart(EVERYTHING));
    for (const kind of optional) assert.ok(all.has(kind), kind);
    const least = kinds(
      await renderChart({
        webhooks: { enabled: false },
        backstop: { enabled: false },
        podDisruptionBudget: { enabled: false },
        networkPolicy: { enabled: false },
        rbac: { create: false, operators: { create: false } },
        serviceAccount: { create: false, name: 'mine' },
        uninstall: { enabled: false },
      }),
    );
    assert.deepEqual([...least].sort(), ['ConfigMap', 'Deployment', 'Service']);
  });

  test('lets datacenters that inject into pods alone keep Deployments without', async () => {
    const names = async (values: JsonObject) =>
      (await renderChart(values))
        .filter(({ kind }) => kind === 'ValidatingAdmissionPolicy')
        .map(({ metadata }) => metadata?.name);
    assert.ok((await names({})).includes(`deployments.${HOOKS}`));
    const pods = { config: { datacenters: { 'aws-1': { injection: 'pod' } } } };
    assert.ok(!(await names(pods)).includes(`deployments.${HOOKS}`));
  });

  test('traces nothing, unless a collector is named, and lets the spans out to it', async () => {
    const render = async (tracing: JsonObject) => {
      const manifests = await renderChart({ tracing });
      const { template } = find(manifests, 'Deployment', FULL_NAME).spec as unknown as DeploymentSpec;
      const { egress } = find(manifests, 'NetworkPolicy', FULL_NAME).spec as unknown as {
        egress: { ports: { port: number; protocol: string }[] }[];
      };
      return {
        args: (template.spec.containers[0]?.args ?? []).filter((arg) => arg.startsWith('--traces')),
        ports: egress.map(({ ports }) => ports.map(({ port, protocol }) => `${port}/${protocol}`).join()),
      };
    };
    const usual = { args: [], ports: ['443/TCP,6443/TCP'] };
    assert.deepEqual(await render({}), usual);
    assert.deepEqual(await render({ samplingRatio: 0.5 }), usual);
    for (const [endpoint, port] of [
      ['http://collector.observability:4318', 4318],
      ['https://collector.example/v1/traces', 443],
      ['http://[fd00::1]/v1/traces', 80],
      ['http://[fd00::1]:4318/v1/traces', 4318],
    ] as const)
      assert.deepEqual(await render({ endpoint, samplingRatio: 0.00001 }), {
        args: [`--traces=${endpoint}`, '--traces-sampling-ratio=1e-05'],
        ports: [...usual.ports, `${port}/TCP,53/UDP,53/TCP`],
      });
  });

  test('knows the images and registries of the configuration in the backstop', async () => {
    const values = {
      config: {
        defaults: {
          registry: 'mirror.example:5000',
          sidecar: { image: 'quay.example/team/fluent-bit:5', allowedImages: ['other/bit'] },
        },
      },
    };
    const policy = find(await renderChart(values), 'ValidatingAdmissionPolicy', `pods.${HOOKS}`);
    const text = JSON.stringify(policy);
    for (const part of ['mirror[.]example[:]5000', 'quay[.]example', 'team/fluent-bit', 'other/bit'])
      assert.ok(text.includes(part), part);
  });

  test('describes every value', () => {
    const lines = readFileSync(join(CHART, 'README.md'), 'utf8').split('\n');
    const rows = lines.filter((line) => /^\| [a-z]/.test(line));
    assert.ok(rows.length > 50);
    for (const row of rows) assert.doesNotMatch(row, /\|\s*\|$/, row);
  });

  test('wants every value whose default counts, also where it is set to null', () => {
    /** Without them pods ask for nothing, and objects have fewer labels. */
    const optional = ['resources', 'priorityClassName', 'labels'];
    const isSection = (value: unknown): value is JsonObject =>
      typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 0;
    const counts = (value: unknown): boolean =>
      Boolean(typeof value === 'object' ? Object.keys(value ?? {}).length : value);
    const check = (values: JsonObject, schema: JsonObject, path: string): void => {
      const keys = Object.keys(values).filter((key) => !optional.includes(key));
      const wanted = keys.filter((key) => counts(values[key]));
      assert.deepEqual(schema.required ?? [], wanted, `required in ${path}`);
      for (const key of keys) {
        const value = values[key];
        // What config holds the server itself has defaults for.
        if (isSection(value) && key !== 'config')
          check(value, (schema.properties as JsonObject)[key] as JsonObject, `${path}.${key}`);
      }
    };
    check(
      load(readFileSync(join(CHART, 'values.yaml'), 'utf8')) as JsonObject,
      JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8')),
      'values',
    );
  });

  test('takes the settings that the server takes', () => {
    const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8'));
    // What the templates read themselves may not be taken away by a null; the server has the same defaults for it.
    const { required, ...config } = structuredClone(schema.properties.config);
    const { platform } = config.properties;
    assert.deepEqual(required, ['platform']);
    assert.deepEqual(platform.required, Object.keys(platform.properties));
    delete platform.required;
    assert.deepEqual(config, CONFIG_SCHEMA);
    const closed = (value: unknown, path: string): void => {
      if (typeof value !== 'object' || value === null) return;
      const { properties, additionalProperties } = value as JsonObject;
      if (properties !== undefined && !path.endsWith('/properties'))
        assert.equal(additionalProperties, false, `${path} takes what it does not know`);
      for (const [key, child] of Object.entries(value)) closed(child, `${path}/${key}`);
    };
    closed(schema, '');
  });
});

interface DeploymentSpec {
  readonly replicas: number;
  readonly strategy: { readonly rollingUpdate: object };
  readonly template: {
    readonly spec: {
      readonly topologySpreadConstraints: readonly { readonly topologyKey: string }[];
      readonly terminationGracePeriodSeconds: number;
      readonly priorityClassName: string;
      readonly securityContext: { runAsNonRoot: boolean; runAsUser: number; seccompProfile: object };
      readonly containers: readonly {
        readonly args: readonly string[];
        readonly securityContext: {
          allowPrivilegeEscalation: boolean;
          readOnlyRootFilesystem: boolean;
          capabilities: object;
        };
        readonly resources: { readonly requests: { readonly cpu: string; readonly memory: string } };
      }[];
    };
  };
}

describe('docs/rbac.md', { skip }, () => {
  interface Rule {
    readonly apiGroups: readonly string[];
    readonly resources: readonly string[];
    readonly resourceNames?: readonly string[];
    readonly verbs: readonly string[];
  }

  /** One line a verb: where, resource, name, verb. */
  const flatten = (where: string, rules: readonly Rule[]): string[] =>
    rules.flatMap(({ apiGroups, resources, resourceNames = [''], verbs }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) => {
          // Written as kubectl takes it: resource.group/subresource.
          const [plural = '', ...subresource] = resource.split('/');
          const full = [group === '' ? plural : `${plural}.${group}`, ...subresource].join('/');
          return resourceNames.flatMap((name) => verbs.map((verb) => [where, full, name, verb].join(' | ')));
        }),
      ),
    );

  const readTable = (heading: string): string[] => {
    const text = readFileSync(join(CHART, '..', '..', 'docs', 'rbac.md'), 'utf8');
    const section = text.split(/^## /m).find((part) => part.startsWith(heading)) ?? '';
    return section
      .split('\n')
      .filter((line) => line.startsWith('| ') && !line.startsWith('| Where'))
      .flatMap((line) => {
        const [, where = '', resource = '', names = '', verbs = '', why = ''] = line
          .split('|')
          .map((cell) => cell.trim());
        assert.ok(why, `no reason: ${line}`);
        return names
          .split(', ')
          .flatMap((name) =>
            verbs
              .split(', ')
              .map((verb) =>
                [where, resource, name === "the release's Deployment" ? FULL_NAME : name, verb].join(' | '),
              ),
          );
      });
  };

  const WHERE: Readonly<Record<string, string>> = {
    [RELEASE.namespace]: 'its own namespace',
    kubermatic: "KKP's namespace",
    default: 'default',
  };

  for (const [heading, account] of [
    ['The server', FULL_NAME],
    ['The Job', `${FULL_NAME}-uninstall`],
  ] as const)
    test(`${heading}: says what the chart grants, verb by verb`, async () => {
      const manifests = await renderChart();
      const granted: string[] = [];
      for (const binding of manifests) {
        if (!binding.kind?.endsWith('RoleBinding')) continue;
        const { subjects, roleRef } = binding as unknown as {
          subjects: { name: string }[];
          roleRef: { kind: string; name: string };
        };
        if (!subjects.some(({ name }) => name === account)) continue;
        const role = find(manifests, roleRef.kind, roleRef.name) as unknown as { rules: Rule[] };
        const where =
          roleRef.kind === 'ClusterRole' ? 'everywhere' : (WHERE[binding.metadata?.namespace ?? ''] ?? '?');
        granted.push(...flatten(where, role.rules));
      }
      assert.deepEqual(readTable(heading).sort(), granted.sort());
    });

  test('knows no verb of writing that is not narrowed where it could be', async () => {
    const role = find(await renderChart(), 'ClusterRole', FULL_NAME) as unknown as { rules: Rule[] };
    for (const { resources, verbs, resourceNames } of role.rules) {
      assert.ok(!verbs.includes('*') && !resources.includes('*'));
      if (verbs.some((verb) => ['update', 'delete', 'deletecollection'].includes(verb)))
        assert.ok(resourceNames, resources.join());
    }
  });
});

test('the chart is indented by spaces', () => {
  for (const file of readdirSync(CHART, { recursive: true, encoding: 'utf8' }))
    if (/\.(yaml|tpl|txt)$/.test(file))
      assert.doesNotMatch(readFileSync(join(CHART, file), 'utf8'), /\t/, file);
});
