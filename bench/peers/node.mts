import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Measured, Reply, Request } from './host.mjs';
import type { Settings, Users } from './peer.mjs';

const HOST = fileURLToPath(new URL('host.mts', import.meta.url));

export type PeerName =
  | 'ours'
  | 'guide'
  | 'rivals/fork'
  | 'socketio'
  | 'rivals/deepstream'
  | 'rivals/metroplex'
  | 'rivals/faye'
  | 'floor';

/** A router node in a process of its own, seen from outside. */
export class PeerNode {
  /** Everything it heard, and when it did, by the clock of this machine. */
  readonly changes: Array<readonly [userId: string, online: boolean, at: number]> = [];
  private readonly waiting = new Map<number, { resolve(measured: Measured): void; reject(error: Error): void }>();
  private serial = 0;

  private constructor(private readonly child: ChildProcess) {
    child.on('message', (reply: Reply) => {
      if ('changed' in reply) this.changes.push(...reply.changed);
      if (!('id' in reply)) return;
      const waiting = this.waiting.get(reply.id);
      this.waiting.delete(reply.id);
      if ('failed' in reply) waiting?.reject(new Error(reply.failed));
      else waiting?.resolve(reply);
    });
    child.once('exit', (code) => {
      for (const { reject } of this.waiting.values()) reject(new Error(`the node has ended (${code})`));
    });
  }

  static async start(name: PeerName, settings: Partial<Settings> & { readonly redisPort: number }): Promise<PeerNode> {
    const defaults = { ttlMs: 360_000, pingIntervalMs: 120_000, leaseMs: 15_000, graceMs: 0 };
    const watched = { watchesDelay: false, listens: false };
    const whole: Settings = { ...defaults, ...watched, ...settings };
    const child = fork(HOST, [name, JSON.stringify(whole)], {
      execArgv: ['--import', 'tsx', '--expose-gc', '--max-old-space-size=8192'],
    });
    const node = new PeerNode(child);
    await once(child, 'message');
    return node;
  }

  ask(does: Request['does'], users: Users = { from: 0, count: 0 }): Promise<Measured> {
    this.serial += 1;
    const request: Request = { id: this.serial, does, users };
    return new Promise((resolve, reject) => {
      this.waiting.set(request.id, { resolve, reject });
      this.child.send(request);
    });
  }

  get pid(): number {
    return this.child.pid as number;
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }
}
