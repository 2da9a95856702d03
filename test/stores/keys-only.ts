import type { RedisLike } from 'voiceping-presence/redis';
import type { Script } from '../../src/stores/redis/commands/script';
import * as scripts from '../../src/stores/redis/lua/scripts.generated';

// A server of one's own lets a script touch any key. Proxies, Dragonfly and some clouds do not: they look at KEYS only.

const GUARD = `local declared, server = {}, redis
for _, key in ipairs(KEYS) do declared[key] = true end
local KEYLESS = { TIME = true, PUBLISH = true, SPUBLISH = true }
local MANY = { UNLINK = true, EXISTS = true, DEL = true, MGET = true }
local function guarded(run)
  return function(command, ...)
    if not KEYLESS[command] then
      local keys = MANY[command] and { ... } or { (...) }
      for i = 1, #keys do
        if not declared[keys[i]] then error(command .. ' of ' .. keys[i] .. ', which is not in KEYS') end
      end
    end
    return run(command, ...)
  end
end
local redis = { call = guarded(server.call), pcall = guarded(server.pcall) }
`;

const ALL = Object.values(scripts) as Script[];

/** Scripts that have run, and what they did to keys that were not named. */
export interface KeysOnly {
  readonly ran: Set<string>;
  readonly undeclared: string[];
}

/** Runs each script so that it fails where it touches a key that is not in KEYS. */
export function keysOnly<T extends RedisLike>(client: T, { ran, undeclared }: KeysOnly): T {
  const run = client.eval.bind(client);
  const runGuarded = (script: Script, count: number, ...values: string[]): Promise<unknown> => {
    ran.add(script.name);
    return run(GUARD + script.text, count, ...values).catch((error: Error) => {
      if (error.message.includes('not in KEYS')) undeclared.push(`${script.name}: ${error.message}`);
      throw error;
    });
  };
  const named = (is: (script: Script) => boolean): Script => {
    const found = ALL.find(is);
    if (found === undefined) throw new Error('this script is none of the store');
    return found;
  };
  return Object.assign(client, {
    evalsha: (sha: string, ...rest: [number, ...string[]]) =>
      runGuarded(
        named((script) => script.sha === sha),
        ...rest,
      ),
    eval: (text: string, ...rest: [number, ...string[]]) =>
      runGuarded(
        named((script) => script.text === text),
        ...rest,
      ),
  });
}
