import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { random } from '../random';
import { RedisServer } from './server';

// A script knows no calendar but its own, and most of the time it is not February.
it('timestamps in scripts are those of Date, in any month of any year', async () => {
  const source = readFileSync(new URL('../../src/stores/redis/lua/shared.lua', import.meta.url), 'utf8');
  const [iso] = /local function iso\(ms\)[\s\S]*?\nend\n/.exec(source) ?? [];
  expect(iso).toBeDefined();
  const script = `local format, floor = string.format, math.floor
${iso}
local times = {}
for i, ms in ipairs(ARGV) do times[i] = iso(tonumber(ms)) end
return times`;
  const days = [
    '2024-02-29T23:59:59.999Z',
    '2025-02-28T23:59:59.999Z',
    '2025-03-01T00:00:00.000Z',
    '2025-12-31T23:59:59.999Z',
    '2026-01-01T00:00:00.000Z',
    '2100-02-28T12:00:00.001Z',
    '2100-03-01T00:00:00.000Z',
    '2400-02-29T00:00:00.000Z',
  ].map((time) => Date.parse(time));
  const draw = random();
  console.log(`SEED=${draw.seed}`);
  for (let count = 0; count < 2_000; count += 1) days.push(Math.floor(draw.next() * Date.UTC(2200, 0)));
  const server = await RedisServer.start();
  const client = new Redis({ port: server.port });
  try {
    const times = await client.eval(script, 0, ...days.map(String));
    expect(times).toEqual(days.map((ms) => new Date(ms).toISOString()));
  } finally {
    client.disconnect();
    await server.remove();
  }
});
