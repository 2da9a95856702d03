--[[
  Users whose record was lost, and whom no router has asserted since: they are offline. Of who has a record it changes
  nothing.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7..]               the bucket of each user, then, unless ARGV[1] is empty, the contract's key of each
  ARGV[11]                how many users there are
  ARGV[12..]              the users
  ARGV[..]                then, for each, when the contract's key says that the user was seen, in milliseconds

  Result: {"now":ms,"e":epoch,"seq":n,"off":[users, see apply]}.
]]
local size = tonumber(ARGV[11])
for i = 1, size do
  local key, id = KEYS[6 + i], ARGV[11 + i]
  -- The key that the caller has read may be gone by now, together with everything.
  local isKeyed = ARGV[1] == '' or call('EXISTS', KEYS[6 + size + i]) == 1
  if isKeyed and try('HEXISTS', key, id) == 0 then
    local seen = math.min(number(ARGV[11 + size + i]) or now, now)
    save(key, id, flip(key, id, false, seen, 'timeout'), seen, 0, ',')
    -- Among those who are counted there was no such user any more.
    counts[key] = counts[key] + 1
  end
end
finish()
return '{' .. answered()
