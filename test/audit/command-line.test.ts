import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  expandArguments,
  findFlag,
  insertArguments,
  listFlags,
  parseCommandLine,
  placeFlag,
  removeFlag,
} from '../../src/audit/command-line.ts';
import type { Container } from '../../src/kubernetes.ts';

const apiserver = (args: string[], rest: Partial<Container> = {}): Container => ({
  name: 'apiserver',
  command: ['/usr/local/bin/kube-apiserver'],
  args,
  ...rest,
});
const read = (args: string[], rest?: Partial<Container>) => parseCommandLine(apiserver(args, rest));
const values = (args: string[], rest?: Partial<Container>) =>
  listFlags(apiserver(args, rest)).map(({ name, value }) => [name, value]);

describe('the command line of kube-apiserver', () => {
  const rows: [what: string, args: string[], flags: (string | undefined)[][], strays?: string[]][] = [
    ['a value behind the flag', ['--audit-log-path', '/x'], [['audit-log-path', '/x']]],
    ['a value behind =', ['--audit-log-path=/x=y'], [['audit-log-path', '/x=y']]],
    [
      'an empty value',
      ['--audit-log-path=', '--audit-policy-file', ''],
      [
        ['audit-log-path', ''],
        ['audit-policy-file', ''],
      ],
    ],
    ['_ for -, in names alone', ['--audit_log_path', '/a_b'], [['audit-log-path', '/a_b']]],
    [
      'bare booleans',
      ['--allow-privileged', '--profiling=false'],
      [
        ['allow-privileged', 'true'],
        ['profiling', 'false'],
      ],
    ],
    [
      'a value that looks like a flag',
      ['--audit-log-path', '--audit-policy-file', '/x'],
      [['audit-log-path', '--audit-policy-file']],
      ['/x'],
    ],
    [
      'a boolean does not take the next argument',
      ['--allow-privileged', 'false'],
      [['allow-privileged', 'true']],
      ['false'],
    ],
    ['what is no flag', ['x', '-', '-z'], [], ['x', '-', '-z']],
    ['empty arguments, which kube-apiserver ignores', ['', '--secure-port', '1'], [['secure-port', '1']]],
    ['verbosity', ['-v', '2', '-v=3', '-v4'], []],
    ['verbosity without its value', ['-v'], [], ['-v']],
    [
      'flags that no flag is called',
      ['---audit-log-path', '--=x', '--$(X)'],
      [],
      ['---audit-log-path', '--=x', '--$(X)'],
    ],
    [
      'the end of flags',
      ['--secure-port', '1', '--', '--audit-log-path', '/x'],
      [['secure-port', '1']],
      ['--audit-log-path', '/x'],
    ],
    ['nothing behind the end of flags', ['--secure-port', '1', '--', ''], [['secure-port', '1']]],
    [
      'a flag without its value',
      ['--secure-port', '1', '--audit-log-path'],
      [['secure-port', '1']],
      ['--audit-log-path'],
    ],
    ['an unknown flag with a value', ['--new-flag', 'x'], [['new-flag', 'x']]],
    [
      'an unknown flag in front of a flag',
      ['--new-flag', '--secure-port', '1'],
      [
        ['new-flag', 'true'],
        ['secure-port', '1'],
      ],
    ],
    [
      'an unknown flag never hides an audit flag',
      ['--new-flag', '--audit_log_path', '/x'],
      [['new-flag', '--audit_log_path']],
      ['/x'],
    ],
  ];
  for (const [what, args, flags, strays = []] of rows) {
    test(what, () => {
      assert.deepEqual(values(args), flags);
      assert.deepEqual(read(args).strays, strays);
    });
  }

  test('of repeated flags the last counts', () => {
    const args = ['--audit-log-path', '/a', '--audit_log_path=/b', '--audit-log-path', '/c'];
    assert.equal(findFlag(read(args), 'audit-log-path')?.value, '/c');
    assert.equal(values(args).length, 3);
  });

  test('a flag that no list knows may change what a later argument is: neither reading is trusted', () => {
    const args = ['--new-flag', '--secure-port', '--audit-policy-file=/dev/null'];
    assert.deepEqual(read(args).unknown, ['--audit-policy-file=/dev/null']);
  });

  const programs: [command: string[] | undefined, isApiserver: boolean][] = [
    [['/usr/local/bin/kube-apiserver'], true],
    [['kube-apiserver', '--secure-port', '1'], true],
    [['/hyperkube', 'kube-apiserver'], true],
    [['/hyperkube', 'apiserver'], true],
    [['/hyperkube', 'kubelet'], false],
    [['/hyperkube'], false],
    [['/bin/sh', '-c', 'kube-apiserver'], false],
    [['/http-prober-bin/http-prober'], false],
    [['$(SHELL)'], false],
    [[''], false],
    [undefined, true],
    [[], true],
  ];
  for (const [command, isApiserver] of programs) {
    test(`${JSON.stringify(command)} ${isApiserver ? 'is' : 'is not'} kube-apiserver`, () => {
      const { command: _default, ...rest } = apiserver(['--audit-log-path', '/x']);
      const commandLine = parseCommandLine({ ...rest, ...(command && { command }) });
      assert.equal(commandLine.isApiserver, isApiserver);
      if (!isApiserver) assert.deepEqual([...commandLine.auditFlags], []);
    });
  }

  test('flags in command count too', () => {
    const commandLine = read(['/b'], {
      command: ['kube-apiserver', '--audit-policy-file', '/a', '--audit-log-path'],
    });
    assert.equal(findFlag(commandLine, 'audit-policy-file')?.value, '/a');
    assert.equal(findFlag(commandLine, 'audit-log-path')?.value, '/b', 'its value is the first of args');
  });
});

test('a command line is read anew where anything that it depends on is another object', () => {
  const first: Container = {
    name: 'apiserver',
    command: ['kube-apiserver'],
    args: ['--audit-log-path=/$(X)', '$(Y)'],
    env: [{ name: 'X', value: 'a' }],
    envFrom: [],
  };
  const readAll = (container: Container) => {
    const { isApiserver, unknown } = parseCommandLine(container);
    return [isApiserver, findFlag(parseCommandLine(container), 'audit-log-path')?.value, unknown];
  };
  const rows: [changed: Partial<Container>, read: unknown[]][] = [
    [{}, [true, '/a', []]],
    [{ command: ['sh'] }, [false, undefined, []]],
    [{ args: ['--audit-log-path=/b'] }, [true, '/b', []]],
    [{ env: [{ name: 'X', value: 'c' }] }, [true, '/c', []]],
    [{ envFrom: [{ secretRef: { name: 's' } }] }, [true, '/a', ['$(Y)']]],
  ];
  for (const [changed, read] of [...rows, ...rows]) assert.deepEqual(readAll({ ...first, ...changed }), read);
});

describe('variables', () => {
  const env = [
    { name: 'A', value: 'a' },
    { name: 'EMPTY', value: '' },
  ];
  const rows: [text: string, expanded: string][] = [
    ['$(A)', 'a'],
    ['x$(A)y$(A)', 'xaya'],
    ['$(EMPTY)', ''],
    ['$(NONE)', '$(NONE)'],
    ['$$(A)', '$(A)'],
    ['$$$(A)', '$a'],
    ['$A $', '$A $'],
    ['$(A', '$(A'],
    ['$($(A)', '$($(A)'],
  ];
  for (const [text, expanded] of rows)
    test(text, () => assert.deepEqual(expandArguments({ env, args: [text] }), [expanded]));

  test('that never end are read once: the square of their number would take hours', () => {
    const text = '$('.repeat(1_400_000);
    assert.deepEqual(expandArguments({ args: [text] }), [text]);
  });

  test('that refer to each other twice, so that their text has no end, are not known', () => {
    const doubled = Array.from({ length: 60 }, (_, i) => ({
      name: `V${i}`,
      value: i === 0 ? 'xx' : `$(V${i - 1})$(V${i - 1})`,
    }));
    const args = ['--audit-log-path=$(V3)', '$(V59)'];
    assert.deepEqual(read(args, { env: doubled }).unknown, args);
    assert.deepEqual(read(args, { env: doubled.slice(0, 10) }).unknown, []);
  });

  test('that repeat a long text in many others are not known', () => {
    const env = [
      { name: 'LONG', value: 'x'.repeat(1000) },
      ...Array.from({ length: 50_000 }, (_, i) => ({ name: `V${i}`, value: '$(LONG)$(LONG)' })),
    ];
    assert.deepEqual(read(['$(V49999)'], { env }).unknown, ['$(V49999)']);
  });

  test('are expanded in their order, the last of a name counts', () => {
    const env = [
      { name: 'DIR', value: '/a' },
      { name: 'PATH', value: '$(DIR)/$(LATER)' },
      { name: 'LATER', value: 'x' },
      { name: 'DIR', value: '/b' },
    ];
    assert.deepEqual(values(['--audit-log-path=$(PATH)', '--audit-policy-file=$(DIR)'], { env }), [
      ['audit-log-path', '/a/$(LATER)'],
      ['audit-policy-file', '/b'],
    ]);
  });

  test('from outside the object make a value unknown, or any argument', () => {
    const env = [
      { name: 'X', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } },
      { name: 'Y', value: '-$(X)' },
    ];
    const commandLine = read(
      ['--audit-log-path', '/a', '--audit-log-path=/b$(X)', '$(X)', '-$(Y)', '--x$(X)'],
      { env },
    );
    assert.equal(findFlag(commandLine, 'audit-log-path')?.value, undefined);
    assert.deepEqual(commandLine.unknown, ['$(X)', '-$(Y)', '--x$(X)']);
  });

  test('of envFrom make unknown what nothing else defines', () => {
    const env = [
      { name: 'A', value: 'a' },
      { name: 'THROUGH', value: '$(B)' },
    ];
    const commandLine = read(['$(B)', '--audit-log-path=$(A)', '$(THROUGH)'], {
      env,
      envFrom: [{ secretRef: { name: 's' } }],
    });
    assert.deepEqual(commandLine.unknown, ['$(B)', '$(THROUGH)']);
    assert.equal(findFlag(commandLine, 'audit-log-path')?.value, 'a');
  });
});

describe('putting a flag in', () => {
  const insert = (container: Container, name: string) =>
    insertArguments(container, placeFlag(parseCommandLine(container), name), [`--${name}`, 'NEW']);
  const rows: [what: string, args: string[], name: string, after: string[]][] = [
    [
      'where KKP has it',
      ['--profiling=false', '--service-account-issuer', 'x'],
      'audit-policy-file',
      ['--profiling=false', '--audit-policy-file', 'NEW', '--service-account-issuer', 'x'],
    ],
    [
      'behind the nearest that precedes it',
      ['--allow-privileged', '--tls-cert-file', 'x'],
      'audit-log-path',
      ['--allow-privileged', '--audit-log-path', 'NEW', '--tls-cert-file', 'x'],
    ],
    [
      'behind every other occurrence',
      ['--audit_log_path=a', '--secure-port', '1', '--audit-log-path', 'b', '--z=1'],
      'audit-log-path',
      [
        '--audit_log_path=a',
        '--secure-port',
        '1',
        '--audit-log-path',
        'b',
        '--audit-log-path',
        'NEW',
        '--z=1',
      ],
    ],
    [
      'at the end otherwise',
      ['--new=1'],
      'audit-webhook-initial-backoff',
      ['--new=1', '--audit-webhook-initial-backoff', 'NEW'],
    ],
    [
      'before the end of flags',
      ['--new=1', '--', 'x'],
      'audit-log-path',
      ['--new=1', '--audit-log-path', 'NEW', '--', 'x'],
    ],
    [
      'before a flag that lacks its value',
      ['--new=1', '--secure-port'],
      'audit-policy-file',
      ['--new=1', '--audit-policy-file', 'NEW', '--secure-port'],
    ],
  ];
  for (const [what, args, name, after] of rows)
    test(what, () => assert.deepEqual(insert(apiserver(args), name).args, after));

  test('into command, where its place is there', () => {
    const container = apiserver(['--new=1'], { command: ['kube-apiserver', '--audit-log-path=a', '--x=1'] });
    assert.deepEqual(insert(container, 'audit-log-path').command, [
      'kube-apiserver',
      '--audit-log-path=a',
      '--audit-log-path',
      'NEW',
      '--x=1',
    ]);
  });

  test('and taking it out gives back what was there, in command and args', () => {
    const container = apiserver(['/a', '--z=1'], { command: ['kube-apiserver', '--audit-log-path'] });
    const flag = findFlag(parseCommandLine(container), 'audit-log-path');
    assert.ok(flag);
    const without = removeFlag(container, flag);
    assert.deepEqual([without.command, without.args], [['kube-apiserver'], ['--z=1']]);
  });
});
