--[[
  What changed on one router, in order.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7..]               the bucket of each operation, then, unless ARGV[1] is empty, the presence key of each
  ARGV[11]                the incarnation
  ARGV[12]                the number of this call among the applies of the incarnation, from 1, "/", and that of the last
                          one that was acknowledged
  ARGV[13]                how long a presence key lives, in milliseconds
  ARGV[14]                how many operations there are
  ARGV[15..]              for each: age of the last activity in ms, and what happened:
                          'j' join, 'r' join asserted anew, 'l' leave after a clean close, 't' leave after silence,
                          a number: dropped, with so many milliseconds of grace
  ARGV[..]                then, if ARGV[1] is empty, the user of each

  Result: {"known":bool,"now":ms,"e":epoch,"seq":n,"off":[[user, last seen], ...]}; "off" are
  those who went offline, if the caller writes the presence keys; "due":ms until a grace ends that is none of a drop.
  "known" is false where the incarnation has no lease, or acknowledged work of it is missing; nothing has been done then.
]]
local tag, numbers, ttl, size = ARGV[11], ARGV[12], ARGV[13], tonumber(ARGV[14])
local firstBucket, firstMirror, firstOp, firstId = 7, 7 + size, 15, 15 + 2 * size
local sent, acknowledged = match(numbers, '^(%d+)/(%d+)$')
sent, acknowledged = tonumber(sent), tonumber(acknowledged)
local node = parseNode(try('HGET', nodesKey, tag))
local deadline = try('ZSCORE', leaseKey, tag)
-- Whose acknowledged work is missing was set back to an older state; it must not write over the evidence. A later number
-- than any that was sent somebody else has put there.
if not node or not deadline or tonumber(deadline) <= now or node.last < acknowledged or node.last > sent then
  seq = stored
  return '{"known":false,' .. answered()
end

-- The client sent it again because the connection broke before the answer came.
local isRepeated = node.last >= sent

local missing, due = {}, nil
local userAt = #userPrefix + 1

for i = 0, isRepeated and -1 or size - 1 do
  local age, kind = ARGV[firstOp + i + i], ARGV[firstOp + 1 + i + i]
  local key, mirror, id = KEYS[firstBucket + i]
  if userAt > 1 then
    mirror = KEYS[firstMirror + i]
    id = string.sub(mirror, userAt)
  else
    id = ARGV[firstId + i]
  end
  local record = try('HGET', key, id)
  local user = parse(record)
  if record and not user then drop(key, id) end
  local heard = now - age
  local isJoin = kind == 'j' or kind == 'r'
  if user then
    local grace, owners = user.grace, user.owners
    change(key, mirror, id, user, kind, tag, heard, now)
    -- One that runs for longer than the drop would, or since a record was lost: the router that began it may be gone.
    if not isJoin and user.owners ~= owners and user.owners == ',' and grace > 0 and user.grace == grace then
      due = math.max(due or 0, grace - now)
    end
    if isJoin and mirror then call('SET', mirror, format('%d', user.seen), 'PX', ttl) end
  elseif isJoin then
    -- Where the record was lost another router may hold the user too, and not have said so yet. This grace is in no set.
    local online, grace, owners, _, _, reason = decide(false, 0, ',', heard, kind, tag, heard, now)
    if kind == 'r' then grace = now + ASSERTED end
    local version = flip(key, mirror, id, online, heard, reason)
    save(key, id, { version = version, letter = LETTERS[reason], seen = heard, changed = now, grace = grace, owners = owners })
    if mirror then call('SET', mirror, format('%d', heard), 'PX', ttl) end
  elseif not mirror then
    gone[#gone + 1] = format('[%s,%d]', json(id), heard)
  elseif call('EXISTS', mirror) == 1 then
    -- The bucket was lost, and nobody has noticed yet. Another router may hold the user, too.
    local bucket = string.sub(key, #bucketPrefix + 1)
    missing[#missing + 1] = bucket
    local grace = now + math.max(ASSERTED, tonumber(kind) or 0)
    due = math.max(due or 0, grace - now)
    save(key, id, { version = math.max(1, seq), letter = 'r', seen = heard, changed = heard, grace = grace, owners = ',' })
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
