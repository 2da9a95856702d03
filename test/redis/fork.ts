import { Redis } from 'ioredis';

const TTL_S = 60;

/** What a router of the existing presence fork does on Redis, by its keys, channels and messages; nothing more. */
export class ForkRouter {
  /** What it sends its dashboards. */
  readonly sent: Array<{ userId: string; status: string }> = [];
  private readonly client: Redis;
  private readonly ear: Redis;
  private readonly expiries: Redis;

  private constructor(port: number) {
    this.client = new Redis({ port });
    this.ear = new Redis({ port });
    this.expiries = new Redis({ port });
  }

  static async start(port: number): Promise<ForkRouter> {
    const router = new ForkRouter(port);
    await router.ear.subscribe('presence:online', 'presence:offline', 'presence:updates');
    router.ear.on('message', (_, text) => router.sent.push(JSON.parse(text)));
    await router.client.config('SET', 'notify-keyspace-events', 'Ex');
    await router.expiries.subscribe('__keyevent@0__:expired');
    router.expiries.on('message', (_, key: string) => {
      // An id with a colon is cut.
      if (key.startsWith('presence:user:')) void router.leave(key.split(':')[2] as string);
    });
    return router;
  }

  async connect(userId: string): Promise<void> {
    const now = Date.now();
    await this.client
      .multi()
      .set(`presence:user:${userId}`, '1', 'EX', TTL_S)
      .hset(`presence:meta:${userId}`, 'status', 'online', 'lastSeen', String(now), 'role', 'mobile')
      .exec();
    await this.publish(userId, 'online', { timestamp: now, deviceId: 'phone', role: 'mobile' });
  }

  async pong(userId: string): Promise<void> {
    await this.client
      .multi()
      .expire(`presence:user:${userId}`, TTL_S)
      .hset(`presence:meta:${userId}`, 'lastSeen', String(Date.now()))
      .exec();
  }

  async leave(userId: string): Promise<void> {
    await this.client
      .multi()
      .del(`presence:user:${userId}`)
      .hset(`presence:meta:${userId}`, 'status', 'offline', 'lastSeen', String(Date.now()))
      .exec();
    await this.publish(userId, 'offline', { timestamp: Date.now() });
  }

  /** As its bulk query answers. */
  async status(userId: string): Promise<'online' | 'offline'> {
    const exists = await this.client.exists(`presence:user:${userId}`);
    const metadata = await this.client.hgetall(`presence:meta:${userId}`);
    return exists === 1 && Object.keys(metadata).length > 0 ? 'online' : 'offline';
  }

  /** The last status of a user that its dashboards received. */
  told(userId: string): string | undefined {
    return this.sent.filter((update) => update.userId === userId).at(-1)?.status;
  }

  end(): void {
    for (const client of [this.client, this.ear, this.expiries]) client.disconnect();
  }

  private async publish(userId: string, status: 'online' | 'offline', more: object): Promise<void> {
    const message = JSON.stringify({ status, timestamp: Date.now(), type: 'presence_update', userId, ...more });
    await this.client.publish(`presence:${status}`, message);
    await this.client.publish('presence:updates', message);
  }
}
