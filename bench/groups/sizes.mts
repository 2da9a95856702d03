import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import type { Section } from '../report.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** Loaded by browsers, which have to load what it needs too. */
const BROWSER = 'client';

/** What each entry of the package weighs. */
export async function run(): Promise<Section[]> {
  const { exports } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
    exports: { [entry: string]: object };
  };
  const entries = Object.keys(exports).filter((entry) => entry !== './package.json');
  const rows: Array<[string, number]> = [];
  for (const entry of entries) {
    const name = entry === '.' ? 'index' : entry.slice(2);
    const { outputFiles } = await build({
      entryPoints: [`${root}dist/${name}.mjs`],
      bundle: true,
      minify: true,
      write: false,
      format: 'esm',
      logLevel: 'error',
      ...(name === BROWSER ? { platform: 'browser' } : { platform: 'node', packages: 'external' }),
    });
    rows.push([entry === '.' ? 'core' : entry.slice(1), gzipSync(outputFiles[0]?.contents ?? '', { level: 9 }).length]);
  }
  const of = (name: string): number => rows.find(([entry]) => entry === name)?.[1] ?? Number.NaN;
  return [
    {
      id: 'sizes',
      title: 'What it weighs',
      text: 'Each entry minified and gzipped, in bytes, without dependencies; the client with them, as browsers load it.',
      columns: ['', 'bytes'],
      rows,
      figures: { core: of('core'), client: of('/client') },
    },
  ];
}
