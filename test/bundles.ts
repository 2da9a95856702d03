import { fileURLToPath } from 'node:url';
import { type BuildOptions, build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Programs that tests start again and again: bundled once, so that each start is not a compiler's start. */
const PROGRAMS = [
  'chaos/links',
  'chaos/router',
  'deliveries/router-process',
  'hostile/hostile-process',
  'hostile/honest-process',
  'hostile/router-process',
  'redis/connection-life-process',
  'redis/default-process',
  'redis/forgetful-process',
  'redis/router-process',
  'redis/waiting-process',
] as const;

/** The file that Node runs. */
export const programOf = (name: (typeof PROGRAMS)[number]): string => `${root}.built/${name}.mjs`;

/** Runs once before all tests. */
export default async function setup(): Promise<void> {
  await bundle(PROGRAMS);
}

/** `outdir`: another folder than that of `programOf`. */
export async function bundle(
  programs: readonly string[],
  outdir = `${root}.built`,
  plugins: BuildOptions['plugins'] = [],
): Promise<void> {
  await build({
    entryPoints: programs.map((name) => `${root}test/${name}.ts`),
    outdir,
    outbase: `${root}test`,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    sourcemap: 'inline',
    tsconfig: `${root}tsconfig.json`,
    plugins,
  });
}
