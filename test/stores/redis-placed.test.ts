import { describe, expect, it } from 'vitest';
import type { Batch } from '../../src/stores/batch';
import { parseMessage } from '../../src/stores/redis/changes/message-codec';
import { askPlaced, script } from '../../src/stores/redis/commands/script';
import { Keyspace, type Partition } from '../../src/stores/redis/keyspace';

const SCRIPT = script('any', 'return 1');
const SEEDS = ['0123456789abcdef', 'fedcba9876543210ff', 'aaaaaaaaaaaaaaaa'];

/** A server that answers so, in turn; the last one for ever. */
function answering(...answers: string[]) {
  const partition = new Keyspace('p:', false).partitions[0] as Partition;
  const asked: string[] = [];
  const run = () =>
    askPlaced(
      async (_partition, _script, keys) => {
        asked.push(keys[0] as string);
        return (answers.length > 1 ? answers.shift() : answers[0]) as string;
      },
      partition,
      SCRIPT,
      () => ({ keys: [partition.bucketKey(partition.bucketOf('u'))], args: [partition.seed] }),
    );
  return { partition, asked, run };
}

describe('a script that finds users by their buckets', () => {
  it('is run once more by the seed of the data, which is remembered', async () => {
    const { partition, asked, run } = answering(`!{"seed":"${SEEDS[1]}","e":"5.1"}`, 'done');
    expect(await run()).toBe('done');
    expect([partition.seed, partition.knownEpoch, partition.base]).toEqual([SEEDS[1], '5.1', 255]);
    expect(asked).toHaveLength(2);
    expect(asked[1]).toBe(partition.bucketKey(partition.bucketOf('u')));
    expect(await run()).toBe('done');
    expect(asked).toHaveLength(3);
  });

  it('gives up where the seed is another one each time', async () => {
    const { asked, run } = answering(...SEEDS.map((seed) => `!{"seed":"${seed}","e":"5.1"}`));
    await expect(run()).rejects.toThrow('the seed of the buckets changes faster');
    expect(asked).toHaveLength(3);
  });

  it.each([
    ['9', 'layout 9'],
    ['', 'no number of a layout'],
  ])('does nothing in data of another version: %j', async (layout, words) => {
    const { asked, run } = answering(`!{"layout":"${layout}"}`);
    await expect(run()).rejects.toMatchObject({
      code: 'ERR_PRESENCE_LAYOUT',
      kind: 'layout',
      message: expect.stringContaining(words),
    });
    expect(asked).toHaveLength(1);
  });
});

it('what a message says is handed to all listeners, and none of them can change it', () => {
  const wire = { e: '5.1', n: 7, t: 1_700_000_000_000, u: [['u', 1, 1_700_000_000_000, 'connect']] };
  const { changes } = parseMessage(JSON.stringify(wire)) as Batch;
  expect(changes).toMatchObject([{ update: { userId: 'u', status: 'online', version: 7, reason: 'connect' } }]);
  expect(() => {
    (changes[0]?.update as { status: string }).status = 'offline';
  }).toThrow(TypeError);
});
