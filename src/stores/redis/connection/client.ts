/** The part of an ioredis client that `redisStore` uses. `Redis` and `Cluster` of ioredis 4.28 to 6 have it. */
export interface RedisLike {
  /** `ready` while commands can be sent; undefined in ioredis-mock. */
  readonly status?: string;
  /** True for a Cluster. */
  readonly isCluster?: boolean;
  /** The options of the client. `keyPrefix` must not be set, since other programs read the keys by their names. */
  readonly options?: object;
  /** Runs a script by its hash. */
  evalsha(sha: string, keyCount: number, ...keysAndArguments: string[]): Promise<unknown>;
  /** Runs a script by its text. */
  eval(script: string, keyCount: number, ...keysAndArguments: string[]): Promise<unknown>;
  /** Reads several keys. */
  mget(...keys: string[]): Promise<Array<string | null>>;
  /** Reads several fields of a hash. */
  hmget(key: string, ...fields: string[]): Promise<Array<string | null>>;
  /** Reads a part of a stream. */
  xrange(key: string, from: string, to: string, count: 'COUNT', most: number): Promise<Array<[string, string[]]>>;
  /** Prepares several commands for one round trip. */
  pipeline(commands: string[][]): RedisPipelineLike;
  /** Asks whether the server answers. */
  ping?(): Promise<unknown>;
  /** Creates another client with the same options, for messages. */
  duplicate(...overrides: never[]): RedisLike;
  /** Subscribes to channels. */
  subscribe(...channels: string[]): Promise<unknown>;
  /** Starts a client that was made with `lazyConnect`. */
  connect(): Promise<unknown>;
  /** Ends the connection at once. With `true`, the client then connects again, as after a lost connection. */
  disconnect(reconnect?: boolean): void;
  /** Adds a listener. */
  on(event: string, listener: (...values: string[]) => void): unknown;
  /** Removes a listener. */
  removeListener(event: string, listener: (...values: string[]) => void): unknown;
}

/** Commands that are sent together. */
export interface RedisPipelineLike {
  /** Sends the commands. The result has an entry for each: its error and its answer. */
  exec(): Promise<Array<[Error | null, unknown]> | null>;
}

/** A client with sharded pub/sub: a Cluster of ioredis 5.9.2 or later, and its connection to one master. @internal */
export interface ShardedClient {
  ssubscribe(channel: string): Promise<unknown>;
  /** An internal property of the Cluster. */
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

/** The address of a client for logs, without user and password. @internal */
export function addressOf(client: RedisLike): string {
  const { host, port, path, db, name, sentinels } = (client.options ?? {}) as Address;
  const { startupNodes } = client as { startupNodes?: readonly unknown[] };
  if (client.isCluster === true) return `cluster at ${listed(startupNodes)}`;
  if (Array.isArray(sentinels) && sentinels.length > 0) return `${String(name)} by sentinels at ${listed(sentinels)}`;
  return `at ${path ?? placeOf({ host, port })}${db === undefined || db === 0 ? '' : `/${db}`}`;
}

/** Lists the first three. */
function listed(places: readonly unknown[] = []): string {
  return places.slice(0, 3).map(placeOf).join(', ') + (places.length > 3 ? ', …' : '');
}

/** A node in one of the forms that ioredis takes: `{ host, port }`, a port, or a URL, whose password is left out. */
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
