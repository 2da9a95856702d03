import { expect, it } from 'vitest';
import { TokenBucket } from '../../src/subscriptions/token-bucket';

const passed = (bucket: TokenBucket, count: number, now: number): number => {
  let through = 0;
  for (let time = 0; time < count; time += 1) if (bucket.take(now)) through += 1;
  return through;
};

it('lets a burst through, then so many a second, and after any pause no more than a burst', () => {
  const bucket = new TokenBucket(5, 10, 0);
  expect(passed(bucket, 100, 0)).toBe(10);
  expect(passed(bucket, 100, 1_000)).toBe(5);
  expect(passed(bucket, 100, 3_600_000)).toBe(10);
});

it('goes on as before where the clock was set back', () => {
  const bucket = new TokenBucket(5, 10, 3_600_000);
  expect(passed(bucket, 4, 3_600_000)).toBe(4);
  expect(passed(bucket, 100, 0)).toBe(6);
  expect(passed(bucket, 100, 1_000)).toBe(5);
});
