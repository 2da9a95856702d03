import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { random } from '../random';
import { Excuses } from './excuses';
import { Plan } from './faults';
import { Judge } from './judge';
import { Leases } from './leases';
import type { Life } from './life';
import { GRACE_MS, LEASE_MS, SLACK_MS, userIdOf } from './protocol';
import { Holding, Truth } from './truth';

// What the chaos test itself notices, and what it excuses.

beforeEach(() => void vi.useFakeTimers({ now: Date.parse('2026-01-01T00:00:00Z'), toFake: ['Date'] }));
afterEach(() => void vi.useRealTimers());

const pass = (ms: number): void => void vi.setSystemTime(Date.now() + ms);

/** A judge of one router, to which all users are connected. */
function start() {
  const truth = new Truth(200);
  const excuses = new Excuses();
  const holding = new Holding(truth, random(1), { router: 0, routers: 1 }, 100);
  const life = { name: 'router', holding, leases: new Leases(), isOver: false, readyAt: 1 } as unknown as Life;
  const judge = new Judge(truth, excuses, () => [life]);
  const beat = (known = true): void => judge.onBeat(life, { known, sentAt: Date.now(), at: Date.now() });
  const other = { ...life, name: 'other', leases: new Leases() } as unknown as Life;
  const beatOther = (): void => judge.onBeat(other, { known: true, sentAt: Date.now(), at: Date.now() });
  const beatFor = (ms: number): void => {
    for (let passed = 0; passed < ms; passed += LEASE_MS / 3) {
      pass(LEASE_MS / 3);
      beat();
    }
  };
  beat(false);
  const batch = holding.draw(40);
  holding.acknowledge(batch, Date.now());
  holding.held(
    batch,
    batch.flatMap(({ operation: [does] }, place) => (does === 'open' ? [place] : [])),
  );
  const [user] = holding.users as unknown as Iterable<number>;
  const told = (status: 'online' | 'offline', of = user as number): void => {
    const timestamp = new Date().toISOString();
    judge.onChange({ userId: userIdOf(of), status, timestamp, version: 1, reason: 'timeout' });
  };
  const verdict = (): readonly string[] => {
    judge.settle();
    return judge.violations;
  };
  beatFor(LEASE_MS * 4);
  return { truth, excuses, holding, judge, life, beat, beatOther, beatFor, told, verdict, user: user as number };
}

describe('whom the store may have recorded as online', () => {
  it('is who is connected, who is about to be, and who has just left, but nobody who left long ago', () => {
    const { judge, truth, holding, user } = start();
    const id = userIdOf(user);
    expect(judge.recordedOnline.sort()).toEqual(truth.connected.map(userIdOf).sort());
    // What is sent is not acknowledged yet.
    const coming = holding.draw(1).map(({ operation: [, of] }) => userIdOf(of));
    expect(judge.recordedOnline).toEqual(expect.arrayContaining(coming));
    const all = holding.closeAll();
    expect(judge.recordedOnline).toContain(id);
    holding.acknowledge(all, Date.now());
    expect(judge.recordedOnline).toContain(id);
    pass(SLACK_MS * 10);
    expect(judge.recordedOnline).not.toContain(id);
  });
});

describe('a lease that lapses', () => {
  it('is wrong soon after it was granted', () => {
    const { judge, life, verdict } = start();
    judge.onBeat(life, { known: false, sentAt: Date.now(), at: Date.now() });
    judge.violations.length = 0;
    pass(71);
    judge.onBeat(life, { known: false, sentAt: Date.now(), at: Date.now() });
    expect(verdict()).toHaveLength(1);
  });

  // A new router was stopped before it had seen the answer to its first heartbeat.
  it('is right where it was granted long before the router saw that', () => {
    const { judge, life, verdict } = start();
    judge.onBeat(life, { known: false, sentAt: Date.now() - LEASE_MS * 2, at: Date.now() });
    judge.violations.length = 0;
    pass(71);
    judge.onBeat(life, { known: false, sentAt: Date.now(), at: Date.now() });
    expect(verdict()).toEqual([]);
  });
});

describe('offline of one who is connected', () => {
  it('is noticed', () => {
    const { told, verdict } = start();
    told('offline');
    expect(verdict()).toHaveLength(1);
  });

  it('is right where the lease had lapsed, as the router says later', () => {
    const { told, verdict, beat } = start();
    pass(LEASE_MS + 100);
    told('offline');
    pass(LEASE_MS);
    beat(false);
    expect(verdict()).toEqual([]);
  });

  it('is wrong where the lease was extended, as the router says later', () => {
    const { told, verdict, beat } = start();
    pass(LEASE_MS + 100);
    told('offline');
    beat(true);
    expect(verdict()).toHaveLength(1);
  });

  it('is excused where Redis has lost the user, until everything was found to agree', () => {
    const { told, verdict, excuses, user, beatFor } = start();
    const over = excuses.begin(['lost'], { users: new Set([userIdOf(user)]) });
    over();
    told('offline');
    expect(verdict()).toEqual([]);
    excuses.settle(Date.now());
    beatFor(SLACK_MS * 2);
    told('offline');
    expect(verdict()).toHaveLength(1);
  });
});

describe('a lease', () => {
  it('that was renewed in time is not lost', () => {
    const { verdict, beat } = start();
    pass(LEASE_MS / 2);
    beat(false);
    expect(verdict()).toHaveLength(1);
  });

  it('is lost where routers have to tell their users again', () => {
    const { verdict, beat, excuses } = start();
    excuses.begin(['doubtful'])();
    excuses.settle(Date.now());
    pass(LEASE_MS / 2);
    beat(false);
    expect(verdict()).toEqual([]);
  });

  it('is extended where Redis was away', () => {
    const { verdict, beat, excuses } = start();
    const over = excuses.begin(['unreachable']);
    pass(LEASE_MS * 2);
    over();
    beat(false);
    expect(verdict()).toHaveLength(1);
  });
});

describe('who has left', () => {
  const leave = (does: 'close' | 'drop', afterMs: number) => {
    const world = start();
    const { holding, truth, beatFor } = world;
    const all = holding.closeAll();
    const batch = all.map(({ operation: [, user], connection }) => ({ operation: [does, user] as const, connection }));
    holding.acknowledge(batch, Date.now());
    expect(truth.connected).toEqual([]);
    beatFor(afterMs);
    return world;
  };

  it('is not online for long', () => {
    const { told, verdict } = leave('close', 10_000);
    told('online');
    expect(verdict()).toHaveLength(1);
  });

  it('has a grace after a drop, and none after a close', () => {
    const dropped = leave('drop', GRACE_MS / 4);
    dropped.told('offline');
    expect(dropped.verdict()).toHaveLength(1);
    const closed = leave('close', GRACE_MS / 4);
    closed.told('offline');
    expect(closed.verdict()).toEqual([]);
  });
});

describe('a grace', () => {
  it('that another device has ended, of which Redis heard late, has ended', () => {
    const { holding, truth, told, verdict } = start();
    const all = holding.closeAll();
    const dropped = all.map(({ operation: [, user], connection }) => ({
      operation: ['drop', user] as const,
      connection,
    }));
    // It came and went just before, while the router could not reach Redis.
    truth.lateUntil.fill(Date.now());
    holding.acknowledge(dropped, Date.now());
    pass(GRACE_MS / 4);
    told('offline');
    expect(verdict()).toEqual([]);
  });
});

describe('a heartbeat that another router has got through', () => {
  it('proves that Redis was not away all the while', () => {
    const { verdict, beat, beatOther, excuses } = start();
    const over = excuses.begin(['unreachable']);
    pass(LEASE_MS / 2);
    beatOther();
    pass(LEASE_MS / 2 + 100);
    over();
    beat(false);
    expect(verdict()).toEqual([]);
  });
});

it('a third of the time is a share of all routers, and nothing counts twice', () => {
  const { excuses, holding } = start();
  const other = new Holding(new Truth(1), random(1), { router: 0, routers: 1 }, 1);
  const from = Date.now();
  const over = [excuses.begin(['deaf', 'unreachable'], { holding }), excuses.begin(['deaf'], { holding })];
  pass(300);
  for (const end of over) end();
  excuses.settle(Date.now());
  pass(600);
  const span = { from, to: Date.now() };
  expect(excuses.shareOf([{ ...span, holding }], 1)).toBeCloseTo(1 / 3, 6);
  expect(
    excuses.shareOf(
      [
        { ...span, holding },
        { ...span, holding: other },
      ],
      1,
    ),
  ).toBeCloseTo(1 / 6, 6);
});

it('three seeds in a row see every window, each in its own order', () => {
  const windowsOf = (seed: number): string[] => {
    const plan = new Plan(seed, 4, 100);
    return Array.from({ length: 8 }, () => JSON.stringify({ ...plan.window(), users: 0, router: 0, ms: 0, signal: 0 }));
  };
  const one = new Set([0, 1, 2].flatMap((seed) => windowsOf(seed)));
  const another = new Set([33, 34, 35].flatMap((seed) => windowsOf(seed)));
  expect(one.size).toBeGreaterThan(20);
  expect(another.size).toBeGreaterThan(20);
  expect(windowsOf(0)).toEqual(windowsOf(0));
  expect(windowsOf(0)).not.toEqual(windowsOf(33));
});
