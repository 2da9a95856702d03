import { withDeadline } from '../diagnostics/call-timeout';
import { withCallbackDeadline } from '../diagnostics/callback-deadline';
import { type DeliveryFailures, messageOf } from '../diagnostics/error-reporter';
import { backoffMs } from '../public/backoff';
import { type Clock, randomOf } from '../public/clock';
import { PresenceError } from '../public/errors';
import type { ChangeBatch, ChangeHandler } from '../public/types';
import type { ChangeLog, DeliveryStep, StoreNode } from '../stores/port';
import { Pause } from './pause';

/** The least time between two reads, in which changes are gathered, so that a busy fleet costs few of them. A change after a quiet time is read at once. */
const GATHER_MS = 200;
/** The bounds of the wait after a handler or the store has failed. */
const RETRY = { leastMs: 1_000, mostMs: 60_000 };
/** The longest wait that a handler may ask for, by `retryAfterMs` of its error. */
const MOST_RETRY_AFTER_MS = 3_600_000;

/** How many calls of a handler may be under way that have taken too long. Each of them holds a batch in memory, perhaps for ever. */
const MOST_UNANSWERED = 100;

/** The most characters of an error that are kept. */
const MAX_ERROR = 500;

/** What a handler may say with its error. */
interface Advice {
  /** Wait at least so long, in milliseconds. */
  readonly retryAfterMs: number;
  /** The receiver wants no more. */
  readonly isEnded: boolean;
}

/** @internal */
export interface DeliverySettings {
  readonly name: string;
  readonly handler: ChangeHandler;
  readonly batch: number;
  readonly from: 'now' | 'start' | 'listing';
  readonly timeoutMs: number;
  readonly resume: boolean;
}

/** @internal */
export interface DeliveryHost {
  readonly clock: Clock;
  readonly log: ChangeLog;
  readonly node: StoreNode;
  readonly commandTimeoutMs: number;
  /** Resolves once this router has a lease; rejects once the presence is closed. */
  ready(): Promise<void>;
  read(since: string, limit: number): Promise<ChangeBatch>;
  readonly failures: DeliveryFailures;
}

/** A claim that this router holds. */
interface Held {
  readonly token: number;
  /** The position that the store knows. */
  stored: string;
  /** Up to where the handler has taken everything; within a listing after a gap it is ahead of the position. */
  done: string;
  /** What the handler has not taken: it gets the same again. */
  retry: ChangeBatch | undefined;
  /** When the store last said that the claim is ours. */
  confirmedAt: number;
}

/**
 * Delivers changes to one handler, as long as this router holds the claim; the other routers of the fleet wait for it. At least
 * once: the position moves after the handler has resolved.
 * @internal
 */
export class Delivery {
  private held: Held | undefined;
  /** The furthest position that is known here, in case the store loses it. */
  private known: string | undefined;
  private isResumed: boolean;
  private failures = 0;
  /** How often in a row the claim was refused. */
  private refusals = 0;
  /** Calls of the handler that have not ended. */
  private unanswered = 0;
  private readonly pause: Pause;
  private readonly running: Promise<void>;
  private readonly tickMs: number;

  constructor(
    private readonly settings: DeliverySettings,
    private readonly host: DeliveryHost,
  ) {
    this.isResumed = settings.resume;
    this.tickMs = host.node.leaseMs / 3;
    this.pause = new Pause(host.clock);
    this.running = this.run();
  }

  /** There may be changes. */
  wake(): void {
    this.pause.wake();
  }

  /** Resolves once the handler is done with what it has, and the claim is released. */
  async stop(): Promise<void> {
    this.pause.stop();
    await this.running;
    this.host.failures.forget();
    await this.release();
  }

  /** Gives the claim up at once: what the handler still has at hand will be repeated elsewhere. */
  abandon(): Promise<void> {
    this.pause.stop();
    return this.release();
  }

  private async run(): Promise<void> {
    // Without a lease nothing can be claimed.
    await this.pause.until(this.host.ready());
    while (!this.pause.isStopped) {
      let waitMs: number;
      try {
        waitMs = await this.step();
        this.failures = 0;
        if (this.held === undefined) this.host.failures.forget();
        else this.host.failures.worked();
      } catch (error) {
        if (this.pause.isStopped) return;
        this.host.failures.report(error);
        const { retryAfterMs } = adviceOf((error as PresenceError).cause);
        waitMs = Math.max(backoffMs(this.failures, RETRY, randomOf(this.host.clock)), retryAfterMs);
        this.failures += 1;
        await this.pause.sleep(waitMs);
        continue;
      }
      if (waitMs > 0 && !this.pause.isStopped) await this.pause.sleepUntilChange(GATHER_MS, waitMs);
    }
  }

  /** Delivers one batch. Returns how long to wait, unless there are changes sooner. */
  private async step(): Promise<number> {
    const held = this.held ?? (await this.claim());
    if (held === undefined) {
      // At first this router may have no lease yet.
      this.refusals += 1;
      return Math.min(this.tickMs, GATHER_MS * 2 ** this.refusals);
    }
    this.refusals = 0;
    const { clock } = this.host;
    // A router that stood still may have lost the claim meanwhile; so it asks before it calls the handler.
    const ageMs = clock.now() - held.confirmedAt;
    if ((ageMs < 0 || ageMs >= this.tickMs) && !(await this.advance(held, {}))) return 0;
    const batch = held.retry ?? (await this.host.read(held.done, this.settings.batch));
    if (this.pause.isStopped) return 0;
    if (!batch.gap && batch.changes.length === 0) {
      // The last position could not be written.
      if (held.stored !== held.done) await this.advance(held, { cursor: held.done, lastError: null });
      return this.tickMs;
    }
    await this.hand(held, batch);
    return batch.more === true || batch.changes.length >= this.settings.batch ? 0 : this.tickMs;
  }

  private async hand(held: Held, batch: ChangeBatch): Promise<void> {
    const { clock } = this.host;
    const { name, timeoutMs } = this.settings;
    try {
      await withCallbackDeadline(clock, timeoutMs, `the handler of ${name}`, () => this.call(held, batch));
    } catch (error) {
      const failure = failed(name, error);
      held.retry = batch;
      const { isEnded } = adviceOf(error);
      // Where the store is away, too, the handler is still the first reason.
      await this.advance(held, { lastError: failure.message, ...(isEnded ? { isEnded } : {}) }).then(
        () => {
          if (isEnded) this.held = undefined;
        },
        () => undefined,
      );
      throw failure;
    }
    held.retry = undefined;
    held.done = batch.cursor;
    // The position moves after the last page of a listing: another router has to begin it anew.
    if (batch.gap && batch.more === true) return;
    await this.advance(held, { cursor: batch.cursor, lastError: null });
  }

  private async call({ token }: Held, batch: ChangeBatch): Promise<void> {
    if (this.unanswered >= MOST_UNANSWERED) throw new Error(`${MOST_UNANSWERED} earlier calls of it have not ended`);
    this.unanswered += 1;
    try {
      // A copy, since a handler may change what it gets, and gets it again where it fails.
      await this.settings.handler(copyOf(batch), { token });
    } finally {
      this.unanswered -= 1;
    }
  }

  private async claim(): Promise<Held | undefined> {
    const { log, node, clock } = this.host;
    const { name, from } = this.settings;
    if (this.known === undefined && from !== 'listing')
      this.known = await this.ask((onAnswer) => (from === 'now' ? log.head(onAnswer) : log.oldest(onAnswer)));
    const start = this.known ?? null;
    const claim = await this.ask((onAnswer) => log.claim(node, name, start, this.isResumed, onAnswer));
    this.known = claim.cursor;
    // An end that comes later is not meant.
    this.isResumed = false;
    if (claim.token === undefined) return undefined;
    const { token, cursor } = claim;
    this.held = { token, stored: cursor, done: cursor, retry: undefined, confirmedAt: clock.now() };
    if (this.pause.isStopped) await this.release();
    return this.held;
  }

  /** Whether the claim is still ours. */
  private async advance(held: Held, step: DeliveryStep): Promise<boolean> {
    const { clock, log } = this.host;
    const isOurs = await this.ask((onAnswer) => log.advance(this.settings.name, held.token, step, onAnswer));
    if (!isOurs) {
      if (this.held === held) this.held = undefined;
      return false;
    }
    held.confirmedAt = clock.now();
    if (step.cursor !== undefined) {
      held.stored = step.cursor;
      this.known = step.cursor;
    }
    return true;
  }

  private async release(): Promise<void> {
    const { held } = this;
    this.held = undefined;
    if (held === undefined) return;
    // A router that cannot be reached loses the claim with its lease.
    await this.advance(held, { isReleased: true }).catch(() => undefined);
  }

  private ask<T>(run: (onAnswer: () => void) => Promise<T>): Promise<T> {
    return withDeadline(this.host.clock, this.host.commandTimeoutMs, run);
  }
}

function failed(name: string, error: unknown): PresenceError {
  // Cut, and without halves of characters, which could not be written.
  const words = Buffer.from(messageOf(error).slice(0, MAX_ERROR)).toString();
  return new PresenceError('ERR_PRESENCE_CALLBACK', `the handler of ${name} failed: ${words}`, error);
}

function adviceOf(error: unknown): Advice {
  try {
    const { retryAfterMs, ended } = (error ?? {}) as { retryAfterMs?: unknown; ended?: unknown };
    const isWait = typeof retryAfterMs === 'number' && retryAfterMs > 0;
    return { retryAfterMs: isWait ? Math.min(retryAfterMs, MOST_RETRY_AFTER_MS) : 0, isEnded: ended === true };
  } catch {
    // A getter of the caller's error has thrown.
    return { retryAfterMs: 0, isEnded: false };
  }
}

function copyOf(batch: ChangeBatch): ChangeBatch {
  const changes = batch.changes.map((change) => ({ ...change }));
  if (batch.users === undefined) return { ...batch, changes };
  return { ...batch, changes, users: batch.users.map((user) => ({ ...user })) };
}
