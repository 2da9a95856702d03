import { spawnSync } from 'node:child_process';

/** Programs that the tests run for real, and the Debian packages that hold them. */
const PROGRAMS = [
  { program: 'chromium', debian: 'chromium' },
  { program: 'curl', debian: 'curl' },
  { program: 'nginx', debian: 'nginx-light' },
  { program: 'postgres', debian: 'postgresql' },
  { program: 'redis-server', debian: 'redis-server' },
] as const;

/** Debian keeps the programs of PostgreSQL out of the way. */
const isInstalled = (program: string): boolean =>
  spawnSync('sh', ['-c', 'command -v "$0" || ls /usr/lib/postgresql/*/bin/"$0"', program], { stdio: 'ignore' })
    .status === 0;
const run = (...args: string[]): boolean =>
  spawnSync('apt-get', args, { stdio: 'inherit', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } })
    .status === 0;

/** Installs what is missing where that is allowed, else stops and says what to install. */
export function installPrograms(wanted: ReadonlyArray<(typeof PROGRAMS)[number]['program']>): void {
  const missing = PROGRAMS.filter(({ program }) => wanted.includes(program) && !isInstalled(program)).map(
    ({ debian }) => debian,
  );
  if (missing.length === 0) return;
  const isRoot = process.getuid?.() === 0;
  if (isRoot && run('update') && run('install', '-y', '--no-install-recommends', ...missing)) return;
  throw new Error(
    `This needs ${missing.join(' and ')}, which could not be installed from here. Please run:\n` +
      `  sudo apt-get update && sudo apt-get install -y ${missing.join(' ')}`,
  );
}

/** Runs once before all tests. It never lets one be skipped. */
export default function setup(): void {
  installPrograms(PROGRAMS.map(({ program }) => program));
}
