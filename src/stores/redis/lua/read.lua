--[[
  What is known of users.

  KEYS[1..3]  see alive.lua
  KEYS[4..]   the bucket of each user, then, unless ARGV[1] is '0', the contract's key of each
  ARGV[1]     how many users are given with their contract's key: all, or '0' (Cluster)
  ARGV[2..]   the users

  Result: the time in milliseconds, and for each user "<version> <last seen>", the version negative while offline, or
  nothing; all joined by commas.
]]
local size = #ARGV - 1
local mirrors
if ARGV[1] ~= '0' and size > 0 then mirrors = call('MGET', unpack(KEYS, 4 + size, 3 + 2 * size)) end
local answer = { format('%.0f', now) }
for i = 1, size do
  local record = call('HGET', KEYS[3 + i], ARGV[1 + i])
  if record then
    local version, seen, grace, owners = string.match(record, '^(-?%d+) (%d+)/?(%d*)(.*)$')
    if string.byte(version) ~= 45 then
      if not isOnline(tonumber(version), tonumber(grace) or 0, owners) then version = '-' .. version end
      local mirror = mirrors and mirrors[i]
      if mirror and tonumber(mirror) > tonumber(seen) then seen = mirror end
    end
    answer[i + 1] = version .. ' ' .. seen
  elseif mirrors and mirrors[i] then
    -- The bucket was lost, its users were not: the key of one who has left is deleted.
    answer[i + 1] = '0 ' .. mirrors[i]
  else
    answer[i + 1] = ''
  end
end
return table.concat(answer, ',')
