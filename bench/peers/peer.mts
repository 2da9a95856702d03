import { EventEmitter } from 'node:events';
import type { SocketLike } from 'voiceping-presence';

/** What is measured is the package, not a network: the least a socket can be. */
export class BareSocket extends EventEmitter implements SocketLike {
  readyState = 1;
  bufferedAmount = 0;
  answersPings = true;
  send(_data: Uint8Array): void {}
  ping(): void {
    if (this.answersPings) this.emit('pong');
  }
  terminate(): void {
    this.close(1006);
  }
  close(code: number): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.emit('close', code);
  }
}

/** Users `from` up to `from + count`. */
export interface Users {
  readonly from: number;
  readonly count: number;
}

export function userIdsOf({ from, count }: Users): string[] {
  return Array.from({ length: count }, (_, index) => `acme_u${from + index}`);
}

export interface Settings {
  readonly redisPort: number;
  /** A user is offline so long after the last sign of life. */
  readonly ttlMs: number;
  readonly pingIntervalMs: number;
  /** For whoever has one. */
  readonly leaseMs: number;
  /** For whoever has one: how long a connection that is lost may come back unnoticed. */
  readonly graceMs: number;
  /** Whether the delay of its event loop is measured, which costs something itself. */
  readonly watchesDelay: boolean;
  /** Whether it hears the changes of others. */
  readonly listens: boolean;
}

export type OnChange = (userId: string, online: boolean) => void;

/** One router node, on one kind of presence, in a process of its own. Each method resolves once Redis agrees. */
export interface Peer {
  /** Users connect; `atOnce`, here and below: so many a turn of the event loop. */
  join(userIds: readonly string[], atOnce?: number): Promise<void>;
  /** A sign of life of each arrives, and whatever is to be told of it is told. */
  sign(userIds: readonly string[], atOnce?: number): Promise<void>;
  /** They close cleanly. */
  leave(userIds: readonly string[], atOnce?: number): Promise<void>;
  /** Their connections are lost, without a close frame. The same as leaving where there is no difference. */
  drop?(userIds: readonly string[]): Promise<void>;
  /** A last sign of life of each; the connections stay. */
  silence?(userIds: readonly string[]): void;
  /** How many of them are online. */
  statuses(userIds: readonly string[]): Promise<number>;
  /** Serves the bulk query, and returns its port. */
  serve?(): Promise<number>;
  /** A user's socket; it is pinged by somebody else where `isPinging` is not true. */
  attach?(socket: SocketLike, userId: string): void;
  readonly isPinging?: boolean;
  /** The socket of a dashboard that watches everybody. */
  watch?(socket: SocketLike): void;
  /** Has a server of its own for users and dashboards, and returns its port. */
  listen?(): Promise<number>;
  /** How many timers it has set. */
  timers?(): number;
  /** A user comes and goes, where that needs no socket. */
  change?(userId: string): void;
  /** Ends it; its users stay online for so long, to reappear elsewhere, where it can do that. */
  close(handoverMs: number): Promise<void>;
}

export type Open = (settings: Settings, onChange: OnChange) => Promise<Peer>;

/** Connections that are read in one turn of the event loop when everybody comes or goes. */
const STORM = 100;
/** Signs of life: pings are spread over the whole interval, and so are pongs. */
export const SPREAD = 10;
/** What has piled up while the router was busy is read in one turn. */
export const BURST = 10_000;

/** Frames and closes as they come from sockets that are read one after the other: so many a turn of the event loop. */
export async function arrive<T>(all: readonly T[], each: (one: T) => void, atOnce = STORM): Promise<void> {
  for (let at = 0; at < all.length; at += atOnce) {
    for (const one of all.slice(at, at + atOnce)) each(one);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
