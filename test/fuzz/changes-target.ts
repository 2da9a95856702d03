import { vi } from 'vitest';
import { ChangeReceiver } from '../../src/stores/change-receiver';
import { parseMessage, toBatch } from '../../src/stores/redis/changes/message-codec';
import type { Random } from '../random';
import { EPOCH, HONEST, hostileText, publishedMessage } from './mutate';
import { guarded, isId, isStatus, isTime, type Target, Violations } from './target';

const REASONS = ['connect', 'disconnect', 'timeout', 'node-down', 'resync'];
const HONEST_EVERY_MS = 1_000;
/** As answers to heartbeats come. */
const HEARTBEAT_MS = 5_000;
/** By then everything that was forged is found. */
const LEASES_MS = 30_000;
/** And by then nobody is distrusted any more. */
const AFTERWARDS_MS = 90_000;

/** What a Redis store hears from other routers, and somebody else who publishes there. On vitest's own fake clock. */
export function changesTarget(dice: Random): Target {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  const violations = new Violations();
  const counts = { accepted: 0, refused: 0, ignored: 0 };
  const truth = new Map<string, string>();
  let told = new Map<string, string>();
  let gaps = 0;
  let errors = 0;
  /** The honest messages, each of one change. */
  const log: Array<{ version: number; text: string }> = [];
  const last = (): number => log[log.length - 1]?.version ?? 0;

  const hearing = new ChangeReceiver({
    readHead: async () => ({ epoch: EPOCH, version: last() }),
    async readLog(from, most) {
      const start = log.findIndex(({ version }) => version >= from);
      return start < 0 ? [] : log.slice(start, start + most).map(({ text }) => toBatch(text));
    },
    tell({ changes }) {
      for (const { update } of changes) told.set(update.userId, update.status);
    },
    // Everything is read anew.
    onGap() {
      gaps += 1;
      told = new Map(truth);
    },
    onAnew: () => undefined,
    onDeaf: () => undefined,
    onError() {
      errors += 1;
    },
  });

  function hear(text: string): boolean {
    const message = parseMessage(text);
    if (message === undefined) return false;
    if ('buckets' in message) {
      const areCounts = [message.times, ...message.buckets].every((count) => Number.isSafeInteger(count) && count >= 0);
      violations.check(areCounts, 'a loss of buckets that are none', text);
      return true;
    }
    const { first, changes } = message;
    violations.check(first > 0 && Number.isSafeInteger(first + changes.length), 'a version that is none', text);
    for (const { update, lastSeen } of changes) {
      violations.check(isId(update.userId), 'a change of a user whose id is none', text);
      violations.check(isStatus(update.status) && isTime(update.timestamp), 'a change that is none', text);
      violations.check(REASONS.includes(update.reason), 'a change with a reason that is none', text);
      violations.check(Number.isSafeInteger(lastSeen) && lastSeen >= 0, 'a change whose lastSeen is no time', text);
    }
    hearing.hear(message);
    return true;
  }

  /** As a router does it: under the next number, into the log, and to all. */
  async function publish(): Promise<void> {
    const userId = dice.pick(HONEST);
    const isOnline = truth.get(userId) !== 'online';
    truth.set(userId, isOnline ? 'online' : 'offline');
    const version = Math.max(last(), hearing.highestVersion) + 1;
    const change = isOnline ? [userId, 1, Date.now(), 'connect'] : [userId, 0, Date.now(), 'disconnect'];
    log.push({ version, text: JSON.stringify({ e: EPOCH, n: version, t: Date.now(), u: [change] }) });
    hear(log[log.length - 1]?.text ?? '');
    await pass(HONEST_EVERY_MS);
  }

  async function pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= HEARTBEAT_MS) {
      hearing.learn(EPOCH, last());
      await vi.advanceTimersByTimeAsync(Math.min(left, HEARTBEAT_MS));
    }
  }

  /**
   * Nobody says anything for a while, honest or not: what was forged is found all the same. So is a single forgery, once
   * messages are believed again, that bears the very number that comes next.
   */
  async function leaveAlone(): Promise<void> {
    for (const lies of [[], [...truth.keys()].slice(0, 1)]) {
      for (const userId of lies) {
        const change = truth.get(userId) === 'online' ? [userId, 0, 1, 'timeout'] : [userId, 1, 1, 'connect'];
        hear(JSON.stringify({ e: EPOCH, n: last() + 1, t: Date.now(), u: [change] }));
      }
      await pass(LEASES_MS);
      violations.check(wrong().length === 0, 'users told wrong for longer than two leases', wrong());
      await pass(AFTERWARDS_MS);
    }
  }

  const wrong = (): string[] => HONEST.filter((userId) => told.get(userId) !== truth.get(userId));

  return {
    counts,
    floors: { accepted: 20, refused: 0, ignored: 100 },
    async feed(frames) {
      for (let frame = 0; frame < frames; frame += 1) {
        const text = hostileText(dice, publishedMessage(dice, last() + dice.below(4), Date.now())).toString();
        if (guarded('the receiver of changes', text, () => hear(text))) counts.accepted += 1;
        else counts.ignored += 1;
      }
      if (dice.chance(0.2)) await leaveAlone();
      await publish();
    },
    async check() {
      await leaveAlone();
      // The number of what was forged is left out, which is one gap more.
      await publish();
      gaps = 0;
      for (let times = 0; times < 20; times += 1) await publish();
      violations.check(wrong().length === 0, 'users told wrong later', wrong());
      violations.check(gaps === 0, 'everything read anew, though nothing was missed', gaps);
      violations.check(errors === 0, 'questions that could not be asked', errors);
      hearing.close();
      vi.useRealTimers();
      return violations.list();
    },
  };
}
