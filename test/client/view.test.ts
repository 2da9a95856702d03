import { describe, expect, it } from 'vitest';
import type { PresenceStatus } from 'voiceping-presence';
import { SNAPSHOT, UPDATE } from '../../src/client/codec';
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

  it('gives why and in which order, where the router says it, and keeps the status only', () => {
    const view = createView(true);
    expect(view.show({ kind, users: [user('a')], part: 0, more: false, resumed: false })).toEqual([user('a')]);
    const changed = view.update({ kind: UPDATE, user: user('a', 'offline'), version: 4, reason: 'timeout' });
    expect(changed).toEqual([{ ...user('a', 'offline'), version: 4, reason: 'timeout' }]);
    expect(view.users.get('a')).toEqual(user('a', 'offline'));
    expect(Object.keys(view.users.get('a') as object)).toEqual(['userId', 'status', 'lastSeen']);
  });

  it('believes the first change after a snapshot, whatever versions there were before it', () => {
    const view = createView(true);
    view.show({ kind, users: [user('a')], part: 0, more: false, resumed: false, cursor: 'e.100' });
    view.update({ kind: UPDATE, user: user('a', 'offline'), version: 101 });
    // The store has lost what it held, and counts anew.
    view.show({ kind, users: [user('a')], part: 0, more: false, resumed: false, cursor: 'f.7' });
    expect(view.update({ kind: UPDATE, user: user('a', 'offline'), version: 8 })).toMatchObject([{ version: 8 }]);
  });

  // It had heard both of another router, which could give no cursor, and showed the user offline for good.
  it('believes changes after a snapshot that resumes, also those it had been told before', () => {
    const view = createView(true);
    view.show({ kind, users: [user('a')], part: 0, more: false, resumed: false, cursor: 'e.52' });
    view.update({ kind: UPDATE, user: user('a', 'offline'), version: 53 });
    view.update({ kind: UPDATE, user: user('a'), version: 54 });
    view.restart();
    // This one has not heard of the second yet.
    view.show({ kind, users: [user('a', 'offline')], part: 0, more: false, resumed: true, cursor: 'e.53' });
    expect(view.update({ kind: UPDATE, user: user('a'), version: 54, cursor: 'e.54' })).toMatchObject([user('a')]);
    expect(view.cursor).toBe('e.54');
  });

  it('shows no change that is older than one of the same user', () => {
    const view = createView(true);
    view.show({ kind, users: [], part: 0, more: false, resumed: false });
    view.update({ kind: UPDATE, user: user('a'), version: 5 });
    expect(view.update({ kind: UPDATE, user: user('a', 'offline'), version: 4 })).toEqual([]);
    expect(view.users.get('a')).toEqual(user('a'));
  });

  // It would be shown what has changed since then, and nobody who has gone of those whom the half has brought.
  it('goes on from nowhere where a snapshot of everybody breaks off', () => {
    const view = createView(true);
    view.show({ kind, users: [user('a')], part: 0, more: false, resumed: false, cursor: 'e.1' });
    view.show({ kind, users: [user('b')], part: 0, more: true, resumed: false });
    view.restart();
    expect(view.cursor).toBeUndefined();
  });

  // A router could fill the memory of a page with those.
  it('keeps nothing of users who are not watched, and goes on from no change of theirs', () => {
    const view = createView(['a', 'b']);
    view.show({ kind, users: [user('a'), user('x')], part: 0, more: false, resumed: false, cursor: 'e.1' });
    expect(view.update({ kind: UPDATE, user: user('y'), version: 5, cursor: 'e.5' })).toEqual([]);
    expect(view.show({ kind, users: [user('z'), user('b')] })).toEqual([user('b')]);
    expect([...view.users.keys()]).toEqual(['a', 'b']);
    expect(view.cursor).toBe('e.1');
    view.watch(['y']);
    // Nor has its version been kept: it would hide the changes that follow.
    expect(view.update({ kind: UPDATE, user: user('y'), version: 4 })).toMatchObject([user('y')]);
    view.watch(true);
    expect(view.update({ kind: UPDATE, user: user('x'), version: 1 })).toMatchObject([user('x')]);
  });
});
