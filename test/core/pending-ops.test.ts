import { describe, expect, it } from 'vitest';
import { type Acknowledged, LocalUser } from '../../src/connections/local-user';
import { nextBatch, pendingOps } from '../../src/replication/pending-ops';
import { SetAside } from '../../src/replication/set-aside';

const NOW = 1_000_000;

// The number of connections that are alive, the acknowledged state (+ held, - absent, ? unknown, ! doubted), how the last
// connection ended and how long ago; then the operations: join, again (a join that registers the user again), leave, timeout, or
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

/** `kept`: a clean close while the grace of another connection is running. */
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

// The changed users in order (j has a join, d a join and a drop, n no operation), the limit of a batch, and the users who are set
// aside (`!`: and due again); then the users in the batch, the unchanged ones, and whether it is the last batch.
const BATCHES = `
nobody           10  -         -            last
j1 j2            10  -         j1 j2        last
j1 j2 j3         2   -         j1 j2        more
j1 d2 j3         2   -         j1           more
j1 d2 j3         3   -         j1 d2        more
d1 j2            1   -         d1           more
j1 n2 n3         10  -         j1 -n2 -n3   last
j1 n2 j3 n4      1   -         j1 -n2       more
n1               10  -         -n1          last
j1 j2 j3         10  j2        j1 j3        last
j1 j2            1   j1        j2           last
j1               10  j1        -            last
j1 j2 j3         10  !j2       j2           more
j1 n2 j3         10  !n2       -n2          more
j1 j3            10  !j2       j1 j3        more
`;

// The store refused a thousand users because of one of them, who was sent together with them each time.
describe('what the store is told next', () => {
  const batches = BATCHES.trim()
    .split('\n')
    .map((line) => line.split(/\s{2,}/) as [string, string, string, string, string]);

  it.each(batches)('%s, at most %s, aside %s: %s, %s', (names, most, set, told, last) => {
    const STATES: { readonly [kind: string]: string } = { j: '1 -', d: '0 - drop 8000 0', n: '1 +' };
    const everybody = new Map(
      ['j1', 'd1', 'n1', 'j2', 'd2', 'n2', 'j3', 'n3', 'n4'].map((name) => {
        return [name, userOf(STATES[name[0] as string] as string)] as const;
      }),
    );
    const nameOf = new Map(Array.from(everybody, ([name, user]) => [user, name] as const));
    const changed = new Set<LocalUser>();
    for (const name of names.split(' ')) if (name !== 'nobody') changed.add(everybody.get(name) as LocalUser);
    const aside = new SetAside<LocalUser>(() => 0.5);
    const one = everybody.get(set.replace('!', ''));
    if (one !== undefined) aside.put(one, set.startsWith('!') ? NOW - 60_000 : NOW);

    const batch = nextBatch(changed, aside, Number(most), NOW);
    const { users, unchanged } = batch;
    const taken = users.map((user) => nameOf.get(user)).concat(unchanged.map((user) => `-${nameOf.get(user)}`));
    expect([taken.join(' ') || '-', batch.isLast ? 'last' : 'more']).toEqual([told, last]);
    expect(batch.ops).toHaveLength(users.reduce((sum, user) => sum + pendingOps(user, NOW).length, 0));
  });
});
