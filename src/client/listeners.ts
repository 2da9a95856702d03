import type { Connection, PresenceChange } from './types';

/** Why a router refuses a client or its request. @internal */
export type Refusal = Pick<Connection, 'refused' | 'refusedCode'>;

/** The listeners of a client, and the state of its connection. @internal */
export interface Listeners {
  readonly connection: Connection;
  readonly ready: Promise<void>;
  /** Whether a listener is being called, so that a call to the client may come from it. */
  readonly isTelling: boolean;
  become(state: Connection['state'], refusal?: Refusal, asOf?: string | null): void;
  tell(changed: readonly PresenceChange[]): void;
  /** The view is complete, so `ready` resolves. */
  shown(): void;
  onChange(listener: (changed: readonly PresenceChange[]) => void): () => void;
  onConnectionChange(listener: (connection: Connection) => void): () => void;
}

/** @internal */
export function createListeners(): Listeners {
  const changes = new Set<(changed: readonly PresenceChange[]) => void>();
  const connections = new Set<(connection: Connection) => void>();
  let connection: Connection = { state: 'connecting', asOf: null };
  let depth = 0;
  let ready = deferred();

  /** Rethrows an error of a listener from a timer, so that it disturbs neither other listeners nor the connection. */
  function call(listener: () => void): void {
    depth += 1;
    try {
      listener();
    } catch (error) {
      setTimeout(() => {
        throw error;
      });
    }
    depth -= 1;
  }

  return {
    get connection() {
      return connection;
    },
    get ready() {
      return ready.promise;
    },
    get isTelling() {
      return depth > 0;
    },
    become(state, { refused, refusedCode } = {}, asOf) {
      const isSame = connection.refused === refused && connection.refusedCode === refusedCode;
      if (connection.state === state && isSame && !asOf) return;
      const isKnown = state === 'live' || connection.state === 'live';
      if (state === 'closed') ready.settle(new Error(refused ?? 'the client is closed'));
      // The client is connecting again, so a new promise may still resolve.
      else if (connection.state === 'closed' && ready.isRejected) ready = deferred();
      connection = { state, asOf: asOf ?? (isKnown ? now() : connection.asOf), refused, refusedCode };
      for (const listener of connections) call(() => listener(connection));
    },
    tell(changed) {
      if (changed.length > 0) for (const listener of changes) call(() => listener(changed));
    },
    shown() {
      ready.settle();
    },
    onChange: (listener) => subscribe(changes, listener),
    onConnectionChange: (listener) => subscribe(connections, listener),
  };
}

const now = (): string => new Date().toISOString();

function subscribe<Listener>(listeners: Set<Listener>, listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

interface Deferred {
  promise: Promise<void>;
  /** `undefined` until it is settled. */
  isRejected?: boolean;
  /** Rejects with an error, or else resolves. Only the first call counts. */
  settle(error?: Error): void;
}

/** A promise whose rejection is ignored where nobody handles it. */
function deferred(): Deferred {
  const result = {} as Deferred;
  result.promise = new Promise((resolve, reject) => {
    result.settle = (error) => {
      result.isRejected = result.isRejected ?? error !== undefined;
      if (error) reject(error);
      else resolve();
    };
  });
  result.promise.catch(() => undefined);
  return result;
}
