/** Holds the direction of imports: pure core below, shells above; so that nobody finds I/O, a clock or a log in a decision. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

const SRC = path.join(import.meta.dirname, '..', 'src');

interface Import {
  readonly file: string;
  readonly from: string;
  readonly isType: boolean;
}

const imports: readonly Import[] = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .flatMap((file) => {
    const text = readFileSync(path.join(SRC, file), 'utf8');
    const found = text.matchAll(
      /(?:^|\n)(?:import|export)\s+(type\s)?[^;'"]*?from\s+'([^']+)'|import\('([^']+)'\)/g,
    );
    return [...found].map(([, type, from, dynamic]) => {
      const target = from ?? dynamic ?? '';
      const resolved = target.startsWith('.') ? path.join(path.dirname(file), target) : target;
      return { file, from: resolved, isType: type !== undefined };
    });
  });

/** What the controller decides by: no clock, no logger, no client. */
const BELOW_THE_CONTROLLER = [/^audit\//, 'policy/index.ts', 'kkp.ts', 'kubernetes.ts', 'reasons.ts'];

/** Folder or file → what it may import at run time, besides its own folder. */
const RULES: readonly { readonly under: string; readonly may: readonly (string | RegExp)[] }[] = [
  {
    under: 'audit/',
    may: [
      /^audit\//,
      'equal.ts',
      'policy/index.ts',
      'kubernetes.ts',
      'kkp.ts',
      'config.ts',
      'reasons.ts',
      'workload.ts',
      'node:path',
      'node:util',
      'node:crypto',
    ],
  },
  { under: 'policy/', may: [/^policy\//, 'js-yaml', 'yaml', 'node:util'] },
  {
    under: 'hooks/',
    may: [
      /^hooks\//,
      /^audit\//,
      'policy/index.ts',
      'admission.ts',
      'config.ts',
      'kkp.ts',
      'kubernetes.ts',
      'patch.ts',
      'reasons.ts',
      'recent.ts',
      'state/state.ts',
      'workload.ts',
      'fast-json-patch',
    ],
  },
  {
    under: 'controller/plan/',
    may: [/^controller\/plan\//, 'controller/objects.ts', 'controller/view.ts', ...BELOW_THE_CONTROLLER],
  },
  { under: 'controller/objects.ts', may: ['controller/view.ts', ...BELOW_THE_CONTROLLER] },
  { under: 'controller/view.ts', may: ['node:crypto', 'workload.ts', ...BELOW_THE_CONTROLLER] },
  { under: 'patch.ts', may: ['fast-json-patch'] },
  { under: 'equal.ts', may: [] },
  { under: 'reasons.ts', may: [] },
  { under: 'recent.ts', may: [] },
  { under: 'kubernetes.ts', may: [] },
  { under: 'kkp.ts', may: ['kubernetes.ts'] },
];

for (const { under, may } of RULES) {
  test(`${under} imports nothing but what is below it`, () => {
    const isAllowed = ({ from }: Import): boolean =>
      may.some((allowed) => (typeof allowed === 'string' ? from === allowed : allowed.test(from)));
    const own = imports.filter(
      ({ file }) => file === under || (under.endsWith('/') && file.startsWith(under)),
    );
    const wrong = own.filter((found) => !found.isType && !isAllowed(found));
    assert.deepEqual(
      wrong.map(({ file, from }) => `${file} imports ${from}`),
      [],
    );
    if (under.endsWith('/'))
      assert.ok(own.length > 0, 'the folder has imports, so the rule looks at the right place');
  });
}

test('only main.ts and serve.ts know the process', () => {
  const knows = imports.filter(({ from }) => from === 'node:process').map(({ file }) => file);
  assert.deepEqual(knows.sort(), ['cli/serve.ts', 'main.ts']);
});

test('server.ts knows the protocol, and nothing of what is decided', () => {
  const decides = imports.filter(
    ({ file, from }) => file === 'server.ts' && /^(audit|hooks|policy|controller)(\/|\.ts)/.test(from),
  );
  assert.deepEqual(decides, []);
});

test('no decision asks for the time or for chance', () => {
  for (const folder of ['audit', 'policy', 'hooks', 'controller/plan']) {
    for (const file of readdirSync(path.join(SRC, folder), { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts')) continue;
      const text = readFileSync(path.join(SRC, folder, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '');
      assert.doesNotMatch(
        text,
        /\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b|\bperformance\.now\b|\bprocess\.env\b/,
        `${folder}/${file}`,
      );
    }
  }
});
