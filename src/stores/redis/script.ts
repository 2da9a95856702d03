import { createHash } from 'node:crypto';
import type { Partition } from './layout';

/** A Lua script, which the server knows by the SHA-1 of its text. @internal */
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
) => Promise<string>;

/** What every script that changes something answers. @internal */
export interface Changed {
  readonly now: number;
  readonly e: string;
  readonly seq: number;
  /** On a Cluster, who went offline and when they were last seen. */
  readonly off: Array<[userId: string, lastSeen: number]>;
}
