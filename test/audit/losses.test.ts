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
const filters = (...all: string[][]): string =>
  `${INPUT}\n${all.map((lines) => `[FILTER]\n    ${lines.join('\n    ')}\n`).join('')}${STDOUT}`;
const service = (...lines: string[]): string => `[SERVICE]\n    ${lines.join('\n    ')}\n${INPUT}\n${STDOUT}`;
const input = (...lines: string[]): string => `${INPUT}\n    ${lines.join('\n    ')}\n${STDOUT}`;

const RENAME = ['Name modify', 'Match *', 'Rename log evil'];

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
    ['a service section', service('Flush 5', 'Log_Level off')],
    ['a unit behind the seconds, which fluent-bit does not read', service('Flush 5s')],
    [
      'what a service says of buffers, its health and parsers of the image',
      service(
        ...['storage.path /tmp/x', 'HTTP_Server On', 'HC_Period 5', 'dns.mode TCP', 'scheduler.cap 30'],
        'Parsers_File /fluent-bit/etc/parsers.conf',
      ),
    ],
    ['a match by a pattern or by an expression', output('Name stdout', 'Match none', 'Match_Regex .*')],
    ['Elastic in its cloud', output('Name es', 'Match *', 'Cloud_ID x:y')],
    ["Google's log, which its metadata server lets in", output('Name stackdriver', 'Match *')],
    ['two names, of which the first counts', output('Name stdout', 'name null', 'Match *')],
    ['another key for the event', input('Key message', 'Path_Key file', 'Storage.Type filesystem')],
    ['what is left out is something else', input('Exclude_Path *.gz,/var/log/kubernetes/audit/x*')],
    ['a parser of the image', input('Parser json')],
    [
      'more is known of each event',
      filter(
        ...[
          'Name modify',
          'Match *',
          'Add cluster a',
          'Set team "the b"',
          'Rename team group',
          'Remove group',
        ],
        ...[
          'Condition Key_exists log',
          'Condition Key_value_matches log ^.',
          "Set 'a b' c",
          'Add x $' + '{X}',
        ],
        'Set cluster $' + '{CLUSTER_ID}',
      ),
    ],
    ['another name for the event', filter('Name modify', 'Match *', 'Rename log message', 'Set cluster x')],
    ['everything but the event goes', filter('Name record_modifier', 'Match *', 'Allowlist_key l*')],
    ['other keys go', filter('Name record_modifier', 'Match *', 'Remove_key stream', 'Record a $' + '{X}')],
    [
      'parsed, and then more is added',
      filters(
        ['Name parser', 'Match *', 'Key_Name log', 'Parser json'],
        ['Name record_modifier', 'Match *', 'Record cluster a', 'Remove_key stream'],
      ),
    ],
    [
      'pods and their labels',
      filter('Name kubernetes', 'Match *', 'Merge_Log On', 'Keep_Log Off', 'K8S-Logging.Exclude Off'),
    ],
    ['another kind of a value', filter('Name type_converter', 'Match *', 'Int_Key a b string')],
    ['one key of two, the right one', output('Name s3', 'Match *', 'Bucket b', 'Log_Key $log')],
    ['a log of its own', service('Log_File /tmp/fluent-bit.log', 'sp.convert_from_str_to_num On')],
    ['a file beside stdout', `${output('Name file', 'Match *', 'Path /tmp', 'File events')}\n${STDOUT}`],
    ['a large backlog', output('Name stdout', 'Match *', 'storage.total_limit_size 5G')],
    ['a backlog without an end', output('Name stdout', 'Match *', 'storage.total_limit_size off')],
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
    [
      'an event that was renamed first',
      'FLUENTBIT_FILTER',
      filters(RENAME, ['Name modify', 'Match *', 'Remove evil']),
    ],
    ['renamed and removed by one', 'FLUENTBIT_FILTER', filters([...RENAME, 'Remove evil'])],
    ['renamed twice', 'FLUENTBIT_FILTER', filters([...RENAME, 'Hard_rename evil b', 'Remove b'])],
    [
      'renamed, and taken by another filter, in other capitals',
      'FLUENTBIT_FILTER',
      filters(RENAME, ['Name record_modifier', 'Match *', 'Remove_key EV*']),
    ],
    [
      'renamed, and not among the rest',
      'FLUENTBIT_FILTER',
      filters(RENAME, ['Name record_modifier', 'Match *', 'Allowlist_key log']),
    ],
    ['renamed, and covered', 'FLUENTBIT_FILTER', filters(RENAME, ['Name modify', 'Match *', 'Set evil x'])],
    [
      'covered by a renamed key',
      'FLUENTBIT_FILTER',
      filters(['Name modify', 'Match *', 'Hard_rename a log']),
    ],
    ['covered by a copy', 'FLUENTBIT_FILTER', filters(['Name modify', 'Match *', 'Hard_copy a log'])],
    [
      'covered by an added key',
      'FLUENTBIT_FILTER',
      filter('Name record_modifier', 'Match *', 'Record log x'),
    ],
    [
      'put under another key, which is taken away',
      'FLUENTBIT_FILTER',
      filters(
        ['Name nest', 'Match *', 'Operation nest', 'Wildcard log', 'Nest_under x'],
        ['Name modify', 'Match *', 'Remove x'],
      ),
    ],
    [
      'taken out of another key, and then taken away',
      'FLUENTBIT_FILTER',
      filters(
        ['Name nest', 'Match *', 'Operation lift', 'Nested_under log', 'Add_prefix x'],
        ['Name modify', 'Match *', 'Remove xuser'],
      ),
    ],
    [
      'parsed, and then a part of it taken away',
      'FLUENTBIT_FILTER',
      filters(
        ['Name parser', 'Match *', 'Key_Name log', 'Parser json'],
        ['Name modify', 'Match *', 'Remove user'],
      ),
    ],
    [
      'parsed in another way',
      'FLUENTBIT_FILTER',
      filter('Name parser', 'Match *', 'Key_Name log', 'Parser logfmt'),
    ],
    [
      'something else parsed, which drops the event',
      'FLUENTBIT_FILTER',
      filters(
        ['Name record_modifier', 'Match *', 'Record a {}'],
        ['Name parser', 'Match *', 'Key_Name a', 'Parser json'],
      ),
    ],
    [
      'renamed by three words, whatever they are said to do',
      'FLUENTBIT_FILTER',
      filter('Name modify', 'Match *', 'Add log x evil', 'Remove evil'),
    ],
    [
      'renamed by words that come from a variable',
      'FLUENTBIT_FILTER',
      filter('Name modify', 'Match *', 'Add log $' + '{X}', 'Remove evil'),
    ],
    [
      'covered behind a variable that may be empty',
      'FLUENTBIT_FILTER',
      filter('Name modify', 'Match *', 'Hard_copy $' + '{X} a log'),
    ],
    [
      'covered behind words in quotes',
      'FLUENTBIT_FILTER',
      filter('Name modify', 'Match *', `Hard_copy 'a b c' log`),
    ],
    [
      'covered by what is in quotes',
      'FLUENTBIT_FILTER',
      filter('Name modify', 'Match *', 'Hard_copy a "log"'),
    ],
    ['quotes without an end', 'FLUENTBIT_FILTER', filter('Name modify', 'Match *', 'Remove "log')],
    [
      'covered by another kind of a value, behind words in quotes',
      'FLUENTBIT_FILTER',
      filter('Name type_converter', 'Match *', 'Str_key "a b c" log string'),
    ],
    [
      'a key that can not be told',
      'FLUENTBIT_FILTER',
      `@SET X=log\n${filter('Name modify', 'Match *', 'Remove $' + '{X}')}`,
    ],
    ['a key in quotes', 'FLUENTBIT_FILTER', filter('Name modify', 'Match *', 'Remove "log"')],
    ['an operation nobody knows', 'FLUENTBIT_FILTER', filter('Name modify', 'Match *', 'Forget log')],
    [
      'a match by either, and by one for everything',
      'FLUENTBIT_FILTER',
      filter('Name grep', 'Match none', 'Match_Regex .*', 'Exclude log .'),
    ],
    [
      "what a pod's annotations ask for",
      'FLUENTBIT_FILTER',
      filter('Name kubernetes', 'Match *', 'K8S-Logging.Exclude On'),
    ],
    [
      'what is not from the journal',
      'FLUENTBIT_FILTER',
      filter('Name kubernetes', 'Match *', 'Use_Journal On'),
    ],
    ['events joined', 'FLUENTBIT_FILTER', filter('Name multiline', 'Match *', 'multiline.parser go')],
    ['a flush with a unit behind it', 'FLUENTBIT_OUTPUT', service('Flush 100000s')],
    ['a flush that can not be told', 'FLUENTBIT_OUTPUT', service('Flush $' + '{X}')],
    ['no flush', 'FLUENTBIT_OUTPUT', service('Flush 0')],
    ['plugins from elsewhere', 'FLUENTBIT_UNREADABLE', service('Plugins_File /etc/fluent-bit/p.conf')],
    ['streams from elsewhere', 'FLUENTBIT_UNREADABLE', service('Streams_File /etc/fluent-bit/s.conf')],
    ['parsers from elsewhere', 'FLUENTBIT_UNREADABLE', service('Parsers_File parsers.conf')],
    [
      'parsers from above',
      'FLUENTBIT_UNREADABLE',
      service('Parsers_File /fluent-bit/etc/../../proc/self/environ'),
    ],
    ['a service with an option nobody knows', 'FLUENTBIT_UNREADABLE', service('Drop_All On')],
    [
      'parsers in the main file',
      'FLUENTBIT_UNREADABLE',
      `${INPUT}\n[PARSER]\n    Name x\n    Format json\n${STDOUT}`,
    ],
    [
      'a key that ends at a tab',
      'FLUENTBIT_UNREADABLE',
      `${INPUT}\n[OUTPUT]\n    Name stdout\n    Match\t* x`,
    ],
    ['a group', 'FLUENTBIT_UNREADABLE', `[INPUT]\n    Name tail\n    [x] y\n        Path ${LOG}\n${STDOUT}`],
    [
      'a control character at the end of a value',
      'FLUENTBIT_UNREADABLE',
      filter('Name modify', 'Match *', 'Remove log\v'),
    ],
    ['an input without a way out', 'FLUENTBIT_INPUT', input('Routable off')],
    [
      'the log excluded by one character',
      'FLUENTBIT_INPUT',
      input(`Exclude_Path ${LOG.replace('.log', '.lo?')}`),
    ],
    [
      'the log excluded by brackets',
      'FLUENTBIT_INPUT',
      input(`Exclude_Path ${LOG.replace('audit.log', '[a]udit.log')}`),
    ],
    [
      'a path by another way',
      'FLUENTBIT_INPUT',
      `${INPUT.replace(LOG, '/none/../var/log/kubernetes/audit/audit.log')}\n${STDOUT}`,
    ],
    ['a pattern across slashes', 'FLUENTBIT_INPUT', `${INPUT.replace(LOG, '/var/*')}\n${STDOUT}`],
    [
      'another key for the event, and that taken away',
      'FLUENTBIT_FILTER',
      `${INPUT}\n    Key msg\n[FILTER]\n    Name modify\n    Match *\n    Remove msg\n${STDOUT}`,
    ],
    ['the name of the file in the place of the event', 'FLUENTBIT_INPUT', input('Path_Key log')],
    ['a parser for a part of it', 'FLUENTBIT_INPUT', input('Parser syslog-rfc5424')],
    ['an input with an option nobody knows', 'FLUENTBIT_INPUT', input('Event_Batch_Size 1')],
    ['a buffer that drops what is old', 'FLUENTBIT_INPUT', input('storage.type memrb')],
    ['a log that is found tomorrow', 'FLUENTBIT_INPUT', input('Refresh_Interval 86400')],
    ['a rotated log that is left', 'FLUENTBIT_INPUT', input('Rotate_Wait 0')],
    [
      'another input, at whose end all ends',
      'FLUENTBIT_INPUT',
      `[INPUT]\n    Name tail\n    Path /etc/hosts\n    Exit_On_Eof on\n${INPUT}\n${STDOUT}`,
    ],
    [
      'a tag from the name of the file',
      'FLUENTBIT_OUTPUT',
      `${INPUT}\n    Tag a<x>\n    Tag_Regex (?<x>.+)\n[OUTPUT]\n    Name stdout\n    Match a<x>`,
    ],
    ['no output', 'FLUENTBIT_OUTPUT', INPUT],
    ['null under the first of two names', 'FLUENTBIT_OUTPUT', output('Name null', 'name stdout', 'Match *')],
    ['what is only in memory', 'FLUENTBIT_OUTPUT', output('Name vivo_exporter', 'Match *')],
    ['another key', 'FLUENTBIT_OUTPUT', output('Name s3', 'Match *', 'Bucket b', 'Log_Key stream')],
    [
      'the event removed by the output',
      'FLUENTBIT_OUTPUT',
      output('Name loki', 'Match *', 'Host h', 'Remove_Keys a, log'),
    ],
    [
      'a part of the event removed by the output',
      'FLUENTBIT_OUTPUT',
      output('Name loki', 'Match *', 'Host h', "Remove_Keys $log['a']"),
    ],
    [
      'a file that is read again, beside stdout',
      'FLUENTBIT_OUTPUT',
      `${output('Name file', 'Match *', 'Path /var//log', 'File kubernetes/audit/audit.log')}\n${STDOUT}`,
    ],
    [
      'a file that is open, beside stdout',
      'FLUENTBIT_OUTPUT',
      `${output('Name file', 'Match *', 'Path /proc/self/fd', 'File 7')}\n${STDOUT}`,
    ],
    ["fluent-bit's own log in the audit log", 'FLUENTBIT_INPUT', service(`Log_File ${LOG}`)],
    ['a tiny backlog', 'FLUENTBIT_OUTPUT', output('Name stdout', 'Match *', 'storage.total_limit_size 1k')],
    [
      'its own address under another key',
      'FLUENTBIT_OUTPUT',
      output('Name datadog', 'Match *', 'Host 127.0.0.1'),
    ],
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
  const many = (line: (index: number) => string): string[] =>
    Array.from({ length: 20_000 }, (_, at) => line(at));
  const renames = ['Name modify', 'Match *', 'Rename log k0', ...many((at) => `Rename k${at} k${at + 1}`)];
  const removals = ['Name record_modifier', 'Match *', ...many((at) => `Remove_key x${at}`)];
  const startMs = performance.now();
  assert.deepEqual(codes(filters(renames, removals)), ['FLUENTBIT_FILTER']);
  assert.ok(performance.now() - startMs < 2000);
});
