--[[
  Reads users.

  KEYS[1]    meta, see meta.lua
  KEYS[2]    lease, see shared.lua
  KEYS[3]    nodes, see shared.lua
  KEYS[4]    grace, see shared.lua
  KEYS[5..]  the bucket of each user
  ARGV[1]    the seed of the caller
  ARGV[2]    the epoch of the data that use it, or empty
  ARGV[3]    the users, as a JSON array, which both sides read faster than as many arguments

  Result: "<time in milliseconds> <epoch> <seq> <awaited> <unsure> <due>", see proof.lua. "due" is 1 where a grace or a lease has ended
  that no heartbeat has noticed, so that a user with a presence key may be offline. Then for each user the start of the
  record: "<version><reason><last seen>", the version relative to the base, and negative while offline. " ?" follows it where the
  presence key decides, and " !" where the user is no longer online, which has not been published yet. It is empty where there is
  no record, and "?" for an invalid one. All are joined by commas. Or "!{...}", see meta.lua.
]]
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
    -- Most users are held by one live router, which a pattern finds without parsing the record.
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
