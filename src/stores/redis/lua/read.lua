--[[
  What is known of users.

  KEYS[1]    meta, see meta.lua
  KEYS[2]    lease, see shared.lua
  KEYS[3]    nodes, see shared.lua
  KEYS[4..]  the bucket of each user
  ARGV[1]    the seed of the caller
  ARGV[2]    the epoch of the data in which it was in use, or nothing
  ARGV[3..]  the users

  Result: "<time in milliseconds> <epoch> <seq> <awaited> <unsure>", see proof.lua, and for each user the record of its bucket,
  see shared.lua, as far as it is of use: "<version> <last seen>", the version less the base, and negative while offline, and
  " ?" after it where nothing but a key of the contract can say that the user is online; nothing where there is none; "?" for
  what is none. All joined by commas. Or "!{...}", see meta.lua.
]]
local meta = readMeta(KEYS[1])
local answer = misplaced(meta, ARGV[1], ARGV[2])
if answer then return answer end
local proven, isUnsure = findProven(KEYS[2], KEYS[3], meta)
local records = { format('%d %s %d %d %d', now, meta.epoch or '', meta.seq, isAwaited(meta) and 1 or 0, isUnsure and 1 or 0) }
for i = 4, #KEYS do
  local record = pcall('HGET', KEYS[i], ARGV[i - 1])
  if isError(record) then
    records[i - 2] = '?'
  elseif record then
    local version, _, grace, owners = parse(record)
    if not version then
      records[i - 2] = '?'
    else
      records[i - 2] = match(record, '^-?%x+ %x+') .. (version > 0 and not isProven(proven, grace, owners) and ' ?' or '')
    end
  else
    records[i - 2] = ''
  end
end
return table.concat(records, ',')
