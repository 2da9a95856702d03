import type { Clock } from '../../../public/clock';
import type { LogOptions } from '../../log-options';
import type { OnAnswer, StoreNode } from '../../port';
import type { ChangeStream } from '../changes/change-stream';
import type { Incarnation, Incarnations } from '../incarnation';
import type { Keyspace, Partition } from '../keyspace';
import * as scripts from '../lua/scripts.generated';
import { type InBucket, Reaper } from './reaper';
import { type Changed, tap } from './script';
import type { ScriptRunner } from './script-runner';
import { Sweeper } from './sweeper';

/** The most graces that one call ends. */
const BEAT_GRACES = 500;
/** A thousand years: a script takes no infinite time. */
const MOST_LOG_MS = 31_536_000_000_000;
/** After so long, a beat makes no further call. Where more graces have ended, the next beat follows at once. */
const BEAT_MS = 200;

interface Beaten extends Changed {
  readonly known: boolean;
  /** Users whose grace has ended. */
  readonly due: readonly InBucket[];
  /** Whether there are more of them. */
  readonly more: boolean;
  readonly dead: string[];
  readonly sweep: [first: number, count: number, turn: number];
  readonly lost: number;
  /** How many changes the log keeps, and how long. */
  readonly log: [changes: number, ms: number];
  readonly peers: string;
}

/** Renews leases, and ends those that have lapsed. Every router does so for all routers. @internal */
export class Maintenance {
  readonly sweeper: Sweeper;
  private readonly reaper: Reaper;
  /** The lease and the TTL of the router that beat last. */
  private leaseMs = 15_000;
  private ttlMs = Number.MAX_SAFE_INTEGER;
  /** Whether it was reported that routers disagree on the log. */
  private hasWarned = false;

  constructor(
    private readonly keyspace: Keyspace,
    private readonly runner: ScriptRunner,
    private readonly incarnations: Incarnations,
    private readonly changeStream: ChangeStream,
    /** How long "last seen" of a user who is offline is remembered, and how much of the changes. */
    private readonly keeps: LogOptions & { readonly retentionMs: number },
    private readonly clock: Clock,
  ) {
    this.reaper = new Reaper(keyspace, runner);
    this.sweeper = new Sweeper({
      keyspace,
      runner,
      changeStream,
      retentionMs: keeps.retentionMs,
      leaseMs: () => this.leaseMs,
    });
  }

  async beat(node: StoreNode, onAnswer: OnAnswer): Promise<{ known: boolean; now: number }> {
    const beats = this.keyspace.partitions.map((partition) => this.beatOne(partition, node, onAnswer));
    const answers = await Promise.all(beats);
    for (const partition of this.keyspace.partitions) {
      const incarnation = this.incarnations.of(node, partition);
      incarnation.tellsIn = incarnation.unknownIn ?? incarnation.tellsIn;
      incarnation.unknownIn = undefined;
    }
    // Each master of a Cluster has its own clock.
    return { known: answers.every(({ known }) => known), now: Math.min(...answers.map(({ now }) => now)) };
  }

  async release(node: StoreNode): Promise<void> {
    if (!this.incarnations.has(node)) return;
    await Promise.all(
      this.keyspace.partitions.map(async (partition) => {
        const { tag } = this.incarnations.of(node, partition);
        if (tag === '') return;
        const released = await this.runner.ask(partition, scripts.release, partition.keys.slice(0, 1), [tag]);
        if (released === '1') await this.reaper.reap(partition, [tag], this.ttlMs);
      }),
    );
    this.incarnations.forget(node);
  }

  /** The router has registered all of its users since its lease was lost. */
  async registered(node: StoreNode): Promise<void> {
    if (!this.incarnations.has(node)) return;
    await Promise.all(
      this.keyspace.partitions.map(async (partition) => {
        const incarnation = this.incarnations.of(node, partition);
        const { tellsIn } = incarnation;
        if (tellsIn === undefined) return;
        // Cleared first: if the call fails, the next beat tells Redis.
        incarnation.tellsIn = undefined;
        const args = [incarnation.name, tellsIn];
        await this.runner.ask(partition, scripts.registered, [partition.meta], args);
      }),
    );
  }

  private async beatOne(
    partition: Partition,
    node: StoreNode,
    onAnswer: OnAnswer,
  ): Promise<{ known: boolean; now: number }> {
    const incarnation = this.incarnations.of(node, partition);
    return incarnation.alone('beat', async () => {
      // Less than the core waits, so that it learns the reason.
      await this.runner.connected(node.leaseMs / 4, onAnswer);
      const startedAt = this.clock.now();
      let known = true;
      for (;;) {
        const answer = await tap(this.beatNow(partition, node, incarnation), onAnswer);
        known = known && answer.known;
        const hasEnded = answer.due.length === 0 || (await this.endGraces(partition, answer, onAnswer));
        const beaten = { known, now: answer.now };
        if (!answer.more || !hasEnded) return beaten;
        // More graces have ended than one call handles. The router waits for its beat, which must not take as long as ending all
        // of them.
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
        String(Math.min(MOST_LOG_MS, Math.ceil(this.keeps.logMs))),
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
    this.compareLog(answer.log);
    if (answer.dead.length > 0)
      this.changeStream.inBackground('reap', this.reaper.reap(partition, answer.dead, this.ttlMs));
    if (answer.sweep[1] > 0) this.changeStream.inBackground('sweep', this.sweeper.sweep(partition, answer.sweep));
    return answer;
  }

  /** Another router of the fleet may want more of the log, and gets it. */
  private compareLog([changes, ms]: Beaten['log']): void {
    const { logChanges, logMs } = this.keeps;
    const wanted = Math.ceil(logChanges / this.keyspace.partitions.length);
    const isSame = changes === wanted && ms === Math.min(MOST_LOG_MS, Math.ceil(logMs));
    if (isSame) {
      this.hasWarned = false;
      return;
    }
    if (this.hasWarned) return;
    this.hasWarned = true;
    const total = changes * this.keyspace.partitions.length;
    const message =
      `routers disagree on the log: this one has logChanges ${logChanges} and logMs ${logMs}, and it keeps ` +
      `${total} changes for ${ms} ms, the larger of each`;
    this.changeStream.inBackground('beat', Promise.reject(new Error(message)));
  }

  /**
   * Whether they have ended. Where that fails, the lease has been renewed all the same, and the next heartbeat names them again: soon
   * would be of no use.
   */
  private async endGraces(partition: Partition, { due }: Beaten, onAnswer: OnAnswer): Promise<boolean> {
    const settled = this.sweeper.settle(partition, due, 'grace', onAnswer);
    this.changeStream.inBackground('sweep', settled);
    return settled.then(
      () => true,
      () => false,
    );
  }
}
