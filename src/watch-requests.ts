import { toInterest } from './arguments';
import type { Connection } from './connections/connection';
import type { Identity, PresenceOptions } from './types';
import type { Interest } from './watcher';
import type { Watchers } from './watchers';
import { toWatchRequest } from './wire/watch-request';

/** @internal */
export interface WatchRequestsOptions {
  readonly authorizeWatch: PresenceOptions['authorizeWatch'];
  readonly maxWatchIds: number;
  readonly watchers: Watchers;
  report(stage: string, error: unknown, userId?: string): void;
}

/**
 * What clients ask to watch by a frame of their own, and whether they may.
 * @internal
 */
export class WatchRequests {
  /** Kept only where `authorizeWatch` may ask for them. */
  private readonly identities = new WeakMap<Connection, Identity>();
  /** How often each connection has asked: a newer request makes an older one moot. */
  private readonly requests = new WeakMap<Connection, number>();

  constructor(private readonly options: WatchRequestsOptions) {}

  /** Who is behind a connection that may ask. */
  introduce(connection: Connection, identity: Identity): void {
    if (this.options.authorizeWatch !== undefined) this.identities.set(connection, identity);
  }

  /** A frame in which a client asks. */
  take(connection: Connection, frame: Uint8Array): void {
    this.grant(connection, frame).catch((error: unknown) => {
      this.options.report('authorize', error, connection.userId);
      this.options.watchers.refuse(connection, 'these users may not be watched');
    });
  }

  /** Lets a client watch what it asks for, where that is allowed. */
  private async grant(connection: Connection, frame: Uint8Array): Promise<void> {
    const { authorizeWatch, maxWatchIds, watchers } = this.options;
    const request = toWatchRequest(frame, maxWatchIds);
    const number = (this.requests.get(connection) ?? 0) + 1;
    this.requests.set(connection, number);
    const refuse = (details: string): void => watchers.refuse(connection, details);
    if (authorizeWatch === undefined) return refuse('this router takes no PRESENCE_WATCH');
    if (request === undefined || (request.ids !== true && request.ids !== false && request.ids.length > maxWatchIds)) {
      return refuse(`ids is true, false, or a list of at most ${maxWatchIds} ids in 256 KiB`);
    }
    let interest: Interest | undefined;
    try {
      interest = toInterest(request.ids);
    } catch (error) {
      return refuse((error as Error).message);
    }
    const { cursor, request: name } = request;
    const asked = interest === 'all' ? true : interest && Array.from(interest);
    const identity = this.identities.get(connection) as Identity;
    const isAllowed = asked === undefined || (await authorizeWatch(identity, asked)) === true;
    if (connection.state === 'gone' || this.requests.get(connection) !== number) return;
    if (isAllowed) watchers.watch(connection, interest, { name, cursor });
    else refuse('these users may not be watched');
  }
}
