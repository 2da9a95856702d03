--[[
  What is known of users: what was told of them last, which is what routers that listen believe.

  KEYS[1..]  the bucket of each user
  ARGV[1..]  the users

  Result: the time in milliseconds, and for each user the record of its bucket, see shared.lua, as far as it is of use:
  "<version> <last seen>", the version negative while offline; or nothing. All joined by commas.
]]
local time = redis.call('TIME')
local answer = { string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000)) }
for i = 1, #ARGV do
  local record = redis.call('HGET', KEYS[i], ARGV[i])
  answer[i + 1] = record and string.match(record, '^-?%x+ %x+') or ''
end
return table.concat(answer, ',')
