--[[
  Signs of life of users whom a router holds: moves the contract's keys, and makes none.

  KEYS[1]    lease, see shared.lua
  KEYS[2..]  the contract's key of each user
  ARGV[1]    the incarnation
  ARGV[2]    how long a key lives, in milliseconds
  ARGV[3..]  the age of each sign, in milliseconds

  Result: the places, from 0, of those who have no key, joined by commas; "?" where the incarnation has no lease.
]]
local call, format = redis.call, string.format
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local deadline = call('ZSCORE', KEYS[1], ARGV[1])
if not deadline or tonumber(deadline) <= now then return '?' end
local missing, ttl = {}, ARGV[2]
for i = 2, #KEYS do
  if not call('SET', KEYS[i], format('%d', now - ARGV[i + 1]), 'PX', ttl, 'XX') then
    missing[#missing + 1] = i - 2
  end
end
return table.concat(missing, ',')
