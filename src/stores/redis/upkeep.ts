import type { StoreNode } from '../../store';
import type { Incarnation, Incarnations } from './incarnation';
import { type Layout, type Partition, WALK_BUCKETS, WALK_USERS } from './layout';
import type { News } from './news';
import type { Runner } from './runner';
import type { Changed, Script } from './script';
import * as scripts from './scripts';

/** Graces that one beat ends at most. */
const BEAT_GRACES = 500;

interface Beaten extends Changed {
  readonly known: boolean;
  readonly more: boolean;
  readonly dead: string[];
  readonly sweep: [first: number, count: number];
  readonly lost: number;
}

/** Leases, and what becomes of those whose lease has lapsed: each router looks after all of them. @internal */
export class Upkeep {
  private readonly reaping = new Set<string>();

  constructor(
    private readonly layout: Layout,
    private readonly runner: Runner,
    private readonly incarnations: Incarnations,
    private readonly news: News,
    /** How long "last seen" of a user who is offline is remembered. */
    private readonly retentionMs: number,
  ) {}

  async beat(node: StoreNode): Promise<{ known: boolean }> {
    const answers = await Promise.all(this.layout.partitions.map((partition) => this.beatOne(partition, node)));
    return { known: answers.every((known) => known) };
  }

  async release(node: StoreNode): Promise<void> {
    if (!this.incarnations.has(node)) return;
    await Promise.all(
      this.layout.partitions.map(async (partition) => {
        const { tag } = this.incarnations.of(node, partition);
        if (tag === '') return;
        const released = await this.runner.ask(partition, scripts.release, partition.keys.slice(0, 1), [tag]);
        if (released === '1') await this.reap(partition, tag);
      }),
    );
    this.incarnations.forget(node);
  }

  private async beatOne(partition: Partition, node: StoreNode): Promise<boolean> {
    const incarnation = this.incarnations.of(node, partition);
    if (incarnation.isBeating) throw new Error('the beat before has no answer yet');
    incarnation.isBeating = true;
    try {
      // Sooner than the core gives up, so that it learns the reason.
      await this.runner.connected(node.leaseMs / 4);
      let known = true;
      for (;;) {
        const answer = await this.beatNow(partition, node, incarnation);
        known = known && answer.known;
        // More graces have ended than one call takes on.
        if (!answer.more) return known;
      }
    } finally {
      incarnation.isBeating = false;
    }
  }

  private async beatNow(partition: Partition, node: StoreNode, incarnation: Incarnation): Promise<Beaten> {
    const answer = await this.runner.change<Beaten>(
      scripts.beat,
      partition,
      [],
      [
        incarnation.tag,
        incarnation.following,
        String(Math.ceil(node.leaseMs)),
        String(incarnation.acknowledged),
        String(partition.buckets),
        String(BEAT_GRACES),
      ],
    );
    if (!answer.known) incarnation.becomeFollowing();
    this.news.verifyLosses(partition, node, answer.lost);
    for (const tag of answer.dead) this.news.inBackground('reap', this.reap(partition, tag));
    if (answer.sweep[1] > 0) this.news.inBackground('sweep', this.sweep(partition, node, answer.sweep));
    return answer;
  }

  private async reap(partition: Partition, tag: string): Promise<void> {
    const job = `${partition.index} ${tag}`;
    if (this.reaping.has(job)) return;
    this.reaping.add(job);
    try {
      await this.walk(scripts.reap, partition, 0, partition.buckets, (first, isLast) => [
        tag,
        String(first),
        isLast ? '1' : '0',
        String(WALK_USERS),
      ]);
    } finally {
      this.reaping.delete(job);
    }
  }

  private async sweep(partition: Partition, node: StoreNode, [first, count]: [number, number]): Promise<void> {
    const args = (at: number) => [
      String(at),
      String(this.retentionMs),
      String(Math.ceil(node.leaseMs)),
      String(WALK_USERS),
    ];
    const end = Math.min(partition.buckets, first + count);
    await this.walk(scripts.sweep, partition, first, end, args);
    // Round the end.
    await this.walk(scripts.sweep, partition, 0, first + count - end, args);
  }

  /** Calls a script until it has been through the buckets from `from` up to `end`. */
  private async walk(
    script: Script,
    partition: Partition,
    from: number,
    end: number,
    argsOf: (first: number, isLast: boolean) => string[],
  ): Promise<void> {
    for (let first = from; first < end && !this.runner.isClosed; ) {
      const size = Math.min(WALK_BUCKETS, end - first);
      const keys = partition.slice(first, size);
      const args = argsOf(first, first + size === end);
      const { done } = await this.runner.change<Changed & { done: number }>(script, partition, keys, args);
      if (done < 0) return;
      first += done;
    }
  }
}
