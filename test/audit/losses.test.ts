/** Configurations of fluent-bit, and what of the audit log they lose. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { renderFluentBit } from '../../src/audit/fluentbit.ts';
import { findLosses } from '../../src/audit/losses.ts';
import { resolveSettings } from '../../src/audit/settings.ts';
import { DEFAULT_CONFIG } from '../../src/config.ts';
import { viewCluster } from '../../src/kkp.ts';
import { explainReason } from '../../src/reasons.ts';
import { renderFluentBitConf } from '../support/kkp-objects.ts';

const LOG = '/var/log/kubernetes/audit/audit.log';
const INPUT = `[INPUT]\n    Name tail\n    Path ${LOG}`;
const STDOUT = '[OUTPUT]\n    Name stdout\n    Match *';
const codes = (text: string): string[] => findLosses(text, 'x').map(({ code }) => code);
const filter = (...lines: string[]): string => `${INPUT}\n[FILTER]\n    ${lines.join('\n    ')}\n${STDOUT}`;
const output = (...lines: string[]): string => `${INPUT}\n[OUTPUT]\n    ${lines.join('\n    ')}`;
const input = (...lines: string[]): string => `${INPUT}\n    ${lines.join('\n    ')}\n${STDOUT}`;

describe('what loses nothing', () => {
  for (const [name, text] of [
    ['input and stdout', `${INPUT}\n${STDOUT}`],
    [
      'keys and plugins in other capitals, tabs, comments',
      `[input]\n\tNAME Tail\n\tpath ${LOG}\n# a comment\n[Output]\n\tname STDOUT\n\tmatch *`,
    ],
    ['lines that end as on Windows', `${INPUT}\n${STDOUT}`.replaceAll('\n', '\r\n')],
    [
      'a list and a pattern of paths',
      `${INPUT.replace(LOG, '/other.log, /var/log/*/audit/*.log')}\n${STDOUT}`,
    ],
    ['a tag of its own', `${INPUT}\n    Tag audit.log\n[OUTPUT]\n    Name stdout\n    Match audit.*`],
    ['the default tag', output('Name stdout', 'Match tail.0')],
    [
      'another input first, and the tag that follows from it',
      `[INPUT]\n    Name cpu\n${output('Name stdout', 'Match tail.1')}`,
    ],
    ['a match by a regular expression for everything', output('Name stdout', 'Match_Regex ^.*$')],
    ['a filter that adds', filter('Name record_modifier', 'Match *', 'Record a b')],
    ['a filter for something else', filter('Name grep', 'Match kube.*', 'Exclude log .')],
    ['a filter without a match, which gets nothing', filter('Name grep', 'Exclude log .')],
    ['a real destination', output('Name loki', 'Match *', 'Host loki.mla.svc')],
    ['one real destination of two', `${output('Name null', 'Match *')}\n${STDOUT}`],
    ['a destination under another key', output('Name forward', 'Match *', 'Upstream /etc/up.conf')],
    ['large buffers', input('Buffer_Max_Size 8M', 'Mem_Buf_Limit 50MB', 'Skip_Long_Lines On')],
    ['@SET, which only names a value', `@SET a=b\n${INPUT}\n${STDOUT}`],
    ['a service section', `[SERVICE]\n    Flush 5\n    Log_Level off\n${INPUT}\n${STDOUT}`],
  ] as const)
    test(name, () => assert.deepEqual(findLosses(text, 'x').map(explainReason), []));

  test('what KKP and this software render', () => {
    const auditLogging = {
      enabled: true,
      sidecar: {
        config: {
          service: { Flush: '1' },
          filters: [{ Name: 'record_modifier', Match: '*', Record: 'a "b"' }],
          outputs: [{ Name: 'http', Match: '*', Host: 'logs.example.com', Header: "a 'b' & c" }],
        },
      },
    };
    assert.deepEqual(codes(renderFluentBitConf('bank', auditLogging)), []);
    assert.deepEqual(codes(renderFluentBitConf('bank', { enabled: true })), []);
    const cluster = viewCluster({ metadata: { name: 'bank' }, spec: { auditLogging } } as object);
    const resolution = resolveSettings(cluster, [], DEFAULT_CONFIG, 0);
    assert.ok(!resolution.resolved);
    assert.deepEqual(codes(renderFluentBit(resolution.own).text), []);
  });
});

describe('what loses events', () => {
  for (const [name, code, text] of [
    ['nothing at all', 'FLUENTBIT_INPUT', ''],
    ['text of another kind', 'FLUENTBIT_UNREADABLE', 'pipeline:\n  inputs: []\n'],
    ['@INCLUDE', 'FLUENTBIT_UNREADABLE', `${INPUT}\n${STDOUT}\n@INCLUDE x.conf`],
    ['@include, set in', 'FLUENTBIT_UNREADABLE', `${INPUT}\n${STDOUT}\n  @include x.conf`],
    [
      'a section of an unknown kind',
      'FLUENTBIT_UNREADABLE',
      `${INPUT}\n${STDOUT}\n[PLUGINS]\n    Path /x.so`,
    ],
    ['another input', 'FLUENTBIT_INPUT', `${INPUT.replace('tail', 'head')}\n${STDOUT}`],
    [
      'a pattern that leaves the log out',
      'FLUENTBIT_INPUT',
      `${INPUT.replace(LOG, '/var/log/*/audit/*.txt')}\n${STDOUT}`,
    ],
    ['the log excluded', 'FLUENTBIT_INPUT', input('Exclude_Path /x,*.log')],
    ['the last path counts', 'FLUENTBIT_INPUT', input('Path /dev/null')],
    ['an end at the end of the file', 'FLUENTBIT_INPUT', input('Exit_On_Eof true')],
    ['a tiny buffer', 'FLUENTBIT_INPUT', input('Buffer_Max_Size 16k')],
    ['a buffer that is no size', 'FLUENTBIT_INPUT', input('Buffer_Max_Size lots')],
    ['tiny memory', 'FLUENTBIT_INPUT', input('Mem_Buf_Limit 100000')],
    ['a daemon', 'FLUENTBIT_INPUT', `[SERVICE]\n    Daemon On\n${INPUT}\n${STDOUT}`],
    ['a flush once a day', 'FLUENTBIT_OUTPUT', `[SERVICE]\n    Flush 86400\n${INPUT}\n${STDOUT}`],
    ['grep', 'FLUENTBIT_FILTER', filter('Name GREP', 'Match tail.*', 'Exclude log .')],
    [
      'a match that can not be told',
      'FLUENTBIT_FILTER',
      filter('Name grep', 'Match $' + '{X}', 'Exclude log .'),
    ],
    [
      'a match by a regular expression',
      'FLUENTBIT_FILTER',
      filter('Name grep', 'Match_Regex (a+)+$', 'Exclude log .'),
    ],
    ['a filter nobody knows', 'FLUENTBIT_FILTER', filter('Name __proto__', 'Match *')],
    ['a filter without a name', 'FLUENTBIT_FILTER', filter('Match *')],
    [
      'the record taken away',
      'FLUENTBIT_FILTER',
      filter('Name record_modifier', 'Match *', 'Remove_key log'),
    ],
    [
      'all but other keys taken away',
      'FLUENTBIT_FILTER',
      filter('Name record_modifier', 'Match *', 'Allowlist_key other'),
    ],
    [
      'the record taken away by a pattern',
      'FLUENTBIT_FILTER',
      filter('Name modify', 'Match *', 'Remove_wildcard l'),
    ],
    ['another record in its place', 'FLUENTBIT_FILTER', filter('Name modify', 'Match *', 'Set log nothing')],
    ['no output', 'FLUENTBIT_OUTPUT', INPUT],
    ['null', 'FLUENTBIT_OUTPUT', output('Name null', 'Match *')],
    ['a file', 'FLUENTBIT_OUTPUT', output('Name file', 'Match *', 'Path /dev', 'File null')],
    ['an output nobody knows', 'FLUENTBIT_OUTPUT', output('Name constructor', 'Match *')],
    ['an output for another tag', 'FLUENTBIT_OUTPUT', output('Name stdout', 'Match tail.1')],
    ['an output without a match', 'FLUENTBIT_OUTPUT', output('Name stdout')],
    ['no destination', 'FLUENTBIT_OUTPUT', output('Name http', 'Match *', 'Port 443')],
    ['back into the pod', 'FLUENTBIT_OUTPUT', output('Name http', 'Match *', 'Host LOCALHOST')],
    [
      'the end of fluent-bit beside stdout',
      'FLUENTBIT_OUTPUT',
      `${output('Name exit', 'Match *')}\n${STDOUT}`,
    ],
  ] as const)
    test(name, () => assert.ok(codes(text).includes(code), `${code} in ${codes(text)}`));
});

test('a reason never has what stands in the configuration', () => {
  const password = 'hunter2hunter2';
  for (const text of [
    output(`Name ${password}`, `Match ${password}`, `HTTP_Passwd ${password}`),
    filter(`Name ${password}`, 'Match *'),
    `[${password}]\n    ${password} ${password}\n${password}`,
    `@INCLUDE ${password}`,
    input(`Buffer_Max_Size ${password}`, `Tag ${password}`, `Ignore_Older ${password}`),
  ]) {
    const said = findLosses(text, 'x').map(explainReason).join('\n');
    assert.notEqual(said, '');
    assert.ok(!said.includes(password), said);
  }
});

test('any text is judged, in time that grows with its length', () => {
  const line = fc.oneof(
    fc.string(),
    fc.constantFrom(
      '[INPUT]',
      '[FILTER]',
      '[OUTPUT]',
      '    Name tail',
      `    Path ${LOG}`,
      '    Match *',
      '    Name stdout',
      '@SET x',
    ),
  );
  fc.assert(
    fc.property(fc.array(line), (lines) => Array.isArray(findLosses(lines.join('\n'), 'x'))),
    { numRuns: 2000 },
  );
  const long = `${INPUT}\n    Exclude_Path ${'*a'.repeat(20_000)}\n    ${' '.repeat(50_000)}\n${STDOUT}`;
  assert.ok(Array.isArray(findLosses(long, 'x')));
});
