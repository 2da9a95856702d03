import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../redis/server';
import { until } from '../redis/wait';

const PROGRAMS = '/usr/lib/postgresql';

/** A real PostgreSQL on a free port of this machine, in a directory of its own, which goes with it. */
export class PostgresServer {
  private child: ChildProcess | undefined;

  private constructor(
    readonly port: number,
    private readonly directory: string,
    private readonly programs: string,
    private readonly user: { uid: number; gid: number } | undefined,
  ) {}

  static async start(): Promise<PostgresServer> {
    const [version] = readdirSync(PROGRAMS).sort((a, b) => Number(b) - Number(a));
    const directory = mkdtempSync(join(tmpdir(), 'presence-postgres-'));
    // It refuses to run as root.
    const isRoot = process.getuid?.() === 0;
    const idOf = (flag: string): number => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
    const user = isRoot ? { uid: idOf('-u'), gid: idOf('-g') } : undefined;
    if (user !== undefined) chownSync(directory, user.uid, user.gid);
    const server = new PostgresServer(await freePort(), directory, join(PROGRAMS, String(version), 'bin'), user);
    const args = [
      '--pgdata',
      join(directory, 'data'),
      '--username',
      'presence',
      '--auth',
      'trust',
      '--encoding',
      'UTF8',
    ];
    execFileSync(join(server.programs, 'initdb'), [...args, '--no-sync'], { stdio: 'pipe', cwd: '/', ...user });
    await server.start();
    return server;
  }

  get url(): string {
    return `postgresql://presence@127.0.0.1:${this.port}/postgres`;
  }

  /** Also after it was killed: with the same data. */
  async start(): Promise<void> {
    const args = ['-D', join(this.directory, 'data'), '-p', String(this.port), '-h', '127.0.0.1', '-k', this.directory];
    const child = spawn(join(this.programs, 'postgres'), args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      cwd: '/',
      ...this.user,
    });
    this.child = child;
    let output = '';
    child.stderr.on('data', (chunk: Buffer) => {
      output += chunk;
    });
    await until(
      'PostgreSQL is ready',
      () => {
        if (child.exitCode !== null) throw new Error(`PostgreSQL did not start:\n${output}`);
        return output.includes('database system is ready to accept connections');
      },
      30_000,
    );
  }

  async kill(): Promise<void> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
