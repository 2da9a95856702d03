import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { encode } from '@msgpack/msgpack';
import { describe, expect, it } from 'vitest';
import { router } from '../core/world';
import { type Random, random } from '../random';

/** What a client may send that means no good. */
function hostileFrame(dice: Random): unknown {
  const noise = (length: number) => Buffer.from(Array.from({ length }, () => dice.below(256)));
  return dice.pick<() => unknown>([
    () => noise(dice.below(200)),
    () => Buffer.from([0xc0]),
    () => Buffer.alloc(0),
    // Nested so deep that a decoder would run out of stack, or of memory.
    () => Buffer.alloc(5_000, dice.pick([0x91, 0x81, 0xdc, 0xde])),
    // Declares 4 GiB of elements, of a string, of a map.
    () => Buffer.from([dice.pick([0xdd, 0xdb, 0xdf, 0xc6]), 0xff, 0xff, 0xff, 0xff, dice.below(256)]),
    () => Buffer.concat([Buffer.from([0x82]), noise(20)]),
    () => Buffer.concat([Buffer.from([0x95, 0x00, 0x1e]), noise(20)]),
    // Heartbeats and updates in the name of somebody else.
    () => encode({ messageType: 30, fromId: 'victim', userId: 'victim' }),
    () => encode([0, 30, 'victim', 0]),
    () => encode({ messageType: 31, fromId: 'victim', status: dice.pick(['online', 'offline']), version: 2 ** 40 }),
    () => encode([0, 31, 0, 'broadcast', { userId: 'victim', status: 'online' }]),
    () => encode({ messageType: 32, users: [{ userId: 'victim', status: 'online', lastSeen: null }] }),
    () => encode({ ['__proto__x'.slice(0, 9)]: { polluted: true }, messageType: 30 }),
    () => 'text',
    () => '['.repeat(2_000),
    () => noise(3).buffer,
    () => [noise(3), noise(3)],
    () => undefined,
  ])();
}

describe('hostile frames', () => {
  it('leave nothing behind on the heap', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const heap = () => {
      for (let times = 0; times < 5; times += 1) collect();
      return process.memoryUsage().heapUsed;
    };
    const dice = random();
    console.log(`seed ${dice.seed}`);
    const { connect, clock } = await router({ pingIntervalMs: false });
    const attacker = await connect('attacker');
    // Made before, so that only what the library keeps can grow.
    const frames = Array.from({ length: 1_000 }, () => hostileFrame(dice));
    const attack = async () => {
      for (let round = 0; round < 10_000; round += 1) attacker.emit('message', frames[round % frames.length], true);
      await clock.advance(5_000);
    };
    await attack();
    const before = heap();
    for (let times = 0; times < 20; times += 1) await attack();
    // 200,000 frames: were a single pointer kept of each, it would be 1.6 MB.
    expect(heap() - before).toBeLessThan(800_000);
  });

  it('change no status but the sign of life of their sender, throw nothing, and leak nothing', async () => {
    const dice = random();
    console.log(`seed ${dice.seed}`);
    const { connect, clock, presence, lines, errors } = await router({ ttlMs: 10_000, pingIntervalMs: false });
    const attacker = await connect('attacker');
    const bystander = await connect('bystander');
    const watcher = await connect('dash', { track: false, watch: true });
    const before = watcher.sent.length;
    const timers = clock.timers;

    for (let round = 0; round < 10_000; round += 1) {
      attacker.emit('message', hostileFrame(dice), dice.chance(0.5));
      watcher.emit('message', hostileFrame(dice), true);
      if (round % 100 === 99) {
        await clock.advance(500);
        // As a phone would, now and then.
        bystander.emit('pong');
      }
    }
    expect(lines()).toEqual(['attacker online connect', 'bystander online connect']);
    // A frame that happens to ask is refused.
    const answers = watcher.frames.filter((frame) => (frame as { messageType: number }).messageType !== 33);
    expect(answers.length).toBe(before);
    expect(errors).toEqual([]);
    expect(clock.timers).toBeLessThanOrEqual(timers + 1);
    expect(await presence.getStatuses(['victim', 'attacker', 'dash'])).toMatchObject({
      victim: { status: 'offline', lastSeen: null },
      attacker: { status: 'online' },
      dash: { status: 'offline', lastSeen: null },
    });
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();

    // A frame keeps its sender alive, and nobody else.
    await clock.advance(9_000);
    attacker.emit('message', encode([0, 30, 'bystander', 0]));
    await clock.advance(5_000);
    expect(lines().slice(2)).toEqual(['bystander offline timeout']);
  });
});
