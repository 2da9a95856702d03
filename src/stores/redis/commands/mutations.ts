import type { Clock } from '../../../public/clock';
import type { OnAnswer, PresenceOp, SignOfLife, StoreNode } from '../../port';
import type { Incarnation, Incarnations } from '../incarnation';
import { gather, type Keyspace, type Partition } from '../keyspace';
import * as scripts from '../lua/scripts.generated';
import { type Changed, tapped } from './script';
import type { ScriptRunner } from './script-runner';

/** The most operations of one call. It takes some milliseconds, so that Redis can serve others in between. */
const APPLY_OPS = 500;
/** Ages of activity are rounded to this; the network is less exact anyway. */
const SIGN_GRID_MS = 10;

/** Writes the joins, leaves and activity of a router's users. @internal */
export class Mutations {
  constructor(
    private readonly keyspace: Keyspace,
    private readonly runner: ScriptRunner,
    private readonly incarnations: Incarnations,
    private readonly clock: Clock,
    /** A grace that no drop has started ends in `inMs` milliseconds. */
    private readonly onDue: (inMs: number) => void,
  ) {}

  async apply(node: StoreNode, ops: readonly PresenceOp[], onAnswer: OnAnswer): Promise<{ known: boolean }> {
    const groups = this.partitioned(ops);
    const answers = await Promise.all(
      Array.from(groups, ([partition, group]) =>
        this.applyOne(this.keyspace.partitions[partition] as Partition, node, group, onAnswer),
      ),
    );
    return { known: answers.every((known) => known) };
  }

  async refresh(
    node: StoreNode,
    signs: readonly SignOfLife[],
    onAnswer: OnAnswer,
  ): Promise<{ known: boolean; missing: string[] }> {
    const groups = this.partitioned(signs);
    const answers = await Promise.all(
      Array.from(groups, ([partition, group]) =>
        this.refreshOne(this.keyspace.partitions[partition] as Partition, node, group, onAnswer),
      ),
    );
    const missing: string[] = [];
    for (const answer of answers) if (answer !== undefined) missing.push(...answer);
    const known = answers.every((answer) => answer !== undefined);
    return { known, missing: known ? missing : [] };
  }

  private async applyOne(
    partition: Partition,
    node: StoreNode,
    group: readonly PresenceOp[],
    onAnswer: OnAnswer,
  ): Promise<boolean> {
    const incarnation = this.incarnations.of(node, partition);
    if (incarnation.tag === '') return false;
    return incarnation.alone('apply', async () => {
      const until = this.clock.now() + node.leaseMs / 3;
      for (let from = 0; from < group.length; from += APPLY_OPS) {
        // The core has given this call up, and sends the newest state in its next one.
        if (this.clock.now() > until) throw new Error('Redis was too slow');
        const piece = group.slice(from, from + APPLY_OPS);
        if (!(await this.applyPiece(partition, node, incarnation, piece, onAnswer))) return false;
      }
      return true;
    });
  }

  private async applyPiece(
    partition: Partition,
    node: StoreNode,
    incarnation: Incarnation,
    group: readonly PresenceOp[],
    onAnswer: OnAnswer,
  ): Promise<boolean> {
    const { tag } = incarnation;
    incarnation.sent += 1;
    const number = incarnation.sent;
    const { isCluster } = this.keyspace;
    const args = [tag, `${number}/${incarnation.acknowledged}`, String(Math.ceil(node.ttlMs)), String(group.length)];
    for (const op of group) args.push(String(Math.round(op.ageMs)), kindOf(op));
    if (isCluster) for (const { userId } of group) args.push(userId);
    const answer = await this.runner.change<Changed & { known: boolean; due?: number }>(
      scripts.apply,
      partition,
      () => {
        const keys = group.map(({ userId }) => partition.bucketKey(partition.bucketOf(userId)));
        if (!isCluster) for (const { userId } of group) keys.push(this.keyspace.userKey(userId));
        return { keys, args };
      },
      { joined: joinedOf(group), ttlMs: node.ttlMs, onAnswer },
    );
    if (answer.due !== undefined) this.onDue(answer.due);
    if (answer.known && incarnation.tag === tag) incarnation.acknowledged = number;
    return answer.known;
  }

  private async refreshOne(
    partition: Partition,
    node: StoreNode,
    group: readonly SignOfLife[],
    onAnswer: OnAnswer,
  ): Promise<string[] | undefined> {
    const incarnation = this.incarnations.of(node, partition);
    if (incarnation.tag === '') return undefined;
    return incarnation.alone('refresh', async () => {
      const { presenceKeys } = this.runner;
      const ask = tapped(this.runner.ask, onAnswer);
      const [lease] = partition.keys as [string];
      if (presenceKeys !== undefined) {
        const answer = await ask(partition, scripts.leased, [lease], [incarnation.tag]);
        if (answer === '?') return undefined;
        const seen = group.map(({ userId, ageMs }) => [userId, Number(answer) - Math.round(ageMs)] as const);
        return await presenceKeys.move(seen, node.ttlMs);
      }
      const keys = [lease];
      for (const { userId } of group) keys.push(this.keyspace.userKey(userId));
      const args = [incarnation.tag, String(Math.ceil(node.ttlMs)), ...agesOf(group)];
      const answer = await ask(partition, scripts.refresh, keys, args);
      if (answer === '?') return undefined;
      if (answer === '') return [];
      return answer.split(',').map((place) => (group[Number(place)] as SignOfLife).userId);
    });
  }

  private partitioned<T extends SignOfLife>(said: readonly T[]): Map<number, readonly T[]> {
    if (!this.keyspace.isCluster) return new Map([[0, said]]);
    const groups = new Map<number, T[]>();
    for (const one of said) gather(groups, this.keyspace.place(one.userId).partition, one);
    return groups;
  }
}

/** Each age, with the number of users in a row that have it. Rounded up, since last seen must not be too late. */
function agesOf(signs: readonly SignOfLife[]): string[] {
  const args: string[] = [];
  let age = -1;
  let count = 0;
  for (const { ageMs } of signs) {
    const rounded = Math.ceil(ageMs / SIGN_GRID_MS) * SIGN_GRID_MS;
    if (rounded !== age && count > 0) {
      args.push(String(age), String(count));
      count = 0;
    }
    age = rounded;
    count += 1;
  }
  args.push(String(age), String(count));
  return args;
}

function kindOf(op: PresenceOp): string {
  if (op.kind === 'join') return op.reassert ? 'r' : 'j';
  if (op.kind === 'drop') return String(Math.ceil(op.graceMs));
  return op.reason === 'disconnect' ? 'l' : 't';
}

/** The users who join, the age of their activity, and whether the join is their last operation. */
function joinedOf(group: readonly PresenceOp[]): Array<readonly [userId: string, ageMs: number, isThere: boolean]> {
  const joined = new Map<string, readonly [userId: string, ageMs: number, isThere: boolean]>();
  for (const { kind, userId, ageMs } of group) {
    const before = joined.get(userId);
    if (kind === 'join') joined.set(userId, [userId, ageMs, true]);
    else if (before !== undefined) joined.set(userId, [userId, before[1], false]);
  }
  return Array.from(joined.values());
}
