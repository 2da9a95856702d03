import { checkedClock, checkFunctions } from '../../config/validation';
import type { Clock } from '../../public/clock';
import { checkNames } from '../../public/errors';
import type { ChangeLog, OnAnswer, PresenceOp, PresenceStore, StoreFeed, StoreNode } from '../port';
import type { ForkClient } from './fork-keys';
import { ForkMessages } from './fork-messages';
import { ForkUsers } from './fork-users';
import { OwnUsers } from './own-users';

export type { ForkClient } from './fork-keys';

/**
 * A store for a rolling upgrade, forwards or back, in which routers of the VoicePing fork (an earlier implementation of
 * presence inside that router) and of this library run on one Redis. It wraps a `redisStore` with its default prefix:
 *
 * - users of the fork go online and offline here too, once each, as if one more router of this library held them
 * - the fork can answer for users of this library: their keys exist, and so do the hashes that the fork reads
 * - where the fork marks a user as offline who is connected here, the key is restored, and the fork's dashboards are corrected
 *
 * Remove it once the last router of the fork is gone. Then `DEL presence:fork`.
 *
 * @param client - an ioredis `Redis` of the same server and database; the caller closes it
 * @param options - `clock`: the source of time, for tests
 *
 * @example
 * const client = new Redis({ host: '127.0.0.1' });
 * const presence = createPresence({ store: besideFork(redisStore({ client }), client), wire: 'router' });
 */
export function besideFork(store: PresenceStore, client: ForkClient, options: { clock?: Clock } = {}): PresenceStore {
  checkFunctions('store', store, ['beat', 'apply', 'subscribe'], 'it is what redisStore gives');
  checkFunctions('client', client, ['publish', 'scan', 'sscan', 'pipeline', 'duplicate'], 'it is an ioredis Redis');
  checkNames(options, ['clock']);
  return new BesideFork(store, client, checkedClock(options.clock));
}

class BesideFork implements PresenceStore {
  /** The users of the fork are users of the store, too, so that their changes are in its log. */
  declare readonly log?: ChangeLog;
  private readonly feeds = new Set<StoreFeed>();
  /** For each router of this process, its latest call of `apply`. */
  private readonly calls = new Map<string, object>();
  private readonly users: ForkUsers;
  private readonly own: OwnUsers;
  private readonly messages: ForkMessages;
  /** Whether the keys have to be scanned, since something may have been missed. */
  private isStale = true;
  /** When it was last checked whether keys have expired. */
  private checkedAt = 0;

  constructor(
    private readonly store: PresenceStore,
    client: ForkClient,
    private readonly clock: Clock,
  ) {
    const onMissed = (): void => {
      this.isStale = true;
    };
    const onError = (error: unknown): void => this.report(error);
    const onLost: StoreFeed['onLost'] = (isLost) => {
      for (const feed of this.feeds) feed.onLost(isLost);
    };
    if (store.log !== undefined) this.log = store.log;
    this.users = new ForkUsers({ store, client, onMissed, onError });
    this.own = new OwnUsers({ client, clock, onLost, onMissed });
    this.messages = new ForkMessages({ client, clock, users: this.users, own: this.own, onMissed, onError });
  }

  async beat(node: StoreNode, onAnswer?: OnAnswer): ReturnType<PresenceStore['beat']> {
    this.users.attach(node);
    const answer = await this.store.beat(node, onAnswer);
    const bridge = this.users.bridgeOf(node.nodeId);
    if (bridge !== undefined) this.inBackground(this.beatBridge(bridge));
    return answer;
  }

  async apply(node: StoreNode, ops: readonly PresenceOp[], onAnswer?: OnAnswer): Promise<{ known: boolean }> {
    const call = {};
    this.calls.set(node.nodeId, call);
    await this.users.holdMoved(ops);
    // The router's call has timed out and a later one was sent, so these operations may be out of date.
    if (this.calls.get(node.nodeId) !== call) throw new Error('a later call has overtaken this one');
    const answer = await this.store.apply(node, ops, onAnswer);
    this.own.apply(node.nodeId, ops, (userId) => this.messages.hasLeft(userId));
    this.messages.verify();
    this.inBackground(this.own.writeMeta(ops));
    return answer;
  }

  async release(node: StoreNode): Promise<void> {
    this.own.release(node.nodeId);
    this.calls.delete(node.nodeId);
    if (this.users.bridgeOf(node.nodeId) !== undefined) {
      this.users.detach();
      this.isStale = true;
    }
    await this.store.release(node);
  }

  readonly refresh: PresenceStore['refresh'] = (node, signs, onAnswer) => this.store.refresh(node, signs, onAnswer);
  readonly read: PresenceStore['read'] = (...asked) => this.store.read(...asked);
  readonly list: PresenceStore['list'] = (page, onAnswer) => this.store.list(page, onAnswer);
  readonly count: PresenceStore['count'] = (onAnswer) => this.store.count(onAnswer);
  readonly caughtUp: NonNullable<PresenceStore['caughtUp']> = async () => this.store.caughtUp?.();
  readonly registered: NonNullable<PresenceStore['registered']> = async (node) => this.store.registered?.(node);
  readonly problems: NonNullable<PresenceStore['problems']> = () => this.store.problems?.() ?? [];
  readonly describe: NonNullable<PresenceStore['describe']> = () =>
    `${this.store.describe?.() ?? 'a store'}, beside the fork`;

  subscribe(feed: StoreFeed): () => void {
    const unsubscribe = this.store.subscribe(feed);
    this.feeds.add(feed);
    this.messages.start();
    return () => {
      this.feeds.delete(feed);
      if (this.feeds.size === 0) this.messages.stop();
      unsubscribe();
    };
  }

  private async beatBridge(node: StoreNode): Promise<void> {
    if (!(await this.users.beat(node))) return;
    this.messages.verify();
    const now = this.clock.now();
    if (!this.isStale && Math.abs(now - this.checkedAt) < node.leaseMs) return;
    this.checkedAt = now;
    if (this.isStale) {
      this.isStale = false;
      await Promise.all([this.users.find(), this.findContradicted()]).catch((error) => {
        this.isStale = true;
        throw error;
      });
    }
    await this.users.releaseExpired();
  }

  private async findContradicted(): Promise<void> {
    await this.own.findContradicted();
    this.messages.verify();
  }

  private inBackground(work: Promise<unknown>): void {
    work.catch((error) => this.report(error));
  }

  private report(error: unknown): void {
    for (const feed of this.feeds) feed.onError('fork', error);
  }
}
