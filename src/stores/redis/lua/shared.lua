--[[
  What the scripts that change something have in common; it stands before each of them, and is no script of its own.

  KEYS[1] lease   sorted set: incarnation of a router -> when its lease ends, in milliseconds by the clock of this server
  KEYS[2] nodes   hash: incarnation -> "<lease in ms> <pardoned 0|1> <number of its last apply> <claimed by a reaper until>"
  KEYS[3] meta    hash: seq (version of the last change), epoch (of these data), at (the last beat), sweep, swept,
                  lost (how often users were found to be missing)
  KEYS[4] limbo   sorted set: "<bucket>:<user>" -> when the grace ends
  KEYS[5] count   hash: bucket -> how many are online in it; "" -> 0, so that it is there from the first beat on
  KEYS[6] log     stream: the last changes, in batches, under the version of the first of a batch
  ARGV[1] what the keys of the contract start with ("presence:user:"); empty: the caller writes them (Cluster)
  ARGV[2] what the public channels start with ("presence:"); empty: they are off
  ARGV[3] the channel of the routers
  ARGV[4] '1': that channel is a sharded one
  ARGV[5] how many changes the log keeps
  ARGV[6] what the keys of the buckets start with
  ARGV[7] the highest version that the caller has seen

  A bucket is a hash: user -> "<version> <last seen>[/<grace until>][,<owner>,<owner>,]". The version is that of the last
  change, and negative while the user is offline. An owner is the incarnation of a router that holds the user. Numbers are
  hexadecimal, and times milliseconds since 2020: five bytes a user less than in decimal.
]]
local call, pcall, floor, format = redis.call, redis.pcall, math.floor, string.format
local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)

local meta = call('HMGET', KEYS[3], 'seq', 'epoch', 'at')
local seq, epoch, at = tonumber(meta[1]) or 0, meta[2], tonumber(meta[3]) or 0
local stored = seq
-- After a loss the versions go on where any router that asks has seen them.
if seq < tonumber(ARGV[7]) then seq = tonumber(ARGV[7]) end
if not epoch then epoch = time[1] .. '.' .. time[2] end
-- A write before all others: a server that takes none (full, or a replica) must not have published half of a step by then.
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

-- An id is valid UTF-8: only these three kinds of characters need an escape in JSON.
local function json(text)
  if string.find(text, '[%c"\\]') then
    text = string.gsub(text, '[%c"\\]', function(char) return format('\\u%04x', string.byte(char)) end)
  end
  return '"' .. text .. '"'
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
-- What stands around id and version in the two kinds of messages, by reason.
local phrases = {}
local function phrase(online, reason)
  local status = online and 'online' or 'offline'
  local middle = ',"status":"' .. status .. '","timestamp":"' .. iso(now) .. '","version":'
  phrases[reason] = { middle, ',"reason":"' .. reason .. '"}', ',"' .. reason .. '"]', ARGV[2] .. status }
  return phrases[reason]
end
local updates = ARGV[2] .. 'updates'

-- Signs of life move the contract's key and not the record: of whom no router speaks any more, that key knows more.
local function latest(id, seen)
  local mirror = ARGV[1] ~= '' and call('GET', ARGV[1] .. id)
  return mirror and math.max(seen, tonumber(mirror) or 0) or seen
end

-- The status of a user changes: numbered, told, counted. Returns the version for the record.
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

-- Tells the routers; what is sent to their channel and gets lost the next answer reveals.
local function publish(message)
  if ARGV[4] == '1' then
    local answer = pcall('SPUBLISH', ARGV[3], message)
    if type(answer) ~= 'table' then return end
  end
  call('PUBLISH', ARGV[3], message)
end

-- Users were lost in some buckets; in no named ones: perhaps in all.
local function lose(buckets)
  local times = call('HINCRBY', KEYS[3], 'lost', 1)
  publish('{"l":[' .. table.concat(buckets, ',') .. '],"k":' .. times .. '}')
end

-- Writes down what flip has gathered, and tells the routers.
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
  -- Two calls for all are cheaper than one a bucket.
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
  -- Before Redis 6.2.
  if type(added) == 'table' then pcall('XADD', KEYS[6], 'MAXLEN', '~', 100, id, 'b', batch) end
  publish(batch)
end
