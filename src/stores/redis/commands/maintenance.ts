import type { Clock } from '../../../public/clock';
import type { OnAnswer, StoreNode } from '../../port';
import type { ChangeStream } from '../changes/change-stream';
import type { Incarnation, Incarnations } from '../incarnation';
import { type Keyspace, type Partition, WALK_BUCKETS, WALK_USERS } from '../keyspace';
import * as scripts from '../lua/scripts.generated';
import { mapBounded } from './bounded';
import { askPlaced, type Changed, type Script, tap } from './script';
import type { ScriptRunner } from './script-runner';

/** Graces that one call ends at most. */
const BEAT_GRACES = 500;
/** After so long one beat makes no further call; where more graces have ended, the next beat follows at once. */
const BEAT_MS = 200;
/** Calls of one walk through buckets that are under way at once. */
const WALK_CALLS = 16;
/** Dead routers that are taken away together. */
const REAPED = 64;

interface Beaten extends Changed {
  readonly known: boolean;
  readonly more: boolean;
  readonly dead: string[];
  readonly sweep: [first: number, count: number];
  readonly lost: number;
  readonly peers: string;
}

/** What reaps and sweeps answer. */
interface Walked extends Changed {
  readonly done: number;
  /** Users of whom a bucket and the presence key do not say the same. */
  readonly strays?: ReadonlyArray<readonly [bucket: number, userId: string]>;
}

/** Leases, and what becomes of those whose lease has lapsed: each router looks after all of them. @internal */
export class Maintenance {
  private readonly reaping = new Set<string>();
  /** Buckets that are being repaired. */
  private readonly repairing = new Set<string>();
  /** Of the router that beat last. */
  private leaseMs = 15_000;
  private ttlMs = Number.MAX_SAFE_INTEGER;

  constructor(
    private readonly keyspace: Keyspace,
    private readonly runner: ScriptRunner,
    private readonly incarnations: Incarnations,
    private readonly changeStream: ChangeStream,
    /** How long "last seen" of a user who is offline is remembered. */
    private readonly retentionMs: number,
    private readonly clock: Clock,
  ) {}

  async beat(node: StoreNode, onAnswer: OnAnswer): Promise<{ known: boolean; now: number }> {
    const beats = this.keyspace.partitions.map((partition) => this.beatOne(partition, node, onAnswer));
    const answers = await Promise.all(beats);
    for (const partition of this.keyspace.partitions) {
      const incarnation = this.incarnations.of(node, partition);
      incarnation.tellsIn = incarnation.unknownIn ?? incarnation.tellsIn;
      incarnation.unknownIn = undefined;
    }
    // Masters of a Cluster each have a clock of their own.
    return { known: answers.every(({ known }) => known), now: Math.min(...answers.map(({ now }) => now)) };
  }

  async release(node: StoreNode): Promise<void> {
    if (!this.incarnations.has(node)) return;
    await Promise.all(
      this.keyspace.partitions.map(async (partition) => {
        const { tag } = this.incarnations.of(node, partition);
        if (tag === '') return;
        const released = await this.runner.ask(partition, scripts.release, partition.keys.slice(0, 1), [tag]);
        if (released === '1') await this.reap(partition, [tag]);
      }),
    );
    this.incarnations.forget(node);
  }

  /** All users of this router were told since its lease was lost. */
  async registered(node: StoreNode): Promise<void> {
    if (!this.incarnations.has(node)) return;
    await Promise.all(
      this.keyspace.partitions.map(async (partition) => {
        const incarnation = this.incarnations.of(node, partition);
        const { tellsIn } = incarnation;
        if (tellsIn === undefined) return;
        // Should this fail, the next beat says so.
        incarnation.tellsIn = undefined;
        const args = [incarnation.name, tellsIn];
        await this.runner.ask(partition, scripts.registered, [partition.meta], args);
      }),
    );
  }

  /** What a query has found in buckets that are not those of the users. */
  clear(partition: Partition, strays: ReadonlyArray<readonly [bucket: number, userId: string]>): void {
    this.changeStream.inBackground('sweep', this.settleStrays(partition, strays));
  }

  /** Looks over a bucket at once in which a query has found something that is not ours. */
  repair(partition: Partition, bucket: number): void {
    const name = partition.bucketKey(bucket);
    if (this.repairing.has(name)) return;
    this.repairing.add(name);
    const done = (): void => {
      this.repairing.delete(name);
    };
    const sweep = this.sweep(partition, [bucket, 1]);
    sweep.then(done, done);
    this.changeStream.inBackground('sweep', sweep);
  }

  private async beatOne(
    partition: Partition,
    node: StoreNode,
    onAnswer: OnAnswer,
  ): Promise<{ known: boolean; now: number }> {
    const incarnation = this.incarnations.of(node, partition);
    return incarnation.alone('beat', async () => {
      // Sooner than the core gives up, so that it learns the reason.
      await this.runner.connected(node.leaseMs / 4, onAnswer);
      const startedAt = this.clock.now();
      let known = true;
      for (;;) {
        const answer = await tap(this.beatNow(partition, node, incarnation), onAnswer);
        known = known && answer.known;
        const beaten = { known, now: answer.now };
        if (!answer.more) return beaten;
        // More graces have ended than one call takes on. A router waits for its beat, and where each call takes long that
        // must not be for all of them.
        if (Math.abs(this.clock.now() - startedAt) >= BEAT_MS) {
          this.changeStream.tellDue(0);
          return beaten;
        }
      }
    });
  }

  private async beatNow(partition: Partition, node: StoreNode, incarnation: Incarnation): Promise<Beaten> {
    const { beaten } = partition;
    const { name = node.nodeId, address = null, version = '', upMs = 0 } = node.router ?? {};
    const answer = await this.runner.change<Beaten>(scripts.beat, partition, () => ({
      keys: [partition.routers],
      args: [
        incarnation.tag,
        incarnation.nextTag,
        String(Math.ceil(node.leaseMs)),
        `${incarnation.acknowledged}/${incarnation.sent}`,
        String(BEAT_GRACES),
        [beaten?.epoch, beaten?.seq, (incarnation.tellsIn ?? incarnation.unknownIn) ? 1 : 0, beaten?.peers].join('/'),
        JSON.stringify({ name, address, version }).slice(0, -1),
        String(upMs),
      ],
    }));
    partition.beaten = { epoch: answer.e, seq: answer.seq, peers: answer.peers };
    this.leaseMs = node.leaseMs;
    this.ttlMs = node.ttlMs;
    if (!answer.known) {
      if (incarnation.tag !== '') incarnation.unknownIn = answer.e;
      incarnation.advance();
    }
    this.changeStream.verifyLosses(partition, node, answer.lost);
    if (answer.dead.length > 0) this.changeStream.inBackground('reap', this.reap(partition, answer.dead));
    if (answer.sweep[1] > 0) this.changeStream.inBackground('sweep', this.sweep(partition, answer.sweep));
    return answer;
  }

  private async reap(partition: Partition, dead: readonly string[]): Promise<void> {
    const jobs = dead
      .map((tag) => ({ tag, name: `${partition.index} ${tag}` }))
      .filter(({ name }) => !this.reaping.has(name));
    for (const { name } of jobs) this.reaping.add(name);
    try {
      for (let from = 0; from < jobs.length; from += REAPED) {
        const tags = jobs.slice(from, from + REAPED).map(({ tag }) => tag);
        const args = (first: number, isLast: boolean) => [
          String(first),
          isLast ? '1' : '0',
          String(WALK_USERS),
          String(Math.ceil(this.ttlMs)),
          ...tags,
        ];
        const findSeen = (first: number, size: number) => this.findSeen(partition, first, size, tags);
        await this.walk(scripts.reap, partition, 0, partition.buckets, args, [partition.routers], findSeen);
      }
    } finally {
      for (const { name } of jobs) this.reaping.delete(name);
    }
  }

  /**
   * On a Cluster the presence keys lie in other slots than the records: what they know of the users of dead routers
   * is written down before these are told offline.
   */
  private async findSeen(partition: Partition, first: number, size: number, tags: readonly string[]): Promise<void> {
    const { ask, presenceKeys } = this.runner;
    if (presenceKeys === undefined) return;
    const answer = await askPlaced(ask, partition, scripts.held, () => ({
      keys: [partition.meta].concat(partition.slice(first, size)),
      args: [partition.seed, partition.knownEpoch, String(WALK_USERS), ...tags],
    }));
    const held: readonly string[] = JSON.parse(answer);
    const seen = await presenceKeys.get(held);
    const known: Array<readonly [string, number]> = [];
    for (const [index, userId] of held.entries())
      if (seen[index] !== undefined) known.push([userId, seen[index] as number]);
    await this.runner.writeSeen(partition, known);
  }

  private async sweep(partition: Partition, [first, count]: readonly [number, number]): Promise<void> {
    const args = (at: number) => [
      String(at),
      String(this.retentionMs),
      String(Math.ceil(this.leaseMs)),
      String(WALK_USERS),
    ];
    const end = Math.min(partition.buckets, first + count);
    await this.walk(scripts.sweep, partition, first, end, args);
    // Round the end.
    await this.walk(scripts.sweep, partition, 0, first + count - end, args);
  }

  /** Users of whom a bucket and the presence key, which says when they were seen, do not say the same. */
  async settleStrays(
    partition: Partition,
    strays: ReadonlyArray<readonly [bucket: number, userId: string, seen?: number | undefined]>,
  ): Promise<void> {
    await this.runner.change(scripts.stray, partition, () => {
      const keys = strays.map(([bucket]) => partition.bucketKey(bucket));
      const args = [String(strays.length), String(Math.ceil(this.leaseMs))];
      for (const [bucket, userId, seen = ''] of strays) {
        args.push(userId, partition.bucketOf(userId) === bucket ? '1' : '0', String(seen));
      }
      const presenceKeys = this.keyspace.isCluster ? [] : strays.map(([, userId]) => this.keyspace.userKey(userId));
      return { keys: keys.concat(presenceKeys), args };
    });
  }

  /** Calls a script until it has been through the buckets from `from` up to `end`, through several parts of them at once. */
  private async walk(
    script: Script,
    partition: Partition,
    from: number,
    end: number,
    argsOf: (first: number, isLast: boolean) => string[],
    /** Keys before the buckets. */
    fixed: readonly string[] = [],
    before?: (first: number, size: number) => Promise<void>,
  ): Promise<void> {
    let isOver = false;
    const walkTo = async (first: number, last: number): Promise<void> => {
      for (let at = first; at < last && !isOver && !this.runner.isClosed; ) {
        const size = last - at;
        await before?.(at, size);
        const call = { keys: fixed.concat(partition.slice(at, size)), args: argsOf(at, last === end) };
        const { done, strays = [] } = await this.runner.change<Walked>(script, partition, () => call);
        if (strays.length > 0) await this.settleStrays(partition, strays);
        if (done < 0) isOver = true;
        at += done;
      }
    };
    const firsts: number[] = [];
    for (let first = from; first < end; first += WALK_BUCKETS) firsts.push(first);
    const last = firsts.pop();
    if (last === undefined) return;
    await mapBounded(firsts, WALK_CALLS, (first) => walkTo(first, first + WALK_BUCKETS));
    // What is done once all is done goes with the last one.
    await walkTo(last, end);
  }
}
