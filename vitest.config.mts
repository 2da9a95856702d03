import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import tsconfig from './tsconfig.json' with { type: 'json' };

const paths = Object.entries(tsconfig.compilerOptions.paths);

const LONG = [
  'package/documentation',
  'package/recipes',
  'redis/connection-life',
  'redis/partial-loss',
  'stores/redis-cluster',
].map((name) => `test/${name}.test.ts`);

export default defineConfig({
  resolve: {
    alias: paths.map(([name, [file]]) => ({
      find: new RegExp(`^${name}$`),
      replacement: fileURLToPath(new URL(String(file), import.meta.url)),
    })),
  },
  test: {
    include: ['test/**/*.test.ts', 'examples/**/*.vitest.test.ts'],
    exclude: [
      // Alone, by `npm run chaos`: beside other tests its routers would starve.
      ...(process.env['CHAOS'] === undefined ? ['test/chaos/**'] : []),
      // Two minutes of CPU: `npm run check` runs them.
      ...(process.env['LONG'] === undefined ? LONG : []),
    ],
    globalSetup: ['test/programs.ts', 'test/bundles.ts'],
    // On two cores: they wait for servers half of the time.
    maxWorkers: 3,
    maxConcurrency: 12,
    // Real servers, processes and browsers: a test that hangs ends, and one on a busy machine does not.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      // It runs in Chromium, where the test is.
      exclude: ['src/client/react.ts'],
      reporter: ['text', 'lcovonly'],
      thresholds: { lines: 95, statements: 95, functions: 95, branches: 90 },
    },
  },
});
