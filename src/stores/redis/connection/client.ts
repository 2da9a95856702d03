/** What `redisStore` uses of an ioredis client; `Redis` and `Cluster` of ioredis 4.28 to 6 fit as they are. */
export interface RedisLike {
  /** `ready` while commands can be sent; ioredis-mock has none. */
  readonly status?: string;
  /** True for a Cluster. */
  readonly isCluster?: boolean;
  /** `keyPrefix` must not be set: the keys are a contract. */
  readonly options?: object;
  /** Runs a script by its hash. */
  evalsha(sha: string, keyCount: number, ...keysAndArguments: string[]): Promise<unknown>;
  /** Runs a script that the server does not know yet. */
  eval(script: string, keyCount: number, ...keysAndArguments: string[]): Promise<unknown>;
  /** Reads several keys. */
  mget(...keys: string[]): Promise<Array<string | null>>;
  /** Reads several fields of a hash. */
  hmget(key: string, ...fields: string[]): Promise<Array<string | null>>;
  /** Reads a part of a stream. */
  xrange(key: string, from: string, to: string, count: 'COUNT', most: number): Promise<Array<[string, string[]]>>;
  /** Several commands in one round trip. */
  pipeline(commands: string[][]): RedisPipelineLike;
  /** Asks whether the server answers. */
  ping?(): Promise<unknown>;
  /** Another client with the same options, for messages. */
  duplicate(...overrides: never[]): RedisLike;
  /** Listens to channels. */
  subscribe(...channels: string[]): Promise<unknown>;
  /** Starts a client that was made with `lazyConnect`. */
  connect(): Promise<unknown>;
  /** Ends the connection at once; with `true` it is made anew, as after a loss. */
  disconnect(reconnect?: boolean): void;
  /** Adds a listener. */
  on(event: string, listener: (...values: string[]) => void): unknown;
  /** Removes it. */
  removeListener(event: string, listener: (...values: string[]) => void): unknown;
}

/** Commands that travel together. */
export interface RedisPipelineLike {
  /** Sends them; an entry each, of the error and the answer. */
  exec(): Promise<Array<[Error | null, unknown]> | null>;
}

/** Sharded pub/sub: a Cluster of ioredis 5.9.2 and later, and its connection to one master. @internal */
export interface ShardedClient {
  ssubscribe(channel: string): Promise<unknown>;
  /** Inside of the Cluster. */
  readonly shardedSubscribers?: {
    getResponsibleSubscriber(slot: number): { getInstance(): ShardedClient | null } | undefined;
  };
}

interface Address {
  readonly host?: string;
  readonly port?: number;
  readonly path?: string;
  readonly db?: number;
  readonly name?: string;
  readonly sentinels?: readonly unknown[] | null;
}

/** Where a client connects to, for people: never a user or a password. @internal */
export function addressOf(client: RedisLike): string {
  const { host, port, path, db, name, sentinels } = (client.options ?? {}) as Address;
  const { startupNodes } = client as { startupNodes?: readonly unknown[] };
  if (client.isCluster === true) return `cluster at ${listed(startupNodes)}`;
  if (Array.isArray(sentinels) && sentinels.length > 0) return `${String(name)} by sentinels at ${listed(sentinels)}`;
  return `at ${path ?? placeOf({ host, port })}${db === undefined || db === 0 ? '' : `/${db}`}`;
}

/** Of very many the first will do. */
function listed(places: readonly unknown[] = []): string {
  return places.slice(0, 3).map(placeOf).join(', ') + (places.length > 3 ? ', …' : '');
}

/** A node as ioredis takes it: `{ host, port }`, a port, or a URL, which may have a password in it. */
function placeOf(place: unknown): string {
  if (typeof place === 'number') return `localhost:${place}`;
  if (typeof place !== 'object' || place === null) {
    return String(place)
      .replace(/^[a-z]+:\/\//i, '')
      .replace(/^.*@/, '')
      .replace(/[/?].*$/, '');
  }
  const { host = 'localhost', port = 6379 } = place as Address;
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
