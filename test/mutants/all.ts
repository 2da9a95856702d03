import { ADAPTERS } from './adapters';
import { CLIENT } from './client';
import { CONFIG } from './config';
import { CONNECTIONS } from './connections';
import { CORE } from './core';
import { DELIVERIES, WEBHOOKS } from './deliveries';
import { DIAGNOSTICS } from './diagnostics';
import { HTTP } from './http';
import { LUA } from './lua';
import type { Mutant } from './mutant';
import { REDIS } from './redis';
import { REPLICATION } from './replication';
import { STORES } from './stores';
import { SUBSCRIPTIONS } from './subscriptions';
import { TESTING } from './testing';
import { WIRE } from './wire';

/** All faults, by folder of `src`; `core` are the files of `src` itself. */
export const MUTANTS: { readonly [folder: string]: readonly Mutant[] } = {
  core: CORE,
  adapters: ADAPTERS,
  client: CLIENT,
  config: CONFIG,
  connections: CONNECTIONS,
  deliveries: DELIVERIES,
  diagnostics: DIAGNOSTICS,
  http: HTTP,
  webhook: WEBHOOKS,
  replication: REPLICATION,
  stores: STORES,
  redis: REDIS,
  lua: LUA,
  subscriptions: SUBSCRIPTIONS,
  testing: TESTING,
  wire: WIRE,
};
