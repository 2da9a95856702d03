import { createHash } from 'node:crypto';

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
