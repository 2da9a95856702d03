import type { PresenceStore } from 'voiceping-presence';
import { type RedisLike, redisStore } from 'voiceping-presence/redis';
import type { StoreBackend } from 'voiceping-presence/testing';
import { sleep, until } from '../redis/wait';
import { RedisData } from './redis-data';

/** What every store on Redis fails, and why. */
export const REDIS_FAILS: { readonly [name: string]: string } = {
  'activity of a user whom only another router or a grace holds is answered as missing':
    'activity renews the key of its user, which does not say who holds the user',
};

let opened = 0;

/** A connection for messages that a store has made: a duplicate of the client. */
interface MessageLink {
  readonly connection: RedisLike;
  isCut: boolean;
}

/** Notes the connections that a client is duplicated to, and loses the messages of those that are cut. */
class MessageLinks {
  private made: MessageLink[] = [];

  constructor(client: RedisLike) {
    const duplicate = client.duplicate as (...args: unknown[]) => RedisLike;
    Object.assign(client, {
      duplicate: (...args: unknown[]): RedisLike => {
        const connection = duplicate.apply(client, args);
        const link: MessageLink = { connection, isCut: false };
        this.made.push(link);
        const { emit } = connection as unknown as { emit(event: string, ...values: unknown[]): boolean };
        Object.assign(connection, {
          emit: (event: string, ...values: unknown[]) =>
            link.isCut && /^s?message$/.test(event) ? true : emit.call(connection, event, ...values),
        });
        return connection;
      },
    });
  }

  /** Those that are made within `work`, and whatever it gives. */
  madeBy<T>(work: () => T): [T, MessageLink[]] {
    const before = this.made;
    this.made = [];
    const result = work();
    const made = this.made;
    this.made = before;
    return [result, made];
  }
}

/** Clients for the routers of a case, shared by all cases: to connect costs more than most cases do. */
export function openOn(connect: () => RedisLike) {
  const clients: Array<{ readonly client: RedisLike; readonly links: MessageLinks }> = [];
  return {
    /** A prefix of its own is a backend of its own. */
    async open(): Promise<StoreBackend> {
      opened += 1;
      const prefix = `case-${opened}:`;
      const linksOf = new Map<PresenceStore, MessageLink[]>();
      let routers = 0;
      const clientAt = (index: number) => {
        let entry = clients[index];
        if (entry === undefined) {
          const client = connect();
          entry = { client, links: new MessageLinks(client) };
          clients[index] = entry;
        }
        return entry;
      };
      const data = (): RedisData => new RedisData(clientAt(0).client, prefix);
      return {
        async store() {
          const { client, links } = clientAt(routers);
          routers += 1;
          await until('the client is connected', () => client.status === 'ready' || client.status === undefined);
          const store = redisStore({ client, prefix });
          const subscribe = store.subscribe.bind(store);
          store.subscribe = (feed) => {
            const [unsubscribe, made] = links.madeBy(() => subscribe(feed));
            linksOf.set(store, (linksOf.get(store) ?? []).concat(made));
            return unsubscribe;
          };
          return store;
        },
        async pass(ms, everyMs, whileAlive) {
          for (const end = Date.now() + ms; Date.now() < end; ) {
            await sleep(Math.min(everyMs, end - Date.now()));
            await whileAlive();
          }
        },
        standStill: sleep,
        arrive: () => sleep(200),
        lose: () => data().delete(),
        setBack: () => data().save(),
        async cutFeed(store) {
          const links = linksOf.get(store) ?? [];
          for (const link of links) link.isCut = true;
          return async () => {
            for (const link of links) {
              link.isCut = false;
              link.connection.disconnect(true);
            }
          };
        },
      };
    },
    disconnect(): void {
      for (const { client } of clients) client.disconnect();
    },
  };
}
