--[[
  What changed on one router, in order.

  KEYS[1..6], ARGV[1..7]  see shared.lua
  KEYS[7..]               the bucket of each operation, then, unless ARGV[1] is empty, the contract's key of each
  ARGV[8]                 the incarnation
  ARGV[9]                 the number of this call among the applies of the incarnation, from 1
  ARGV[10]                how long a key of the contract lives, in milliseconds
  ARGV[11]                how many operations there are
  ARGV[12..]              for each: user, bucket number, age of the last sign of life in ms, and what happened:
                          'j' join, 'r' join asserted anew, 'l' leave after a clean close, 't' leave after silence,
                          a number: dropped, with so many milliseconds of grace

  Result: {"known":bool,"now":ms,"e":epoch,"seq":n,"off":[[user, last seen], ...]}; "off" are
  those who went offline, if the caller writes the contract's keys.
  "known" is false where the incarnation has no lease; nothing has been done then.
]]
local tag, number, ttl, size = ARGV[8], tonumber(ARGV[9]), ARGV[10], tonumber(ARGV[11])
local node = call('HGET', KEYS[2], tag)
local deadline = call('ZSCORE', KEYS[1], tag)
if not node or not deadline or tonumber(deadline) <= now then
  return format('{"known":false,"now":%.0f,"e":"%s","seq":%.0f,"off":[]}', now, epoch, stored)
end

local lease, pardoned, last, claimed = string.match(node, '^(%d+) (%d) (%d+) (%d+)$')
-- The client sent it again because the connection broke before the answer came.
local isRepeated = tonumber(last) >= number
local needle = ',' .. tag .. ','

for i = 0, isRepeated and -1 or size - 1 do
  local base = 12 + i * 4
  local id, bucket, age, kind = ARGV[base], ARGV[base + 1], ARGV[base + 2], ARGV[base + 3]
  local key = KEYS[7 + i]
  local version, seen, grace, owners = parse(call('HGET', key, id))
  local from, to = string.find(owners, needle, 1, true)
  local heard = now - age
  if heard > seen then seen = heard end

  if kind == 'j' or kind == 'r' then
    if not from then owners = owners .. tag .. ',' end
    if grace > 0 then
      grace = 0
      call('ZREM', KEYS[4], bucket .. ':' .. id)
    end
    if version <= 0 then version = flip(bucket, id, true, seen, kind == 'r' and 'resync' or 'connect') end
    save(key, id, version, seen, grace, owners)
    if ARGV[1] ~= '' then call('SET', KEYS[7 + size + i], format('%.0f', seen), 'PX', ttl) end
  elseif from then
    owners = string.sub(owners, 1, from) .. string.sub(owners, to + 1)
    local reason = 'disconnect'
    if kind ~= 'l' then reason = 'timeout' end
    local ms = tonumber(kind)
    if ms and ms > 0 and now + ms > grace then
      grace = now + ms
      call('ZADD', KEYS[4], format('%.0f', grace), bucket .. ':' .. id)
    end
    if version > 0 and owners == ',' and grace == 0 then version = flip(bucket, id, false, seen, reason) end
    save(key, id, version, seen, grace, owners)
  end
end

if not isRepeated then
  call('HSET', KEYS[2], tag, lease .. ' ' .. pardoned .. ' ' .. number .. ' ' .. claimed)
end
finish()
return format('{"known":true,"now":%.0f,"e":"%s","seq":%.0f,"off":[%s]}', now, epoch, seq, table.concat(gone, ','))
