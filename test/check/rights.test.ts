import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { describeQuestion, INSTALL_RIGHTS, questionsOf, RIGHTS } from '../../src/check/rights.ts';
import { FULL_NAME, RELEASE, renderChart, skipWithoutHelm } from '../support/helm.ts';

interface Rule {
  readonly apiGroups: string[];
  readonly resources: string[];
  readonly resourceNames?: string[];
  readonly verbs: string[];
}

const NAMESPACES = { own: RELEASE.namespace, kkp: 'kubermatic', default: 'default' };

describe('rights', { skip: await skipWithoutHelm('the roles that the chart renders') }, () => {
  test('check asks for just what the chart grants', async () => {
    const granted = (await renderChart())
      .filter(({ kind, metadata }) => {
        const { name = '', annotations } = metadata ?? {};
        const isHook = annotations?.['helm.sh/hook'] !== undefined;
        return ['Role', 'ClusterRole'].includes(kind ?? '') && !isHook && name !== `${FULL_NAME}-operator`;
      })
      .flatMap(({ metadata, rules }) =>
        (rules as unknown as Rule[]).flatMap(({ apiGroups, resources, resourceNames = [''], verbs }) =>
          apiGroups.flatMap((group) =>
            resources.flatMap((resource) =>
              resourceNames.flatMap((name) =>
                verbs.map((verb) =>
                  describeQuestion({ namespace: metadata?.namespace ?? '', group, resource, name, verb }),
                ),
              ),
            ),
          ),
        ),
      );
    const asked = questionsOf(RIGHTS, NAMESPACES).map(describeQuestion);
    assert.deepEqual([...new Set(asked)].sort(), [...new Set(granted)].sort());
  });

  test('check --pre asks for just what it takes to make what the chart renders', async () => {
    const made = (await renderChart()).flatMap(({ apiVersion = '', kind = '', metadata }) => {
      const verbs = ['get', 'create', ...(/^(Cluster)?Role$/.test(kind) ? ['escalate', 'bind'] : [])];
      const group = apiVersion.includes('/') ? apiVersion.replace(/\/.*/, '') : '';
      const resource = `${kind.toLowerCase()}s`.replace(/ys$/, 'ies');
      const namespace = metadata?.namespace ?? '';
      return verbs.map((verb) => describeQuestion({ namespace, group, resource, name: '', verb }));
    });
    const helm = ['get', 'create', 'list', 'update'].map((verb) => `${verb} secrets in ${NAMESPACES.own}`);
    const asked = questionsOf(INSTALL_RIGHTS, NAMESPACES).map(describeQuestion);
    assert.deepEqual(asked.sort(), [...new Set([...made, ...helm])].sort());
  });
});

test('nothing is asked twice where namespaces are the same', () => {
  const asked = questionsOf(INSTALL_RIGHTS, { own: 'a', kkp: 'a', default: 'a' }).map(describeQuestion);
  assert.equal(new Set(asked).size, asked.length);
});
