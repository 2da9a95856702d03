--[[
  The common part of the scripts that change something. It is put before each of them, after meta.lua, record.lua and
  decide.lua, and is not a script itself. Nothing is published before everything is written.

  KEYS[1] lease   sorted set: incarnation of a router -> when its lease ends, in milliseconds by the clock of this server
  KEYS[2] nodes   hash: incarnation -> its lease and its calls, see record.lua
  KEYS[3] meta    hash: see meta.lua; also lost (how often users were found to be missing in these data), lostAt (the last
                  time), and the progress of the sweep: sweep, swept, round, turn
  KEYS[4] grace   sorted set: "<bucket>:<user>" -> when the grace ends
  KEYS[5] count   hash: bucket -> number of online users in it; "" -> 0, so that the hash exists from the first beat on, or "~"
                  and the time until which the buckets are being counted again
  KEYS[6] log     stream: the last changes, in batches; the id of a batch is the version of its first change
  ARGV[1] the prefix of the presence keys ("presence:user:"); empty: the caller writes them (Cluster)
  ARGV[2] the prefix of the public channels ("presence:"); empty: nothing is published on them
  ARGV[3] the channel of the routers
  ARGV[4] '1': that channel is sharded
  ARGV[5] the number of changes that this router wants the log to keep; where another one wants more, that is what it keeps
  ARGV[6] the prefix of the keys of the buckets
  ARGV[7] the highest version that the caller has seen
  ARGV[8] the seed with which the caller found the buckets
  ARGV[9] the epoch of the data that use that seed; empty: the caller knows of none
  ARGV[10] the number of buckets

  Result of every such script: "!{...}" where nothing was done, see meta.lua, or {"begin":1} after "!" where begin.lua has to run
  first. Otherwise the result of the script, with
  "junk":[keys in which foreign data was deleted], "lacks":a channel on which the Redis user may not publish, where there are any.
]]
-- Another program has filled a bucket with more fields: the seed is secret, so users are spread evenly.
local MOST_FIELDS = 10000
-- More routers than any fleet has.
local MOST_NODES = 1024
-- A fleet has not more users in grace at once.
local MOST_GRACES = 100000
-- The score of a grace that ends at once, whenever its record says, since the clock of this server was set back.
local ENDS_NOW = '-1'
-- The time in ms in which routers learn of a loss and register their users again, unless they receive no messages.
local ASSERTED = 3000
local leaseKey, nodesKey, metaKey, graceKey, countKey, logKey = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local userPrefix, publicPrefix, channel, isSharded, logged = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', tonumber(ARGV[5])
local bucketPrefix, highest, seed, knownEpoch, buckets = ARGV[6], number(ARGV[7]) or 0, ARGV[8], ARGV[9], tonumber(ARGV[10])
local junk, lacks = {}, nil

local function discard(key)
  call('UNLINK', key)
  junk[#junk + 1] = key
end

-- Runs a command on a key of presence. A key of another type is deleted first.
local function try(command, key, ...)
  local answer = pcall(command, key, ...)
  if not isError(answer) then return answer end
  if find(answer.err, 'WRONGTYPE', 1, true) then discard(key) end
  return call(command, key, ...)
end

local meta = readMeta(metaKey)
local answer = misplaced(meta, seed, knownEpoch)
if answer then return answer end
-- The data are new, or a part of this hash was lost: see begin.lua.
if not meta.epoch or meta.layout ~= LAYOUT or meta.seed ~= seed then return '!{"begin":1}' end

local seq, epoch, at, stored = meta.seq, meta.epoch, meta.at, meta.seq
base = baseOf(seed)
-- After a loss, versions continue above all earlier ones, and above the highest one that the caller has seen.
if seq == 0 then seq = versionNow() end
seq = max(seq, highest, base)
-- The first write: a server that accepts none (full, or a replica) must fail before half of a step is published.
if stored == 0 then
  stored = seq
  try('HSET', metaKey, 'epoch', epoch, 'seq', format('%d', seq))
else
  try('HSET', metaKey, 'epoch', epoch)
end

local told, gone, counts, before, messages = {}, {}, {}, seq, {}

-- Writes a record into a bucket. The bucket was read before, so the key is a hash.
local function save(bucket, id, user) call('HSET', bucket, id, compose(user)) end

-- Deletes an invalid record from a bucket.
local function drop(bucket, id)
  call('HDEL', bucket, id)
  if junk[#junk] ~= bucket then junk[#junk + 1] = bucket end
end

-- ISO 8601 in UTC; the civil date from a day count after H. Hinnant, "chrono-compatible low-level date algorithms".
local function iso(ms)
  local seconds = floor(ms / 1000)
  local days = floor(seconds / 86400)
  local rest = seconds - days * 86400
  local z = days + 719468
  local era = floor(z / 146097)
  local doe = z - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return format('%04.0f-%02.0f-%02.0fT%02.0f:%02.0f:%02.0f.%03.0fZ', year, month, doy - floor((153 * mp + 2) / 5) + 1,
    floor(rest / 3600), floor(rest / 60) % 60, rest % 60, ms - seconds * 1000)
end
-- By reason: the parts of the two kinds of messages around id and version.
local phrases = {}
local function phrase(online, reason)
  local status = online and 'online' or 'offline'
  local middle = ',"status":"' .. status .. '","timestamp":"' .. iso(now) .. '","version":'
  phrases[reason] = { middle, ',"reason":"' .. reason .. '"}', ',"' .. reason .. '"]', publicPrefix .. status }
  return phrases[reason]
end
local updates = publicPrefix .. 'updates'

-- Returns the later of a time and that of the presence key: activity renews only the key, and not the record.
local function latest(mirror, seen)
  local known = mirror and number(pcall('GET', mirror))
  return known and known <= now and max(seen, known) or seen
end

-- Numbers, collects and counts a change of status, and deletes the presence key of a user who goes offline (on a Cluster the caller
-- does). Returns the version for the record.
local function flip(key, mirror, id, online, seen, reason)
  seq = seq + 1
  local name, words = json(id), phrases[reason] or phrase(online, reason)
  told[#told + 1] = '[' .. name .. (online and ',1,' or ',0,') .. format('%d', seen) .. words[3]
  counts[key] = (counts[key] or 0) + (online and 1 or -1)
  if not online then
    if mirror then call('DEL', mirror) else gone[#gone + 1] = '[' .. name .. format(',%d]', seen) end
  end
  if publicPrefix ~= '' then
    messages[#messages + 1] = words[4]
    messages[#messages + 1] = '{"userId":' .. name .. words[1] .. format('%d', seq) .. words[2]
  end
  return online and seq or -seq
end


-- Adds a running grace to the set of graces with its end, and removes one that is over.
local function schedule(key, id, before, grace, owners)
  local member = sub(key, #bucketPrefix + 1) .. ':' .. id
  -- As "try" does it, but for the call of a function: this is done for everybody who is lost, or is back.
  local answer
  if grace > 0 and (grace ~= before or owners == ',') then
    answer = pcall('ZADD', graceKey, format('%d', grace), member)
    if type(answer) == 'table' then try('ZADD', graceKey, format('%d', grace), member) end
  elseif grace == 0 and before > 0 then
    answer = pcall('ZREM', graceKey, member)
    if type(answer) == 'table' then try('ZREM', graceKey, member) end
  end
end

-- Applies an event to a user by the rule, and writes the record. There are two changes where a grace had run out before the event.
local function change(key, mirror, id, user, event, owner, heard, at)
  local version, before, held, last = user.version, user.grace, user.owners, user.seen
  local online, grace, owners, seen, settled, reason, isIgnored = decide(version > 0, before, held, last, event, owner, heard, at)
  if settled then version = flip(key, mirror, id, online == (reason == nil), last, settled) end
  if reason then version = flip(key, mirror, id, online, seen, reason) end
  if (grace > 0 or before > 0) and not (isIgnored and grace == before) then schedule(key, id, before, grace, owners) end
  local letter, changed = user.letter, user.changed
  if settled or reason then
    letter, changed = LETTERS[reason or settled], now
    user.version, user.letter, user.changed = version, letter, changed
  elseif grace == before and owners == held and seen == last then
    return
  end
  user.grace, user.owners, user.seen = grace, owners, seen
  call('HSET', key, id, composed(version, letter, seen, changed, grace, owners))
end

-- Publishes a message. Without the right to publish, routers learn of changes from answers instead.
local function send(command, channel, message)
  local answer = pcall(command, channel, message)
  if not isError(answer) then return true end
  if find(answer.err, 'NOPERM', 1, true) or find(answer.err, 'executing the script', 1, true) then lacks = channel end
  return false
end

-- Publishes a message to the routers. A lost message shows in the version of the next answer.
local function publish(message)
  if isSharded and send('SPUBLISH', channel, message) then return end
  send('PUBLISH', channel, message)
end

-- Records a loss of users, in these buckets or, without names, perhaps in all.
local function lose(names)
  local times = format('%d', (number(call('HGET', metaKey, 'lost')) or 0) + 1)
  call('HSET', metaKey, 'lost', times, 'lostAt', format('%d', now))
  publish('{"l":[' .. table.concat(names, ',') .. '],"k":' .. times .. '}')
end

-- Adds a batch to the log. A key that prevents that is deleted: whoever reads the log finds that changes are missing.
local function log(id, batch)
  local most = logged
  -- No lease is that long: another program has written the time.
  if meta.logUntil > now and meta.logUntil < now + 1e9 then most = max(most, meta.logChanges) end
  for _ = 1, 2 do
    local oldest = max(0, seq - most, math.min(meta.logFrom, seq))
    local added = pcall('XADD', logKey, 'MINID', '~', format('%d', oldest), id, 'b', batch)
    -- Before Redis 6.2. Each entry has one change or more.
    if isError(added) then added = pcall('XADD', logKey, 'MAXLEN', '~', format('%d', most), id, 'b', batch) end
    if not isError(added) then return end
    if not find(added.err, 'WRONGTYPE', 1, true) and not find(added.err, 'smaller', 1, true) then return end
    discard(logKey)
  end
end

-- Writes what flip has collected, and then publishes it.
local function finish()
  if seq ~= stored then call('HSET', metaKey, 'seq', format('%d', seq)) end
  if #told == 0 then return end
  local fields, changes = {}, {}
  for key, by in pairs(counts) do
    if by ~= 0 then
      fields[#fields + 1] = sub(key, #bucketPrefix + 1)
      changes[#changes + 1] = by
    end
  end
  -- Two calls for all buckets are cheaper than one for each.
  for from = 1, #fields, 1000 do
    local to = math.min(from + 999, #fields)
    local values, pairs = try('HMGET', countKey, unpack(fields, from, to)), {}
    for i = from, to do
      pairs[#pairs + 1] = fields[i]
      pairs[#pairs + 1] = format('%d', (tonumber(values[i - from + 1] or 0) or 0) + changes[i])
    end
    call('HSET', countKey, unpack(pairs))
  end
  local batch = format('{"e":"%s","n":%d,"t":%d,"u":[', epoch, before + 1, now) .. table.concat(told, ',') .. ']}'
  log(format('%d-0', before + 1), batch)
  for i = 1, #messages, 2 do
    send('PUBLISH', messages[i], messages[i + 1])
    send('PUBLISH', updates, messages[i + 1])
  end
  publish(batch)
end

-- The end of the answer, which all scripts share.
local function answered()
  local extra = ''
  if #junk > 0 then
    local names = {}
    for i = 1, math.min(#junk, 10) do names[i] = json(junk[i]) end
    extra = ',"junk":[' .. table.concat(names, ',') .. ']'
  end
  if lacks then extra = extra .. ',"lacks":' .. json(lacks) end
  return format('"now":%d,"e":"%s","seq":%d,"off":[%s]%s}', now, epoch, seq, table.concat(gone, ','), extra)
end
