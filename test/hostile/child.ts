import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { programOf } from '../bundles';

/** What a child process can be asked for: each command by its name. */
export type Commands = { readonly [name: string]: (argument: never) => unknown };

type Answer<T> = T extends (argument: never) => infer Result ? Awaited<Result> : never;

/** Raises the soft limit of open files to the hard one where the wanted one is not allowed, then runs the rest. */
const WITH_FILES = 'ulimit -n 65535 2>/dev/null || ulimit -n "$(ulimit -Hn)"; exec "$@"';

/** Fails early, and says what to do, where a process with so many sockets could not be had. */
export function checkOpenFiles(wanted: number): void {
  const { stdout } = spawnSync('sh', ['-c', WITH_FILES, 'sh', 'sh', '-c', 'ulimit -n'], { encoding: 'utf8' });
  const limit = stdout.trim() === 'unlimited' ? Number.POSITIVE_INFINITY : Number(stdout);
  if (limit >= wanted) return;
  throw new Error(
    `One process needs ${wanted} open files here, and may have ${stdout.trim()}. Raise the hard limit ` +
      `(\`prlimit --nofile=65535:65535 --pid $$\` as root, or LimitNOFILE= of the service), or make the siege smaller.`,
  );
}

/** A child process that answers what it is asked. What was asked of one that dies is rejected, with how it died. */
export class Child<C extends Commands> {
  private readonly child: ChildProcess;
  private readonly waiting = new Map<number, { resolve(value: never): void; reject(error: Error): void }>();
  private serial = 0;
  private lastWords = '';
  /** How it ended; undefined while it runs. */
  death: string | undefined;

  constructor(
    name: string,
    program: Parameters<typeof programOf>[0],
    settings: unknown,
    { flags = [], env = {} }: { readonly flags?: readonly string[]; readonly env?: NodeJS.ProcessEnv } = {},
  ) {
    const command = [process.execPath, ...flags, programOf(program), JSON.stringify(settings)];
    this.child = spawn('sh', ['-c', WITH_FILES, 'sh', ...command], {
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
      env: { ...process.env, ...env },
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.lastWords = (this.lastWords + text).slice(-10_000);
    });
    this.child.on('message', ({ id, value, error }: { id: number; value: never; error?: string }) => {
      const { resolve, reject } = this.waiting.get(id) ?? {};
      this.waiting.delete(id);
      if (error === undefined) resolve?.(value);
      else reject?.(new Error(`${name}: ${error}`));
    });
    this.child.once('close', (code, signal) => {
      const cause = /^.*(FATAL ERROR|Error:).*$/m.exec(this.lastWords)?.[0] ?? this.lastWords.trim();
      this.death = `${name} has ended (${signal ?? code}) ${cause}`;
      for (const { reject } of this.waiting.values()) reject(new Error(this.death));
      this.waiting.clear();
    });
  }

  ask<N extends keyof C & string>(command: N, argument?: Parameters<C[N]>[0]): Promise<Answer<C[N]>> {
    return new Promise((resolve, reject) => {
      if (this.death !== undefined) {
        reject(new Error(this.death));
        return;
      }
      this.serial += 1;
      this.waiting.set(this.serial, { resolve, reject });
      // Where that fails it has died, which is known in a moment.
      this.child.send({ id: this.serial, command, argument }, () => undefined);
    });
  }

  async end(): Promise<void> {
    if (this.death !== undefined) return;
    const closed = once(this.child, 'close');
    this.child.kill('SIGKILL');
    await closed;
  }
}

/** The other end, in the child: obeys what it is asked, and ends with its parent. */
export function obey(commands: Commands): void {
  process.once('disconnect', () => process.exit());
  process.on('message', ({ id, command, argument }: { id: number; command: string; argument: never }) => {
    Promise.resolve(argument)
      .then(commands[command])
      .then((value) => process.send?.({ id, value }))
      .catch((error: unknown) => process.send?.({ id, error: (error as Error).stack ?? String(error) }));
  });
}

/** What the parent has given. */
export function settings<T>(): T {
  return JSON.parse(process.argv[2] as string) as T;
}
