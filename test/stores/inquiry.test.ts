import { describe, expect, it } from 'vitest';
import { fakeClock } from 'voiceping-presence/testing';
import { Inquiry } from '../../src/stores/inquiry';

/** `answers`: whether each question finds something, or fails; later ones find nothing. */
function asking(...answers: Array<boolean | Error>) {
  const clock = fakeClock();
  const startedAt = clock.now();
  const askedAt: number[] = [];
  const errors: unknown[] = [];
  const inquiry = new Inquiry({
    clock,
    ask: async () => {
      askedAt.push(clock.now() - startedAt);
      const answer = answers.shift() ?? false;
      if (answer instanceof Error) throw answer;
      return answer;
    },
    onError: (error) => errors.push(error),
  });
  return { clock, inquiry, askedAt, errors };
}

describe('a question in the background', () => {
  it('is asked once in two seconds where it finds nothing, however often somebody wants it asked', async () => {
    const { clock, inquiry, askedAt } = asking();
    for (let time = 0; time < 500; time += 1) {
      inquiry.put();
      await clock.advance(10);
    }
    expect(askedAt).toHaveLength(3);
    expect((askedAt[1] as number) - (askedAt[0] as number)).toBeGreaterThanOrEqual(2_000);
  });

  it('is asked again at once after one that found something, and where it is urgent', async () => {
    const { clock, inquiry, askedAt } = asking(true, false);
    inquiry.put();
    await clock.settle();
    inquiry.put();
    await clock.settle();
    expect(askedAt).toEqual([0, 0]);
    inquiry.put(true);
    await clock.settle();
    expect(askedAt).toEqual([0, 0, 0]);
  });

  it('is repeated after a failure, which is reported once', async () => {
    const { clock, inquiry, askedAt, errors } = asking(new Error('away'), new Error('away'), true);
    inquiry.put();
    await clock.advance(10_000);
    expect(askedAt).toHaveLength(3);
    expect(errors).toHaveLength(1);
  });

  it('waits no longer for a clock that was set back', async () => {
    const { clock, inquiry, askedAt } = asking();
    inquiry.put();
    await clock.settle();
    clock.set(clock.now() - 3_600_000);
    inquiry.put();
    await clock.advance(2_000);
    expect(askedAt).toHaveLength(2);
  });

  it('is not repeated when nothing is wanted', async () => {
    const { clock, inquiry, askedAt } = asking(new Error('away'));
    inquiry.put();
    await clock.settle();
    inquiry.close();
    await clock.advance(10_000);
    expect(askedAt).toHaveLength(1);
    expect(clock.timers).toBe(0);
  });
});
