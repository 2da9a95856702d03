--[[
  Looks over some buckets, a few at a time and always, for what nobody tells: keys that were evicted, or deleted or written
  by somebody else.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7..]               the buckets
  ARGV[11]                the number of the first bucket
  ARGV[12]                for how long "last seen" of a user who is offline is kept, in milliseconds
  ARGV[13]                the lease, in milliseconds, of a router of which only the users are left
  ARGV[14]                after how many users the call ends, so that nobody waits long

  Result: {"done":how many of the buckets,"strays":[[bucket, user], ...],"now":ms,"e":epoch,"seq":n,"off":[users, see apply]}. Buckets of which users were lost are
  told to the routers as {"l":[bucket, ...],"k":how often by now}, so that they assert anew who is there. That presence keys are
  missing the next activity finds out; "strays" are users who are offline by their record and have a key, see stray.lua.
]]
local first, retention, lease, most = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])
local known = {}
local lost = {}
-- So many names are given a lease at once, that what somebody writes into records does not fill the keys of the routers.
local adopted = 0
if try('ZCARD', KEYS[1]) <= MOST_NODES then
  for _, name in ipairs(call('ZRANGE', KEYS[1], 0, -1)) do known[name] = true end
end
if try('HLEN', KEYS[2]) <= MOST_NODES then
  for _, name in ipairs(call('HKEYS', KEYS[2])) do known[name] = true end
end

-- What is not as it should be, of one user. Returns whether the user is counted as online.
local function examine(key, bucket, id, record)
  local user = parse(record)
  if not user or not isId(id) then
    drop(key, id)
    return false
  end
  -- Graces that have just run out the next heartbeat ends, in their order.
  local at = now - 1000
  local isOver = user.owners == ',' and user.grace <= at
  if user.version <= 0 and isOver then
    if user.seen < now - retention then call('HDEL', key, id) end
    return false
  end
  -- Of who is held a grace stands in no set, where the record was lost before; and so it is of what somebody else has written.
  if isOver then user.seen = latest(id, user.seen) end
  local was = user.version
  change(key, id, user, 'due', '', 0, at)
  -- What has just changed is counted by finish.
  if was > 0 ~= (user.version > 0) then return was > 0 end
  for owner in string.gmatch(user.owners, '[^,]+') do
    if not known[owner] and adopted < 64 then
      adopted = adopted + 1
      known[owner] = true
      call('ZADD', KEYS[1], format('%d', now + lease), owner)
    end
  end
  return true
end

-- A presence key is deleted in the step in which its user goes offline. One that is there all the same says "online"
-- of somebody who is not, or the record stands in a bucket that is not the user's: the caller can tell. Others than ours
-- hold no time.
local strays = {}
local function findStrays(bucket, ids)
  for from = 1, #ids, 1000 do
    local keys, to = {}, math.min(from + 999, #ids)
    for i = from, to do keys[#keys + 1] = ARGV[1] .. ids[i] end
    for i, value in ipairs(call('MGET', unpack(keys))) do
      if value and #value >= 12 and number(value) and #strays < 1000 then
        strays[#strays + 1] = '[' .. bucket .. ',' .. json(ids[from + i - 1]) .. ']'
      end
    end
  end
end

local size, done, examined = #KEYS - 6, 0, 0
while done < size and examined < most do
  local key = KEYS[7 + done]
  local bucket = format('%d', first + done)
  local fields, isFilled = fieldsOf(key)
  local online, offline = 0, {}
  for i = 1, #fields, 2 do
    local id, record = fields[i], fields[i + 1]
    -- Nearly everybody is held by one router that lives: that is seen without taking the record apart.
    local owner = isId(id) and match(record, '^%x+[jltnr]%x+[+-]?%x*,([^,;]+),$')
    if (owner and known[owner]) or examine(key, bucket, id, record) then
      online = online + 1
    elseif ARGV[1] ~= '' then
      if isId(id) then offline[#offline + 1] = id end
    end
  end
  if #offline > 0 then findStrays(bucket, offline) end
  local counted = try('HGET', KEYS[5], bucket)
  counted = counted and (tonumber(counted) or -1) or 0
  if counted ~= online or isFilled then
    -- The changes just told are counted by finish.
    call('HSET', KEYS[5], bucket, online)
    if counted > online or isFilled then lost[#lost + 1] = bucket end
  end
  examined = examined + 1 + #fields / 2
  done = done + 1
end
-- Counts of buckets that there are not.
if first == 0 then
  if try('HLEN', KEYS[5]) > buckets * 2 then discard(KEYS[5]) end
  for _, name in ipairs(call('HKEYS', KEYS[5])) do
    local bucket = number(name)
    if name ~= '' and not (bucket and bucket < buckets) then drop(KEYS[5], name) end
  end
end

finish()
if #lost > 0 then lose(lost) end
return format('{"done":%d,"strays":[%s],', done, table.concat(strays, ',')) .. answered()
