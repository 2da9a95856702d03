--[[
  Names the users in some buckets whom dead routers hold, so that the caller passes their keys to reap.lua.

  KEYS[1]    meta, see meta.lua
  KEYS[2..]  buckets
  ARGV[1]    the seed of the caller
  ARGV[2]    the epoch of the data that use it
  ARGV[3]    the number of the first bucket
  ARGV[4]    the number of users after which the call ends, so that it blocks Redis only for a short time
  ARGV[5..]  the dead incarnations

  Result: {"done":number of buckets examined,"users":[[bucket, user], ...]}; or "!{...}", see meta.lua.
]]
local metaKey, firstKey = KEYS[1], 2
local seed, knownEpoch, first, most, firstDead = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), 5
local MOST_FIELDS = 10000
local answer = misplaced(readMeta(metaKey), seed, knownEpoch)
if answer then return answer end
local dead = {}
for i = firstDead, #ARGV do dead[ARGV[i]] = true end
-- A single name is searched in the record; with several, each owner is looked up.
local needle = #ARGV == firstDead and ',' .. ARGV[firstDead] .. ',' or nil
local function isOwned(record)
  if needle then return find(record, needle, 1, true) end
  for owner in string.gmatch(record, ',([^,]+)') do
    if dead[owner] then return true end
  end
  return false
end

local size, done, examined, users = #KEYS - 1, 0, 0, {}
while done < size and examined < most do
  local length = pcall('HLEN', KEYS[firstKey + done])
  local fields = not isError(length) and length <= MOST_FIELDS and call('HGETALL', KEYS[firstKey + done]) or {}
  for i = 1, #fields, 2 do
    if isOwned(fields[i + 1]) and isId(fields[i]) then
      users[#users + 1] = format('[%d,%s]', first + done, json(fields[i]))
      -- A user who is going to be changed takes longer.
      examined = examined + 4
    end
  end
  examined = examined + 1 + #fields / 2
  done = done + 1
end
return format('{"done":%d,"users":[%s]}', done, table.concat(users, ','))
