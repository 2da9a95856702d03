import { createPresence } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { fakeSocket } from 'voiceping-presence/testing';

// A script that asks and ends. Its connections keep no process alive, and what it waits for does.
const presence = createPresence({ store: redisStore({ host: '127.0.0.1', port: Number(process.argv[2]) }) });
await presence.ready();
process.stdout.write('ready, ');
await presence.attachToSocket(fakeSocket(), { userId: 'u' }).ready;
process.stdout.write(`${await presence.countOnline()} online`);
