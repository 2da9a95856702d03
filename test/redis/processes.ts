import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { Redis } from 'ioredis';
import type { PresenceUpdate } from 'voiceping-presence';
import { programOf } from '../bundles';
import type { Command, Message, Settings } from './router-process';
import { until } from './wait';

/** A router in a process of its own. */
export class RouterProcess {
  readonly heard: PresenceUpdate[] = [];
  readonly failures: string[] = [];
  private readonly waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  /** Resolves once it holds its lease. */
  readonly ready: Promise<unknown>;
  private serial = 0;
  private readonly child: ChildProcess;

  constructor(settings: Settings) {
    this.ready = this.answerTo(0);
    this.child = fork(programOf('redis/router-process'), [JSON.stringify(settings)], { execArgv: [] });
    this.child.on('message', (message: Message) => {
      if ('update' in message) this.heard.push(message.update);
      else if ('answers' in message) this.waiting.get(message.answers)?.resolve(message.value);
      else {
        this.failures.push(message.failed);
        this.waiting.get(message.number ?? -1)?.reject(new Error(message.failed));
      }
    });
  }

  ask(command: Command): Promise<unknown> {
    this.serial += 1;
    const id = this.serial;
    const answer = this.answerTo(id);
    this.child.send({ id, command });
    return answer;
  }

  attach(...userIds: string[]): Promise<unknown> {
    return this.ask({ attach: userIds });
  }

  async statuses(...userIds: string[]): Promise<string> {
    return String(await this.ask({ statuses: userIds }));
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }

  /** Resolves once the process has ended without a signal. */
  async exited(): Promise<number | null> {
    if (this.child.exitCode === null) await once(this.child, 'exit');
    return this.child.exitCode;
  }

  private answerTo(id: number): Promise<unknown> {
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }
}

/** Who listens to the public channels, and knows nothing of the library. */
export class Observer {
  readonly messages: Array<{ channel: string; update: PresenceUpdate }> = [];
  private readonly client: Redis;

  private constructor(port: number) {
    // ioredis does not handle the promise of its own resubscription: if the connection ends before the answer, it rejects.
    this.client = new Redis({ port, autoResubscribe: false });
    this.client.on('message', (channel, text) => this.messages.push({ channel, update: JSON.parse(text) }));
    this.client.on('error', () => undefined);
  }

  static async start(port: number): Promise<Observer> {
    const observer = new Observer(port);
    await observer.listen();
    observer.client.on('ready', () => void observer.listen().catch(() => undefined));
    return observer;
  }

  private listen(): Promise<unknown> {
    return this.client.subscribe('presence:online', 'presence:offline', 'presence:updates');
  }

  /** What was published of a user on `presence:updates`, such as `online connect`. */
  changes(userId: string): string[] {
    return this.of('presence:updates', userId).map(({ status, reason }) => `${status} ${reason}`);
  }

  of(channel: string, userId: string): PresenceUpdate[] {
    return this.messages
      .filter((message) => message.channel === channel && message.update.userId === userId)
      .map(({ update }) => update);
  }

  saw(userId: string, change: string): Promise<void> {
    return until(`${userId} ${change} is published`, () => this.changes(userId).includes(change));
  }

  end(): void {
    this.client.disconnect();
  }
}
