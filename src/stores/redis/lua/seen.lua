--[[
  Writes the last seen of users who have gone offline, on a Cluster, where it comes from presence keys in other slots.

  KEYS[1]    meta, see meta.lua
  KEYS[2..]  the bucket of each user
  ARGV[1]    the seed of the caller
  ARGV[2]    the epoch of the data that use it
  ARGV[3..]  for each: user, last seen in milliseconds

  Result: "1"; or "!{...}", see meta.lua.
]]
local metaKey, firstKey = KEYS[1], 2
local seed, knownEpoch, firstUser = ARGV[1], ARGV[2], 3
local answer = misplaced(readMeta(metaKey), seed, knownEpoch)
if answer then return answer end
base = baseOf(seed)
for i = 0, #KEYS - firstKey do
  local key, id, seen = KEYS[firstKey + i], ARGV[firstUser + i + i], number(ARGV[firstUser + 1 + i + i])
  local record = pcall('HGET', key, id)
  if record and not isError(record) and seen and seen <= now then
    local user = parse(record)
    if user and seen > user.seen then
      user.seen = seen
      call('HSET', key, id, compose(user))
    end
  end
end
return '1'
