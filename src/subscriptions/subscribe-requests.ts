import type { Limits } from '../config/options';
import type { Connection } from '../connections/connection';
import { CloseCode } from '../connections/socket-closer';
import { CallbackTimeout, withCallbackDeadline } from '../diagnostics/callback-deadline';
import type { Clock } from '../public/clock';
import type { ErrorStage, Identity, PresenceOptions, SocketLike } from '../public/types';
import { decodeWatch, type RefusalCode, requestOf, type WatchRequest } from '../wire/decode-watch';
import type { Subscriptions } from './subscriptions';
import { TokenBucket } from './token-bucket';

/** Calls of `authorizeWatch` within a minute that did not answer in time; past them a connection is refused at once. */
const MAX_ABANDONED = 4;
const ABANDONED_MS = 60_000;
/** Of the requests that come too soon so many may be refused, beside a burst, that a client which is a little too fast stays. */
const REFUSED_SHARE = 0.2;

const LATE = 'it could not be found out in time whether these users may be watched';

/** @internal */
export interface SubscribeRequestsOptions {
  readonly clock: Clock;
  readonly authorizeWatch: PresenceOptions['authorizeWatch'];
  readonly maxWatchIds: number;
  readonly limits: Limits;
  readonly watchers: Subscriptions;
  report(stage: ErrorStage, error: unknown, userId?: string): void;
  close(connection: Connection, code: number, reason: string): void;
}

/** What is known of one socket that asks, however often it is attached. */
interface Asker {
  /** The latest one. */
  connection: Connection;
  readonly bucket: TokenBucket;
  /** Of those that come too soon: past it the socket is closed. */
  readonly refusals: TokenBucket;
  /** Whether `authorizeWatch` is deciding. */
  isDeciding: boolean;
  /** The newest request that came meanwhile. */
  next: WatchRequest | undefined;
  /** When calls of `authorizeWatch` were given up that have not answered since. */
  readonly abandoned: Set<{ readonly at: number }>;
}

/**
 * What clients ask to watch by a frame of their own, and whether they may: so many a second, one decision at a time, and
 * of what comes meanwhile the newest.
 * @internal
 */
export class SubscribeRequests {
  /** Kept only where `authorizeWatch` may ask for them. */
  private readonly identities = new WeakMap<Connection, Identity>();
  private readonly askers = new WeakMap<SocketLike, Asker>();
  /** Deadlines that run. */
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

  /** Who is behind a connection that may ask. */
  introduce(connection: Connection, identity: Identity): void {
    if (this.options.authorizeWatch !== undefined) this.identities.set(connection, identity);
    const asker = this.askers.get(connection.socket);
    if (asker !== undefined) asker.connection = connection;
  }

  /** What is still being decided is of interest to nobody. */
  close(): void {
    this.isClosed = true;
    for (const timer of this.timers) this.options.clock.clearTimeout(timer);
    this.timers.clear();
  }

  /** A frame in which a client asks. Of one that is refused anyway only its number is looked for. */
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
    let asker = this.askers.get(connection.socket);
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
      this.askers.set(connection.socket, asker);
    }
    return asker;
  }

  /** Whoever asks too often is refused, and whoever goes on is closed. */
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
      // A newer request makes this one moot, whatever became of it.
      if (next !== undefined) this.decide(asker, next);
      // It was decided for whoever was attached before.
      else if (connection !== asker.connection) this.refuse(asker.connection, 'timeout', LATE, request.request);
      else if (allowed === true) this.grant(connection, request);
      else this.refuse(connection, allowed.code, allowed.error, request.request);
    });
  }

  private grant(connection: Connection, { ids, cursor, request: name }: WatchRequest): void {
    const interest = ids === true ? 'all' : ids === false ? undefined : ids;
    this.options.watchers.watch(connection, interest, { name, cursor });
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
    this.options.watchers.refuse(connection, { code, error, request });
  }
}
