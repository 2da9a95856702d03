import type { PresenceUpdate } from 'voiceping-presence';
import type { Random } from '../random';
import { sleep } from '../redis/wait';
import type { Effect, Excuses, Span } from './excuses';
import type { Life } from './life';
import { ASSERTED_MS, type Beat, GRACE_MS, HANDOVER_MS, LEASE_MS, SLACK_MS, TTL_MS, userIdOf } from './protocol';
import { RouterGone } from './router-process';
import type { Truth } from './truth';

/** By then a user who has left is offline, where the router could say so. */
const SAID_MS = Math.max(GRACE_MS, HANDOVER_MS, ASSERTED_MS) + SLACK_MS;
/** And where it could not: a lease, a heartbeat, and who was to take the dead router away may die, too; or its keys end. */
const UNSAID_MS = Math.min(LEASE_MS * 2 + SAID_MS, TTL_MS + SLACK_MS);
/** Timestamps are those of Redis. */
const CLOCKS_MS = 30;
/** Those of some leases. */
const MOST_HEARTBEATS = 2_000;
const ASKED_USERS = 400;
const ASK_EVERY_MS = 150;
/** Excuses by which queries may reject, since it is not known which users are offline. */
const REJECTS: readonly Effect[] = ['unreachable', 'doubtful'];
const BLINDS: readonly Effect[] = ['unreachable', 'lost'];

/** Something wrong, if any of these routers had its lease all that time. */
interface Suspicion extends Span {
  readonly holders: readonly Life[];
  readonly what: string;
}

/** What has to hold whatever happens, and while it does. */
export class Judge {
  readonly violations: string[] = [];
  readonly errors = new Map<string, number>();
  /** Statuses asked of whom the answer was known. */
  compared = 0;
  asked = 0;
  rejected = 0;
  /** Leases that lapsed. */
  lapses = 0;
  /** Nothing is wrong, and no failure is to be reported. */
  isCalm = false;
  private suspicions: Suspicion[] = [];
  /** When those of all routers were answered. */
  private readonly heartbeats: number[] = [];
  private readonly userOf = new Map<string, number>();

  constructor(
    private readonly truth: Truth,
    private readonly excuses: Excuses,
    /** The routers that there are now. */
    private readonly current: () => Life[],
  ) {
    for (let user = 0; user < truth.users; user += 1) this.userOf.set(userIdOf(user), user);
  }

  readonly fail = (message: string): void => {
    if (this.violations.length < 20) this.violations.push(message);
  };

  get isFine(): boolean {
    return this.violations.length === 0;
  }

  get userIds(): Iterable<string> {
    return this.userOf.keys();
  }

  /** Who was dropped so lately that the grace runs yet. */
  get leaving(): string[] {
    const since = Date.now() - HANDOVER_MS - SLACK_MS;
    return Array.from(this.userOf.keys()).filter(
      (id) => (this.truth.leavings[this.userOf.get(id) as number]?.at ?? 0) > since,
    );
  }

  /**
   * Whom the store may have recorded as online: who is connected, or about to be, and who has left so lately that the store may
   * not know. A router that dies takes with it the batch that would have said so.
   */
  get recordedOnline(): string[] {
    const present = Array.from(this.userOf).filter(([, user]) => this.truth.goneSince(user) === undefined);
    return present.map(([id]) => id).concat(this.leaving);
  }

  /** A change on the public channels. */
  onChange(update: PresenceUpdate): void {
    const { userId, status, reason } = update;
    const user = this.userOf.get(userId);
    if (user === undefined) {
      this.fail(`on the channels is nobody whom there is: ${JSON.stringify(update)}`);
      return;
    }
    const at = Date.parse(update.timestamp);
    if (status === 'online') {
      if (this.isGone(user, this.isBlind()))
        this.fail(`online on the channels is one who is gone: ${JSON.stringify(update)}`);
      return;
    }
    const span = { from: at, to: at };
    this.suspect(user, span, `offline on the channels is one who is connected: ${JSON.stringify(update)}`);
    const { at: leftAt = 0, how, heldSince = at, holding } = this.truth.leavings[user] ?? {};
    const isLast = this.truth.goneSince(user) === leftAt && how === 'drop';
    const isInGrace = isLast && heldSince < leftAt - SLACK_MS && at < leftAt + GRACE_MS - CLOCKS_MS;
    const hasReturned = (this.truth.openedAt[user] as number) > leftAt - SLACK_MS;
    // Of another device, on a router that reached Redis late: a join ends the grace, and with that device gone there is none.
    const hasJoinedLate = (this.truth.lateUntil[user] as number) > leftAt - CLOCKS_MS;
    if (
      !isInGrace ||
      hasReturned ||
      hasJoinedLate ||
      holding === undefined ||
      holding.isUnwell ||
      this.isLost(userId, span)
    )
      return;
    const holders = this.current().filter((life) => life.holding === holding);
    this.suspicions.push({ from: leftAt, to: at, holders, what: `offline (${reason}) within the grace: ${userId}` });
  }

  /** A router has published a change. */
  onUpdate(life: Life, { userId, status, reason }: PresenceUpdate): void {
    if (reason !== 'resync' || status !== 'offline') return;
    const now = Date.now();
    // What it found is what it read a moment ago.
    const span = { from: now - SLACK_MS, to: now };
    if (this.excuses.has(['deaf', 'unreachable'], span, life.holding, userId)) return;
    this.suspect(this.userOf.get(userId) as number, span, `${life.name} found ${userId} offline, who is connected`);
  }

  onBeat(life: Life, beat: Beat): void {
    this.heartbeats.push(beat.at);
    if (this.heartbeats.length > MOST_HEARTBEATS) this.heartbeats.shift();
    const renewedAt = life.leases.heard(beat);
    if (renewedAt === undefined) return;
    this.lapses += 1;
    const span = { from: renewedAt, to: beat.at };
    const gapMs = beat.at - renewedAt;
    // A Redis that another router has reached meanwhile was there: this one took too long to come back to it.
    const awayMs = Math.min(this.excuses.awayMs(span), this.silenceMs(span));
    const wasAway = awayMs > LEASE_MS / 2 + SLACK_MS / 2 && gapMs - awayMs < LEASE_MS / 2;
    if ((gapMs > LEASE_MS && !wasAway) || this.excuses.has(['doubtful'], span, life.holding)) return;
    this.fail(`${life.name} lost a lease that it had renewed ${gapMs} ms before, of which Redis was away ${awayMs} ms`);
  }

  onError(life: Life, stage: string, message: string): void {
    this.errors.set(stage, (this.errors.get(stage) ?? 0) + 1);
    if (this.isCalm) this.fail(`${life.name} when nothing was wrong: ${message}`);
  }

  /** All along, some routers are asked about some users. */
  async askAllAlong(dice: Random, isOver: () => boolean): Promise<void> {
    while (!isOver() && this.isFine) {
      const pause = sleep(ASK_EVERY_MS);
      const life = dice.pick(this.current());
      const users = Array.from({ length: ASKED_USERS }, () => dice.below(this.truth.users));
      if (life.readyAt > 0) await this.ask(life, users);
      await pause;
    }
  }

  /** What looked wrong is, if it was not for a lease that had lapsed: by now the routers have said so. */
  settle(): void {
    for (const { from, to, holders, what } of this.suspicions) {
      const holder = holders.find(({ leases }) => leases.held({ from, to }));
      if (holder !== undefined) this.fail(`${what}, at ${holder.name}`);
    }
    this.suspicions = [];
  }

  private async ask(life: Life, users: readonly number[]): Promise<void> {
    const from = Date.now();
    const isBlind = this.isBlind();
    const holders = users.map((user) => this.holdersOf(user, from));
    const gone = users.map((user) => this.isGone(user, isBlind));
    try {
      const statuses = await life.process.ask<'statuses'>({ kind: 'statuses', userIds: users.map(userIdOf) }).answer;
      this.asked += 1;
      const span = { from, to: Date.now() };
      const isBlindNow = this.isBlind();
      for (const [index, { status, userId }] of statuses.entries()) {
        const user = users[index] as number;
        if (gone[index] === true && this.isGone(user, isBlindNow)) {
          this.compared += 1;
          if (status === 'online') this.fail(`${life.name} says ${userId} is online, who is gone`);
        }
        if (this.isLost(userId, span)) continue;
        const steady = (holders[index] as Life[]).filter((one) => this.holdersOf(user, from).includes(one));
        if (steady.length > 0) this.compared += 1;
        if (steady.length === 0 || status === 'online') continue;
        this.suspicions.push({
          ...span,
          holders: steady,
          what: `${life.name} says ${userId} is offline, who is connected`,
        });
      }
    } catch (error) {
      if (error instanceof RouterGone || life.isOver) return;
      this.rejected += 1;
      if (!this.excuses.has(REJECTS, { from, to: Date.now() }, life.holding)) {
        this.fail(`${life.name} did not answer, and nothing was wrong: ${(error as Error).message}`);
      }
    }
  }

  /** The longest time in which no router had an answer to a heartbeat. */
  private silenceMs({ from, to }: Span): number {
    let [last, longest] = [from, 0];
    for (const at of this.heartbeats) {
      if (at <= from || at > to) continue;
      longest = Math.max(longest, at - last);
      last = at;
    }
    return Math.max(longest, to - last);
  }

  private suspect(user: number, span: Span, what: string): void {
    if (this.isLost(userIdOf(user), span)) return;
    const holders = this.holdersOf(user, span.from);
    if (holders.length > 0) this.suspicions.push({ ...span, holders, what });
  }

  /** At which routers the store has held a connection for a while by then, that still is there. */
  private holdersOf(user: number, at: number): Life[] {
    return this.current().filter(({ holding }) => (holding.steadySince(user) ?? at) < at - SLACK_MS);
  }

  /** Nobody has had a connection for so long that a grace is over, or a dead router's lease. */
  private isGone(user: number, isBlind: boolean): boolean {
    const gone = this.truth.goneSince(user);
    const now = Date.now();
    if (isBlind || gone === undefined || gone > now - SAID_MS) return false;
    // Who comes and goes at one stroke is gone before the router has said so.
    if ((this.truth.openedAt[user] as number) > now - SAID_MS) return false;
    if ((this.truth.unsaidAt[user] as number) > now - UNSAID_MS) return false;
    return !this.isLost(userIdOf(user), { from: now - SLACK_MS, to: now });
  }

  /** Whether what befell Redis keeps it from knowing who is gone. */
  private isBlind(): boolean {
    const now = Date.now();
    return this.excuses.has(BLINDS, { from: now - SLACK_MS, to: now });
  }

  private isLost(userId: string, { from, to }: Span): boolean {
    return this.excuses.has(['lost'], { from: from - SLACK_MS, to }, undefined, userId);
  }
}
