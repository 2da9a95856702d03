--[[
  Users of whom a bucket and the presence key do not say the same. Where the bucket is not the user's, what stands in it
  goes. Where the user is offline, the key goes. Where an online user has no key, or a key no record, the other one was lost:
  whoever holds the user has a lease to say so. Who is not asserted by then goes offline like everybody else whose grace ends.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7..]               the bucket of each, then, unless ARGV[1] is empty, the presence key of each
  ARGV[11]                how many there are
  ARGV[12]                a lease, in milliseconds
  ARGV[13..]              for each: the user, '1' where the bucket is the user's, and when the user was seen, in milliseconds, by
                          a key that the caller has found, or nothing

  Result: {"now":ms,"e":epoch,"seq":n,"off":[]}. Buckets of which something was lost are told to the routers, see sweep.
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
    -- The key that the caller has found may be gone by now, together with everything.
    isHalf = isAtHome and found and (not mirror or call('EXISTS', mirror) == 1)
    local seen = math.min(found or now, now)
    user = { version = math.max(1, seq), letter = 'r', seen = seen, changed = seen, grace = 0 }
  end
  if isHalf then
    local bucket = string.sub(key, #bucketPrefix + 1)
    -- Whoever counted the bucket meanwhile found nobody.
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
