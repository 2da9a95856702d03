--[[
  When users were last seen who went offline by the death of their router, on a Cluster, where the reaping script cannot
  read the contract's keys.

  KEYS[1..]  the bucket of each user
  ARGV[1..]  for each: user, last seen in milliseconds

  Result: "1".
]]
local EPOCH = 1577836800000
for i = 1, #KEYS do
  local id, seen = ARGV[i * 2 - 1], ARGV[i * 2] - EPOCH
  local record = redis.call('HGET', KEYS[i], id)
  if record then
    local version, before, rest = string.match(record, '^(-?%x+) (%x+)(.*)$')
    if seen > tonumber(before, 16) then
      redis.call('HSET', KEYS[i], id, string.format('%s %x%s', version, seen, rest))
    end
  end
end
return '1'
