import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  decide,
  judgeLease,
  NEVER_SEEN,
  type Transition,
  type UserEvent,
  type UserRecord,
} from '../../src/stores/transitions';
import { type Random, random } from '../random';
import { RedisServer } from '../redis/server';
import { CONTRADICTIONS, LEASE_ROWS, NOW, ROWS, type Row } from './rule-table';

// The rule as Redis runs it, beside the one in TypeScript.

/** The rule, after the functions of Lua that meta.lua names for all scripts. */
const RULE = `local find, sub, max = string.find, string.sub, math.max
${readFileSync(new URL('../../src/stores/redis/lua/decide.lua', import.meta.url), 'utf8')}`;

/** Five arguments an event: time, kind, owner, time of the activity, and the record, which is empty for the one just decided. */
const DECIDE = `${RULE}
local online, grace, owners, seen
local out = {}
for i = 1, #ARGV, 5 do
  local record = ARGV[i + 4]
  if record ~= '' then
    local flag, till, who, last = string.match(record, '^(%d) (%d+) (%S+) (%-?%d+)$')
    online, grace, owners, seen = flag == '1', tonumber(till), who, tonumber(last)
  end
  local now, heard = tonumber(ARGV[i]), tonumber(ARGV[i + 3])
  local settled, reason, isIgnored
  online, grace, owners, seen, settled, reason, isIgnored = decide(online, grace, owners, seen, ARGV[i + 1], ARGV[i + 2], heard, now)
  out[#out + 1] = string.format('%d %d %s %d %s %s %d', online and 1 or 0, grace, owners, seen, settled or '-', reason or '-', isIgnored and 1 or 0)
end
return out`;

const JUDGE = `${RULE}
local out = {}
for i = 1, #ARGV, 5 do
  out[#out + 1] = judgeLease(tonumber(ARGV[i]), tonumber(ARGV[i + 1]), ARGV[i + 2] == '1', tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]))
end
return out`;

let server: RedisServer;
let redis: Redis;
beforeAll(async () => {
  server = await RedisServer.start();
  redis = new Redis({ port: server.port });
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

function kindOf(event: UserEvent): string {
  if (event.kind === 'join') return event.reassert ? 'r' : 'j';
  if (event.kind === 'leave') return event.reason === 'disconnect' ? 'l' : 't';
  if (event.kind === 'drop') return String(event.graceMs);
  return event.kind === 'activity' ? 'a' : event.kind;
}

// Nobody was seen before the time began.
const textOf = ({ online, graceUntil, owners, lastSeen }: UserRecord): string =>
  `${online ? 1 : 0} ${graceUntil} ,${owners.map((owner) => `${owner},`).join('')} ${lastSeen ?? -1}`;

function argsOf(event: UserEvent, now: number, before?: UserRecord): string[] {
  const owner = 'owner' in event ? event.owner : '';
  const heard = 'ageMs' in event ? now - event.ageMs : 0;
  return [String(now), kindOf(event), owner, String(heard), before === undefined ? '' : textOf(before)];
}

/** What one decision is in the answer of the script. For a single change it says which of the two made it. */
function answerOf(record: UserRecord, settled: string | undefined, reason: string | undefined, isIgnored: boolean) {
  return `${textOf(record)} ${settled ?? '-'} ${reason ?? '-'} ${isIgnored ? 1 : 0}`;
}

/** Which changes time alone has made. */
function divided(before: UserRecord, transitions: readonly Transition[], now: number): Array<string | undefined> {
  const isOnline = before.owners.length > 0 || before.graceUntil > now;
  const reasons = transitions.map(({ reason }) => reason);
  return isOnline === before.online ? [undefined, reasons[0]] : reasons;
}

describe('the rule in Lua', () => {
  it('is held to the table', async () => {
    const rows: readonly Row[] = [...ROWS, ...CONTRADICTIONS];
    const args = rows.flatMap(({ before, event }) => argsOf(event, NOW, before));
    const answers = (await redis.eval(DECIDE, 0, ...args)) as string[];
    const expected = rows.map(({ before, after, reasons, isIgnored }) => {
      const isOnline = before.owners.length > 0 || before.graceUntil > NOW;
      const [settled, reason] = isOnline === before.online ? [undefined, reasons[0]] : reasons;
      return answerOf(after, settled, reason, isIgnored);
    });
    const label = (texts: readonly string[]) => texts.map((text, index) => `${rows[index]?.name}: ${text}`);
    expect(label(answers)).toEqual(label(expected));
    expect(answers.length).toBe(558);
  });

  it('judges leases by the table', async () => {
    const args = LEASE_ROWS.flatMap(({ lease, activeAt }) =>
      [lease.leaseMs, lease.endsAt, lease.extendedOnce ? 1 : 0, activeAt, NOW].map(String),
    );
    const answers = (await redis.eval(JUDGE, 0, ...args)) as string[];
    const label = (texts: readonly string[]) => texts.map((text, index) => `${LEASE_ROWS[index]?.name}: ${text}`);
    expect(label(answers)).toEqual(label(LEASE_ROWS.map(({ verdict }) => verdict)));
    expect(answers.length).toBe(110);
  });
});

const EVENTS = Number(process.env['RULE_EVENTS'] ?? 50_000);
const BATCH = 1_000;

function randomEvent(draw: Random): UserEvent {
  const owner = draw.pick(['a', 'b~1', 'b~2', 'c']);
  // Most are recent; some are from long ago.
  const ageMs = draw.chance(0.8) ? draw.below(2_000) : draw.below(600_000);
  const kind = draw.pick(['join', 'join', 'join', 'leave', 'drop', 'drop', 'activity', 'dead', 'due'] as const);
  switch (kind) {
    case 'join':
      return { kind, owner, ageMs, reassert: draw.chance(0.3) };
    case 'leave':
      return { kind, owner, ageMs, reason: draw.pick(['disconnect', 'timeout']) };
    case 'drop':
      return { kind, owner, ageMs, graceMs: draw.pick([0, 1, 500, 8_000, 3_600_000]) };
    case 'activity':
      return { kind, owner, ageMs };
    case 'dead':
      return { kind, owner };
    case 'due':
      return { kind };
  }
}

/** Ways in which a record may be wrong after another program has written it. */
function tampered(draw: Random, record: UserRecord): UserRecord {
  return draw.pick([
    { ...record, online: !record.online },
    { ...record, graceUntil: 0 },
    { ...record, owners: [] },
    { ...record, owners: ['c'], graceUntil: record.graceUntil + 1 },
  ]);
}

describe('the rule in both languages', () => {
  it(`is one, for ${EVENTS} random events`, async () => {
    const draw = random();
    console.info(`random events: SEED=${draw.seed}`);
    const seen: { [what: string]: number } = {};
    let compared = 0;
    let now = NOW;
    while (compared < EVENTS) {
      let record: UserRecord = NEVER_SEEN;
      const args: string[] = [];
      const expected: string[] = [];
      for (let count = 0; count < BATCH; count += 1) {
        now += draw.chance(0.1) ? draw.below(20_000) : draw.below(600);
        // The very millisecond in which a grace ends is the one to look at.
        if (record.graceUntil > now && draw.chance(0.2)) now = record.graceUntil - 1 + draw.below(3);
        const isTampered = draw.chance(0.02);
        const before: UserRecord = isTampered ? tampered(draw, record) : record;
        const event = randomEvent(draw);
        const decision = decide(before, event, now);
        const [settled, reason] = divided(before, decision.transitions, now);
        // Otherwise each continues from its own last decision.
        args.push(...argsOf(event, now, isTampered || count === 0 ? before : undefined));
        expected.push(answerOf(decision.record, settled, reason, decision.isIgnored));
        for (const what of [settled && `settled ${settled}`, reason, decision.isIgnored && 'ignored']) {
          if (what) seen[what] = (seen[what] ?? 0) + 1;
        }
        record = decision.record;
      }
      const answers = (await redis.eval(DECIDE, 0, ...args)) as string[];
      expect(answers).toEqual(expected);
      compared += answers.length;
    }
    expect(compared).toBeGreaterThanOrEqual(EVENTS);
    // All that may happen has happened, and often.
    const least = EVENTS / 2_000;
    for (const what of [
      'connect',
      'resync',
      'disconnect',
      'timeout',
      'node-down',
      'settled timeout',
      'settled resync',
      'ignored',
    ]) {
      expect(seen[what], what).toBeGreaterThan(least);
    }
  });

  it('judges twenty thousand random leases alike', async () => {
    const draw = random();
    for (let batch = 0; batch < 20; batch += 1) {
      const rows = Array.from({ length: 1_000 }, () => {
        const leaseMs = 1_000 + draw.below(60_000);
        const activeAt = NOW - draw.pick([0, draw.below(leaseMs), Math.floor(leaseMs / 2), draw.below(leaseMs * 4)]);
        const endsAt = draw.pick([NOW, activeAt, NOW - leaseMs + draw.below(leaseMs * 2)]) + draw.below(3) - 1;
        return { lease: { leaseMs, ttlMs: 1, endsAt, extendedOnce: draw.chance(0.3) }, activeAt };
      });
      const args = rows.flatMap(({ lease, activeAt }) =>
        [lease.leaseMs, lease.endsAt, lease.extendedOnce ? 1 : 0, activeAt, NOW].map(String),
      );
      const answers = await redis.eval(JUDGE, 0, ...args);
      expect(answers).toEqual(rows.map(({ lease, activeAt }) => judgeLease(lease, activeAt, NOW)));
    }
  });
});
