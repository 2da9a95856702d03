import { isOf, lostCursor, parseCursor } from '../../log-cursor';
import type { DeliveryClaim, DeliveryStep, OnAnswer, StoredDelivery, StoreNode } from '../../port';
import type { LogReader } from '../changes/log-reader';
import type { Incarnations } from '../incarnation';
import type { Keyspace, Partition } from '../keyspace';
import * as scripts from '../lua/scripts.generated';
import { tapped } from './script';
import type { ScriptRunner } from './script-runner';

/** The named positions in the log. All of them lie in the first partition, so that one fence guards a whole cursor. @internal */
export class Deliveries {
  private readonly partition: Partition;

  constructor(
    private readonly keyspace: Keyspace,
    private readonly runner: ScriptRunner,
    private readonly incarnations: Incarnations,
    private readonly reader: LogReader,
  ) {
    this.partition = keyspace.partitions[0] as Partition;
  }

  async claim(
    node: StoreNode,
    name: string,
    from: string | null,
    isResumed: boolean,
    onAnswer: OnAnswer,
  ): Promise<DeliveryClaim> {
    const { keys, deliveries } = this.partition;
    const { tag } = this.incarnations.of(node, this.partition);
    const { name: called = node.nodeId, address = null } = node.router ?? {};
    const router = encodeURIComponent(
      Buffer.from(JSON.stringify({ nodeId: node.nodeId, name: called, address })).toString(),
    );
    const lost = lostCursor(this.keyspace.partitions.length);
    const answer = await this.ask(
      scripts.claim,
      [keys[0] as string, deliveries],
      [tag, name, from ?? lost, isResumed ? '1' : '0', router, lost],
      onAnswer,
    );
    // The router has no lease at this moment, and will try again.
    if (answer === '?') return { token: undefined, cursor: from ?? lost, isEnded: false };
    if (answer === 'full') throw new Error(`there are too many deliveries under ${deliveries}`);
    const [token = '', ended, cursor = lost] = answer.split('|');
    const isKnown = token === '' ? undefined : Number(token);
    return { token: isKnown, cursor: this.isCursor(cursor) ? cursor : lost, isEnded: ended === '1' };
  }

  async advance(name: string, token: number, step: DeliveryStep, onAnswer: OnAnswer): Promise<boolean> {
    const { cursor = '', lastError, isEnded, isReleased = false } = step;
    const ended = isEnded === undefined ? '' : isEnded ? '1' : '0';
    const failure = lastError === undefined ? '=' : encodeURIComponent(lastError ?? '');
    const args = [name, String(token), cursor, ended, failure, isReleased ? '1' : '0'];
    return (await this.ask(scripts.advance, [this.partition.deliveries], args, onAnswer)) === '1';
  }

  async list(onAnswer: OnAnswer): Promise<StoredDelivery[]> {
    const { keys, deliveries } = this.partition;
    const [text, head] = await Promise.all([
      this.ask(scripts.deliveries, [keys[0] as string, deliveries], [], onAnswer),
      this.reader.head(onAnswer),
    ]);
    const all: StoredDelivery[] = [];
    for (const line of text === '' ? [] : text.split('\n')) {
      const [name = '', held, ended, cursor = '', router = '', failure = ''] = line.split('|');
      try {
        all.push({
          name,
          cursor,
          isEnded: ended === '1',
          lastError: failure === '' ? null : decodeURIComponent(failure),
          router: held === '1' ? JSON.parse(decodeURIComponent(router)) : null,
          lagChanges: this.between(cursor, head),
        });
      } catch {
        // Another program has written this one.
      }
    }
    return all;
  }

  /** Whether it is one of this store. Another program may have written the position. */
  private isCursor(cursor: string): boolean {
    try {
      parseCursor(cursor, this.keyspace.partitions.length);
      return true;
    } catch {
      return false;
    }
  }

  /** How many changes were made between two cursors, as far as they are of the same data. */
  private between(from: string, to: string): number {
    const { length } = this.keyspace.partitions;
    if (!this.isCursor(from)) return 0;
    const after = parseCursor(from, length);
    let count = 0;
    for (const [index, head] of parseCursor(to, length).entries()) {
      const position = after[index];
      if (position !== undefined && isOf(position, head.epoch)) count += Math.max(0, head.version - position.version);
    }
    return count;
  }

  private ask(script: (typeof scripts)['claim'], keys: string[], args: string[], onAnswer: OnAnswer): Promise<string> {
    return tapped(this.runner.ask, onAnswer)(this.partition, script, keys, args);
  }
}
