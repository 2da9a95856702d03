--[[
  Ends what time has ended for some users, whom a heartbeat or a sweep has named. Looks again first.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7..]  the bucket of each, then, unless ARGV[1] is empty, the presence key of each
  ARGV[11]   how many there are
  ARGV[12]   'grace': a heartbeat has found that their graces have ended. 'back': the same, where the clock of this server was
             set back: they end whenever they should have. 'record': a sweep has found a record that contradicts itself
  ARGV[13..] the users

  Result: {"now":ms,"e":epoch,"seq":n,"off":[users, see apply]}.
]]
local size, found = tonumber(ARGV[11]), ARGV[12]
local firstBucket, firstMirror, firstId = 7, 7 + size, 13
-- Graces that have just run out the next heartbeat ends, in their order.
local isSweep, swept = found == 'record', now - 1000

for i = 0, size - 1 do
  local key, id = KEYS[firstBucket + i], ARGV[firstId + i]
  local mirror = userPrefix ~= '' and KEYS[firstMirror + i] or nil
  local record = try('HGET', key, id)
  local user = parse(record)
  if record and not user then drop(key, id) end
  if isSweep and user then
    -- Of who is held a grace stands in no set, where the record was lost before; and so it is of what somebody else has written.
    if user.owners == ',' and user.grace <= swept then user.seen = latest(mirror, user.seen) end
    change(key, mirror, id, user, 'due', '', 0, swept)
  elseif not isSweep then
    local member = string.sub(key, #bucketPrefix + 1) .. ':' .. id
    if user and user.grace > now and found ~= 'back' then
      -- Sooner than the record says: somebody else has moved it.
      try('ZADD', graceKey, format('%d', user.grace), member)
    else
      try('ZREM', graceKey, member)
      if user then change(key, mirror, id, user, 'due', '', 0, math.max(now, user.grace)) end
    end
  end
end
finish()
return '{' .. answered()
