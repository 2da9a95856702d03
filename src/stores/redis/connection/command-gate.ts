import calculateSlot from 'cluster-key-slot';
import { listenShared } from '../../../diagnostics/shared-listener';
import { type Clock, systemClock } from '../../../public/clock';
import type { OnAnswer } from '../../port';
import type { Script } from '../commands/script';
import type { RedisLike } from './client';
import { type ClientUser, SharedClient } from './shared-client';

/** How long a call waits for a connection that is on its way. */
const CONNECT_MS = 1_000;
/**
 * How long for one of which nothing has failed so far: from one step of it to the next, which may be several round trips,
 * and in all.
 */
const STEP_MS = 1_900;
const STEPS_MS = 10_000;
/** Steps on the way to a connection; the second one is of a Cluster. */
const STEPS: readonly string[] = ['connect', '+node'];
/** Where nothing has been answered for so long nothing more is sent: the client would keep it all. */
const STUCK_MS = 2_000;
/** A connection of our own on which nothing was answered for so long is dead without a word, and is made anew. */
const SILENCE_MS = 10_000;

/** Runs once sockets were read. No fake of a test runner's: sockets know nothing of its time. */
const afterReading = setImmediate;

/** ioredis-mock has no status: it is always there. @internal */
export function isReady({ status }: RedisLike): boolean {
  return status === 'ready' || status === undefined;
}

/**
 * Connections of ours keep no process alive. A script that waits for an answer must not end before it comes, though, and
 * one whose server hangs must end some time.
 */
function held<T>(work: Promise<T>): Promise<T> {
  const timer = setTimeout(() => undefined, STUCK_MS);
  const release = (): void => clearTimeout(timer);
  work.then(release, release);
  return work;
}

/** @internal */
export interface CommandGateEvents extends Partial<ClientUser> {
  /** Whether the client is the store's: it gives up a connection that is dead without a word. */
  readonly isOwn?: boolean;
  /** Commands can be sent. */
  onReady?(): void;
}

interface Waiter {
  resolve(): void;
  reject(error: Error): void;
  readonly onAnswer: OnAnswer | undefined;
  timer: unknown;
}

/** One that is not answered yet. */
interface Call {
  readonly sentAt: number;
  giveUp: (error: Error) => void;
}

/** What is under way on one connection. */
interface Lane {
  /** The oldest first. */
  readonly pending: Set<Call>;
  answeredAt: number;
}

/** The name of the master that holds a key; of its slot, as long as a Cluster does not know. @internal */
export function masterOf(client: RedisLike, key: string): string {
  const slot = calculateSlot(key);
  const { slots } = client as { readonly slots?: ReadonlyArray<readonly string[] | undefined> };
  return slots?.[slot]?.[0] ?? `slot ${slot}`;
}

/**
 * Sends commands through a client, and only as many as an outage can bear. A client that is not connected would queue
 * them without an end and send them when they are long out of date; one whose server hangs likewise.
 * @internal
 */
export class CommandGate {
  private readonly waiters = new Set<Waiter>();
  /** When a connection that is on its way has come a step further. */
  private steppedAt = 0;
  /** Masters fail one by one. */
  private readonly lanes = new Map<string, Lane>();
  /** By master, the scripts that were sent to it by their text since the connection was made. */
  private readonly sent = new Map<string, Set<string>>();
  private readonly unlisten: Array<() => void>;
  private readonly shared: SharedClient;
  private readonly user: ClientUser;
  private readonly lossTimers = new Set<unknown>();

  constructor(
    private readonly client: RedisLike,
    /** What the client said last of its connection, where that is known. */
    private readonly reason: () => string | undefined = () => undefined,
    private readonly clock: Clock = systemClock,
    private readonly events: CommandGateEvents = {},
  ) {
    this.shared = SharedClient.of(client, clock);
    this.user = {
      onReconnect: () => events.onReconnect?.(),
      onTrapped: (answer) => events.onTrapped?.(answer),
    };
    this.shared.join(this.user);
    this.unlisten = [listenShared(client, 'ready', () => this.onReady())];
    for (const step of STEPS) this.unlisten.push(listenShared(client, step, () => this.onStep()));
  }

  async run(
    lane: string,
    script: Script,
    keys: readonly string[],
    args: readonly string[],
    onAnswer?: OnAnswer,
  ): Promise<string> {
    const values = keys.concat(args);
    const { client } = this;
    const runText = () => client.eval(script.text, keys.length, ...values);
    const send = (): Promise<unknown> => {
      // The first time by its text, which costs no round trip; what follows on that connection comes after it.
      if (this.isNew(script, keys)) return runText();
      return client.evalsha(script.sha, keys.length, ...values).catch((error: Error) => {
        if (!error.message.startsWith('NOSCRIPT')) throw error;
        return runText();
      });
    };
    return String(await this.send(lane, send, onAnswer));
  }

  /** Runs what sends a command, once that is possible. */
  send<T>(name: string, run: () => Promise<T>, onAnswer?: OnAnswer): Promise<T> {
    return held(this.sendNow(name, run, onAnswer));
  }

  private async sendNow<T>(name: string, run: () => Promise<T>, onAnswer?: OnAnswer): Promise<T> {
    await this.connected(CONNECT_MS, onAnswer);
    let lane = this.lanes.get(name);
    if (lane === undefined) {
      lane = { pending: new Set(), answeredAt: 0 };
      this.lanes.set(name, lane);
    }
    let silentMs = this.silenceOf(lane);
    // Where this process stood still itself, what was answered meanwhile is read first.
    if (silentMs > STUCK_MS) {
      await new Promise<void>((resolve) => afterReading(resolve));
      silentMs = this.silenceOf(lane);
    }
    if (silentMs > SILENCE_MS && this.events.isOwn === true) this.shared.reconnect('Redis does not answer');
    if (silentMs > STUCK_MS) throw new Error('Redis does not answer');
    const call: Call = { sentAt: this.clock.now(), giveUp: () => undefined };
    const givenUp = new Promise<never>((_, reject) => {
      call.giveUp = reject;
    });
    lane.pending.add(call);
    try {
      return await Promise.race([run(), givenUp]);
    } catch (error) {
      this.shared.judge(error);
      throw error;
    } finally {
      lane.pending.delete(call);
      lane.answeredAt = this.clock.now();
    }
  }

  /** For how long the oldest call of a lane has been waiting since anything was answered there. */
  private silenceOf({ pending, answeredAt }: Lane): number {
    const [oldest] = pending;
    return oldest === undefined ? 0 : this.clock.now() - Math.max(oldest.sentAt, answeredAt);
  }

  /**
   * Resolves once commands can be sent; rejects after `ms`, with the reason as far as it is known. One of which nothing is
   * known to have failed is waited for as long as it comes on, and `onAnswer` is called at each step.
   */
  async connected(ms: number, onAnswer?: OnAnswer): Promise<void> {
    if (!this.isReady() || this.waiters.size > 0) await held(this.ready(Math.min(ms, CONNECT_MS), onAnswer));
  }

  close(): void {
    for (const end of this.unlisten) end();
    this.shared.leave(this.user);
    for (const timer of this.lossTimers) this.clock.clearTimeout(timer);
    this.lossTimers.clear();
    this.release(new Error('the store is closed'));
  }

  private isReady(): boolean {
    return isReady(this.client);
  }

  /** Whether a master has to be told what a script is; it is told only once. */
  private isNew({ sha }: Script, keys: readonly string[]): boolean {
    const master = this.client.isCluster === true ? masterOf(this.client, keys[0] as string) : '';
    const sent = this.sent.get(master);
    if (sent?.has(sha)) return false;
    if (sent === undefined) this.sent.set(master, new Set([sha]));
    else sent.add(sha);
    return true;
  }

  private ready(ms: number, onAnswer: OnAnswer | undefined): Promise<void> {
    const { status } = this.client;
    if (status === 'end') return Promise.reject(new Error('the Redis client has ended its connection'));
    // Only a client made with lazyConnect waits to be told; what goes wrong shows in its status.
    if (status === 'wait') this.client.connect().catch(() => undefined);
    return new Promise((resolve, reject) => {
      const since = this.clock.now();
      const waiter: Waiter = { resolve, reject, onAnswer, timer: undefined };
      const wait = (waitMs: number): void => {
        waiter.timer = this.clock.setTimeout(() => {
          const leftMs = this.stepLeftMs(since);
          if (leftMs > 0) {
            wait(leftMs);
            return;
          }
          this.waiters.delete(waiter);
          const { reason, client } = this;
          reject(new Error(`not connected to Redis: ${reason() ?? `its client is ${client.status}`}`));
        }, waitMs);
      };
      wait(ms);
      this.waiters.add(waiter);
    });
  }

  /** How long the next step of a connection is waited for yet, by who waits since then. */
  private stepLeftMs(since: number): number {
    const { status } = this.client;
    if ((status !== 'connecting' && status !== 'connect') || this.reason() !== undefined) return 0;
    const now = this.clock.now();
    return Math.min(STEP_MS, Math.max(since, this.steppedAt) + STEP_MS - now, since + STEPS_MS - now);
  }

  private onStep(): void {
    this.steppedAt = this.clock.now();
    for (const { onAnswer } of this.waiters) onAnswer?.();
  }

  private onReady(): void {
    // Perhaps another server, or one that has started anew.
    this.sent.clear();
    this.onStep();
    this.release();
    this.events.onReady?.();
    this.expectAnswers();
  }

  /**
   * A client sends again what was under way when its connection was lost. That of ioredis 4 forgets it where the next
   * connection is lost before it is ready, as behind a proxy whose server is away: nobody would ever answer. Answers come
   * in order (the Redis protocol, "Pipelining"), so what has none when a later command has is forgotten; where nothing can
   * be asked, as on a Cluster, after a while.
   */
  private expectAnswers(): void {
    const calls: Call[] = [];
    for (const { pending } of this.lanes.values()) for (const call of pending) calls.push(call);
    if (calls.length === 0) return;
    const end = (): void => {
      this.clock.clearTimeout(timer);
      this.lossTimers.delete(timer);
      for (const call of calls) call.giveUp(new Error('its connection was lost before the answer'));
    };
    const timer = this.clock.setTimeout(end, STUCK_MS);
    this.lossTimers.add(timer);
    const { client } = this;
    if (client.isCluster === true || client.ping === undefined) return;
    // What was sent by its hash may be sent by its text before the second one.
    client
      .ping()
      .then(() => client.ping?.())
      .then(end, () => undefined);
  }

  private release(error?: Error): void {
    for (const waiter of this.waiters) {
      this.clock.clearTimeout(waiter.timer);
      if (error === undefined) waiter.resolve();
      else waiter.reject(error);
    }
    this.waiters.clear();
  }
}
