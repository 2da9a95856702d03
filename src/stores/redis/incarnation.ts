import type { StoreNode } from '../port';
import type { Partition } from './keyspace';

/**
 * A router as one partition knows it. After it has lost its lease, it continues under a new id. Users whom it held under the old id
 * and does not register again are reaped like those of a dead router, and a late call cannot affect the new id.
 * @internal
 */
export class Incarnation {
  /** The current id; empty before the first beat. */
  tag = '';
  /** The id that it takes if the store no longer knows the current one. */
  nextTag: string;
  /** The number of the last apply that was sent, and of the last one that was acknowledged. */
  sent = 0;
  acknowledged = 0;
  /** The kinds of calls that are under way. */
  private readonly busy = new Set<'beat' | 'apply' | 'refresh'>();
  /** The epoch of data that did not know it, until it has registered all of its users there. The other routers wait for that. */
  tellsIn: string | undefined;
  /** The same, from a beat that is still under way in other partitions. */
  unknownIn: string | undefined;
  private generation = 0;
  /** The part of the id that all incarnations of the router share. */
  readonly name: string;

  constructor({ nodeId }: StoreNode) {
    // The name is used in lists that are separated by commas, and in JSON.
    this.name = nodeId.replace(/[^\w+/=.:-]/g, (char) => (char === '~' ? '%7E' : encodeURIComponent(char)));
    this.nextTag = this.name;
  }

  /** Runs one call of a kind at a time: a call that the core has given up may still be under way. */
  async alone<T>(kind: 'beat' | 'apply' | 'refresh', run: () => Promise<T>): Promise<T> {
    if (this.busy.has(kind)) throw new Error(`the previous ${kind} has no answer yet`);
    this.busy.add(kind);
    try {
      return await run();
    } finally {
      this.busy.delete(kind);
    }
  }

  advance(): void {
    this.tag = this.nextTag;
    this.generation += 1;
    this.nextTag = `${this.name}~${this.generation}`;
    this.sent = 0;
    this.acknowledged = 0;
  }
}

/** The routers that use one store, each as every partition knows it. @internal */
export class Incarnations {
  private readonly nodes = new Map<string, Incarnation[]>();

  constructor(private readonly partitions: number) {}

  of(node: StoreNode, { index }: Partition): Incarnation {
    let incarnations = this.nodes.get(node.nodeId);
    if (incarnations === undefined) {
      incarnations = Array.from({ length: this.partitions }, () => new Incarnation(node));
      this.nodes.set(node.nodeId, incarnations);
    }
    return incarnations[index] as Incarnation;
  }

  has({ nodeId }: StoreNode): boolean {
    return this.nodes.has(nodeId);
  }

  forget({ nodeId }: StoreNode): void {
    this.nodes.delete(nodeId);
  }
}
