import type { Redis } from 'ioredis';
import type { ChangeHandler } from 'voiceping-presence';

/** How many entries the stream keeps, about. */
const MOST_ENTRIES = 1_000_000;

/**
 * Writes every change to a Redis stream of your own, on any server, for consumers that read with XREAD or XREADGROUP:
 *
 *     presence.changes.deliver('stream', toStream(client, 'my:changes'), { from: 'listing' });
 *
 * An entry has `token`, `userId`, `status`, `timestamp`, `version` and `reason`; or, after a gap, `gap` with a page of the listing as JSON. An entry
 * may be repeated: a consumer passes by a version that is not above the last one of the user, and a token below the greatest one.
 */
export function toStream(client: Redis, key: string): ChangeHandler {
  return async ({ changes, ...batch }, { token }) => {
    // One transaction, so that a batch which is sent again is repeated as a whole, in order.
    const pipeline = client.multi();
    const add = (fields: object): unknown =>
      pipeline.xadd(key, 'MAXLEN', '~', MOST_ENTRIES, '*', 'token', token, ...Object.entries(fields).flat());
    if (batch.gap) add({ gap: JSON.stringify(batch) });
    for (const { userId, status, timestamp, version, reason } of changes) {
      add({ userId, status, timestamp, version, reason });
    }
    const answers = (await pipeline.exec()) ?? [];
    for (const [error] of answers) if (error !== null) throw error;
  };
}
