import { Redis } from 'ioredis';
import { createPresence, isPresenceError, type PresenceUpdate } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { type FakeSocket, fakeSocket } from 'voiceping-presence/testing';
import {
  type Answers,
  type Command,
  GRACE_MS,
  LEASE_MS,
  type Operation,
  PING_MS,
  type Report,
  type Request,
  TTL_MS,
  userIdOf,
} from './protocol';

/** How long updates are gathered before they travel to the parent together. */
const GATHER_MS = 20;
const OPEN = 1;

const report = (message: Report): void => {
  // The parent is gone, and so will this process be.
  if (process.connected) process.send?.(message);
};
process.on('unhandledRejection', (reason) => report({ kind: 'unhandled', message: `rejection: ${described(reason)}` }));
process.on('uncaughtException', (error) => report({ kind: 'unhandled', message: `exception: ${described(error)}` }));
process.on('disconnect', () => process.exit());

const [port, connects] = process.argv.slice(2);
// Half of the routers pass a client, with the defaults of ioredis; the others let the store open its own connections.
const client = connects === 'client' ? new Redis({ host: '127.0.0.1', port: Number(port) }) : undefined;
client?.on('error', () => undefined);

const store = redisStore(client === undefined ? { host: '127.0.0.1', port: Number(port) } : { client });
const beat = store.beat.bind(store);
// The router that held a lease knows best whether it has lapsed.
store.beat = async (node, onAnswer) => {
  const sentAt = Date.now();
  const answer = await beat(node, onAnswer);
  report({ kind: 'beat', beat: { known: answer.known, sentAt, at: Date.now() } });
  return answer;
};

const presence = createPresence({
  store,
  leaseMs: LEASE_MS,
  graceMs: GRACE_MS,
  ttlMs: TTL_MS,
  pingIntervalMs: PING_MS,
  onError: (error, { stage }) => report({ kind: 'error', stage, message: described(error) }),
});

const sockets = new Map<number, FakeSocket[]>();
let updates: PresenceUpdate[] = [];

function sendUpdates(): void {
  if (updates.length > 0) report({ kind: 'updates', updates });
  updates = [];
}

presence.onUpdate((update) => {
  if (updates.push(update) === 1) setTimeout(sendUpdates, GATHER_MS);
});

function operate(operations: readonly Operation[], number: number): Answers['operate'] {
  const begunAt = Date.now();
  const opened = new Map<number, FakeSocket>();
  const held: Array<Promise<void>> = [];
  for (const [place, [does, user]] of operations.entries()) {
    const own = sockets.get(user) ?? [];
    if (does === 'open') {
      const socket = fakeSocket();
      sockets.set(user, own);
      own.push(socket);
      opened.set(place, socket);
      held.push(presence.attachToSocket(socket, { userId: userIdOf(user) }).ready);
      continue;
    }
    // The oldest one: a phone that comes back before its old connection is known to be dead is the usual case.
    const socket = own.shift();
    if (socket === undefined) throw new Error(`nobody to ${does}: ${userIdOf(user)}`);
    if (own.length === 0) sockets.delete(user);
    if (does === 'close') socket.close();
    else socket.drop();
  }
  if (held.length > 0) {
    Promise.all(held).then(() => {
      const places = Array.from(opened.keys()).filter((place) => opened.get(place)?.readyState === OPEN);
      report({ kind: 'held', number, places });
    });
  }
  return { begunAt, at: Date.now() };
}

async function list(): Promise<Answers['list']> {
  const userIds: string[] = [];
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = await presence.listOnline(cursor === undefined ? { limit: 700 } : { cursor, limit: 700 });
    for (const { userId } of page.users) userIds.push(userId);
    cursor = page.cursor;
  }
  return { userIds, count: await presence.countOnline() };
}

async function heap(): Promise<Answers['heap']> {
  if (global.gc === undefined) throw new Error('needs --expose-gc');
  // What a first collection has finalized is free after a later one.
  for (let round = 0; round < 4; round += 1) {
    global.gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { bytes: process.memoryUsage().heapUsed };
}

async function obey(command: Command, number: number): Promise<Answers[Command['kind']]> {
  switch (command.kind) {
    case 'operate':
      return operate(command.operations, number);
    case 'ready':
      // Told to shut down before it was: then it need not be.
      return presence.ready().then(
        () => true as const,
        (error: unknown) => {
          if (isPresenceError(error) && error.code === 'ERR_PRESENCE_CLOSED') return true as const;
          throw error;
        },
      );
    case 'statuses': {
      const statuses = await presence.getStatuses(command.userIds);
      return command.userIds.map((userId) => statuses[userId] as Answers['statuses'][number]);
    }
    case 'list':
      return list();
    case 'heap':
      return heap();
    case 'close':
      await presence.close({ handoverMs: command.handoverMs });
      sendUpdates();
      return true;
  }
}

process.on('message', ({ number, command }: Request) => {
  obey(command, number).then(
    (value) => report({ kind: 'answer', number, value }),
    (error: unknown) => report({ kind: 'refusal', number, reason: described(error) }),
  );
});

function described(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { stack = error.message, cause } = error;
  return cause === undefined ? stack : `${stack}, because of ${described(cause)}`;
}
