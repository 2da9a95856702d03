import { describe, expect, it } from 'vitest';
import { fakeClock } from 'voiceping-presence/testing';
import { lackingChannel, StandingProblems, trappedClient } from '../../src/stores/redis/connection/standing-problems';

const MINUTE_MS = 60_000;

function standing() {
  const clock = fakeClock();
  const reported: string[] = [];
  const problems = new StandingProblems((stage, error) => reported.push(`${stage}: ${error.message}`), clock);
  return { clock, reported, problems };
}

describe('what is wrong for longer than one call', () => {
  it('is reported once, however often it is met, and stands until it is cleared', async () => {
    const { clock, reported, problems } = standing();
    const since = clock.now();
    for (let minute = 0; minute < 30; minute += 1) {
      problems.set('publish', 'it may not');
      await clock.advance(MINUTE_MS);
    }
    expect(reported).toEqual(['publish: it may not']);
    expect(problems.list).toEqual([{ stage: 'publish', message: 'it may not', since }]);
    problems.clear('publish');
    expect(problems.list).toEqual([]);
    problems.set('publish', 'it may not');
    expect(reported).toHaveLength(2);
  });

  it('is over when it was not set for ten minutes', async () => {
    const { clock, reported, problems } = standing();
    problems.set('publish', 'it may not');
    await clock.advance(10 * MINUTE_MS - 1);
    expect(problems.list).toHaveLength(1);
    await clock.advance(1);
    expect(problems.list).toEqual([]);
    problems.set('publish', 'it may not');
    expect(reported).toHaveLength(2);
  });

  it('is another one with other words, and began when it is said to have begun', () => {
    const { clock, reported, problems } = standing();
    problems.set('subscribe', 'refused', clock.now() - MINUTE_MS);
    problems.set('subscribe', 'timed out');
    expect(reported).toEqual(['subscribe: refused', 'subscribe: timed out']);
    expect(problems.list).toEqual([{ stage: 'subscribe', message: 'timed out', since: clock.now() }]);
  });
});

it('what was deleted in a key is reported once a minute for each key', async () => {
  const { clock, reported, problems } = standing();
  for (let second = 0; second < 60; second += 1) {
    problems.junk(['one', 'other']);
    await clock.advance(1_000);
  }
  expect(reported).toHaveLength(2);
  problems.junk(['one']);
  expect(reported).toHaveLength(3);
  expect(reported[2]).toContain('one contained data that is not of presence');
});

it('an error says what mends it', () => {
  expect(lackingChannel('publish on', 'presence:sync:{0}', 'so it is late')).toContain(
    'its ACL lacks &presence:*; so it is',
  );
  expect(trappedClient("READONLY You can't write against a read only replica.")).toContain("includes('READONLY')");
});
