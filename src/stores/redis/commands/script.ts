import { createHash } from 'node:crypto';
import { PresenceError } from '../../../public/errors';
import type { OnAnswer } from '../../port';
import { LAYOUT, type Partition } from '../keyspace';

/** A Lua script, with the SHA-1 of its text for EVALSHA. @internal */
export interface Script {
  readonly name: string;
  readonly text: string;
  readonly sha: string;
}

/** @internal */
export function script(name: string, text: string): Script {
  return { name, text, sha: createHash('sha1').update(text).digest('hex') };
}

/** Runs a script on one partition. @internal */
export type Ask = (
  partition: Partition,
  script: Script,
  keys: readonly string[],
  args: readonly string[],
  /** Called at each step of a connection that is being opened. */
  onStep?: OnAnswer,
) => Promise<string>;

/** Calls `onAnswer` when an answer has come. @internal */
export async function tap<T>(asked: Promise<T>, onAnswer: OnAnswer): Promise<T> {
  const answer = await asked;
  onAnswer();
  return answer;
}

/** Wraps `ask` so that it calls `onAnswer` at each answer. @internal */
export function tapped(ask: Ask, onAnswer: OnAnswer): Ask {
  return (partition, script, keys, args) => tap(ask(partition, script, keys, args, onAnswer), onAnswer);
}

/** The part of the answer that all scripts share that change something. @internal */
export interface Changed {
  readonly now: number;
  readonly e: string;
  readonly seq: number;
  /** On a Cluster: users who went offline, and when they were last seen. */
  readonly off: Array<[userId: string, lastSeen: number]>;
  /** Keys in which foreign data was deleted. */
  readonly junk?: string[];
  /** A channel on which the Redis user may not publish. */
  readonly lacks?: string;
}

/** The answer of a script that did nothing, see lua/meta.lua and lua/shared.lua. */
type Misplaced = { readonly layout: string } | { readonly seed: string; readonly e: string } | { readonly begin: 1 };

/** How often a script is tried with another seed. */
const MOST_LOOKS = 3;

/**
 * Runs a script that finds users by their buckets. Where the data have another seed, it learns that seed, and runs the script
 * again with what `build` then returns. Where there are no data yet, it does so after `begin`.
 *
 * @throws PresenceError `ERR_PRESENCE_LAYOUT` for data of another layout
 * @internal
 */
export async function askPlaced(
  ask: Ask,
  partition: Partition,
  script: Script,
  build: () => { readonly keys: readonly string[]; readonly args: readonly string[] },
  begin?: () => Promise<unknown>,
): Promise<string> {
  for (let look = 1; ; look += 1) {
    const { keys, args } = build();
    const answer = await ask(partition, script, keys, args);
    if (!answer.startsWith('!')) return answer;
    const misplaced: Misplaced = JSON.parse(answer.slice(1));
    if ('layout' in misplaced) {
      const found = misplaced.layout === '' ? 'no number of a layout' : `layout ${misplaced.layout}`;
      throw new PresenceError(
        'ERR_PRESENCE_LAYOUT',
        `the data under ${partition.meta} are of another version of voiceping-presence (${found}, where this one has ` +
          `${LAYOUT}): nothing is written. Take another prefix, or delete them once no router of that version runs`,
        undefined,
        'layout',
      );
    }
    if (look === MOST_LOOKS) throw new Error('the seed of the buckets changes faster than it can be learned');
    if ('begin' in misplaced) await begin?.();
    else partition.learn(misplaced.e, misplaced.seed);
  }
}
