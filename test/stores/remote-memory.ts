import type {
  PresenceOp,
  PresenceStore,
  PresenceUpdate,
  SignOfLife,
  StoredPage,
  StoredStatuses,
  StoreFeed,
  StoreNode,
} from 'voiceping-presence';
import { memoryStore } from 'voiceping-presence';
import type { FakeClock, StoreBackend } from 'voiceping-presence/testing';
import { onClock } from './clock-backend';

/** Changes that the log of the server keeps. */
const LOG_CHANGES = 1_000;

interface Change {
  readonly update: PresenceUpdate;
  readonly lastSeen: number;
}

/** A call, as it is made again to data that are set back. */
interface Call {
  readonly at: number;
  readonly run: (data: Data) => unknown;
}

/** What the server holds: a memory store, and what a server adds to it. */
class Data {
  readonly calls: Call[] = [];
  readonly log: Change[] = [];
  /** By incarnation of a router, how many of its applies were made. */
  readonly applied = new Map<string, number>();
  readonly store: PresenceStore;
  version: number;
  private replayedAt: number | undefined;

  constructor(
    readonly clock: FakeClock,
    public epoch: number,
    public base: number,
    private readonly tell: (epoch: number, change: Change | number) => void,
  ) {
    this.version = base;
    this.store = memoryStore({ now: () => this.replayedAt ?? clock.now() });
    this.store.subscribe({
      onTransition: (update, lastSeen) => {
        const change = { update: { ...update, version: update.version + this.base }, lastSeen };
        this.version = change.update.version;
        this.log.push(change);
        if (this.log.length > LOG_CHANGES) this.log.shift();
        if (this.replayedAt === undefined) this.tell(this.epoch, change);
      },
      onDue: (inMs) => this.tell(this.epoch, inMs),
      onGap: () => undefined,
      onLost: () => undefined,
      onError: () => undefined,
    });
  }

  async replay(calls: readonly Call[]): Promise<void> {
    for (const { at, run } of calls) {
      this.replayedAt = at;
      await run(this);
      await Promise.resolve();
    }
    this.replayedAt = undefined;
  }

  /** A router has seen a version. Data that were lost or set back continue above it, under a new epoch. */
  see(highest: number, nextEpoch: () => number): void {
    if (highest <= this.version) return;
    this.base += highest - this.version;
    this.version = highest;
    this.epoch = nextEpoch();
    this.log.length = 0;
  }
}

/** A server in this process: its data get lost or are set back, and what it tells does not always arrive. */
export class RemoteServer {
  private data: Data | undefined;
  private epochs = 0;
  readonly fronts = new Set<Front>();

  constructor(private readonly clock: FakeClock) {}

  async call<T>(highest: number, run: (data: Data) => T | Promise<T>): Promise<{ answer: T; data: Data }> {
    const data = await this.open();
    data.see(highest, () => this.nextEpoch());
    data.calls.push({ at: this.clock.now(), run });
    return { answer: await run(data), data };
  }

  lose(): void {
    this.data = undefined;
  }

  async setBack(): Promise<() => Promise<void>> {
    const { epoch, base, calls } = await this.open();
    const kept = calls.slice();
    return async () => {
      const older = new Data(this.clock, epoch, base, (...what) => this.tell(...what));
      await older.replay(kept);
      this.data = older;
    };
  }

  private async open(): Promise<Data> {
    if (this.data === undefined) this.data = new Data(this.clock, this.nextEpoch(), 0, (...what) => this.tell(...what));
    return this.data;
  }

  private nextEpoch(): number {
    this.epochs += 1;
    return this.epochs;
  }

  private tell(epoch: number, what: Change | number): void {
    for (const front of this.fronts) {
      if (front.isCut) continue;
      if (typeof what === 'number') front.tellDue(what);
      else front.hear(epoch, what);
    }
  }
}

/** A router as one store knows it. */
interface Incarnation {
  id: string;
  generation: number;
  applied: number;
}

/** The store of one router: calls the server, receives its messages, and detects missing ones. */
export class Front implements PresenceStore {
  isCut = false;
  private readonly feeds = new Map<StoreFeed, { readonly since: number }>();
  private readonly incarnations = new Map<string, Incarnation>();
  private epoch = 0;
  private heard = 0;
  private highest = 0;

  constructor(private readonly server: RemoteServer) {
    server.fronts.add(this);
  }

  async beat(node: StoreNode): Promise<{ known: boolean }> {
    const own = this.incarnationOf(node);
    const isOlder = own.applied > 0 && (await this.lacksWork(own));
    if (isOlder) this.renew(node, own);
    const { answer } = await this.ask((data) => data.store.beat({ ...node, nodeId: own.id }));
    if (!answer.known) own.applied = 0;
    return { known: answer.known && !isOlder };
  }

  async apply(node: StoreNode, ops: readonly PresenceOp[]): Promise<{ known: boolean }> {
    const { id, applied } = this.incarnationOf(node);
    const { answer } = await this.ask((data) => {
      if ((data.applied.get(id) ?? 0) < applied) return { known: false };
      const answer = data.store.apply({ ...node, nodeId: id }, ops);
      data.applied.set(id, applied + 1);
      return answer;
    });
    if (answer.known) this.incarnationOf(node).applied = applied + 1;
    return answer;
  }

  async refresh(node: StoreNode, signs: readonly SignOfLife[]): Promise<{ known: boolean; missing: string[] }> {
    const nodeId = this.incarnationOf(node).id;
    return (await this.ask((data) => data.store.refresh({ ...node, nodeId }, signs))).answer;
  }

  async release(node: StoreNode): Promise<void> {
    const own = this.incarnationOf(node);
    await this.ask((data) => data.store.release({ ...node, nodeId: own.id }));
    this.renew(node, own);
  }

  async read(userIds: readonly string[]): Promise<StoredStatuses> {
    const { answer, data } = await this.ask((data) => data.store.read(userIds));
    return { ...answer, users: answer.users.map((user) => ({ ...user, version: numbered(user.version, data) })) };
  }

  async list(page: { cursor: string | null; limit: number }): Promise<StoredPage> {
    const { answer, data } = await this.ask((data) => data.store.list(page));
    const users = answer.users.map((user) => ({ ...user, version: numbered(user.version, data) }));
    return { ...answer, users, sequence: { epoch: String(data.epoch), version: data.version, told: this.heard } };
  }

  async count(): Promise<number | undefined> {
    return (await this.ask((data) => data.store.count())).answer;
  }

  subscribe(feed: StoreFeed): () => void {
    this.feeds.set(feed, { since: this.heard });
    return () => {
      this.feeds.delete(feed);
    };
  }

  /** Asks how far the server is, after the way to it was cut. */
  async resume(): Promise<void> {
    await this.ask(() => undefined);
  }

  hear(epoch: number, change: Change): void {
    // The answer that brings the new epoch says how far it is.
    if (epoch !== this.epoch || change.update.version !== this.heard + 1) return;
    this.take(change);
  }

  tellDue(inMs: number): void {
    for (const feed of this.feeds.keys()) feed.onDue(inMs);
  }

  private async lacksWork({ id, applied }: Incarnation): Promise<boolean> {
    return (await this.ask((data) => (data.applied.get(id) ?? 0) < applied)).answer;
  }

  private async ask<T>(run: (data: Data) => T | Promise<T>): Promise<{ answer: T; data: Data }> {
    const result = await this.server.call(this.highest, run);
    this.learn(result.data);
    return result;
  }

  private learn(data: Data): void {
    this.highest = Math.max(this.highest, data.version);
    if (data.epoch !== this.epoch) {
      const isFirst = this.epoch === 0;
      this.epoch = data.epoch;
      this.heard = data.version;
      if (!isFirst) this.tellGap();
    } else if (data.version > this.heard) {
      this.catchUp(data);
    }
  }

  private catchUp({ log, version }: Data): void {
    const missed = log.filter(({ update }) => update.version > this.heard);
    if (missed.length === version - this.heard) {
      for (const change of missed) this.take(change);
    } else {
      this.heard = version;
      this.tellGap();
    }
  }

  private take(change: Change): void {
    this.heard = change.update.version;
    this.highest = Math.max(this.highest, this.heard);
    for (const [feed, { since }] of this.feeds) {
      if (change.update.version > since) feed.onTransition(change.update, change.lastSeen);
    }
  }

  private tellGap(): void {
    for (const feed of this.feeds.keys()) feed.onGap();
  }

  private incarnationOf({ nodeId }: StoreNode): Incarnation {
    const own = this.incarnations.get(nodeId) ?? { id: nodeId, generation: 0, applied: 0 };
    this.incarnations.set(nodeId, own);
    return own;
  }

  /** What it held under its old name goes when that lease lapses. */
  private renew({ nodeId }: StoreNode, own: Incarnation): void {
    own.generation += 1;
    own.id = `${nodeId}~${own.generation}`;
    own.applied = 0;
  }
}

function numbered(version: number, { base }: Data): number {
  return version === 0 ? 0 : version + base;
}

/** A backend with all hooks: each router has a store of its own. */
export function openRemote(clock: FakeClock): StoreBackend {
  const server = new RemoteServer(clock);
  return {
    ...onClock(clock, new Front(server)),
    store: () => new Front(server),
    lose: async () => server.lose(),
    setBack: () => server.setBack(),
    async cutFeed(store) {
      const front = store as Front;
      front.isCut = true;
      return async () => {
        front.isCut = false;
        await front.resume();
      };
    },
  };
}
