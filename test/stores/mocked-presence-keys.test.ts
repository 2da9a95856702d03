import RedisMock from 'ioredis-mock';
import { describe, expect, it } from 'vitest';
import type { RedisLike } from 'voiceping-presence/redis';
import { PresenceKeys } from '../../src/stores/redis/commands/presence-keys';
import { CommandGate, isReady } from '../../src/stores/redis/connection/command-gate';
import { Keyspace } from '../../src/stores/redis/keyspace';

const mock = (): RedisLike => new RedisMock() as unknown as RedisLike;

const NOW = Date.now();

describe('over ioredis-mock', () => {
  it('the presence keys are set, moved and read; its pipelines know no EVAL to delete them', async () => {
    const client = mock();
    expect(isReady(client)).toBe(true);
    const presenceKeys = new PresenceKeys(client, new CommandGate(client), new Keyspace('mock:', true));
    const users = Array.from({ length: 50 }, (_, index) => `u${index}`);
    await presenceKeys.set(
      users.map((userId, index) => [userId, NOW + index] as const),
      60_000,
    );
    expect(await presenceKeys.get(['u0', 'u49', 'never'])).toEqual([NOW, NOW + 49, undefined]);
    const moved = [
      ['u0', NOW + 2_000],
      ['never', NOW + 2_000],
    ] as const;
    expect(await presenceKeys.move(moved, 60_000)).toEqual(['never']);
    expect(await presenceKeys.get(['u0', 'never'])).toEqual([NOW + 2_000, undefined]);
  });
});
