import { Cluster, Redis } from 'ioredis';
import { type Attachment, type ChangeBatch, createPresence } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { type FakeSocket, fakeSocket } from 'voiceping-presence/testing';

// A router in a process of its own: the parent says who comes and goes, and answers for the handler of the delivery.

/** From the parent. */
export type Command =
  | { readonly id: number; readonly join: string }
  | { readonly id: number; readonly leave: string }
  | { readonly batch: number; readonly isTaken: boolean };

/** To the parent. */
export type Report =
  | { readonly ready: true }
  | { readonly done: number }
  | { readonly batch: number; readonly content: ChangeBatch; readonly token: number };

const { REDIS_PORT, REDIS_CLUSTER, FROM, LOG_CHANGES } = process.env;
const server = { port: Number(REDIS_PORT), host: '127.0.0.1' };
const client = REDIS_CLUSTER === '1' ? new Cluster([server]) : new Redis(server);
client.on('error', () => undefined);
const presence = createPresence({
  store: redisStore({ client, logChanges: Number(LOG_CHANGES) }),
  leaseMs: 1_500,
  graceMs: 300,
  // A leave counts as acknowledged once the store has taken it, however long that takes.
  commandTimeoutMs: 60_000,
  onError: () => undefined,
});
const send = (report: Report): unknown => process.send?.(report);
const phones = new Map<string, { socket: FakeSocket; attachment: Attachment }>();
const batches = new Map<number, (isTaken: boolean) => void>();
let serial = 0;

presence.changes.deliver(
  'sink',
  async (content, { token }) => {
    serial += 1;
    const batch = serial;
    send({ batch, content, token });
    const isTaken = await new Promise<boolean>((resolve) => batches.set(batch, resolve));
    batches.delete(batch);
    if (!isTaken) throw Object.assign(new Error('refused'), { retryAfterMs: 10 });
  },
  { batch: 50, from: FROM as 'start' | 'listing', timeoutMs: 2_000 },
);

process.on('message', async (command: Command) => {
  if ('batch' in command) {
    batches.get(command.batch)?.(command.isTaken);
    return;
  }
  if ('join' in command) {
    const socket = fakeSocket();
    const attachment = presence.attachToSocket(socket, { userId: command.join });
    phones.set(command.join, { socket, attachment });
    await attachment.ready;
  } else {
    const phone = phones.get(command.leave);
    phones.delete(command.leave);
    await phone?.attachment.detach();
  }
  send({ done: command.id });
});
process.on('disconnect', () => process.exit());
void presence.ready().then(() => send({ ready: true }));
