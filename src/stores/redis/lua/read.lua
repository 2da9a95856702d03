--[[
  What is known of users.

  KEYS[1..3]  see alive.lua
  KEYS[4..]   the bucket of each user
  ARGV[1..]   the users

  Result: the time in milliseconds, and for each user the record of its bucket, see shared.lua, as far as it is of use:
  "<version> <last seen>", the version negative while offline; or nothing. All joined by commas.
]]
local answer = { format('%d', now) }
for i = 1, #ARGV do
  local record = call('HGET', KEYS[3 + i], ARGV[i])
  if not record then
    record = ''
  elseif string.byte(record) ~= 45 then
    local version, _, grace, owners = parse(record)
    record = (isOnline(version, grace, owners) and '' or '-') .. string.match(record, '^%x+ %x+')
  end
  answer[i + 1] = record
end
return table.concat(answer, ',')
