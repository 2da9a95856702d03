--[[
  Settles users whose record and presence key contradict each other. A record in a wrong bucket is deleted, and so is the key of
  a user who is offline. Where an online user has no key, or a key has no record, the other one was lost: the user gets a grace of
  a lease, in which the router that holds the user can register the user again.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7..]               the bucket of each user, then, unless ARGV[1] is empty, the presence key of each
  ARGV[11]                the number of users
  ARGV[12]                a lease, in milliseconds
  ARGV[13..]              for each: the user, '1' where the bucket is the user's, and the last seen, in milliseconds, of a presence
                          key that the caller has found, or empty

  Result: {"now":ms,"e":epoch,"seq":n,"off":[]}. Buckets that have lost users are published to the routers, see sweep.lua.
]]
local size, lease = tonumber(ARGV[11]), tonumber(ARGV[12])
local firstBucket, firstMirror, firstUser = 7, 7 + size, 13
local lost, seenBuckets = {}, {}
for i = 0, size - 1 do
  local key, place = KEYS[firstBucket + i], firstUser + i * 3
  local id, isAtHome, found = ARGV[place], ARGV[place + 1] == '1', number(ARGV[place + 2])
  local record = try('HGET', key, id)
  local mirror = userPrefix ~= '' and KEYS[firstMirror + i]
  local user = parse(record)
  local isHalf = false
  if record and (not isAtHome or not user) then
    drop(key, id)
  elseif user and user.version <= 0 then
    if mirror and call('DEL', mirror) == 1 then junk[#junk + 1] = userPrefix .. '<id>' end
  elseif user then
    isHalf = mirror and user.owners ~= ',' and call('EXISTS', mirror) == 0
  else
    -- The key that the caller has found may have been lost since, together with all data.
    isHalf = isAtHome and found and (not mirror or call('EXISTS', mirror) == 1)
    local seen = math.min(found or now, now)
    user = { version = math.max(1, seq), letter = 'r', seen = seen, changed = seen, grace = 0 }
  end
  if isHalf then
    local bucket = string.sub(key, #bucketPrefix + 1)
    -- A sweep may have counted the bucket without the user.
    if not record then
      local counted = tonumber(try('HGET', countKey, bucket) or 0) or 0
      call('HSET', countKey, bucket, format('%d', counted + 1))
    end
    user.grace, user.owners = math.max(user.grace, now + (record and lease or math.max(lease, ASSERTED))), ','
    save(key, id, user)
    try('ZADD', graceKey, format('%d', user.grace), bucket .. ':' .. id)
    if not seenBuckets[bucket] then
      seenBuckets[bucket] = true
      lost[#lost + 1] = bucket
    end
  end
end
finish()
if #lost > 0 then lose(lost) end
return '{' .. answered()
