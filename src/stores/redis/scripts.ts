// Made of lua/*.lua by lua/embed.mjs, which `npm run build` and `npm run embed` call. Edit those.
import { script } from './script';

export const apply = script('apply', String.raw`local call, pcall, floor, format = redis.call, redis.pcall, math.floor, string.format
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)

local meta = call('HMGET', KEYS[3], 'seq', 'epoch', 'at')
local seq, epoch, at = tonumber(meta[1]) or 0, meta[2], tonumber(meta[3]) or 0
local stored = seq
if seq < tonumber(ARGV[7]) then seq = tonumber(ARGV[7]) end
if not epoch then epoch = time[1] .. '.' .. time[2] end
call('HSET', KEYS[3], 'epoch', epoch)

local told, gone, counts, before = {}, {}, {}, seq

local EPOCH = 1577836800000

local function parse(record)
  local minus, version, seen, grace, owners = string.match(record, '^(-?)(%x+) (%x+)/?(%x*)(.*)$')
  version, seen = tonumber(version, 16), tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  return version, seen, grace == '' and 0 or tonumber(grace, 16) + EPOCH, owners == '' and ',' or owners
end

local function save(bucket, id, version, seen, grace, owners)
  if owners == ',' then owners = '' end
  if seen < EPOCH then seen = EPOCH end
  if grace > 0 then owners = format('/%x', grace - EPOCH) .. owners end
  call('HSET', bucket, id, format(version < 0 and '-%x %x%s' or '%x %x%s', math.abs(version), seen - EPOCH, owners))
end
local function json(text)
  if string.find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
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
  phrases[reason] = { middle, ',"reason":"' .. reason .. '"}', ',"' .. reason .. '"]', ARGV[2] .. status }
  return phrases[reason]
end
local updates = ARGV[2] .. 'updates'
local function latest(id, seen)
  local mirror = ARGV[1] ~= '' and call('GET', ARGV[1] .. id)
  return mirror and math.max(seen, tonumber(mirror) or 0) or seen
end
local function flip(key, id, online, seen, reason)
  seq = seq + 1
  local name, words = json(id), phrases[reason] or phrase(online, reason)
  told[#told + 1] = '[' .. name .. (online and ',1,' or ',0,') .. format('%d', seen) .. words[3]
  counts[key] = (counts[key] or 0) + (online and 1 or -1)
  if not online then
    if ARGV[1] ~= '' then call('DEL', ARGV[1] .. id) else gone[#gone + 1] = '[' .. name .. format(',%d]', seen) end
  end
  if ARGV[2] ~= '' then
    local message = '{"userId":' .. name .. words[1] .. format('%d', seq) .. words[2]
    call('PUBLISH', words[4], message)
    call('PUBLISH', updates, message)
  end
  return online and seq or -seq
end
local function publish(message)
  if ARGV[4] == '1' then
    local answer = pcall('SPUBLISH', ARGV[3], message)
    if type(answer) ~= 'table' then return end
  end
  call('PUBLISH', ARGV[3], message)
end
local function lose(buckets)
  local times = call('HINCRBY', KEYS[3], 'lost', 1)
  publish('{"l":[' .. table.concat(buckets, ',') .. '],"k":' .. times .. '}')
end
local function finish()
  if seq ~= stored then call('HSET', KEYS[3], 'seq', format('%d', seq)) end
  if #told == 0 then return end
  local fields, changes = {}, {}
  for key, by in pairs(counts) do
    if by ~= 0 then
      fields[#fields + 1] = string.sub(key, #ARGV[6] + 1)
      changes[#changes + 1] = by
    end
  end
  for from = 1, #fields, 1000 do
    local to = math.min(from + 999, #fields)
    local values, pairs = call('HMGET', KEYS[5], unpack(fields, from, to)), {}
    for i = from, to do
      pairs[#pairs + 1] = fields[i]
      pairs[#pairs + 1] = format('%d', (values[i - from + 1] or 0) + changes[i])
    end
    call('HSET', KEYS[5], unpack(pairs))
  end
  local batch = format('{"e":"%s","n":%d,"t":%d,"u":[', epoch, before + 1, now) .. table.concat(told, ',') .. ']}'
  local id = format('%d-0', before + 1)
  local oldest = format('%d', math.max(0, seq - ARGV[5]))
  local added = pcall('XADD', KEYS[6], 'MINID', '~', oldest, id, 'b', batch)
  if type(added) == 'table' then pcall('XADD', KEYS[6], 'MAXLEN', '~', 100, id, 'b', batch) end
  publish(batch)
end
local tag, ttl, size = ARGV[8], ARGV[10], tonumber(ARGV[11])
local number, acknowledged = string.match(ARGV[9], '^(%d+)/(%d+)$')
number, acknowledged = tonumber(number), tonumber(acknowledged)
local node = call('HGET', KEYS[2], tag)
local deadline = call('ZSCORE', KEYS[1], tag)
local lease, pardoned, last, claimed = string.match(node or '', '^(%d+) (%d) (%d+) (%d+)$')
if not last or not deadline or tonumber(deadline) <= now or tonumber(last) < acknowledged then
  return format('{"known":false,"now":%d,"e":"%s","seq":%d,"off":[]}', now, epoch, stored)
end
local isRepeated = tonumber(last) >= number
local needle = ',' .. tag .. ','

local userPrefix, bucketAt, missing = ARGV[1], #ARGV[6] + 1, {}
local userAt = #userPrefix + 1

for i = 0, isRepeated and -1 or size - 1 do
  local age, kind = ARGV[12 + i + i], ARGV[13 + i + i]
  local key, mirror, id = KEYS[7 + i]
  if userAt > 1 then
    mirror = KEYS[7 + size + i]
    id = string.sub(mirror, userAt)
  else
    id = ARGV[12 + size + size + i]
  end
  local record = call('HGET', key, id)
  local heard = now - age

  if kind == 'j' or kind == 'r' then
    local version, seen, grace, owners = 0, heard, 0, needle
    if record then
      version, seen, grace, owners = parse(record)
      if heard > seen then seen = heard end
      if not string.find(owners, needle, 1, true) then owners = owners .. tag .. ',' end
      if grace > 0 then
        grace = 0
        call('ZREM', KEYS[4], string.sub(key, bucketAt) .. ':' .. id)
      end
    end
    if version <= 0 then version = flip(key, id, true, seen, kind == 'r' and 'resync' or 'connect') end
    save(key, id, version, seen, grace, owners)
    if mirror then call('SET', mirror, format('%d', seen), 'PX', ttl) end
  elseif record then
    local version, seen, grace, owners = parse(record)
    local from, to = string.find(owners, needle, 1, true)
    if grace <= now then grace = 0 end
    if from then
      if heard > seen then seen = heard end
      owners = string.sub(owners, 1, from) .. string.sub(owners, to + 1)
      local ms = tonumber(kind)
      if ms and ms > 0 and now + ms > grace then
        grace = now + ms
        call('ZADD', KEYS[4], format('%d', grace), string.sub(key, bucketAt) .. ':' .. id)
      end
      if version > 0 and owners == ',' and grace == 0 then
        version = flip(key, id, false, seen, kind == 'l' and 'disconnect' or 'timeout')
      end
      save(key, id, version, seen, grace, owners)
    end
  elseif not mirror then
    gone[#gone + 1] = format('[%s,%d]', json(id), heard)
  elseif call('EXISTS', mirror) == 1 then
    missing[#missing + 1] = string.sub(key, bucketAt)
    local grace = now + math.max(1000, tonumber(kind) or 0)
    save(key, id, math.max(1, seq), heard, grace, ',')
    call('ZADD', KEYS[4], format('%d', grace), string.sub(key, bucketAt) .. ':' .. id)
  end
end

if not isRepeated then
  call('HSET', KEYS[2], tag, lease .. ' ' .. pardoned .. ' ' .. number .. ' ' .. claimed)
end
finish()
if #missing > 0 then lose(missing) end
return format('{"known":true,"now":%d,"e":"%s","seq":%d,"off":[%s]}', now, epoch, seq, table.concat(gone, ','))
`);

export const beat = script('beat', String.raw`local call, pcall, floor, format = redis.call, redis.pcall, math.floor, string.format
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)

local meta = call('HMGET', KEYS[3], 'seq', 'epoch', 'at')
local seq, epoch, at = tonumber(meta[1]) or 0, meta[2], tonumber(meta[3]) or 0
local stored = seq
if seq < tonumber(ARGV[7]) then seq = tonumber(ARGV[7]) end
if not epoch then epoch = time[1] .. '.' .. time[2] end
call('HSET', KEYS[3], 'epoch', epoch)

local told, gone, counts, before = {}, {}, {}, seq

local EPOCH = 1577836800000

local function parse(record)
  local minus, version, seen, grace, owners = string.match(record, '^(-?)(%x+) (%x+)/?(%x*)(.*)$')
  version, seen = tonumber(version, 16), tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  return version, seen, grace == '' and 0 or tonumber(grace, 16) + EPOCH, owners == '' and ',' or owners
end

local function save(bucket, id, version, seen, grace, owners)
  if owners == ',' then owners = '' end
  if seen < EPOCH then seen = EPOCH end
  if grace > 0 then owners = format('/%x', grace - EPOCH) .. owners end
  call('HSET', bucket, id, format(version < 0 and '-%x %x%s' or '%x %x%s', math.abs(version), seen - EPOCH, owners))
end
local function json(text)
  if string.find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
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
  phrases[reason] = { middle, ',"reason":"' .. reason .. '"}', ',"' .. reason .. '"]', ARGV[2] .. status }
  return phrases[reason]
end
local updates = ARGV[2] .. 'updates'
local function latest(id, seen)
  local mirror = ARGV[1] ~= '' and call('GET', ARGV[1] .. id)
  return mirror and math.max(seen, tonumber(mirror) or 0) or seen
end
local function flip(key, id, online, seen, reason)
  seq = seq + 1
  local name, words = json(id), phrases[reason] or phrase(online, reason)
  told[#told + 1] = '[' .. name .. (online and ',1,' or ',0,') .. format('%d', seen) .. words[3]
  counts[key] = (counts[key] or 0) + (online and 1 or -1)
  if not online then
    if ARGV[1] ~= '' then call('DEL', ARGV[1] .. id) else gone[#gone + 1] = '[' .. name .. format(',%d]', seen) end
  end
  if ARGV[2] ~= '' then
    local message = '{"userId":' .. name .. words[1] .. format('%d', seq) .. words[2]
    call('PUBLISH', words[4], message)
    call('PUBLISH', updates, message)
  end
  return online and seq or -seq
end
local function publish(message)
  if ARGV[4] == '1' then
    local answer = pcall('SPUBLISH', ARGV[3], message)
    if type(answer) ~= 'table' then return end
  end
  call('PUBLISH', ARGV[3], message)
end
local function lose(buckets)
  local times = call('HINCRBY', KEYS[3], 'lost', 1)
  publish('{"l":[' .. table.concat(buckets, ',') .. '],"k":' .. times .. '}')
end
local function finish()
  if seq ~= stored then call('HSET', KEYS[3], 'seq', format('%d', seq)) end
  if #told == 0 then return end
  local fields, changes = {}, {}
  for key, by in pairs(counts) do
    if by ~= 0 then
      fields[#fields + 1] = string.sub(key, #ARGV[6] + 1)
      changes[#changes + 1] = by
    end
  end
  for from = 1, #fields, 1000 do
    local to = math.min(from + 999, #fields)
    local values, pairs = call('HMGET', KEYS[5], unpack(fields, from, to)), {}
    for i = from, to do
      pairs[#pairs + 1] = fields[i]
      pairs[#pairs + 1] = format('%d', (values[i - from + 1] or 0) + changes[i])
    end
    call('HSET', KEYS[5], unpack(pairs))
  end
  local batch = format('{"e":"%s","n":%d,"t":%d,"u":[', epoch, before + 1, now) .. table.concat(told, ',') .. ']}'
  local id = format('%d-0', before + 1)
  local oldest = format('%d', math.max(0, seq - ARGV[5]))
  local added = pcall('XADD', KEYS[6], 'MINID', '~', oldest, id, 'b', batch)
  if type(added) == 'table' then pcall('XADD', KEYS[6], 'MAXLEN', '~', 100, id, 'b', batch) end
  publish(batch)
end
local tag, following, lease, acknowledged = ARGV[8], ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])
local buckets, most = tonumber(ARGV[12]), tonumber(ARGV[13])
local gap = now - at
local isBack = gap < -1000

local leases, order = {}, {}
local scored = call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #scored, 2 do leases[scored[i]] = tonumber(scored[i + 1]) end

local nodes = {}

local function write(name, node)
  call('HSET', KEYS[2], name, format('%d %s %d %d', node.lease, node.pardoned and '1' or '0', node.last, node.claimed))
end

local function renew(name, node)
  leases[name] = now + node.lease
  call('ZADD', KEYS[1], format('%d', leases[name]), name)
end

local fields = call('HGETALL', KEYS[2])
for i = 1, #fields, 2 do
  local name = fields[i]
  local ms, pardoned, last, claimed = string.match(fields[i + 1], '^(%d+) (%d) (%d+) (%d+)$')
  nodes[name] = { lease = tonumber(ms), pardoned = pardoned == '1', last = tonumber(last), claimed = tonumber(claimed) }
  if not leases[name] then renew(name, nodes[name]) end
end
local own = nodes[tag]

for name, deadline in pairs(leases) do
  local node = nodes[name]
  if not node then
    node = { lease = lease, pardoned = false, last = 0, claimed = 0 }
    nodes[name] = node
    write(name, node)
  end
  if deadline > now + node.lease then renew(name, node) end
  if node.claimed > now + 3000 then node.claimed = 0 end
  if gap > node.lease / 2 and deadline > at and not node.pardoned then
    node.pardoned = true
    renew(name, node)
    write(name, node)
  end
end
local isKnown = own ~= nil and leases[tag] > now and own.last >= acknowledged
if isKnown then
  own.pardoned = false
  own.lease = lease
  write(tag, own)
  renew(tag, own)
else
  if leases[tag] and leases[tag] > now then renew(tag, nodes[tag]) end
  local new = nodes[following] or { last = 0, claimed = 0 }
  new.lease, new.pardoned = lease, false
  nodes[following] = new
  write(following, new)
  renew(following, new)
end

local dead = {}
for name, deadline in pairs(leases) do
  local node = nodes[name]
  if deadline <= now and (node.claimed <= now or isBack) then
    node.claimed = now + math.max(1000, math.min(node.lease, 3000))
    write(name, node)
    dead[#dead + 1] = json(name)
  end
end

local due = call('ZRANGEBYSCORE', KEYS[4], '-inf', isBack and '+inf' or now, 'LIMIT', 0, most)
for _, member in ipairs(due) do
  call('ZREM', KEYS[4], member)
  local colon = string.find(member, ':', 1, true)
  local bucket, id = string.sub(member, 1, colon - 1), string.sub(member, colon + 1)
  local key = ARGV[6] .. bucket
  local record = call('HGET', key, id)
  if record then
    local version, seen, grace, owners = parse(record)
    if version > 0 and owners == ',' then version = flip(key, id, false, seen, 'timeout') end
    save(key, id, version, seen, 0, owners)
  end
end
local place = call('HMGET', KEYS[3], 'sweep', 'swept')
local first, swept = tonumber(place[1]) or 0, tonumber(place[2]) or 0
local elapsed = now - swept
if swept == 0 or elapsed < 0 then elapsed = lease / 3 end
local slice = math.min(buckets, 512, floor(buckets * elapsed / (4 * lease)))
if slice > 0 then
  call('HSET', KEYS[3], 'sweep', format('%d', (first + slice) % buckets), 'swept', format('%d', now))
end

call('HSET', KEYS[3], 'at', format('%d', now))
finish()
if call('HSETNX', KEYS[5], '', 0) == 1 and fields[1] then lose({}) end
return format('{"known":%s,"now":%d,"e":"%s","seq":%d,"off":[%s],"more":%s,"dead":[%s],"sweep":[%d,%d],"lost":%d}',
  tostring(isKnown),
  now, epoch, seq, table.concat(gone, ','), tostring(#due == most), table.concat(dead, ','), first, slice, call('HGET', KEYS[3], 'lost') or 0)
`);

export const count = script('count', String.raw`local sum = 0
for _, value in ipairs(redis.call('HVALS', KEYS[1])) do sum = sum + value end
return string.format('%d', math.max(0, sum))
`);

export const leased = script('leased', String.raw`local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local deadline = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not deadline or tonumber(deadline) <= now then return '?' end
return string.format('%d', now)
`);

export const list = script('list', String.raw`local call, format = redis.call, string.format
local EPOCH = 1577836800000
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local room, after, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local function json(text)
  if string.find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
end

local found, size, done, examined, isFull = {}, #KEYS - 1, 0, 0, false
while done < size and examined < most and not isFull do
  local fields = call('HGETALL', KEYS[2 + done])
  local users = {}
  for i = 1, #fields, 2 do
    local version, seen = string.match(fields[i + 1], '^(%x+) (%x+)')
    version = tonumber(version or '0', 16)
    if version > after then
      users[#users + 1] = { id = fields[i], version = version, seen = tonumber(seen, 16) + EPOCH }
    end
  end
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

if ARGV[1] ~= '' and #found > 0 then
  local mirrors = {}
  for i, user in ipairs(found) do mirrors[i] = ARGV[1] .. user.id end
  for i, mirror in ipairs(call('MGET', unpack(mirrors))) do
    local seen = mirror and tonumber(mirror) or 0
    if seen > found[i].seen then found[i].seen = seen end
  end
end
local users = {}
for i, user in ipairs(found) do users[i] = format('[%s,%d,%d]', json(user.id), user.version, user.seen) end
local meta = call('HMGET', KEYS[1], 'epoch', 'seq')
return format('{"now":%d,"e":"%s","seq":%d,"done":%d,"after":%d,"users":[%s]}',
  now, meta[1] or '', meta[2] or 0, done, after, table.concat(users, ','))
`);

export const read = script('read', String.raw`local time = redis.call('TIME')
local answer = { string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000)) }
for i = 1, #ARGV do
  local record = redis.call('HGET', KEYS[i], ARGV[i])
  answer[i + 1] = record and string.match(record, '^-?%x+ %x+') or ''
end
return table.concat(answer, ',')
`);

export const reap = script('reap', String.raw`local call, pcall, floor, format = redis.call, redis.pcall, math.floor, string.format
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)

local meta = call('HMGET', KEYS[3], 'seq', 'epoch', 'at')
local seq, epoch, at = tonumber(meta[1]) or 0, meta[2], tonumber(meta[3]) or 0
local stored = seq
if seq < tonumber(ARGV[7]) then seq = tonumber(ARGV[7]) end
if not epoch then epoch = time[1] .. '.' .. time[2] end
call('HSET', KEYS[3], 'epoch', epoch)

local told, gone, counts, before = {}, {}, {}, seq

local EPOCH = 1577836800000

local function parse(record)
  local minus, version, seen, grace, owners = string.match(record, '^(-?)(%x+) (%x+)/?(%x*)(.*)$')
  version, seen = tonumber(version, 16), tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  return version, seen, grace == '' and 0 or tonumber(grace, 16) + EPOCH, owners == '' and ',' or owners
end

local function save(bucket, id, version, seen, grace, owners)
  if owners == ',' then owners = '' end
  if seen < EPOCH then seen = EPOCH end
  if grace > 0 then owners = format('/%x', grace - EPOCH) .. owners end
  call('HSET', bucket, id, format(version < 0 and '-%x %x%s' or '%x %x%s', math.abs(version), seen - EPOCH, owners))
end
local function json(text)
  if string.find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
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
  phrases[reason] = { middle, ',"reason":"' .. reason .. '"}', ',"' .. reason .. '"]', ARGV[2] .. status }
  return phrases[reason]
end
local updates = ARGV[2] .. 'updates'
local function latest(id, seen)
  local mirror = ARGV[1] ~= '' and call('GET', ARGV[1] .. id)
  return mirror and math.max(seen, tonumber(mirror) or 0) or seen
end
local function flip(key, id, online, seen, reason)
  seq = seq + 1
  local name, words = json(id), phrases[reason] or phrase(online, reason)
  told[#told + 1] = '[' .. name .. (online and ',1,' or ',0,') .. format('%d', seen) .. words[3]
  counts[key] = (counts[key] or 0) + (online and 1 or -1)
  if not online then
    if ARGV[1] ~= '' then call('DEL', ARGV[1] .. id) else gone[#gone + 1] = '[' .. name .. format(',%d]', seen) end
  end
  if ARGV[2] ~= '' then
    local message = '{"userId":' .. name .. words[1] .. format('%d', seq) .. words[2]
    call('PUBLISH', words[4], message)
    call('PUBLISH', updates, message)
  end
  return online and seq or -seq
end
local function publish(message)
  if ARGV[4] == '1' then
    local answer = pcall('SPUBLISH', ARGV[3], message)
    if type(answer) ~= 'table' then return end
  end
  call('PUBLISH', ARGV[3], message)
end
local function lose(buckets)
  local times = call('HINCRBY', KEYS[3], 'lost', 1)
  publish('{"l":[' .. table.concat(buckets, ',') .. '],"k":' .. times .. '}')
end
local function finish()
  if seq ~= stored then call('HSET', KEYS[3], 'seq', format('%d', seq)) end
  if #told == 0 then return end
  local fields, changes = {}, {}
  for key, by in pairs(counts) do
    if by ~= 0 then
      fields[#fields + 1] = string.sub(key, #ARGV[6] + 1)
      changes[#changes + 1] = by
    end
  end
  for from = 1, #fields, 1000 do
    local to = math.min(from + 999, #fields)
    local values, pairs = call('HMGET', KEYS[5], unpack(fields, from, to)), {}
    for i = from, to do
      pairs[#pairs + 1] = fields[i]
      pairs[#pairs + 1] = format('%d', (values[i - from + 1] or 0) + changes[i])
    end
    call('HSET', KEYS[5], unpack(pairs))
  end
  local batch = format('{"e":"%s","n":%d,"t":%d,"u":[', epoch, before + 1, now) .. table.concat(told, ',') .. ']}'
  local id = format('%d-0', before + 1)
  local oldest = format('%d', math.max(0, seq - ARGV[5]))
  local added = pcall('XADD', KEYS[6], 'MINID', '~', oldest, id, 'b', batch)
  if type(added) == 'table' then pcall('XADD', KEYS[6], 'MAXLEN', '~', 100, id, 'b', batch) end
  publish(batch)
end
local tag, first, most = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[11])
local deadline = call('ZSCORE', KEYS[1], tag)
if deadline and tonumber(deadline) > now then
  return format('{"done":-1,"now":%d,"e":"%s","seq":%d,"off":[]}', now, epoch, stored)
end
local needle = ',' .. tag .. ','
local size, done, examined = #KEYS - 6, 0, 0
while done < size and examined < most do
  local key = KEYS[7 + done]
  local bucket = format('%d', first + done)
  local fields = call('HGETALL', key)
  for i = 1, #fields, 2 do
    local from, to = string.find(fields[i + 1], needle, 1, true)
    if from then
      local id = fields[i]
      local version, seen, grace, owners = parse(fields[i + 1])
      from, to = string.find(owners, needle, 1, true)
      owners = string.sub(owners, 1, from) .. string.sub(owners, to + 1)
      if owners == ',' then seen = latest(id, seen) end
      if grace <= now then grace = 0 end
      if version > 0 and owners == ',' and grace == 0 then
        version = flip(key, id, false, seen, 'node-down')
        examined = examined + 4
      end
      save(key, id, version, seen, grace, owners)
    end
  end
  examined = examined + 1 + #fields / 2
  done = done + 1
end

if done == size and ARGV[10] == '1' then
  call('ZREM', KEYS[1], tag)
  call('HDEL', KEYS[2], tag)
else
  local node = call('HGET', KEYS[2], tag)
  if node then
    call('HSET', KEYS[2], tag, (string.gsub(node, '%d+$', format('%d', now + 1000))))
  end
end
finish()
return format('{"done":%d,"now":%d,"e":"%s","seq":%d,"off":[%s]}', done, now, epoch, seq, table.concat(gone, ','))
`);

export const refresh = script('refresh', String.raw`local call, format = redis.call, string.format
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local deadline = call('ZSCORE', KEYS[1], ARGV[1])
if not deadline or tonumber(deadline) <= now then return '?' end
local missing, ttl = {}, ARGV[2]
local i = 2
for a = 3, #ARGV, 2 do
  local seen = format('%d', now - ARGV[a])
  for _ = 1, ARGV[a + 1] do
    if not call('SET', KEYS[i], seen, 'PX', ttl, 'XX') then missing[#missing + 1] = i - 2 end
    i = i + 1
  end
end
return table.concat(missing, ',')
`);

export const release = script('release', String.raw`local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return '0' end
redis.call('ZADD', KEYS[1], string.format('%d', now), ARGV[1])
return '1'
`);

export const seen = script('seen', String.raw`local EPOCH = 1577836800000
for i = 1, #KEYS do
  local id, seen = ARGV[i * 2 - 1], ARGV[i * 2] - EPOCH
  local record = redis.call('HGET', KEYS[i], id)
  if record then
    local version, before, rest = string.match(record, '^(-?%x+) (%x+)(.*)$')
    if seen > tonumber(before, 16) then
      redis.call('HSET', KEYS[i], id, string.format('%s %x%s', version, seen, rest))
    end
  end
end
return '1'
`);

export const settle = script('settle', String.raw`local call, pcall, floor, format = redis.call, redis.pcall, math.floor, string.format
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)

local meta = call('HMGET', KEYS[3], 'seq', 'epoch', 'at')
local seq, epoch, at = tonumber(meta[1]) or 0, meta[2], tonumber(meta[3]) or 0
local stored = seq
if seq < tonumber(ARGV[7]) then seq = tonumber(ARGV[7]) end
if not epoch then epoch = time[1] .. '.' .. time[2] end
call('HSET', KEYS[3], 'epoch', epoch)

local told, gone, counts, before = {}, {}, {}, seq

local EPOCH = 1577836800000

local function parse(record)
  local minus, version, seen, grace, owners = string.match(record, '^(-?)(%x+) (%x+)/?(%x*)(.*)$')
  version, seen = tonumber(version, 16), tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  return version, seen, grace == '' and 0 or tonumber(grace, 16) + EPOCH, owners == '' and ',' or owners
end

local function save(bucket, id, version, seen, grace, owners)
  if owners == ',' then owners = '' end
  if seen < EPOCH then seen = EPOCH end
  if grace > 0 then owners = format('/%x', grace - EPOCH) .. owners end
  call('HSET', bucket, id, format(version < 0 and '-%x %x%s' or '%x %x%s', math.abs(version), seen - EPOCH, owners))
end
local function json(text)
  if string.find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
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
  phrases[reason] = { middle, ',"reason":"' .. reason .. '"}', ',"' .. reason .. '"]', ARGV[2] .. status }
  return phrases[reason]
end
local updates = ARGV[2] .. 'updates'
local function latest(id, seen)
  local mirror = ARGV[1] ~= '' and call('GET', ARGV[1] .. id)
  return mirror and math.max(seen, tonumber(mirror) or 0) or seen
end
local function flip(key, id, online, seen, reason)
  seq = seq + 1
  local name, words = json(id), phrases[reason] or phrase(online, reason)
  told[#told + 1] = '[' .. name .. (online and ',1,' or ',0,') .. format('%d', seen) .. words[3]
  counts[key] = (counts[key] or 0) + (online and 1 or -1)
  if not online then
    if ARGV[1] ~= '' then call('DEL', ARGV[1] .. id) else gone[#gone + 1] = '[' .. name .. format(',%d]', seen) end
  end
  if ARGV[2] ~= '' then
    local message = '{"userId":' .. name .. words[1] .. format('%d', seq) .. words[2]
    call('PUBLISH', words[4], message)
    call('PUBLISH', updates, message)
  end
  return online and seq or -seq
end
local function publish(message)
  if ARGV[4] == '1' then
    local answer = pcall('SPUBLISH', ARGV[3], message)
    if type(answer) ~= 'table' then return end
  end
  call('PUBLISH', ARGV[3], message)
end
local function lose(buckets)
  local times = call('HINCRBY', KEYS[3], 'lost', 1)
  publish('{"l":[' .. table.concat(buckets, ',') .. '],"k":' .. times .. '}')
end
local function finish()
  if seq ~= stored then call('HSET', KEYS[3], 'seq', format('%d', seq)) end
  if #told == 0 then return end
  local fields, changes = {}, {}
  for key, by in pairs(counts) do
    if by ~= 0 then
      fields[#fields + 1] = string.sub(key, #ARGV[6] + 1)
      changes[#changes + 1] = by
    end
  end
  for from = 1, #fields, 1000 do
    local to = math.min(from + 999, #fields)
    local values, pairs = call('HMGET', KEYS[5], unpack(fields, from, to)), {}
    for i = from, to do
      pairs[#pairs + 1] = fields[i]
      pairs[#pairs + 1] = format('%d', (values[i - from + 1] or 0) + changes[i])
    end
    call('HSET', KEYS[5], unpack(pairs))
  end
  local batch = format('{"e":"%s","n":%d,"t":%d,"u":[', epoch, before + 1, now) .. table.concat(told, ',') .. ']}'
  local id = format('%d-0', before + 1)
  local oldest = format('%d', math.max(0, seq - ARGV[5]))
  local added = pcall('XADD', KEYS[6], 'MINID', '~', oldest, id, 'b', batch)
  if type(added) == 'table' then pcall('XADD', KEYS[6], 'MAXLEN', '~', 100, id, 'b', batch) end
  publish(batch)
end
local size = tonumber(ARGV[8])
for i = 1, size do
  local key, id = KEYS[6 + i], ARGV[8 + i]
  local isKeyed = ARGV[1] == '' or call('EXISTS', KEYS[6 + size + i]) == 1
  if isKeyed and call('HEXISTS', key, id) == 0 then
    local seen = math.min(tonumber(ARGV[8 + size + i]), now)
    save(key, id, flip(key, id, false, seen, 'timeout'), seen, 0, ',')
    counts[key] = counts[key] + 1
  end
end
finish()
return format('{"now":%d,"e":"%s","seq":%d,"off":[%s]}', now, epoch, seq, table.concat(gone, ','))
`);

export const sweep = script('sweep', String.raw`local call, pcall, floor, format = redis.call, redis.pcall, math.floor, string.format
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)

local meta = call('HMGET', KEYS[3], 'seq', 'epoch', 'at')
local seq, epoch, at = tonumber(meta[1]) or 0, meta[2], tonumber(meta[3]) or 0
local stored = seq
if seq < tonumber(ARGV[7]) then seq = tonumber(ARGV[7]) end
if not epoch then epoch = time[1] .. '.' .. time[2] end
call('HSET', KEYS[3], 'epoch', epoch)

local told, gone, counts, before = {}, {}, {}, seq

local EPOCH = 1577836800000

local function parse(record)
  local minus, version, seen, grace, owners = string.match(record, '^(-?)(%x+) (%x+)/?(%x*)(.*)$')
  version, seen = tonumber(version, 16), tonumber(seen, 16) + EPOCH
  if minus ~= '' then version = -version end
  return version, seen, grace == '' and 0 or tonumber(grace, 16) + EPOCH, owners == '' and ',' or owners
end

local function save(bucket, id, version, seen, grace, owners)
  if owners == ',' then owners = '' end
  if seen < EPOCH then seen = EPOCH end
  if grace > 0 then owners = format('/%x', grace - EPOCH) .. owners end
  call('HSET', bucket, id, format(version < 0 and '-%x %x%s' or '%x %x%s', math.abs(version), seen - EPOCH, owners))
end
local function json(text)
  if string.find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
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
  phrases[reason] = { middle, ',"reason":"' .. reason .. '"}', ',"' .. reason .. '"]', ARGV[2] .. status }
  return phrases[reason]
end
local updates = ARGV[2] .. 'updates'
local function latest(id, seen)
  local mirror = ARGV[1] ~= '' and call('GET', ARGV[1] .. id)
  return mirror and math.max(seen, tonumber(mirror) or 0) or seen
end
local function flip(key, id, online, seen, reason)
  seq = seq + 1
  local name, words = json(id), phrases[reason] or phrase(online, reason)
  told[#told + 1] = '[' .. name .. (online and ',1,' or ',0,') .. format('%d', seen) .. words[3]
  counts[key] = (counts[key] or 0) + (online and 1 or -1)
  if not online then
    if ARGV[1] ~= '' then call('DEL', ARGV[1] .. id) else gone[#gone + 1] = '[' .. name .. format(',%d]', seen) end
  end
  if ARGV[2] ~= '' then
    local message = '{"userId":' .. name .. words[1] .. format('%d', seq) .. words[2]
    call('PUBLISH', words[4], message)
    call('PUBLISH', updates, message)
  end
  return online and seq or -seq
end
local function publish(message)
  if ARGV[4] == '1' then
    local answer = pcall('SPUBLISH', ARGV[3], message)
    if type(answer) ~= 'table' then return end
  end
  call('PUBLISH', ARGV[3], message)
end
local function lose(buckets)
  local times = call('HINCRBY', KEYS[3], 'lost', 1)
  publish('{"l":[' .. table.concat(buckets, ',') .. '],"k":' .. times .. '}')
end
local function finish()
  if seq ~= stored then call('HSET', KEYS[3], 'seq', format('%d', seq)) end
  if #told == 0 then return end
  local fields, changes = {}, {}
  for key, by in pairs(counts) do
    if by ~= 0 then
      fields[#fields + 1] = string.sub(key, #ARGV[6] + 1)
      changes[#changes + 1] = by
    end
  end
  for from = 1, #fields, 1000 do
    local to = math.min(from + 999, #fields)
    local values, pairs = call('HMGET', KEYS[5], unpack(fields, from, to)), {}
    for i = from, to do
      pairs[#pairs + 1] = fields[i]
      pairs[#pairs + 1] = format('%d', (values[i - from + 1] or 0) + changes[i])
    end
    call('HSET', KEYS[5], unpack(pairs))
  end
  local batch = format('{"e":"%s","n":%d,"t":%d,"u":[', epoch, before + 1, now) .. table.concat(told, ',') .. ']}'
  local id = format('%d-0', before + 1)
  local oldest = format('%d', math.max(0, seq - ARGV[5]))
  local added = pcall('XADD', KEYS[6], 'MINID', '~', oldest, id, 'b', batch)
  if type(added) == 'table' then pcall('XADD', KEYS[6], 'MAXLEN', '~', 100, id, 'b', batch) end
  publish(batch)
end
local first, retention, lease, most = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local known = {}
local lost = {}
for _, name in ipairs(call('ZRANGE', KEYS[1], 0, -1)) do known[name] = true end
for _, name in ipairs(call('HKEYS', KEYS[2])) do known[name] = true end
local function examine(key, bucket, id, record)
  local version, seen, grace, owners = parse(record)
  if version <= 0 then
    if seen < now - retention and owners == ',' then call('HDEL', key, id) end
    return false
  end
  if owners == ',' then
    if grace == 0 or grace < now - 1000 then
      seen = latest(id, seen)
      version = flip(key, id, false, seen, 'timeout')
      save(key, id, version, seen, 0, owners)
    else
      call('ZADD', KEYS[4], 'NX', format('%d', grace), bucket .. ':' .. id)
    end
    return true
  end
  for owner in string.gmatch(owners, '[^,]+') do
    if not known[owner] then
      known[owner] = true
      call('ZADD', KEYS[1], format('%d', now + lease), owner)
    end
  end
  return true
end

local match = string.match
local size, done, examined = #KEYS - 6, 0, 0
while done < size and examined < most do
  local key = KEYS[7 + done]
  local bucket = format('%d', first + done)
  local fields = call('HGETALL', key)
  local online = 0
  for i = 1, #fields, 2 do
    local owner = match(fields[i + 1], '^%x+ %x+,([^,]+),$')
    if (owner and known[owner]) or examine(key, bucket, fields[i], fields[i + 1]) then online = online + 1 end
  end
  local counted = tonumber(call('HGET', KEYS[5], bucket) or '0')
  if counted ~= online then
    call('HSET', KEYS[5], bucket, online)
    if counted > online then lost[#lost + 1] = bucket end
  end
  examined = examined + 1 + #fields / 2
  done = done + 1
end

finish()
if #lost > 0 then lose(lost) end
return format('{"done":%d,"now":%d,"e":"%s","seq":%d,"off":[%s]}', done, now, epoch, seq, table.concat(gone, ','))
`);
