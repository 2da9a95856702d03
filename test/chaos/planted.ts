import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { bundle } from '../bundles';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** A mistake in the core, as an edit of the source. */
interface Planted {
  readonly name: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const SCRIPTS = 'src/stores/redis/lua/scripts.generated.ts';

/** Plausible mistakes, which the chaos test has to notice. */
export const PLANTED: readonly Planted[] = [
  {
    name: 'presence keys live too long',
    file: 'src/stores/redis/commands/mutations.ts',
    from: 'String(Math.ceil(node.ttlMs))',
    to: 'String(Math.ceil(node.ttlMs) * 1_000)',
  },
  {
    name: 'a reap ends a grace that runs',
    file: SCRIPTS,
    from: "reason = 'node-down'",
    to: "reason, grace = 'node-down', 0",
  },
  {
    name: 'a sweep passes the last bucket by',
    file: 'src/stores/redis/commands/sweeper.ts',
    from: 'const end = Math.min(partition.buckets, first + count);',
    to: 'const end = Math.min(partition.buckets - 1, first + count);',
  },
  {
    name: 'versions start over',
    file: SCRIPTS,
    from: 'seq = versionNow()',
    to: 'seq = seq',
  },
  {
    name: 'self-preservation twice',
    file: SCRIPTS,
    from: 'if wasAway and endsAt > activeAt and not extendedOnce then',
    to: 'if wasAway and endsAt > activeAt then',
  },
  {
    name: 'no self-preservation',
    file: SCRIPTS,
    from: 'local wasAway = now - activeAt > leaseMs / 2',
    to: 'local wasAway = now - activeAt > leaseMs * 20',
  },
  {
    name: 'a gap is dropped',
    file: 'src/replication/reconciler.ts',
    from: 'onGap(): void {\n    if (!this.isAwake) return;',
    to: 'onGap(): void {\n    if (!this.isAwake || this.isSynced) return;',
  },
  {
    name: 'what is lost is not asserted anew',
    file: 'src/stores/redis/changes/change-stream.ts',
    from: 'for (const feed of this.feeds.keys()) feed.onLost(isLostUser);',
    to: 'void isLostUser;',
  },
  {
    name: 'a query believes a lease that has ended',
    file: SCRIPTS,
    from: "standing[name] = endsAt > now and 'live' or 'dead'",
    to: "standing[name] = 'live'",
  },
  {
    name: 'the log is not read after a gap',
    file: 'src/stores/change-receiver.ts',
    from: 'if (wasBehind) await this.catchUp();',
    to: 'if (wasBehind) progress.hear(progress.expected);',
  },
  {
    name: 'a lost lease is not noticed',
    file: 'src/replication/heartbeat.ts',
    from: 'const certain = known && !this.missed;',
    to: 'const certain = known || !this.missed;',
  },
  {
    name: 'a drop has no grace',
    file: SCRIPTS,
    from: 'if ms > 0 then grace',
    to: 'if ms > 60000 then grace',
  },
  {
    name: 'a dead router is not reaped by others',
    file: 'src/stores/redis/commands/maintenance.ts',
    from: 'if (answer.dead.length > 0)',
    to: 'if (answer.dead.length > 1)',
  },
];

/** The source with the mistake in it. */
export function plant({ name, file, from, to }: Planted): string {
  const source = readFileSync(`${root}${file}`, 'utf8');
  // What scripts have in common stands in each of them.
  const planted = source.split(from).join(to);
  if (planted === source) throw new Error(`${name}: this is not in ${file} any more: ${from}`);
  return planted;
}

/** Bundles the routers with the mistake in them, and gives the file to run. */
export async function programWith(mistake: Planted): Promise<string> {
  const path = `${root}${mistake.file}`;
  const planted = plant(mistake);
  const folder = `${root}.built/planted`;
  await bundle(['chaos/router'], folder, [
    {
      name: 'plant',
      setup: ({ onLoad }) =>
        onLoad({ filter: /\.ts$/ }, ({ path: loaded }) =>
          loaded === path ? { contents: planted, loader: 'ts' } : undefined,
        ),
    },
  ]);
  return `${folder}/chaos/router.mjs`;
}
