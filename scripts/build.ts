/**
 * Builds the program that the image runs, with its libraries in it: main.js, and beside it what is loaded for some commands and options only.
 * A few files start in a third of the time that hundreds take, and need no node_modules.
 *
 *     node scripts/build.ts [OUT]    # default: dist
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { build as bundle } from 'esbuild';

const ROOT = join(import.meta.dirname, '..');
const PACKAGE = /^.*node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/;
const TERMS = /^(licen[cs]e|notice|copying)(\.|-|$)/i;

/**
 * Libraries of CommonJS ask for Node's own modules by it. (Such a library must not be loaded by `import()` itself, only by a module that is: what
 * it exports has other names there.)
 */
const REQUIRE =
  "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";

/**
 * @param outDir the files in it are removed first; folders, such as a release's, stay
 * @throws {Error} where a module is missing or can't be read; types are not checked
 */
export async function build(outDir: string): Promise<void> {
  mkdirSync(outDir, { recursive: true });
  for (const entry of readdirSync(outDir, { withFileTypes: true }))
    if (entry.isFile()) rmSync(join(outDir, entry.name));
  const { metafile } = await bundle({
    absWorkingDir: ROOT,
    entryPoints: ['src/main.ts'],
    outdir: outDir,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    // Names and lines stay, for the stacks in logs.
    minifySyntax: true,
    legalComments: 'none',
    banner: { js: REQUIRE },
    metafile: true,
    logLevel: 'warning',
  });
  const packages = new Set(Object.keys(metafile.inputs).flatMap((file) => PACKAGE.exec(file)?.[0] ?? []));
  writeFileSync(join(outDir, 'LICENSES'), [...packages].sort().map(describeTerms).join('\n'));
}

/** Most licences ask that their text goes with every copy. */
function describeTerms(folder: string): string {
  const path = join(ROOT, folder);
  const { name, version, license } = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'));
  const texts = readdirSync(path)
    .filter((file) => TERMS.test(file))
    .map((file) => readFileSync(join(path, file), 'utf8').trim());
  return `${'='.repeat(80)}\n${name} ${version}: ${license}\n\n${texts.join('\n\n')}\n`;
}

if (import.meta.main) await build(process.argv[2] ?? join(ROOT, 'dist'));
