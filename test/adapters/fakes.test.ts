import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { createPresence, type PresenceOptions, type PresenceUpdate } from 'voiceping-presence';
import { attachPresence } from 'voiceping-presence/socket.io';
import { fakeClock, fakeSocket } from 'voiceping-presence/testing';
import { attachPresence as attachWs } from 'voiceping-presence/ws';

// What adapters translate, without a network, on a fake clock.

/** A connection of engine.io, and its sockets in namespaces. */
class FakeEngine extends EventEmitter {
  writeBuffer: unknown[] = [];
  readonly namespaces = { size: 0 };
  isClosed = false;

  close(): void {
    this.isClosed = true;
  }
}

class FakeSocketIoSocket extends EventEmitter {
  connected = true;
  readonly request = { headers: {} };
  readonly sent: string[] = [];
  readonly client: { readonly sockets: { size: number } };

  constructor(
    readonly conn: FakeEngine,
    readonly auth: object,
  ) {
    super();
    conn.namespaces.size += 1;
    this.client = { sockets: conn.namespaces };
  }

  override emit(event: string, ...values: unknown[]): boolean {
    if (!event.startsWith('presence:')) return super.emit(event, ...values);
    this.sent.push(event);
    return true;
  }

  disconnect(reason = 'server namespace disconnect'): void {
    this.connected = false;
    this.conn.namespaces.size -= 1;
    this.emit('disconnect', reason);
  }
}

async function world(options: PresenceOptions = {}) {
  const clock = fakeClock();
  const errors: string[] = [];
  const presence = createPresence({ clock, onError: (error) => errors.push(error.message), ...options });
  const told: PresenceUpdate[] = [];
  presence.onUpdate((update) => told.push(update));
  const io = new EventEmitter();
  attachPresence(presence, io, { identify: (_: unknown, socket: FakeSocketIoSocket) => socket.auth as never });
  await clock.settle();
  return {
    clock,
    presence,
    errors,
    io,
    lines: () => told.map(({ userId, status, reason }) => `${userId} ${status} ${reason}`),
    async connect(auth: object, conn = new FakeEngine()) {
      const socket = new FakeSocketIoSocket(conn, auth);
      io.emit('connection', socket);
      await clock.settle();
      return socket;
    },
  };
}

const dashboard = { userId: 'dash', track: false, watch: true };

describe('a socket of socket.io', () => {
  it.each(['server namespace disconnect', 'client namespace disconnect', 'server shutting down'])(
    'that ends by a %s was closed, and is not lost',
    async (reason) => {
      const { connect, lines, clock } = await world();
      (await connect({ userId: 'u' })).disconnect(reason);
      await clock.settle();
      expect(lines()).toEqual(['u online connect', 'u offline disconnect']);
    },
  );

  it('that ends by a transport error is lost, and has its grace', async () => {
    const { connect, lines, clock } = await world();
    (await connect({ userId: 'u' })).disconnect('transport error');
    await clock.advance(1_000);
    expect(lines()).toEqual(['u online connect']);
  });

  it('that is attached twice counts once, and hears once of what changes', async () => {
    const { connect, io, lines, clock } = await world();
    const socket = await connect({ userId: 'u', watch: true });
    io.emit('connection', socket);
    await clock.settle();
    socket.sent.length = 0;
    await connect({ userId: 'v' });
    expect(socket.sent).toEqual(['presence:update']);
    socket.disconnect();
    await clock.settle();
    expect(lines()).toEqual(['u online connect', 'v online connect', 'u offline disconnect']);
  });

  it('that takes nothing is sent no more than a snapshot, whatever changes, and what waits once it takes that', async () => {
    const { connect, clock } = await world();
    for (let user = 0; user < 300; user += 1) await connect({ userId: `user-${user}` });
    const watcher = await connect(dashboard);
    expect(watcher.sent).toEqual(['presence:snapshot']);
    // One packet, of some ten thousand bytes and more.
    watcher.conn.writeBuffer.push('snapshot');
    await connect({ userId: 'late' });
    await clock.advance(1_000);
    expect(watcher.sent).toEqual(['presence:snapshot']);
    watcher.conn.writeBuffer = [];
    await clock.advance(1_000);
    expect(watcher.sent).toEqual(['presence:snapshot', 'presence:update']);
    // What has left counts no more: one small packet that waits is little.
    watcher.conn.writeBuffer.push('update');
    await connect({ userId: 'later' });
    await clock.advance(1_000);
    expect(watcher.sent).toHaveLength(3);
  });

  it('that is closed for one namespace keeps its others; in none any more it is ended', async () => {
    const { presence, connect, clock } = await world();
    const both = new FakeEngine();
    const ends = clock.now() + 1_000;
    await connect({ userId: 'u', expiresAt: ends }, both);
    both.namespaces.size += 1;
    const alone = new FakeEngine();
    await connect({ userId: 'v', expiresAt: ends }, alone);
    await clock.advance(10_000);
    expect([both.isClosed, alone.isClosed]).toEqual([false, true]);
    await presence.close();
    expect(both.isClosed).toBe(false);
  });
});

describe('an identity that is none', () => {
  it.each(['eyJhbGciOi.secret.token', 4_711, true])('%j is not in the error: it may be a token', async (given) => {
    const { presence, errors, clock } = await world();
    const server = new EventEmitter();
    attachWs(presence, server, { identify: () => given as never });
    server.emit('connection', fakeSocket(), { headers: {} });
    await clock.settle();
    expect(errors).toHaveLength(1);
    expect(errors[0]).toContain(`identify gave a ${typeof given}`);
    expect(errors[0]).not.toContain(String(given));
  });
});
