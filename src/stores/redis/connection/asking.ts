import type { RedisLike } from './client';

interface Node {
  asking?(): Promise<unknown>;
}

interface ClusterLike {
  nodes?(role: 'all'): Node[];
}

/**
 * While a slot moves, a Cluster of ioredis (all versions up to 6) sends ASKING to its next master, and keeps the promise of
 * that to itself: where that master is gone, or cuts the link, the rejection would end the process. So it is caught on the
 * connections to the nodes. The command behind it tells whoever waits for it.
 *
 * @returns the function that ends it for nodes that come later; a command of ours may be on its way to the others
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
