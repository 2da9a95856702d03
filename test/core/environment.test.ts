import { describe, expect, it, vi } from 'vitest';
import { createPresence, optionsFromEnv } from 'voiceping-presence';
import { fakeClock } from 'voiceping-presence/testing';

const start = (env: Record<string, string>) => createPresence({ ...optionsFromEnv(env), clock: fakeClock() }).close();

describe('optionsFromEnv', () => {
  it('gives only what is set; an empty variable is not', () => {
    expect(optionsFromEnv({})).toEqual({});
    expect(optionsFromEnv({ PRESENCE_ENABLED: '', PRESENCE_TTL: ' ', PING_INTERVAL: '' })).toEqual({});
  });

  it('reads the recommended settings of the guide', () => {
    const env = { PRESENCE_ENABLED: 'true', PRESENCE_TTL: '360', PING_INTERVAL: '120000', REDIS_HOST: 'localhost' };
    expect(optionsFromEnv(env)).toEqual({ enabled: true, ttlMs: 360_000, pingIntervalMs: 120_000 });
  });

  it('reads process.env by default', () => {
    vi.stubEnv('PRESENCE_TTL', '240');
    try {
      expect(optionsFromEnv().ttlMs).toBe(240_000);
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it.each(['360', '240', '180', '90', '480'])('starts with PRESENCE_TTL=%s, as the guide has it', async (ttl) => {
    await start({ PRESENCE_TTL: ttl });
  });

  it.each(['240', '180', '360', '480'])('starts with PRESENCE_TTL=%s and PING_INTERVAL=120000', async (ttl) => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    try {
      await start({ PRESENCE_TTL: ttl, PING_INTERVAL: '120000' });
      expect(warn).toHaveBeenCalledTimes(ttl === '180' ? 1 : 0);
    } finally {
      warn.mockRestore();
    }
  });

  it.each([
    ['true', true],
    ['TRUE', true],
    ['1', true],
    ['yes', true],
    ['false', false],
    ['0', false],
    ['off', false],
  ])('PRESENCE_ENABLED=%s is %s', (value, enabled) => {
    expect(optionsFromEnv({ PRESENCE_ENABLED: value })).toEqual({ enabled });
  });

  it.each([
    [{ PRESENCE_ENABLED: 'maybe' }, 'PRESENCE_ENABLED is "maybe"; it is true or false'],
    [{ PRESENCE_TTL: '6 minutes' }, 'PRESENCE_TTL is "6 minutes"; it is a number of seconds from 1 to 2147483'],
    [{ PRESENCE_TTL: '9999999' }, 'PRESENCE_TTL is "9999999"; it is a number of seconds from 1 to 2147483'],
    [{ PRESENCE_TTL: 360 as never }, 'PRESENCE_TTL is a number; it is a string'],
    [{ PRESENCE_TTL: '-360' }, 'PRESENCE_TTL is "-360"'],
    [{ PRESENCE_TTL: '0' }, 'PRESENCE_TTL is "0"'],
    [{ PRESENCE_TTL: '9999999999' }, 'PRESENCE_TTL is "9999999999"'],
    [{ PRESENCE_TTL: 'Infinity' }, 'PRESENCE_TTL is "Infinity"'],
    [{ PING_INTERVAL: '50' }, 'PING_INTERVAL is "50"; it is a number of milliseconds from 100 to 2147483647'],
    [{ PING_INTERVAL: '0x80' }, 'PING_INTERVAL is "0x80"'],
    [{ PRESENCE_TTL: '120', PING_INTERVAL: '120000' }, 'PRESENCE_TTL is 120 seconds and PING_INTERVAL 120000'],
    [{ PING_INTERVAL: '360000' }, 'PRESENCE_TTL is 360 seconds and PING_INTERVAL 360000 milliseconds'],
  ])('%o throws and names the variable, its value and the rule', (env, message) => {
    expect(() => optionsFromEnv(env)).toThrow(
      expect.objectContaining({
        name: 'TypeError',
        code: 'ERR_PRESENCE_OPTIONS',
        message: expect.stringContaining(message),
      }),
    );
  });
});
