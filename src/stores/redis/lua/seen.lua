--[[
  When users were last seen who go offline by the death of their router, on a Cluster, where the reaping script cannot
  read the presence keys.

  KEYS[1]    meta, see meta.lua
  KEYS[2..]  the bucket of each user
  ARGV[1]    the seed of the caller
  ARGV[2]    the epoch of the data in which it was in use
  ARGV[3..]  for each: user, last seen in milliseconds

  Result: "1"; or "!{...}", see meta.lua.
]]
local answer = misplaced(readMeta(KEYS[1]), ARGV[1], ARGV[2])
if answer then return answer end
base = baseOf(ARGV[1])
for i = 2, #KEYS do
  local id, seen = ARGV[i * 2 - 1], number(ARGV[i * 2])
  local record = pcall('HGET', KEYS[i], id)
  if record and not isError(record) and seen and seen <= now then
    local user = parse(record)
    if user and seen > user.seen then
      user.seen = seen
      call('HSET', KEYS[i], id, compose(user))
    end
  end
end
return '1'
