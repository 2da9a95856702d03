--[[
  Removes dead routers from the records of users, whom held.lua has named. Ignores routers whose lease runs; may be repeated.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7]    routers, see beat.lua
  KEYS[8..]  the bucket of each user, then, unless ARGV[1] is empty, the presence key of each
  ARGV[11]   the number of users
  ARGV[12]   '1': no users of the dead routers are left, so their leases are deleted, too
  ARGV[13]   the silence after which a router gives up a connection, in milliseconds
  ARGV[14]   the number of dead incarnations
  ARGV[15..] these, and then for each user: the user, the last seen, in milliseconds, of a presence key that the caller has
             read, or empty, and '1' where the bucket is the one of the user. A record elsewhere is of another program

  Result: {"alive":whether all of the leases run, so that nothing was done,"now":ms,"e":epoch,"seq":n,"off":[users, see apply]}.
]]
local routersKey = KEYS[7]
local size, isLast, ttl, incarnations = tonumber(ARGV[11]), ARGV[12] == '1', tonumber(ARGV[13]), tonumber(ARGV[14])
local firstBucket, firstMirror, firstDead, firstUser = 8, 8 + size, 15, 15 + incarnations
local dead, tags = {}, {}

-- The last time when a router was certainly alive: its last heartbeat, or, after an extension, about the last one of any router.
local function aliveUntil(tag, deadline)
  local node = parseNode(try('HGET', nodesKey, tag))
  deadline = tonumber(deadline)
  if not node or not deadline then return 0 end
  return (node.extended and number(call('HGET', metaKey, 'away')) or deadline) - node.lease
end

for i = firstDead, firstUser - 1 do
  local tag = ARGV[i]
  local deadline = try('ZSCORE', leaseKey, tag)
  if not deadline or tonumber(deadline) <= now then
    -- Users whom it still held then were active less than a TTL before, or it would have given up the connection.
    dead[tag] = floor(math.min(now, aliveUntil(tag, deadline))) - ttl
    tags[#tags + 1] = tag
  end
end
if #tags == 0 then
  seq = stored
  return '{"alive":true,' .. answered()
end

for i = 0, size - 1 do
  local key, place = KEYS[firstBucket + i], firstUser + i * 3
  local id, known, isAtHome = ARGV[place], number(ARGV[place + 1]), ARGV[place + 2] == '1'
  local mirror = userPrefix ~= '' and KEYS[firstMirror + i] or nil
  local record = try('HGET', key, id)
  local user = isAtHome and parse(record) or nil
  if record and not user then drop(key, id) end
  local held, seen = {}, 0
  for owner in string.gmatch(user and user.owners or '', '[^,]+') do
    if dead[owner] then
      held[#held + 1] = owner
      seen = math.max(seen, dead[owner])
    end
  end
  if #held > 0 then
    -- The presence key may have expired long before.
    user.seen = math.max(latest(mirror, user.seen), seen, known and known <= now and known or 0)
    for _, owner in ipairs(held) do change(key, mirror, id, user, 'dead', owner, 0, now) end
  end
end

for _, tag in ipairs(tags) do
  if isLast then
    call('ZREM', leaseKey, tag)
    try('HDEL', nodesKey, tag)
    try('HDEL', routersKey, tag)
  else
    local node = parseNode(try('HGET', nodesKey, tag))
    if node then
      node.claimed = now + 1000
      call('HSET', nodesKey, tag, composeNode(node))
    end
  end
end
finish()
return '{"alive":false,' .. answered()
