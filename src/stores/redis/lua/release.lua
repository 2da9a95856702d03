--[[
  Ends the lease of a router that leaves. The users whom it still holds are reaped like those of a dead router.

  KEYS[1]  lease, see shared.lua
  ARGV[1]  the incarnation

  Result: "1", or "0" where there was no such lease.
]]
local leaseKey, tag = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if type(redis.pcall('ZSCORE', leaseKey, tag)) ~= 'string' then return '0' end
redis.call('ZADD', leaseKey, string.format('%d', now), tag)
return '1'
