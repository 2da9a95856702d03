import { describe, expect, it } from 'vitest';
import { decide, isOnlineNow, judgeLease } from '../../src/stores/transitions';
import { CONTRADICTIONS, LEASE_ROWS, NOW, ONLINE_ROWS, ROWS } from './rule-table';

describe('decide', () => {
  it('is held to every state and every event', () => {
    expect([ROWS.length, CONTRADICTIONS.length]).toEqual([288, 270]);
  });

  it.each([...ROWS, ...CONTRADICTIONS])('$name', ({ before, event, after, reasons, seen, isIgnored }) => {
    const decision = decide(before, event, NOW);
    expect(decision.record).toEqual(after);
    expect(decision.transitions.map(({ reason }) => reason)).toEqual(reasons);
    expect(decision.transitions.map(({ lastSeen }) => lastSeen)).toEqual(seen);
    expect(decision.isIgnored).toBe(isIgnored);
    // They alternate, and end at the status that is kept.
    let { online } = before;
    for (const transition of decision.transitions) {
      expect(transition.online).toBe(!online);
      online = transition.online;
    }
    expect(online).toBe(decision.record.online);
  });

  it('changes nothing of what it is given', () => {
    for (const { before, event } of ROWS) {
      const frozen = Object.freeze({ ...before, owners: Object.freeze(before.owners.slice()) });
      decide(frozen, Object.freeze({ ...event }), NOW);
    }
  });
});

describe('judgeLease', () => {
  it.each(LEASE_ROWS)('$name', ({ lease, activeAt, verdict }) => {
    expect(judgeLease(lease, activeAt, NOW)).toBe(verdict);
  });
});

describe('isOnlineNow', () => {
  it('is held, with the leases, to some hundred rows more', () => {
    expect([LEASE_ROWS.length, ONLINE_ROWS.length]).toEqual([110, 72]);
  });

  it.each(ONLINE_ROWS)('$name', ({ record, leases, isOnline }) => {
    expect(isOnlineNow(record, (owner) => leases.get(owner), NOW)).toBe(isOnline);
  });
});
