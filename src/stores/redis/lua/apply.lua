--[[
  What changed on one router, in order.

  KEYS[1..6], ARGV[1..7]  see shared.lua
  KEYS[7..]               the bucket of each operation, then, unless ARGV[1] is empty, the contract's key of each
  ARGV[8]                 the incarnation
  ARGV[9]                 the number of this call among the applies of the incarnation, from 1, "/", and that of the last
                          one that was acknowledged
  ARGV[10]                how long a key of the contract lives, in milliseconds
  ARGV[11]                how many operations there are
  ARGV[12..]              for each: age of the last sign of life in ms, and what happened:
                          'j' join, 'r' join asserted anew, 'l' leave after a clean close, 't' leave after silence,
                          a number: dropped, with so many milliseconds of grace
  ARGV[..]                then, if ARGV[1] is empty, the user of each

  Result: {"known":bool,"now":ms,"e":epoch,"seq":n,"off":[[user, last seen], ...]}; "off" are
  those who went offline, if the caller writes the contract's keys.
  "known" is false where the incarnation has no lease, or acknowledged work of it is missing; nothing has been done then.
]]
local tag, ttl, size = ARGV[8], ARGV[10], tonumber(ARGV[11])
local number, acknowledged = string.match(ARGV[9], '^(%d+)/(%d+)$')
number, acknowledged = tonumber(number), tonumber(acknowledged)
local node = call('HGET', KEYS[2], tag)
local deadline = call('ZSCORE', KEYS[1], tag)
local lease, pardoned, last, claimed = string.match(node or '', '^(%d+) (%d) (%d+) (%d+)$')
-- Whose acknowledged work is missing was set back to an older state; it must not write over the evidence.
if not last or not deadline or tonumber(deadline) <= now or tonumber(last) < acknowledged then
  return format('{"known":false,"now":%d,"e":"%s","seq":%d,"off":[]}', now, epoch, stored)
end

-- The client sent it again because the connection broke before the answer came.
local isRepeated = tonumber(last) >= number
local needle = ',' .. tag .. ','

local userPrefix, bucketAt, missing = ARGV[1], #ARGV[6] + 1, {}
local userAt = #userPrefix + 1

for i = 0, isRepeated and -1 or size - 1 do
  local age, kind = ARGV[12 + i + i], ARGV[13 + i + i]
  local key, mirror, id = KEYS[7 + i]
  if userAt > 1 then
    mirror = KEYS[7 + size + i]
    id = string.sub(mirror, userAt)
  else
    id = ARGV[12 + size + size + i]
  end
  local record = call('HGET', key, id)
  local heard = now - age

  if kind == 'j' or kind == 'r' then
    local version, seen, grace, owners = 0, heard, 0, needle
    if record then
      version, seen, grace, owners = parse(record)
      if heard > seen then seen = heard end
      if not string.find(owners, needle, 1, true) then owners = owners .. tag .. ',' end
      if grace > 0 then
        grace = 0
        call('ZREM', KEYS[4], string.sub(key, bucketAt) .. ':' .. id)
      end
    end
    if version <= 0 then version = flip(key, id, true, seen, kind == 'r' and 'resync' or 'connect') end
    save(key, id, version, seen, grace, owners)
    if mirror then call('SET', mirror, format('%d', seen), 'PX', ttl) end
  elseif record then
    local version, seen, grace, owners = parse(record)
    local from, to = string.find(owners, needle, 1, true)
    -- One that has run out, and which nobody has ended: the limbo was lost.
    if grace <= now then grace = 0 end
    if from then
      if heard > seen then seen = heard end
      owners = string.sub(owners, 1, from) .. string.sub(owners, to + 1)
      local ms = tonumber(kind)
      if ms and ms > 0 and now + ms > grace then
        grace = now + ms
        call('ZADD', KEYS[4], format('%d', grace), string.sub(key, bucketAt) .. ':' .. id)
      end
      if version > 0 and owners == ',' and grace == 0 then
        version = flip(key, id, false, seen, kind == 'l' and 'disconnect' or 'timeout')
      end
      save(key, id, version, seen, grace, owners)
    end
  elseif not mirror then
    gone[#gone + 1] = format('[%s,%d]', json(id), heard)
  elseif call('EXISTS', mirror) == 1 then
    -- The bucket was lost, and nobody has noticed yet. Another router that holds the user too has a second to say so.
    missing[#missing + 1] = string.sub(key, bucketAt)
    local grace = now + math.max(1000, tonumber(kind) or 0)
    save(key, id, math.max(1, seq), heard, grace, ',')
    call('ZADD', KEYS[4], format('%d', grace), string.sub(key, bucketAt) .. ':' .. id)
  end
end

if not isRepeated then
  call('HSET', KEYS[2], tag, lease .. ' ' .. pardoned .. ' ' .. number .. ' ' .. claimed)
end
finish()
if #missing > 0 then lose(missing) end
return format('{"known":true,"now":%d,"e":"%s","seq":%d,"off":[%s]}', now, epoch, seq, table.concat(gone, ','))
