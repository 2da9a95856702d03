import { type Batch, type Head, lastOf, MAX_VERSION } from '../../batch';
import { formatCursor, formatShortCursor, isOf, type Position, parseCursor, positionsIn } from '../../log-cursor';
import type { LoggedChanges, OnAnswer } from '../../port';
import type { ScriptRunner } from '../commands/script-runner';
import type { Keyspace, Partition } from '../keyspace';
import { isCount, isEpoch, toBatch } from './message-codec';

/** Entries that are read in one call: few at first, since an entry may have a thousand changes. */
const LEAST_ENTRIES = 4;
const MOST_ENTRIES = 200;
/** Entries that do not belong there, in one reading. */
const MAX_STRAYS = 1_000;
/** A position within a batch is looked for so many versions before it: most batches are short, and none is longer. */
const LOOKS_BACK: readonly number[] = [1_000, 10_000];

type Changes = LoggedChanges['changes'];

/** What one partition gives. */
interface Part {
  readonly changes: Changes[number][];
  readonly position: Position;
  readonly hasMore: boolean;
}

/** Reads the log of changes of all partitions, in which every script that decides a change writes it. @internal */
export class LogReader {
  constructor(
    private readonly keyspace: Keyspace,
    private readonly runner: ScriptRunner,
  ) {}

  async head(onAnswer: OnAnswer): Promise<string> {
    return formatCursor(await this.heads(onAnswer));
  }

  async oldest(onAnswer: OnAnswer): Promise<string> {
    const { partitions } = this.keyspace;
    const heads = await this.heads(onAnswer);
    const starts = heads.map(async (head, index): Promise<Position> => {
      const { batches } = await this.entries(partitions[index] as Partition, '-', '+', LEAST_ENTRIES, onAnswer);
      const first = batches.find((batch) => batch !== undefined && cursorEpoch(batch.epoch) === head.epoch)?.first;
      return first === undefined || first > head.version ? head : { epoch: head.epoch, version: first - 1 };
    });
    return formatCursor(await Promise.all(starts));
  }

  async read({ after, limit }: { after: string | null; limit: number }, onAnswer: OnAnswer): Promise<LoggedChanges> {
    const { partitions } = this.keyspace;
    const parsed = after === null ? undefined : parseCursor(after, partitions.length);
    // Read before the log, so that what the log does not have up to there is missing.
    const heads = await this.heads(onAnswer);
    const epochs = heads.map(({ epoch }) => epoch);
    const from = parsed && positionsIn(parsed, epochs);
    const gap = (): LoggedChanges => ({ changes: [], cursor: formatCursor(heads), isGap: true, hasMore: false });
    const changes: Changes[number][] = [];
    const positions: Position[] = [];
    let hasMore = false;
    const behind = heads.filter(({ epoch, version }, index) => {
      const position = from?.[index];
      return position === undefined || !isOf(position, epoch) || position.version !== version;
    }).length;
    // Each partition has its share, so that the answer is not longer than was asked for.
    const share = Math.max(1, Math.floor(limit / Math.max(1, behind)));
    const parts = await Promise.all(
      heads.map((head, index) => {
        const position = from?.[index];
        if (position !== undefined && !(isOf(position, head.epoch) && position.version <= head.version))
          return undefined;
        if (position?.version === head.version) return { changes: [], position: head, hasMore: false };
        return this.readPart(partitions[index] as Partition, position?.version, head, share, onAnswer);
      }),
    );
    for (const [index, part] of parts.entries()) {
      if (part === undefined) return gap();
      // More partitions may be behind than changes were asked for.
      if (changes.length + part.changes.length > limit) {
        hasMore = true;
        positions.push(from?.[index] ?? { epoch: part.position.epoch, version: versionBefore(part) });
        continue;
      }
      changes.push(...part.changes);
      positions.push(part.position);
      hasMore = hasMore || part.hasMore;
    }
    return { changes, cursor: formatCursor(positions), isGap: false, hasMore };
  }

  /** The cursor of what was told of each partition; undefined where that is not known of one. */
  static toldTo(told: ReadonlyArray<Head | undefined>): string | undefined {
    const positions: Position[] = [];
    for (const head of told) {
      if (head === undefined) return undefined;
      positions.push({ epoch: cursorEpoch(head.epoch), version: head.version });
    }
    return formatShortCursor(positions);
  }

  static hasTold(told: ReadonlyArray<Head | undefined>, cursor: string): boolean {
    const epochs = told.map((head) => (head === undefined ? '' : cursorEpoch(head.epoch)));
    return positionsIn(parseCursor(cursor, told.length), epochs).every((position, index) => {
      // No data yet.
      if (position.version === 0) return true;
      return isOf(position, epochs[index] as string) && (told[index] as Head).version >= position.version;
    });
  }

  /** How far each partition has come, by what Redis itself says. */
  private heads(onAnswer: OnAnswer): Promise<Position[]> {
    return Promise.all(
      this.keyspace.partitions.map(async ({ channel, meta }) => {
        const [epoch, seq] = await this.runner.send(channel, (client) => client.hmget(meta, 'epoch', 'seq'), onAnswer);
        onAnswer();
        const version = Number(seq ?? 0);
        // No data yet, or they were lost: whatever comes then has another epoch.
        return isEpoch(epoch) && isCount(version, MAX_VERSION)
          ? { epoch: cursorEpoch(epoch), version }
          : { epoch: 'none', version: 0 };
      }),
    );
  }

  /** Up to `limit` changes after a version, or from the oldest on; undefined where some are missing. */
  private async readPart(
    partition: Partition,
    after: number | undefined,
    head: Position,
    limit: number,
    onAnswer: OnAnswer,
  ): Promise<Part | undefined> {
    const found = { changes: [] as Changes[number][], at: after };
    const take = (batch: Batch): void => {
      const at = found.at ?? batch.first - 1;
      for (const { update } of batch.changes) {
        if (update.version <= at || update.version > head.version || found.changes.length >= limit) continue;
        found.changes.push(update);
        found.at = update.version;
      }
    };
    const isNext = (batch: Batch): boolean =>
      cursorEpoch(batch.epoch) === head.epoch &&
      (found.at === undefined || (batch.first <= found.at + 1 && lastOf(batch) > found.at));
    let next = `${after === undefined ? 0 : after + 1}-0`;
    let entries = LEAST_ENTRIES;
    for (let strays = 0; found.changes.length < limit && strays < MAX_STRAYS; ) {
      const { batches, lastId } = await this.entries(partition, next, '+', entries, onAnswer);
      // The first change that is wanted may stand in the middle of a batch, or be gone.
      const [first] = batches;
      if (found.changes.length === 0 && after !== undefined && !(first !== undefined && isNext(first))) {
        const before = await this.batchAround(partition, after + 1, onAnswer);
        if (before !== undefined && isNext(before)) take(before);
      }
      for (const batch of batches) {
        if (batch === undefined || !isNext(batch)) strays += 1;
        else take(batch);
      }
      if (batches.length < entries || lastId === undefined) break;
      next = idAfter(lastId);
      entries = Math.min(MOST_ENTRIES, entries * 2);
    }
    const { changes, at = head.version } = found;
    // All of them up to the head are there, unless as many were read as are wanted.
    if (changes.length < limit && at < head.version) {
      // An empty log at its very beginning is none that has lost anything.
      if (after !== undefined || changes.length > 0) return undefined;
      return { changes, position: head, hasMore: false };
    }
    return { changes, position: { epoch: head.epoch, version: at }, hasMore: at < head.version };
  }

  /** Entries of the log; undefined for one that another program has written. */
  private async entries(
    { channel, keys }: Partition,
    from: string,
    to: string,
    most: number,
    onAnswer: OnAnswer,
  ): Promise<{ readonly batches: Array<Batch | undefined>; readonly lastId: string | undefined }> {
    const log = keys[5] as string;
    const found = await this.runner.send(channel, (client) => client.xrange(log, from, to, 'COUNT', most), onAnswer);
    onAnswer();
    const batches = found.map(([, fields]) => toBatch(fields[1] ?? ''));
    return { batches, lastId: found[found.length - 1]?.[0] };
  }

  /** The batch with a version that is not its first one. */
  private async batchAround(partition: Partition, version: number, onAnswer: OnAnswer): Promise<Batch | undefined> {
    let to = version - 1;
    for (const back of LOOKS_BACK) {
      const from = Math.max(0, version - back);
      const { batches } = await this.entries(partition, `${from}-0`, `${to}-0`, back, onAnswer);
      const latest = batches.reverse().find((batch) => batch !== undefined);
      if (latest !== undefined) return latest;
      to = from - 1;
      if (to < 0) break;
    }
    return undefined;
  }
}

/** The least id after another one. Only Redis 6.2 and later have ranges that leave an end out. */
function idAfter(id: string): string {
  const [ms = '0', serial = '0'] = id.split('-');
  // Batches have the serial 0. A number that is not exact belongs to another program.
  return Number(serial) < Number.MAX_SAFE_INTEGER ? `${ms}-${Number(serial) + 1}` : `${Number(ms) + 1}-0`;
}

/** As pages give it: a cursor separates its parts by dots. */
function cursorEpoch(epoch: string): string {
  return epoch.replace('.', '-');
}

function versionBefore({ changes, position }: Part): number {
  const [first] = changes;
  return first === undefined ? position.version : first.version - 1;
}
