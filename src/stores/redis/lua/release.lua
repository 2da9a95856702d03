--[[
  Ends the lease of a router that leaves. What it still holds is reaped like that of a dead one.

  KEYS[1]  lease, see shared.lua
  ARGV[1]  the incarnation

  Result: "1", or "0" where there was no such lease.
]]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if type(redis.pcall('ZSCORE', KEYS[1], ARGV[1])) ~= 'string' then return '0' end
redis.call('ZADD', KEYS[1], string.format('%d', now), ARGV[1])
return '1'
