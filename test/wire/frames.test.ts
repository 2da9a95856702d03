import { decode } from '@msgpack/msgpack';
import { describe, expect, it } from 'vitest';
import { framesOf } from '../../src/wire/frames';

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

describe('frames', () => {
  it('of the guide are maps, with a version and a reason beside what the guide has', () => {
    const guide = framesOf('guide');
    expect(decode(guide.update(UPDATE, AT))).toEqual({
      messageType: 31,
      fromId: '123',
      toId: '',
      status: 'online',
      timestamp: '2025-12-12T10:30:45.123Z',
      channelType: 1,
      version: 7,
      reason: 'connect',
    });
    expect(decode(guide.snapshot(USERS, 1, AT))).toEqual({ messageType: 32, users: USERS });
  });

  it('of the router are arrays, with times in milliseconds and 0 for never', () => {
    const router = framesOf('router');
    expect(decode(router.update(UPDATE, AT - 5_000))).toEqual([
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
    expect(decode(router.snapshot(USERS, 17, AT))).toEqual([
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

  it('are Buffers of their own, so that every version of ws sends them as they are', () => {
    const first = framesOf('guide').update(UPDATE, AT);
    const copy = Buffer.from(first);
    framesOf('guide').update({ ...UPDATE, userId: 'another' }, AT);
    expect(Buffer.isBuffer(first)).toBe(true);
    expect(copy.equals(first)).toBe(true);
  });
});
