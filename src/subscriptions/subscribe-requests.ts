import type { Limits } from '../config/options';
import type { Channel } from '../connections/channel';
import type { Connection } from '../connections/connection';
import { CloseCode } from '../connections/socket-closer';
import { CallbackTimeout, withCallbackDeadline } from '../diagnostics/callback-deadline';
import type { Clock } from '../public/clock';
import type { ErrorStage, Identity, PresenceOptions } from '../public/types';
import { decodeWatch, type RefusalCode, requestOf, type WatchRequest } from '../wire/decode-watch';
import type { Subscriptions } from './subscriptions';
import { TokenBucket } from './token-bucket';

/** After this many calls of `authorizeWatch` within a minute that did not answer in time, requests are refused at once. */
const MAX_ABANDONED = 4;
const ABANDONED_MS = 60_000;
/** The share of its rate, besides a burst, at which a client may be refused: one that is only a little too fast stays connected. */
const REFUSED_SHARE = 0.2;

const LATE = 'it could not be found out in time whether these users may be watched';

/** @internal */
export interface SubscribeRequestsOptions {
  readonly clock: Clock;
  readonly authorizeWatch: PresenceOptions['authorizeWatch'];
  readonly maxWatchIds: number;
  readonly limits: Limits;
  readonly subscriptions: Subscriptions;
  report(stage: ErrorStage, error: unknown, userId?: string): void;
  close(connection: Connection, code: number, reason: string): void;
}

/** The state of one socket that sends requests, however often it is attached. */
interface Asker {
  /** The latest attachment of the socket. */
  connection: Connection;
  readonly bucket: TokenBucket;
  /** Limits the requests that are refused for coming too soon: past it the socket is closed. */
  readonly refusals: TokenBucket;
  /** Whether `authorizeWatch` is deciding. */
  isDeciding: boolean;
  /** The newest request that came meanwhile. */
  next: WatchRequest | undefined;
  /** The calls of `authorizeWatch` that timed out and have not answered since. */
  readonly abandoned: Set<{ readonly at: number }>;
}

/**
 * Handles the PRESENCE_WATCH frames of clients: a limited number a second, and one call of `authorizeWatch` at a time. Of the requests
 * that come meanwhile the newest is kept.
 * @internal
 */
export class SubscribeRequests {
  /** Kept only where there is an `authorizeWatch`. */
  private readonly identities = new WeakMap<Connection, Identity>();
  private readonly askers = new WeakMap<Channel, Asker>();
  /** The running deadlines. */
  private readonly timers = new Set<unknown>();
  private readonly clock: Clock;
  private isClosed = false;

  constructor(private readonly options: SubscribeRequestsOptions) {
    const { clock } = options;
    this.clock = {
      now: () => clock.now(),
      setTimeout: (run, ms) => {
        const timer = clock.setTimeout(run, ms);
        this.timers.add(timer);
        return timer;
      },
      clearTimeout: (timer) => {
        this.timers.delete(timer);
        clock.clearTimeout(timer);
      },
    };
  }

  /** Keeps the identity of a connection that may send requests. */
  introduce(connection: Connection, identity: Identity): void {
    if (this.options.authorizeWatch !== undefined) this.identities.set(connection, identity);
    const asker = this.askers.get(connection.channel);
    if (asker !== undefined) asker.connection = connection;
  }

  /** Ends the deadlines of the calls that are pending; their answers are ignored. */
  close(): void {
    this.isClosed = true;
    for (const timer of this.timers) this.options.clock.clearTimeout(timer);
    this.timers.clear();
  }

  /** Takes a PRESENCE_WATCH frame. Where it is refused anyway, only the number of the request is decoded. */
  take(connection: Connection, frame: Uint8Array): void {
    if (connection.state === 'gone') return;
    const { authorizeWatch, maxWatchIds } = this.options;
    const asker = this.askerOf(connection);
    if (!this.isInTime(connection, asker, frame)) return;
    if (authorizeWatch === undefined) {
      this.refuse(connection, 'not-allowed', 'this router takes no PRESENCE_WATCH', requestOf(frame));
      return;
    }
    const request = decodeWatch(frame, maxWatchIds);
    if ('code' in request) this.refuse(connection, request.code, request.error, request.request);
    else if (asker.isDeciding) asker.next = request;
    else this.decide(asker, request);
  }

  private askerOf(connection: Connection): Asker {
    let asker = this.askers.get(connection.channel);
    if (asker === undefined) {
      const { clock, limits } = this.options;
      const [perSecond, burst, now] = [limits.watchRequestsPerSecond, limits.watchRequestBurst, clock.now()];
      asker = {
        connection,
        bucket: new TokenBucket(perSecond, burst, now),
        refusals: new TokenBucket(perSecond * REFUSED_SHARE, burst, now),
        isDeciding: false,
        next: undefined,
        abandoned: new Set(),
      };
      this.askers.set(connection.channel, asker);
    }
    return asker;
  }

  /** Refuses a client that sends requests too often, and closes it if it does not slow down. */
  private isInTime(connection: Connection, asker: Asker, frame: Uint8Array): boolean {
    const { clock, limits, close } = this.options;
    if (asker.bucket.take(clock.now())) return true;
    if (!asker.refusals.take(clock.now())) {
      close(connection, CloseCode.TOO_MANY_REQUESTS, 'presence: too many requests');
    } else {
      const error = `at most ${limits.watchRequestsPerSecond} requests a second`;
      this.refuse(connection, 'too-many-requests', error, requestOf(frame));
    }
    return false;
  }

  private decide(asker: Asker, request: WatchRequest): void {
    const { connection } = asker;
    asker.isDeciding = true;
    this.verdict(connection, asker, request).then((allowed) => {
      asker.isDeciding = false;
      const { next } = asker;
      asker.next = undefined;
      if (asker.connection.state === 'gone') return;
      // A newer request replaces this one, whatever the decision.
      if (next !== undefined) this.decide(asker, next);
      // The decision was made for an earlier identity of the socket.
      else if (connection !== asker.connection) this.refuse(asker.connection, 'timeout', LATE, request.request);
      else if (allowed === true) this.grant(connection, request);
      else this.refuse(connection, allowed.code, allowed.error, request.request);
    });
  }

  private grant(connection: Connection, { ids, cursor, request: name }: WatchRequest): void {
    const interest = ids === true ? 'all' : ids === false ? undefined : ids;
    this.options.subscriptions.watch(connection, interest, { name, cursor });
  }

  /** Never rejects. */
  private async verdict(
    connection: Connection,
    asker: Asker,
    { ids }: WatchRequest,
  ): Promise<true | { readonly code: RefusalCode; readonly error: string }> {
    const { limits, report, authorizeWatch } = this.options;
    if (ids === false) return true;
    const now = this.clock.now();
    for (const call of asker.abandoned) if (Math.abs(now - call.at) >= ABANDONED_MS) asker.abandoned.delete(call);
    if (asker.abandoned.size >= MAX_ABANDONED) return { code: 'timeout', error: LATE };
    const identity = this.identities.get(connection) as Identity;
    let abandoned: { readonly at: number } | undefined;
    const call = async (): Promise<boolean | undefined> => {
      try {
        return await authorizeWatch?.(identity, ids === true ? true : Array.from(ids));
      } finally {
        if (abandoned !== undefined) asker.abandoned.delete(abandoned);
      }
    };
    try {
      const allowed = await withCallbackDeadline(this.clock, limits.callbackTimeoutMs, 'authorizeWatch', call);
      if (allowed === true) return true;
    } catch (error) {
      if (!this.isClosed) report('authorize', error, connection.userId);
      if (error instanceof CallbackTimeout) {
        abandoned = { at: this.clock.now() };
        asker.abandoned.add(abandoned);
        return { code: 'timeout', error: LATE };
      }
    }
    return { code: 'not-allowed', error: 'these users may not be watched' };
  }

  private refuse(connection: Connection, code: RefusalCode, error: string, request?: number): void {
    this.options.subscriptions.refuse(connection, { code, error, request });
  }
}
