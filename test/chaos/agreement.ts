import type { PresenceUpdate } from 'voiceping-presence';
import { until } from '../redis/wait';
import type { ChannelObserver } from './channel-observer';
import type { Excuses, Span } from './excuses';
import type { FaultyRedis } from './faulty-redis';
import { compareHistories } from './history';
import type { Life } from './life';
import { LEASE_MS, PING_MS, SLACK_MS, TTL_MS, userIdOf } from './protocol';
import type { Leaving, Truth } from './truth';

/** As long as the worst that happens to one router: its link is held, behind a Redis that hangs. */
const WORST_MS = 5_000 + LEASE_MS;
const MOST_FOUND = 10;

/** What there is to agree: what phones did, what every router says, what the channels said, and what Redis holds. */
export class Agreement {
  constructor(
    private readonly truth: Truth,
    private readonly excuses: Excuses,
    private readonly redis: FaultyRedis,
    private readonly channels: ChannelObserver,
    private readonly current: () => Life[],
  ) {}

  private get everybody(): string[] {
    return Array.from({ length: this.truth.users }, (_, user) => userIdOf(user));
  }

  /** Whatever does not agree with the truth: every router's answers, and Redis' own keys. */
  async differences(): Promise<string[]> {
    const found: string[] = [];
    const differ = (message: string): unknown => found.length < MOST_FOUND && found.push(message);
    const connected = new Set(this.truth.connected.map(userIdOf));

    const keys = await this.redis.keysOfUsers();
    for (const userId of connected) {
      const ttl = keys.get(userId);
      if (ttl === undefined) differ(`${userId} is online, and has no key`);
      else if (ttl <= 0 || ttl > TTL_MS) differ(`the key of ${userId} lives for ${ttl} ms`);
    }
    for (const userId of keys.keys()) if (!connected.has(userId)) differ(`${userId} is offline, and has a key`);

    const perRouter = await Promise.all(this.current().map((life) => this.differencesOf(life, connected)));
    for (const message of perRouter.flat()) differ(message);
    return found;
  }

  /** Last seen of each user who is offline: the end of the last connection, or up to a ping before it. */
  async wrongLastSeen(): Promise<string[]> {
    const found: string[] = [];
    for (const { name, process } of this.current()) {
      const statuses = await process.ask<'statuses'>({ kind: 'statuses', userIds: this.everybody }).answer;
      for (const [user, { userId, status, lastSeen }] of statuses.entries()) {
        const wrong = status === 'offline' ? this.wrong(user, lastSeen) : undefined;
        if (wrong !== undefined) found.push(`${name} says ${userId} was last seen ${lastSeen}: ${wrong}`);
      }
    }
    return found.slice(0, MOST_FOUND);
  }

  /** No change twice and none missing, of those that a router could receive. */
  compareHistory({ name, holding, observer, readyAt, process }: Life): {
    readonly wrong: string[];
    readonly compared: number;
    readonly heard: number;
  } {
    if (readyAt === 0) return { wrong: [], compared: 0, heard: 0 };
    const from = readyAt + SLACK_MS;
    // Its last changes may not have arrived here.
    const to = this.excuses.silentSince(holding, process.endedAt, SLACK_MS) - SLACK_MS;
    const deaf = this.excuses.spans(['deaf', 'lost'], holding);
    const unheard: Span[] = [...this.channels.deafSpans, ...this.excuses.spans(['forged'], holding)];
    const near = (at: number, span: Span): boolean => at > span.from - SLACK_MS && at < span.to + SLACK_MS;
    const heard = this.channels.history.filter(({ timestamp, reason }) => {
      const at = Date.parse(timestamp);
      return at > from && at < to && reason !== 'resync';
    });
    const { missing, invented, compared } = compareHistories(this.channels.history, observer.history, {
      tell: (at, userId) =>
        at > from &&
        at < to &&
        !deaf.some((span) => (span.users === undefined || span.users.has(userId)) && near(at, span)),
      say: (at) => !unheard.some((span) => near(at, span)),
    });
    const wrong = missing.slice(0, 3).map((update) => {
      const told = observer.history.filter(({ userId }) => userId === update.userId).slice(-4);
      return `${name} did not tell ${JSON.stringify(update)}; last it told ${JSON.stringify(told)}`;
    });
    for (const update of invented.slice(0, 3)) wrong.push(`${name} alone told ${JSON.stringify(update)}`);
    return { wrong, compared, heard: heard.length };
  }

  /** What happens makes exactly these users go offline, once each, for this reason; every router that lives tells so. */
  async changes(reason: string, users: readonly number[], happen: () => Promise<void>): Promise<string[]> {
    const routers = this.current().map((life) => ({ name: life.name, history: life.observer.history, life }));
    const sources = [{ name: 'the channels', history: this.channels.history, life: undefined }, ...routers];
    // A router may have yet to tell what was before.
    const before = this.channels.history.at(-1)?.version ?? 0;
    const toldBy = (history: readonly PresenceUpdate[]) => history.filter(({ version }) => version > before);
    await happen();
    const expected = users.map((user) => `${userIdOf(user)} offline ${reason}`).sort();
    const wrong: string[] = [];
    for (const { name, history, life } of sources) {
      if (life?.isOver === true) continue;
      const isAll = (): boolean => toldBy(history).length >= expected.length;
      await until('', isAll, LEASE_MS * 2 + SLACK_MS).catch(() => undefined);
      const told = toldBy(history).map((update) => `${update.userId} ${update.status} ${update.reason}`);
      const first = told.sort().find((line, index) => line !== expected[index]) ?? expected[told.length];
      if (first === undefined) continue;
      wrong.push(`${name} told ${told.length} of ${expected.length} changes (${reason}), and wrong is: ${first}`);
    }
    return wrong;
  }

  private async differencesOf({ name, process, observer }: Life, connected: Set<string>): Promise<string[]> {
    const found: string[] = [];
    const statusOf = (userId: string): string => (connected.has(userId) ? 'online' : 'offline');
    try {
      const statuses = await process.ask<'statuses'>({ kind: 'statuses', userIds: this.everybody }).answer;
      for (const { userId, status } of statuses) {
        if (status !== statusOf(userId)) found.push(`${name} says ${userId} is ${status}`);
        const last = observer.lastOf(userId)?.status ?? statusOf(userId);
        if (last !== statusOf(userId)) found.push(`${name} told last that ${userId} is ${last}`);
      }
      const { userIds, count } = await process.ask<'list'>({ kind: 'list' }).answer;
      if (count !== connected.size) found.push(`${name} counts ${count} online, and there are ${connected.size}`);
      const listed = new Set(userIds);
      if (listed.size !== userIds.length) found.push(`${name} lists ${userIds.length - listed.size} twice`);
      for (const userId of listed) if (!connected.has(userId)) found.push(`${name} lists ${userId}, who is offline`);
      for (const userId of connected) if (!listed.has(userId)) found.push(`${name} does not list ${userId}`);
    } catch (error) {
      found.push(`${name}: ${error}`);
    }
    return found;
  }

  private wrong(user: number, lastSeen: string | null): string | undefined {
    const leaving = this.truth.leavings[user];
    if (leaving === undefined) return lastSeen === null ? undefined : 'and never came';
    // A user who came and went before the store could be reached causes no event, and was not seen by the store.
    const known = this.truth.knownLeavings[user];
    if (known === undefined) return undefined;
    // Redis has lost it together with everything else, and no router was left to record it again.
    if (lastSeen === null) {
      return this.channels.lastOf(userIdOf(user)) === false ? `left at ${leaving.at}, and it was told` : undefined;
    }
    // Not where it died before it could.
    const wasSaid = known.how === 'close' && leaving.how !== 'lost' && this.wasWell(user, known);
    const earliest = known.begunAt - (wasSaid ? SLACK_MS : PING_MS * 2 + WORST_MS);
    const latest = leaving.at + (this.wasWell(user, leaving) ? SLACK_MS : WORST_MS);
    const seen = Date.parse(lastSeen);
    if (seen >= earliest && seen <= latest) return undefined;
    const shown = ({ how, at }: Leaving): string => `${how} at ${new Date(at).toISOString()}`;
    return `${shown(known)}, and ${shown(leaving)}`;
  }

  private wasWell(user: number, { at, how, holding }: Leaving): boolean {
    if (how === 'lost') return false;
    const span = { from: at - SLACK_MS, to: at + SLACK_MS };
    // While it registers its users under a new incarnation, a leave has the last seen of the last activity.
    return !this.excuses.has(['unreachable', 'lost', 'doubtful'], span, holding, userIdOf(user));
  }
}
