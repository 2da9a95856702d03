--[[
  Takes dead routers away from the users of some buckets. Does nothing to one whose lease runs; may be repeated.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7]                 routers, see beat.lua
  KEYS[8..]               the buckets
  ARGV[11]                the number of the first bucket
  ARGV[12]                '1': these are the last ones, and then nothing of the dead is left
  ARGV[13]                after how many users the call ends, so that nobody waits long
  ARGV[14]                after which silence a router gives a connection up, in milliseconds
  ARGV[15..]              the dead incarnations

  Result: {"done":how many of the buckets, -1 while their leases run,"now":ms,"e":epoch,"seq":n,"off":[users, see apply]}.
]]
local first, most = tonumber(ARGV[11]), tonumber(ARGV[13])
local ttl, dead, tags = tonumber(ARGV[14]), {}, {}

-- Until when a router was certainly alive: its last heartbeat, or, where its lease was extended, about the last one of anybody.
local function aliveUntil(tag, deadline)
  local node = parseNode(try('HGET', KEYS[2], tag))
  deadline = tonumber(deadline)
  if not node or not deadline then return 0 end
  return (node.extended and number(call('HGET', KEYS[3], 'away')) or deadline) - node.lease
end

for i = 15, #ARGV do
  local tag = ARGV[i]
  local deadline = try('ZSCORE', KEYS[1], tag)
  if not deadline or tonumber(deadline) <= now then
    -- Whom it held then it had heard by a TTL before, or it would have given the connection up.
    dead[tag] = floor(math.min(now, aliveUntil(tag, deadline))) - ttl
    tags[#tags + 1] = tag
  end
end
if #tags == 0 then
  seq = stored
  return '{"done":-1,' .. answered()
end
-- Of one dead router its name is looked for; of many, each owner is looked up.
local needle = #tags == 1 and ',' .. tags[1] .. ',' or nil
local function isOwned(record)
  if needle then return find(record, needle, 1, true) end
  for owner in string.gmatch(record, ',([^,]+)') do
    if dead[owner] then return true end
  end
  return false
end
local size, done, examined, lost = #KEYS - 7, 0, 0, {}
while done < size and examined < most do
  local key = KEYS[8 + done]
  local fields, isFilled = fieldsOf(key)
  if isFilled then lost[#lost + 1] = format('%d', first + done) end
  for i = 1, #fields, 2 do
    if isOwned(fields[i + 1]) then
      local id = fields[i]
      local user = parse(fields[i + 1])
      if user then
        local owners, was = user.owners, user.version
        -- Its key may have ended long before.
        local seen = latest(id, user.seen)
        for owner in string.gmatch(owners, '[^,]+') do
          if dead[owner] then seen = math.max(seen, dead[owner]) end
        end
        user.seen = seen
        for owner in string.gmatch(owners, '[^,]+') do
          if dead[owner] then change(key, id, user, 'dead', owner, 0, now) end
        end
        if user.version ~= was then examined = examined + 4 end
      else
        drop(key, id)
      end
    end
  end
  examined = examined + 1 + #fields / 2
  done = done + 1
end

for _, tag in ipairs(tags) do
  if done == size and ARGV[12] == '1' then
    call('ZREM', KEYS[1], tag)
    try('HDEL', KEYS[2], tag)
    try('HDEL', KEYS[7], tag)
  else
    local node = parseNode(try('HGET', KEYS[2], tag))
    if node then
      node.claimed = now + 1000
      call('HSET', KEYS[2], tag, composeNode(node))
    end
  end
end
finish()
if #lost > 0 then lose(lost) end
return format('{"done":%d,', done) .. answered()
