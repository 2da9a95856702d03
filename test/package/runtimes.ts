import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';
import { freePort } from '../redis/server';

/** The recipes for transports that have no `on`, run as they stand over the installed package, with real phones. */

const root = fileURLToPath(new URL('../..', import.meta.url));
const bin = (name: string): string => join(root, 'node_modules/.bin', name);

/** How each recipe is run. */
const RUNS: { readonly [name: string]: (file: string) => readonly [command: string, ...args: string[]] } = {
  bun: (file) => [bin('bun'), file],
  deno: (file) => [bin('deno'), 'run', '--allow-net', '--allow-env', '--allow-read', '--allow-sys', '--no-check', file],
  crossws: (file) => [process.execPath, '--import', join(root, 'node_modules/tsx/dist/loader.mjs'), file],
};
export const RUNTIMES = Object.keys(RUNS);

/** Where scripts of packages are not run at installation, what they would have fetched is fetched now. */
function complete(name: string): void {
  const script = { bun: 'install.js', deno: 'install.cjs' }[name];
  if (script === undefined || spawnSync(bin(name), ['--version']).status === 0) return;
  spawnSync(process.execPath, [script], { cwd: join(root, 'node_modules', name), stdio: 'inherit' });
}

async function until(what: string, is: () => boolean, said: () => string): Promise<void> {
  for (const end = Date.now() + 20_000; !is(); ) {
    if (Date.now() > end) throw new Error(`not within twenty seconds: ${what}\n${said()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function connect(port: number, token: string | undefined): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/`, { headers: token === undefined ? {} : { token } });
  await once(socket, 'open');
  return socket;
}

/** Runs the recipe of one runtime in a project that has the package, and uses it as phones do. */
export async function useRecipe(name: string, folder: string): Promise<void> {
  const page = readFileSync(join(root, `docs/recipes/${name}.md`), 'utf8');
  const [, code = ''] = new RegExp(`\`\`\`ts ${name}\\n(.*?)\`\`\``, 's').exec(page) ?? [];
  if (!code.includes('createPresence()') || !code.includes('3000')) throw new Error(`no recipe in ${name}.md`);
  complete(name);
  const port = await freePort();
  const file = join(folder, `recipe-${name}.ts`);
  // Its changes are printed, and its grace is short.
  writeFileSync(
    file,
    `${code.replace('createPresence()', 'createPresence({ graceMs: 500, pingIntervalMs: 200 })').replace('3000', String(port))}
presence.onUpdate(({ userId, status, reason }) => console.log(userId, status, reason));\n`,
  );
  const crossws = join(folder, 'node_modules/crossws');
  if (!existsSync(crossws)) symlinkSync(join(root, 'node_modules/crossws'), crossws);
  const [command, ...args] = (RUNS[name] as (typeof RUNS)[string])(file);
  const child: ChildProcess = spawn(command, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let complaints = '';
  child.stdout?.on('data', (data) => {
    out += data;
  });
  child.stderr?.on('data', (data) => {
    complaints += data;
  });
  const said = (): string => `${out}${complaints}`;
  try {
    let refused = '';
    await until(
      'it refuses a phone without a token',
      () => {
        connect(port, undefined).catch((error: Error) => {
          if (!refused.includes('401')) refused = error.message;
        });
        return refused.includes('401');
      },
      said,
    );
    const [closes, drops] = [await connect(port, 'closes'), await connect(port, 'drops')];
    await until(
      'both are online',
      () => /closes online[\s\S]*drops online|drops online[\s\S]*closes online/.test(out),
      said,
    );
    let pings = 0;
    closes.on('ping', () => {
      pings += 1;
    });
    // Deno has no ping to call.
    if (name !== 'deno') await until('it is pinged', () => pings >= 2, said);
    closes.send(Uint8Array.from([0x81, 0xa1, 0x61, 1]));
    closes.close();
    drops.terminate();
    await until('one has left', () => out.includes('closes offline disconnect'), said);
    await until('one was lost', () => out.includes('drops offline timeout'), said);
    if (
      out
        .trim()
        .split('\n')
        .filter((line) => / o(n|ff)line /.test(line)).length !== 4
    )
      throw new Error(said());
  } finally {
    child.kill('SIGKILL');
  }
}
