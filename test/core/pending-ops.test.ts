import { describe, expect, it } from 'vitest';
import { type Acknowledged, LocalUser } from '../../src/connections/local-user';
import { pendingOps } from '../../src/replication/pending-ops';

const NOW = 1_000_000;

// Connections that are alive, what the store holds (+ the user, - not, ? unknown, ! doubted), how the last one ended, and
// so long ago; then what the store is told: join, again (a join that registers the user once more), leave, timeout, or
// drop with its grace.
const TABLE = `
1 -              join
1 ?              join
1 !              again
1 +              nothing
2 +              nothing
0 -              nothing
0 - disconnect   nothing
0 - drop 8000 0      join, drop 8000
0 - drop 8000 3000   join, drop 5000
0 - drop 8000 8000   nothing
0 - drop 0 0         nothing
0 + disconnect   leave
0 + timeout      timeout
0 + drop 8000 0      drop 8000
0 + drop 8000 3000   drop 5000
0 + drop 8000 9000   drop 0
0 + drop 8000 -5000  drop 8000
0 + drop 0 0         drop 0
0 ? disconnect   leave
0 ? timeout      timeout
0 ? drop 8000 3000   drop 5000
0 ! drop 8000 3000   drop 5000
0 ! disconnect   leave
0 + kept 5000 0      drop 5000
0 + kept 5000 5000   leave
`;

const MARKS: { readonly [mark: string]: Acknowledged } = { '+': 'held', '-': 'absent', '?': 'unknown', '!': 'doubted' };

const rows = TABLE.trim()
  .split('\n')
  .map((line) => {
    const [state = '', told = ''] = line.split(/\s{2,}/);
    return [state, told] as const;
  });

/** `kept`: a clean close while the grace of another connection runs. */
function userOf(state: string): LocalUser {
  const [alive, mark, ending = 'disconnect', graceMs = '0', agoMs = '0'] = state.split(' ');
  const user = new LocalUser('u', NOW - 700);
  user.alive = Number(alive);
  user.acknowledged = MARKS[mark as string] as Acknowledged;
  user.departure = {
    ending: ending === 'drop' || ending === 'timeout' ? ending : 'disconnect',
    at: NOW - Number(agoMs),
    graceMs: Number(graceMs),
  };
  return user;
}

describe('what the store is told of a user', () => {
  it.each(rows)('%s: %s', (state, told) => {
    const ops = pendingOps(userOf(state), NOW).map((op) => {
      expect(op).toMatchObject({ userId: 'u', ageMs: 700 });
      if (op.kind === 'join') return op.reassert ? 'again' : 'join';
      if (op.kind === 'drop') return `drop ${op.graceMs}`;
      return op.reason === 'timeout' ? 'timeout' : 'leave';
    });
    expect(ops.join(', ') || 'nothing').toBe(told);
  });
});
