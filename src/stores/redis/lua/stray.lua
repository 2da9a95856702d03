--[[
  Users of whom a bucket and the key of the contract do not say the same. Where the bucket is the user's the key goes, if the
  user is offline still; where it is not, what stands in that bucket does.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7..]               the bucket of each, then, unless ARGV[1] is empty, the contract's key of each
  ARGV[11]                how many there are
  ARGV[12..]              for each: the user, and '1' where the bucket is the user's

  Result: {"now":ms,"e":epoch,"seq":n,"off":[]}.
]]
local size = tonumber(ARGV[11])
for i = 1, size do
  local key, id, isAtHome = KEYS[6 + i], ARGV[10 + i * 2], ARGV[11 + i * 2] == '1'
  local record = try('HGET', key, id)
  if record and not isAtHome then
    drop(key, id)
  elseif record and ARGV[1] ~= '' then
    local version = parse(record)
    if version and version <= 0 and call('DEL', KEYS[6 + size + i]) == 1 then junk[#junk + 1] = ARGV[1] .. '<id>' end
  end
end
finish()
return '{' .. answered()
