import { describe, expect, it } from 'vitest';
import { fakeClock } from 'voiceping-presence/testing';
import { Turns } from '../../src/subscriptions/turns';

/** A clock that goes on by itself during work, and not else. */
function start() {
  const fake = fakeClock();
  let spent = 0;
  /** How many turns of the event loop have begun, and how much was done in each. */
  const perTurn = [0];
  const clock = {
    ...fake,
    now: () => fake.now() + spent,
    setTimeout: (run: () => void, ms: number) =>
      fake.setTimeout(() => {
        perTurn.push(0);
        run();
      }, ms),
  };
  const turns = new Turns(clock);
  const done: string[] = [];
  const work = async (name: string, pieces: number, ms: number): Promise<void> => {
    for (let piece = 0; piece < pieces; piece += 1) {
      await turns.pause();
      spent += ms;
      done.push(`${name}${piece}`);
      perTurn[perTurn.length - 1] = (perTurn.at(-1) ?? 0) + 1;
    }
  };
  const setBack = (ms: number): void => {
    spent -= ms;
  };
  return { fake, turns, done, perTurn, work, setBack };
}

describe('work in turns of the event loop', () => {
  it('that is short is done at once', async () => {
    const { fake, done, work } = start();
    void work('a', 3, 1);
    await fake.settle();
    expect(done).toEqual(['a0', 'a1', 'a2']);
    await fake.advance(0);
    expect(fake.timers).toBe(0);
  });

  it('that is long waits for the next turn, and workers take turns', async () => {
    const { fake, done, perTurn, work } = start();
    void work('a', 4, 2);
    void work('b', 3, 2);
    await fake.settle();
    await fake.advance(0);
    // Two pieces take four milliseconds; a worker that was woken does its piece all the same.
    for (const pieces of perTurn) expect(pieces).toBeLessThanOrEqual(3);
    expect(done.slice().sort()).toEqual(['a0', 'a1', 'a2', 'a3', 'b0', 'b1', 'b2']);
    for (const name of ['a', 'b']) {
      const own = done.filter((piece) => piece.startsWith(name));
      expect(own).toEqual(own.slice().sort());
    }
    // Neither does all of its work first.
    expect(done.indexOf('b0')).toBeLessThan(done.indexOf('a3'));
    expect(fake.timers).toBe(0);
  });

  it('goes on where the clock is set back, and ends with stop', async () => {
    const { fake, turns, done, work, setBack } = start();
    void work('a', 5, 3);
    await fake.settle();
    setBack(3_600_000);
    for (let turn = 0; turn < 10; turn += 1) await fake.advance(0);
    expect(done).toHaveLength(5);
    void work('b', 100, 3);
    await fake.settle();
    const before = done.length;
    turns.stop();
    expect(fake.timers).toBe(0);
    await fake.advance(1_000);
    expect(done).toHaveLength(before);
  });
});
