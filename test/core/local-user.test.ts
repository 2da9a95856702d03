import { describe, expect, it } from 'vitest';
import { type Acknowledged, type InFlight, LocalUser } from '../../src/connections/local-user';

// The state that the store has acknowledged (+ held, - absent, ? unknown, ! doubted) and the operation in flight; then an event,
// and both after it.
const TABLE = `
-            doubt      -
+            doubt      !
?            doubt      ?
!            doubt      !
- join       doubt      ?
+ leave      doubt      !
? join       doubt      ?
? leave      doubt      ?
! join       doubt      !
! lost-join  doubt      !
- join       answer     +
- leave      answer     -
? join       answer     +
! join       answer     +
+ leave      answer     -
- lost-join  answer     !
! lost-join  answer     !
?            answer     ?
!            answer     ?
- join       loss       - lost-join
! join       loss       ! lost-join
+ leave      loss       + leave
+            loss       +
- lost-join  loss       - lost-join
`;

const MARKS: { readonly [mark: string]: Acknowledged } = { '+': 'held', '-': 'absent', '?': 'unknown', '!': 'doubted' };

const EVENTS: { readonly [event: string]: (user: LocalUser) => void } = {
  doubt: (user) => user.doubt(),
  answer: (user) => user.acknowledge(),
  loss: (user) => user.doubtInFlight(),
};

/** A user in a state of the table. */
function userIn(state: string): LocalUser {
  const [mark = '', sent = 'nothing'] = state.split(' ');
  const user = new LocalUser('u', 0);
  user.acknowledged = MARKS[mark] as Acknowledged;
  user.inFlight = sent as InFlight;
  return user;
}

const rows = TABLE.trim()
  .split('\n')
  .map((line) => line.split(/\s{2,}/) as [before: string, event: string, after: string]);

// A join whose answer was lost was sent again as a connect, and a user whom the store had lost counted as held.
describe('what the store is known to hold of a user', () => {
  it.each(rows)('%s, %s: %s', (before, event, after) => {
    const user = userIn(before);
    EVENTS[event]?.(user);
    expect(user).toMatchObject({ acknowledged: userIn(after).acknowledged, inFlight: userIn(after).inFlight });
  });

  it.each([
    [0, '-', true],
    [0, '+', false],
    [0, '?', false],
    [0, '!', false],
    [0, '- join', false],
    [0, '- leave', false],
    [1, '-', false],
    [2, '+', true],
    [1, '?', false],
    [1, '!', false],
    [1, '+ join', false],
  ])('with %s connections and %s: settled, %s', (alive, state, isSettled) => {
    const user = userIn(state);
    user.alive = alive;
    expect(user.isSettled).toBe(isSettled);
  });

  it('a join says when the last activity was, and a leave does not', () => {
    const user = new LocalUser('u', 0);
    user.arrive(5);
    user.send();
    expect(user).toMatchObject({ inFlight: 'join', refreshedAt: 5 });
    user.depart('disconnect', 7, 0);
    user.lastLife = 7;
    user.send();
    expect(user).toMatchObject({ inFlight: 'leave', refreshedAt: 5 });
  });

  it('whoever waits is woken once', async () => {
    const user = new LocalUser('u', 0);
    const woken = Promise.all([user.woken(), user.woken()]);
    user.wake();
    await woken;
    user.wake();
  });
});
