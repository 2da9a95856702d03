--[[
  Users of whom a bucket and the key of the contract do not say the same. Where the bucket is not the user's, what stands in it
  goes. Where the user is offline, the key goes. Where the user is online and has no key, nobody proves it: the routers that
  are named have a lease to assert the user anew.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7..]               the bucket of each, then, unless ARGV[1] is empty, the contract's key of each
  ARGV[11]                how many there are
  ARGV[12]                a lease, in milliseconds
  ARGV[13..]              for each: the user, and '1' where the bucket is the user's

  Result: {"now":ms,"e":epoch,"seq":n,"off":[]}. Buckets of users without a key are told to the routers, see sweep.
]]
local size, lease, lost, seenBuckets = tonumber(ARGV[11]), tonumber(ARGV[12]), {}, {}
for i = 1, size do
  local key, id, isAtHome = KEYS[6 + i], ARGV[11 + i * 2], ARGV[12 + i * 2] == '1'
  local record = try('HGET', key, id)
  local mirror = ARGV[1] ~= '' and KEYS[6 + size + i]
  local version, seen, grace, owners = parse(record)
  if record and (not isAtHome or not version) then
    drop(key, id)
  elseif version and mirror and version <= 0 then
    if call('DEL', mirror) == 1 then junk[#junk + 1] = ARGV[1] .. '<id>' end
  elseif version and mirror and owners ~= ',' and call('EXISTS', mirror) == 0 then
    local bucket = string.sub(key, #ARGV[6] + 1)
    grace = math.max(grace, now + lease)
    save(key, id, version, seen, grace, ',')
    try('ZADD', KEYS[4], format('%d', grace), bucket .. ':' .. id)
    if not seenBuckets[bucket] then
      seenBuckets[bucket] = true
      lost[#lost + 1] = bucket
    end
  end
end
finish()
if #lost > 0 then lose(lost) end
return '{' .. answered()
