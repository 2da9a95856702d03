import { decode } from '@msgpack/msgpack';
import { describe, expect, it } from 'vitest';
import { codecOf } from '../../src/wire/encode';

const UPDATE = {
  userId: '123',
  status: 'online',
  timestamp: '2025-12-12T10:30:45.123Z',
  version: 7,
  reason: 'connect',
} as const;
const AT = Date.parse(UPDATE.timestamp);
const USERS = [
  { userId: '123', status: 'online', lastSeen: UPDATE.timestamp },
  { userId: '456', status: 'offline', lastSeen: null },
] as const;
const SNAPSHOT = {
  kind: 'snapshot',
  users: USERS,
  totalOnline: 17,
  now: AT,
  asked: undefined,
  isShared: false,
} as const;

describe('frames', () => {
  it('of the guide are maps, with a version, a reason and the last activity beside what the guide has', () => {
    const guide = codecOf('guide');
    expect(decode(guide({ kind: 'update', update: UPDATE, lastSeen: AT - 5_000, cursor: undefined }))).toEqual({
      messageType: 31,
      fromId: '123',
      toId: '',
      status: 'online',
      timestamp: '2025-12-12T10:30:45.123Z',
      lastSeen: '2025-12-12T10:30:40.123Z',
      channelType: 1,
      version: 7,
      reason: 'connect',
    });
    expect(decode(guide(SNAPSHOT))).toEqual({ messageType: 32, users: USERS });
  });

  it('of the router are arrays, with times in milliseconds and 0 for never', () => {
    const router = codecOf('router');
    expect(decode(router({ kind: 'update', update: UPDATE, lastSeen: AT - 5_000, cursor: undefined }))).toEqual([
      0,
      31,
      0,
      'broadcast',
      {
        type: 'presence_update',
        userId: '123',
        status: 'online',
        timestamp: AT,
        lastSeen: AT - 5_000,
        version: 7,
        reason: 'connect',
      },
    ]);
    expect(decode(router(SNAPSHOT))).toEqual([
      0,
      32,
      0,
      '',
      {
        users: [
          { userId: '123', status: 'online', lastSeen: AT },
          { userId: '456', status: 'offline', lastSeen: 0 },
        ],
        timestamp: AT,
        totalOnline: 17,
      },
    ]);
  });

  it.each(['guide', 'router'] as const)('with users for many connections are the same frames (%s)', (wire) => {
    const codec = codecOf(wire);
    const many = Array.from(
      { length: 70_000 },
      (_, user) => ({ userId: `u${user}`, status: 'online', lastSeen: null }) as const,
    );
    let compared = 0;
    for (const users of [[], USERS, Array.from(many.slice(0, 16)), many]) {
      for (const cursor of [undefined, 'e.7']) {
        for (let request = 0; request < 20; request += 1) {
          const asked = request === 0 ? undefined : { request, part: 2, more: false, resumed: false, cursor };
          const message = { ...SNAPSHOT, users, asked };
          const frame = codec({ ...message, isShared: true });
          expect(Buffer.compare(frame, codec(message))).toBe(0);
          expect(codec({ ...message, isShared: true })).toBe(frame);
          compared += 1;
          if (users === many && request > 1) break;
        }
      }
    }
    expect(compared).toBe(126);
  });

  it('say where to go on, to those who have asked', () => {
    const asked = { request: 3, part: 2, more: false, resumed: true, cursor: 'e.7' };
    const [guide, router] = [codecOf('guide'), codecOf('router')];
    expect(decode(guide({ ...SNAPSHOT, asked }))).toEqual({ messageType: 32, users: USERS, ...asked });
    expect(decode(router({ ...SNAPSHOT, asked }))).toMatchObject([0, 32, 0, '', asked]);
    expect(decode(guide({ kind: 'update', update: UPDATE, lastSeen: AT, cursor: 'e.7' }))).toMatchObject({
      messageType: 31,
      cursor: 'e.7',
    });
    expect(decode(router({ kind: 'update', update: UPDATE, lastSeen: AT, cursor: 'e.7' }))).toMatchObject([
      0,
      31,
      0,
      'broadcast',
      { cursor: 'e.7' },
    ]);
  });

  it('say of whom the store has forgotten that nobody knows when they were seen', () => {
    expect(
      decode(codecOf('guide')({ kind: 'update', update: UPDATE, lastSeen: null, cursor: undefined })),
    ).toMatchObject({ lastSeen: null });
    expect(
      decode(codecOf('router')({ kind: 'update', update: UPDATE, lastSeen: null, cursor: undefined })),
    ).toMatchObject([0, 31, 0, 'broadcast', { lastSeen: 0 }]);
  });

  it('say that what was told may be out of date, and that somebody may not watch', () => {
    const [guide, router] = [codecOf('guide'), codecOf('router')];
    expect(decode(guide({ kind: 'stale', stale: true, asOf: AT }))).toEqual({
      messageType: 34,
      stale: true,
      asOf: UPDATE.timestamp,
    });
    expect(decode(router({ kind: 'stale', stale: false, asOf: AT }))).toEqual([
      0,
      34,
      0,
      '',
      { stale: false, asOf: AT },
    ]);
    const refusal = { error: 'no', code: 'not-allowed' as const, request: 7 };
    expect(decode(guide({ kind: 'refusal', ...refusal }))).toEqual({ messageType: 33, ...refusal });
    expect(decode(router({ kind: 'refusal', ...refusal }))).toEqual([0, 33, 0, '', refusal]);
    const unnamed = { error: 'no', code: 'malformed' as const };
    expect(decode(guide({ kind: 'refusal', ...unnamed, request: undefined }))).toEqual({ messageType: 33, ...unnamed });
  });

  it('are Buffers of their own, so that every version of ws sends them as they are', () => {
    const first = codecOf('guide')({ kind: 'update', update: UPDATE, lastSeen: AT, cursor: undefined });
    const copy = Buffer.from(first);
    codecOf('guide')({ kind: 'update', update: { ...UPDATE, userId: 'another' }, lastSeen: AT, cursor: undefined });
    expect(Buffer.isBuffer(first)).toBe(true);
    expect(copy.equals(first)).toBe(true);
  });
});
