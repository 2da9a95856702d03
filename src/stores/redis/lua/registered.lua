--[[
  A router that found the data lost has registered all of its users, so it is no longer awaited, see beat.lua.

  KEYS[1]  meta, see meta.lua
  ARGV[1]  the router
  ARGV[2]  the epoch of the data in which it has registered them

  Result: "1", or "0" where no router was awaited, or the data were lost again.
]]
local metaKey, router, epoch = KEYS[1], ARGV[1], ARGV[2]
if redis.pcall('HGET', metaKey, 'epoch') ~= epoch then return '0' end
local until_, names = string.match(tostring(redis.pcall('HGET', metaKey, 'awaited')), '^(%d+) (.+)$')
if not until_ then return '0' end
local left = {}
for name in string.gmatch(names, '[^ ]+') do
  if name ~= router then left[#left + 1] = name end
end
if #left == 0 then
  redis.call('HDEL', metaKey, 'awaited')
else
  redis.call('HSET', metaKey, 'awaited', until_ .. ' ' .. table.concat(left, ' '))
end
return '1'
