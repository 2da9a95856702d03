import { describe, expect, it } from 'vitest';
import { fakeClock } from 'voiceping-presence/testing';
import { SetAside } from '../../src/replication/set-aside';
import { untilSure } from '../../src/replication/until-sure';

const HOUR_MS = 3_600_000;

describe('who is refused alone', () => {
  it('is tried again later each time, and at most a minute later', () => {
    const aside = new SetAside<string>(() => 0.5);
    const waits: number[] = [];
    let now = 0;
    for (let refusal = 0; refusal < 8; refusal += 1) {
      const waitMs = aside.put('u', now);
      expect(aside.due(now + waitMs - 1)).toBeUndefined();
      now += waitMs;
      expect(aside.due(now)).toBe('u');
      waits.push(waitMs);
    }
    expect(waits.slice(0, 3)).toEqual([75, 375, 1_875]);
    expect(Math.max(...waits)).toBeLessThanOrEqual(60_000);
  });

  it('is tried at once where the clock was set back', () => {
    const aside = new SetAside<string>(() => 0.5);
    aside.put('u', HOUR_MS);
    expect(aside.due(0)).toBe('u');
  });

  it('is one of many again once the store has taken it', () => {
    const aside = new SetAside<string>(() => 0.5);
    aside.put('u', 0);
    aside.put('v', 0);
    aside.remove('u');
    expect([aside.has('u'), aside.has('v'), aside.isEmpty]).toEqual([false, true, false]);
    aside.remove('v');
    expect(aside.isEmpty).toBe(true);
    expect(aside.due(HOUR_MS)).toBeUndefined();
    expect(aside.put('u', 0)).toBe(75);
  });

  it('is nobody more where a hundred are: then it is not they who are wrong', () => {
    const aside = new SetAside<number>(() => 0.5);
    for (let user = 0; user < 99; user += 1) aside.put(user, 0);
    expect(aside.isFull).toBe(false);
    aside.put(99, 0);
    expect(aside.isFull).toBe(true);
  });
});

describe('a question to a store that is not sure', () => {
  it('ends although the clock was set back an hour meanwhile', async () => {
    const clock = fakeClock();
    let asked = 0;
    const answer = untilSure(
      clock,
      2_000,
      async () => {
        asked += 1;
      },
      () => false,
    );
    const outcome = answer.then(
      () => 'sure',
      (error: { code: string }) => error.code,
    );
    await clock.advance(500);
    clock.set(clock.now() - HOUR_MS);
    await clock.advance(2_000);
    expect(asked).toBeLessThanOrEqual(45);
    await expect(Promise.race([outcome, clock.settle().then(() => 'it waits')])).resolves.toBe('ERR_PRESENCE_STORE');
  });
});
