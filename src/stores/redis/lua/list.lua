--[[
  Reads a part of a page of users who were published as online, and whether they still are.

  KEYS[1]     meta, see meta.lua
  KEYS[2]     lease, see shared.lua
  KEYS[3]     nodes, see shared.lua
  KEYS[4..]   buckets, in order
  ARGV[1]     the most users to return
  ARGV[2]     in the first bucket, only users with a greater version
  ARGV[3]     the number of users after which the call ends, so that it blocks Redis only for a short time
  ARGV[4]     the seed of the caller
  ARGV[5]     the epoch of the data that use it, or empty
  ARGV[6]     the number of the first bucket

  Result: {"now":ms,"e":epoch,"seq":version of the last change,"done":number of buckets read to the end,"after":version up to which
  the next bucket was read,"examined":number of records examined,"users":[[user, version, last seen, bucket, proof], ...],
  "awaited":0|1,"unsure":0|1, see proof.lua,"junk":[buckets that contain foreign data]}; or "!{...}", see meta.lua. "proof" is 1 where
  the user is online, 0 where the presence key decides, and -1 where the user no longer is.
]]
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
    -- Most users are held by one live router, or offline, which a pattern finds without parsing the record.
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
  -- A user who stays online keeps the version, so a page that continues after a version neither misses nor repeats a user.
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
