import type { ErrorStage, PresenceUpdate, RouterRef } from '../public/types';

/**
 * A router, as it identifies itself to a store. A restarted router has another id. A store gives each lease of a router an id that
 * is never used again, and counts the applies that it has acknowledged under that lease. So a late call cannot take effect under a
 * later lease, and a store can detect that its data were set back to an older state.
 */
export interface StoreNode {
  /** Unique; a restarted router has another one. */
  readonly nodeId: string;
  /** How long its lease lasts from each beat, in milliseconds. */
  readonly leaseMs: number;
  /** How long one of its users counts as alive after the last activity, where only an extended lease keeps the user online. */
  readonly ttlMs: number;
  /** The description of the router. A store SHOULD keep it beside the lease, so that operators can list routers. */
  readonly router?: RouterDescription;
}

/** How a router describes itself, for operators. A store does not rely on it. */
export interface RouterDescription {
  /** The name of the router in logs and errors, 1 to 256 bytes. */
  readonly name: string;
  /** The address at which it can be reached, at most 256 bytes; `null` where none was given. */
  readonly address: string | null;
  /** The version of this library. */
  readonly version: string;
  /** How long it has been running, in milliseconds. */
  readonly upMs: number;
}

/** The user of an operation or an activity, and when the user was last active. */
export interface SignOfLife {
  /** The user. */
  readonly userId: string;
  /** Milliseconds since the last activity. */
  readonly ageMs: number;
}

/** A user went from no connection to one on this router. */
export interface JoinOp extends SignOfLife {
  /** Tells operations apart. */
  readonly kind: 'join';
  /** The router held the user already, and registers it again because the store lost it: a change has the reason `resync`. */
  readonly reassert: boolean;
}

/** A user went from one connection to none on this router, by a clean close or a time-out. */
export interface LeaveOp extends SignOfLife {
  /** Tells operations apart. */
  readonly kind: 'leave';
  /** The reason of the change, if the user goes offline. */
  readonly reason: 'disconnect' | 'timeout';
}

/** A user lost the last connection on this router without a close, or is handed over to another router. */
export interface DropOp extends SignOfLife {
  /** Tells operations apart. */
  readonly kind: 'drop';
  /** How long the user stays online from now on, in milliseconds. */
  readonly graceMs: number;
}

/** An operation of a router on one of its users. */
export type PresenceOp = JoinOp | LeaveOp | DropOp;

/** The status of a user in a store. */
export interface StoredStatus {
  /** The user. */
  readonly userId: string;
  /** Whether a live node holds the user, or a grace is running. */
  readonly online: boolean;
  /** In milliseconds since the epoch by the store's clock; `null` for a user who was never seen, or was forgotten since. */
  readonly lastSeen: number | null;
  /** The version of the last change; 0 before the first. In `read`, a store MAY leave it 0 for a user who is online. */
  readonly version: number;
  /**
   * The user is not `online`, but was last published as online: nothing proves that the user is online, and no change has ended
   * it. Feeds report the user as online until they receive that change.
   */
  readonly isPublished?: boolean;
  /**
   * The user is not `online` as far as the store knows. But the store has lost data, or has only just come back, and live routers
   * have not registered all of their users yet: ask again later.
   */
  readonly isUnsure?: boolean;
}

/** An answer to a query. */
export interface StoredStatuses {
  /** The time by the store's clock, in milliseconds since the epoch. */
  readonly now: number;
  /** The users, in the order of the ids in the call, or of the page. */
  readonly users: StoredStatus[];
}

/** A page of users who are online; `cursor` is null on the last one. */
export interface StoredPage extends StoredStatuses {
  /** The cursor of the next page. */
  readonly cursor: string | null;
  /**
   * Users whose last change the feeds of this store object will receive only later: an answer may overtake a change. The change
   * has a reason, which a page does not have.
   */
  readonly coming?: readonly string[];
  /**
   * Users whose `isPublished` is true; they are not among `users`. A caller that subscribes and then reads has to read them again
   * later, since no change is published when their router turns out to be alive.
   */
  readonly unproven?: StoredStatus[];
  /** Users may be missing from the page, see `StoredStatus.isUnsure`. */
  readonly isUnsure?: boolean;
  /** How far the versions had come when the page was read. Absent in a store that has several counters of versions. */
  readonly sequence?: Sequence;
}

/** The state of a counter that numbers the changes of all users. */
export interface Sequence {
  /** The epoch of the counter, without a dot. It is another one after the store has lost its data. */
  readonly epoch: string;
  /** The version of the last change; 0 before the first. The users that were read MUST NOT be older. */
  readonly version: number;
  /**
   * The version up to which the feeds of this store object had received all changes. It may be lower than `version`. Clients
   * resume from it, so it MUST NOT be higher than what was received. @default version
   */
  readonly told?: number;
}

/** Changes from a log, oldest first for each user. */
export interface LoggedChanges {
  /** At most `limit` of them. On a store with several counters, those of one user are in order, and those of two may not be. */
  readonly changes: readonly PresenceUpdate[];
  /** The cursor after these changes. */
  readonly cursor: string;
  /**
   * The log does not reach back to `after`, or `after` belongs to data that are lost. `changes` is empty then, and `cursor` is the
   * end of the log: a listing that is made after this answer, and the changes after `cursor`, are complete.
   */
  readonly isGap: boolean;
  /** Whether there are more changes after `cursor`. */
  readonly hasMore: boolean;
}

/** A named position in the log, which one router of the fleet holds. */
export interface DeliveryClaim {
  /**
   * Fences: a higher one is given with each claim, also after a loss of the data, so it MUST NOT be lower than the time in milliseconds;
   * and `advance` refuses every earlier one. `undefined`: another router holds it.
   */
  readonly token: number | undefined;
  /** Up to where everything was delivered. */
  readonly cursor: string;
  /** The receiver has said that it wants no more. */
  readonly isEnded: boolean;
}

/** What a store keeps of a delivery. */
export interface StoredDelivery {
  /** Its name. */
  readonly name: string;
  /** Up to where everything was delivered. */
  readonly cursor: string;
  /** Whether the receiver has said that it wants no more. */
  readonly isEnded: boolean;
  /** Why the last attempt failed; `null` after one that succeeded. */
  readonly lastError: string | null;
  /** Who holds it; `null` where nobody with a live lease does. */
  readonly router: RouterRef | null;
  /** How many changes there are after `cursor`, also those that the log does not hold any more. */
  readonly lagChanges: number;
}

/** How a delivery moves on. */
export interface DeliveryStep {
  /** Everything up to there was delivered. */
  readonly cursor?: string;
  /** Why the last attempt failed; `null` after one that succeeded. @default unchanged */
  readonly lastError?: string | null;
  /** Whether the receiver wants no more. @default unchanged */
  readonly isEnded?: boolean;
  /** The router holds it no longer, so that another one may claim it at once. */
  readonly isReleased?: boolean;
}

/**
 * The log of changes, and the positions of those to whom they are delivered. Cursors are made and compared by the store alone: to
 * the core they are opaque strings of at most 1,024 characters. A cursor of a page's `sequence`, `<epoch>.<version>`, MUST be
 * accepted as well.
 */
export interface ChangeLog {
  /** Returns the cursor after the last change. Every change that was made before the call MUST be up to it. */
  head(onAnswer?: OnAnswer): Promise<string>;

  /** Returns the cursor before the oldest change that the log holds. */
  oldest(onAnswer?: OnAnswer): Promise<string>;

  /**
   * Returns changes after a cursor; `null`: from the oldest that the log holds.
   *
   * - MUST write a change to the log in the step that decides it, so that no change is missing.
   * - MUST answer `isGap` where it cannot rule out that one is missing.
   *
   * @throws TypeError `ERR_PRESENCE_OPTIONS` (rejects) for a cursor that this store never returns
   */
  read(page: { after: string | null; limit: number }, onAnswer?: OnAnswer): Promise<LoggedChanges>;

  /**
   * Claims a delivery for a node, or finds out who has it. A claim lasts as long as the lease of the node, or until it is released.
   * The node that holds it MAY claim it again, and gets another token.
   *
   * @param from - where a delivery of that name begins that the store does not know; `null`: at a cursor of which `read` says that there
   * is a gap
   * @param isResumed - begins again where the receiver had ended it
   */
  claim(
    node: StoreNode,
    name: string,
    from: string | null,
    isResumed: boolean,
    onAnswer?: OnAnswer,
  ): Promise<DeliveryClaim>;

  /** Moves a delivery on. MUST do nothing and return false where `token` is not that of the last claim. */
  advance(name: string, token: number, step: DeliveryStep, onAnswer?: OnAnswer): Promise<boolean>;

  /** Returns all deliveries. */
  deliveries(onAnswer?: OnAnswer): Promise<StoredDelivery[]>;

  /**
   * The cursor up to which the feeds of this store object have received every change, at once; `undefined` while that is not known.
   * With it, clients resume where pages have no `sequence`.
   */
  toldTo?(): string | undefined;

  /** Whether the feeds of this store object have received every change up to a cursor, at once. It goes with `toldTo`. */
  hasTold?(cursor: string): boolean;
}

/** A problem that lasts longer than one call. */
export interface StoreProblem {
  /** The operation that fails, as in `onError`. */
  readonly stage: ErrorStage;
  /** The problem, and its consequence. */
  readonly message: string;
  /** When it began, in milliseconds since the epoch by the clock of this machine. */
  readonly since: number;
}

/** The functions by which a store notifies a router. They never throw. */
export interface StoreFeed {
  /** The status of a user has changed, through any router. `lastSeen`: in milliseconds since the epoch. */
  onTransition(update: PresenceUpdate, lastSeen: number): void;
  /**
   * Changes may have been missed, and cannot be delivered one by one any more. The router reads all users again, and publishes the
   * differences. It reports a user whom the store does not know at all as offline only a lease later, when the router of that user
   * has had the time to register the user again.
   */
  onGap(): void;
  /** A deadline will be reached in `inMs` milliseconds. The router sends a beat then, so that the store acts on time. */
  onDue(inMs: number): void;
  /**
   * The store has lost the data of some users. The router registers those of them who are connected to it again. A store that can
   * lose a part of its data MAY call it.
   */
  onLost(isLost: (userId: string) => boolean): void;
  /** Work in the background has failed, and will be tried again. */
  onError(stage: ErrorStage, error: unknown): void;
}

/** A store calls it when the backend has answered a part of a call. Never throws. */
export type OnAnswer = () => void;

/**
 * A store of presence, between the core of a router, which owns its connections, and the backend that the routers share. The store
 * decides from the connections of all routers who is online.
 *
 * Duties that hold for all functions:
 *
 * - Every change of a user's status MUST happen exactly once, whatever the number of routers, be numbered with a
 *   version greater than every earlier one of that user, and be delivered to every feed, also to that of the router that caused it.
 * - Versions MUST also grow across a loss of the backend's data, as long as a router that uses it remembers them.
 * - A user MUST be online exactly while a node with a live lease has joined and not left, or a grace is running.
 * - Calls of one node MUST take effect in order, or not at all, also when an earlier one fails.
 * - `read`, `list` and `count` MUST see the effects of earlier calls through the same store object.
 * - All operations MUST be idempotent, since a call whose answer was lost is repeated.
 * - Time MUST be that of the store. Routers pass only ages and durations: non-negative safe integers, in milliseconds.
 * - Whether a user is online SHOULD be decided by `decide` of `transitions.ts`, or by a translation that is held to its table.
 * - Several stores MAY be opened at once on a backend that is still empty; they MUST then use the same data.
 * - A client that the caller passed in belongs to the caller: the store MUST NOT close it.
 * - Ids MUST be treated as data: two are equal only if their UTF-8 bytes are; none may collide with a prototype, or with
 *   a key of the store.
 * - A store that cannot reach its backend MUST reject, and MUST NOT answer from memory. It MAY also not answer, since the core
 *   stops waiting.
 * - A call that sends several requests to its backend SHOULD call `onAnswer` at each answer, and SHOULD send at once those that do
 *   not depend on another: the core gives a call up when nothing was answered for `commandTimeoutMs`. A step in
 *   opening a connection counts as an answer.
 * - Calls that the core has given up MUST NOT pile up: the core calls again later, with the newest state.
 * - It MUST NOT keep the process alive, and MUST NOT write to the console.
 */
export interface PresenceStore {
  /**
   * Renews the lease of a node. Where it has none, the store gives it one and answers `known: false`, and the core
   * registers all of its users again.
   *
   * - MUST first renew the lease, then end graces that have run out (reason `timeout`, published in the order in which
   *   they ran out, as far as one counter numbers their users), and take away the users of every node whose lease has lapsed
   *   (reason `node-down`). It MAY do that in the background.
   * - MUST NOT take a lapsed lease for a dead node where the store itself was away, or received no call, for longer than
   *   half a lease. It then gives a node a full lease again, once between two beats of that node. Other calls of a
   *   node do not count as its beat.
   */
  beat(
    node: StoreNode,
    onAnswer?: OnAnswer,
  ): Promise<{
    known: boolean;
    /** The time by the store's clock, in milliseconds since the epoch, for `health()`. */
    now?: number;
  }>;

  /**
   * Applies the changes on a node, in order. At most 1,000 operations a call.
   *
   * - MUST do nothing and answer `known: false` where the node has no lease.
   * - MUST reject while an earlier call of the same node is unanswered.
   * - A grace that has run out MUST end before an operation on its user is applied, even if no beat has ended it yet.
   * - `join` MUST end a grace of the user. It MUST NOT publish a change where the user is online already.
   * - `leave` MUST take the user offline at once, but not while another node holds the user or a grace is running; then it MUST
   *   NOT publish a change.
   * - `drop` MUST keep the user online for `graceMs`, also when this router or another one dies meanwhile. With 0 the user
   *   MUST go offline at once, with the reason `timeout`. A longer grace that is running MUST NOT be shortened.
   * - `leave` and `drop` of a user whom the node does not hold MUST change nothing.
   * - Last seen MUST become `now - ageMs`, and MUST NOT go back.
   */
  apply(node: StoreNode, ops: readonly PresenceOp[], onAnswer?: OnAnswer): Promise<{ known: boolean }>;

  /**
   * Records activity of users whom the node holds. At most 1,000 a call.
   *
   * - MUST NOT bring a user online. It MUST return users whom the store does not hold as `missing`, and the core registers them
   *   again. Users whom it holds only for other nodes SHOULD be among them.
   * - MUST answer `known: false` where the node has no lease.
   */
  refresh(
    node: StoreNode,
    signs: readonly SignOfLife[],
    onAnswer?: OnAnswer,
  ): Promise<{ known: boolean; missing: string[] }>;

  /**
   * Ends the lease of a node that has left. The users whom it still holds MUST be treated as if it had just died.
   * MUST NOT fail for an unknown node.
   */
  release(node: StoreNode): Promise<void>;

  /**
   * The core has registered all users of a node after a beat that answered `known: false`. A store that has lost data MAY wait
   * for that, see `isUnsure`; other stores MAY leave it out.
   */
  registered?(node: StoreNode): Promise<void>;

  /**
   * Returns one entry for each id, in order. MUST NOT say online where the grace or the lease has ended.
   *
   * @param isBelieved - whether the caller takes a user for online. A store MAY read less at first of such a user, and MUST NOT
   * believe it
   */
  read(
    userIds: readonly string[],
    onAnswer?: OnAnswer,
    isBelieved?: (userId: string) => boolean,
  ): Promise<StoredStatuses>;

  /**
   * Returns a page of users who are online, at most `limit` of them, which is 1 to 5,000. `cursor` is null for the first page, else
   * that of the previous page. A user who stays online all the while MUST be on exactly one page.
   *
   * @throws TypeError `ERR_PRESENCE_OPTIONS` (rejects) for a cursor that this store never returns
   */
  list(page: { cursor: string | null; limit: number }, onAnswer?: OnAnswer): Promise<StoredPage>;

  /** Returns how many users are online; undefined where the store is not sure, see `isUnsure`. */
  count(onAnswer?: OnAnswer): Promise<number | undefined>;

  /**
   * Delivers every change from now on to a feed, those of each user in order.
   *
   * - MUST NOT call the feed before this or another function of the store has returned.
   * - MUST call `onGap` when it cannot rule out that a change was missed.
   * - MUST call `onDue` when a grace starts, unless beats come sooner anyway; at least for the feeds of the store object
   *   through which the user was dropped.
   *
   * @returns the function that ends the subscription; idempotent, and the feed is not called after it
   */
  subscribe(feed: StoreFeed): () => void;

  /**
   * Resolves once the feeds have received every change that earlier answers include, or `onGap` was called for it. A store that
   * delivers changes before the answers to later calls MAY leave it out.
   */
  caughtUp?(): Promise<void>;

  /** The log of changes. A store that keeps none leaves it out; `presence.changes` then rejects with `ERR_PRESENCE_UNSUPPORTED`. */
  readonly log?: ChangeLog;

  /** Returns the current problems of the store, for `health()`. It MAY be left out. */
  problems?(): StoreProblem[];

  /** Describes the store in the log: `redis at localhost:6379`. MUST NOT contain a password. It MAY be left out. */
  describe?(): string;
}
