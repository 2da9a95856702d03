import calculateSlot from 'cluster-key-slot';
import { listenShared } from '../../../diagnostics/shared-listener';
import { type Clock, systemClock } from '../../../public/clock';
import type { OnAnswer } from '../../port';
import type { Script } from '../commands/script';
import type { RedisLike } from './client';
import { type ClientUser, SharedClient } from './shared-client';

/** How long a call waits for a connection that is being opened. */
const CONNECT_MS = 1_000;
/** How long it waits where no attempt has failed so far: for each step, which may be several round trips, and in all. */
const STEP_MS = 1_900;
const STEPS_MS = 10_000;
/** The events of steps in opening a connection; the second one is that of a Cluster. */
const STEPS: readonly string[] = ['connect', '+node'];
/** After so long without an answer, nothing more is sent, since the client would queue all of it. */
const STUCK_MS = 2_000;
/** After so long without an answer, a connection that the store has opened counts as dead, and is replaced. */
const SILENCE_MS = 10_000;

/** Runs a function after sockets were read. Taken here, so that fake timers of a test runner do not replace it. */
const afterReading = setImmediate;

/** Whether commands can be sent. ioredis-mock has no status, and is always ready. @internal */
export function isReady({ status }: RedisLike): boolean {
  return status === 'ready' || status === undefined;
}

/**
 * Keeps the process alive while a call waits for its answer, since the connections of a store do not. It does so for a
 * limited time, so that a process whose server hangs can end.
 */
function held<T>(work: Promise<T>): Promise<T> {
  const timer = setTimeout(() => undefined, STUCK_MS);
  const release = (): void => clearTimeout(timer);
  work.then(release, release);
  return work;
}

/** @internal */
export interface CommandGateEvents extends Partial<ClientUser> {
  /** Whether the store has created the client, and so may replace a connection that is dead. */
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

/** A call that is not answered yet. */
interface Call {
  readonly sentAt: number;
  giveUp: (error: Error) => void;
}

/** The calls that are under way to one master. */
interface Lane {
  /** The oldest first. */
  readonly pending: Set<Call>;
  answeredAt: number;
}

/** The name of the master that holds a key; the name of its slot while a Cluster does not know the master. @internal */
export function masterOf(client: RedisLike, key: string): string {
  const slot = calculateSlot(key);
  const { slots } = client as { readonly slots?: ReadonlyArray<readonly string[] | undefined> };
  return slots?.[slot]?.[0] ?? `slot ${slot}`;
}

/**
 * Sends commands through a client, and limits how many wait in an outage. A client that is not connected, or whose server
 * hangs, would queue commands without a limit, and send them when they are long out of date.
 * @internal
 */
export class CommandGate {
  private readonly waiters = new Set<Waiter>();
  /** When the connection that is being opened made its last step. */
  private steppedAt = 0;
  /** By master, since each may fail alone. */
  private readonly lanes = new Map<string, Lane>();
  /** By master, the scripts whose text was sent to it on the current connection. */
  private readonly sent = new Map<string, Set<string>>();
  private readonly unlisten: Array<() => void>;
  private readonly shared: SharedClient;
  private readonly user: ClientUser;
  private readonly lossTimers = new Set<unknown>();

  constructor(
    private readonly client: RedisLike,
    /** The last error of the connection of the client, where there was one. */
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
      // The first time, the text is sent. That saves a round trip, and later calls on the connection arrive after it.
      if (this.isNew(script, keys)) return runText();
      return client.evalsha(script.sha, keys.length, ...values).catch((error: Error) => {
        if (!error.message.startsWith('NOSCRIPT')) throw error;
        return runText();
      });
    };
    return String(await this.send(lane, send, onAnswer));
  }

  /** Waits until commands can be sent, then calls `run`, which sends one. */
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
    // Where this process stood still itself, the answers that came meanwhile are read first.
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

  /** How long the oldest call of a lane has waited since the last answer there. */
  private silenceOf({ pending, answeredAt }: Lane): number {
    const [oldest] = pending;
    return oldest === undefined ? 0 : this.clock.now() - Math.max(oldest.sentAt, answeredAt);
  }

  /**
   * Resolves once commands can be sent; rejects after `ms`, with the reason as far as it is known. A connection that is being
   * opened without an error is waited for while it makes progress, and `onAnswer` is called at each step.
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

  /** Whether the text of a script has to be sent to a master; true only once for each. */
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
    // Only a client with lazyConnect has this status. A failure shows in its next status.
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

  /** How long a call that has waited since then still waits for the next step of the connection. */
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
    // The server may be another one, or may have restarted, and then lacks the scripts.
    this.sent.clear();
    this.onStep();
    this.release();
    this.events.onReady?.();
    this.expectAnswers();
  }

  /**
   * Rejects calls that the client has forgotten. When a connection is lost, a client repeats the commands that were under way. But
   * ioredis 4 forgets them where the next connection is lost before it is ready, as behind a proxy whose server is away.
   * Answers come in order (the Redis protocol, "Pipelining"), so a call without an answer was forgotten if a later command has
   * one. On a Cluster, where no such command can be sent, it counts as forgotten after a while.
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
    // Twice, since a call that is answered with NOSCRIPT sends its text between the two.
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
