import { describe, expect, it } from 'vitest';
import type { PresenceStatus } from 'voiceping-presence';
import { SNAPSHOT } from '../../src/client/frames';
import { createView } from '../../src/client/view';

const user = (userId: string, status: PresenceStatus['status'] = 'online'): PresenceStatus => ({
  userId,
  status,
  lastSeen: '2026-01-01T00:00:00.000Z',
});
const kind = SNAPSHOT;

describe('the view of a client', () => {
  // Through a whole rolling deploy it never had a cursor, and so never asked whether its link was alive.
  it('goes on from the answers of a router that does not say which request they answer', () => {
    const view = createView(true);
    view.asked = 5;
    view.show({ kind, users: [user('a')], part: 0, more: false, resumed: false, cursor: 'e.1' });
    expect(view.cursor).toBe('e.1');
    view.show({ kind, users: [], request: 4, part: 0, more: false, resumed: true, cursor: 'e.2' });
    expect(view.cursor).toBe('e.1');
    view.show({ kind, users: [], request: 5, part: 0, more: false, resumed: true, cursor: 'e.3' });
    expect(view.cursor).toBe('e.3');
  });

  // Half of a snapshot was taken for all of it: everybody of the other half went grey.
  it('forgets the beginning of a snapshot when one that resumes comes in place of the rest', () => {
    const view = createView(true);
    const users = [user('a'), user('b'), user('c')];
    view.show({ kind, users, part: 0, more: false, resumed: false, cursor: 'e.1' });
    view.show({ kind, users: [user('a')], part: 0, more: true, resumed: false });
    const changed = view.show({
      kind,
      users: [user('b', 'offline')],
      part: 0,
      more: false,
      resumed: true,
      cursor: 'e.2',
    });
    expect(changed).toEqual([user('b', 'offline')]);
    expect(Array.from(view.users.values(), ({ userId, status }) => `${userId} ${status}`)).toEqual([
      'a online',
      'b offline',
      'c online',
    ]);
  });
});
