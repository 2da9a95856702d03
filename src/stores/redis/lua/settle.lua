--[[
  Ends graces that have run out, of users whom a heartbeat or a sweep has named. Checks the records again first.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7..]  the bucket of each user, then, unless ARGV[1] is empty, the presence key of each
  ARGV[11]   the number of users
  ARGV[12]   'grace': a heartbeat has found that their graces have run out. 'record': a sweep has found a record that contradicts
             itself
  ARGV[13..] for each: the user, and '1' where the bucket is the one of the user. A record elsewhere is of another program

  Result: {"now":ms,"e":epoch,"seq":n,"off":[users, see apply]}.
]]
local size, found = tonumber(ARGV[11]), ARGV[12]
local firstBucket, firstMirror, firstUser = 7, 7 + size, 13
-- A sweep leaves graces that have just run out to the next heartbeat, which ends them in order.
local isSweep, swept = found == 'record', now - 1000

for i = 0, size - 1 do
  local key, id, isAtHome = KEYS[firstBucket + i], ARGV[firstUser + i + i], ARGV[firstUser + 1 + i + i] == '1'
  local mirror = userPrefix ~= '' and KEYS[firstMirror + i] or nil
  local record = try('HGET', key, id)
  local user = isAtHome and parse(record) or nil
  if record and not user then drop(key, id) end
  if isSweep and user then
    -- Such a grace is not in the set of graces: it began when the record was lost, or another program has written the record.
    if user.owners == ',' and user.grace <= swept then user.seen = latest(mirror, user.seen) end
    change(key, mirror, id, user, 'due', '', 0, swept)
  elseif not isSweep then
    local member = string.sub(key, #bucketPrefix + 1) .. ':' .. id
    if user and user.grace > now and try('ZSCORE', graceKey, member) ~= ENDS_NOW then
      -- The record has a later end, so another program has written the set.
      try('ZADD', graceKey, format('%d', user.grace), member)
    else
      try('ZREM', graceKey, member)
      if user then change(key, mirror, id, user, 'due', '', 0, math.max(now, user.grace)) end
    end
  end
end
finish()
return '{' .. answered()
