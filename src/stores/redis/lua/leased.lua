--[[
  Checks whether a router has a lease, for callers that write the presence keys themselves (Cluster).

  KEYS[1]  lease, see shared.lua
  ARGV[1]  the incarnation

  Result: the time by the clock of this server in milliseconds, or "?" where the incarnation has no lease.
]]
local leaseKey, tag = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local deadline = redis.pcall('ZSCORE', leaseKey, tag)
if type(deadline) ~= 'string' or tonumber(deadline) <= now then return '?' end
return string.format('%d', now)
