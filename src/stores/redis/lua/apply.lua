--[[
  Applies the operations of a router, in order.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7..]               the bucket of each operation, then, unless ARGV[1] is empty, the presence key of each
  ARGV[11]                the incarnation
  ARGV[12]                the number of this call among the applies of the incarnation, from 1, "/", and the number of the
                          last acknowledged one
  ARGV[13]                the TTL of a presence key, in milliseconds
  ARGV[14]                the number of operations
  ARGV[15..]              for each: the age of the last activity in ms, and the event:
                          'j' join, 'r' join that registers the user again, 'l' leave after a clean close, 't' leave after a
                          time-out, a number: dropped, with a grace of that many milliseconds
  ARGV[..]                then, if ARGV[1] is empty, the user of each

  Result: {"known":bool,"now":ms,"e":epoch,"seq":n,"off":[[user, last seen], ...]}. "off": the users who went offline, if the
  caller writes the presence keys. "due": the milliseconds until a grace ends that is not that of a drop.
  "known" is false where the incarnation has no lease, or acknowledged work of it is missing; nothing was done then.
]]
local tag, numbers, ttl, size = ARGV[11], ARGV[12], ARGV[13], tonumber(ARGV[14])
local firstBucket, firstMirror, firstOp, firstId = 7, 7 + size, 15, 15 + 2 * size
local sent, acknowledged = match(numbers, '^(%d+)/(%d+)$')
sent, acknowledged = tonumber(sent), tonumber(acknowledged)
local node = parseNode(try('HGET', nodesKey, tag))
local deadline = try('ZSCORE', leaseKey, tag)
-- Where acknowledged work is missing, the data were set back to an older state, and a write would destroy the evidence. A higher
-- number than was sent was written by another program.
if not node or not deadline or tonumber(deadline) <= now or node.last < acknowledged or node.last > sent then
  seq = stored
  return '{"known":false,' .. answered()
end

-- The client has repeated the call, since the connection was lost before the answer came.
local isRepeated = node.last >= sent

local missing, due = {}, nil
local userAt = #userPrefix + 1

for i = 0, isRepeated and -1 or size - 1 do
  local age, kind = ARGV[firstOp + i + i], ARGV[firstOp + 1 + i + i]
  local key, mirror, id = KEYS[firstBucket + i]
  if userAt > 1 then
    mirror = KEYS[firstMirror + i]
    id = sub(mirror, userAt)
  else
    id = ARGV[firstId + i]
  end
  local record = pcall('HGET', key, id)
  if type(record) == 'table' then record = try('HGET', key, id) end
  local user = parse(record)
  if record and not user then drop(key, id) end
  local heard = now - age
  local isJoin = kind == 'j' or kind == 'r'
  if user and isJoin then
    change(key, mirror, id, user, kind, tag, heard, now)
    if mirror then call('SET', mirror, format('%d', user.seen), 'PX', ttl) end
  elseif user then
    local grace, owners = user.grace, user.owners
    change(key, mirror, id, user, kind, tag, heard, now)
    -- The grace is longer than that of the drop, or began when a record was lost. The router that started it may be dead.
    if grace > 0 and user.owners ~= owners and user.owners == ',' and user.grace == grace then due = max(due or 0, grace - now) end
  elseif isJoin then
    -- Where the record was lost, another router may also hold the user, and not have registered the user yet. This grace is not in
    -- the set of graces.
    local online, grace, owners, _, _, reason = decide(false, 0, ',', heard, kind, tag, heard, now)
    if kind == 'r' then grace = now + ASSERTED end
    local version = flip(key, mirror, id, online, heard, reason)
    save(key, id, userOf(version, LETTERS[reason], heard, now, grace, owners))
    if mirror then call('SET', mirror, format('%d', heard), 'PX', ttl) end
  elseif not mirror then
    gone[#gone + 1] = format('[%s,%d]', json(id), heard)
  elseif call('EXISTS', mirror) == 1 then
    -- The bucket was lost, which was not noticed before. Another router may also hold the user.
    local bucket = sub(key, #bucketPrefix + 1)
    missing[#missing + 1] = bucket
    local grace = now + max(ASSERTED, tonumber(kind) or 0)
    due = max(due or 0, grace - now)
    save(key, id, userOf(max(1, seq), 'r', heard, heard, grace, ','))
    try('ZADD', graceKey, format('%d', grace), bucket .. ':' .. id)
  end
end

if not isRepeated then
  node.last = sent
  call('HSET', nodesKey, tag, composeNode(node))
end
finish()
if #missing > 0 then lose(missing) end
return '{"known":true,' .. (due and format('"due":%d,', due) or '') .. answered()
