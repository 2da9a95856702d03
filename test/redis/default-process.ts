import { EventEmitter } from 'node:events';
import { createPresence, type Presence } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { fakeSocket } from 'voiceping-presence/testing';
import { attachPresence } from 'voiceping-presence/ws';

// A process with presence by default, without `onError` and `logger`. It prints a line when it has survived the failures, and
// ends on request.

export interface Settings {
  /** By name of the router: how to reach its Redis. */
  readonly stores: { readonly [name: string]: object };
  /** By name of the router: what `identify` does. */
  readonly identify: { readonly [name: string]: 'throws' | 'undefined' | 'rejects' };
}

const { stores, identify }: Settings = JSON.parse(process.argv[2] ?? '{}');
const presences: Presence[] = [];
for (const [name, connection] of Object.entries(stores)) {
  presences.push(createPresence({ store: redisStore(connection), router: { name } }));
}
for (const [name, how] of Object.entries(identify)) {
  const presence = createPresence({ router: { name } });
  const server = new EventEmitter();
  attachPresence(presence, server, {
    identify: () => {
      if (how === 'throws') throw new Error('no such\naccount');
      return how === 'rejects' ? Promise.reject(new Error('503 of the identity service')) : (undefined as never);
    },
  });
  for (let phone = 0; phone < 5; phone += 1) server.emit('connection', fakeSocket(), { headers: {} });
  presences.push(presence);
}

// Nothing of presence keeps a process alive.
const alive = setInterval(() => undefined, 1_000);
process.stdin.on('data', async () => {
  await Promise.all(presences.map((presence) => presence.close()));
  process.stdout.write('closed\n');
  clearInterval(alive);
  process.stdin.destroy();
});
setTimeout(() => process.stdout.write('alive\n'), 2_000);
