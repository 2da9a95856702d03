import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Batch, parseMessage } from '../../src/stores/redis/changes';
import { Hearing } from '../../src/stores/redis/hearing';

const text = (first: number, count = 1, at = 1_000 + first, epoch = 'e'): string =>
  JSON.stringify({ e: epoch, n: first, t: at, u: Array.from({ length: count }, () => ['u', 1, 5, 'connect']) });
const batch = (...args: Parameters<typeof text>): Batch => parseMessage(text(...args)) as Batch;

/** What one partition would hear, with a log that is written by hand. */
function hearing(log: string[] = []) {
  const told: number[] = [];
  const heard = { gaps: 0, deaf: 0, reads: [] as number[] };
  const ear = new Hearing({
    readLog: async (from, most) => {
      heard.reads.push(from);
      return log.filter((entry) => (JSON.parse(entry) as { n: number }).n >= from).slice(0, most);
    },
    tell: ({ changes }) => {
      for (const { update } of changes) told.push(update.version);
    },
    onGap: () => {
      heard.gaps += 1;
    },
    onDeaf: () => {
      heard.deaf += 1;
    },
  });
  return { ear, told, heard, log };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('Hearing', () => {
  it('tells what comes in order', () => {
    const { ear, told, heard } = hearing();
    ear.learn('e', 4);
    for (const first of [5, 6]) ear.hear(batch(first));
    ear.hear(batch(7, 3));
    expect(told).toEqual([5, 6, 7, 8, 9]);
    expect(heard).toEqual({ gaps: 0, deaf: 0, reads: [] });
    expect(ear.highestVersion).toBe(9);
  });

  it('reads from the log what a message shows to be missing, while what comes meanwhile waits', async () => {
    const { ear, told, heard } = hearing([text(2), text(3, 2), text(5), text(6)]);
    ear.hear(batch(1));
    ear.hear(batch(5));
    ear.hear(batch(6));
    ear.hear(batch(7));
    expect(told).toEqual([1]);
    await vi.runAllTimersAsync();
    expect(told).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(heard.gaps).toBe(0);
  });

  it('finds out silence, from what answers say, and reads the log', async () => {
    const { ear, told, heard, log } = hearing();
    ear.learn('e', 1);
    log.push(text(2));
    ear.learn('e', 2);
    await vi.advanceTimersByTimeAsync(299);
    expect(heard.deaf).toBe(0);
    await vi.advanceTimersByTimeAsync(1);
    expect(told).toEqual([2]);
    expect(heard).toEqual({ gaps: 0, deaf: 1, reads: [2] });
  });

  // The timer of one answer judged by the newest one, so that any steady stream looked like deafness.
  it('takes a steady stream that is 150 ms late for what it is', async () => {
    const { ear, told, heard } = hearing();
    ear.learn('e', 0);
    for (let version = 1; version <= 60; version += 1) {
      ear.learn('e', version);
      setTimeout(() => ear.hear(batch(version)), 150);
      await vi.advanceTimersByTimeAsync(50);
    }
    await vi.advanceTimersByTimeAsync(500);
    expect(told).toHaveLength(60);
    expect(heard).toEqual({ gaps: 0, deaf: 0, reads: [] });
  });

  // A message that came after it had been read from the log was taken for data that were set back.
  it('passes by what comes late, and was read from the log', async () => {
    const { ear, told, heard, log } = hearing();
    ear.learn('e', 0);
    for (const version of [1, 2, 3]) log.push(text(version));
    ear.learn('e', 3);
    await vi.advanceTimersByTimeAsync(300);
    for (const version of [1, 2, 3, 4]) ear.hear(batch(version));
    expect(told).toEqual([1, 2, 3, 4]);
    expect(heard.gaps).toBe(0);
  });

  it('cannot fill what the log has forgotten, and says so', async () => {
    const { ear, told, heard } = hearing([text(5), text(6)]);
    ear.hear(batch(1));
    ear.hear(batch(6));
    await vi.runAllTimersAsync();
    expect(heard.gaps).toBe(1);
    expect(told).toEqual([1, 6]);
  });

  // A router that had stood still for seconds asked before it listened, and passed by what lay there unread.
  it('needs no log for what comes while it is read', async () => {
    const { ear, told, heard, log } = hearing();
    ear.learn('e', 1);
    ear.learn('e', 9);
    log.push(text(8), text(9));
    vi.advanceTimersByTime(300);
    for (const first of [2, 5, 8]) ear.hear(batch(first, first === 8 ? 2 : 3));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(told).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
    expect(heard).toEqual({ gaps: 0, deaf: 1, reads: [2] });
  });

  it('says so too where the log cannot be read', async () => {
    const { ear, told, heard } = hearing();
    const failing = new Hearing({
      readLog: () => Promise.reject(new Error('away')),
      tell: ({ first }) => told.push(first),
      onGap: () => {
        heard.gaps += 1;
      },
      onDeaf: () => undefined,
    });
    failing.hear(batch(1));
    failing.hear(batch(3));
    await vi.runAllTimersAsync();
    expect(heard.gaps).toBe(1);
    expect(told).toEqual([1, 3]);
    ear.close();
  });

  it('hears of other data: a gap, and on from there', () => {
    const { ear, told, heard } = hearing();
    ear.learn('e', 40);
    ear.hear(batch(41));
    ear.hear(batch(7, 1, 9_000, 'new'));
    ear.learn('newer', 3);
    expect(told).toEqual([41, 7]);
    expect(heard.gaps).toBe(2);
    expect(ear.highestVersion).toBe(41);
  });

  it('hears of the same data, set back to an older state: a gap', () => {
    const { ear, told, heard } = hearing();
    ear.learn('e', 40);
    ear.hear(batch(41, 1, 5_000));
    ear.hear(batch(39, 1, 6_000));
    expect(told).toEqual([41, 39]);
    expect(heard.gaps).toBe(1);
  });

  it('drops the older ones of too many that wait, and reads them from the log', async () => {
    const { ear, told, heard, log } = hearing();
    ear.hear(batch(1));
    for (let first = 2; first < 20_000; first += 1_000) log.push(text(first, 1_000));
    for (let first = 1_002; first < 20_000; first += 1_000) ear.hear(batch(first, 1_000));
    await vi.runAllTimersAsync();
    expect(told.length).toBeGreaterThan(19_000);
    expect(told).toEqual(Array.from({ length: told.length }, (_, index) => index + 1));
    expect(heard.gaps).toBe(0);
  });

  it('is silent once closed', async () => {
    const { ear, told, heard } = hearing([text(2)]);
    ear.learn('e', 1);
    ear.learn('e', 2);
    ear.close();
    await vi.runAllTimersAsync();
    expect(told).toEqual([]);
    expect(heard.deaf).toBe(0);
  });
});
