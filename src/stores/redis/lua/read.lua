--[[
  What is known of users: what was told of them last, which is what routers that listen believe.

  KEYS[1]    meta, see meta.lua
  KEYS[2..]  the bucket of each user
  ARGV[1]    the seed of the caller
  ARGV[2]    the epoch of the data in which it was in use, or nothing
  ARGV[3..]  the users

  Result: the time in milliseconds, and for each user the record of its bucket, see shared.lua, as far as it is of use:
  "<version> <last seen>", the version less the base, and negative while offline; nothing where there is none; "?" for what is none. All joined by commas.
  Or "!{...}", see meta.lua.
]]
local answer = misplaced(checked(pcall('HMGET', KEYS[1], 'seq', 'epoch', 'at', 'layout', 'seed')), ARGV[1], ARGV[2])
if answer then return answer end
local records = { format('%d', now) }
for i = 2, #KEYS do
  local record = pcall('HGET', KEYS[i], ARGV[i + 1])
  if isError(record) then
    records[i] = '?'
  elseif record then
    records[i] = parse(record) and match(record, '^-?%x+ %x+') or '?'
  else
    records[i] = ''
  end
end
return table.concat(records, ',')
