import { describe, expect, it } from 'vitest';
import { fakeClock } from 'voiceping-presence/testing';
import { RetryTimer } from '../../src/replication/retry-timer';

// This clock makes each random wait as long as possible.
describe('the wait after a call that failed', () => {
  it('is twice as long each time, up to a second, and short again after a success', async () => {
    const clock = fakeClock();
    const retry = new RetryTimer(clock);
    const waits: number[] = [];
    for (let failure = 0; failure < 6; failure += 1) {
      waits.push(retry.nextMs());
      retry.wait(retry.nextMs(), () => undefined);
      await clock.advance(1_000);
    }
    expect(waits).toEqual([100, 200, 400, 800, 1_000, 1_000]);
    retry.reset();
    expect(retry.nextMs()).toBe(100);
  });

  // Two calls that failed together caused two retries, and each of these caused two more.
  it('is one for all who ask, and counts one failure', async () => {
    const clock = fakeClock();
    const retry = new RetryTimer(clock);
    const retried: string[] = [];
    retry.wait(100, () => retried.push('first'));
    retry.wait(50, () => retried.push('second'));
    expect(clock.timers).toBe(1);
    await clock.advance(100);
    expect(retried).toEqual(['first']);
    expect([retry.isWaiting, retry.nextMs()]).toEqual([false, 200]);
  });

  it('can begin anew from within a retry', async () => {
    const clock = fakeClock();
    const retry = new RetryTimer(clock);
    const retried: number[] = [];
    const again = (): void => {
      retried.push(clock.now());
      if (retried.length < 3) retry.wait(100, again);
    };
    retry.wait(100, again);
    await clock.advance(300);
    expect(retried).toHaveLength(3);
  });

  it('that is cancelled does not come, and leaves the failures as they were', async () => {
    const clock = fakeClock();
    const retry = new RetryTimer(clock);
    expect([retry.fail(), retry.fail()]).toEqual([1, 2]);
    retry.wait(100, () => expect.fail('cancelled'));
    retry.cancel();
    expect([clock.timers, retry.isWaiting, retry.nextMs()]).toEqual([0, false, 800]);
  });
});
