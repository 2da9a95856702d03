--[[
  How many users are online.

  KEYS[1]  count, see shared.lua

  Result: the number, as a string.
]]
local sum = 0
for _, value in ipairs(redis.call('HVALS', KEYS[1])) do sum = sum + value end
return string.format('%d', sum)
