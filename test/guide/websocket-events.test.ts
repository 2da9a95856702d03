import * as msgpack from '@msgpack/msgpack';
import { describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { onCleanup, running, until } from '../examples/running';

// The guide, "WebSocket Events Reference", and "Option 2: WebSocket".

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

interface Message {
  messageType: number;
  fromId: string;
  status: string;
  timestamp: string;
}

/** The handler of the guide, "Subscribing to Updates", with a list instead of the console. */
function subscribe(url: string) {
  const updates: Message[] = [];
  const others: unknown[] = [];
  const ws = new WebSocket(url, ['web_dashboard_token', 'device_id']);
  onCleanup(() => ws.terminate());
  ws.binaryType = 'arraybuffer';
  ws.onmessage = (event) => {
    const msg = msgpack.decode(new Uint8Array(event.data as ArrayBuffer)) as Message;
    if (msg.messageType === 31) updates.push(msg);
    else others.push(msg);
  };
  return { updates, others };
}

describe('PRESENCE_UPDATE (31)', () => {
  it('has the structure of the guide, and is sent on connect and on disconnect', async () => {
    const { ws, phone } = await running();
    const { updates, others } = subscribe(ws);
    await until(() => expect(others).toHaveLength(1));
    const handset = phone('123');
    await until(() => expect(updates).toHaveLength(1));
    expect(updates[0]).toEqual({
      messageType: 31,
      fromId: '123',
      toId: '',
      status: 'online',
      timestamp: expect.stringMatching(ISO),
      lastSeen: expect.stringMatching(ISO),
      channelType: 1,
      version: 1,
      reason: 'connect',
    });
    handset.close();
    await until(() => expect(updates).toHaveLength(2));
    expect(updates[1]).toMatchObject({ fromId: '123', status: 'offline', reason: 'disconnect' });
  });

  it("is sent when a user's TTL expires", async () => {
    const { ws, phone } = await running({ presence: { ttlMs: 1_000, pingIntervalMs: 200 } });
    const { updates } = subscribe(ws);
    const handset = phone('123');
    await until(() => expect(updates).toHaveLength(1));
    handset.freeze();
    await until(() => expect(updates).toHaveLength(2));
    expect(updates[1]).toMatchObject({ fromId: '123', status: 'offline', reason: 'timeout' });
  });
});

describe('PRESENCE_SNAPSHOT (32)', () => {
  it('has the structure of the guide', async () => {
    const { ws, phone, statuses } = await running();
    phone('123');
    await until(async () => expect((await statuses(['123']))['123']?.status).toBe('online'));
    const { others } = subscribe(ws);
    await until(() => expect(others).toHaveLength(1));
    expect(others[0]).toEqual({
      messageType: 32,
      users: [{ userId: '123', status: 'online', lastSeen: expect.stringMatching(ISO) }],
    });
  });
});
