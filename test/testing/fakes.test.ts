import { describe, expect, it } from 'vitest';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';

/** What tests of other people lean on: a fake that is wrong makes their tests prove nothing. */
describe('fakeClock', () => {
  it('runs timers when they are due, soonest first, each at its own time', async () => {
    const clock = fakeClock(1_000);
    const ran: string[] = [];
    const note = (name: string) => () => ran.push(`${name} at ${clock.now()}`);
    clock.setTimeout(note('late'), 300);
    clock.setTimeout(note('soon'), 100);
    clock.setTimeout(() => clock.setTimeout(note('set by one that ran'), 50), 200);
    clock.setTimeout(note('later'), 301);
    await clock.advance(300);
    expect(ran).toEqual(['soon at 1100', 'set by one that ran at 1250', 'late at 1300']);
    expect(clock.timers).toBe(1);
  });

  it('lets what a timer has awaited be done before the next one runs', async () => {
    const clock = fakeClock();
    const done: string[] = [];
    clock.setTimeout(async () => {
      await Promise.resolve();
      done.push('awaited');
    }, 10);
    clock.setTimeout(() => done.push('next'), 10);
    await clock.advance(10);
    expect(done).toEqual(['awaited', 'next']);
  });

  it('runs no timer that was taken back, be it by one that is due at the same time', async () => {
    const clock = fakeClock();
    const ran: string[] = [];
    clock.setTimeout(() => {
      ran.push('first');
      clock.clearTimeout(second);
    }, 10);
    const second = clock.setTimeout(() => ran.push('second'), 10);
    await clock.advance(20);
    expect(ran).toEqual(['first']);
  });

  it('sets the time without moving a timer', async () => {
    const clock = fakeClock(50_000);
    const ran: number[] = [];
    clock.setTimeout(() => ran.push(clock.now()), 100);
    clock.set(10_000);
    expect(clock.now()).toBe(10_000);
    await clock.advance(99);
    expect(ran).toEqual([]);
    await clock.advance(1);
    expect(ran).toEqual([10_100]);
  });

  it('jumps over what was due meanwhile, which then runs late', async () => {
    const clock = fakeClock(0);
    const ran: number[] = [];
    clock.setTimeout(() => ran.push(clock.now()), 100);
    await clock.jump(5_000);
    expect(ran).toEqual([5_000]);
  });
});

describe('fakeSocket', () => {
  it('says once how it closed: by a close frame, or lost without one', () => {
    for (const [how, code] of [
      ['close', 1000],
      ['drop', 1006],
      ['terminate', 1006],
    ] as const) {
      const socket = fakeSocket();
      const codes: number[] = [];
      socket.on('close', (closeCode) => codes.push(closeCode));
      socket[how]();
      socket.close();
      expect(codes).toEqual([code]);
      expect(socket.readyState).toBe(3);
    }
  });

  it('answers pings, unless it is to be a phone that is dead', () => {
    const socket = fakeSocket();
    let pongs = 0;
    socket.on('pong', () => {
      pongs += 1;
    });
    socket.ping();
    socket.answersPings = false;
    socket.ping();
    expect([socket.pings, pongs]).toEqual([2, 1]);
  });
});
