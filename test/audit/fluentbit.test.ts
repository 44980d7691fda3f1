import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  FluentBitSyntaxError,
  formatSections,
  parseFluentBit,
  renderFluentBit,
} from '../../src/audit/fluentbit.ts';
import { settingsWith } from '../support/audit-generators.ts';
import { matchGolden } from '../support/golden.ts';

const render = (config: unknown, extraEnvs: unknown = []) =>
  renderFluentBit(settingsWith({ enabled: true, sidecar: { config, extraEnvs } }));
const entriesOf = (text: string, name: string) =>
  parseFluentBit(text)
    .filter((section) => section.name === name)
    .map(({ entries }) => entries);

describe('the configuration of the sidecar', () => {
  test('without settings', () => matchGolden('fluent-bit/default.conf', render(undefined).text));

  test('with all settings', () => {
    const { text, problems } = render(
      {
        service: { Log_Level: 'warn', Flush: '1', HTTP_Server: 'On' },
        filters: [
          { Match: '*', Name: 'grep', Exclude: ['user ^system:', 'verb ^get$'] },
          {
            Name: 'record_modifier',
            Match: '*',
            Record: 'cluster ${CLUSTER_ID} of "${TEAM}" & <co> ${UNKNOWN} ${FROM}',
          },
        ],
        outputs: [{ Name: 'http', Match: '*', Host: '${HOST}', Header: "X-Quote it's [here] @INCLUDE x" }],
      },
      [
        { name: 'TEAM', value: 'a+b' },
        { name: 'FROM', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } },
      ],
    );
    assert.deepEqual(problems, []);
    matchGolden('fluent-bit/full.conf', text);
  });

  test('has no entities, one key for each value, and expands in filters alone', () => {
    const { text } = render({
      filters: [{ Name: 'x', A: ['1', '"&<>+\''], B: '${CLUSTER_ID}' }],
      outputs: [{ Name: 'y', C: '${CLUSTER_ID}' }],
    });
    assert.deepEqual(entriesOf(text, 'FILTER'), [
      [
        ['Name', 'x'],
        ['A', '1'],
        ['A', '"&<>+\''],
        ['B', 'q7x2mfk9vd'],
      ],
    ]);
    assert.deepEqual(entriesOf(text, 'OUTPUT'), [
      [
        ['Name', 'y'],
        ['C', '${CLUSTER_ID}'],
      ],
    ]);
  });

  const HOSTILE: [what: string, section: unknown][] = [
    ['a line break', { Name: 'x', A: 'a\n[OUTPUT]\n    Name null' }],
    ['a carriage return', { Name: 'x', A: 'a\rb' }],
    ['a NUL', { Name: 'x', A: 'a\u0000b' }],
    ['an empty value', { Name: 'x', A: '' }],
    ['a value of blanks', { Name: 'x', A: ' \t ' }],
    ['an object', { Name: 'x', A: {} }],
    ['null', { Name: 'x', A: null }],
    ['a key with a space', { Name: 'x', 'A B': '1' }],
    ['a key with a line break', { Name: 'x', 'A\n[X]': '1' }],
    ['a key that is a section', { Name: 'x', '[X]': '1' }],
    ['a key that is a command', { Name: 'x', '@INCLUDE': '/etc/passwd' }],
    ['a key that is a comment', { Name: 'x', '#': '1' }],
    ['an empty key', { Name: 'x', '': '1' }],
    ['no Name', { Match: '*' }],
    ['a list', ['x']],
    ['text', 'x'],
    ['nothing', null],
  ];
  for (const [what, section] of HOSTILE) {
    test(`leaves out a section with ${what}, and says so`, () => {
      const { text, problems } = render({ filters: [section], outputs: [section] });
      assert.deepEqual(
        problems.map(({ code }) => code),
        ['FLUENTBIT_SECTION_INVALID', 'FLUENTBIT_SECTION_INVALID'],
      );
      assert.deepEqual(
        parseFluentBit(text).map(({ name }) => name),
        ['INPUT', 'OUTPUT'],
      );
      assert.equal(text, render(undefined).text, 'an output that is left out becomes the default one');
    });
  }

  for (const config of ['x', 7, [], { filters: 'x', outputs: {} }, { filters: [{}] }])
    test(`of ${JSON.stringify(config)} is the default`, () =>
      assert.equal(render(config).text, render(undefined).text));

  test('a key called __proto__ is one like any other', () => {
    const { text } = render(JSON.parse('{"filters": [{"Name": "x", "__proto__": "1", "constructor": "2"}]}'));
    assert.deepEqual(entriesOf(text, 'FILTER'), [
      [
        ['Name', 'x'],
        ['__proto__', '1'],
        ['constructor', '2'],
      ],
    ]);
  });

  test('a hundred thousand values fit', () => {
    const { text } = render({ filters: [{ Name: 'x', A: Array.from({ length: 200_000 }, () => '1') }] });
    assert.equal(entriesOf(text, 'FILTER')[0]?.length, 200_001);
  });

  test('the same settings give the same text, whatever the order of their keys', () => {
    const a = render({ filters: [{ Name: 'x', B: '1', A: '2' }] }).text;
    assert.equal(render({ filters: [{ A: '2', B: '1', Name: 'x' }] }).text, a);
  });
});

describe('rendered and read back', () => {
  const key = fc.stringMatching(/^[A-Za-z0-9_$][A-Za-z0-9_.$/-]{0,20}$/);
  const value = fc
    .string({ unit: 'grapheme', minLength: 1 })
    .map((text) => text.replace(/\p{Cc}/gu, ' ').replace(/^[ \t]+|[ \t]+$/g, '') || 'x');
  test('every section is the same', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            name: fc.constantFrom('SERVICE', 'INPUT', 'FILTER', 'OUTPUT'),
            entries: fc.array(fc.tuple(key, value), { minLength: 1, maxLength: 5 }),
          }),
          { minLength: 1, maxLength: 5 },
        ),
        (sections) =>
          assert.deepEqual(
            parseFluentBit(formatSections(sections)),
            sections.map((section) => ({ ...section })),
          ),
      ),
    );
  });

  test('what settings bring is in it, and nothing else', () => {
    fc.assert(
      fc.property(fc.dictionary(key, value, { minKeys: 1, noNullPrototype: true }), (section) => {
        const { text, problems } = render({ outputs: [{ ...section, Name: 'y' }] });
        assert.deepEqual(problems, []);
        const expected = Object.entries({ ...section, Name: 'y' }).map(
          ([name, content]) => `${name} ${content}`,
        );
        assert.deepEqual(
          entriesOf(text, 'OUTPUT')[0]
            ?.map(([name, content]) => `${name} ${content}`)
            .sort(),
          expected.sort(),
        );
      }),
    );
  });
});

describe('the reader', () => {
  test('knows comments, commands, tabs, Windows and case', () => {
    const text = '@SET a=b\n# c\n\n[service]\r\n\tFlush\t 5 # no comment\r\n   # c\n[INPUT]  \n  Name tail\n';
    assert.deepEqual(parseFluentBit(text), [
      { name: 'SERVICE', entries: [['Flush', '5 # no comment']] },
      { name: 'INPUT', entries: [['Name', 'tail']] },
    ]);
  });
  for (const text of [
    'Name x',
    '  Name x',
    '[A]\nName x',
    '[A]\n  Name',
    '[A',
    '[]',
    '[A]\n  [B]',
    '[A] x',
    '\u0000',
  ])
    test(`refuses ${JSON.stringify(text)}, with the line`, () =>
      assert.throws(
        () => parseFluentBit(text),
        (error: Error) => error instanceof FluentBitSyntaxError && /^line \d+: /.test(error.message),
      ));

  test('never throws anything else', () => {
    fc.assert(
      fc.property(
        fc.string({
          unit: fc.constantFrom('[', ']', 'A', ' ', '\t', '\n', '\r', '#', '@', '=', '\u2028', '\u{1f600}'),
        }),
        (text) => {
          try {
            parseFluentBit(text);
          } catch (error) {
            assert.ok(error instanceof FluentBitSyntaxError);
          }
        },
      ),
    );
  });
});
