import type { Clock } from '../../public/clock';
import { toUserId } from '../../public/user-id';
import { Subscriber } from '../redis/connection/subscriber';
import { BATCH, FORKS, type ForkClient, UPDATES, valuesOf } from './fork-keys';
import type { ForkUsers } from './fork-users';
import type { OwnUsers } from './own-users';

/** The most characters of a message. Those of the fork are far shorter. */
const MAX_TEXT = 8_192;
/** The most users whose messages wait for verification. Above it, all keys are scanned instead. */
const MAX_SAID = 10_000;
/** The most users who are remembered to have left the fork: one of them may connect here a moment later. */
const MAX_LEFT = 100_000;
const LEFT_MS = 30_000;
/** The time from one verification to the next. */
const VERIFY_MS = 200;
/** How often a verification is repeated while other routers of this library react to the same message. */
const MAX_TRIES = 3;

/** @internal */
export interface ForkMessagesOptions {
  readonly client: ForkClient;
  readonly clock: Clock;
  readonly users: ForkUsers;
  readonly own: OwnUsers;
  /** Messages may have been missed, so the keys have to be scanned. */
  onMissed(): void;
  /** A background operation has failed. */
  onError(error: unknown): void;
}

/** The status of a user in a published message, and how often it was verified. */
interface Said {
  readonly status: 'online' | 'offline';
  readonly tries: number;
}

/** Receives the messages of the fork's routers. Anybody may publish, so each is checked against the keys first. @internal */
export class ForkMessages {
  /** The latest message about each user, until it is verified. */
  private readonly said = new Map<string, Said>();
  /** When each user left the fork, by its messages; the latest is last. */
  private readonly left = new Map<string, number>();
  private isVerifying = false;
  private verifyTimer: unknown;
  private subscriber: Subscriber | undefined;

  constructor(private readonly options: ForkMessagesOptions) {}

  start(): void {
    this.subscriber = this.subscriber ?? this.subscribe();
  }

  stop(): void {
    this.subscriber?.close();
    this.subscriber = undefined;
    this.said.clear();
    this.left.clear();
    this.options.own.forgetContradicted();
    this.options.clock.clearTimeout(this.verifyTimer);
    this.verifyTimer = undefined;
  }

  /** Whether a user has just left the fork. The entry is removed. */
  hasLeft(userId: string): boolean {
    const at = this.left.get(userId);
    return this.left.delete(userId) && Math.abs(this.options.clock.now() - (at as number)) <= LEFT_MS;
  }

  /** Checks messages against the keys, which the fork writes before it publishes. Then it corrects the fork about users here. */
  verify(): void {
    if (this.isVerifying || this.verifyTimer !== undefined || this.subscriber === undefined) return;
    if (this.said.size === 0 && !this.options.own.hasContradicted) return;
    this.isVerifying = true;
    this.verifySome()
      .then(
        () => {
          this.isVerifying = false;
          if (this.subscriber === undefined) return;
          this.verifyTimer = this.options.clock.setTimeout(() => {
            this.verifyTimer = undefined;
            this.verify();
          }, VERIFY_MS);
        },
        (error) => {
          // The next heartbeat tries again.
          this.isVerifying = false;
          throw error;
        },
      )
      .catch((error) => this.options.onError(error));
  }

  private subscribe(): Subscriber {
    const { client, clock, onMissed, onError } = this.options;
    return new Subscriber({
      clock,
      client,
      channels: [UPDATES],
      onMessage: (_, text) => this.onMessage(text),
      onListening: () => onMissed(),
      onError,
    });
  }

  private onMessage(text: string): void {
    const message = toForkMessage(text);
    if (message === undefined) return;
    const { userId, status } = message;
    if (status === 'online') this.left.delete(userId);
    else if (this.options.own.has(userId)) this.options.own.contradict(userId);
    else this.rememberLeft(userId);
    if (this.said.size < MAX_SAID || this.said.has(userId)) this.said.set(userId, { status, tries: 0 });
    else this.options.onMissed();
    this.verify();
  }

  private rememberLeft(userId: string): void {
    this.left.delete(userId);
    this.left.set(userId, this.options.clock.now());
    for (const oldest of this.left.keys()) {
      if (this.left.size <= MAX_LEFT) break;
      this.left.delete(oldest);
    }
  }

  private async verifySome(): Promise<void> {
    const some: Array<[string, Said]> = [];
    for (const entry of this.said) if (some.push(entry) === BATCH) break;
    if (some.length > 0) await this.verifySaid(some);
    await this.options.own.correctFork();
  }

  private async verifySaid(some: ReadonlyArray<readonly [string, Said]>): Promise<void> {
    const { client, users } = this.options;
    const values = await valuesOf(
      client,
      some.map(([userId]) => userId),
    );
    // The store has overwritten the value of the fork, or the fork never wrote this key.
    const unclear = some.filter((_, index) => values[index] !== null && values[index] !== FORKS);
    const members = await users.membersOf(unclear.map(([userId]) => userId));
    for (const [index, [userId, said]] of some.entries()) {
      // A newer message has arrived meanwhile.
      if (this.said.get(userId) !== said) continue;
      this.said.delete(userId);
      const { status, tries } = said;
      if (values[index] === null) users.letGo(userId, 'disconnect');
      else if (values[index] === FORKS) users.hold(userId);
      else if (members.has(userId) !== (status === 'online') && tries < MAX_TRIES) {
        this.said.set(userId, { status, tries: tries + 1 });
      } else if (!members.has(userId)) users.letGo(userId, 'disconnect');
      else if (!users.has(userId)) users.hold(userId);
    }
  }
}

/** Returns `undefined` for other messages. Those of this library have a `reason`, and the store already has their changes. */
function toForkMessage(text: string): { readonly userId: string; readonly status: Said['status'] } | undefined {
  if (text.length > MAX_TEXT) return undefined;
  try {
    const message: { [name: string]: unknown } | null = JSON.parse(text);
    if (message?.['type'] !== 'presence_update' || message['reason'] !== undefined) return undefined;
    const userId = toUserId(message['userId'], 'userId');
    const { status } = message as { status?: unknown };
    return status === 'online' || status === 'offline' ? { userId, status } : undefined;
  } catch {
    return undefined;
  }
}
