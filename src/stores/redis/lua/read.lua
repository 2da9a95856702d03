--[[
  What is known of users.

  KEYS[1]    meta, see meta.lua
  KEYS[2]    lease, see shared.lua
  KEYS[3]    nodes, see shared.lua
  KEYS[4]    grace, see shared.lua
  KEYS[5..]  the bucket of each user
  ARGV[1]    the seed of the caller
  ARGV[2]    the epoch of the data in which it was in use, or nothing
  ARGV[3..]  the users

  Result: "<time in milliseconds> <epoch> <seq> <awaited> <unsure> <due>", see proof.lua; the last is 1 where time has ended what
  no heartbeat has noticed, so that a user who has a presence key may be offline all the same. Then for each user what the
  record in the bucket says, as far as it is of use: "<version><reason><last seen>", the version less the base, and negative while
  offline; " ?" after it where nothing but a presence key can say that the user is online, and " !" where the user is online
  no more, and that has not been published; nothing where there is no record; "?" for what is none. All joined by commas. Or
  "!{...}", see meta.lua.
]]
local meta = readMeta(KEYS[1])
local answer = misplaced(meta, ARGV[1], ARGV[2])
if answer then return answer end
local standing, isUnsure, isAny = readStanding(KEYS[2], KEYS[3], meta)
local isDue = isAny or isAnyGraceOver(KEYS[4])
local records = { format('%d %s %d %d %d %d', now, meta.epoch or '', meta.seq, isAwaited(meta) and 1 or 0, isUnsure and 1 or 0, isDue and 1 or 0) }
local MARKS = { yes = '', key = ' ?', no = ' !' }
for i = 5, #KEYS do
  local record = pcall('HGET', KEYS[i], ARGV[i - 2])
  if isError(record) then
    records[i - 3] = '?'
  elseif record then
    local user = parse(record)
    if not user then
      records[i - 3] = '?'
    else
      records[i - 3] = match(record, '^-?%x+[jltnr]%x+') .. (user.version > 0 and MARKS[isOnlineNow(user.grace, user.owners, standing)] or '')
    end
  else
    records[i - 3] = ''
  end
end
return table.concat(records, ',')
