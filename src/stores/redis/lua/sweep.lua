--[[
  Examines some buckets for damage without an event: keys that were evicted, or that other programs have deleted or written. Routers
  run it all the time, on a few buckets.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7..]               the buckets
  ARGV[11]                the number of the first bucket
  ARGV[12]                how long "last seen" of a user who is offline is kept, in milliseconds
  ARGV[13]                the lease, in milliseconds, for a router of which only the users are left
  ARGV[14]                the number of users after which the call ends, so that it blocks Redis only for a short time
  ARGV[15]                the turn, a number from 0; negative: all buckets are examined. In each turn, half of the buckets are
                          examined, and of the others only the number of users; in one of eight of these examinations also the ids

  Result: {"done":number of buckets examined,"odd":[[bucket, user], ...],"offline":[[bucket, user, user ...], ...],"now":ms,"e":epoch,
  "seq":n,"off":[]}. Buckets that have lost users are published to the routers as {"l":[bucket, ...],"k":number of losses by now}, so
  that they register their users again. Missing presence keys are found by the next activity. "odd" are users whose record contradicts
  itself, see settle.lua. "offline" are users who are offline by their record, unless ARGV[1] is empty. They should have no presence
  key; where there is one, see stray.lua.
]]
local first, retention, lease, most, turn = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
local firstBucket = 7
local known, lost, odd, offline = {}, {}, {}, {}
-- How many owners without a lease got one. It is limited, so that foreign records cannot fill the keys of the routers.
local adopted = 0
if try('ZCARD', leaseKey) <= MOST_NODES then
  for _, name in ipairs(call('ZRANGE', leaseKey, 0, -1)) do known[name] = true end
end
if try('HLEN', nodesKey) <= MOST_NODES then
  for _, name in ipairs(call('HKEYS', nodesKey)) do known[name] = true end
end

-- The fields of a bucket. A bucket that another program has filled is deleted: returns no fields, and true.
local function fieldsOf(bucket)
  if try('HLEN', bucket) <= MOST_FIELDS then return call('HGETALL', bucket), false end
  discard(bucket)
  return {}, true
end

-- Examines and repairs a record. Returns whether the user counts as online.
local function examine(key, bucket, id, record)
  local user = parse(record)
  if not user or not isId(id) then
    drop(key, id)
    return false
  end
  -- Graces that have just run out are left to the next heartbeat, which ends them in order.
  local at, isOnline = now - 1000, user.version > 0
  local _, grace, _, _, settled = decide(isOnline, user.grace, user.owners, user.seen, 'due', '', 0, at)
  if settled or grace ~= user.grace then
    odd[#odd + 1] = format('[%d,%s]', bucket, json(id))
  elseif not isOnline and user.seen < now - retention then
    call('HDEL', key, id)
  end
  for owner in string.gmatch(user.owners, '[^,]+') do
    if not known[owner] and adopted < 64 then
      adopted = adopted + 1
      known[owner] = true
      call('ZADD', leaseKey, format('%d', now + lease), owner)
    end
  end
  return isOnline
end

-- Most users are held by one known router, which a pattern finds without parsing the record. Returns that router.
local function ownerOf(record) return match(record, '^%x+[jltnr]%x+[+-]?%x*,([^,;]+),$') end

-- Whether that is so for all users of a bucket.
local function isUsual(key)
  for _, record in ipairs(call('HVALS', key)) do
    local owner = ownerOf(record)
    if not owner or not known[owner] then return false end
  end
  return true
end

local size, done, examined = #KEYS - 6, 0, 0
local names = {}
for i = 1, size do names[i] = format('%d', first + i - 1) end
local recorded = size > 0 and try('HMGET', countKey, unpack(names)) or {}
while done < size and examined < most do
  local key, index = KEYS[firstBucket + done], first + done
  local bucket, counted = names[done + 1], recorded[done + 1]
  local length = try('HLEN', key)
  local online = counted and (tonumber(counted) or -1) or 0
  local isSmall = length <= MOST_FIELDS
  local isExamined = turn < 0 or (index + turn) % 2 == 0 or not counted or online < 0 or online > length or not isSmall
  local isFilled = false
  if isExamined and turn >= 0 and (index + turn) % 16 ~= 0 and isSmall and isUsual(key) then
    online = length
  elseif isExamined then
    local fields, ids = nil, {}
    online, fields, isFilled = 0, fieldsOf(key)
    for i = 1, #fields, 2 do
      local id, record = fields[i], fields[i + 1]
      local owner = isId(id) and ownerOf(record)
      if (owner and known[owner]) or examine(key, bucket, id, record) then
        online = online + 1
      elseif userPrefix ~= '' and isId(id) then
        ids[#ids + 1] = json(id)
      end
    end
    if #ids > 0 then offline[#offline + 1] = '[' .. bucket .. ',' .. table.concat(ids, ',') .. ']' end
  end
  counted = counted and (tonumber(counted) or -1) or 0
  if counted ~= online or isFilled then
    call('HSET', countKey, bucket, online)
    if counted > online or isFilled then lost[#lost + 1] = bucket end
  end
  examined = examined + 1 + (isExamined and length or 0)
  done = done + 1
end
-- Deletes counts of buckets that do not exist.
if first == 0 then
  if try('HLEN', countKey) > buckets * 2 then discard(countKey) end
  for _, name in ipairs(call('HKEYS', countKey)) do
    local bucket = number(name)
    if name ~= '' and not (bucket and bucket < buckets) then drop(countKey, name) end
  end
end

finish()
if #lost > 0 then lose(lost) end
return format('{"done":%d,"odd":[%s],"offline":[%s],', done, table.concat(odd, ','), table.concat(offline, ',')) .. answered()
