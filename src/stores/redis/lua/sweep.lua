--[[
  Looks over some buckets, a few at a time and always, for what nobody tells: keys that were evicted, or deleted or written
  by somebody else.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7..]               the buckets
  ARGV[11]                the number of the first bucket
  ARGV[12]                for how long "last seen" of a user who is offline is kept, in milliseconds
  ARGV[13]                the lease, in milliseconds, of a router of which only the users are left
  ARGV[14]                after how many users the call ends, so that nobody waits long

  Result: {"done":how many of the buckets,"odd":[[bucket, user], ...],"offline":[[bucket, user, user ...], ...],"now":ms,"e":epoch,
  "seq":n,"off":[]}. Buckets of which users were lost are told to the routers as {"l":[bucket, ...],"k":how often by now}, so that
  they assert anew who is there. That presence keys are missing the next activity finds out; "odd" are users whose record contradicts
  itself, see settle.lua; "offline" are those who are offline by their record, unless ARGV[1] is empty. A presence key is deleted in the
  step in which its user goes offline: where there is one all the same, see stray.lua.
]]
local first, retention, lease, most = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])
local firstBucket = 7
local known, lost, odd, offline = {}, {}, {}, {}
-- So many names are given a lease at once, that what somebody writes into records does not fill the keys of the routers.
local adopted = 0
if try('ZCARD', leaseKey) <= MOST_NODES then
  for _, name in ipairs(call('ZRANGE', leaseKey, 0, -1)) do known[name] = true end
end
if try('HLEN', nodesKey) <= MOST_NODES then
  for _, name in ipairs(call('HKEYS', nodesKey)) do known[name] = true end
end

-- All of a bucket, with a bound on what that is; nothing, and true, of one that somebody else has filled.
local function fieldsOf(bucket)
  if try('HLEN', bucket) <= MOST_FIELDS then return call('HGETALL', bucket), false end
  discard(bucket)
  return {}, true
end

-- What is not as it should be, of one user. Returns whether the user is counted as online.
local function examine(key, bucket, id, record)
  local user = parse(record)
  if not user or not isId(id) then
    drop(key, id)
    return false
  end
  -- Graces that have just run out the next heartbeat ends, in their order.
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

local size, done, examined = #KEYS - 6, 0, 0
while done < size and examined < most do
  local key = KEYS[firstBucket + done]
  local bucket = format('%d', first + done)
  local fields, isFilled = fieldsOf(key)
  local online, ids = 0, {}
  for i = 1, #fields, 2 do
    local id, record = fields[i], fields[i + 1]
    -- Nearly everybody is held by one router that lives: that is seen without taking the record apart.
    local owner = isId(id) and match(record, '^%x+[jltnr]%x+[+-]?%x*,([^,;]+),$')
    if (owner and known[owner]) or examine(key, bucket, id, record) then
      online = online + 1
    elseif userPrefix ~= '' and isId(id) then
      ids[#ids + 1] = json(id)
    end
  end
  if #ids > 0 then offline[#offline + 1] = '[' .. bucket .. ',' .. table.concat(ids, ',') .. ']' end
  local counted = try('HGET', countKey, bucket)
  counted = counted and (tonumber(counted) or -1) or 0
  if counted ~= online or isFilled then
    call('HSET', countKey, bucket, online)
    if counted > online or isFilled then lost[#lost + 1] = bucket end
  end
  examined = examined + 1 + #fields / 2
  done = done + 1
end
-- Counts of buckets that there are not.
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
