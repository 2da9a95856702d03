import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

// The example of a user's own tests passes with node:test. The one with vitest is among the tests here by itself.

const root = fileURLToPath(new URL('../..', import.meta.url));
// By it a runner knows that it is inside of another one.
const { NODE_TEST_CONTEXT: _, ...rest } = process.env;
const run = (...args: string[]) => {
  const { stdout, stderr, status } = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: 'utf8',
    env: rest,
  });
  return { output: stdout + stderr, status };
};

it('with node:test', () => {
  const { output, status } = run('--import', 'tsx', '--test', 'examples/testing/dispatcher.node.test.ts');
  expect(output).toMatch(/pass 3\b/);
  expect(output).toMatch(/fail 0\b/);
  expect(status).toBe(0);
});
