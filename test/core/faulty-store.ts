import { memoryStore, type PresenceStore, type StoreFeed } from 'voiceping-presence';

/** A memory store behind a link that can be cut, can hang, can lose answers or messages, or can lead to an empty store. */
export function faultyStore(now: () => number) {
  let behind = memoryStore({ now });
  const feeds = new Map<StoreFeed, () => void>();
  /** Added to versions, so that they grow across a flush, after which those of the new memory store start over. */
  let base = 0;
  let highest = 0;
  const raised = <T extends { version: number }>(entry: T, by: number): T =>
    entry.version === 0 ? entry : { ...entry, version: entry.version + by };
  const link = {
    /** `lost`: the call takes effect, and its answer never arrives. */
    state: 'up' as 'up' | 'down' | 'hangs' | 'lost',
    deaf: false,
    calls: 0,
    /** The store loses all data, as after FLUSHALL. */
    flush() {
      behind = memoryStore({ now });
      base = highest;
      for (const [feed, unsubscribe] of feeds) {
        unsubscribe();
        feeds.set(feed, behind.subscribe(feed));
      }
    },
    /** Messages arrive again, and the feeds are informed of a gap. */
    hear() {
      link.deaf = false;
      for (const feed of feeds.keys()) feed.onGap();
    },
  };
  const through = async <T>(call: (store: PresenceStore) => Promise<T>): Promise<T> => {
    link.calls += 1;
    if (link.state === 'down') throw new Error('connect ECONNREFUSED');
    if (link.state === 'hangs') return new Promise<T>(() => undefined);
    const answer = await call(behind);
    return link.state === 'lost' ? new Promise<T>(() => undefined) : answer;
  };
  const store: PresenceStore = {
    beat: (node) => through((to) => to.beat(node)),
    apply: (node, ops) => through((to) => to.apply(node, ops)),
    refresh: (node, signs) => through((to) => to.refresh(node, signs)),
    release: (node) => through((to) => to.release(node)),
    // `base` is read before the call, since a flush may replace the store during it.
    read: async (ids) => {
      const by = base;
      const answer = await through((to) => to.read(ids));
      return { ...answer, users: answer.users.map((user) => raised(user, by)) };
    },
    list: async (page) => {
      const by = base;
      const answer = await through((to) => to.list(page));
      const { sequence, ...rest } = answer;
      const whole = { ...rest, users: answer.users.map((user) => raised(user, by)) };
      return sequence === undefined ? whole : { ...whole, sequence: { ...sequence, version: sequence.version + by } };
    },
    count: () => through((to) => to.count()),
    subscribe(feed) {
      const heard: StoreFeed = {
        onTransition: (update, lastSeen) => {
          const told = raised(update, base);
          highest = Math.max(highest, told.version);
          if (!link.deaf) feed.onTransition(told, lastSeen);
        },
        onDue: (inMs) => feed.onDue(inMs),
        onGap: () => feed.onGap(),
        onLost: (isLost) => feed.onLost(isLost),
        onError: (stage, error) => feed.onError(stage, error),
      };
      feeds.set(heard, behind.subscribe(heard));
      return () => {
        feeds.get(heard)?.();
        feeds.delete(heard);
      };
    },
  };
  return { store, link, direct: () => behind };
}
