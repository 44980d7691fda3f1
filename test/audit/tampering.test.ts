/** What makes a pod an apiserver, whatever it is called. What blinds its log is in test/api/catalogue.ts. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { runsApiserver } from '../../src/audit/tampering.ts';
import type { PodSpec } from '../../src/kubernetes.ts';
import { kkp, specOf } from '../support/audit-generators.ts';

const one = (container: object): PodSpec => ({
  containers: [{ name: 'x', image: 'example.com/tools:1', ...container }],
});
const secrets = (...names: string[]): PodSpec => ({
  ...one({}),
  volumes: names.map((name) => ({ name, secret: { secretName: name } })),
});

describe('a pod is an apiserver', () => {
  for (const [name, spec, expected] of [
    ["as KKP's", specOf(kkp()), true],
    ['with hyperkube', specOf(kkp({ hyperkube: true })), true],
    ['by its command', one({ command: ['/usr/local/bin/kube-apiserver'] }), true],
    [
      'by its command, from a variable',
      one({ command: ['$(P)'], env: [{ name: 'P', value: '/bin/kube-apiserver' }] }),
      true,
    ],
    ['by its image', one({ image: 'registry.k8s.io/kube-apiserver:v1.36.2' }), true],
    [
      'by its image for one platform',
      one({ image: 'localhost:5000/k8s/kube-apiserver-amd64@sha256:0' }),
      true,
    ],
    ['by a script', one({ command: ['sh', '-c', 'cd /\nexec /k/kube-apiserver --secure-port 1'] }), true],
    ['by a script that quotes', one({ command: ['sh', '-c', "nohup 'kube-apiserver'& wait"] }), true],
    ['by a wrapper', one({ command: ['/tini', '--', '/k/kube-apiserver'] }), true],
    ['by a wrapper, from the path', one({ command: ['env', 'kube-apiserver'] }), true],
    [
      'in an init container that stays',
      { containers: [], initContainers: [{ name: 'x', command: ['kube-apiserver'] }] },
      true,
    ],
    ['by its Secrets', secrets('apiserver-tls', 'apiserver-etcd-client-certificate'), true],
    [
      'by its Secrets, projected',
      {
        ...one({}),
        volumes: [
          {
            name: 'all',
            projected: {
              sources: [
                { secret: { name: 'apiserver-tls' } },
                { secret: { name: 'apiserver-etcd-client-certificate' } },
              ],
            },
          },
        ],
      },
      true,
    ],
    ['not by one of them', secrets('apiserver-etcd-client-certificate'), false],
    [
      'not as another program',
      one({ command: ['/usr/local/bin/kube-controller-manager'], args: ['--leader-elect'] }),
      false,
    ],
    [
      'not by the value of a flag',
      one({ args: ['--name', 'kube-apiserver', '--job=kube-apiserver'] }),
      false,
    ],
    [
      'not by an image that is called alike',
      one({ image: 'example.com/not-a-kube-apiserver-proxy:1' }),
      false,
    ],
    ['not by a script about files', one({ command: ['sh', '-c', 'cat /var/log/kube-apiserver.log'] }), false],
    ['not without containers', {}, false],
  ] as const)
    test(name, () => assert.equal(runsApiserver(spec as PodSpec), expected));
});
