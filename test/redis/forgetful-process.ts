import { createPresence } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { fakeSocket } from 'voiceping-presence/testing';

// A process that starts presence and forgets about it. Nothing of it may keep the process alive.
const presence = createPresence({ store: redisStore({ host: '127.0.0.1', port: Number(process.argv[2]) }) });
presence.attachToSocket(fakeSocket(), { userId: 'u' });
