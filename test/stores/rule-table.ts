import type { Lease, UserEvent, UserRecord } from '../../src/stores/transitions';

// The rule as tables, which every language in which it is written is held to.

export const NOW = 1_000_000;
const RUNS = NOW + 5_000;
const OVER = NOW;
const SEEN = NOW - 1_000;
/** Older than what is known, and newer. */
const AGES = [2_000, 500];

export const EVENTS: Readonly<Record<string, (ageMs: number) => UserEvent>> = {
  join: (ageMs) => ({ kind: 'join', owner: 'n', ageMs, reassert: false }),
  again: (ageMs) => ({ kind: 'join', owner: 'n', ageMs, reassert: true }),
  close: (ageMs) => ({ kind: 'leave', owner: 'n', ageMs, reason: 'disconnect' }),
  silence: (ageMs) => ({ kind: 'leave', owner: 'n', ageMs, reason: 'timeout' }),
  'drop 0': (ageMs) => ({ kind: 'drop', owner: 'n', ageMs, graceMs: 0 }),
  shorter: (ageMs) => ({ kind: 'drop', owner: 'n', ageMs, graceMs: 3_000 }),
  longer: (ageMs) => ({ kind: 'drop', owner: 'n', ageMs, graceMs: 9_000 }),
  activity: (ageMs) => ({ kind: 'activity', owner: 'n', ageMs }),
  dead: () => ({ kind: 'dead', owner: 'n' }),
  due: () => ({ kind: 'due' }),
};

// Router n speaks; m and k are others. `+`: a grace that runs, `!`: one that has run out and was not ended. After
// the event: the owners, the grace (`+3000`: a new one), and what is published.
const TABLE = `
-     join n connect          again n resync          close -                 silence -              drop 0 -               shorter -              longer -               activity -             dead -                 due -
+     join n                  again n                 close +                 silence +              drop 0 +               shorter +              longer +               activity +             dead +                 due +
!     join n timeout,connect  again n timeout,resync  close - timeout         silence - timeout      drop 0 - timeout       shorter - timeout      longer - timeout       activity - timeout     dead - timeout         due - timeout
n     join n                  again n                 close - disconnect      silence - timeout      drop 0 - timeout       shorter +3000          longer +9000           activity n             dead - node-down       due n
n+    join n                  again n                 close +                 silence +              drop 0 +               shorter +              longer +9000           activity n+            dead +                 due n+
n!    join n                  again n                 close - disconnect      silence - timeout      drop 0 - timeout       shorter +3000          longer +9000           activity n             dead - node-down       due n
m     join mn                 again mn                close m                 silence m              drop 0 m               shorter m              longer m               activity m             dead m                 due m
m+    join mn                 again mn                close m+                silence m+             drop 0 m+              shorter m+             longer m+              activity m+            dead m+                due m+
m!    join mn                 again mn                close m                 silence m              drop 0 m               shorter m              longer m               activity m             dead m                 due m
nm    join nm                 again nm                close m                 silence m              drop 0 m               shorter m+3000         longer m+9000          activity nm            dead m                 due nm
nm+   join nm                 again nm                close m+                silence m+             drop 0 m+              shorter m+             longer m+9000          activity nm+           dead m+                due nm+
nm!   join nm                 again nm                close m                 silence m              drop 0 m               shorter m+3000         longer m+9000          activity nm            dead m                 due nm
mk    join mkn                again mkn               close mk                silence mk             drop 0 mk              shorter mk             longer mk              activity mk            dead mk                due mk
mk+   join mkn                again mkn               close mk+               silence mk+            drop 0 mk+             shorter mk+            longer mk+             activity mk+           dead mk+               due mk+
mk!   join mkn                again mkn               close mk                silence mk             drop 0 mk              shorter mk             longer mk              activity mk            dead mk                due mk
`;

export interface Row {
  readonly name: string;
  readonly before: UserRecord;
  readonly event: UserEvent;
  readonly after: UserRecord;
  readonly reasons: readonly string[];
  /** When the user was last seen, as of each of these. */
  readonly seen: ReadonlyArray<number | null>;
  readonly isIgnored: boolean;
}

function recordOf(text: string, lastSeen: number | null): UserRecord {
  const [, holders = '', grace = ''] = /^([nmk]*)(.*)$/.exec(text === '-' ? '' : text) as RegExpExecArray;
  const until = grace === '+' ? RUNS : grace === '!' ? OVER : grace === '' ? 0 : NOW + Number(grace.slice(1));
  return { owners: holders.split('').filter(Boolean), graceUntil: until, online: text !== '-', lastSeen };
}

function rowsOf(line: string, state: string, cell: string): Row[] {
  const [, name = '', then = '', published = ''] = /^(drop 0|\w+) (\S+) ?(\S*)$/.exec(cell) as RegExpExecArray;
  const make = EVENTS[name] as (ageMs: number) => UserEvent;
  const isJoin = name === 'join' || name === 'again';
  const isIgnored = name !== 'due' && !isJoin && !state.includes('n');
  return ('ageMs' in make(0) ? AGES : [0]).map((ageMs) => {
    const event = make(ageMs);
    const hasSeen = 'ageMs' in event && !isIgnored;
    const before = recordOf(state, line === 'never' ? null : SEEN);
    const heard = hasSeen ? Math.max(before.lastSeen ?? 0, NOW - ageMs) : before.lastSeen;
    const reasons = published === '' ? [] : published.split(',');
    return {
      name: `${line} ${name}, ${ageMs} ms old`,
      before,
      event,
      after: { ...recordOf(then, heard), online: then !== '-' },
      reasons,
      // What time alone has changed, has changed before the event.
      seen: reasons.map((_, index) => (state === '!' && index === 0 ? before.lastSeen : heard)),
      isIgnored,
    };
  });
}

const lines = TABLE.trim()
  .split('\n')
  .map((line) => line.trim().split(/\s{2,}/));

/** Of users who were seen before, and as the rule itself leaves them. */
const known: readonly Row[] = lines.flatMap(([state = '', ...cells]) =>
  cells.flatMap((cell) => rowsOf(state, state, cell)),
);
/** Of a user who was never seen. */
const never: readonly Row[] = (lines[0] as string[]).slice(1).flatMap((cell) => rowsOf('never', '-', cell));

export const ROWS: readonly Row[] = known.concat(never);

/** What was published contradicts owners and grace: that is settled first, and then all is as ever. */
export const CONTRADICTIONS: readonly Row[] = known.map((row) => {
  const { owners, graceUntil, lastSeen } = row.before;
  const before = { ...row.before, online: !row.before.online };
  const isOnline = owners.length > 0 || graceUntil > NOW;
  const isSettled = owners.length === 0 && graceUntil === OVER;
  const settled = before.online === isOnline ? [] : [isOnline ? 'resync' : 'timeout'];
  return {
    ...row,
    name: `${row.name}, published as ${before.online ? 'online' : 'offline'}`,
    before,
    reasons: settled.concat(isSettled ? row.reasons.slice(1) : row.reasons),
    seen: settled.map((): number | null => lastSeen).concat(isSettled ? row.seen.slice(1) : row.seen),
  };
});

export interface LeaseRow {
  readonly name: string;
  readonly lease: Lease;
  readonly activeAt: number;
  readonly verdict: 'runs' | 'extend' | 'dead';
}

export const LEASE_MS = 10_000;
export const TTL_MS = 60_000;

// How long the store got no call; then, for a lease that ends so many milliseconds from now, the verdict: r(uns),
// e(xtend) or d(ead). The second line of a pair: it was extended before.
const ENDS = [-40_001, -20_001, -20_000, -19_999, -5_001, -5_000, -1, 0, 1, 5_000, 20_000];
const LEASES = `
0      d d d d d d d d r r r
0      d d d d d d d d r r r
5000   d d d d d d d d r r r
5000   d d d d d d d d r r r
5001   d d d d d e e e e e e
5001   d d d d d d d d r r r
20000  d d d e e e e e e e e
20000  d d d d d d d d r r r
40001  d e e e e e e e e e e
40001  d d d d d d d d r r r
`;
const VERDICTS = { r: 'runs', e: 'extend', d: 'dead' } as const;

export const LEASE_ROWS: readonly LeaseRow[] = LEASES.trim()
  .split('\n')
  .flatMap((line, index) => {
    const [quietMs = '', ...cells] = line.split(/\s+/);
    const extendedOnce = index % 2 === 1;
    return cells.map((cell, at) => ({
      name: `quiet for ${quietMs} ms, ends in ${ENDS[at]} ms${extendedOnce ? ', extended before' : ''}`,
      lease: { leaseMs: LEASE_MS, ttlMs: TTL_MS, endsAt: NOW + (ENDS[at] as number), extendedOnce },
      activeAt: NOW - Number(quietMs),
      verdict: VERDICTS[cell as 'r' | 'e' | 'd'],
    }));
  });

export interface OnlineRow {
  readonly name: string;
  readonly record: UserRecord;
  readonly leases: ReadonlyMap<string, Lease>;
  readonly isOnline: boolean;
}

const lease = (endsInMs: number, extendedOnce: boolean): Lease => ({
  leaseMs: LEASE_MS,
  ttlMs: TTL_MS,
  endsAt: NOW + endsInMs,
  extendedOnce,
});
/** Of a router that lives, of one whose lease has ended, and of two that were extended. */
const STANDING: ReadonlyMap<string, Lease> = new Map([
  ['l', lease(1, false)],
  ['o', lease(0, false)],
  ['e', lease(1, true)],
  ['x', lease(0, true)],
]);

// Owners (u: one without a lease); then whether the user is online without a grace, with one that has just ended and
// with one that runs a millisecond more: last seen a millisecond within the TTL, and just outside.
const ONLINE = `
-   - - +  - - +
u   - - +  - - +
l   + + +  + + +
o   - - +  - - +
e   + + +  - - +
x   - - +  - - +
uo  - - +  - - +
ul  + + +  + + +
ox  - - +  - - +
oe  + + +  - - +
xe  + + +  - - +
el  + + +  + + +
`;

export const ONLINE_ROWS: readonly OnlineRow[] = ONLINE.trim()
  .split('\n')
  .flatMap((line) => {
    const [owners = '', ...cells] = line.split(/\s+/);
    return cells.map((cell, index) => ({
      name: `${owners} grace ${['none', 'ended', 'runs'][index % 3]}, seen ${index < 3 ? 'within the TTL' : 'before'}`,
      record: {
        owners: owners === '-' ? [] : owners.split(''),
        graceUntil: [0, NOW, NOW + 1][index % 3] as number,
        online: true,
        lastSeen: NOW - TTL_MS + (index < 3 ? 1 : 0),
      },
      leases: STANDING,
      isOnline: cell === '+',
    }));
  });
