--[[
  Claims a delivery for a router, or tells who has it. Deliveries lie in the first partition.

  KEYS[1]  lease, see shared.lua
  KEYS[2]  deliveries  hash: name -> "token|incarnation|ended|cursor|router|error", see below
  ARGV[1]  the incarnation
  ARGV[2]  the name of the delivery
  ARGV[3]  the cursor from which a delivery begins that is not known
  ARGV[4]  "1": begins again where the receiver had ended it
  ARGV[5]  the router, percent-encoded JSON
  ARGV[6]  the cursor of a delivery whose entry is not valid, from which a gap is told

  In an entry "token" grows with each claim, "incarnation" is empty where it was released, "ended" is "1" or "0", "cursor" is the
  position, and "router" and "error" are percent-encoded, so that none of them has a "|". A later version may add fields after them.

  Result: "token|ended|cursor", with an empty token where another router holds the delivery, or it has ended; "?" where the
  incarnation has no lease, "full" where there are too many deliveries.
]]
local leaseKey, deliveriesKey = KEYS[1], KEYS[2]
local tag, name, from, isResumed, router, lost = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', ARGV[5], ARGV[6]
local MOST = 1000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function isAlive(incarnation)
  local deadline = redis.pcall('ZSCORE', leaseKey, incarnation)
  return type(deadline) == 'string' and tonumber(deadline) > now
end

if not isAlive(tag) then return '?' end
local entry = redis.pcall('HGET', deliveriesKey, name)
if type(entry) == 'table' then
  -- Another program has written a key of another type.
  redis.call('UNLINK', deliveriesKey)
  entry = false
end
local token, holder, ended, cursor, _, failure = string.match(entry or '', '^(%d+)|([^|]*)|([01])|([^|]+)|([^|]*)|([^|]*)')
if not token or #token > 15 or #cursor > 1024 then
  if not entry and redis.call('HLEN', deliveriesKey) >= MOST then return 'full' end
  token, holder, ended, cursor, failure = '0', '', '0', entry and lost or from, ''
end
if isResumed then ended = '0' end
-- The incarnations of a router share the part of the name before "~".
local isOwn = string.match(holder, '^[^~]*') == string.match(tag, '^[^~]*')
local isHeld = holder ~= '' and not isOwn and isAlive(holder)
local isClaimed = not isHeld and ended == '0'
if isClaimed then
  -- Not lower than the time, so that it also grows when the data are lost.
  token, holder = string.format('%d', math.max(tonumber(token) + 1, now)), tag
  redis.call('HSET', deliveriesKey, name, table.concat({ token, holder, ended, cursor, router, failure }, '|'))
end
return (isClaimed and token or '') .. '|' .. ended .. '|' .. cursor
