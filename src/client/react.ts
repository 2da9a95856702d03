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

/** Who watches what, of one client: it watches whatever any component wants. */
class Registry {
  private readonly wanted = new Map<string, number>();
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
    // Once, for all components that come and go together.
    Promise.resolve().then(() => {
      this.isDue = false;
      this.client.watch(this.wanted.keys());
    });
  }
}

const Context = createContext<Registry | undefined>(undefined);

/** Gives a client, made with `ids: []`, to all components below. It stays yours to close. */
export function PresenceProvider(props: { client: PresenceClient; children?: ReactNode }): ReactNode {
  const registry = useMemo(() => new Registry(props.client), [props.client]);
  return createElement(Context.Provider, { value: registry }, props.children);
}

function useRegistry(): Registry {
  const registry = useContext(Context);
  if (registry === undefined) throw new Error('there is no PresenceProvider above');
  return registry;
}

/**
 * The statuses of some users, in the order asked; `undefined` where nothing is known yet. Renders anew when one changes.
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
  const snapshot = useMemo(() => {
    let last: ReadonlyArray<PresenceStatus | undefined> = [];
    return () => {
      const now = names.map((name) => client.getStatus(name));
      const isSame = now.length === last.length && now.every((status, index) => status === last[index]);
      if (!isSame) last = now;
      return last;
    };
  }, [client, names]);
  return useSyncExternalStore((changed) => client.onChange(changed), snapshot, snapshot);
}

/**
 * What is known of the connection; see `PresenceClient.connection`.
 *
 * @throws Error without a `PresenceProvider` above
 */
export function usePresenceConnection(): Connection {
  const { client } = useRegistry();
  const snapshot = (): Connection => client.connection;
  return useSyncExternalStore((changed) => client.onConnectionChange(changed), snapshot, snapshot);
}
