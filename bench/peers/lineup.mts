import { Redis } from 'ioredis';
import { RedisServer } from '../../test/redis/server';
import { type Done, doneDuring } from '../measure.mjs';
import type { Measured, Request } from './host.mjs';
import { type PeerName, PeerNode } from './node.mjs';
import type { Settings, Users } from './peer.mjs';

/** How each is called in the report. */
export const CALLED: { readonly [name in PeerName]: string } = {
  ours: 'voiceping-presence',
  guide: "the guide's commands, in pipelines",
  'rivals/fork': "the fork's way, node-redis 2.8",
  socketio: 'socket.io, Redis adapter',
  'rivals/deepstream': 'deepstream',
  'rivals/metroplex': 'Primus, metroplex',
  'rivals/faye': 'Faye, faye-redis',
  floor: 'floor: a plain Redis command',
};

/** One kind of presence with a Redis of its own, and as many router nodes on it as were asked for. */
export class Entrant {
  readonly nodes: PeerNode[] = [];

  private constructor(
    readonly name: PeerName,
    readonly server: RedisServer,
    readonly redis: Redis,
  ) {}

  static async start(name: PeerName, settings: Partial<Settings> = {}): Promise<Entrant> {
    const server = await RedisServer.start();
    const redis = new Redis({ port: server.port });
    const entrant = new Entrant(name, server, redis);
    await entrant.add(settings);
    return entrant;
  }

  get called(): string {
    return CALLED[this.name];
  }

  /** The first of its nodes. */
  get node(): PeerNode {
    return this.nodes[0] as PeerNode;
  }

  async add(settings: Partial<Settings>): Promise<PeerNode> {
    const node = await PeerNode.start(this.name, { redisPort: this.server.port, ...settings });
    this.nodes.push(node);
    return node;
  }

  /** What it costs the first node, and Redis. */
  async cost(does: Request['does'], users: Users): Promise<Measured & { readonly redis: Done }> {
    let measured: Measured | undefined;
    const redis = await doneDuring(this.redis, async () => {
      measured = await this.node.ask(does, users);
    });
    return { ...(measured as Measured), redis };
  }

  async end(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.kill()));
    this.redis.disconnect();
    await this.server.remove();
  }
}
