import type { Clock } from '../clock';
import type { Connection } from '../connections/connection';
import { CloseCode } from '../connections/socket-closer';
import { CallbackTimeout, withCallbackDeadline } from '../diagnostics/callback-deadline';
import type { Limits } from '../options';
import type { Identity, PresenceOptions } from '../types';
import type { Watchers } from '../watchers';
import { decodeWatch, type RefusalCode, type WatchRequest } from '../wire/decode-watch';
import { TokenBucket } from './token-bucket';

/** Calls of `authorizeWatch` that did not answer in time, and may never; past them a connection is refused at once. */
const MAX_ABANDONED = 4;

/** @internal */
export interface SubscribeRequestsOptions {
  readonly clock: Clock;
  readonly authorizeWatch: PresenceOptions['authorizeWatch'];
  readonly maxWatchIds: number;
  readonly limits: Limits;
  readonly watchers: Watchers;
  report(stage: string, error: unknown, userId?: string): void;
  close(connection: Connection, code: number, reason: string): void;
}

/** What is known of one connection that asks. */
interface Asker {
  readonly bucket: TokenBucket;
  /** Requests in a row that came too soon. */
  tooSoon: number;
  /** Whether `authorizeWatch` is deciding. */
  isDeciding: boolean;
  /** The newest request that came meanwhile. */
  next: WatchRequest | undefined;
  /** Calls of `authorizeWatch` that are not waited for any longer. */
  abandoned: number;
}

/**
 * What clients ask to watch by a frame of their own, and whether they may: so many a second, one decision at a time, and
 * of what comes meanwhile the newest.
 * @internal
 */
export class SubscribeRequests {
  /** Kept only where `authorizeWatch` may ask for them. */
  private readonly identities = new WeakMap<Connection, Identity>();
  private readonly askers = new WeakMap<Connection, Asker>();

  constructor(private readonly options: SubscribeRequestsOptions) {}

  /** Who is behind a connection that may ask. */
  introduce(connection: Connection, identity: Identity): void {
    if (this.options.authorizeWatch !== undefined) this.identities.set(connection, identity);
  }

  /** A frame in which a client asks. It is not decoded before that is known to be of use. */
  take(connection: Connection, frame: Uint8Array): void {
    if (connection.state === 'gone') return;
    const { authorizeWatch, maxWatchIds } = this.options;
    const asker = this.askerOf(connection);
    if (!this.isInTime(connection, asker)) return;
    if (authorizeWatch === undefined) {
      this.refuse(connection, 'not-allowed', 'this router takes no PRESENCE_WATCH');
      return;
    }
    const request = decodeWatch(frame, maxWatchIds);
    if ('code' in request) this.refuse(connection, request.code, request.error, request.request);
    else if (asker.isDeciding) asker.next = request;
    else this.decide(connection, asker, request);
  }

  private askerOf(connection: Connection): Asker {
    let asker = this.askers.get(connection);
    if (asker === undefined) {
      const { clock, limits } = this.options;
      const bucket = new TokenBucket(limits.watchRequestsPerSecond, limits.watchRequestBurst, clock.now());
      asker = { bucket, tooSoon: 0, isDeciding: false, next: undefined, abandoned: 0 };
      this.askers.set(connection, asker);
    }
    return asker;
  }

  /** Whoever asks too often is refused, and whoever goes on is closed. */
  private isInTime(connection: Connection, asker: Asker): boolean {
    const { clock, limits, close } = this.options;
    if (asker.bucket.take(clock.now())) {
      asker.tooSoon = 0;
      return true;
    }
    asker.tooSoon += 1;
    if (asker.tooSoon > limits.watchRequestBurst) {
      close(connection, CloseCode.TOO_MANY_REQUESTS, 'presence: too many requests');
    } else {
      this.refuse(connection, 'too-many-requests', `at most ${limits.watchRequestsPerSecond} requests a second`);
    }
    return false;
  }

  private decide(connection: Connection, asker: Asker, request: WatchRequest): void {
    asker.isDeciding = true;
    this.verdict(connection, asker, request).then((allowed) => {
      asker.isDeciding = false;
      const { next } = asker;
      asker.next = undefined;
      if (connection.state === 'gone') return;
      // A newer request makes this one moot, whatever became of it.
      if (next !== undefined) this.decide(connection, asker, next);
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
    const { clock, limits, report, authorizeWatch } = this.options;
    if (ids === false) return true;
    const late = {
      code: 'timeout',
      error: 'it could not be found out in time whether these users may be watched',
    } as const;
    if (asker.abandoned >= MAX_ABANDONED) return late;
    const identity = this.identities.get(connection) as Identity;
    let isOver = false;
    const call = async (): Promise<boolean | undefined> => {
      try {
        return await authorizeWatch?.(identity, ids === true ? true : Array.from(ids));
      } finally {
        if (isOver) asker.abandoned -= 1;
      }
    };
    try {
      const allowed = await withCallbackDeadline(clock, limits.callbackTimeoutMs, 'authorizeWatch', call);
      if (allowed === true) return true;
    } catch (error) {
      report('authorize', error, connection.userId);
      if (error instanceof CallbackTimeout) {
        isOver = true;
        asker.abandoned += 1;
        return late;
      }
    }
    return { code: 'not-allowed', error: 'these users may not be watched' };
  }

  private refuse(connection: Connection, code: RefusalCode, error: string, request?: number): void {
    this.options.watchers.refuse(connection, { code, error, request });
  }
}
