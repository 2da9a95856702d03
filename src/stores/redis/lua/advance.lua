--[[
  Moves a delivery on, if the caller holds it.

  KEYS[1]  deliveries, see claim.lua
  ARGV[1]  the name of the delivery
  ARGV[2]  the token of the claim
  ARGV[3]  the cursor; empty: unchanged
  ARGV[4]  "1": ended; "0": not; empty: unchanged
  ARGV[5]  "=": the error stays; else why the last attempt failed, percent-encoded, or empty
  ARGV[6]  "1": the router holds it no longer

  Result: "1", or "0" where somebody else has claimed the delivery since, or it is not known.
]]
local deliveriesKey, name, claimed = KEYS[1], ARGV[1], ARGV[2]
local to, end_, failed, isReleased = ARGV[3], ARGV[4], ARGV[5], ARGV[6] == '1'
local entry = redis.pcall('HGET', deliveriesKey, name)
if type(entry) ~= 'string' then return '0' end
local token, holder, ended, cursor, router, failure = string.match(entry, '^(%d+)|([^|]*)|([01])|([^|]+)|([^|]*)|([^|]*)')
if token ~= claimed or holder == '' then return '0' end
if to ~= '' then cursor = to end
if end_ ~= '' then ended = end_ end
if failed ~= '=' then failure = failed end
if isReleased or ended == '1' then holder = '' end
redis.call('HSET', deliveriesKey, name, table.concat({ token, holder, ended, cursor, router, failure }, '|'))
return '1'
