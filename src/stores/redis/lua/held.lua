--[[
  Whom dead routers hold in some buckets, on a Cluster, where the reaping script cannot read the presence keys. Of these it is
  found out first when they were last seen.

  KEYS[1]    meta, see meta.lua
  KEYS[2..]  buckets
  ARGV[1]    the seed of the caller
  ARGV[2]    the epoch of the data in which it was in use
  ARGV[3]    after how many fields the call ends, so that nobody waits long
  ARGV[4..]  the dead incarnations

  Result: [user, ...]; or "!{...}", see meta.lua.
]]
local MOST_FIELDS = 10000
local answer = misplaced(readMeta(KEYS[1]), ARGV[1], ARGV[2])
if answer then return answer end
local most, examined, held = tonumber(ARGV[3]), 0, {}
for b = 2, #KEYS do
  if examined >= most then break end
  local length = pcall('HLEN', KEYS[b])
  local fields = not isError(length) and length <= MOST_FIELDS and call('HGETALL', KEYS[b]) or {}
  for i = 1, #fields, 2 do
    local record = fields[i + 1]
    for a = 4, #ARGV do
      if find(record, ',' .. ARGV[a] .. ',', 1, true) then
        if isId(fields[i]) then held[#held + 1] = fields[i] end
        break
      end
    end
  end
  examined = examined + #fields / 2
end
-- Of nothing cjson does not know that it is a list.
return #held > 0 and cjson.encode(held) or '[]'
