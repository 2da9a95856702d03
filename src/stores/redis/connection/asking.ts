import type { RedisLike } from './client';

interface Node {
  asking?(): Promise<unknown>;
}

interface ClusterLike {
  nodes?(role: 'all'): Node[];
}

/**
 * Catches rejections of ASKING. While a slot moves, a Cluster of ioredis (all versions up to 6) sends ASKING to the next master and
 * does not handle its promise. Where that master is gone or closes the connection, the rejection would end the process. The
 * command that follows fails too, so its caller learns of it.
 *
 * @returns the function that ends it for new nodes; on the others commands of the store may still be under way
 * @internal
 */
export function catchAsking(cluster: RedisLike): () => void {
  const onNode = catchOn as (node: unknown) => void;
  for (const node of (cluster as ClusterLike).nodes?.('all') ?? []) catchOn(node);
  cluster.on('+node', onNode);
  return () => {
    cluster.removeListener('+node', onNode);
  };
}

const caught = new WeakSet<Node>();

function catchOn(node: Node): void {
  const { asking } = node;
  if (typeof asking !== 'function' || caught.has(node)) return;
  caught.add(node);
  node.asking = (...values) => {
    const sent = asking.apply(node, values);
    sent.catch(() => undefined);
    return sent;
  };
}
