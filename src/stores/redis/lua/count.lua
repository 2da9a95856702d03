--[[
  How many users are online.

  KEYS[1]  count, see shared.lua

  Result: the number, as a string.
]]
local sum = 0
for _, value in ipairs(redis.call('HVALS', KEYS[1])) do sum = sum + value end
-- Less than none, until the sweep has counted anew.
return string.format('%d', math.max(0, sum))
