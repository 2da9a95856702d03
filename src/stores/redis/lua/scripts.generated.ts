// Generated from lua/*.lua by lua/embed.mjs, which `npm run build` and `npm run embed` call. Edit those.
import { script } from '../commands/script';

export const advance = script('advance', String.raw`local deliveriesKey, name, claimed = KEYS[1], ARGV[1], ARGV[2]
local to, end_, failed, isReleased = ARGV[3], ARGV[4], ARGV[5], ARGV[6] == '1'
local entry = redis.pcall('HGET', deliveriesKey, name)
if type(entry) ~= 'string' then return '0' end
local token, holder, ended, cursor, router, failure = string.match(entry, '^(%d+)|([^|]*)|([01])|([^|]+)|([^|]*)|([^|]*)')
if token ~= claimed or holder == '' then return '0' end
if to ~= '' then cursor = to end
if end_ ~= '' then ended = end_ end
if failed ~= '=' then failure = failed end
if isReleased or ended == '1' then holder = '' end
redis.call('HSET', deliveriesKey, name, table.concat({ token, holder, ended, cursor, router, failure }, '|'))
return '1'
`);

export const apply = script('apply', String.raw`local LAYOUT = '3'
local MOST = 4503599627370496
local EPOCH = 1577836800000
local FLOOR_PER_MS = 256
local call, pcall, type, tonumber, floor, max = redis.call, redis.pcall, type, tonumber, math.floor, math.max
local format, match, find, sub = string.format, string.match, string.find, string.sub
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)
local function number(text)
  local value = type(text) == 'string' and #text <= 16 and match(text, '^%d+$') and tonumber(text)
  return value and value <= MOST and value or nil
end

local function versionNow() return (now - EPOCH) * FLOOR_PER_MS end
local function isError(answer) return type(answer) == 'table' and answer.err ~= nil end
local function isEpoch(text)
  local seconds, micros = match(text or '', '^(%d+)%.(%d+)$')
  return seconds ~= nil and #seconds <= 16 and #micros <= 6
end

local function readMeta(key)
  local fields = pcall('HMGET', key, 'seq', 'epoch', 'at', 'layout', 'seed', 'extended', 'awaited', 'log')
  if isError(fields) then fields = {} end
  local extendedAt, extendedUntil = match(fields[6] or '', '^(%d+) (%d+)$')
  local awaitedUntil, awaited = match(fields[7] or '', '^(%d+) ([^%c",]+)$')
  local logChanges, logMs, logUntil, logFrom = match(fields[8] or '', '^(%d+) (%d+) (%d+) (%d+)$')
  local seq, epoch, seed = number(fields[1]), fields[2] or nil, fields[5] or nil
  if fields[1] and not (seq and seq <= MOST / 2) then seq, epoch = nil, nil end
  local layout = fields[4] or nil
  local isForeign = layout ~= nil and layout ~= LAYOUT and find(layout, '^%d+$') ~= nil
  return {
    isEmpty = layout ~= LAYOUT and not isForeign and not (fields[1] and isEpoch(epoch)),
    seq = seq or 0,
    epoch = isEpoch(epoch) and epoch or nil,
    at = number(fields[3]) or 0,
    layout = layout,
    extendedAt = number(extendedAt) or 0,
    extendedUntil = number(extendedUntil) or 0,
    awaitedUntil = number(awaitedUntil) or (fields[7] and 1 or 0),
    awaited = awaited or '',
    logChanges = number(logChanges) or 0,
    logMs = number(logMs) or 0,
    logUntil = number(logUntil) or 0,
    logFrom = number(logFrom) or 0,
    seed = seed and #seed >= 16 and #seed <= 29 and match(seed, '^%x+$') or nil,
  }
end
local function misplaced(meta, seed, knownEpoch)
  if meta.isEmpty or (meta.epoch and meta.epoch == knownEpoch) then return nil end
  if meta.layout ~= LAYOUT then
    return format('!{"layout":"%s"}', match(meta.layout or '', '^%w+$') and string.sub(meta.layout, 1, 16) or '')
  end
  if meta.seed and meta.seed ~= seed then return format('!{"seed":"%s","e":"%s"}', meta.seed, meta.epoch or '') end
  return nil
end
local CLOSE_MS = 1000
local LETTERS = { connect = 'j', disconnect = 'l', timeout = 't', ['node-down'] = 'n', resync = 'r' }
local function isId(text)
  if text == '' or #text > 256 then return false end
  if not find(text, '[\128-\255]') then return true end
  if find(text, '\224[\128-\159]') or find(text, '\237[\160-\191]') or find(text, '\240[\128-\143]') or find(text, '\244[\144-\191]') then
    return false
  end
  text = string.gsub(text, '[\240-\244][\128-\191][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\224-\239][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\194-\223][\128-\191]', '')
  return not find(text, '[\128-\255]')
end
local function json(text)
  if find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
end
local base = 0
local function baseOf(seed) return tonumber(sub(seed, 17), 16) or 0 end
local current = { version = 0, letter = '', seen = 0, changed = 0, grace = 0, owners = '' }
local function userOf(version, letter, seen, changed, grace, owners)
  local user = current
  user.version, user.letter, user.seen, user.changed, user.grace, user.owners = version, letter, seen, changed, grace, owners
  return user
end

local OWNERS = '^,[%w_+/=.:~%%,-]*[^,],$'
local validOwners = ''
local function parse(record)
  if not record or #record > 8192 then return nil end
  local minus, version, letter, seen, later, grace, owners = match(record, '^(-?)(%x+)([jltnr])(%x+)([^/,;]*)/?(%x*)(.*)$')
  if not version or #version > 13 or #seen > 11 or #later > 12 or #grace > 11 then return nil end
  if owners ~= validOwners and owners ~= '' then
    if not find(owners, OWNERS) then
      owners = match(owners, '^([^;]*);')
      if not owners or (owners ~= '' and not find(owners, OWNERS)) then return nil end
    end
    if #owners > 256 then
      local left = 512
      for owner in string.gmatch(owners, '[^,]+') do
        left = left - 1
        if left < 0 or #owner > 256 then return nil end
      end
    end
    validOwners = owners
  end
  if minus == '' and grace == '' and owners == '' then return nil end
  version, seen = tonumber(version, 16) + base, tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  if seen > now then seen = now end
  grace = grace == '' and 0 or tonumber(grace, 16) + EPOCH
  if grace > now + 2147483647 then return nil end
  local changed = seen
  if later ~= '' then
    local ms = tonumber(sub(later, 2), 16)
    local side = sub(later, 1, 1)
    if not ms or not (side == '-' or side == '+') then return nil end
    changed = side == '-' and seen - ms or seen + ms
  end
  return userOf(version, letter, seen, changed, grace, owners == '' and ',' or owners)
end
local function composed(version, letter, seen, changed, grace, owners)
  if seen < EPOCH then seen = EPOCH end
  if owners == ',' then owners = '' end
  local later, sign = changed - seen, ''
  if version < 0 then version, sign = -version, '-' end
  if later >= 0 and later < CLOSE_MS then
    if grace == 0 then return format('%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, owners) end
    return format('%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, grace - EPOCH, owners)
  end
  local side = '+'
  if later < 0 then later, side = -later, '-' end
  if grace == 0 then return format('%s%x%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, side, later, owners) end
  return format('%s%x%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, side, later, grace - EPOCH, owners)
end

local function compose(user)
  return composed(user.version, user.letter, user.seen, user.changed, user.grace, user.owners)
end
local function parseNode(entry)
  if not entry or #entry > 512 then return nil end
  local lease, extended, last, claimed = match(entry .. ' ', '^(%d+) ([01]) (%d+) (%d+) ')
  lease, last, claimed = number(lease), number(last), number(claimed)
  if not lease or not last or not claimed then return nil end
  return { lease = lease, extended = extended == '1', last = last, claimed = claimed }
end

local function composeNode(node)
  return format('%d %s %d %d', node.lease, node.extended and '1' or '0', node.last, node.claimed)
end
local lastOwner, alone = '', ',,'

local function decide(online, grace, owners, seen, event, owner, heard, now)
  local settled, reason
  if grace <= now then grace = 0 end
  local isOnline = owners ~= ',' or grace > 0
  if isOnline ~= online then
    settled, online = online and 'timeout' or 'resync', isOnline
  end
  if event == 'due' then return online, grace, owners, seen, settled, nil, false end

  local isJoin = event == 'j' or event == 'r'
  if owner ~= lastOwner then lastOwner, alone = owner, ',' .. owner .. ',' end
  local from, to = find(owners, alone, 1, true)
  if not from and not isJoin then return online, grace, owners, seen, settled, nil, true end
  if event ~= 'dead' and heard > seen then seen = heard end
  if isJoin then
    if not from then owners = owners == ',' and alone or owners .. owner .. ',' end
    grace, reason = 0, event == 'r' and 'resync' or 'connect'
  elseif event ~= 'a' then
    owners = owners == alone and ',' or sub(owners, 1, from) .. sub(owners, to + 1)
    if event == 'l' then
      reason = 'disconnect'
    elseif event == 't' then
      reason = 'timeout'
    elseif event == 'dead' then
      reason = 'node-down'
    else
      local ms = tonumber(event)
      if ms > 0 then grace = max(grace, now + ms) end
      reason = 'timeout'
    end
  end
  isOnline = owners ~= ',' or grace > 0
  if isOnline == online then reason = nil end
  return isOnline, grace, owners, seen, settled, reason, false
end
local function judgeLease(leaseMs, endsAt, extendedOnce, activeAt, now)
  local wasAway = now - activeAt > leaseMs / 2
  if wasAway and endsAt > activeAt and not extendedOnce then return 'extend' end
  return endsAt > now and 'runs' or 'dead'
end
local MOST_FIELDS = 10000
local MOST_NODES = 1024
local MOST_GRACES = 100000
local ENDS_NOW = '-1'
local ASSERTED = 3000
local leaseKey, nodesKey, metaKey, graceKey, countKey, logKey = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local userPrefix, publicPrefix, channel, isSharded, logged = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', tonumber(ARGV[5])
local bucketPrefix, highest, seed, knownEpoch, buckets = ARGV[6], number(ARGV[7]) or 0, ARGV[8], ARGV[9], tonumber(ARGV[10])
local junk, lacks = {}, nil

local function discard(key)
  call('UNLINK', key)
  junk[#junk + 1] = key
end
local function try(command, key, ...)
  local answer = pcall(command, key, ...)
  if not isError(answer) then return answer end
  if find(answer.err, 'WRONGTYPE', 1, true) then discard(key) end
  return call(command, key, ...)
end

local meta = readMeta(metaKey)
local answer = misplaced(meta, seed, knownEpoch)
if answer then return answer end
if not meta.epoch or meta.layout ~= LAYOUT or meta.seed ~= seed then return '!{"begin":1}' end

local seq, epoch, at, stored = meta.seq, meta.epoch, meta.at, meta.seq
base = baseOf(seed)
if seq == 0 then seq = versionNow() end
seq = max(seq, highest, base)
if stored == 0 then
  stored = seq
  try('HSET', metaKey, 'epoch', epoch, 'seq', format('%d', seq))
else
  try('HSET', metaKey, 'epoch', epoch)
end

local told, gone, counts, before, messages = {}, {}, {}, seq, {}
local function save(bucket, id, user) call('HSET', bucket, id, compose(user)) end
local function drop(bucket, id)
  call('HDEL', bucket, id)
  if junk[#junk] ~= bucket then junk[#junk + 1] = bucket end
end
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
local phrases = {}
local function phrase(online, reason)
  local status = online and 'online' or 'offline'
  local middle = ',"status":"' .. status .. '","timestamp":"' .. iso(now) .. '","version":'
  phrases[reason] = { middle, ',"reason":"' .. reason .. '"}', ',"' .. reason .. '"]', publicPrefix .. status }
  return phrases[reason]
end
local updates = publicPrefix .. 'updates'
local function latest(mirror, seen)
  local known = mirror and number(pcall('GET', mirror))
  return known and known <= now and max(seen, known) or seen
end
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
local function schedule(key, id, before, grace, owners)
  local member = sub(key, #bucketPrefix + 1) .. ':' .. id
  local answer
  if grace > 0 and (grace ~= before or owners == ',') then
    answer = pcall('ZADD', graceKey, format('%d', grace), member)
    if type(answer) == 'table' then try('ZADD', graceKey, format('%d', grace), member) end
  elseif grace == 0 and before > 0 then
    answer = pcall('ZREM', graceKey, member)
    if type(answer) == 'table' then try('ZREM', graceKey, member) end
  end
end
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
local function send(command, channel, message)
  local answer = pcall(command, channel, message)
  if not isError(answer) then return true end
  if find(answer.err, 'NOPERM', 1, true) or find(answer.err, 'executing the script', 1, true) then lacks = channel end
  return false
end
local function publish(message)
  if isSharded and send('SPUBLISH', channel, message) then return end
  send('PUBLISH', channel, message)
end
local function lose(names)
  local times = format('%d', (number(call('HGET', metaKey, 'lost')) or 0) + 1)
  call('HSET', metaKey, 'lost', times, 'lostAt', format('%d', now))
  publish('{"l":[' .. table.concat(names, ',') .. '],"k":' .. times .. '}')
end
local function log(id, batch)
  local most = logged
  if meta.logUntil > now and meta.logUntil < now + 1e9 then most = max(most, meta.logChanges) end
  for _ = 1, 2 do
    local oldest = max(0, seq - most, math.min(meta.logFrom, seq))
    local added = pcall('XADD', logKey, 'MINID', '~', format('%d', oldest), id, 'b', batch)
    if isError(added) then added = pcall('XADD', logKey, 'MAXLEN', '~', format('%d', most), id, 'b', batch) end
    if not isError(added) then return end
    if not find(added.err, 'WRONGTYPE', 1, true) and not find(added.err, 'smaller', 1, true) then return end
    discard(logKey)
  end
end
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
local tag, numbers, ttl, size = ARGV[11], ARGV[12], ARGV[13], tonumber(ARGV[14])
local firstBucket, firstMirror, firstOp, firstId = 7, 7 + size, 15, 15 + 2 * size
local sent, acknowledged = match(numbers, '^(%d+)/(%d+)$')
sent, acknowledged = tonumber(sent), tonumber(acknowledged)
local node = parseNode(try('HGET', nodesKey, tag))
local deadline = try('ZSCORE', leaseKey, tag)
if not node or not deadline or tonumber(deadline) <= now or node.last < acknowledged or node.last > sent then
  seq = stored
  return '{"known":false,' .. answered()
end
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
    if grace > 0 and user.owners ~= owners and user.owners == ',' and user.grace == grace then due = max(due or 0, grace - now) end
  elseif isJoin then
    local online, grace, owners, _, _, reason = decide(false, 0, ',', heard, kind, tag, heard, now)
    if kind == 'r' then grace = now + ASSERTED end
    local version = flip(key, mirror, id, online, heard, reason)
    save(key, id, userOf(version, LETTERS[reason], heard, now, grace, owners))
    if mirror then call('SET', mirror, format('%d', heard), 'PX', ttl) end
  elseif not mirror then
    gone[#gone + 1] = format('[%s,%d]', json(id), heard)
  elseif call('EXISTS', mirror) == 1 then
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
`);

export const beat = script('beat', String.raw`local LAYOUT = '3'
local MOST = 4503599627370496
local EPOCH = 1577836800000
local FLOOR_PER_MS = 256
local call, pcall, type, tonumber, floor, max = redis.call, redis.pcall, type, tonumber, math.floor, math.max
local format, match, find, sub = string.format, string.match, string.find, string.sub
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)
local function number(text)
  local value = type(text) == 'string' and #text <= 16 and match(text, '^%d+$') and tonumber(text)
  return value and value <= MOST and value or nil
end

local function versionNow() return (now - EPOCH) * FLOOR_PER_MS end
local function isError(answer) return type(answer) == 'table' and answer.err ~= nil end
local function isEpoch(text)
  local seconds, micros = match(text or '', '^(%d+)%.(%d+)$')
  return seconds ~= nil and #seconds <= 16 and #micros <= 6
end

local function readMeta(key)
  local fields = pcall('HMGET', key, 'seq', 'epoch', 'at', 'layout', 'seed', 'extended', 'awaited', 'log')
  if isError(fields) then fields = {} end
  local extendedAt, extendedUntil = match(fields[6] or '', '^(%d+) (%d+)$')
  local awaitedUntil, awaited = match(fields[7] or '', '^(%d+) ([^%c",]+)$')
  local logChanges, logMs, logUntil, logFrom = match(fields[8] or '', '^(%d+) (%d+) (%d+) (%d+)$')
  local seq, epoch, seed = number(fields[1]), fields[2] or nil, fields[5] or nil
  if fields[1] and not (seq and seq <= MOST / 2) then seq, epoch = nil, nil end
  local layout = fields[4] or nil
  local isForeign = layout ~= nil and layout ~= LAYOUT and find(layout, '^%d+$') ~= nil
  return {
    isEmpty = layout ~= LAYOUT and not isForeign and not (fields[1] and isEpoch(epoch)),
    seq = seq or 0,
    epoch = isEpoch(epoch) and epoch or nil,
    at = number(fields[3]) or 0,
    layout = layout,
    extendedAt = number(extendedAt) or 0,
    extendedUntil = number(extendedUntil) or 0,
    awaitedUntil = number(awaitedUntil) or (fields[7] and 1 or 0),
    awaited = awaited or '',
    logChanges = number(logChanges) or 0,
    logMs = number(logMs) or 0,
    logUntil = number(logUntil) or 0,
    logFrom = number(logFrom) or 0,
    seed = seed and #seed >= 16 and #seed <= 29 and match(seed, '^%x+$') or nil,
  }
end
local function misplaced(meta, seed, knownEpoch)
  if meta.isEmpty or (meta.epoch and meta.epoch == knownEpoch) then return nil end
  if meta.layout ~= LAYOUT then
    return format('!{"layout":"%s"}', match(meta.layout or '', '^%w+$') and string.sub(meta.layout, 1, 16) or '')
  end
  if meta.seed and meta.seed ~= seed then return format('!{"seed":"%s","e":"%s"}', meta.seed, meta.epoch or '') end
  return nil
end
local CLOSE_MS = 1000
local LETTERS = { connect = 'j', disconnect = 'l', timeout = 't', ['node-down'] = 'n', resync = 'r' }
local function isId(text)
  if text == '' or #text > 256 then return false end
  if not find(text, '[\128-\255]') then return true end
  if find(text, '\224[\128-\159]') or find(text, '\237[\160-\191]') or find(text, '\240[\128-\143]') or find(text, '\244[\144-\191]') then
    return false
  end
  text = string.gsub(text, '[\240-\244][\128-\191][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\224-\239][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\194-\223][\128-\191]', '')
  return not find(text, '[\128-\255]')
end
local function json(text)
  if find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
end
local base = 0
local function baseOf(seed) return tonumber(sub(seed, 17), 16) or 0 end
local current = { version = 0, letter = '', seen = 0, changed = 0, grace = 0, owners = '' }
local function userOf(version, letter, seen, changed, grace, owners)
  local user = current
  user.version, user.letter, user.seen, user.changed, user.grace, user.owners = version, letter, seen, changed, grace, owners
  return user
end

local OWNERS = '^,[%w_+/=.:~%%,-]*[^,],$'
local validOwners = ''
local function parse(record)
  if not record or #record > 8192 then return nil end
  local minus, version, letter, seen, later, grace, owners = match(record, '^(-?)(%x+)([jltnr])(%x+)([^/,;]*)/?(%x*)(.*)$')
  if not version or #version > 13 or #seen > 11 or #later > 12 or #grace > 11 then return nil end
  if owners ~= validOwners and owners ~= '' then
    if not find(owners, OWNERS) then
      owners = match(owners, '^([^;]*);')
      if not owners or (owners ~= '' and not find(owners, OWNERS)) then return nil end
    end
    if #owners > 256 then
      local left = 512
      for owner in string.gmatch(owners, '[^,]+') do
        left = left - 1
        if left < 0 or #owner > 256 then return nil end
      end
    end
    validOwners = owners
  end
  if minus == '' and grace == '' and owners == '' then return nil end
  version, seen = tonumber(version, 16) + base, tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  if seen > now then seen = now end
  grace = grace == '' and 0 or tonumber(grace, 16) + EPOCH
  if grace > now + 2147483647 then return nil end
  local changed = seen
  if later ~= '' then
    local ms = tonumber(sub(later, 2), 16)
    local side = sub(later, 1, 1)
    if not ms or not (side == '-' or side == '+') then return nil end
    changed = side == '-' and seen - ms or seen + ms
  end
  return userOf(version, letter, seen, changed, grace, owners == '' and ',' or owners)
end
local function composed(version, letter, seen, changed, grace, owners)
  if seen < EPOCH then seen = EPOCH end
  if owners == ',' then owners = '' end
  local later, sign = changed - seen, ''
  if version < 0 then version, sign = -version, '-' end
  if later >= 0 and later < CLOSE_MS then
    if grace == 0 then return format('%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, owners) end
    return format('%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, grace - EPOCH, owners)
  end
  local side = '+'
  if later < 0 then later, side = -later, '-' end
  if grace == 0 then return format('%s%x%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, side, later, owners) end
  return format('%s%x%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, side, later, grace - EPOCH, owners)
end

local function compose(user)
  return composed(user.version, user.letter, user.seen, user.changed, user.grace, user.owners)
end
local function parseNode(entry)
  if not entry or #entry > 512 then return nil end
  local lease, extended, last, claimed = match(entry .. ' ', '^(%d+) ([01]) (%d+) (%d+) ')
  lease, last, claimed = number(lease), number(last), number(claimed)
  if not lease or not last or not claimed then return nil end
  return { lease = lease, extended = extended == '1', last = last, claimed = claimed }
end

local function composeNode(node)
  return format('%d %s %d %d', node.lease, node.extended and '1' or '0', node.last, node.claimed)
end
local lastOwner, alone = '', ',,'

local function decide(online, grace, owners, seen, event, owner, heard, now)
  local settled, reason
  if grace <= now then grace = 0 end
  local isOnline = owners ~= ',' or grace > 0
  if isOnline ~= online then
    settled, online = online and 'timeout' or 'resync', isOnline
  end
  if event == 'due' then return online, grace, owners, seen, settled, nil, false end

  local isJoin = event == 'j' or event == 'r'
  if owner ~= lastOwner then lastOwner, alone = owner, ',' .. owner .. ',' end
  local from, to = find(owners, alone, 1, true)
  if not from and not isJoin then return online, grace, owners, seen, settled, nil, true end
  if event ~= 'dead' and heard > seen then seen = heard end
  if isJoin then
    if not from then owners = owners == ',' and alone or owners .. owner .. ',' end
    grace, reason = 0, event == 'r' and 'resync' or 'connect'
  elseif event ~= 'a' then
    owners = owners == alone and ',' or sub(owners, 1, from) .. sub(owners, to + 1)
    if event == 'l' then
      reason = 'disconnect'
    elseif event == 't' then
      reason = 'timeout'
    elseif event == 'dead' then
      reason = 'node-down'
    else
      local ms = tonumber(event)
      if ms > 0 then grace = max(grace, now + ms) end
      reason = 'timeout'
    end
  end
  isOnline = owners ~= ',' or grace > 0
  if isOnline == online then reason = nil end
  return isOnline, grace, owners, seen, settled, reason, false
end
local function judgeLease(leaseMs, endsAt, extendedOnce, activeAt, now)
  local wasAway = now - activeAt > leaseMs / 2
  if wasAway and endsAt > activeAt and not extendedOnce then return 'extend' end
  return endsAt > now and 'runs' or 'dead'
end
local MOST_FIELDS = 10000
local MOST_NODES = 1024
local MOST_GRACES = 100000
local ENDS_NOW = '-1'
local ASSERTED = 3000
local leaseKey, nodesKey, metaKey, graceKey, countKey, logKey = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local userPrefix, publicPrefix, channel, isSharded, logged = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', tonumber(ARGV[5])
local bucketPrefix, highest, seed, knownEpoch, buckets = ARGV[6], number(ARGV[7]) or 0, ARGV[8], ARGV[9], tonumber(ARGV[10])
local junk, lacks = {}, nil

local function discard(key)
  call('UNLINK', key)
  junk[#junk + 1] = key
end
local function try(command, key, ...)
  local answer = pcall(command, key, ...)
  if not isError(answer) then return answer end
  if find(answer.err, 'WRONGTYPE', 1, true) then discard(key) end
  return call(command, key, ...)
end

local meta = readMeta(metaKey)
local answer = misplaced(meta, seed, knownEpoch)
if answer then return answer end
if not meta.epoch or meta.layout ~= LAYOUT or meta.seed ~= seed then return '!{"begin":1}' end

local seq, epoch, at, stored = meta.seq, meta.epoch, meta.at, meta.seq
base = baseOf(seed)
if seq == 0 then seq = versionNow() end
seq = max(seq, highest, base)
if stored == 0 then
  stored = seq
  try('HSET', metaKey, 'epoch', epoch, 'seq', format('%d', seq))
else
  try('HSET', metaKey, 'epoch', epoch)
end

local told, gone, counts, before, messages = {}, {}, {}, seq, {}
local function save(bucket, id, user) call('HSET', bucket, id, compose(user)) end
local function drop(bucket, id)
  call('HDEL', bucket, id)
  if junk[#junk] ~= bucket then junk[#junk + 1] = bucket end
end
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
local phrases = {}
local function phrase(online, reason)
  local status = online and 'online' or 'offline'
  local middle = ',"status":"' .. status .. '","timestamp":"' .. iso(now) .. '","version":'
  phrases[reason] = { middle, ',"reason":"' .. reason .. '"}', ',"' .. reason .. '"]', publicPrefix .. status }
  return phrases[reason]
end
local updates = publicPrefix .. 'updates'
local function latest(mirror, seen)
  local known = mirror and number(pcall('GET', mirror))
  return known and known <= now and max(seen, known) or seen
end
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
local function schedule(key, id, before, grace, owners)
  local member = sub(key, #bucketPrefix + 1) .. ':' .. id
  local answer
  if grace > 0 and (grace ~= before or owners == ',') then
    answer = pcall('ZADD', graceKey, format('%d', grace), member)
    if type(answer) == 'table' then try('ZADD', graceKey, format('%d', grace), member) end
  elseif grace == 0 and before > 0 then
    answer = pcall('ZREM', graceKey, member)
    if type(answer) == 'table' then try('ZREM', graceKey, member) end
  end
end
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
local function send(command, channel, message)
  local answer = pcall(command, channel, message)
  if not isError(answer) then return true end
  if find(answer.err, 'NOPERM', 1, true) or find(answer.err, 'executing the script', 1, true) then lacks = channel end
  return false
end
local function publish(message)
  if isSharded and send('SPUBLISH', channel, message) then return end
  send('PUBLISH', channel, message)
end
local function lose(names)
  local times = format('%d', (number(call('HGET', metaKey, 'lost')) or 0) + 1)
  call('HSET', metaKey, 'lost', times, 'lostAt', format('%d', now))
  publish('{"l":[' .. table.concat(names, ',') .. '],"k":' .. times .. '}')
end
local function log(id, batch)
  local most = logged
  if meta.logUntil > now and meta.logUntil < now + 1e9 then most = max(most, meta.logChanges) end
  for _ = 1, 2 do
    local oldest = max(0, seq - most, math.min(meta.logFrom, seq))
    local added = pcall('XADD', logKey, 'MINID', '~', format('%d', oldest), id, 'b', batch)
    if isError(added) then added = pcall('XADD', logKey, 'MAXLEN', '~', format('%d', most), id, 'b', batch) end
    if not isError(added) then return end
    if not find(added.err, 'WRONGTYPE', 1, true) and not find(added.err, 'smaller', 1, true) then return end
    discard(logKey)
  end
end
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
local routersKey = KEYS[7]
local tag, following, lease, numbers, most = ARGV[11], ARGV[12], tonumber(ARGV[13]), ARGV[14], tonumber(ARGV[15])
local beaten, described, upMs, loggedMs = ARGV[16], ARGV[17], tonumber(ARGV[18]), tonumber(ARGV[19])
local acknowledged, sent = match(numbers, '^(%d+)/(%d+)$')
acknowledged, sent = tonumber(acknowledged), tonumber(sent)
local gap = now - at
if try('ZCARD', leaseKey) > MOST_NODES or try('HLEN', nodesKey) > MOST_NODES then
  discard(leaseKey)
  discard(nodesKey)
end

local function isName(name) return #name <= 256 and match(name, '^[%w_+/=.:~%%-]+$') ~= nil end

local leases = {}
local scored = call('ZRANGE', leaseKey, 0, -1, 'WITHSCORES')
for i = 1, #scored, 2 do
  if isName(scored[i]) then
    leases[scored[i]] = tonumber(scored[i + 1]) or now
  else
    call('ZREM', leaseKey, scored[i])
    junk[#junk + 1] = leaseKey
  end
end
local isBack = false
for _, deadline in pairs(leases) do
  if gap < -1000 and deadline > now + lease and deadline < 1e15 then isBack = true end
end

local nodes = {}

local function write(name, node)
  call('HSET', nodesKey, name, composeNode(node))
end

local function renew(name, node)
  leases[name] = now + node.lease
  call('ZADD', leaseKey, format('%d', leases[name]), name)
end

local fields = call('HGETALL', nodesKey)
for i = 1, #fields, 2 do
  local name = fields[i]
  local node = isName(name) and parseNode(fields[i + 1])
  if node then
    nodes[name] = node
    if not leases[name] then renew(name, node) end
  else
    drop(nodesKey, name)
  end
end
local own = nodes[tag]

local longest, extendedUntil = lease, 0
for name, deadline in pairs(leases) do
  local node = nodes[name]
  if not node then
    node = { lease = lease, extended = false, last = MOST, claimed = 0 }
    nodes[name] = node
    write(name, node)
  end
  if deadline > now + math.max(node.lease, lease) then renew(name, node) end
  if node.claimed > now + 3000 then node.claimed = 0 end
  if judgeLease(node.lease, deadline, node.extended, at, now) == 'extend' then
    node.extended = true
    renew(name, node)
    write(name, node)
    extendedUntil = math.max(extendedUntil, leases[name])
  end
  longest = math.max(longest, node.lease)
end
if meta.extendedUntil > now + longest then call('HDEL', metaKey, 'extended') end
if extendedUntil > 0 then call('HSET', metaKey, 'extended', format('%d %d', now, extendedUntil), 'away', format('%d', at)) end
local isKnown = own ~= nil and leases[tag] > now and own.last >= acknowledged and own.last <= sent + 1
if isKnown then
  own.extended = false
  own.lease = lease
  write(tag, own)
  renew(tag, own)
else
  if leases[tag] and leases[tag] > now then renew(tag, nodes[tag]) end
  local new = nodes[following] or { claimed = 0 }
  new.lease, new.extended, new.last = lease, false, 0
  nodes[following] = new
  write(following, new)
  renew(following, new)
end
if try('HLEN', routersKey) > MOST_NODES then discard(routersKey) end
local current = isKnown and tag or following
if not call('HGET', routersKey, current) then call('HSET', routersKey, current, format('%s,"since":%d}', described, now - upMs)) end
local function routerOf(name) return match(name, '^[^~]+') or name end
local router, peers, isPeer, isHere = routerOf(following), {}, {}, {}
local function addPeer(name)
  if isPeer[name] or #name > 64 then return end
  isPeer[name] = true
  peers[#peers + 1] = name
end
for name, deadline in pairs(leases) do
  if deadline > now then
    local other = routerOf(name)
    if not nodes[name].extended then isHere[other] = true end
    addPeer(other)
  end
end
local awaited, names, awaitedUntil, isChanged = {}, {}, meta.awaitedUntil, false
if awaitedUntil > now and awaitedUntil <= now + longest then
  for name in string.gmatch(meta.awaited, '[^ ]+') do
    if #names >= MOST_NODES or not isName(name) then
      isChanged = true
      break
    end
    awaited[name] = true
    names[#names + 1] = name
  end
elseif awaitedUntil > 0 then
  call('HDEL', metaKey, 'awaited')
end
local function await(name)
  if awaited[name] or #names >= MOST_NODES or #name > 256 then return end
  awaited[name] = true
  names[#names + 1] = name
  awaitedUntil, isChanged = now + floor(lease / 2), true
end
local isOlder = false
local beatenEpoch, beatenSeq, isTelling, others = match(beaten, '^([^/]*)/([^/]*)/([^/]*)/(.*)$')
if tag ~= '' then
  if not isKnown or isTelling == '1' then await(router) end
  isOlder = beatenEpoch == epoch and meta.seq < (number(beatenSeq) or 0)
  for other in string.gmatch(others, '[^,]+') do
    if other ~= router and (isOlder or (beatenEpoch ~= epoch and not isHere[other])) then await(other) end
  end
  if isKnown and isTelling ~= '1' and awaited[router] then
    for i = #names, 1, -1 do
      if names[i] == router then table.remove(names, i) end
    end
    isChanged = true
  end
end
for _, name in ipairs(names) do addPeer(name) end
if isChanged and #names == 0 then
  call('HDEL', metaKey, 'awaited')
elseif isChanged then
  call('HSET', metaKey, 'awaited', format('%d ', awaitedUntil) .. table.concat(names, ' '))
end

local dead = {}
for name, deadline in pairs(leases) do
  local node = nodes[name]
  if judgeLease(node.lease, deadline, node.extended, at, now) == 'dead' and (node.claimed <= now or isBack) then
    node.claimed = now + math.max(1000, math.min(node.lease, 3000))
    write(name, node)
    dead[#dead + 1] = json(name)
  end
end
if isBack then
  for _, member in ipairs(try('ZRANGEBYSCORE', graceKey, now, '+inf', 'LIMIT', 0, MOST_GRACES)) do call('ZADD', graceKey, ENDS_NOW, member) end
end
local due, found = {}, try('ZRANGEBYSCORE', graceKey, '-inf', now, 'LIMIT', 0, most)
for _, member in ipairs(found) do
  local bucket, id = match(member, '^(%d+):(.+)$')
  if bucket and #bucket <= 4 and tonumber(bucket) < buckets and isId(id) then
    due[#due + 1] = format('[%d,%s]', bucket, json(id))
  else
    call('ZREM', graceKey, member)
    junk[#junk + 1] = graceKey
  end
end
local keeps, keepsMs, until_ = logged, loggedMs, now + lease * 10
if meta.logUntil > now and meta.logUntil <= now + max(longest, lease) * 10 then
  if meta.logChanges > keeps or meta.logMs > keepsMs then until_ = meta.logUntil end
  keeps, keepsMs = max(keeps, meta.logChanges), max(keepsMs, meta.logMs)
end
local logFrom = math.min(meta.logFrom, seq)
for _ = 1, 20 do
  local entries = pcall('XRANGE', logKey, format('%d', logFrom), '+', 'COUNT', 1)
  local entry = not isError(entries) and entries[1]
  local id = entry and number(match(entry[1], '^(%d+)'))
  if not id then
    if logFrom > meta.logFrom then call('UNLINK', logKey) end
    break
  end
  local written = number(match(entry[2][2] or '', '"t":(%d+)'))
  if written and written >= now - keepsMs then break end
  logFrom = id + 1
end
meta.logFrom = logFrom
call('HSET', metaKey, 'at', format('%d', now), 'log', format('%d %d %d %d', keeps, keepsMs, until_, logFrom))
finish()
local counting = try('HGET', countKey, '')
local till = counting and number(match(counting, '^~(%d+)$'))
if till and till > now + math.max(lease * 5, 3600000) then till = now end
local isUncounted = not counting
local isSetBack = isOlder or (own ~= nil and own.last < acknowledged)
if at > 0 then
  if isSetBack then
    epoch = time[1] .. '.' .. time[2]
    call('HSET', metaKey, 'epoch', epoch, 'lost', '0', 'lostAt', format('%d', now))
  elseif isUncounted or (till and till <= now) then
    lose({})
  end
end
if isUncounted then call('HSET', countKey, '', format('~%d', now + lease * 5))
elseif counting ~= '0' and not (till and till > now) then call('HSET', countKey, '', '0') end
local place = call('HMGET', metaKey, 'sweep', 'swept', 'round', 'lostAt', 'turn')
local turn = (number(place[5]) or 0) % 16
local first, swept = number(place[1]) or 0, number(place[2]) or 0
local elapsed = now - swept
if swept == 0 or elapsed < 0 then elapsed = lease / 3 end
local slice = math.min(buckets, 512, floor(buckets * elapsed / (4 * lease)))
first = first % buckets
local round, lostAt = number(place[3]) or 0, number(place[4]) or 0
if round > now then round = 0 end
local isForgotten = tag ~= '' and not own
if ((lostAt > round and lostAt <= now) or isForgotten) and now - round >= lease then
  slice, turn = buckets, -1
  call('HSET', metaKey, 'round', format('%d', now))
end
if slice > 0 then
  call('HSET', metaKey, 'sweep', format('%d', (first + slice) % buckets), 'swept', format('%d', now))
  if turn >= 0 and first + slice >= buckets then call('HSET', metaKey, 'turn', format('%d', turn + 1)) end
end

return format('{"known":%s,"more":%s,"due":[%s],"dead":[%s],"sweep":[%d,%d,%d],"lost":%d,"log":[%d,%d],"peers":"%s",', tostring(isKnown),
  tostring(#found == most), table.concat(due, ','), table.concat(dead, ','), first, slice, turn,
  number(call('HGET', metaKey, 'lost')) or 0, keeps, keepsMs, table.concat(peers, ',')) .. answered()
`);

export const begin = script('begin', String.raw`local LAYOUT = '3'
local MOST = 4503599627370496
local EPOCH = 1577836800000
local FLOOR_PER_MS = 256
local call, pcall, type, tonumber, floor, max = redis.call, redis.pcall, type, tonumber, math.floor, math.max
local format, match, find, sub = string.format, string.match, string.find, string.sub
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)
local function number(text)
  local value = type(text) == 'string' and #text <= 16 and match(text, '^%d+$') and tonumber(text)
  return value and value <= MOST and value or nil
end

local function versionNow() return (now - EPOCH) * FLOOR_PER_MS end
local function isError(answer) return type(answer) == 'table' and answer.err ~= nil end
local function isEpoch(text)
  local seconds, micros = match(text or '', '^(%d+)%.(%d+)$')
  return seconds ~= nil and #seconds <= 16 and #micros <= 6
end

local function readMeta(key)
  local fields = pcall('HMGET', key, 'seq', 'epoch', 'at', 'layout', 'seed', 'extended', 'awaited', 'log')
  if isError(fields) then fields = {} end
  local extendedAt, extendedUntil = match(fields[6] or '', '^(%d+) (%d+)$')
  local awaitedUntil, awaited = match(fields[7] or '', '^(%d+) ([^%c",]+)$')
  local logChanges, logMs, logUntil, logFrom = match(fields[8] or '', '^(%d+) (%d+) (%d+) (%d+)$')
  local seq, epoch, seed = number(fields[1]), fields[2] or nil, fields[5] or nil
  if fields[1] and not (seq and seq <= MOST / 2) then seq, epoch = nil, nil end
  local layout = fields[4] or nil
  local isForeign = layout ~= nil and layout ~= LAYOUT and find(layout, '^%d+$') ~= nil
  return {
    isEmpty = layout ~= LAYOUT and not isForeign and not (fields[1] and isEpoch(epoch)),
    seq = seq or 0,
    epoch = isEpoch(epoch) and epoch or nil,
    at = number(fields[3]) or 0,
    layout = layout,
    extendedAt = number(extendedAt) or 0,
    extendedUntil = number(extendedUntil) or 0,
    awaitedUntil = number(awaitedUntil) or (fields[7] and 1 or 0),
    awaited = awaited or '',
    logChanges = number(logChanges) or 0,
    logMs = number(logMs) or 0,
    logUntil = number(logUntil) or 0,
    logFrom = number(logFrom) or 0,
    seed = seed and #seed >= 16 and #seed <= 29 and match(seed, '^%x+$') or nil,
  }
end
local function misplaced(meta, seed, knownEpoch)
  if meta.isEmpty or (meta.epoch and meta.epoch == knownEpoch) then return nil end
  if meta.layout ~= LAYOUT then
    return format('!{"layout":"%s"}', match(meta.layout or '', '^%w+$') and string.sub(meta.layout, 1, 16) or '')
  end
  if meta.seed and meta.seed ~= seed then return format('!{"seed":"%s","e":"%s"}', meta.seed, meta.epoch or '') end
  return nil
end
local CLOSE_MS = 1000
local LETTERS = { connect = 'j', disconnect = 'l', timeout = 't', ['node-down'] = 'n', resync = 'r' }
local function isId(text)
  if text == '' or #text > 256 then return false end
  if not find(text, '[\128-\255]') then return true end
  if find(text, '\224[\128-\159]') or find(text, '\237[\160-\191]') or find(text, '\240[\128-\143]') or find(text, '\244[\144-\191]') then
    return false
  end
  text = string.gsub(text, '[\240-\244][\128-\191][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\224-\239][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\194-\223][\128-\191]', '')
  return not find(text, '[\128-\255]')
end
local function json(text)
  if find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
end
local base = 0
local function baseOf(seed) return tonumber(sub(seed, 17), 16) or 0 end
local current = { version = 0, letter = '', seen = 0, changed = 0, grace = 0, owners = '' }
local function userOf(version, letter, seen, changed, grace, owners)
  local user = current
  user.version, user.letter, user.seen, user.changed, user.grace, user.owners = version, letter, seen, changed, grace, owners
  return user
end

local OWNERS = '^,[%w_+/=.:~%%,-]*[^,],$'
local validOwners = ''
local function parse(record)
  if not record or #record > 8192 then return nil end
  local minus, version, letter, seen, later, grace, owners = match(record, '^(-?)(%x+)([jltnr])(%x+)([^/,;]*)/?(%x*)(.*)$')
  if not version or #version > 13 or #seen > 11 or #later > 12 or #grace > 11 then return nil end
  if owners ~= validOwners and owners ~= '' then
    if not find(owners, OWNERS) then
      owners = match(owners, '^([^;]*);')
      if not owners or (owners ~= '' and not find(owners, OWNERS)) then return nil end
    end
    if #owners > 256 then
      local left = 512
      for owner in string.gmatch(owners, '[^,]+') do
        left = left - 1
        if left < 0 or #owner > 256 then return nil end
      end
    end
    validOwners = owners
  end
  if minus == '' and grace == '' and owners == '' then return nil end
  version, seen = tonumber(version, 16) + base, tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  if seen > now then seen = now end
  grace = grace == '' and 0 or tonumber(grace, 16) + EPOCH
  if grace > now + 2147483647 then return nil end
  local changed = seen
  if later ~= '' then
    local ms = tonumber(sub(later, 2), 16)
    local side = sub(later, 1, 1)
    if not ms or not (side == '-' or side == '+') then return nil end
    changed = side == '-' and seen - ms or seen + ms
  end
  return userOf(version, letter, seen, changed, grace, owners == '' and ',' or owners)
end
local function composed(version, letter, seen, changed, grace, owners)
  if seen < EPOCH then seen = EPOCH end
  if owners == ',' then owners = '' end
  local later, sign = changed - seen, ''
  if version < 0 then version, sign = -version, '-' end
  if later >= 0 and later < CLOSE_MS then
    if grace == 0 then return format('%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, owners) end
    return format('%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, grace - EPOCH, owners)
  end
  local side = '+'
  if later < 0 then later, side = -later, '-' end
  if grace == 0 then return format('%s%x%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, side, later, owners) end
  return format('%s%x%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, side, later, grace - EPOCH, owners)
end

local function compose(user)
  return composed(user.version, user.letter, user.seen, user.changed, user.grace, user.owners)
end
local function parseNode(entry)
  if not entry or #entry > 512 then return nil end
  local lease, extended, last, claimed = match(entry .. ' ', '^(%d+) ([01]) (%d+) (%d+) ')
  lease, last, claimed = number(lease), number(last), number(claimed)
  if not lease or not last or not claimed then return nil end
  return { lease = lease, extended = extended == '1', last = last, claimed = claimed }
end

local function composeNode(node)
  return format('%d %s %d %d', node.lease, node.extended and '1' or '0', node.last, node.claimed)
end
local metaKey, graceKey, countKey = KEYS[1], KEYS[2], KEYS[3]
local seed, knownEpoch = ARGV[1], ARGV[2]
local meta = readMeta(metaKey)
local answer = misplaced(meta, seed, knownEpoch)
if answer then return answer end
local isUnknown, junk = knownEpoch == '', ''
local isNew = isUnknown or not meta.epoch
local seq = meta.seq
if isNew or seq == 0 then seq = math.max(seq, versionNow()) end
seq = math.max(seq, baseOf(seed))
local epoch = not isNew and meta.epoch or time[1] .. '.' .. time[2]
local function onBuckets(command)
  local sum = 0
  for from = 4, #KEYS, 1000 do sum = sum + call(command, unpack(KEYS, from, math.min(from + 999, #KEYS))) end
  return sum
end

local written = pcall('HSET', metaKey, 'epoch', epoch, 'seq', format('%d', seq))
if isError(written) then
  if find(written.err, 'WRONGTYPE', 1, true) then
    call('UNLINK', metaKey)
    junk = json(metaKey)
  end
  call('HSET', metaKey, 'epoch', epoch, 'seq', format('%d', seq))
end
if isNew then call('HSET', metaKey, 'lost', '0', 'lostAt', isUnknown and '0' or format('%d', now)) end
if isUnknown then
  call('UNLINK', graceKey, countKey)
  onBuckets('UNLINK')
  call('HSET', countKey, '', '0')
end
if isUnknown or (isNew and onBuckets('EXISTS') == 0) then seed = format('%s%x', string.sub(seed, 1, 16), seq) end
call('HSET', metaKey, 'layout', LAYOUT, 'seed', seed)
return format('{"e":"%s","seed":"%s","junk":[%s]}', epoch, seed, junk)
`);

export const claim = script('claim', String.raw`local leaseKey, deliveriesKey = KEYS[1], KEYS[2]
local tag, name, from, isResumed, router, lost = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', ARGV[5], ARGV[6]
local MOST = 1000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function isAlive(incarnation)
  local deadline = redis.pcall('ZSCORE', leaseKey, incarnation)
  return type(deadline) == 'string' and tonumber(deadline) > now
end

if not isAlive(tag) then return '?' end
local entry = redis.pcall('HGET', deliveriesKey, name)
if type(entry) == 'table' then
  redis.call('UNLINK', deliveriesKey)
  entry = false
end
local token, holder, ended, cursor, _, failure = string.match(entry or '', '^(%d+)|([^|]*)|([01])|([^|]+)|([^|]*)|([^|]*)')
if not token or #token > 15 or #cursor > 1024 then
  if not entry and redis.call('HLEN', deliveriesKey) >= MOST then return 'full' end
  token, holder, ended, cursor, failure = '0', '', '0', entry and lost or from, ''
end
if isResumed then ended = '0' end
local isOwn = string.match(holder, '^[^~]*') == string.match(tag, '^[^~]*')
local isHeld = holder ~= '' and not isOwn and isAlive(holder)
local isClaimed = not isHeld and ended == '0'
if isClaimed then
  token, holder = string.format('%d', math.max(tonumber(token) + 1, now)), tag
  redis.call('HSET', deliveriesKey, name, table.concat({ token, holder, ended, cursor, router, failure }, '|'))
end
return (isClaimed and token or '') .. '|' .. ended .. '|' .. cursor
`);

export const count = script('count', String.raw`local LAYOUT = '3'
local MOST = 4503599627370496
local EPOCH = 1577836800000
local FLOOR_PER_MS = 256
local call, pcall, type, tonumber, floor, max = redis.call, redis.pcall, type, tonumber, math.floor, math.max
local format, match, find, sub = string.format, string.match, string.find, string.sub
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)
local function number(text)
  local value = type(text) == 'string' and #text <= 16 and match(text, '^%d+$') and tonumber(text)
  return value and value <= MOST and value or nil
end

local function versionNow() return (now - EPOCH) * FLOOR_PER_MS end
local function isError(answer) return type(answer) == 'table' and answer.err ~= nil end
local function isEpoch(text)
  local seconds, micros = match(text or '', '^(%d+)%.(%d+)$')
  return seconds ~= nil and #seconds <= 16 and #micros <= 6
end

local function readMeta(key)
  local fields = pcall('HMGET', key, 'seq', 'epoch', 'at', 'layout', 'seed', 'extended', 'awaited', 'log')
  if isError(fields) then fields = {} end
  local extendedAt, extendedUntil = match(fields[6] or '', '^(%d+) (%d+)$')
  local awaitedUntil, awaited = match(fields[7] or '', '^(%d+) ([^%c",]+)$')
  local logChanges, logMs, logUntil, logFrom = match(fields[8] or '', '^(%d+) (%d+) (%d+) (%d+)$')
  local seq, epoch, seed = number(fields[1]), fields[2] or nil, fields[5] or nil
  if fields[1] and not (seq and seq <= MOST / 2) then seq, epoch = nil, nil end
  local layout = fields[4] or nil
  local isForeign = layout ~= nil and layout ~= LAYOUT and find(layout, '^%d+$') ~= nil
  return {
    isEmpty = layout ~= LAYOUT and not isForeign and not (fields[1] and isEpoch(epoch)),
    seq = seq or 0,
    epoch = isEpoch(epoch) and epoch or nil,
    at = number(fields[3]) or 0,
    layout = layout,
    extendedAt = number(extendedAt) or 0,
    extendedUntil = number(extendedUntil) or 0,
    awaitedUntil = number(awaitedUntil) or (fields[7] and 1 or 0),
    awaited = awaited or '',
    logChanges = number(logChanges) or 0,
    logMs = number(logMs) or 0,
    logUntil = number(logUntil) or 0,
    logFrom = number(logFrom) or 0,
    seed = seed and #seed >= 16 and #seed <= 29 and match(seed, '^%x+$') or nil,
  }
end
local function misplaced(meta, seed, knownEpoch)
  if meta.isEmpty or (meta.epoch and meta.epoch == knownEpoch) then return nil end
  if meta.layout ~= LAYOUT then
    return format('!{"layout":"%s"}', match(meta.layout or '', '^%w+$') and string.sub(meta.layout, 1, 16) or '')
  end
  if meta.seed and meta.seed ~= seed then return format('!{"seed":"%s","e":"%s"}', meta.seed, meta.epoch or '') end
  return nil
end
local CLOSE_MS = 1000
local LETTERS = { connect = 'j', disconnect = 'l', timeout = 't', ['node-down'] = 'n', resync = 'r' }
local function isId(text)
  if text == '' or #text > 256 then return false end
  if not find(text, '[\128-\255]') then return true end
  if find(text, '\224[\128-\159]') or find(text, '\237[\160-\191]') or find(text, '\240[\128-\143]') or find(text, '\244[\144-\191]') then
    return false
  end
  text = string.gsub(text, '[\240-\244][\128-\191][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\224-\239][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\194-\223][\128-\191]', '')
  return not find(text, '[\128-\255]')
end
local function json(text)
  if find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
end
local base = 0
local function baseOf(seed) return tonumber(sub(seed, 17), 16) or 0 end
local current = { version = 0, letter = '', seen = 0, changed = 0, grace = 0, owners = '' }
local function userOf(version, letter, seen, changed, grace, owners)
  local user = current
  user.version, user.letter, user.seen, user.changed, user.grace, user.owners = version, letter, seen, changed, grace, owners
  return user
end

local OWNERS = '^,[%w_+/=.:~%%,-]*[^,],$'
local validOwners = ''
local function parse(record)
  if not record or #record > 8192 then return nil end
  local minus, version, letter, seen, later, grace, owners = match(record, '^(-?)(%x+)([jltnr])(%x+)([^/,;]*)/?(%x*)(.*)$')
  if not version or #version > 13 or #seen > 11 or #later > 12 or #grace > 11 then return nil end
  if owners ~= validOwners and owners ~= '' then
    if not find(owners, OWNERS) then
      owners = match(owners, '^([^;]*);')
      if not owners or (owners ~= '' and not find(owners, OWNERS)) then return nil end
    end
    if #owners > 256 then
      local left = 512
      for owner in string.gmatch(owners, '[^,]+') do
        left = left - 1
        if left < 0 or #owner > 256 then return nil end
      end
    end
    validOwners = owners
  end
  if minus == '' and grace == '' and owners == '' then return nil end
  version, seen = tonumber(version, 16) + base, tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  if seen > now then seen = now end
  grace = grace == '' and 0 or tonumber(grace, 16) + EPOCH
  if grace > now + 2147483647 then return nil end
  local changed = seen
  if later ~= '' then
    local ms = tonumber(sub(later, 2), 16)
    local side = sub(later, 1, 1)
    if not ms or not (side == '-' or side == '+') then return nil end
    changed = side == '-' and seen - ms or seen + ms
  end
  return userOf(version, letter, seen, changed, grace, owners == '' and ',' or owners)
end
local function composed(version, letter, seen, changed, grace, owners)
  if seen < EPOCH then seen = EPOCH end
  if owners == ',' then owners = '' end
  local later, sign = changed - seen, ''
  if version < 0 then version, sign = -version, '-' end
  if later >= 0 and later < CLOSE_MS then
    if grace == 0 then return format('%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, owners) end
    return format('%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, grace - EPOCH, owners)
  end
  local side = '+'
  if later < 0 then later, side = -later, '-' end
  if grace == 0 then return format('%s%x%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, side, later, owners) end
  return format('%s%x%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, side, later, grace - EPOCH, owners)
end

local function compose(user)
  return composed(user.version, user.letter, user.seen, user.changed, user.grace, user.owners)
end
local function parseNode(entry)
  if not entry or #entry > 512 then return nil end
  local lease, extended, last, claimed = match(entry .. ' ', '^(%d+) ([01]) (%d+) (%d+) ')
  lease, last, claimed = number(lease), number(last), number(claimed)
  if not lease or not last or not claimed then return nil end
  return { lease = lease, extended = extended == '1', last = last, claimed = claimed }
end

local function composeNode(node)
  return format('%d %s %d %d', node.lease, node.extended and '1' or '0', node.last, node.claimed)
end
local lastOwner, alone = '', ',,'

local function decide(online, grace, owners, seen, event, owner, heard, now)
  local settled, reason
  if grace <= now then grace = 0 end
  local isOnline = owners ~= ',' or grace > 0
  if isOnline ~= online then
    settled, online = online and 'timeout' or 'resync', isOnline
  end
  if event == 'due' then return online, grace, owners, seen, settled, nil, false end

  local isJoin = event == 'j' or event == 'r'
  if owner ~= lastOwner then lastOwner, alone = owner, ',' .. owner .. ',' end
  local from, to = find(owners, alone, 1, true)
  if not from and not isJoin then return online, grace, owners, seen, settled, nil, true end
  if event ~= 'dead' and heard > seen then seen = heard end
  if isJoin then
    if not from then owners = owners == ',' and alone or owners .. owner .. ',' end
    grace, reason = 0, event == 'r' and 'resync' or 'connect'
  elseif event ~= 'a' then
    owners = owners == alone and ',' or sub(owners, 1, from) .. sub(owners, to + 1)
    if event == 'l' then
      reason = 'disconnect'
    elseif event == 't' then
      reason = 'timeout'
    elseif event == 'dead' then
      reason = 'node-down'
    else
      local ms = tonumber(event)
      if ms > 0 then grace = max(grace, now + ms) end
      reason = 'timeout'
    end
  end
  isOnline = owners ~= ',' or grace > 0
  if isOnline == online then reason = nil end
  return isOnline, grace, owners, seen, settled, reason, false
end
local function judgeLease(leaseMs, endsAt, extendedOnce, activeAt, now)
  local wasAway = now - activeAt > leaseMs / 2
  if wasAway and endsAt > activeAt and not extendedOnce then return 'extend' end
  return endsAt > now and 'runs' or 'dead'
end
local MOST_ROUTERS = 1024
local RETURN_MS = 1500
local function readStanding(leases, nodes, meta)
  local standing, endings, isUnsure, isAny = {}, {}, false, false
  local extendedMs = meta.extendedUntil - meta.extendedAt
  local isDoubted = meta.extendedAt <= now and extendedMs > 0 and meta.extendedUntil + extendedMs > now
  local size = pcall('ZCARD', leases)
  local scored = not isError(size) and size <= MOST_ROUTERS and call('ZRANGE', leases, 0, -1, 'WITHSCORES') or {}
  for i = 1, #scored, 2 do
    local name, endsAt = scored[i], tonumber(scored[i + 1]) or 0
    endings[name] = endsAt
    standing[name] = endsAt > now and 'live' or 'dead'
    if endsAt <= now then isDoubted = true end
  end
  if not isDoubted and scored[1] then return standing, false, false end

  size = pcall('HLEN', nodes)
  local fields = not isError(size) and size <= MOST_ROUTERS and call('HGETALL', nodes) or {}
  for i = 1, #fields, 2 do
    local name, endsAt = fields[i], endings[fields[i]]
    local node = parseNode(fields[i + 1])
    if node and not endsAt then
      standing[name], isUnsure = 'extended', true
    elseif node then
      local verdict = judgeLease(node.lease, endsAt, node.extended, meta.at, now)
      if verdict == 'extend' then isUnsure = true end
      if verdict == 'extend' or (verdict == 'runs' and node.extended) then standing[name] = 'extended' end
    end
  end
  local isExtended = false
  for _, how in pairs(standing) do
    if how ~= 'live' then isAny = true end
    if how == 'extended' then isExtended = true end
  end
  if not next(standing) then isUnsure, isAny = true, true end
  if isExtended and now < meta.extendedAt + math.min(RETURN_MS, extendedMs / 3) then isUnsure = true end
  return standing, isUnsure, isAny
end
local function isOnlineNow(grace, owners, standing)
  if grace > now then return 'yes' end
  local answer = 'no'
  for owner in string.gmatch(owners, '[^,]+') do
    local how = standing[owner] or 'extended'
    if how == 'live' then return 'yes' end
    if how == 'extended' then answer = 'key' end
  end
  return answer
end
local function isAnyGraceOver(graces)
  local over = pcall('ZRANGEBYSCORE', graces, '-inf', now, 'LIMIT', 0, 1)
  return not isError(over) and over[1] ~= nil
end

local function isAwaited(meta) return meta.awaitedUntil > now and meta.awaitedUntil <= now + 2147483647 end
local countKey, metaKey, leaseKey, nodesKey, graceKey = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local buckets = tonumber(ARGV[1])
local SWEPT_MS = 3000
local meta = readMeta(metaKey)
local _, _, isAny = readStanding(leaseKey, nodesKey, meta)
local sum = 0
local function add(values)
  for _, value in ipairs(values) do
    local count = value and #value <= 16 and tonumber(value) or 0
    if count > 0 and count <= 100000 then sum = sum + count end
  end
end
local length = pcall('HLEN', countKey)
if not isError(length) and length <= buckets + 1 then
  add(call('HVALS', countKey))
elseif not isError(length) then
  for from = 0, buckets - 1, 1000 do
    local fields = {}
    for bucket = from, math.min(from + 999, buckets - 1) do fields[#fields + 1] = format('%d', bucket) end
    add(call('HMGET', countKey, unpack(fields)))
  end
end
local counting, isCounted = pcall('HMGET', countKey, ''), true
if isError(counting) or not counting[1] then
  isCounted = not meta.epoch
elseif counting[1] ~= '0' then
  local place = call('HMGET', metaKey, 'lostAt', 'round')
  local lostAt, round = number(place[1]) or 0, number(place[2]) or 0
  isCounted = round >= lostAt and now - round > SWEPT_MS
end
return format('%d %s %d %d %d', sum, meta.epoch or '', meta.seq, isAwaited(meta) and 1 or 0, (((isAny or isAnyGraceOver(graceKey)) and sum > 0) or not isCounted) and 0 or 1)
`);

export const deliveries = script('deliveries', String.raw`local leaseKey, deliveriesKey = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local size = redis.pcall('HLEN', deliveriesKey)
if type(size) ~= 'number' or size > 2000 then return '' end
local fields, lines = redis.pcall('HGETALL', deliveriesKey), {}
for i = 1, #fields, 2 do
  local token, holder, rest = string.match(fields[i + 1], '^(%d+)|([^|]*)|([01]|[^|]+|[^|]*|[^|]*)')
  if token and string.find(fields[i], '^[%w_.:-]+$') then
    local deadline = holder ~= '' and redis.pcall('ZSCORE', leaseKey, holder)
    local isHeld = type(deadline) == 'string' and tonumber(deadline) > now
    lines[#lines + 1] = fields[i] .. '|' .. (isHeld and '1' or '0') .. '|' .. rest
  end
end
return table.concat(lines, '\n')
`);

export const held = script('held', String.raw`local LAYOUT = '3'
local MOST = 4503599627370496
local EPOCH = 1577836800000
local FLOOR_PER_MS = 256
local call, pcall, type, tonumber, floor, max = redis.call, redis.pcall, type, tonumber, math.floor, math.max
local format, match, find, sub = string.format, string.match, string.find, string.sub
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)
local function number(text)
  local value = type(text) == 'string' and #text <= 16 and match(text, '^%d+$') and tonumber(text)
  return value and value <= MOST and value or nil
end

local function versionNow() return (now - EPOCH) * FLOOR_PER_MS end
local function isError(answer) return type(answer) == 'table' and answer.err ~= nil end
local function isEpoch(text)
  local seconds, micros = match(text or '', '^(%d+)%.(%d+)$')
  return seconds ~= nil and #seconds <= 16 and #micros <= 6
end

local function readMeta(key)
  local fields = pcall('HMGET', key, 'seq', 'epoch', 'at', 'layout', 'seed', 'extended', 'awaited', 'log')
  if isError(fields) then fields = {} end
  local extendedAt, extendedUntil = match(fields[6] or '', '^(%d+) (%d+)$')
  local awaitedUntil, awaited = match(fields[7] or '', '^(%d+) ([^%c",]+)$')
  local logChanges, logMs, logUntil, logFrom = match(fields[8] or '', '^(%d+) (%d+) (%d+) (%d+)$')
  local seq, epoch, seed = number(fields[1]), fields[2] or nil, fields[5] or nil
  if fields[1] and not (seq and seq <= MOST / 2) then seq, epoch = nil, nil end
  local layout = fields[4] or nil
  local isForeign = layout ~= nil and layout ~= LAYOUT and find(layout, '^%d+$') ~= nil
  return {
    isEmpty = layout ~= LAYOUT and not isForeign and not (fields[1] and isEpoch(epoch)),
    seq = seq or 0,
    epoch = isEpoch(epoch) and epoch or nil,
    at = number(fields[3]) or 0,
    layout = layout,
    extendedAt = number(extendedAt) or 0,
    extendedUntil = number(extendedUntil) or 0,
    awaitedUntil = number(awaitedUntil) or (fields[7] and 1 or 0),
    awaited = awaited or '',
    logChanges = number(logChanges) or 0,
    logMs = number(logMs) or 0,
    logUntil = number(logUntil) or 0,
    logFrom = number(logFrom) or 0,
    seed = seed and #seed >= 16 and #seed <= 29 and match(seed, '^%x+$') or nil,
  }
end
local function misplaced(meta, seed, knownEpoch)
  if meta.isEmpty or (meta.epoch and meta.epoch == knownEpoch) then return nil end
  if meta.layout ~= LAYOUT then
    return format('!{"layout":"%s"}', match(meta.layout or '', '^%w+$') and string.sub(meta.layout, 1, 16) or '')
  end
  if meta.seed and meta.seed ~= seed then return format('!{"seed":"%s","e":"%s"}', meta.seed, meta.epoch or '') end
  return nil
end
local CLOSE_MS = 1000
local LETTERS = { connect = 'j', disconnect = 'l', timeout = 't', ['node-down'] = 'n', resync = 'r' }
local function isId(text)
  if text == '' or #text > 256 then return false end
  if not find(text, '[\128-\255]') then return true end
  if find(text, '\224[\128-\159]') or find(text, '\237[\160-\191]') or find(text, '\240[\128-\143]') or find(text, '\244[\144-\191]') then
    return false
  end
  text = string.gsub(text, '[\240-\244][\128-\191][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\224-\239][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\194-\223][\128-\191]', '')
  return not find(text, '[\128-\255]')
end
local function json(text)
  if find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
end
local base = 0
local function baseOf(seed) return tonumber(sub(seed, 17), 16) or 0 end
local current = { version = 0, letter = '', seen = 0, changed = 0, grace = 0, owners = '' }
local function userOf(version, letter, seen, changed, grace, owners)
  local user = current
  user.version, user.letter, user.seen, user.changed, user.grace, user.owners = version, letter, seen, changed, grace, owners
  return user
end

local OWNERS = '^,[%w_+/=.:~%%,-]*[^,],$'
local validOwners = ''
local function parse(record)
  if not record or #record > 8192 then return nil end
  local minus, version, letter, seen, later, grace, owners = match(record, '^(-?)(%x+)([jltnr])(%x+)([^/,;]*)/?(%x*)(.*)$')
  if not version or #version > 13 or #seen > 11 or #later > 12 or #grace > 11 then return nil end
  if owners ~= validOwners and owners ~= '' then
    if not find(owners, OWNERS) then
      owners = match(owners, '^([^;]*);')
      if not owners or (owners ~= '' and not find(owners, OWNERS)) then return nil end
    end
    if #owners > 256 then
      local left = 512
      for owner in string.gmatch(owners, '[^,]+') do
        left = left - 1
        if left < 0 or #owner > 256 then return nil end
      end
    end
    validOwners = owners
  end
  if minus == '' and grace == '' and owners == '' then return nil end
  version, seen = tonumber(version, 16) + base, tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  if seen > now then seen = now end
  grace = grace == '' and 0 or tonumber(grace, 16) + EPOCH
  if grace > now + 2147483647 then return nil end
  local changed = seen
  if later ~= '' then
    local ms = tonumber(sub(later, 2), 16)
    local side = sub(later, 1, 1)
    if not ms or not (side == '-' or side == '+') then return nil end
    changed = side == '-' and seen - ms or seen + ms
  end
  return userOf(version, letter, seen, changed, grace, owners == '' and ',' or owners)
end
local function composed(version, letter, seen, changed, grace, owners)
  if seen < EPOCH then seen = EPOCH end
  if owners == ',' then owners = '' end
  local later, sign = changed - seen, ''
  if version < 0 then version, sign = -version, '-' end
  if later >= 0 and later < CLOSE_MS then
    if grace == 0 then return format('%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, owners) end
    return format('%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, grace - EPOCH, owners)
  end
  local side = '+'
  if later < 0 then later, side = -later, '-' end
  if grace == 0 then return format('%s%x%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, side, later, owners) end
  return format('%s%x%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, side, later, grace - EPOCH, owners)
end

local function compose(user)
  return composed(user.version, user.letter, user.seen, user.changed, user.grace, user.owners)
end
local function parseNode(entry)
  if not entry or #entry > 512 then return nil end
  local lease, extended, last, claimed = match(entry .. ' ', '^(%d+) ([01]) (%d+) (%d+) ')
  lease, last, claimed = number(lease), number(last), number(claimed)
  if not lease or not last or not claimed then return nil end
  return { lease = lease, extended = extended == '1', last = last, claimed = claimed }
end

local function composeNode(node)
  return format('%d %s %d %d', node.lease, node.extended and '1' or '0', node.last, node.claimed)
end
local metaKey, firstKey = KEYS[1], 2
local seed, knownEpoch, first, most, firstDead = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), 5
local MOST_FIELDS = 10000
local answer = misplaced(readMeta(metaKey), seed, knownEpoch)
if answer then return answer end
local dead = {}
for i = firstDead, #ARGV do dead[ARGV[i]] = true end
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
      examined = examined + 4
    end
  end
  examined = examined + 1 + #fields / 2
  done = done + 1
end
return format('{"done":%d,"users":[%s]}', done, table.concat(users, ','))
`);

export const leased = script('leased', String.raw`local leaseKey, tag = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local deadline = redis.pcall('ZSCORE', leaseKey, tag)
if type(deadline) ~= 'string' or tonumber(deadline) <= now then return '?' end
return string.format('%d', now)
`);

export const list = script('list', String.raw`local LAYOUT = '3'
local MOST = 4503599627370496
local EPOCH = 1577836800000
local FLOOR_PER_MS = 256
local call, pcall, type, tonumber, floor, max = redis.call, redis.pcall, type, tonumber, math.floor, math.max
local format, match, find, sub = string.format, string.match, string.find, string.sub
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)
local function number(text)
  local value = type(text) == 'string' and #text <= 16 and match(text, '^%d+$') and tonumber(text)
  return value and value <= MOST and value or nil
end

local function versionNow() return (now - EPOCH) * FLOOR_PER_MS end
local function isError(answer) return type(answer) == 'table' and answer.err ~= nil end
local function isEpoch(text)
  local seconds, micros = match(text or '', '^(%d+)%.(%d+)$')
  return seconds ~= nil and #seconds <= 16 and #micros <= 6
end

local function readMeta(key)
  local fields = pcall('HMGET', key, 'seq', 'epoch', 'at', 'layout', 'seed', 'extended', 'awaited', 'log')
  if isError(fields) then fields = {} end
  local extendedAt, extendedUntil = match(fields[6] or '', '^(%d+) (%d+)$')
  local awaitedUntil, awaited = match(fields[7] or '', '^(%d+) ([^%c",]+)$')
  local logChanges, logMs, logUntil, logFrom = match(fields[8] or '', '^(%d+) (%d+) (%d+) (%d+)$')
  local seq, epoch, seed = number(fields[1]), fields[2] or nil, fields[5] or nil
  if fields[1] and not (seq and seq <= MOST / 2) then seq, epoch = nil, nil end
  local layout = fields[4] or nil
  local isForeign = layout ~= nil and layout ~= LAYOUT and find(layout, '^%d+$') ~= nil
  return {
    isEmpty = layout ~= LAYOUT and not isForeign and not (fields[1] and isEpoch(epoch)),
    seq = seq or 0,
    epoch = isEpoch(epoch) and epoch or nil,
    at = number(fields[3]) or 0,
    layout = layout,
    extendedAt = number(extendedAt) or 0,
    extendedUntil = number(extendedUntil) or 0,
    awaitedUntil = number(awaitedUntil) or (fields[7] and 1 or 0),
    awaited = awaited or '',
    logChanges = number(logChanges) or 0,
    logMs = number(logMs) or 0,
    logUntil = number(logUntil) or 0,
    logFrom = number(logFrom) or 0,
    seed = seed and #seed >= 16 and #seed <= 29 and match(seed, '^%x+$') or nil,
  }
end
local function misplaced(meta, seed, knownEpoch)
  if meta.isEmpty or (meta.epoch and meta.epoch == knownEpoch) then return nil end
  if meta.layout ~= LAYOUT then
    return format('!{"layout":"%s"}', match(meta.layout or '', '^%w+$') and string.sub(meta.layout, 1, 16) or '')
  end
  if meta.seed and meta.seed ~= seed then return format('!{"seed":"%s","e":"%s"}', meta.seed, meta.epoch or '') end
  return nil
end
local CLOSE_MS = 1000
local LETTERS = { connect = 'j', disconnect = 'l', timeout = 't', ['node-down'] = 'n', resync = 'r' }
local function isId(text)
  if text == '' or #text > 256 then return false end
  if not find(text, '[\128-\255]') then return true end
  if find(text, '\224[\128-\159]') or find(text, '\237[\160-\191]') or find(text, '\240[\128-\143]') or find(text, '\244[\144-\191]') then
    return false
  end
  text = string.gsub(text, '[\240-\244][\128-\191][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\224-\239][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\194-\223][\128-\191]', '')
  return not find(text, '[\128-\255]')
end
local function json(text)
  if find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
end
local base = 0
local function baseOf(seed) return tonumber(sub(seed, 17), 16) or 0 end
local current = { version = 0, letter = '', seen = 0, changed = 0, grace = 0, owners = '' }
local function userOf(version, letter, seen, changed, grace, owners)
  local user = current
  user.version, user.letter, user.seen, user.changed, user.grace, user.owners = version, letter, seen, changed, grace, owners
  return user
end

local OWNERS = '^,[%w_+/=.:~%%,-]*[^,],$'
local validOwners = ''
local function parse(record)
  if not record or #record > 8192 then return nil end
  local minus, version, letter, seen, later, grace, owners = match(record, '^(-?)(%x+)([jltnr])(%x+)([^/,;]*)/?(%x*)(.*)$')
  if not version or #version > 13 or #seen > 11 or #later > 12 or #grace > 11 then return nil end
  if owners ~= validOwners and owners ~= '' then
    if not find(owners, OWNERS) then
      owners = match(owners, '^([^;]*);')
      if not owners or (owners ~= '' and not find(owners, OWNERS)) then return nil end
    end
    if #owners > 256 then
      local left = 512
      for owner in string.gmatch(owners, '[^,]+') do
        left = left - 1
        if left < 0 or #owner > 256 then return nil end
      end
    end
    validOwners = owners
  end
  if minus == '' and grace == '' and owners == '' then return nil end
  version, seen = tonumber(version, 16) + base, tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  if seen > now then seen = now end
  grace = grace == '' and 0 or tonumber(grace, 16) + EPOCH
  if grace > now + 2147483647 then return nil end
  local changed = seen
  if later ~= '' then
    local ms = tonumber(sub(later, 2), 16)
    local side = sub(later, 1, 1)
    if not ms or not (side == '-' or side == '+') then return nil end
    changed = side == '-' and seen - ms or seen + ms
  end
  return userOf(version, letter, seen, changed, grace, owners == '' and ',' or owners)
end
local function composed(version, letter, seen, changed, grace, owners)
  if seen < EPOCH then seen = EPOCH end
  if owners == ',' then owners = '' end
  local later, sign = changed - seen, ''
  if version < 0 then version, sign = -version, '-' end
  if later >= 0 and later < CLOSE_MS then
    if grace == 0 then return format('%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, owners) end
    return format('%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, grace - EPOCH, owners)
  end
  local side = '+'
  if later < 0 then later, side = -later, '-' end
  if grace == 0 then return format('%s%x%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, side, later, owners) end
  return format('%s%x%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, side, later, grace - EPOCH, owners)
end

local function compose(user)
  return composed(user.version, user.letter, user.seen, user.changed, user.grace, user.owners)
end
local function parseNode(entry)
  if not entry or #entry > 512 then return nil end
  local lease, extended, last, claimed = match(entry .. ' ', '^(%d+) ([01]) (%d+) (%d+) ')
  lease, last, claimed = number(lease), number(last), number(claimed)
  if not lease or not last or not claimed then return nil end
  return { lease = lease, extended = extended == '1', last = last, claimed = claimed }
end

local function composeNode(node)
  return format('%d %s %d %d', node.lease, node.extended and '1' or '0', node.last, node.claimed)
end
local lastOwner, alone = '', ',,'

local function decide(online, grace, owners, seen, event, owner, heard, now)
  local settled, reason
  if grace <= now then grace = 0 end
  local isOnline = owners ~= ',' or grace > 0
  if isOnline ~= online then
    settled, online = online and 'timeout' or 'resync', isOnline
  end
  if event == 'due' then return online, grace, owners, seen, settled, nil, false end

  local isJoin = event == 'j' or event == 'r'
  if owner ~= lastOwner then lastOwner, alone = owner, ',' .. owner .. ',' end
  local from, to = find(owners, alone, 1, true)
  if not from and not isJoin then return online, grace, owners, seen, settled, nil, true end
  if event ~= 'dead' and heard > seen then seen = heard end
  if isJoin then
    if not from then owners = owners == ',' and alone or owners .. owner .. ',' end
    grace, reason = 0, event == 'r' and 'resync' or 'connect'
  elseif event ~= 'a' then
    owners = owners == alone and ',' or sub(owners, 1, from) .. sub(owners, to + 1)
    if event == 'l' then
      reason = 'disconnect'
    elseif event == 't' then
      reason = 'timeout'
    elseif event == 'dead' then
      reason = 'node-down'
    else
      local ms = tonumber(event)
      if ms > 0 then grace = max(grace, now + ms) end
      reason = 'timeout'
    end
  end
  isOnline = owners ~= ',' or grace > 0
  if isOnline == online then reason = nil end
  return isOnline, grace, owners, seen, settled, reason, false
end
local function judgeLease(leaseMs, endsAt, extendedOnce, activeAt, now)
  local wasAway = now - activeAt > leaseMs / 2
  if wasAway and endsAt > activeAt and not extendedOnce then return 'extend' end
  return endsAt > now and 'runs' or 'dead'
end
local MOST_ROUTERS = 1024
local RETURN_MS = 1500
local function readStanding(leases, nodes, meta)
  local standing, endings, isUnsure, isAny = {}, {}, false, false
  local extendedMs = meta.extendedUntil - meta.extendedAt
  local isDoubted = meta.extendedAt <= now and extendedMs > 0 and meta.extendedUntil + extendedMs > now
  local size = pcall('ZCARD', leases)
  local scored = not isError(size) and size <= MOST_ROUTERS and call('ZRANGE', leases, 0, -1, 'WITHSCORES') or {}
  for i = 1, #scored, 2 do
    local name, endsAt = scored[i], tonumber(scored[i + 1]) or 0
    endings[name] = endsAt
    standing[name] = endsAt > now and 'live' or 'dead'
    if endsAt <= now then isDoubted = true end
  end
  if not isDoubted and scored[1] then return standing, false, false end

  size = pcall('HLEN', nodes)
  local fields = not isError(size) and size <= MOST_ROUTERS and call('HGETALL', nodes) or {}
  for i = 1, #fields, 2 do
    local name, endsAt = fields[i], endings[fields[i]]
    local node = parseNode(fields[i + 1])
    if node and not endsAt then
      standing[name], isUnsure = 'extended', true
    elseif node then
      local verdict = judgeLease(node.lease, endsAt, node.extended, meta.at, now)
      if verdict == 'extend' then isUnsure = true end
      if verdict == 'extend' or (verdict == 'runs' and node.extended) then standing[name] = 'extended' end
    end
  end
  local isExtended = false
  for _, how in pairs(standing) do
    if how ~= 'live' then isAny = true end
    if how == 'extended' then isExtended = true end
  end
  if not next(standing) then isUnsure, isAny = true, true end
  if isExtended and now < meta.extendedAt + math.min(RETURN_MS, extendedMs / 3) then isUnsure = true end
  return standing, isUnsure, isAny
end
local function isOnlineNow(grace, owners, standing)
  if grace > now then return 'yes' end
  local answer = 'no'
  for owner in string.gmatch(owners, '[^,]+') do
    local how = standing[owner] or 'extended'
    if how == 'live' then return 'yes' end
    if how == 'extended' then answer = 'key' end
  end
  return answer
end
local function isAnyGraceOver(graces)
  local over = pcall('ZRANGEBYSCORE', graces, '-inf', now, 'LIMIT', 0, 1)
  return not isError(over) and over[1] ~= nil
end

local function isAwaited(meta) return meta.awaitedUntil > now and meta.awaitedUntil <= now + 2147483647 end
local metaKey, leaseKey, nodesKey, firstKey = KEYS[1], KEYS[2], KEYS[3], 4
local room, after, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local seed, knownEpoch, first = ARGV[4], ARGV[5], tonumber(ARGV[6])
local MOST_FIELDS = 10000
local meta = readMeta(metaKey)
local answer = misplaced(meta, seed, knownEpoch)
if answer then return answer end
base = baseOf(seed)
local standing, isUnsure = readStanding(leaseKey, nodesKey, meta)
local PROOF = { yes = 1, key = 0, no = -1 }

local junk = {}
local function fieldsOf(bucket)
  local length = pcall('HLEN', bucket)
  if isError(length) or length > MOST_FIELDS then return nil end
  return call('HGETALL', bucket)
end

local found, size, done, examined, isFull = {}, #KEYS - 3, 0, 0, false
while done < size and examined < most and not isFull do
  local fields = fieldsOf(KEYS[firstKey + done])
  local users, isWhole = {}, fields ~= nil
  fields = fields or {}
  for i = 1, #fields, 2 do
    local id = fields[i]
    local record = fields[i + 1]
    local minus, version, seen, owner = match(record, '^(-?)(%x+)[jltnr](%x+)[+-]?%x*,?([%w_+/=.:~%%-]*),?$')
    local isUsual = version and #record < 256 and (owner ~= '' or minus ~= '') and #version <= 13 and #seen <= 11
    local proof = 1
    if not isUsual or (minus == '' and standing[owner] ~= 'live') then
      local user = parse(record)
      minus, version, seen = '', nil, nil
      if user then
        proof = PROOF[isOnlineNow(user.grace, user.owners, standing)]
        minus, version, seen = user.version <= 0 and '-' or '', format('%x', math.abs(user.version) - base), format('%x', user.seen - EPOCH)
      end
    end
    if version and isId(id) then
      version = minus == '' and tonumber(version, 16) + base or 0
      if version > after then users[#users + 1] = { id = id, version = version, seen = tonumber(seen, 16) + EPOCH, bucket = first + done, proof = proof } end
    else
      isWhole = false
    end
  end
  if not isWhole then junk[#junk + 1] = format('%d', first + done) end
  table.sort(users, function(a, b) return a.version < b.version end)
  for _, user in ipairs(users) do
    if #found == room then
      isFull = true
      break
    end
    found[#found + 1] = user
    after = user.version
  end
  examined = examined + 1 + #fields / 2
  if not isFull then
    done = done + 1
    after = 0
  end
end

local users = {}
for i, user in ipairs(found) do users[i] = format('[%s,%d,%d,%d,%d]', json(user.id), user.version, math.min(user.seen, now), user.bucket, user.proof) end
return format('{"now":%d,"e":"%s","seq":%d,"done":%d,"after":%d,"examined":%d,"users":[%s],"awaited":%d,"unsure":%d,"junk":[%s]}',
  now, meta.epoch or '', meta.seq, done, after, examined, table.concat(users, ','), isAwaited(meta) and 1 or 0, isUnsure and 1 or 0,
  table.concat(junk, ','))
`);

export const read = script('read', String.raw`local LAYOUT = '3'
local MOST = 4503599627370496
local EPOCH = 1577836800000
local FLOOR_PER_MS = 256
local call, pcall, type, tonumber, floor, max = redis.call, redis.pcall, type, tonumber, math.floor, math.max
local format, match, find, sub = string.format, string.match, string.find, string.sub
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)
local function number(text)
  local value = type(text) == 'string' and #text <= 16 and match(text, '^%d+$') and tonumber(text)
  return value and value <= MOST and value or nil
end

local function versionNow() return (now - EPOCH) * FLOOR_PER_MS end
local function isError(answer) return type(answer) == 'table' and answer.err ~= nil end
local function isEpoch(text)
  local seconds, micros = match(text or '', '^(%d+)%.(%d+)$')
  return seconds ~= nil and #seconds <= 16 and #micros <= 6
end

local function readMeta(key)
  local fields = pcall('HMGET', key, 'seq', 'epoch', 'at', 'layout', 'seed', 'extended', 'awaited', 'log')
  if isError(fields) then fields = {} end
  local extendedAt, extendedUntil = match(fields[6] or '', '^(%d+) (%d+)$')
  local awaitedUntil, awaited = match(fields[7] or '', '^(%d+) ([^%c",]+)$')
  local logChanges, logMs, logUntil, logFrom = match(fields[8] or '', '^(%d+) (%d+) (%d+) (%d+)$')
  local seq, epoch, seed = number(fields[1]), fields[2] or nil, fields[5] or nil
  if fields[1] and not (seq and seq <= MOST / 2) then seq, epoch = nil, nil end
  local layout = fields[4] or nil
  local isForeign = layout ~= nil and layout ~= LAYOUT and find(layout, '^%d+$') ~= nil
  return {
    isEmpty = layout ~= LAYOUT and not isForeign and not (fields[1] and isEpoch(epoch)),
    seq = seq or 0,
    epoch = isEpoch(epoch) and epoch or nil,
    at = number(fields[3]) or 0,
    layout = layout,
    extendedAt = number(extendedAt) or 0,
    extendedUntil = number(extendedUntil) or 0,
    awaitedUntil = number(awaitedUntil) or (fields[7] and 1 or 0),
    awaited = awaited or '',
    logChanges = number(logChanges) or 0,
    logMs = number(logMs) or 0,
    logUntil = number(logUntil) or 0,
    logFrom = number(logFrom) or 0,
    seed = seed and #seed >= 16 and #seed <= 29 and match(seed, '^%x+$') or nil,
  }
end
local function misplaced(meta, seed, knownEpoch)
  if meta.isEmpty or (meta.epoch and meta.epoch == knownEpoch) then return nil end
  if meta.layout ~= LAYOUT then
    return format('!{"layout":"%s"}', match(meta.layout or '', '^%w+$') and string.sub(meta.layout, 1, 16) or '')
  end
  if meta.seed and meta.seed ~= seed then return format('!{"seed":"%s","e":"%s"}', meta.seed, meta.epoch or '') end
  return nil
end
local CLOSE_MS = 1000
local LETTERS = { connect = 'j', disconnect = 'l', timeout = 't', ['node-down'] = 'n', resync = 'r' }
local function isId(text)
  if text == '' or #text > 256 then return false end
  if not find(text, '[\128-\255]') then return true end
  if find(text, '\224[\128-\159]') or find(text, '\237[\160-\191]') or find(text, '\240[\128-\143]') or find(text, '\244[\144-\191]') then
    return false
  end
  text = string.gsub(text, '[\240-\244][\128-\191][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\224-\239][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\194-\223][\128-\191]', '')
  return not find(text, '[\128-\255]')
end
local function json(text)
  if find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
end
local base = 0
local function baseOf(seed) return tonumber(sub(seed, 17), 16) or 0 end
local current = { version = 0, letter = '', seen = 0, changed = 0, grace = 0, owners = '' }
local function userOf(version, letter, seen, changed, grace, owners)
  local user = current
  user.version, user.letter, user.seen, user.changed, user.grace, user.owners = version, letter, seen, changed, grace, owners
  return user
end

local OWNERS = '^,[%w_+/=.:~%%,-]*[^,],$'
local validOwners = ''
local function parse(record)
  if not record or #record > 8192 then return nil end
  local minus, version, letter, seen, later, grace, owners = match(record, '^(-?)(%x+)([jltnr])(%x+)([^/,;]*)/?(%x*)(.*)$')
  if not version or #version > 13 or #seen > 11 or #later > 12 or #grace > 11 then return nil end
  if owners ~= validOwners and owners ~= '' then
    if not find(owners, OWNERS) then
      owners = match(owners, '^([^;]*);')
      if not owners or (owners ~= '' and not find(owners, OWNERS)) then return nil end
    end
    if #owners > 256 then
      local left = 512
      for owner in string.gmatch(owners, '[^,]+') do
        left = left - 1
        if left < 0 or #owner > 256 then return nil end
      end
    end
    validOwners = owners
  end
  if minus == '' and grace == '' and owners == '' then return nil end
  version, seen = tonumber(version, 16) + base, tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  if seen > now then seen = now end
  grace = grace == '' and 0 or tonumber(grace, 16) + EPOCH
  if grace > now + 2147483647 then return nil end
  local changed = seen
  if later ~= '' then
    local ms = tonumber(sub(later, 2), 16)
    local side = sub(later, 1, 1)
    if not ms or not (side == '-' or side == '+') then return nil end
    changed = side == '-' and seen - ms or seen + ms
  end
  return userOf(version, letter, seen, changed, grace, owners == '' and ',' or owners)
end
local function composed(version, letter, seen, changed, grace, owners)
  if seen < EPOCH then seen = EPOCH end
  if owners == ',' then owners = '' end
  local later, sign = changed - seen, ''
  if version < 0 then version, sign = -version, '-' end
  if later >= 0 and later < CLOSE_MS then
    if grace == 0 then return format('%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, owners) end
    return format('%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, grace - EPOCH, owners)
  end
  local side = '+'
  if later < 0 then later, side = -later, '-' end
  if grace == 0 then return format('%s%x%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, side, later, owners) end
  return format('%s%x%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, side, later, grace - EPOCH, owners)
end

local function compose(user)
  return composed(user.version, user.letter, user.seen, user.changed, user.grace, user.owners)
end
local function parseNode(entry)
  if not entry or #entry > 512 then return nil end
  local lease, extended, last, claimed = match(entry .. ' ', '^(%d+) ([01]) (%d+) (%d+) ')
  lease, last, claimed = number(lease), number(last), number(claimed)
  if not lease or not last or not claimed then return nil end
  return { lease = lease, extended = extended == '1', last = last, claimed = claimed }
end

local function composeNode(node)
  return format('%d %s %d %d', node.lease, node.extended and '1' or '0', node.last, node.claimed)
end
local lastOwner, alone = '', ',,'

local function decide(online, grace, owners, seen, event, owner, heard, now)
  local settled, reason
  if grace <= now then grace = 0 end
  local isOnline = owners ~= ',' or grace > 0
  if isOnline ~= online then
    settled, online = online and 'timeout' or 'resync', isOnline
  end
  if event == 'due' then return online, grace, owners, seen, settled, nil, false end

  local isJoin = event == 'j' or event == 'r'
  if owner ~= lastOwner then lastOwner, alone = owner, ',' .. owner .. ',' end
  local from, to = find(owners, alone, 1, true)
  if not from and not isJoin then return online, grace, owners, seen, settled, nil, true end
  if event ~= 'dead' and heard > seen then seen = heard end
  if isJoin then
    if not from then owners = owners == ',' and alone or owners .. owner .. ',' end
    grace, reason = 0, event == 'r' and 'resync' or 'connect'
  elseif event ~= 'a' then
    owners = owners == alone and ',' or sub(owners, 1, from) .. sub(owners, to + 1)
    if event == 'l' then
      reason = 'disconnect'
    elseif event == 't' then
      reason = 'timeout'
    elseif event == 'dead' then
      reason = 'node-down'
    else
      local ms = tonumber(event)
      if ms > 0 then grace = max(grace, now + ms) end
      reason = 'timeout'
    end
  end
  isOnline = owners ~= ',' or grace > 0
  if isOnline == online then reason = nil end
  return isOnline, grace, owners, seen, settled, reason, false
end
local function judgeLease(leaseMs, endsAt, extendedOnce, activeAt, now)
  local wasAway = now - activeAt > leaseMs / 2
  if wasAway and endsAt > activeAt and not extendedOnce then return 'extend' end
  return endsAt > now and 'runs' or 'dead'
end
local MOST_ROUTERS = 1024
local RETURN_MS = 1500
local function readStanding(leases, nodes, meta)
  local standing, endings, isUnsure, isAny = {}, {}, false, false
  local extendedMs = meta.extendedUntil - meta.extendedAt
  local isDoubted = meta.extendedAt <= now and extendedMs > 0 and meta.extendedUntil + extendedMs > now
  local size = pcall('ZCARD', leases)
  local scored = not isError(size) and size <= MOST_ROUTERS and call('ZRANGE', leases, 0, -1, 'WITHSCORES') or {}
  for i = 1, #scored, 2 do
    local name, endsAt = scored[i], tonumber(scored[i + 1]) or 0
    endings[name] = endsAt
    standing[name] = endsAt > now and 'live' or 'dead'
    if endsAt <= now then isDoubted = true end
  end
  if not isDoubted and scored[1] then return standing, false, false end

  size = pcall('HLEN', nodes)
  local fields = not isError(size) and size <= MOST_ROUTERS and call('HGETALL', nodes) or {}
  for i = 1, #fields, 2 do
    local name, endsAt = fields[i], endings[fields[i]]
    local node = parseNode(fields[i + 1])
    if node and not endsAt then
      standing[name], isUnsure = 'extended', true
    elseif node then
      local verdict = judgeLease(node.lease, endsAt, node.extended, meta.at, now)
      if verdict == 'extend' then isUnsure = true end
      if verdict == 'extend' or (verdict == 'runs' and node.extended) then standing[name] = 'extended' end
    end
  end
  local isExtended = false
  for _, how in pairs(standing) do
    if how ~= 'live' then isAny = true end
    if how == 'extended' then isExtended = true end
  end
  if not next(standing) then isUnsure, isAny = true, true end
  if isExtended and now < meta.extendedAt + math.min(RETURN_MS, extendedMs / 3) then isUnsure = true end
  return standing, isUnsure, isAny
end
local function isOnlineNow(grace, owners, standing)
  if grace > now then return 'yes' end
  local answer = 'no'
  for owner in string.gmatch(owners, '[^,]+') do
    local how = standing[owner] or 'extended'
    if how == 'live' then return 'yes' end
    if how == 'extended' then answer = 'key' end
  end
  return answer
end
local function isAnyGraceOver(graces)
  local over = pcall('ZRANGEBYSCORE', graces, '-inf', now, 'LIMIT', 0, 1)
  return not isError(over) and over[1] ~= nil
end

local function isAwaited(meta) return meta.awaitedUntil > now and meta.awaitedUntil <= now + 2147483647 end
local metaKey, leaseKey, nodesKey, graceKey, firstKey = KEYS[1], KEYS[2], KEYS[3], KEYS[4], 5
local seed, knownEpoch, ids = ARGV[1], ARGV[2], cjson.decode(ARGV[3])
local meta = readMeta(metaKey)
local answer = misplaced(meta, seed, knownEpoch)
if answer then return answer end
local standing, isUnsure, isAny = readStanding(leaseKey, nodesKey, meta)
local isDue = isAny or isAnyGraceOver(graceKey)
local records = { format('%d %s %d %d %d %d', now, meta.epoch or '', meta.seq, isAwaited(meta) and 1 or 0, isUnsure and 1 or 0, isDue and 1 or 0) }
local MARKS = { yes = '', key = ' ?', no = ' !' }
for i, id in ipairs(ids) do
  local record = pcall('HGET', KEYS[firstKey + i - 1], id)
  if not record then
    records[i + 1] = ''
  elseif isError(record) then
    records[i + 1] = '?'
  else
    local start, owner = match(record, '^(%x+[jltnr]%x+)[+-]?%x*,([%w_+/=.:~%%-]+),$')
    if start and standing[owner] == 'live' and #record < 256 then
      records[i + 1] = start
    else
      local user = parse(record)
      records[i + 1] = user and match(record, '^-?%x+[jltnr]%x+') .. (user.version > 0 and MARKS[isOnlineNow(user.grace, user.owners, standing)] or '') or '?'
    end
  end
end
return table.concat(records, ',')
`);

export const reap = script('reap', String.raw`local LAYOUT = '3'
local MOST = 4503599627370496
local EPOCH = 1577836800000
local FLOOR_PER_MS = 256
local call, pcall, type, tonumber, floor, max = redis.call, redis.pcall, type, tonumber, math.floor, math.max
local format, match, find, sub = string.format, string.match, string.find, string.sub
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)
local function number(text)
  local value = type(text) == 'string' and #text <= 16 and match(text, '^%d+$') and tonumber(text)
  return value and value <= MOST and value or nil
end

local function versionNow() return (now - EPOCH) * FLOOR_PER_MS end
local function isError(answer) return type(answer) == 'table' and answer.err ~= nil end
local function isEpoch(text)
  local seconds, micros = match(text or '', '^(%d+)%.(%d+)$')
  return seconds ~= nil and #seconds <= 16 and #micros <= 6
end

local function readMeta(key)
  local fields = pcall('HMGET', key, 'seq', 'epoch', 'at', 'layout', 'seed', 'extended', 'awaited', 'log')
  if isError(fields) then fields = {} end
  local extendedAt, extendedUntil = match(fields[6] or '', '^(%d+) (%d+)$')
  local awaitedUntil, awaited = match(fields[7] or '', '^(%d+) ([^%c",]+)$')
  local logChanges, logMs, logUntil, logFrom = match(fields[8] or '', '^(%d+) (%d+) (%d+) (%d+)$')
  local seq, epoch, seed = number(fields[1]), fields[2] or nil, fields[5] or nil
  if fields[1] and not (seq and seq <= MOST / 2) then seq, epoch = nil, nil end
  local layout = fields[4] or nil
  local isForeign = layout ~= nil and layout ~= LAYOUT and find(layout, '^%d+$') ~= nil
  return {
    isEmpty = layout ~= LAYOUT and not isForeign and not (fields[1] and isEpoch(epoch)),
    seq = seq or 0,
    epoch = isEpoch(epoch) and epoch or nil,
    at = number(fields[3]) or 0,
    layout = layout,
    extendedAt = number(extendedAt) or 0,
    extendedUntil = number(extendedUntil) or 0,
    awaitedUntil = number(awaitedUntil) or (fields[7] and 1 or 0),
    awaited = awaited or '',
    logChanges = number(logChanges) or 0,
    logMs = number(logMs) or 0,
    logUntil = number(logUntil) or 0,
    logFrom = number(logFrom) or 0,
    seed = seed and #seed >= 16 and #seed <= 29 and match(seed, '^%x+$') or nil,
  }
end
local function misplaced(meta, seed, knownEpoch)
  if meta.isEmpty or (meta.epoch and meta.epoch == knownEpoch) then return nil end
  if meta.layout ~= LAYOUT then
    return format('!{"layout":"%s"}', match(meta.layout or '', '^%w+$') and string.sub(meta.layout, 1, 16) or '')
  end
  if meta.seed and meta.seed ~= seed then return format('!{"seed":"%s","e":"%s"}', meta.seed, meta.epoch or '') end
  return nil
end
local CLOSE_MS = 1000
local LETTERS = { connect = 'j', disconnect = 'l', timeout = 't', ['node-down'] = 'n', resync = 'r' }
local function isId(text)
  if text == '' or #text > 256 then return false end
  if not find(text, '[\128-\255]') then return true end
  if find(text, '\224[\128-\159]') or find(text, '\237[\160-\191]') or find(text, '\240[\128-\143]') or find(text, '\244[\144-\191]') then
    return false
  end
  text = string.gsub(text, '[\240-\244][\128-\191][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\224-\239][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\194-\223][\128-\191]', '')
  return not find(text, '[\128-\255]')
end
local function json(text)
  if find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
end
local base = 0
local function baseOf(seed) return tonumber(sub(seed, 17), 16) or 0 end
local current = { version = 0, letter = '', seen = 0, changed = 0, grace = 0, owners = '' }
local function userOf(version, letter, seen, changed, grace, owners)
  local user = current
  user.version, user.letter, user.seen, user.changed, user.grace, user.owners = version, letter, seen, changed, grace, owners
  return user
end

local OWNERS = '^,[%w_+/=.:~%%,-]*[^,],$'
local validOwners = ''
local function parse(record)
  if not record or #record > 8192 then return nil end
  local minus, version, letter, seen, later, grace, owners = match(record, '^(-?)(%x+)([jltnr])(%x+)([^/,;]*)/?(%x*)(.*)$')
  if not version or #version > 13 or #seen > 11 or #later > 12 or #grace > 11 then return nil end
  if owners ~= validOwners and owners ~= '' then
    if not find(owners, OWNERS) then
      owners = match(owners, '^([^;]*);')
      if not owners or (owners ~= '' and not find(owners, OWNERS)) then return nil end
    end
    if #owners > 256 then
      local left = 512
      for owner in string.gmatch(owners, '[^,]+') do
        left = left - 1
        if left < 0 or #owner > 256 then return nil end
      end
    end
    validOwners = owners
  end
  if minus == '' and grace == '' and owners == '' then return nil end
  version, seen = tonumber(version, 16) + base, tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  if seen > now then seen = now end
  grace = grace == '' and 0 or tonumber(grace, 16) + EPOCH
  if grace > now + 2147483647 then return nil end
  local changed = seen
  if later ~= '' then
    local ms = tonumber(sub(later, 2), 16)
    local side = sub(later, 1, 1)
    if not ms or not (side == '-' or side == '+') then return nil end
    changed = side == '-' and seen - ms or seen + ms
  end
  return userOf(version, letter, seen, changed, grace, owners == '' and ',' or owners)
end
local function composed(version, letter, seen, changed, grace, owners)
  if seen < EPOCH then seen = EPOCH end
  if owners == ',' then owners = '' end
  local later, sign = changed - seen, ''
  if version < 0 then version, sign = -version, '-' end
  if later >= 0 and later < CLOSE_MS then
    if grace == 0 then return format('%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, owners) end
    return format('%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, grace - EPOCH, owners)
  end
  local side = '+'
  if later < 0 then later, side = -later, '-' end
  if grace == 0 then return format('%s%x%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, side, later, owners) end
  return format('%s%x%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, side, later, grace - EPOCH, owners)
end

local function compose(user)
  return composed(user.version, user.letter, user.seen, user.changed, user.grace, user.owners)
end
local function parseNode(entry)
  if not entry or #entry > 512 then return nil end
  local lease, extended, last, claimed = match(entry .. ' ', '^(%d+) ([01]) (%d+) (%d+) ')
  lease, last, claimed = number(lease), number(last), number(claimed)
  if not lease or not last or not claimed then return nil end
  return { lease = lease, extended = extended == '1', last = last, claimed = claimed }
end

local function composeNode(node)
  return format('%d %s %d %d', node.lease, node.extended and '1' or '0', node.last, node.claimed)
end
local lastOwner, alone = '', ',,'

local function decide(online, grace, owners, seen, event, owner, heard, now)
  local settled, reason
  if grace <= now then grace = 0 end
  local isOnline = owners ~= ',' or grace > 0
  if isOnline ~= online then
    settled, online = online and 'timeout' or 'resync', isOnline
  end
  if event == 'due' then return online, grace, owners, seen, settled, nil, false end

  local isJoin = event == 'j' or event == 'r'
  if owner ~= lastOwner then lastOwner, alone = owner, ',' .. owner .. ',' end
  local from, to = find(owners, alone, 1, true)
  if not from and not isJoin then return online, grace, owners, seen, settled, nil, true end
  if event ~= 'dead' and heard > seen then seen = heard end
  if isJoin then
    if not from then owners = owners == ',' and alone or owners .. owner .. ',' end
    grace, reason = 0, event == 'r' and 'resync' or 'connect'
  elseif event ~= 'a' then
    owners = owners == alone and ',' or sub(owners, 1, from) .. sub(owners, to + 1)
    if event == 'l' then
      reason = 'disconnect'
    elseif event == 't' then
      reason = 'timeout'
    elseif event == 'dead' then
      reason = 'node-down'
    else
      local ms = tonumber(event)
      if ms > 0 then grace = max(grace, now + ms) end
      reason = 'timeout'
    end
  end
  isOnline = owners ~= ',' or grace > 0
  if isOnline == online then reason = nil end
  return isOnline, grace, owners, seen, settled, reason, false
end
local function judgeLease(leaseMs, endsAt, extendedOnce, activeAt, now)
  local wasAway = now - activeAt > leaseMs / 2
  if wasAway and endsAt > activeAt and not extendedOnce then return 'extend' end
  return endsAt > now and 'runs' or 'dead'
end
local MOST_FIELDS = 10000
local MOST_NODES = 1024
local MOST_GRACES = 100000
local ENDS_NOW = '-1'
local ASSERTED = 3000
local leaseKey, nodesKey, metaKey, graceKey, countKey, logKey = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local userPrefix, publicPrefix, channel, isSharded, logged = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', tonumber(ARGV[5])
local bucketPrefix, highest, seed, knownEpoch, buckets = ARGV[6], number(ARGV[7]) or 0, ARGV[8], ARGV[9], tonumber(ARGV[10])
local junk, lacks = {}, nil

local function discard(key)
  call('UNLINK', key)
  junk[#junk + 1] = key
end
local function try(command, key, ...)
  local answer = pcall(command, key, ...)
  if not isError(answer) then return answer end
  if find(answer.err, 'WRONGTYPE', 1, true) then discard(key) end
  return call(command, key, ...)
end

local meta = readMeta(metaKey)
local answer = misplaced(meta, seed, knownEpoch)
if answer then return answer end
if not meta.epoch or meta.layout ~= LAYOUT or meta.seed ~= seed then return '!{"begin":1}' end

local seq, epoch, at, stored = meta.seq, meta.epoch, meta.at, meta.seq
base = baseOf(seed)
if seq == 0 then seq = versionNow() end
seq = max(seq, highest, base)
if stored == 0 then
  stored = seq
  try('HSET', metaKey, 'epoch', epoch, 'seq', format('%d', seq))
else
  try('HSET', metaKey, 'epoch', epoch)
end

local told, gone, counts, before, messages = {}, {}, {}, seq, {}
local function save(bucket, id, user) call('HSET', bucket, id, compose(user)) end
local function drop(bucket, id)
  call('HDEL', bucket, id)
  if junk[#junk] ~= bucket then junk[#junk + 1] = bucket end
end
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
local phrases = {}
local function phrase(online, reason)
  local status = online and 'online' or 'offline'
  local middle = ',"status":"' .. status .. '","timestamp":"' .. iso(now) .. '","version":'
  phrases[reason] = { middle, ',"reason":"' .. reason .. '"}', ',"' .. reason .. '"]', publicPrefix .. status }
  return phrases[reason]
end
local updates = publicPrefix .. 'updates'
local function latest(mirror, seen)
  local known = mirror and number(pcall('GET', mirror))
  return known and known <= now and max(seen, known) or seen
end
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
local function schedule(key, id, before, grace, owners)
  local member = sub(key, #bucketPrefix + 1) .. ':' .. id
  local answer
  if grace > 0 and (grace ~= before or owners == ',') then
    answer = pcall('ZADD', graceKey, format('%d', grace), member)
    if type(answer) == 'table' then try('ZADD', graceKey, format('%d', grace), member) end
  elseif grace == 0 and before > 0 then
    answer = pcall('ZREM', graceKey, member)
    if type(answer) == 'table' then try('ZREM', graceKey, member) end
  end
end
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
local function send(command, channel, message)
  local answer = pcall(command, channel, message)
  if not isError(answer) then return true end
  if find(answer.err, 'NOPERM', 1, true) or find(answer.err, 'executing the script', 1, true) then lacks = channel end
  return false
end
local function publish(message)
  if isSharded and send('SPUBLISH', channel, message) then return end
  send('PUBLISH', channel, message)
end
local function lose(names)
  local times = format('%d', (number(call('HGET', metaKey, 'lost')) or 0) + 1)
  call('HSET', metaKey, 'lost', times, 'lostAt', format('%d', now))
  publish('{"l":[' .. table.concat(names, ',') .. '],"k":' .. times .. '}')
end
local function log(id, batch)
  local most = logged
  if meta.logUntil > now and meta.logUntil < now + 1e9 then most = max(most, meta.logChanges) end
  for _ = 1, 2 do
    local oldest = max(0, seq - most, math.min(meta.logFrom, seq))
    local added = pcall('XADD', logKey, 'MINID', '~', format('%d', oldest), id, 'b', batch)
    if isError(added) then added = pcall('XADD', logKey, 'MAXLEN', '~', format('%d', most), id, 'b', batch) end
    if not isError(added) then return end
    if not find(added.err, 'WRONGTYPE', 1, true) and not find(added.err, 'smaller', 1, true) then return end
    discard(logKey)
  end
end
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
local routersKey = KEYS[7]
local size, isLast, ttl, incarnations = tonumber(ARGV[11]), ARGV[12] == '1', tonumber(ARGV[13]), tonumber(ARGV[14])
local firstBucket, firstMirror, firstDead, firstUser = 8, 8 + size, 15, 15 + incarnations
local dead, tags = {}, {}
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
`);

export const refresh = script('refresh', String.raw`local leaseKey, firstKey = KEYS[1], 2
local tag, ttl, firstAge = ARGV[1], ARGV[2], 3
local call, format = redis.call, string.format
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local deadline = redis.pcall('ZSCORE', leaseKey, tag)
if type(deadline) ~= 'string' or tonumber(deadline) <= now then return '?' end
local missing, i = {}, firstKey
for a = firstAge, #ARGV, 2 do
  local seen = format('%d', now - ARGV[a])
  for _ = 1, ARGV[a + 1] do
    if not call('SET', KEYS[i], seen, 'PX', ttl, 'XX') then missing[#missing + 1] = i - firstKey end
    i = i + 1
  end
end
return table.concat(missing, ',')
`);

export const registered = script('registered', String.raw`local metaKey, router, epoch = KEYS[1], ARGV[1], ARGV[2]
if redis.pcall('HGET', metaKey, 'epoch') ~= epoch then return '0' end
local until_, names = string.match(tostring(redis.pcall('HGET', metaKey, 'awaited')), '^(%d+) (.+)$')
if not until_ then return '0' end
local left = {}
for name in string.gmatch(names, '[^ ]+') do
  if name ~= router then left[#left + 1] = name end
end
if #left == 0 then
  redis.call('HDEL', metaKey, 'awaited')
else
  redis.call('HSET', metaKey, 'awaited', until_ .. ' ' .. table.concat(left, ' '))
end
return '1'
`);

export const release = script('release', String.raw`local leaseKey, tag = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if type(redis.pcall('ZSCORE', leaseKey, tag)) ~= 'string' then return '0' end
redis.call('ZADD', leaseKey, string.format('%d', now), tag)
return '1'
`);

export const seen = script('seen', String.raw`local LAYOUT = '3'
local MOST = 4503599627370496
local EPOCH = 1577836800000
local FLOOR_PER_MS = 256
local call, pcall, type, tonumber, floor, max = redis.call, redis.pcall, type, tonumber, math.floor, math.max
local format, match, find, sub = string.format, string.match, string.find, string.sub
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)
local function number(text)
  local value = type(text) == 'string' and #text <= 16 and match(text, '^%d+$') and tonumber(text)
  return value and value <= MOST and value or nil
end

local function versionNow() return (now - EPOCH) * FLOOR_PER_MS end
local function isError(answer) return type(answer) == 'table' and answer.err ~= nil end
local function isEpoch(text)
  local seconds, micros = match(text or '', '^(%d+)%.(%d+)$')
  return seconds ~= nil and #seconds <= 16 and #micros <= 6
end

local function readMeta(key)
  local fields = pcall('HMGET', key, 'seq', 'epoch', 'at', 'layout', 'seed', 'extended', 'awaited', 'log')
  if isError(fields) then fields = {} end
  local extendedAt, extendedUntil = match(fields[6] or '', '^(%d+) (%d+)$')
  local awaitedUntil, awaited = match(fields[7] or '', '^(%d+) ([^%c",]+)$')
  local logChanges, logMs, logUntil, logFrom = match(fields[8] or '', '^(%d+) (%d+) (%d+) (%d+)$')
  local seq, epoch, seed = number(fields[1]), fields[2] or nil, fields[5] or nil
  if fields[1] and not (seq and seq <= MOST / 2) then seq, epoch = nil, nil end
  local layout = fields[4] or nil
  local isForeign = layout ~= nil and layout ~= LAYOUT and find(layout, '^%d+$') ~= nil
  return {
    isEmpty = layout ~= LAYOUT and not isForeign and not (fields[1] and isEpoch(epoch)),
    seq = seq or 0,
    epoch = isEpoch(epoch) and epoch or nil,
    at = number(fields[3]) or 0,
    layout = layout,
    extendedAt = number(extendedAt) or 0,
    extendedUntil = number(extendedUntil) or 0,
    awaitedUntil = number(awaitedUntil) or (fields[7] and 1 or 0),
    awaited = awaited or '',
    logChanges = number(logChanges) or 0,
    logMs = number(logMs) or 0,
    logUntil = number(logUntil) or 0,
    logFrom = number(logFrom) or 0,
    seed = seed and #seed >= 16 and #seed <= 29 and match(seed, '^%x+$') or nil,
  }
end
local function misplaced(meta, seed, knownEpoch)
  if meta.isEmpty or (meta.epoch and meta.epoch == knownEpoch) then return nil end
  if meta.layout ~= LAYOUT then
    return format('!{"layout":"%s"}', match(meta.layout or '', '^%w+$') and string.sub(meta.layout, 1, 16) or '')
  end
  if meta.seed and meta.seed ~= seed then return format('!{"seed":"%s","e":"%s"}', meta.seed, meta.epoch or '') end
  return nil
end
local CLOSE_MS = 1000
local LETTERS = { connect = 'j', disconnect = 'l', timeout = 't', ['node-down'] = 'n', resync = 'r' }
local function isId(text)
  if text == '' or #text > 256 then return false end
  if not find(text, '[\128-\255]') then return true end
  if find(text, '\224[\128-\159]') or find(text, '\237[\160-\191]') or find(text, '\240[\128-\143]') or find(text, '\244[\144-\191]') then
    return false
  end
  text = string.gsub(text, '[\240-\244][\128-\191][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\224-\239][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\194-\223][\128-\191]', '')
  return not find(text, '[\128-\255]')
end
local function json(text)
  if find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
end
local base = 0
local function baseOf(seed) return tonumber(sub(seed, 17), 16) or 0 end
local current = { version = 0, letter = '', seen = 0, changed = 0, grace = 0, owners = '' }
local function userOf(version, letter, seen, changed, grace, owners)
  local user = current
  user.version, user.letter, user.seen, user.changed, user.grace, user.owners = version, letter, seen, changed, grace, owners
  return user
end

local OWNERS = '^,[%w_+/=.:~%%,-]*[^,],$'
local validOwners = ''
local function parse(record)
  if not record or #record > 8192 then return nil end
  local minus, version, letter, seen, later, grace, owners = match(record, '^(-?)(%x+)([jltnr])(%x+)([^/,;]*)/?(%x*)(.*)$')
  if not version or #version > 13 or #seen > 11 or #later > 12 or #grace > 11 then return nil end
  if owners ~= validOwners and owners ~= '' then
    if not find(owners, OWNERS) then
      owners = match(owners, '^([^;]*);')
      if not owners or (owners ~= '' and not find(owners, OWNERS)) then return nil end
    end
    if #owners > 256 then
      local left = 512
      for owner in string.gmatch(owners, '[^,]+') do
        left = left - 1
        if left < 0 or #owner > 256 then return nil end
      end
    end
    validOwners = owners
  end
  if minus == '' and grace == '' and owners == '' then return nil end
  version, seen = tonumber(version, 16) + base, tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  if seen > now then seen = now end
  grace = grace == '' and 0 or tonumber(grace, 16) + EPOCH
  if grace > now + 2147483647 then return nil end
  local changed = seen
  if later ~= '' then
    local ms = tonumber(sub(later, 2), 16)
    local side = sub(later, 1, 1)
    if not ms or not (side == '-' or side == '+') then return nil end
    changed = side == '-' and seen - ms or seen + ms
  end
  return userOf(version, letter, seen, changed, grace, owners == '' and ',' or owners)
end
local function composed(version, letter, seen, changed, grace, owners)
  if seen < EPOCH then seen = EPOCH end
  if owners == ',' then owners = '' end
  local later, sign = changed - seen, ''
  if version < 0 then version, sign = -version, '-' end
  if later >= 0 and later < CLOSE_MS then
    if grace == 0 then return format('%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, owners) end
    return format('%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, grace - EPOCH, owners)
  end
  local side = '+'
  if later < 0 then later, side = -later, '-' end
  if grace == 0 then return format('%s%x%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, side, later, owners) end
  return format('%s%x%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, side, later, grace - EPOCH, owners)
end

local function compose(user)
  return composed(user.version, user.letter, user.seen, user.changed, user.grace, user.owners)
end
local function parseNode(entry)
  if not entry or #entry > 512 then return nil end
  local lease, extended, last, claimed = match(entry .. ' ', '^(%d+) ([01]) (%d+) (%d+) ')
  lease, last, claimed = number(lease), number(last), number(claimed)
  if not lease or not last or not claimed then return nil end
  return { lease = lease, extended = extended == '1', last = last, claimed = claimed }
end

local function composeNode(node)
  return format('%d %s %d %d', node.lease, node.extended and '1' or '0', node.last, node.claimed)
end
local metaKey, firstKey = KEYS[1], 2
local seed, knownEpoch, firstUser = ARGV[1], ARGV[2], 3
local answer = misplaced(readMeta(metaKey), seed, knownEpoch)
if answer then return answer end
base = baseOf(seed)
for i = 0, #KEYS - firstKey do
  local key, id, seen = KEYS[firstKey + i], ARGV[firstUser + i + i], number(ARGV[firstUser + 1 + i + i])
  local record = pcall('HGET', key, id)
  if record and not isError(record) and seen and seen <= now then
    local user = parse(record)
    if user and seen > user.seen then
      user.seen = seen
      call('HSET', key, id, compose(user))
    end
  end
end
return '1'
`);

export const settle = script('settle', String.raw`local LAYOUT = '3'
local MOST = 4503599627370496
local EPOCH = 1577836800000
local FLOOR_PER_MS = 256
local call, pcall, type, tonumber, floor, max = redis.call, redis.pcall, type, tonumber, math.floor, math.max
local format, match, find, sub = string.format, string.match, string.find, string.sub
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)
local function number(text)
  local value = type(text) == 'string' and #text <= 16 and match(text, '^%d+$') and tonumber(text)
  return value and value <= MOST and value or nil
end

local function versionNow() return (now - EPOCH) * FLOOR_PER_MS end
local function isError(answer) return type(answer) == 'table' and answer.err ~= nil end
local function isEpoch(text)
  local seconds, micros = match(text or '', '^(%d+)%.(%d+)$')
  return seconds ~= nil and #seconds <= 16 and #micros <= 6
end

local function readMeta(key)
  local fields = pcall('HMGET', key, 'seq', 'epoch', 'at', 'layout', 'seed', 'extended', 'awaited', 'log')
  if isError(fields) then fields = {} end
  local extendedAt, extendedUntil = match(fields[6] or '', '^(%d+) (%d+)$')
  local awaitedUntil, awaited = match(fields[7] or '', '^(%d+) ([^%c",]+)$')
  local logChanges, logMs, logUntil, logFrom = match(fields[8] or '', '^(%d+) (%d+) (%d+) (%d+)$')
  local seq, epoch, seed = number(fields[1]), fields[2] or nil, fields[5] or nil
  if fields[1] and not (seq and seq <= MOST / 2) then seq, epoch = nil, nil end
  local layout = fields[4] or nil
  local isForeign = layout ~= nil and layout ~= LAYOUT and find(layout, '^%d+$') ~= nil
  return {
    isEmpty = layout ~= LAYOUT and not isForeign and not (fields[1] and isEpoch(epoch)),
    seq = seq or 0,
    epoch = isEpoch(epoch) and epoch or nil,
    at = number(fields[3]) or 0,
    layout = layout,
    extendedAt = number(extendedAt) or 0,
    extendedUntil = number(extendedUntil) or 0,
    awaitedUntil = number(awaitedUntil) or (fields[7] and 1 or 0),
    awaited = awaited or '',
    logChanges = number(logChanges) or 0,
    logMs = number(logMs) or 0,
    logUntil = number(logUntil) or 0,
    logFrom = number(logFrom) or 0,
    seed = seed and #seed >= 16 and #seed <= 29 and match(seed, '^%x+$') or nil,
  }
end
local function misplaced(meta, seed, knownEpoch)
  if meta.isEmpty or (meta.epoch and meta.epoch == knownEpoch) then return nil end
  if meta.layout ~= LAYOUT then
    return format('!{"layout":"%s"}', match(meta.layout or '', '^%w+$') and string.sub(meta.layout, 1, 16) or '')
  end
  if meta.seed and meta.seed ~= seed then return format('!{"seed":"%s","e":"%s"}', meta.seed, meta.epoch or '') end
  return nil
end
local CLOSE_MS = 1000
local LETTERS = { connect = 'j', disconnect = 'l', timeout = 't', ['node-down'] = 'n', resync = 'r' }
local function isId(text)
  if text == '' or #text > 256 then return false end
  if not find(text, '[\128-\255]') then return true end
  if find(text, '\224[\128-\159]') or find(text, '\237[\160-\191]') or find(text, '\240[\128-\143]') or find(text, '\244[\144-\191]') then
    return false
  end
  text = string.gsub(text, '[\240-\244][\128-\191][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\224-\239][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\194-\223][\128-\191]', '')
  return not find(text, '[\128-\255]')
end
local function json(text)
  if find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
end
local base = 0
local function baseOf(seed) return tonumber(sub(seed, 17), 16) or 0 end
local current = { version = 0, letter = '', seen = 0, changed = 0, grace = 0, owners = '' }
local function userOf(version, letter, seen, changed, grace, owners)
  local user = current
  user.version, user.letter, user.seen, user.changed, user.grace, user.owners = version, letter, seen, changed, grace, owners
  return user
end

local OWNERS = '^,[%w_+/=.:~%%,-]*[^,],$'
local validOwners = ''
local function parse(record)
  if not record or #record > 8192 then return nil end
  local minus, version, letter, seen, later, grace, owners = match(record, '^(-?)(%x+)([jltnr])(%x+)([^/,;]*)/?(%x*)(.*)$')
  if not version or #version > 13 or #seen > 11 or #later > 12 or #grace > 11 then return nil end
  if owners ~= validOwners and owners ~= '' then
    if not find(owners, OWNERS) then
      owners = match(owners, '^([^;]*);')
      if not owners or (owners ~= '' and not find(owners, OWNERS)) then return nil end
    end
    if #owners > 256 then
      local left = 512
      for owner in string.gmatch(owners, '[^,]+') do
        left = left - 1
        if left < 0 or #owner > 256 then return nil end
      end
    end
    validOwners = owners
  end
  if minus == '' and grace == '' and owners == '' then return nil end
  version, seen = tonumber(version, 16) + base, tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  if seen > now then seen = now end
  grace = grace == '' and 0 or tonumber(grace, 16) + EPOCH
  if grace > now + 2147483647 then return nil end
  local changed = seen
  if later ~= '' then
    local ms = tonumber(sub(later, 2), 16)
    local side = sub(later, 1, 1)
    if not ms or not (side == '-' or side == '+') then return nil end
    changed = side == '-' and seen - ms or seen + ms
  end
  return userOf(version, letter, seen, changed, grace, owners == '' and ',' or owners)
end
local function composed(version, letter, seen, changed, grace, owners)
  if seen < EPOCH then seen = EPOCH end
  if owners == ',' then owners = '' end
  local later, sign = changed - seen, ''
  if version < 0 then version, sign = -version, '-' end
  if later >= 0 and later < CLOSE_MS then
    if grace == 0 then return format('%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, owners) end
    return format('%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, grace - EPOCH, owners)
  end
  local side = '+'
  if later < 0 then later, side = -later, '-' end
  if grace == 0 then return format('%s%x%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, side, later, owners) end
  return format('%s%x%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, side, later, grace - EPOCH, owners)
end

local function compose(user)
  return composed(user.version, user.letter, user.seen, user.changed, user.grace, user.owners)
end
local function parseNode(entry)
  if not entry or #entry > 512 then return nil end
  local lease, extended, last, claimed = match(entry .. ' ', '^(%d+) ([01]) (%d+) (%d+) ')
  lease, last, claimed = number(lease), number(last), number(claimed)
  if not lease or not last or not claimed then return nil end
  return { lease = lease, extended = extended == '1', last = last, claimed = claimed }
end

local function composeNode(node)
  return format('%d %s %d %d', node.lease, node.extended and '1' or '0', node.last, node.claimed)
end
local lastOwner, alone = '', ',,'

local function decide(online, grace, owners, seen, event, owner, heard, now)
  local settled, reason
  if grace <= now then grace = 0 end
  local isOnline = owners ~= ',' or grace > 0
  if isOnline ~= online then
    settled, online = online and 'timeout' or 'resync', isOnline
  end
  if event == 'due' then return online, grace, owners, seen, settled, nil, false end

  local isJoin = event == 'j' or event == 'r'
  if owner ~= lastOwner then lastOwner, alone = owner, ',' .. owner .. ',' end
  local from, to = find(owners, alone, 1, true)
  if not from and not isJoin then return online, grace, owners, seen, settled, nil, true end
  if event ~= 'dead' and heard > seen then seen = heard end
  if isJoin then
    if not from then owners = owners == ',' and alone or owners .. owner .. ',' end
    grace, reason = 0, event == 'r' and 'resync' or 'connect'
  elseif event ~= 'a' then
    owners = owners == alone and ',' or sub(owners, 1, from) .. sub(owners, to + 1)
    if event == 'l' then
      reason = 'disconnect'
    elseif event == 't' then
      reason = 'timeout'
    elseif event == 'dead' then
      reason = 'node-down'
    else
      local ms = tonumber(event)
      if ms > 0 then grace = max(grace, now + ms) end
      reason = 'timeout'
    end
  end
  isOnline = owners ~= ',' or grace > 0
  if isOnline == online then reason = nil end
  return isOnline, grace, owners, seen, settled, reason, false
end
local function judgeLease(leaseMs, endsAt, extendedOnce, activeAt, now)
  local wasAway = now - activeAt > leaseMs / 2
  if wasAway and endsAt > activeAt and not extendedOnce then return 'extend' end
  return endsAt > now and 'runs' or 'dead'
end
local MOST_FIELDS = 10000
local MOST_NODES = 1024
local MOST_GRACES = 100000
local ENDS_NOW = '-1'
local ASSERTED = 3000
local leaseKey, nodesKey, metaKey, graceKey, countKey, logKey = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local userPrefix, publicPrefix, channel, isSharded, logged = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', tonumber(ARGV[5])
local bucketPrefix, highest, seed, knownEpoch, buckets = ARGV[6], number(ARGV[7]) or 0, ARGV[8], ARGV[9], tonumber(ARGV[10])
local junk, lacks = {}, nil

local function discard(key)
  call('UNLINK', key)
  junk[#junk + 1] = key
end
local function try(command, key, ...)
  local answer = pcall(command, key, ...)
  if not isError(answer) then return answer end
  if find(answer.err, 'WRONGTYPE', 1, true) then discard(key) end
  return call(command, key, ...)
end

local meta = readMeta(metaKey)
local answer = misplaced(meta, seed, knownEpoch)
if answer then return answer end
if not meta.epoch or meta.layout ~= LAYOUT or meta.seed ~= seed then return '!{"begin":1}' end

local seq, epoch, at, stored = meta.seq, meta.epoch, meta.at, meta.seq
base = baseOf(seed)
if seq == 0 then seq = versionNow() end
seq = max(seq, highest, base)
if stored == 0 then
  stored = seq
  try('HSET', metaKey, 'epoch', epoch, 'seq', format('%d', seq))
else
  try('HSET', metaKey, 'epoch', epoch)
end

local told, gone, counts, before, messages = {}, {}, {}, seq, {}
local function save(bucket, id, user) call('HSET', bucket, id, compose(user)) end
local function drop(bucket, id)
  call('HDEL', bucket, id)
  if junk[#junk] ~= bucket then junk[#junk + 1] = bucket end
end
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
local phrases = {}
local function phrase(online, reason)
  local status = online and 'online' or 'offline'
  local middle = ',"status":"' .. status .. '","timestamp":"' .. iso(now) .. '","version":'
  phrases[reason] = { middle, ',"reason":"' .. reason .. '"}', ',"' .. reason .. '"]', publicPrefix .. status }
  return phrases[reason]
end
local updates = publicPrefix .. 'updates'
local function latest(mirror, seen)
  local known = mirror and number(pcall('GET', mirror))
  return known and known <= now and max(seen, known) or seen
end
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
local function schedule(key, id, before, grace, owners)
  local member = sub(key, #bucketPrefix + 1) .. ':' .. id
  local answer
  if grace > 0 and (grace ~= before or owners == ',') then
    answer = pcall('ZADD', graceKey, format('%d', grace), member)
    if type(answer) == 'table' then try('ZADD', graceKey, format('%d', grace), member) end
  elseif grace == 0 and before > 0 then
    answer = pcall('ZREM', graceKey, member)
    if type(answer) == 'table' then try('ZREM', graceKey, member) end
  end
end
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
local function send(command, channel, message)
  local answer = pcall(command, channel, message)
  if not isError(answer) then return true end
  if find(answer.err, 'NOPERM', 1, true) or find(answer.err, 'executing the script', 1, true) then lacks = channel end
  return false
end
local function publish(message)
  if isSharded and send('SPUBLISH', channel, message) then return end
  send('PUBLISH', channel, message)
end
local function lose(names)
  local times = format('%d', (number(call('HGET', metaKey, 'lost')) or 0) + 1)
  call('HSET', metaKey, 'lost', times, 'lostAt', format('%d', now))
  publish('{"l":[' .. table.concat(names, ',') .. '],"k":' .. times .. '}')
end
local function log(id, batch)
  local most = logged
  if meta.logUntil > now and meta.logUntil < now + 1e9 then most = max(most, meta.logChanges) end
  for _ = 1, 2 do
    local oldest = max(0, seq - most, math.min(meta.logFrom, seq))
    local added = pcall('XADD', logKey, 'MINID', '~', format('%d', oldest), id, 'b', batch)
    if isError(added) then added = pcall('XADD', logKey, 'MAXLEN', '~', format('%d', most), id, 'b', batch) end
    if not isError(added) then return end
    if not find(added.err, 'WRONGTYPE', 1, true) and not find(added.err, 'smaller', 1, true) then return end
    discard(logKey)
  end
end
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
local size, found = tonumber(ARGV[11]), ARGV[12]
local firstBucket, firstMirror, firstUser = 7, 7 + size, 13
local isSweep, swept = found == 'record', now - 1000

for i = 0, size - 1 do
  local key, id, isAtHome = KEYS[firstBucket + i], ARGV[firstUser + i + i], ARGV[firstUser + 1 + i + i] == '1'
  local mirror = userPrefix ~= '' and KEYS[firstMirror + i] or nil
  local record = try('HGET', key, id)
  local user = isAtHome and parse(record) or nil
  if record and not user then drop(key, id) end
  if isSweep and user then
    if user.owners == ',' and user.grace <= swept then user.seen = latest(mirror, user.seen) end
    change(key, mirror, id, user, 'due', '', 0, swept)
  elseif not isSweep then
    local member = string.sub(key, #bucketPrefix + 1) .. ':' .. id
    if user and user.grace > now and try('ZSCORE', graceKey, member) ~= ENDS_NOW then
      try('ZADD', graceKey, format('%d', user.grace), member)
    else
      try('ZREM', graceKey, member)
      if user then change(key, mirror, id, user, 'due', '', 0, math.max(now, user.grace)) end
    end
  end
end
finish()
return '{' .. answered()
`);

export const stray = script('stray', String.raw`local LAYOUT = '3'
local MOST = 4503599627370496
local EPOCH = 1577836800000
local FLOOR_PER_MS = 256
local call, pcall, type, tonumber, floor, max = redis.call, redis.pcall, type, tonumber, math.floor, math.max
local format, match, find, sub = string.format, string.match, string.find, string.sub
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)
local function number(text)
  local value = type(text) == 'string' and #text <= 16 and match(text, '^%d+$') and tonumber(text)
  return value and value <= MOST and value or nil
end

local function versionNow() return (now - EPOCH) * FLOOR_PER_MS end
local function isError(answer) return type(answer) == 'table' and answer.err ~= nil end
local function isEpoch(text)
  local seconds, micros = match(text or '', '^(%d+)%.(%d+)$')
  return seconds ~= nil and #seconds <= 16 and #micros <= 6
end

local function readMeta(key)
  local fields = pcall('HMGET', key, 'seq', 'epoch', 'at', 'layout', 'seed', 'extended', 'awaited', 'log')
  if isError(fields) then fields = {} end
  local extendedAt, extendedUntil = match(fields[6] or '', '^(%d+) (%d+)$')
  local awaitedUntil, awaited = match(fields[7] or '', '^(%d+) ([^%c",]+)$')
  local logChanges, logMs, logUntil, logFrom = match(fields[8] or '', '^(%d+) (%d+) (%d+) (%d+)$')
  local seq, epoch, seed = number(fields[1]), fields[2] or nil, fields[5] or nil
  if fields[1] and not (seq and seq <= MOST / 2) then seq, epoch = nil, nil end
  local layout = fields[4] or nil
  local isForeign = layout ~= nil and layout ~= LAYOUT and find(layout, '^%d+$') ~= nil
  return {
    isEmpty = layout ~= LAYOUT and not isForeign and not (fields[1] and isEpoch(epoch)),
    seq = seq or 0,
    epoch = isEpoch(epoch) and epoch or nil,
    at = number(fields[3]) or 0,
    layout = layout,
    extendedAt = number(extendedAt) or 0,
    extendedUntil = number(extendedUntil) or 0,
    awaitedUntil = number(awaitedUntil) or (fields[7] and 1 or 0),
    awaited = awaited or '',
    logChanges = number(logChanges) or 0,
    logMs = number(logMs) or 0,
    logUntil = number(logUntil) or 0,
    logFrom = number(logFrom) or 0,
    seed = seed and #seed >= 16 and #seed <= 29 and match(seed, '^%x+$') or nil,
  }
end
local function misplaced(meta, seed, knownEpoch)
  if meta.isEmpty or (meta.epoch and meta.epoch == knownEpoch) then return nil end
  if meta.layout ~= LAYOUT then
    return format('!{"layout":"%s"}', match(meta.layout or '', '^%w+$') and string.sub(meta.layout, 1, 16) or '')
  end
  if meta.seed and meta.seed ~= seed then return format('!{"seed":"%s","e":"%s"}', meta.seed, meta.epoch or '') end
  return nil
end
local CLOSE_MS = 1000
local LETTERS = { connect = 'j', disconnect = 'l', timeout = 't', ['node-down'] = 'n', resync = 'r' }
local function isId(text)
  if text == '' or #text > 256 then return false end
  if not find(text, '[\128-\255]') then return true end
  if find(text, '\224[\128-\159]') or find(text, '\237[\160-\191]') or find(text, '\240[\128-\143]') or find(text, '\244[\144-\191]') then
    return false
  end
  text = string.gsub(text, '[\240-\244][\128-\191][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\224-\239][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\194-\223][\128-\191]', '')
  return not find(text, '[\128-\255]')
end
local function json(text)
  if find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
end
local base = 0
local function baseOf(seed) return tonumber(sub(seed, 17), 16) or 0 end
local current = { version = 0, letter = '', seen = 0, changed = 0, grace = 0, owners = '' }
local function userOf(version, letter, seen, changed, grace, owners)
  local user = current
  user.version, user.letter, user.seen, user.changed, user.grace, user.owners = version, letter, seen, changed, grace, owners
  return user
end

local OWNERS = '^,[%w_+/=.:~%%,-]*[^,],$'
local validOwners = ''
local function parse(record)
  if not record or #record > 8192 then return nil end
  local minus, version, letter, seen, later, grace, owners = match(record, '^(-?)(%x+)([jltnr])(%x+)([^/,;]*)/?(%x*)(.*)$')
  if not version or #version > 13 or #seen > 11 or #later > 12 or #grace > 11 then return nil end
  if owners ~= validOwners and owners ~= '' then
    if not find(owners, OWNERS) then
      owners = match(owners, '^([^;]*);')
      if not owners or (owners ~= '' and not find(owners, OWNERS)) then return nil end
    end
    if #owners > 256 then
      local left = 512
      for owner in string.gmatch(owners, '[^,]+') do
        left = left - 1
        if left < 0 or #owner > 256 then return nil end
      end
    end
    validOwners = owners
  end
  if minus == '' and grace == '' and owners == '' then return nil end
  version, seen = tonumber(version, 16) + base, tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  if seen > now then seen = now end
  grace = grace == '' and 0 or tonumber(grace, 16) + EPOCH
  if grace > now + 2147483647 then return nil end
  local changed = seen
  if later ~= '' then
    local ms = tonumber(sub(later, 2), 16)
    local side = sub(later, 1, 1)
    if not ms or not (side == '-' or side == '+') then return nil end
    changed = side == '-' and seen - ms or seen + ms
  end
  return userOf(version, letter, seen, changed, grace, owners == '' and ',' or owners)
end
local function composed(version, letter, seen, changed, grace, owners)
  if seen < EPOCH then seen = EPOCH end
  if owners == ',' then owners = '' end
  local later, sign = changed - seen, ''
  if version < 0 then version, sign = -version, '-' end
  if later >= 0 and later < CLOSE_MS then
    if grace == 0 then return format('%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, owners) end
    return format('%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, grace - EPOCH, owners)
  end
  local side = '+'
  if later < 0 then later, side = -later, '-' end
  if grace == 0 then return format('%s%x%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, side, later, owners) end
  return format('%s%x%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, side, later, grace - EPOCH, owners)
end

local function compose(user)
  return composed(user.version, user.letter, user.seen, user.changed, user.grace, user.owners)
end
local function parseNode(entry)
  if not entry or #entry > 512 then return nil end
  local lease, extended, last, claimed = match(entry .. ' ', '^(%d+) ([01]) (%d+) (%d+) ')
  lease, last, claimed = number(lease), number(last), number(claimed)
  if not lease or not last or not claimed then return nil end
  return { lease = lease, extended = extended == '1', last = last, claimed = claimed }
end

local function composeNode(node)
  return format('%d %s %d %d', node.lease, node.extended and '1' or '0', node.last, node.claimed)
end
local lastOwner, alone = '', ',,'

local function decide(online, grace, owners, seen, event, owner, heard, now)
  local settled, reason
  if grace <= now then grace = 0 end
  local isOnline = owners ~= ',' or grace > 0
  if isOnline ~= online then
    settled, online = online and 'timeout' or 'resync', isOnline
  end
  if event == 'due' then return online, grace, owners, seen, settled, nil, false end

  local isJoin = event == 'j' or event == 'r'
  if owner ~= lastOwner then lastOwner, alone = owner, ',' .. owner .. ',' end
  local from, to = find(owners, alone, 1, true)
  if not from and not isJoin then return online, grace, owners, seen, settled, nil, true end
  if event ~= 'dead' and heard > seen then seen = heard end
  if isJoin then
    if not from then owners = owners == ',' and alone or owners .. owner .. ',' end
    grace, reason = 0, event == 'r' and 'resync' or 'connect'
  elseif event ~= 'a' then
    owners = owners == alone and ',' or sub(owners, 1, from) .. sub(owners, to + 1)
    if event == 'l' then
      reason = 'disconnect'
    elseif event == 't' then
      reason = 'timeout'
    elseif event == 'dead' then
      reason = 'node-down'
    else
      local ms = tonumber(event)
      if ms > 0 then grace = max(grace, now + ms) end
      reason = 'timeout'
    end
  end
  isOnline = owners ~= ',' or grace > 0
  if isOnline == online then reason = nil end
  return isOnline, grace, owners, seen, settled, reason, false
end
local function judgeLease(leaseMs, endsAt, extendedOnce, activeAt, now)
  local wasAway = now - activeAt > leaseMs / 2
  if wasAway and endsAt > activeAt and not extendedOnce then return 'extend' end
  return endsAt > now and 'runs' or 'dead'
end
local MOST_FIELDS = 10000
local MOST_NODES = 1024
local MOST_GRACES = 100000
local ENDS_NOW = '-1'
local ASSERTED = 3000
local leaseKey, nodesKey, metaKey, graceKey, countKey, logKey = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local userPrefix, publicPrefix, channel, isSharded, logged = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', tonumber(ARGV[5])
local bucketPrefix, highest, seed, knownEpoch, buckets = ARGV[6], number(ARGV[7]) or 0, ARGV[8], ARGV[9], tonumber(ARGV[10])
local junk, lacks = {}, nil

local function discard(key)
  call('UNLINK', key)
  junk[#junk + 1] = key
end
local function try(command, key, ...)
  local answer = pcall(command, key, ...)
  if not isError(answer) then return answer end
  if find(answer.err, 'WRONGTYPE', 1, true) then discard(key) end
  return call(command, key, ...)
end

local meta = readMeta(metaKey)
local answer = misplaced(meta, seed, knownEpoch)
if answer then return answer end
if not meta.epoch or meta.layout ~= LAYOUT or meta.seed ~= seed then return '!{"begin":1}' end

local seq, epoch, at, stored = meta.seq, meta.epoch, meta.at, meta.seq
base = baseOf(seed)
if seq == 0 then seq = versionNow() end
seq = max(seq, highest, base)
if stored == 0 then
  stored = seq
  try('HSET', metaKey, 'epoch', epoch, 'seq', format('%d', seq))
else
  try('HSET', metaKey, 'epoch', epoch)
end

local told, gone, counts, before, messages = {}, {}, {}, seq, {}
local function save(bucket, id, user) call('HSET', bucket, id, compose(user)) end
local function drop(bucket, id)
  call('HDEL', bucket, id)
  if junk[#junk] ~= bucket then junk[#junk + 1] = bucket end
end
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
local phrases = {}
local function phrase(online, reason)
  local status = online and 'online' or 'offline'
  local middle = ',"status":"' .. status .. '","timestamp":"' .. iso(now) .. '","version":'
  phrases[reason] = { middle, ',"reason":"' .. reason .. '"}', ',"' .. reason .. '"]', publicPrefix .. status }
  return phrases[reason]
end
local updates = publicPrefix .. 'updates'
local function latest(mirror, seen)
  local known = mirror and number(pcall('GET', mirror))
  return known and known <= now and max(seen, known) or seen
end
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
local function schedule(key, id, before, grace, owners)
  local member = sub(key, #bucketPrefix + 1) .. ':' .. id
  local answer
  if grace > 0 and (grace ~= before or owners == ',') then
    answer = pcall('ZADD', graceKey, format('%d', grace), member)
    if type(answer) == 'table' then try('ZADD', graceKey, format('%d', grace), member) end
  elseif grace == 0 and before > 0 then
    answer = pcall('ZREM', graceKey, member)
    if type(answer) == 'table' then try('ZREM', graceKey, member) end
  end
end
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
local function send(command, channel, message)
  local answer = pcall(command, channel, message)
  if not isError(answer) then return true end
  if find(answer.err, 'NOPERM', 1, true) or find(answer.err, 'executing the script', 1, true) then lacks = channel end
  return false
end
local function publish(message)
  if isSharded and send('SPUBLISH', channel, message) then return end
  send('PUBLISH', channel, message)
end
local function lose(names)
  local times = format('%d', (number(call('HGET', metaKey, 'lost')) or 0) + 1)
  call('HSET', metaKey, 'lost', times, 'lostAt', format('%d', now))
  publish('{"l":[' .. table.concat(names, ',') .. '],"k":' .. times .. '}')
end
local function log(id, batch)
  local most = logged
  if meta.logUntil > now and meta.logUntil < now + 1e9 then most = max(most, meta.logChanges) end
  for _ = 1, 2 do
    local oldest = max(0, seq - most, math.min(meta.logFrom, seq))
    local added = pcall('XADD', logKey, 'MINID', '~', format('%d', oldest), id, 'b', batch)
    if isError(added) then added = pcall('XADD', logKey, 'MAXLEN', '~', format('%d', most), id, 'b', batch) end
    if not isError(added) then return end
    if not find(added.err, 'WRONGTYPE', 1, true) and not find(added.err, 'smaller', 1, true) then return end
    discard(logKey)
  end
end
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
local size, lease = tonumber(ARGV[11]), tonumber(ARGV[12])
local firstBucket, firstMirror, firstUser = 7, 7 + size, 13
local lost, seenBuckets = {}, {}
for i = 0, size - 1 do
  local key, place = KEYS[firstBucket + i], firstUser + i * 3
  local id, isAtHome, found = ARGV[place], ARGV[place + 1] == '1', number(ARGV[place + 2])
  local record = try('HGET', key, id)
  local mirror = userPrefix ~= '' and KEYS[firstMirror + i]
  local user = parse(record)
  local isHalf = false
  if record and (not isAtHome or not user) then
    drop(key, id)
  elseif user and user.version <= 0 then
    if mirror and call('DEL', mirror) == 1 then junk[#junk + 1] = userPrefix .. '<id>' end
  elseif user then
    isHalf = mirror and user.owners ~= ',' and call('EXISTS', mirror) == 0
  else
    isHalf = isAtHome and found and (not mirror or call('EXISTS', mirror) == 1)
    local seen = math.min(found or now, now)
    user = { version = math.max(1, seq), letter = 'r', seen = seen, changed = seen, grace = 0 }
  end
  if isHalf then
    local bucket = string.sub(key, #bucketPrefix + 1)
    if not record then
      local counted = tonumber(try('HGET', countKey, bucket) or 0) or 0
      call('HSET', countKey, bucket, format('%d', counted + 1))
    end
    user.grace, user.owners = math.max(user.grace, now + (record and lease or math.max(lease, ASSERTED))), ','
    save(key, id, user)
    try('ZADD', graceKey, format('%d', user.grace), bucket .. ':' .. id)
    if not seenBuckets[bucket] then
      seenBuckets[bucket] = true
      lost[#lost + 1] = bucket
    end
  end
end
finish()
if #lost > 0 then lose(lost) end
return '{' .. answered()
`);

export const sweep = script('sweep', String.raw`local LAYOUT = '3'
local MOST = 4503599627370496
local EPOCH = 1577836800000
local FLOOR_PER_MS = 256
local call, pcall, type, tonumber, floor, max = redis.call, redis.pcall, type, tonumber, math.floor, math.max
local format, match, find, sub = string.format, string.match, string.find, string.sub
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)
local function number(text)
  local value = type(text) == 'string' and #text <= 16 and match(text, '^%d+$') and tonumber(text)
  return value and value <= MOST and value or nil
end

local function versionNow() return (now - EPOCH) * FLOOR_PER_MS end
local function isError(answer) return type(answer) == 'table' and answer.err ~= nil end
local function isEpoch(text)
  local seconds, micros = match(text or '', '^(%d+)%.(%d+)$')
  return seconds ~= nil and #seconds <= 16 and #micros <= 6
end

local function readMeta(key)
  local fields = pcall('HMGET', key, 'seq', 'epoch', 'at', 'layout', 'seed', 'extended', 'awaited', 'log')
  if isError(fields) then fields = {} end
  local extendedAt, extendedUntil = match(fields[6] or '', '^(%d+) (%d+)$')
  local awaitedUntil, awaited = match(fields[7] or '', '^(%d+) ([^%c",]+)$')
  local logChanges, logMs, logUntil, logFrom = match(fields[8] or '', '^(%d+) (%d+) (%d+) (%d+)$')
  local seq, epoch, seed = number(fields[1]), fields[2] or nil, fields[5] or nil
  if fields[1] and not (seq and seq <= MOST / 2) then seq, epoch = nil, nil end
  local layout = fields[4] or nil
  local isForeign = layout ~= nil and layout ~= LAYOUT and find(layout, '^%d+$') ~= nil
  return {
    isEmpty = layout ~= LAYOUT and not isForeign and not (fields[1] and isEpoch(epoch)),
    seq = seq or 0,
    epoch = isEpoch(epoch) and epoch or nil,
    at = number(fields[3]) or 0,
    layout = layout,
    extendedAt = number(extendedAt) or 0,
    extendedUntil = number(extendedUntil) or 0,
    awaitedUntil = number(awaitedUntil) or (fields[7] and 1 or 0),
    awaited = awaited or '',
    logChanges = number(logChanges) or 0,
    logMs = number(logMs) or 0,
    logUntil = number(logUntil) or 0,
    logFrom = number(logFrom) or 0,
    seed = seed and #seed >= 16 and #seed <= 29 and match(seed, '^%x+$') or nil,
  }
end
local function misplaced(meta, seed, knownEpoch)
  if meta.isEmpty or (meta.epoch and meta.epoch == knownEpoch) then return nil end
  if meta.layout ~= LAYOUT then
    return format('!{"layout":"%s"}', match(meta.layout or '', '^%w+$') and string.sub(meta.layout, 1, 16) or '')
  end
  if meta.seed and meta.seed ~= seed then return format('!{"seed":"%s","e":"%s"}', meta.seed, meta.epoch or '') end
  return nil
end
local CLOSE_MS = 1000
local LETTERS = { connect = 'j', disconnect = 'l', timeout = 't', ['node-down'] = 'n', resync = 'r' }
local function isId(text)
  if text == '' or #text > 256 then return false end
  if not find(text, '[\128-\255]') then return true end
  if find(text, '\224[\128-\159]') or find(text, '\237[\160-\191]') or find(text, '\240[\128-\143]') or find(text, '\244[\144-\191]') then
    return false
  end
  text = string.gsub(text, '[\240-\244][\128-\191][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\224-\239][\128-\191][\128-\191]', '')
  text = string.gsub(text, '[\194-\223][\128-\191]', '')
  return not find(text, '[\128-\255]')
end
local function json(text)
  if find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
end
local base = 0
local function baseOf(seed) return tonumber(sub(seed, 17), 16) or 0 end
local current = { version = 0, letter = '', seen = 0, changed = 0, grace = 0, owners = '' }
local function userOf(version, letter, seen, changed, grace, owners)
  local user = current
  user.version, user.letter, user.seen, user.changed, user.grace, user.owners = version, letter, seen, changed, grace, owners
  return user
end

local OWNERS = '^,[%w_+/=.:~%%,-]*[^,],$'
local validOwners = ''
local function parse(record)
  if not record or #record > 8192 then return nil end
  local minus, version, letter, seen, later, grace, owners = match(record, '^(-?)(%x+)([jltnr])(%x+)([^/,;]*)/?(%x*)(.*)$')
  if not version or #version > 13 or #seen > 11 or #later > 12 or #grace > 11 then return nil end
  if owners ~= validOwners and owners ~= '' then
    if not find(owners, OWNERS) then
      owners = match(owners, '^([^;]*);')
      if not owners or (owners ~= '' and not find(owners, OWNERS)) then return nil end
    end
    if #owners > 256 then
      local left = 512
      for owner in string.gmatch(owners, '[^,]+') do
        left = left - 1
        if left < 0 or #owner > 256 then return nil end
      end
    end
    validOwners = owners
  end
  if minus == '' and grace == '' and owners == '' then return nil end
  version, seen = tonumber(version, 16) + base, tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  if seen > now then seen = now end
  grace = grace == '' and 0 or tonumber(grace, 16) + EPOCH
  if grace > now + 2147483647 then return nil end
  local changed = seen
  if later ~= '' then
    local ms = tonumber(sub(later, 2), 16)
    local side = sub(later, 1, 1)
    if not ms or not (side == '-' or side == '+') then return nil end
    changed = side == '-' and seen - ms or seen + ms
  end
  return userOf(version, letter, seen, changed, grace, owners == '' and ',' or owners)
end
local function composed(version, letter, seen, changed, grace, owners)
  if seen < EPOCH then seen = EPOCH end
  if owners == ',' then owners = '' end
  local later, sign = changed - seen, ''
  if version < 0 then version, sign = -version, '-' end
  if later >= 0 and later < CLOSE_MS then
    if grace == 0 then return format('%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, owners) end
    return format('%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, grace - EPOCH, owners)
  end
  local side = '+'
  if later < 0 then later, side = -later, '-' end
  if grace == 0 then return format('%s%x%s%x%s%x%s', sign, version - base, letter, seen - EPOCH, side, later, owners) end
  return format('%s%x%s%x%s%x/%x%s', sign, version - base, letter, seen - EPOCH, side, later, grace - EPOCH, owners)
end

local function compose(user)
  return composed(user.version, user.letter, user.seen, user.changed, user.grace, user.owners)
end
local function parseNode(entry)
  if not entry or #entry > 512 then return nil end
  local lease, extended, last, claimed = match(entry .. ' ', '^(%d+) ([01]) (%d+) (%d+) ')
  lease, last, claimed = number(lease), number(last), number(claimed)
  if not lease or not last or not claimed then return nil end
  return { lease = lease, extended = extended == '1', last = last, claimed = claimed }
end

local function composeNode(node)
  return format('%d %s %d %d', node.lease, node.extended and '1' or '0', node.last, node.claimed)
end
local lastOwner, alone = '', ',,'

local function decide(online, grace, owners, seen, event, owner, heard, now)
  local settled, reason
  if grace <= now then grace = 0 end
  local isOnline = owners ~= ',' or grace > 0
  if isOnline ~= online then
    settled, online = online and 'timeout' or 'resync', isOnline
  end
  if event == 'due' then return online, grace, owners, seen, settled, nil, false end

  local isJoin = event == 'j' or event == 'r'
  if owner ~= lastOwner then lastOwner, alone = owner, ',' .. owner .. ',' end
  local from, to = find(owners, alone, 1, true)
  if not from and not isJoin then return online, grace, owners, seen, settled, nil, true end
  if event ~= 'dead' and heard > seen then seen = heard end
  if isJoin then
    if not from then owners = owners == ',' and alone or owners .. owner .. ',' end
    grace, reason = 0, event == 'r' and 'resync' or 'connect'
  elseif event ~= 'a' then
    owners = owners == alone and ',' or sub(owners, 1, from) .. sub(owners, to + 1)
    if event == 'l' then
      reason = 'disconnect'
    elseif event == 't' then
      reason = 'timeout'
    elseif event == 'dead' then
      reason = 'node-down'
    else
      local ms = tonumber(event)
      if ms > 0 then grace = max(grace, now + ms) end
      reason = 'timeout'
    end
  end
  isOnline = owners ~= ',' or grace > 0
  if isOnline == online then reason = nil end
  return isOnline, grace, owners, seen, settled, reason, false
end
local function judgeLease(leaseMs, endsAt, extendedOnce, activeAt, now)
  local wasAway = now - activeAt > leaseMs / 2
  if wasAway and endsAt > activeAt and not extendedOnce then return 'extend' end
  return endsAt > now and 'runs' or 'dead'
end
local MOST_FIELDS = 10000
local MOST_NODES = 1024
local MOST_GRACES = 100000
local ENDS_NOW = '-1'
local ASSERTED = 3000
local leaseKey, nodesKey, metaKey, graceKey, countKey, logKey = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local userPrefix, publicPrefix, channel, isSharded, logged = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', tonumber(ARGV[5])
local bucketPrefix, highest, seed, knownEpoch, buckets = ARGV[6], number(ARGV[7]) or 0, ARGV[8], ARGV[9], tonumber(ARGV[10])
local junk, lacks = {}, nil

local function discard(key)
  call('UNLINK', key)
  junk[#junk + 1] = key
end
local function try(command, key, ...)
  local answer = pcall(command, key, ...)
  if not isError(answer) then return answer end
  if find(answer.err, 'WRONGTYPE', 1, true) then discard(key) end
  return call(command, key, ...)
end

local meta = readMeta(metaKey)
local answer = misplaced(meta, seed, knownEpoch)
if answer then return answer end
if not meta.epoch or meta.layout ~= LAYOUT or meta.seed ~= seed then return '!{"begin":1}' end

local seq, epoch, at, stored = meta.seq, meta.epoch, meta.at, meta.seq
base = baseOf(seed)
if seq == 0 then seq = versionNow() end
seq = max(seq, highest, base)
if stored == 0 then
  stored = seq
  try('HSET', metaKey, 'epoch', epoch, 'seq', format('%d', seq))
else
  try('HSET', metaKey, 'epoch', epoch)
end

local told, gone, counts, before, messages = {}, {}, {}, seq, {}
local function save(bucket, id, user) call('HSET', bucket, id, compose(user)) end
local function drop(bucket, id)
  call('HDEL', bucket, id)
  if junk[#junk] ~= bucket then junk[#junk + 1] = bucket end
end
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
local phrases = {}
local function phrase(online, reason)
  local status = online and 'online' or 'offline'
  local middle = ',"status":"' .. status .. '","timestamp":"' .. iso(now) .. '","version":'
  phrases[reason] = { middle, ',"reason":"' .. reason .. '"}', ',"' .. reason .. '"]', publicPrefix .. status }
  return phrases[reason]
end
local updates = publicPrefix .. 'updates'
local function latest(mirror, seen)
  local known = mirror and number(pcall('GET', mirror))
  return known and known <= now and max(seen, known) or seen
end
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
local function schedule(key, id, before, grace, owners)
  local member = sub(key, #bucketPrefix + 1) .. ':' .. id
  local answer
  if grace > 0 and (grace ~= before or owners == ',') then
    answer = pcall('ZADD', graceKey, format('%d', grace), member)
    if type(answer) == 'table' then try('ZADD', graceKey, format('%d', grace), member) end
  elseif grace == 0 and before > 0 then
    answer = pcall('ZREM', graceKey, member)
    if type(answer) == 'table' then try('ZREM', graceKey, member) end
  end
end
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
local function send(command, channel, message)
  local answer = pcall(command, channel, message)
  if not isError(answer) then return true end
  if find(answer.err, 'NOPERM', 1, true) or find(answer.err, 'executing the script', 1, true) then lacks = channel end
  return false
end
local function publish(message)
  if isSharded and send('SPUBLISH', channel, message) then return end
  send('PUBLISH', channel, message)
end
local function lose(names)
  local times = format('%d', (number(call('HGET', metaKey, 'lost')) or 0) + 1)
  call('HSET', metaKey, 'lost', times, 'lostAt', format('%d', now))
  publish('{"l":[' .. table.concat(names, ',') .. '],"k":' .. times .. '}')
end
local function log(id, batch)
  local most = logged
  if meta.logUntil > now and meta.logUntil < now + 1e9 then most = max(most, meta.logChanges) end
  for _ = 1, 2 do
    local oldest = max(0, seq - most, math.min(meta.logFrom, seq))
    local added = pcall('XADD', logKey, 'MINID', '~', format('%d', oldest), id, 'b', batch)
    if isError(added) then added = pcall('XADD', logKey, 'MAXLEN', '~', format('%d', most), id, 'b', batch) end
    if not isError(added) then return end
    if not find(added.err, 'WRONGTYPE', 1, true) and not find(added.err, 'smaller', 1, true) then return end
    discard(logKey)
  end
end
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
local first, retention, lease, most, turn = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
local firstBucket = 7
local known, lost, odd, offline = {}, {}, {}, {}
local adopted = 0
if try('ZCARD', leaseKey) <= MOST_NODES then
  for _, name in ipairs(call('ZRANGE', leaseKey, 0, -1)) do known[name] = true end
end
if try('HLEN', nodesKey) <= MOST_NODES then
  for _, name in ipairs(call('HKEYS', nodesKey)) do known[name] = true end
end
local function fieldsOf(bucket)
  if try('HLEN', bucket) <= MOST_FIELDS then return call('HGETALL', bucket), false end
  discard(bucket)
  return {}, true
end
local function examine(key, bucket, id, record)
  local user = parse(record)
  if not user or not isId(id) then
    drop(key, id)
    return false
  end
  local at, isOnline = now - 1000, user.version > 0
  local _, grace, _, _, settled = decide(isOnline, user.grace, user.owners, user.seen, 'due', '', 0, at)
  if settled or grace ~= user.grace then
    odd[#odd + 1] = format('[%d,%s]', bucket, json(id))
  elseif not isOnline and user.seen < now - retention then
    call('HDEL', key, id)
  end
  for owner in string.gmatch(user.owners, '[^,]+') do
    if not known[owner] and adopted < 64 then
      adopted = adopted + 1
      known[owner] = true
      call('ZADD', leaseKey, format('%d', now + lease), owner)
    end
  end
  return isOnline
end
local function ownerOf(record) return match(record, '^%x+[jltnr]%x+[+-]?%x*,([^,;]+),$') end
local function isUsual(key)
  for _, record in ipairs(call('HVALS', key)) do
    local owner = ownerOf(record)
    if not owner or not known[owner] then return false end
  end
  return true
end

local size, done, examined = #KEYS - 6, 0, 0
local names = {}
for i = 1, size do names[i] = format('%d', first + i - 1) end
local recorded = size > 0 and try('HMGET', countKey, unpack(names)) or {}
while done < size and examined < most do
  local key, index = KEYS[firstBucket + done], first + done
  local bucket, counted = names[done + 1], recorded[done + 1]
  local length = try('HLEN', key)
  local online = counted and (tonumber(counted) or -1) or 0
  local isSmall = length <= MOST_FIELDS
  local isExamined = turn < 0 or (index + turn) % 2 == 0 or not counted or online < 0 or online > length or not isSmall
  local isFilled = false
  if isExamined and turn >= 0 and (index + turn) % 16 ~= 0 and isSmall and isUsual(key) then
    online = length
  elseif isExamined then
    local fields, ids = nil, {}
    online, fields, isFilled = 0, fieldsOf(key)
    for i = 1, #fields, 2 do
      local id, record = fields[i], fields[i + 1]
      local owner = isId(id) and ownerOf(record)
      if (owner and known[owner]) or examine(key, bucket, id, record) then
        online = online + 1
      elseif userPrefix ~= '' and isId(id) then
        ids[#ids + 1] = json(id)
      end
    end
    if #ids > 0 then offline[#offline + 1] = '[' .. bucket .. ',' .. table.concat(ids, ',') .. ']' end
  end
  counted = counted and (tonumber(counted) or -1) or 0
  if counted ~= online or isFilled then
    call('HSET', countKey, bucket, online)
    if counted > online or isFilled then lost[#lost + 1] = bucket end
  end
  examined = examined + 1 + (isExamined and length or 0)
  done = done + 1
end
if first == 0 then
  if try('HLEN', countKey) > buckets * 2 then discard(countKey) end
  for _, name in ipairs(call('HKEYS', countKey)) do
    local bucket = number(name)
    if name ~= '' and not (bucket and bucket < buckets) then drop(countKey, name) end
  end
end

finish()
if #lost > 0 then lose(lost) end
return format('{"done":%d,"odd":[%s],"offline":[%s],', done, table.concat(odd, ','), table.concat(offline, ',')) .. answered()
`);
