--[[
  A part of a page of users who are online: who was told so last, which is what routers that listen believe. Whose lease or
  grace has just ended is told offline in a moment.

  KEYS[1]     meta, see shared.lua
  KEYS[2..]   buckets, in order
  ARGV[1]     what the keys of the contract start with; empty: the caller reads them (Cluster)
  ARGV[2]     how many users there is room for
  ARGV[3]     of the first bucket only users whose version is greater
  ARGV[4]     after how many users the call ends, so that nobody waits long

  Result: {"now":ms,"e":epoch,"seq":version of the last change,"done":how many of the buckets are through,
  "after":where the next one stopped,"users":[[user, version, last seen], ...]}.
]]
local call, format = redis.call, string.format
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
    -- Negative versions do not match.
    local version, seen = string.match(fields[i + 1], '^(%x+) (%x+)')
    version = tonumber(version or '0', 16)
    if version > after then
      users[#users + 1] = { id = fields[i], version = version, seen = tonumber(seen, 16) + EPOCH }
    end
  end
  -- A user who stays keeps the version, so a page that goes on after a version misses nobody and repeats nobody.
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
