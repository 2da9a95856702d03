import type { ErrorStage, PresenceUpdate } from '../public/types';

/**
 * The router that speaks to a store, never reused after a restart. A store gives each lease of it an id of its own, which is never
 * used again, and counts the applies that it has acknowledged under that lease: so nothing late takes effect under a later lease,
 * and a store that was set back to older data finds out.
 */
export interface StoreNode {
  /** Unique to this incarnation. */
  readonly nodeId: string;
  /** How long its lease lasts from each beat on. */
  readonly leaseMs: number;
  /** How long one of its users counts as alive after the last activity, where nothing but an extended lease keeps them online. */
  readonly ttlMs: number;
  /** What the router says of itself. A store SHOULD keep it beside the lease, for whoever lists routers. */
  readonly router?: RouterDescription;
}

/** What a router says of itself. It proves nothing. */
export interface RouterDescription {
  /** What logs and errors call it, 1 to 256 bytes. */
  readonly name: string;
  /** Where it can be reached, at most 256 bytes; `null` where it does not say. */
  readonly address: string | null;
  /** Of this library. */
  readonly version: string;
  /** For how many milliseconds it has been running. */
  readonly upMs: number;
}

/** What every operation, and every activity, says of a user. */
export interface SignOfLife {
  /** Of whom it is said. */
  readonly userId: string;
  /** Milliseconds since the last activity. */
  readonly ageMs: number;
}

/** A user went from no connection to one on this router. */
export interface JoinOp extends SignOfLife {
  /** Tells operations apart. */
  readonly kind: 'join';
  /** The user was here already, and the store is told again because it forgot: a change has the reason `resync`. */
  readonly reassert: boolean;
}

/** A user went from one connection to none on this router, by a clean close or after silence. */
export interface LeaveOp extends SignOfLife {
  /** Tells operations apart. */
  readonly kind: 'leave';
  /** Of the change, if it is one. */
  readonly reason: 'disconnect' | 'timeout';
}

/** A user lost the last connection on this router without a close, or is handed over. */
export interface DropOp extends SignOfLife {
  /** Tells operations apart. */
  readonly kind: 'drop';
  /** How long the user stays online yet. */
  readonly graceMs: number;
}

/** What a router tells the store of one of its users. */
export type PresenceOp = JoinOp | LeaveOp | DropOp;

/** What a store knows of a user. */
export interface StoredStatus {
  /** Of whom. */
  readonly userId: string;
  /** Whether some live node holds the user, or a grace runs. */
  readonly online: boolean;
  /** Milliseconds since the epoch by the store's clock; `null` when never seen, or forgotten since. */
  readonly lastSeen: number | null;
  /** Of the last change; 0 when there was none. A store MAY leave it 0 in `read` of a user who is online. */
  readonly version: number;
  /**
   * Not `online`, and told online last all the same: nothing proves it, and nothing has ended it. Whoever listens goes on to
   * believe it until told otherwise.
   */
  readonly isPublished?: boolean;
  /**
   * Not `online` as far as the store knows, which has lost what it held, or is back since a moment: routers that live have not
   * told it their users yet. Who asks once asks again.
   */
  readonly isUnsure?: boolean;
}

/** An answer to a query. */
export interface StoredStatuses {
  /** The time by the store's clock, in milliseconds since the epoch. */
  readonly now: number;
  /** In the order asked, or of the page. */
  readonly users: StoredStatus[];
}

/** A page of users who are online; `cursor` is null on the last one. */
export interface StoredPage extends StoredStatuses {
  /** For the next page. */
  readonly cursor: string | null;
  /**
   * Users whose last change has not been told to the feeds of this store object yet, and will be: what is read may come
   * sooner than what is told. A change told by the feed has its own reason, which a page knows nothing of.
   */
  readonly coming?: readonly string[];
  /**
   * Users of whom `isPublished` holds, and who are not among `users`. Whoever reads in order to listen from then on looks again
   * a while later: that their router is back after all is told by no change.
   */
  readonly unproven?: StoredStatus[];
  /** Somebody may be missing, see `isUnsure` of a user. */
  readonly isUnsure?: boolean;
  /** How far versions were when it was read. A store that counts them in several places has none to give. */
  readonly sequence?: Sequence;
}

/** Versions that one counter gives to the changes of all users: who has seen one has seen whatever is lower. */
export interface Sequence {
  /** Of the counter: another one after the store has lost what it held. Without a dot. */
  readonly epoch: string;
  /** The last version that was given; 0 for none. What is read MUST NOT be older. */
  readonly version: number;
  /**
   * Up to where changes had been told to the feeds of this store object when it was read: what is read may say more than
   * what has come. Whoever was told so far goes on from there, so this MUST NOT be more. @default version
   */
  readonly told?: number;
}

/** Something that is wrong for longer than one call. */
export interface StoreProblem {
  /** As of `onError`. */
  readonly stage: ErrorStage;
  /** What is wrong, and what follows. */
  readonly message: string;
  /** Since when, in milliseconds since the epoch by the clock of this machine. */
  readonly since: number;
}

/** What a store tells a router. Its functions never throw. */
export interface StoreFeed {
  /** A change of a user's status, of any router. `lastSeen` is that of the user, in milliseconds since the epoch. */
  onTransition(update: PresenceUpdate, lastSeen: number): void;
  /**
   * Changes may have been missed, and can't be told one by one any more: everything is read again, and what differs is
   * told. Whom the store has forgotten without a trace is told offline only a lease later, when the router of a user who
   * is still there has had time to assert it anew.
   */
  onGap(): void;
  /** Something falls due in `inMs`: a beat then tells it on time. */
  onDue(inMs: number): void;
  /**
   * The store has lost what it held of some users: who of them is connected here is asserted anew. It MAY be called, by stores
   * that can lose a part of what they hold.
   */
  onLost(isLost: (userId: string) => boolean): void;
  /** Something failed that no call waits for; it will be tried again. */
  onError(stage: ErrorStage, error: unknown): void;
}

/** What calls are given to say that the backend has answered a part of one. Never throws. */
export type OnAnswer = () => void;

/**
 * Where presence is kept. Three parties meet here: the core, which owns the connections of one router; the store,
 * which decides what that means for the world; and other routers on the same backend.
 *
 * Duties that hold for all functions:
 *
 * - Every change of a user's status MUST happen exactly once, whatever the number of routers, be numbered with a
 *   version greater than every earlier one of that user, and be told to every feed, the causing router's included.
 * - Versions MUST go on growing after the backend has lost what it held, as long as any router that uses it remembers.
 * - A user MUST be online exactly while a node with a live lease has joined and not left, or a grace is running.
 * - Calls of one node MUST take effect in the order of the calls, or not at all, also when an earlier one fails.
 * - `read`, `list` and `count` MUST see what earlier calls through the same store object have done.
 * - All operations MUST be idempotent: a call whose answer was lost is made again.
 * - Time MUST be the store's own. Only ages and durations cross this interface: non-negative safe integers, in milliseconds.
 * - Whether a user is online SHOULD be decided by `decide` of `transitions.ts`, or by a translation that is held to its table.
 * - Several stores MAY be opened at once on a backend that is still empty; they MUST then use the same data.
 * - A client that was passed in stays the caller's: the store MUST NOT close it.
 * - Ids MUST be treated as data: two are the same only where their bytes are, in UTF-8; none may collide with a prototype or
 *   with a key of the store's.
 * - A store that is away MUST reject, and MUST NOT answer from memory; it MAY also not answer: the core stops waiting.
 * - A call that asks its backend more than once SHOULD call `onAnswer` at each answer, and SHOULD NOT ask one after
 *   another what it can ask at once: the core gives it up once nothing has been answered for `commandTimeoutMs`. A step
 *   on the way to a connection, such as that it is open, is an answer, too.
 * - Calls that the core has given up MUST NOT pile up: the core calls again, with the newest state, when the time comes.
 * - It MUST NOT keep the process alive, and MUST NOT write to the console.
 */
export interface PresenceStore {
  /**
   * Renews the lease of a node, or makes it where there is none, in which case `known` is false and the core
   * asserts all of its users anew.
   *
   * - MUST first renew, then settle what is due: end graces that ran out (reason `timeout`, told in the order in which
   *   they ran out, as far as one counter numbers their users), and take away the users of every node whose lease lapsed (reason `node-down`). It MAY go on with
   *   that in the background.
   * - MUST NOT take a lapsed lease for a dead node where the store itself was away or had not been asked for longer than
   *   half a lease: then a node gets a full lease anew, once from one beat of its own to the next. What it is asked by a node is
   *   no beat of that node.
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
   * Applies what changed on a node, in order. At most 1,000 operations a call.
   *
   * - MUST do nothing and answer `known: false` when the node has no lease.
   * - MUST reject while an earlier call of the same node is unanswered.
   * - A grace that has run out MUST end before whatever is applied to its user, though no beat has ended it yet.
   * - `join` MUST end a grace of the user. It MUST NOT tell anything when the user was online already.
   * - `leave` MUST be at once (unless a grace is running, which is then waited for), and MUST tell nothing while
   *   another node holds the user.
   * - `drop` MUST keep the user online for `graceMs`, also when this router or another one dies meanwhile. With 0 it
   *   MUST be at once, with the reason `timeout`. A longer grace that is running MUST NOT be shortened.
   * - `leave` and `drop` of a user whom the node does not hold MUST change nothing.
   * - Last seen MUST become `now - ageMs`, and MUST NOT go back.
   */
  apply(node: StoreNode, ops: readonly PresenceOp[], onAnswer?: OnAnswer): Promise<{ known: boolean }>;

  /**
   * Activity of users whom the node holds. At most 1,000 a call.
   *
   * - MUST NOT make anybody online. Users whom the store does not hold are given back as `missing`, and the core asserts
   *   them anew. Those whom it holds for other nodes only SHOULD be, too.
   * - MUST answer `known: false` when the node has no lease.
   */
  refresh(
    node: StoreNode,
    signs: readonly SignOfLife[],
    onAnswer?: OnAnswer,
  ): Promise<{ known: boolean; missing: string[] }>;

  /**
   * Ends the lease of a node that has left. Whatever it still holds MUST be treated as if it had died just now.
   * MUST NOT fail for a node that is unknown.
   */
  release(node: StoreNode): Promise<void>;

  /**
   * The core has told all users of a node since a beat answered `known: false`. A store that has lost what it held MAY wait
   * for that, see `isUnsure`; another one MAY leave it out.
   */
  registered?(node: StoreNode): Promise<void>;

  /** One entry an id, in the order asked. MUST NOT say online for a grace or a lease that has ended. */
  read(userIds: readonly string[], onAnswer?: OnAnswer): Promise<StoredStatuses>;

  /**
   * A page of users who are online, at most `limit` of them, which is 1 to 5,000. `cursor` is null for the first page, else
   * what the page before gave.
   * A user who stays online all the while MUST be on exactly one page.
   *
   * @throws TypeError `ERR_PRESENCE_OPTIONS` (rejects) for a cursor that this store never gives
   */
  list(page: { cursor: string | null; limit: number }, onAnswer?: OnAnswer): Promise<StoredPage>;

  /** How many users are online; undefined where the store is not sure, as of `isUnsure`. */
  count(onAnswer?: OnAnswer): Promise<number | undefined>;

  /**
   * Tells a feed every change from now on, in the order in which they happened to each user.
   *
   * - MUST NOT call the feed before this or another function of the store has returned.
   * - MUST call `onGap` when it cannot rule out that a change was missed.
   * - MUST call `onDue` for a grace that starts, unless beats come sooner anyway; at least of the feeds of the store object
   *   through which the user was dropped.
   *
   * @returns the function that ends it; idempotent, and nothing is told after it
   */
  subscribe(feed: StoreFeed): () => void;

  /**
   * Resolves once every change of which the answers so far know was told to the feeds, or `onGap` was called for it. A store
   * MAY leave it out whose changes are told before the answer to whatever is asked later.
   */
  caughtUp?(): Promise<void>;

  /** What is wrong with it now, for `health()`. A store that has nothing to say MAY leave it out. */
  problems?(): StoreProblem[];

  /** What it is and where, for the log: `redis at localhost:6379`. MUST NOT say a password. It MAY be left out. */
  describe?(): string;
}
