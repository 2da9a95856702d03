import type { StoreNode } from '../port';
import type { Partition } from './keyspace';

/**
 * A router as one partition knows it. When its lease was lost it goes on under a new name: whatever it held under the old
 * one and does not assert anew is then reaped like that of a dead router, and nothing that is late can touch the new one.
 * @internal
 */
export class Incarnation {
  /** Empty before the first beat. */
  tag = '';
  /** What it becomes if it is not known any more. */
  nextTag: string;
  /** The number of the last apply that was sent, and of the last one that was acknowledged. */
  sent = 0;
  acknowledged = 0;
  /** Kinds of calls that are under way. */
  private readonly busy = new Set<'beat' | 'apply' | 'refresh'>();
  /** The epoch of the data in which it was not known, and has not told all of its users since: the others wait for that. */
  tellsIn: string | undefined;
  /** A beat has found so, and the core has not heard of it yet. */
  unknownIn: string | undefined;
  private generation = 0;
  /** In all of its incarnations. */
  readonly name: string;

  constructor({ nodeId }: StoreNode) {
    // Stands in lists that are divided by commas, and in JSON.
    this.name = nodeId.replace(/[^\w+/=.:-]/g, (char) => (char === '~' ? '%7E' : encodeURIComponent(char)));
    this.nextTag = this.name;
  }

  /** Runs one call of a kind at a time: what is given up by the core may still be under way. */
  async alone<T>(kind: 'beat' | 'apply' | 'refresh', run: () => Promise<T>): Promise<T> {
    if (this.busy.has(kind)) throw new Error(`the ${kind} before has no answer yet`);
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

/** The routers that speak through one store, each as all partitions know it. @internal */
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
