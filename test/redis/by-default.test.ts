import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Redis } from 'ioredis';
import { afterEach, expect, it } from 'vitest';
import { programOf } from '../bundles';
import type { Settings } from './default-process';
import { freePort, RedisServer } from './server';
import { until } from './wait';

// What a person sees on stderr who has configured nothing, of real processes.

const ends: Array<() => unknown> = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** `shell` runs the command, so that it can take stderr away. */
function start(settings: Settings, shell = 'exec "$@"') {
  const args = [process.execPath, programOf('redis/default-process'), JSON.stringify(settings)];
  const child: ChildProcess = spawn('sh', ['-c', shell, 'sh', ...args], { stdio: 'pipe' });
  ends.push(() => child.kill('SIGKILL'));
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.on('data', (chunk: Buffer) => {
      output[name] += chunk;
    });
  }
  return {
    child,
    output,
    lines: (name: string) => output.stderr.split('\n').filter((line) => line.startsWith(`presence ${name}: `)),
    async end(): Promise<void> {
      const exited = once(child, 'exit');
      child.stdin?.write('end\n');
      expect(await exited).toEqual([0, null]);
      expect(output.stdout).toContain('closed');
    },
  };
}

it('one line a kind of failure with its cause, whatever breaks, and one when it is over', async () => {
  const guarded = await RedisServer.start('--requirepass', 'right');
  ends.push(() => guarded.remove());
  const full = await RedisServer.start('--maxmemory', '1', '--maxmemory-policy', 'noeviction');
  ends.push(() => full.remove());
  const foreign = await RedisServer.start();
  ends.push(() => foreign.remove());
  const admin = new Redis({ port: foreign.port });
  await admin.hset('presence:meta:{0}', 'layout', '999');
  admin.disconnect();
  const down = await RedisServer.start();
  ends.push(() => down.remove());
  await down.stop();

  const at = (port: number, more: object = {}) => ({ host: '127.0.0.1', port, ...more });
  const { output, lines, end } = start({
    stores: {
      down: at(down.port),
      password: at(guarded.port, { password: 'hunter2' }),
      'no-password': at(guarded.port),
      full: at(full.port),
      layout: at(foreign.port),
    },
    identify: { throws: 'throws', rejects: 'rejects', undefined: 'undefined' },
  });
  const names = ['down', 'password', 'no-password', 'full', 'layout', 'throws', 'rejects', 'undefined'];
  await until('a line of each', () => names.every((name) => lines(name).length > 0), 30_000);
  await until('it goes on', () => output.stdout.includes('alive'), 30_000);
  expect(names.map((name) => lines(name).join('\n'))).toEqual([
    `presence down: the store failed: connect ECONNREFUSED 127.0.0.1:${down.port} (unreachable, stage beat)`,
    expect.stringMatching(
      /^presence password: the store failed: WRONGPASS invalid username-password pair.* \(auth, stage beat\)$/,
    ),
    expect.stringMatching(
      /^presence no-password: the store failed: .*NOAUTH Authentication required\. \(auth, stage beat\)$/,
    ),
    expect.stringMatching(/^presence full: the store failed: OOM command not allowed .* \(full, stage beat\)$/),
    expect.stringMatching(
      /^presence layout: the data under presence:meta:\{0\} are of another version .* \(layout, stage beat\)$/,
    ),
    'presence throws: identify failed: no such\\u000aaccount (stage identify)',
    'presence rejects: identify failed: 503 of the identity service (stage identify)',
    'presence undefined: identify gave undefined; it gives an identity, or null to leave the socket alone (stage identify)',
  ]);
  expect(output.stderr).not.toContain('hunter2');

  await down.start();
  const unfilled = new Redis({ port: full.port });
  await unfilled.config('SET', 'maxmemory', '0');
  unfilled.disconnect();
  await until('two are back', () => [lines('down'), lines('full')].every(({ length }) => length === 2), 20_000);
  for (const name of ['down', 'full']) {
    expect(lines(name)[1]).toMatch(
      /^presence \w+: the store is back after [\d.]+ s( \(it had failed \d+ more times\))?$/,
    );
  }
  await end();
});

// At the same time: each waits for its first failure, a second after its start.
const LOST = {
  'was closed': 'exec "$@" 2>&-',
  'is a pipe that nobody reads': '{ "$@" 2>&1 >&3 | true; } 3>&1',
  'is a socket that nobody reads': 'exec "$@"',
};

it(`a process lives on whose stderr ${Object.keys(LOST).join(', or ')}`, async () => {
  const stores = { down: { host: '127.0.0.1', port: await freePort() } };
  const lives = Object.entries(LOST).map(async ([name, shell]) => {
    const { child, output } = start({ stores, identify: { throws: 'throws' } }, shell);
    if (name.includes('socket')) child.stderr?.destroy();
    await until(`one whose stderr ${name} lives on`, () => output.stdout.includes('alive'), 30_000);
    child.stdin?.write('end\n');
    await until(`one whose stderr ${name} closes`, () => output.stdout.includes('closed'), 30_000);
  });
  await Promise.all(lives);
});
