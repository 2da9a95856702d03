--[[
  Looks over some buckets, a few at a time and always, for what nobody tells: keys that were evicted, or deleted by hand.

  KEYS[1..6], ARGV[1..7]  see shared.lua
  KEYS[7..]               the buckets
  ARGV[8]                 the number of the first bucket
  ARGV[9]                 for how long "last seen" of a user who is offline is kept, in milliseconds
  ARGV[10]                the lease, in milliseconds, of a router of which only the users are left
  ARGV[11]                after how many users the call ends, so that nobody waits long

  Result: {"done":how many of the buckets,"now":ms,"e":epoch,"seq":n,"off":[users, see apply]}. Buckets of which users were lost are
  told to the routers as {"l":[bucket, ...],"k":how often by now}, so that they assert anew who is there. The keys of the contract need no
  sweep: the next sign of life finds out which are missing.
]]
local first, retention, lease, most = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local known = {}
local lost = {}
for _, name in ipairs(call('ZRANGE', KEYS[1], 0, -1)) do known[name] = true end
for _, name in ipairs(call('HKEYS', KEYS[2])) do known[name] = true end

-- What is not as it should be, of one user. Returns whether the user is online.
local function examine(key, bucket, id, record)
  local version, seen, grace, owners = parse(record)
  if version <= 0 then
    if seen < now - retention and owners == ',' then call('HDEL', key, id) end
    return false
  end
  if owners == ',' then
    if grace == 0 or grace < now - 1000 then
      seen = latest(id, seen)
      version = flip(key, id, false, seen, 'timeout')
      save(key, id, version, seen, 0, owners)
    else
      call('ZADD', KEYS[4], 'NX', format('%d', grace), bucket .. ':' .. id)
    end
    return true
  end
  for owner in string.gmatch(owners, '[^,]+') do
    if not known[owner] then
      known[owner] = true
      call('ZADD', KEYS[1], format('%d', now + lease), owner)
    end
  end
  return true
end

local match = string.match
local size, done, examined = #KEYS - 6, 0, 0
while done < size and examined < most do
  local key = KEYS[7 + done]
  local bucket = format('%d', first + done)
  local fields = call('HGETALL', key)
  local online = 0
  for i = 1, #fields, 2 do
    -- Nearly everybody is held by one router that lives: that is seen without taking the record apart.
    local owner = match(fields[i + 1], '^%x+ %x+,([^,]+),$')
    if (owner and known[owner]) or examine(key, bucket, fields[i], fields[i + 1]) then online = online + 1 end
  end
  local counted = tonumber(call('HGET', KEYS[5], bucket) or '0')
  if counted ~= online then
    -- The changes just told are counted by finish.
    call('HSET', KEYS[5], bucket, online)
    if counted > online then lost[#lost + 1] = bucket end
  end
  examined = examined + 1 + #fields / 2
  done = done + 1
end

finish()
if #lost > 0 then lose(lost) end
return format('{"done":%d,"now":%d,"e":"%s","seq":%d,"off":[%s]}', done, now, epoch, seq, table.concat(gone, ','))
