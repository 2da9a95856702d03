import type { RedisLike } from './client';
import type { Script } from './script';

/** How long a call waits for a connection that is on its way. */
const CONNECT_MS = 1_000;
/** Where nothing has been answered for so long nothing more is sent: the client would keep it all. */
const STUCK_MS = 2_000;

/** ioredis-mock has no status: it is always there. @internal */
export function isReady({ status }: RedisLike): boolean {
  return status === 'ready' || status === undefined;
}

type Waiter = { resolve(): void; reject(error: Error): void; timer: ReturnType<typeof setTimeout> };

/**
 * Sends commands through a client, and only as many as an outage can bear. A client that is not connected would queue
 * them without an end and send them when they are long out of date; one whose server hangs likewise.
 * @internal
 */
export class Link {
  private readonly waiters = new Set<Waiter>();
  /** When each call that is not answered yet was sent, the oldest first; by lane, since masters fail one by one. */
  private readonly lanes = new Map<string, Map<object, number>>();

  constructor(
    private readonly client: RedisLike,
    /** What the client said last of its connection, where that is known. */
    private readonly reason: () => string | undefined = () => undefined,
  ) {
    client.on('ready', this.onReady);
  }

  async run(lane: string, script: Script, keys: readonly string[], args: readonly string[]): Promise<string> {
    const values = keys.concat(args);
    const { client } = this;
    const answer = await this.send(lane, () =>
      client.evalsha(script.sha, keys.length, ...values).catch((error: Error) => {
        if (!error.message.startsWith('NOSCRIPT')) throw error;
        return client.eval(script.text, keys.length, ...values);
      }),
    );
    return String(answer);
  }

  /** Runs what sends a command, once that is possible. */
  async send<T>(lane: string, run: () => Promise<T>): Promise<T> {
    await this.connected(CONNECT_MS);
    let pending = this.lanes.get(lane);
    if (pending === undefined) {
      pending = new Map();
      this.lanes.set(lane, pending);
    }
    const [oldest] = pending.values();
    if (oldest !== undefined && Date.now() - oldest > STUCK_MS) throw new Error('Redis does not answer');
    const call = {};
    pending.set(call, Date.now());
    try {
      return await run();
    } finally {
      pending.delete(call);
    }
  }

  /** Resolves once commands can be sent; rejects after `ms`, with the reason as far as it is known. */
  async connected(ms: number): Promise<void> {
    if (!this.isReady() || this.waiters.size > 0) await this.ready(Math.min(ms, CONNECT_MS));
  }

  close(): void {
    this.client.removeListener('ready', this.onReady);
    this.release(new Error('the store is closed'));
  }

  private isReady(): boolean {
    return isReady(this.client);
  }

  private ready(ms: number): Promise<void> {
    const { status } = this.client;
    if (status === 'end') return Promise.reject(new Error('the Redis client has ended its connection'));
    // Only a client made with lazyConnect waits to be told; what goes wrong shows in its status.
    if (status === 'wait') this.client.connect().catch(() => undefined);
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        resolve,
        reject,
        timer: setTimeout(() => {
          this.waiters.delete(waiter);
          const { reason, client } = this;
          reject(new Error(`not connected to Redis: ${reason() ?? `its client is ${client.status}`}`));
        }, ms),
      };
      waiter.timer.unref();
      this.waiters.add(waiter);
    });
  }

  private readonly onReady = (): void => this.release();

  private release(error?: Error): void {
    for (const waiter of this.waiters) {
      clearTimeout(waiter.timer);
      if (error === undefined) waiter.resolve();
      else waiter.reject(error);
    }
    this.waiters.clear();
  }
}
