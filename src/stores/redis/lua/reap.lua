--[[
  Takes dead routers away from the users of some buckets. Does nothing to one whose lease runs; may be repeated.

  KEYS[1..6], ARGV[1..10] see shared.lua
  KEYS[7..]               the buckets
  ARGV[11]                the number of the first bucket
  ARGV[12]                '1': these are the last ones, and then nothing of the dead is left
  ARGV[13]                after how many users the call ends, so that nobody waits long
  ARGV[14..]              the dead incarnations

  Result: {"done":how many of the buckets, -1 while their leases run,"now":ms,"e":epoch,"seq":n,"off":[users, see apply]}.
]]
local first, most = tonumber(ARGV[11]), tonumber(ARGV[13])
local dead, tags = {}, {}
for i = 14, #ARGV do
  local tag = ARGV[i]
  local deadline = try('ZSCORE', KEYS[1], tag)
  if not deadline or tonumber(deadline) <= now then
    dead[tag] = true
    tags[#tags + 1] = tag
  end
end
if #tags == 0 then
  seq = stored
  return '{"done":-1,' .. answered()
end
-- Of one dead router its name is looked for; of many, each owner is looked up.
local needle = #tags == 1 and ',' .. tags[1] .. ',' or nil
local function isOwned(record)
  if needle then return find(record, needle, 1, true) end
  for owner in string.gmatch(record, ',([^,]+)') do
    if dead[owner] then return true end
  end
  return false
end
local function bereft(owners)
  local left = ','
  for owner in string.gmatch(owners, '[^,]+') do
    if not dead[owner] then left = left .. owner .. ',' end
  end
  return left
end

local size, done, examined, lost = #KEYS - 6, 0, 0, {}
while done < size and examined < most do
  local key = KEYS[7 + done]
  local fields, isFilled = fieldsOf(key)
  if isFilled then lost[#lost + 1] = format('%d', first + done) end
  for i = 1, #fields, 2 do
    if isOwned(fields[i + 1]) then
      local id = fields[i]
      local version, seen, grace, owners = parse(fields[i + 1])
      if version then
        owners = bereft(owners)
        seen = latest(id, seen)
        if grace <= now then grace = 0 end
        if owners == ',' and grace > 0 then
          try('ZADD', KEYS[4], 'NX', format('%d', grace), string.sub(key, #ARGV[6] + 1) .. ':' .. id)
        end
        if version > 0 and owners == ',' and grace == 0 then
          version = flip(key, id, false, seen, 'node-down')
          examined = examined + 4
        end
        save(key, id, version, seen, grace, owners)
      else
        drop(key, id)
      end
    end
  end
  examined = examined + 1 + #fields / 2
  done = done + 1
end

for _, tag in ipairs(tags) do
  if done == size and ARGV[12] == '1' then
    call('ZREM', KEYS[1], tag)
    try('HDEL', KEYS[2], tag)
  else
    local node = try('HGET', KEYS[2], tag)
    if node and #node <= 64 then
      call('HSET', KEYS[2], tag, (string.gsub(node, '%d+$', format('%d', now + 1000))))
    end
  end
end
finish()
if #lost > 0 then lose(lost) end
return format('{"done":%d,', done) .. answered()
