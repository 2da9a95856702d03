--[[
  Counts the users who are online.

  KEYS[1]  count, see shared.lua
  KEYS[2]  meta, see meta.lua
  KEYS[3]  lease, see shared.lua
  KEYS[4]  nodes, see shared.lua
  KEYS[5]  grace, see shared.lua
  ARGV[1]  the number of buckets

  Result: "<number> <epoch> <seq> <awaited> <proven>", see proof.lua. "proven" is 0 where users have to be examined one by
  one: the counts were lost, a grace or a lease has ended unnoticed, or presence keys decide. The number is then that of the
  users published as online. Invalid counts are ignored.
]]
local countKey, metaKey, leaseKey, nodesKey, graceKey = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local buckets = tonumber(ARGV[1])
-- The longest time that a sweep of all buckets takes. It begins with the beat that finds no counts, or a lease after the last one.
local SWEPT_MS = 3000
local meta = readMeta(metaKey)
local _, _, isAny = readStanding(leaseKey, nodesKey, meta)
local sum = 0
local function add(values)
  for _, value in ipairs(values) do
    local count = value and #value <= 16 and tonumber(value) or 0
    -- Impossible counts are ignored, until the sweep has counted the bucket again.
    if count > 0 and count <= 100000 then sum = sum + count end
  end
end
local length = pcall('HLEN', countKey)
if not isError(length) and length <= buckets + 1 then
  add(call('HVALS', countKey))
elseif not isError(length) then
  -- Another program has added fields: only those of buckets are read.
  for from = 0, buckets - 1, 1000 do
    local fields = {}
    for bucket = from, math.min(from + 999, buckets - 1) do fields[#fields + 1] = format('%d', bucket) end
    add(call('HMGET', countKey, unpack(fields)))
  end
end
local counting, isCounted = pcall('HMGET', countKey, ''), true
if isError(counting) or not counting[1] then
  isCounted = not meta.epoch
elseif counting[1] ~= '0' then
  local place = call('HMGET', metaKey, 'lostAt', 'round')
  local lostAt, round = number(place[1]) or 0, number(place[2]) or 0
  isCounted = round >= lostAt and now - round > SWEPT_MS
end
return format('%d %s %d %d %d', sum, meta.epoch or '', meta.seq, isAwaited(meta) and 1 or 0, (((isAny or isAnyGraceOver(graceKey)) and sum > 0) or not isCounted) and 0 or 1)
