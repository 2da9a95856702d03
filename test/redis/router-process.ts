import { createPresence, type Presence, type PresenceOptions, type PresenceUpdate } from 'voiceping-presence';
import { redisStore } from 'voiceping-presence/redis';
import { type FakeSocket, fakeSocket } from 'voiceping-presence/testing';

// A router in a process of its own, which obeys commands over IPC. See processes.ts for the other end.

export interface Settings extends Pick<PresenceOptions, 'leaseMs' | 'ttlMs' | 'graceMs' | 'commandTimeoutMs'> {
  readonly port: number;
}

export type Command =
  | { readonly attach: readonly string[] }
  | { readonly watch: true }
  | { readonly close: string }
  | { readonly drop: string }
  /** It answers no ping any more. */
  | { readonly silence: string }
  | { readonly statuses: readonly string[] }
  | { readonly bulk: number }
  | { readonly shutDown: number };

export type Message =
  | { readonly answers: number; readonly value: unknown }
  | { readonly update: PresenceUpdate }
  /** Without a number it is the answer to nothing. */
  | { readonly failed: string; readonly number?: number };

const { port, ...options }: Settings = JSON.parse(process.argv[2] ?? '{}');
const say = (message: Message): void => void process.send?.(message);
const presence: Presence = createPresence({ ...options, store: redisStore({ host: '127.0.0.1', port }) });
const sockets = new Map<string, FakeSocket>();

for (const event of ['unhandledRejection', 'uncaughtException'] as const) {
  process.on(event, (error: unknown) => say({ failed: String(error) }));
}
presence.onUpdate((update) => say({ update }));

async function obey(command: Command): Promise<unknown> {
  if ('attach' in command) {
    const attachments = command.attach.map((userId) => {
      const socket = fakeSocket();
      sockets.set(userId, socket);
      return presence.attachToSocket(socket, { userId });
    });
    await Promise.all(attachments.map(({ ready }) => ready));
    return undefined;
  }
  if ('watch' in command) {
    const socket = fakeSocket();
    presence.attachToSocket(socket, { userId: 'dashboard', track: false, watch: true });
    sockets.set('dashboard', socket);
    return undefined;
  }
  if ('close' in command) return sockets.get(command.close)?.close();
  if ('drop' in command) return sockets.get(command.drop)?.drop();
  if ('silence' in command) {
    const socket = sockets.get(command.silence);
    if (socket !== undefined) socket.answersPings = false;
    return undefined;
  }
  if ('statuses' in command) {
    const statuses = await presence.getStatuses(command.statuses);
    return command.statuses.map((userId) => statuses[userId]?.status);
  }
  if ('bulk' in command) {
    const ids = Array.from({ length: command.bulk }, (_, index) => `bulk-${index}`);
    return Object.keys(await presence.getStatuses(ids)).length;
  }
  await presence.close({ handoverMs: command.shutDown });
  return undefined;
}

process.on('message', ({ id, command }: { id: number; command: Command }) => {
  obey(command).then(
    (value) => {
      say({ answers: id, value });
      if ('shutDown' in command) process.disconnect();
    },
    (error: unknown) => say({ failed: String(error), number: id }),
  );
});
void presence.ready().then(() => say({ answers: 0, value: undefined }));
