/**
 * The client as a React hook.
 * @module voiceping-presence/react
 */

import {
  createContext,
  createElement,
  type ReactNode,
  useContext,
  useEffect,
  useMemo,
  useSyncExternalStore,
} from 'react';
import type { Connection, PresenceClient, PresenceStatus, UserId } from './index';

/** Makes a client watch the users whom any of its components shows. */
class Registry {
  private readonly wanted = new Map<string, number>();
  /** The ids of the last call to `client.watch`. */
  private watched = new Set<string>();
  private isDue = false;

  constructor(readonly client: PresenceClient) {}

  add(ids: readonly string[], by: 1 | -1): void {
    for (const id of ids) {
      const count = (this.wanted.get(id) ?? 0) + by;
      if (count === 0) this.wanted.delete(id);
      else this.wanted.set(id, count);
    }
    if (this.isDue) return;
    this.isDue = true;
    // Deferred, so that components that mount and unmount together cause one call.
    Promise.resolve().then(() => {
      this.isDue = false;
      const { wanted, watched } = this;
      // Watching the same ids again would make the router send a complete snapshot again.
      if (wanted.size === watched.size && Array.from(wanted.keys()).every((id) => watched.has(id))) return;
      this.watched = new Set(wanted.keys());
      this.client.watch(this.watched);
    });
  }
}

/** One registry for each client: with two, each would replace the ids of the other. */
const registries = new WeakMap<PresenceClient, Registry>();

function registryOf(client: PresenceClient): Registry {
  const registry = registries.get(client) ?? new Registry(client);
  registries.set(client, registry);
  return registry;
}

const Context = createContext<Registry | undefined>(undefined);

/** Provides a client, made with `ids: []`, to all components below. It does not close the client. */
export function PresenceProvider(props: { client: PresenceClient; children?: ReactNode }): ReactNode {
  return createElement(Context.Provider, { value: registryOf(props.client) }, props.children);
}

function useRegistry(): Registry {
  const registry = useContext(Context);
  if (registry === undefined) throw new Error('there is no PresenceProvider above');
  return registry;
}

/**
 * The statuses of some users, in the order of their ids; `undefined` for a user who is not known yet. The component renders
 * again when one changes.
 *
 * @throws Error without a `PresenceProvider` above
 *
 * @example
 * const [status] = usePresence([userId]);
 * return <i className={status?.status ?? 'unknown'} />;
 */
export function usePresence(ids: readonly UserId[]): ReadonlyArray<PresenceStatus | undefined> {
  const registry = useRegistry();
  const { client } = registry;
  const key = JSON.stringify(ids.map(String));
  const names = useMemo(() => JSON.parse(key) as string[], [key]);
  useEffect(() => {
    registry.add(names, 1);
    return () => registry.add(names, -1);
  }, [registry, names]);
  const { subscribe, snapshot, unknown } = useMemo(() => {
    const none: ReadonlyArray<undefined> = names.map(() => undefined);
    let last: ReadonlyArray<PresenceStatus | undefined> = none;
    return {
      // Memoized, since a new function at each render would be subscribed again at each.
      subscribe: (changed: () => void) => client.onChange(changed),
      snapshot() {
        const now = names.map((name) => client.getStatus(name));
        if (now.some((status, index) => status !== last[index])) last = now;
        return last;
      },
      // The first render in a browser must equal that of the server, which knows no status.
      unknown: () => none,
    };
  }, [client, names]);
  return useSyncExternalStore(subscribe, snapshot, unknown);
}

/**
 * The state of the connection; see `PresenceClient.connection`.
 *
 * @throws Error without a `PresenceProvider` above
 */
export function usePresenceConnection(): Connection {
  const { client } = useRegistry();
  const { subscribe, snapshot } = useMemo(
    () => ({
      subscribe: (changed: () => void) => client.onConnectionChange(changed),
      snapshot: () => client.connection,
    }),
    [client],
  );
  return useSyncExternalStore(subscribe, snapshot, unconnected);
}

const UNCONNECTED: Connection = { state: 'connecting', asOf: null };
const unconnected = (): Connection => UNCONNECTED;
