import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { freePort, RedisServer } from './server';
import { until } from './wait';

/** A master, a replica, and a sentinel that makes the replica the master half a second after the master has died. */
export class Sentinel {
  readonly name = 'presence';
  private readonly directory = mkdtempSync(join(tmpdir(), 'presence-sentinel-'));
  private child: ChildProcess | undefined;

  private constructor(
    readonly port: number,
    readonly master: RedisServer,
    readonly replica: RedisServer,
  ) {}

  static async start(): Promise<Sentinel> {
    const master = await RedisServer.start();
    const replica = await RedisServer.start('--replicaof', '127.0.0.1', String(master.port));
    const sentinel = new Sentinel(await freePort(), master, replica);
    await sentinel.watch();
    return sentinel;
  }

  get address(): Array<{ host: string; port: number }> {
    return [{ host: '127.0.0.1', port: this.port }];
  }

  async remove(): Promise<void> {
    if (this.child !== undefined && this.child.exitCode === null) {
      const exited = once(this.child, 'exit');
      this.child.kill('SIGKILL');
      await exited;
    }
    await this.master.remove();
    await this.replica.remove();
    rmSync(this.directory, { recursive: true, force: true });
  }

  private async watch(): Promise<void> {
    const file = join(this.directory, 'sentinel.conf');
    const lines = [
      `port ${this.port}`,
      'bind 127.0.0.1',
      `dir ${this.directory}`,
      `sentinel monitor ${this.name} 127.0.0.1 ${this.master.port} 1`,
      `sentinel down-after-milliseconds ${this.name} 500`,
      `sentinel failover-timeout ${this.name} 2000`,
    ];
    writeFileSync(file, `${lines.join('\n')}\n`);
    this.child = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' });
    const client = new Redis({ port: this.port });
    client.on('error', () => undefined);
    await until(
      'the sentinel knows the replica',
      async () => {
        const replicas = await (client.call('SENTINEL', 'REPLICAS', this.name) as Promise<string[][]>).catch(() => []);
        return replicas.length === 1 && replicas[0]?.includes('ok') === true;
      },
      20_000,
    );
    client.disconnect();
  }
}
