import { Redis } from 'ioredis';
import { createPresence } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';

// A router that delivers changes, in a process of its own. It sends its parent who went offline, and when the handler was called.

const presence = createPresence({ store: redisStore({ client: new Redis({ port: Number(process.argv[2]) }) }) });
let stop: (() => Promise<void>) | undefined;

process.on('message', async (asked: 'start' | 'stop') => {
  if (asked === 'start') {
    stop = presence.changes.deliver('bench', ({ changes }) => {
      const at = Date.now();
      const gone = changes.filter(({ status }) => status === 'offline').map(({ userId }) => userId);
      process.send?.({ at, gone });
    });
  } else await stop?.();
  process.send?.(asked);
});
process.once('disconnect', () => process.exit());
presence.onUpdate(() => undefined);
await presence.ready();
process.send?.('ready');
